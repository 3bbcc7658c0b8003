//! The loop: inbox, engine, effects.
//!
//! The one place that knows both the core and the shell. Every other thread only does jobs
//! and puts what came of them into one bounded inbox; this one reads the clock once a turn,
//! hands the engine what has come, and carries out what it asks for. It never does I/O
//! that can hang: that is in the threads, so that signals and the log go on when a share
//! hangs.

mod session;
mod threads;

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use self::session::{Ended, Session};
use crate::config::Config;
use crate::flow::alarm::Alarm;
use crate::flow::engine::Handover;
use crate::flow::messages::{Command, Input};
use crate::flow::time::Mono;
use crate::io::fault::OpenError;
use crate::io::journal::Journal;
use crate::io::logging::words;
use crate::io::memory_file;
use crate::io::os::clock;
use crate::io::os::signal;
use crate::io::send_fingerprint;
use crate::io::share::Share;
use crate::io::share::state::{self, StateDir};

/// How it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until it is stopped.
    Run,
    /// Until what is there is dealt with, or for so long; with `no_wait` no longer than there is
    /// something to do.
    Once { deadline: Duration, no_wait: bool },
}

/// The exit codes, as `--help` lists them.
pub mod code {
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const LEFT: u8 = 3;
    pub const DEAD: u8 = 4;
    pub const LOCKED: u8 = 5;
}

/// What threads put into the inbox.
enum Message {
    Input(Input),
    /// The same, from a worker that is free again.
    Free(usize, Input),
    Opened(Result<Box<Opened>, OpenError>),
}

/// Everything that had to be opened.
struct Opened {
    share: Share,
    state: StateDir,
    journal: Journal,
    past: Handover,
    /// Lines of the journal that could not be read.
    unreadable: usize,
}

/// The inbox holds so many; who has more to say waits.
const INBOX: usize = 1024;
/// A standby looks so often whether the lock is free.
const STANDBY: Duration = Duration::from_millis(500);
/// How often a folder that is missing is looked for.
const AWAY: Duration = Duration::from_secs(2);

/// Runs to the end.
pub fn run(config: &Config, mode: Mode, adopt: bool) -> ExitCode {
    let (first, mut inbox) = sync_channel(INBOX);
    let current = Arc::new(Mutex::new(first));
    let commands = Arc::clone(&current);
    let listening = signal::listen(move |command| {
        let inbox = commands.lock().expect("no thread panics with it").clone();
        drop(inbox.send(Message::Input(Input::Command(command))));
    });
    if let Err(err) = listening {
        return fail(&format!("signals cannot be handled: {err}"));
    }
    let started = clock::now().mono;
    let mut past: Option<Handover> = None;
    let until = if let Mode::Once { deadline, .. } = mode {
        Some(started + deadline)
    } else {
        None
    };
    let mut opening = Opening {
        adopt,
        anew: false,
        until,
    };
    loop {
        let send = current.lock().expect("no thread panics with it").clone();
        let (mut opened, stood_by) = match open(config, mode, opening, &send, &inbox) {
            Ok(opened) => opened,
            Err(code) => return code,
        };
        // It was said of the folder as it was at the start.
        opening = Opening {
            adopt: false,
            anew: true,
            ..opening
        };
        if let Some(past) = past.take() {
            let Handover {
                live, memory, send, ..
            } = opened.past;
            // What this process knows is newer than what it has written down, but not than what
            // another has that has worked meanwhile.
            opened.past = Handover {
                live,
                memory: if stood_by { memory } else { past.memory },
                send,
                ..past
            };
        } else {
            // Somebody has started it, but for the runs that a timer starts.
            opened.past.by_hand = !matches!(mode, Mode::Once { no_wait: true, .. });
        }
        let ended = match Session::start(config, mode, started, *opened, &send) {
            Ok(mut daemon) => {
                let ended = daemon.turn_until_done(&inbox);
                daemon.let_go(&ended);
                ended
            }
            Err(why) => Ended::Left(fail(&why)),
        };
        match ended {
            Ended::Left(code) => return code,
            Ended::Anew(known) => past = Some(*known),
        }
        // A new inbox: what the threads of the old folder still say is about the old folder.
        let (send, next) = sync_channel(INBOX);
        *current.lock().expect("no thread panics with it") = send;
        let stop = inbox
            .try_iter()
            .any(|message| matches!(message, Message::Input(Input::Command(Command::Stop))));
        if stop {
            return stopped(mode);
        }
        inbox = next;
    }
}

