//! Opening the folder, the lock and the journal; waiting for what is not there.

use std::time::Duration;

use super::inbox::{Inbox, Mailbox, Message};
use super::opened::{OpenResult, Opened, open_all};
use super::spawn::spawn;
use super::{Mode, Process};
use crate::cli::exit::Exit;
use crate::flow::alarm::Alarm;
use crate::flow::messages::{Command, Input};
use crate::flow::time::Mono;
use crate::io::logging::units::span;
use crate::io::logging::words;
use crate::io::os::clock;
use crate::io::share::{self, Before, LOCK_GONE_WAIT, OpenError};

/// Interval between two looks of a standby whether the lock is free.
const STANDBY: Duration = Duration::from_millis(500);
/// Interval between two looks for a folder that is missing.
const AWAY: Duration = Duration::from_secs(2);

/// How everything is opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Opening {
    /// What is known of the share, and what the user has said of it.
    pub(super) share: share::Opening,
    /// It was open before.
    pub(super) again: bool,
}

/// Why it is not open yet.
enum Obstacle {
    /// The folder is missing, or is not the share.
    Away(String),
    /// Another dirpost has the lock.
    Locked(String),
    /// The lock file is gone: a dirpost that may hold it gets time to make it again.
    LockGone(String),
}

/// One opening, with what it had to wait for so far.
pub(super) struct Opener<'a> {
    process: &'a Process,
    opening: Opening,
    inbox: &'a Inbox,
    mailbox: &'a Mailbox,
    away: Alarm,
    /// Another dirpost had the lock meanwhile.
    stood_by: bool,
    /// The lock file has been missing at every attempt since then.
    lock_gone: Option<Mono>,
}

