//! The loop: inbox, engine, effects.
//!
//! The one place that knows both the core and the shell. Every other thread only does jobs
//! and puts what came of them into one bounded inbox; this one reads the clock once a turn,
//! hands the engine what has come, and carries out what it asks for. It never does I/O
//! that can hang: that is in the threads, so that signals and the log go on when a share
//! hangs.
//!
//! `opening` opens the folder and waits for it, `session` is one opening with its engine,
//! `threads` and `filer_thread` are what it starts, `inbox` is how they are heard, `retry_news` what is
//! to be heard before a look is used.

mod filer_thread;
mod inbox;
mod opening;
mod retry_news;
mod session;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use self::inbox::Inbox;
use self::opening::{Opener, Opening};
use self::session::{Ended, Session};
use self::threads::spawn;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::flow::engine::{Ending, Handover};
use crate::flow::messages::Finish;
use crate::flow::time::Mono;
use crate::io::listen;
use crate::io::logging::writer::LogWriter;
use crate::io::os::clock;
use crate::io::os::service;
use crate::io::os::signal;
use crate::io::status::{self, Latest, MetricsFile};

/// How it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until it is stopped.
    Run,
    /// Until what is there is dealt with, or for so long; with `no_wait` no longer than there is
    /// something to do.
    Once {
        /// The longest that it works, from the start of the process.
        deadline: Duration,
        /// Sleeps for nothing.
        no_wait: bool,
    },
}

impl Mode {
    /// How it ends when it was stopped while it did not know what is there.
    fn stopped(self) -> Exit {
        match self {
            Mode::Run => Exit::Success,
            Mode::Once { .. } => Exit::Left,
        }
    }

    /// How it ends when its engine has finished.
    fn finished(self, finish: Finish) -> Exit {
        match (self, finish) {
            (Mode::Run, _) | (_, Finish::Done | Finish::Stopped) => Exit::Success,
            (_, Finish::Left) => Exit::Left,
            (_, Finish::Dead) => Exit::DeadLetter,
        }
    }
}

/// What all sessions of a process have in common.
#[derive(Debug)]
struct Process<'a> {
    config: &'a Config,
    mode: Mode,
    log: &'a LogWriter,
    started: Mono,
    /// What is shown of the process.
    latest: Arc<Latest>,
}

impl Process<'_> {
    /// When `once` leaves, whatever is left.
    fn deadline(&self) -> Option<Mono> {
        match self.mode {
            Mode::Run => None,
            Mode::Once { deadline, .. } => Some(self.started + deadline),
        }
    }

    /// When the engine ends by itself.
    fn ending(&self) -> Ending {
        match self.mode {
            Mode::Run => Ending::Never,
            Mode::Once { deadline, no_wait } => Ending::Once {
                deadline: self.started + deadline,
                no_wait,
            },
        }
    }
}

/// Runs to the end. `adopt`: a state folder that belongs to another share is to belong to this one.
pub fn run(config: &Config, mode: Mode, adopt: bool, log: &LogWriter) -> Exit {
    let now = clock::now();
    let who = status::process(config, mode != Mode::Run, now.wall);
    let latest = Arc::new(Latest::new(who, now.wall));
    let is_asked = config.report.listen.is_some();
    let inbox = Inbox::new(is_asked.then(|| Arc::clone(&latest)));
    if let Err(err) = signal::listen(inbox.commands()) {
        return fail(&format!("signals cannot be handled: {err}"));
    }
    // Also while the folder is not there: it is waited for.
    service::ready();
    let process = Process {
        config,
        mode,
        log,
        started: now.mono,
        latest,
    };
    if let Err(why) = show(&process) {
        return fail(&why);
    }
    let mut opening = Opening::default();
    opening.share.adopt = adopt;
    let mut past: Option<Handover> = None;
    loop {
        match run_session(&process, opening, past, &inbox) {
            Ended::Left(exit) => {
                process.latest.flush(FLUSH_WITHIN);
                return exit;
            }
            Ended::Reopen(known, before) => {
                past = Some(*known);
                // `adopt` was said of the folder as it was at the start.
                let share = crate::io::share::Opening {
                    before,
                    ..Default::default()
                };
                opening = Opening { share, again: true };
            }
        }
    }
}

/// How long the metrics file is waited for at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Starts the threads that show what the process is doing, also while its folder is not open: the one that
/// writes `report.metrics_file`, and the one that answers at `report.listen`. Only `run` answers: nobody
/// asks a run of cron that is over in a moment.
///
/// # Errors
/// A sentence: the system gives the process no more threads.
fn show(process: &Process<'_>) -> Result<(), String> {
    let report = &process.config.report;
    if let Some(path) = &report.metrics_file {
        let file = MetricsFile::new(path, &process.latest);
        spawn("metrics", move || file.run())?;
    }
    if let Some(address) = report.listen.clone().filter(|_| process.mode == Mode::Run) {
        let latest = Arc::clone(&process.latest);
        spawn("listen", move || listen::serve(&address, &latest))?;
    }
    Ok(())
}

/// Opens the folder and works on it until it is to be opened again, or to the end.
fn run_session(
    process: &Process<'_>,
    opening: Opening,
    past: Option<Handover>,
    inbox: &Inbox,
) -> Ended {
    let mailbox = inbox.next_epoch();
    let opener = Opener::new(process, opening, inbox, &mailbox);
    let (mut opened, stood_by) = match opener.open() {
        Ok(opened) => opened,
        Err(exit) => return Ended::Left(exit),
    };
    if let Some(past) = past {
        let Handover {
            journal,
            memory,
            send,
            ..
        } = opened.past;
        // What this process knows is newer than what it has written down, but not than what
        // another has that has worked meanwhile.
        opened.past = Handover {
            journal,
            memory: if stood_by { memory } else { past.memory },
            send,
            ..past
        };
    } else {
        // Somebody has started it, but for the runs that a timer starts.
        opened.past.by_hand = !matches!(process.mode, Mode::Once { no_wait: true, .. });
    }
    match Session::start(process, *opened, &mailbox) {
        Ok(mut session) => {
            let ended = session.run(inbox);
            session.release(ended)
        }
        Err(why) => Ended::Left(fail(&why)),
    }
}

fn fail(why: &str) -> Exit {
    log::error!(target: "dirpost", "{why}");
    Exit::Failed
}
