//! The loop: inbox, engine, effects.
//!
//! The one place that knows both the core and the shell. Every other thread only does jobs
//! and puts what came of them into one bounded inbox; this one reads the clock once a turn,
//! hands the engine what has come, and carries out what it asks for. It never does I/O
//! that can hang: that is in the threads, so that signals and the log go on when a share
//! hangs.
//!
//! `opened` is the folder and all else that has to be open, `opening` waits until it is, and
//! `session` is one opening with its engine. `threads`, `workers` and `filer_thread` are what it starts,
//! `rules` what these go by, `reload` how that changes, `inbox` is how they are heard, and
//! `retry_news` what is to be heard before a look is used.

mod filer_thread;
mod inbox;
mod opened;
mod opening;
mod reload;
mod retry_news;
mod rules;
mod session;
mod skipping;
mod spawn;
mod threads;
mod workers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::LevelFilter;

use self::inbox::Inbox;
use self::opening::{Opener, Opening};
use self::reload::Current;
use self::session::{Ended, Session};
pub use self::skipping::skip_existing;
use self::spawn::spawn;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::flow::engine::Handover;
use crate::flow::messages::Finish;
use crate::flow::policy::Ending;
use crate::flow::status::Fault;
use crate::flow::time::{Mono, Now};
use crate::io::listen;
use crate::io::logging::writer::LogWriter;
use crate::io::os::{clock, lock, service, signal};
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

/// How a process is started.
#[allow(missing_debug_implementations)] // It holds a closure.
pub struct Start {
    /// What is wanted.
    pub config: Config,
    /// How it is run.
    pub mode: Mode,
    /// A state folder that belongs to another share is to belong to this one.
    pub adopt: bool,
    /// Where it is said what happens.
    pub log: LogWriter,
    /// The level of the log where the configuration says this one.
    pub level: Box<dyn Fn(Option<LevelFilter>) -> LevelFilter + Send + Sync>,
}

/// What all sessions of a process have in common.
struct Process {
    current: Mutex<Current>,
    /// How often the configuration was read again.
    reloads: AtomicU64,
    mode: Mode,
    log: LogWriter,
    level: Box<dyn Fn(Option<LevelFilter>) -> LevelFilter + Send + Sync>,
    started: Now,
    /// What is shown of the process.
    latest: Arc<Latest>,
}

impl Process {
    /// What is wanted now.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.current).config)
    }

    /// What is wrong with the configuration file.
    fn fault(&self) -> Option<Fault> {
        lock(&self.current).fault()
    }

    /// How often the configuration was read again.
    fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// As a status names it.
    fn named(&self) -> crate::flow::status::Process {
        let current = lock(&self.current);
        let is_once = self.mode != Mode::Run;
        status::process(&current.config, is_once, self.started.wall, current.read)
    }

    /// When `once` leaves, whatever is left.
    fn deadline(&self) -> Option<Mono> {
        match self.mode {
            Mode::Run => None,
            Mode::Once { deadline, .. } => Some(self.started.mono + deadline),
        }
    }

    /// When the engine ends by itself.
    fn ending(&self) -> Ending {
        match self.mode {
            Mode::Run => Ending::Never,
            Mode::Once { deadline, no_wait } => Ending::Once {
                deadline: self.started.mono + deadline,
                no_wait,
            },
        }
    }
}

/// Runs to the end.
pub fn run(start: Start) -> Exit {
    let Start {
        config,
        mode,
        adopt,
        log,
        level,
    } = start;
    let started = clock::now();
    let who = status::process(&config, mode != Mode::Run, started.wall, started.wall);
    let latest = Arc::new(Latest::new(who, started.wall));
    let is_asked = config.report.listen.is_some();
    let inbox = Inbox::new(is_asked.then(|| Arc::clone(&latest)));
    let reload = reload::reader(config.file.clone(), inbox.reloads());
    if let Err(err) = signal::listen(inbox.commands(), reload) {
        return fail(&format!("signals cannot be handled: {err}"));
    }
    // Also while the folder is not there: it is waited for.
    service::ready();
    let process = Arc::new(Process {
        current: Mutex::new(Current::new(config, started.wall)),
        reloads: AtomicU64::new(0),
        mode,
        log,
        level,
        started,
        latest,
    });
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
fn show(process: &Process) -> Result<(), String> {
    let config = process.config();
    let report = &config.report;
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
    process: &Arc<Process>,
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