fn fail(why: &str) -> ExitCode {
    log::error!(target: "dirpost", "{why}");
    ExitCode::from(code::FAILED)
}

/// It was stopped while it did not know what is there.
fn stopped(mode: Mode) -> ExitCode {
    if mode == Mode::Run {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(code::LEFT)
    }
}

/// How everything is opened.
#[derive(Clone, Copy, Debug)]
struct Opening {
    adopt: bool,
    /// It was open before.
    anew: bool,
    /// `once` waits no longer than this.
    until: Option<Mono>,
}

/// Opens everything; waits, in `run`, for a folder that is missing and for the lock. Says whether
/// another had the lock meanwhile.
fn open(
    config: &Config,
    mode: Mode,
    opening: Opening,
    send: &SyncSender<Message>,
    inbox: &Receiver<Message>,
) -> Result<(Box<Opened>, bool), ExitCode> {
    let mut away = Alarm::default();
    let mut standby = false;
    loop {
        let (own, reply) = (config.clone(), send.clone());
        // In a thread of its own: on a hung share this may take as long as the share likes.
        thread::spawn(move || drop(reply.send(Message::Opened(open_all(&own, opening.adopt)))));
        let pause = match wait_opened(inbox, mode, opening.until)? {
            Ok(opened) => {
                if standby {
                    log::info!(target: "dirpost", "the lock is free: working from now on");
                } else if let Some(since) = away.clear(clock::now().mono) {
                    log::info!(target: "dirpost", "share: there after {}", words::span(since));
                } else if opening.anew {
                    log::info!(target: "dirpost", "opened anew: the lock is ours, the journal is read");
                }
                return Ok((opened, standby));
            }
            // What was in order once is so again when its share is.
            Err(OpenError::Fault(why)) if !(opening.anew && mode == Mode::Run) => {
                return Err(fail(&why));
            }
            Err(OpenError::Away(why) | OpenError::Fault(why)) => {
                if mode != Mode::Run {
                    log::error!(target: "dirpost", "share: {why}");
                    return Err(ExitCode::from(code::LEFT));
                }
                if away.raise(&why, clock::now().mono).is_some() {
                    log::error!(target: "dirpost", "share: {why}; waiting for it");
                }
                AWAY
            }
            Err(OpenError::Locked(holder)) => {
                if mode != Mode::Run {
                    log::error!(target: "dirpost", "another dirpost works on this folder (token, host, pid: {holder})");
                    return Err(ExitCode::from(code::LOCKED));
                }
                if !standby {
                    log::info!(target: "dirpost", "standby: another dirpost works on this folder (token, host, pid: {holder})");
                }
                standby = true;
                STANDBY
            }
        };
        pause_or_stop(inbox, pause)?;
    }
}

fn open_all(config: &Config, adopt: bool) -> Result<Box<Opened>, OpenError> {
    let (share, state) = Share::open(config, adopt)?;
    let (journal, replay) = Journal::open(&state.folder, clock::wall())
        .map_err(|err| state::fault(&config.state.dir.join("journal"), &err))?;
    let past = Handover {
        live: replay.live,
        memory: memory_file::read(&state.folder),
        send: send_fingerprint::of(&config.send),
        ..Handover::default()
    };
    Ok(Box::new(Opened {
        share,
        state,
        journal,
        past,
        unreadable: replay.unreadable,
    }))
}

fn wait_opened(
    inbox: &Receiver<Message>,
    mode: Mode,
    until: Option<Mono>,
) -> Result<Result<Box<Opened>, OpenError>, ExitCode> {
    loop {
        let wait = until.map_or(Duration::MAX, |until| until.since(clock::now().mono));
        match inbox.recv_timeout(wait) {
            Ok(Message::Opened(result)) => return Ok(result),
            Ok(Message::Input(Input::Command(Command::Stop)))
            | Err(RecvTimeoutError::Disconnected) => {
                return Err(stopped(mode));
            }
            Err(RecvTimeoutError::Timeout) => {
                log::error!(target: "dirpost", "share: opening it hangs, and the deadline is over");
                return Err(ExitCode::from(code::LEFT));
            }
            Ok(_) => {}
        }
    }
}

fn pause_or_stop(inbox: &Receiver<Message>, pause: Duration) -> Result<(), ExitCode> {
    match inbox.recv_timeout(pause) {
        Ok(Message::Input(Input::Command(Command::Stop))) | Err(RecvTimeoutError::Disconnected) => {
            Err(ExitCode::SUCCESS)
        }
        _ => Ok(()),
    }
}