impl<'a> Opener<'a> {
    pub(super) fn new(
        process: &'a Process,
        opening: Opening,
        inbox: &'a Inbox,
        mailbox: &'a Mailbox,
    ) -> Opener<'a> {
        Opener {
            process,
            opening,
            inbox,
            mailbox,
            away: Alarm::default(),
            stood_by: false,
            lock_gone: None,
        }
    }

    /// Opens everything; waits, in `run`, for a folder that is missing and for the lock. Says as
    /// well whether another dirpost had the lock meanwhile.
    ///
    /// # Errors
    /// How the process is to end, which has been said.
    pub(super) fn open(mut self) -> Result<(Box<Opened>, bool), Exit> {
        let config = self.process.config();
        let dir = config.watch.dir.display();
        self.inbox.status(|| format!("opening {dir}"));
        self.process.latest.opens(clock::wall());
        loop {
            self.start()?;
            let result = self.wait_opened()?;
            if !matches!(result, Err(OpenError::LockGone(_))) {
                (self.lock_gone, self.opening.share.make_lock) = (None, false);
            }
            let obstacle = match result {
                Ok(opened) => {
                    self.say_open();
                    return Ok((opened, self.stood_by));
                }
                // What was in order once is so again when its share is.
                Err(OpenError::Fault(why)) if !self.waits_for_faults() => {
                    return Err(super::fail(&why));
                }
                Err(OpenError::Away(why) | OpenError::Fault(why)) => Obstacle::Away(why),
                Err(OpenError::Locked(holder)) => Obstacle::Locked(words::holder(&holder)),
                Err(OpenError::LockGone(why)) => Obstacle::LockGone(why),
            };
            self.wait_behind(obstacle)?;
        }
    }

    fn waits_for_faults(&self) -> bool {
        self.opening.again && self.process.mode == Mode::Run
    }

    /// Opens it in a thread of its own: on a hung share this may take as long as the share likes.
    fn start(&self) -> Result<(), Exit> {
        let (config, mailbox) = (self.process.config(), self.mailbox.clone());
        let opening = self.opening.share.clone();
        spawn("open", move || {
            // Nobody waits for it only at the end of the process, which closes all.
            let _ = mailbox.send(Message::Opened(open_all(&config, &opening)));
        })
        .map_err(|why| super::fail(&why))
    }

    fn wait_opened(&self) -> Result<OpenResult, Exit> {
        loop {
            let until = self.process.deadline();
            let left = until.map(|until| until.since(clock::now().mono));
            match self.inbox.receive(left) {
                Some(Message::Opened(result)) => return Ok(result),
                Some(Message::Input(Input::Command(Command::Stop))) => {
                    return Err(self.process.mode.stopped());
                }
                Some(Message::Reloaded(reloaded)) => self.process.take_over(reloaded, |_| Ok(())),
                // Nothing else is under way, and all is looked at as soon as it is open.
                Some(_) => {}
                None => {
                    log::error!(
                        target: "dirpost",
                        "folder: {} is not open yet, and the deadline is over",
                        self.process.config().watch.dir.display()
                    );
                    return Err(Exit::Left);
                }
            }
        }
    }

    fn say_open(&mut self) {
        if self.stood_by {
            log::info!(target: "dirpost", "the lock is free: working from now on");
        } else if let Some(since) = self.away.clear(clock::now().mono) {
            log::info!(target: "dirpost", "folder: there after {}", span(since));
        } else if self.opening.again {
            log::info!(target: "dirpost", "opened again: the lock is ours, the journal is read");
        }
    }

    /// Says what is in the way, where that is due, and waits before the next try.
    fn wait_behind(&mut self, obstacle: Obstacle) -> Result<(), Exit> {
        let waits = self.process.mode == Mode::Run;
        let pause = match obstacle {
            Obstacle::Away(why) if !waits => {
                log::error!(target: "dirpost", "folder: {why}");
                return Err(Exit::Left);
            }
            Obstacle::Away(why) => {
                self.inbox
                    .status(|| format!("waiting for the folder: {why}"));
                let now = clock::now();
                let is_said = self.away.raise(&why, now.mono).is_some();
                let since = now.wall_of(self.away.since().unwrap_or(now.mono));
                self.process.latest.is_away(&why, since, now.wall);
                if is_said {
                    log::error!(target: "dirpost", "folder: {why}; waiting for it");
                }
                AWAY
            }
            // Of two runs of cron the later one often finds the earlier one at work: nothing is
            // wrong, and the exit code says it.
            Obstacle::Locked(holder) if !waits => {
                log::info!(target: "dirpost", "another dirpost works on this folder ({holder})");
                return Err(Exit::Locked);
            }
            Obstacle::Locked(holder) => {
                if !self.stood_by {
                    log::info!(
                        target: "dirpost",
                        "standby: another dirpost works on this folder ({holder})"
                    );
                }
                let status = format!("standby: another dirpost works on this folder ({holder})");
                self.inbox.status(|| status);
                self.process.latest.stands_by(&holder, clock::wall());
                self.stood_by = true;
                if self.opening.share.before == Before::Nothing {
                    self.opening.share.before = Before::StoodBy;
                }
                STANDBY
            }
            Obstacle::LockGone(why) => self.wait_for_lock_file(&why)?,
        };
        self.pause(pause)
    }

    /// How long to wait before the next look for a lock file that is gone. When it has been missing
    /// for long enough, it may be made.
    fn wait_for_lock_file(&mut self, why: &str) -> Result<Duration, Exit> {
        let now = clock::now().mono;
        if self.lock_gone.is_none() {
            log::warn!(
                target: "dirpost",
                "folder: {why}; waiting {} s for a dirpost that may hold the lock to make it again",
                LOCK_GONE_WAIT.as_secs()
            );
        }
        let missing = now.since(*self.lock_gone.get_or_insert(now));
        self.opening.share.make_lock = missing >= LOCK_GONE_WAIT;
        let pause = LOCK_GONE_WAIT.saturating_sub(missing).min(STANDBY);
        match self.process.deadline() {
            Some(until) if now >= until => {
                log::error!(target: "dirpost", "folder: {why}, and the deadline is over");
                Err(Exit::Left)
            }
            Some(until) => Ok(pause.min(until.since(now))),
            None => Ok(pause),
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), Exit> {
        match self.inbox.receive(Some(pause)) {
            Some(Message::Input(Input::Command(Command::Stop))) => Err(self.process.mode.stopped()),
            Some(Message::Reloaded(reloaded)) => {
                self.process.take_over(reloaded, |_| Ok(()));
                Ok(())
            }
            // A person who wants it to look now wants it to try now.
            _ => Ok(()),
        }
    }
}
