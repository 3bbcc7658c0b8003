//! The inbox: what signals and threads tell the loop.
//!
//! There is one for the whole process, so that no signal is ever put into one that nobody reads any
//! more. What threads report belongs to the session that started them: a mailbox carries the epoch
//! of its session, and what comes from an earlier one is about handles and an engine that are gone,
//! and is passed over.
//!
//! Threads wait where the inbox is full. Signals never do: a command is a flag that stays up until
//! it is read, for the thread that hears the first signal must be free to hear the second.
//!
//! It is a mutex and two condition variables, not a channel of the standard library: that one wakes
//! its reader while it holds a lock that the reader wants first, so that each wake-up costs two waits.
//! Here nobody is woken under the lock, and nobody who does not wait; and the reader takes all
//! that has come at once.
//!
//! Being woken costs more than most messages do. So where messages come that nobody waits for
//! ([`Mailbox::send_unhurried`]), the reader naps for a moment after it has read some, and is not
//! woken by more of that kind: it finds them together.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::opened::OpenResult;
use super::reload::Reloaded;
use crate::flow::file::FileNo;
use crate::flow::filing::Filed;
use crate::flow::messages::{Command, Input};
use crate::io::Gone;
use crate::io::os::clock;
use crate::io::os::lock;
use crate::io::os::service::Service;
use crate::io::status::{Latest, TURN_EVERY};

/// Upper bound on the reports that wait to be taken; who has more to say waits. As many may have been
/// taken and not read yet.
pub(super) const INBOX_MAX: usize = 128;

/// How long a message that nobody waits for may lie. The share of its time that a loop spends on being
/// woken is small then, and the delay cannot be noticed, not even where timers are as coarse as 16 ms (Windows).
const NAP: Duration = Duration::from_millis(1);

/// What comes out of the inbox.
#[derive(Debug)]
pub(super) enum Message {
    /// For the engine: what a thread of this epoch has to say, or what a person or the service
    /// manager wants of whoever works by now.
    Input(Input),
    /// From a worker that is free again.
    WorkerFree { worker: usize, input: Input },
    /// From the filing thread: what came of a batch. One message, so that the loop is woken once.
    Filed(Vec<(FileNo, Filed)>),
    /// The folder and all that belongs to it was opened, or could not be.
    Opened(OpenResult),
    /// The configuration was read again, or could not be.
    Reloaded(Reloaded),
}

/// The end that is read.
pub(super) struct Inbox {
    shared: Arc<Shared>,
    /// What was taken and not read yet, all of it of the current epoch.
    taken: RefCell<VecDeque<Message>>,
    /// Whose watchdog is fed by whoever reads: that the loop comes round is what it is to see.
    service: RefCell<Service>,
    /// Where it is written down that the loop comes round, for those who ask from outside.
    latest: Option<Arc<Latest>>,
}

/// Where the threads of one epoch put their reports.
#[derive(Clone)]
pub(super) struct Mailbox {
    shared: Arc<Shared>,
    epoch: u64,
}

#[derive(Default)]
struct Shared {
    raised: Raised,
    /// The configuration as it was read last, until it is taken over.
    reloaded: Mutex<Option<Reloaded>>,
    reports: Mutex<Reports>,
    /// Something has come for a reader that waits.
    news: Condvar,
    /// There is room for those who wait for it, or what they have to say is for nobody any more.
    room: Condvar,
}

/// Said where a lock turns out to be poisoned: see [`lock`].
const NO_PANIC: &str = "a thread that panics ends the process, or its test";

/// The commands that were raised and not read yet. They are raised under the lock, so that none is
/// missed by a reader that is about to wait.
#[derive(Default)]
struct Raised {
    stop: AtomicBool,
    scan: AtomicBool,
    /// The configuration was read again.
    reload: AtomicBool,
}

#[derive(Default)]
struct Reports {
    /// All of the current epoch, the oldest first.
    queue: VecDeque<Message>,
    /// The epoch whose reports are listened to.
    epoch: u64,
    reader: Reader,
    /// What nobody waits for has come since the reader waited last.
    has_unhurried: bool,
    /// How many threads wait for room.
    senders_waiting: usize,
}

/// What the reader does.
#[derive(Default)]
enum Reader {
    /// It reads, or was woken to.
    #[default]
    Reads,
    /// It waits for anything.
    Waits,
    /// It waits for a moment, and for what is urgent.
    Naps,
}

/// Whether somebody waits for what comes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haste {
    Urgent,
    Unhurried,
}

impl Raised {
    fn flag(&self, command: Command) -> &AtomicBool {
        match command {
            Command::Stop => &self.stop,
            Command::Scan => &self.scan,
        }
    }

    /// One that was raised; a stop goes first.
    fn take(&self) -> Option<Command> {
        [Command::Stop, Command::Scan]
            .into_iter()
            .find(|&command| self.flag(command).swap(false, Ordering::SeqCst))
    }

    fn is_any(&self) -> bool {
        let all = [&self.stop, &self.scan, &self.reload];
        all.iter().any(|flag| flag.load(Ordering::SeqCst))
    }
}

impl Shared {
    /// Lets go of the lock, and then wakes the reader if it waits for what has come.
    fn tell_reader(&self, mut reports: MutexGuard<'_, Reports>, haste: Haste) {
        let waits = match reports.reader {
            Reader::Reads => false,
            Reader::Waits => true,
            // Nobody is to wait for room because the reader naps.
            Reader::Naps => haste == Haste::Urgent || reports.queue.len() >= INBOX_MAX / 2,
        };
        if waits {
            reports.reader = Reader::Reads;
        }
        drop(reports);
        if waits {
            self.news.notify_one();
        }
    }

    /// Lets go of the lock, and then wakes all who wait for room.
    fn tell_senders(&self, reports: MutexGuard<'_, Reports>) {
        let wait = reports.senders_waiting > 0;
        drop(reports);
        if wait {
            self.room.notify_all();
        }
    }
}

impl Inbox {
    /// `latest`: where it is written down that the loop comes round, if anybody asks for that.
    pub(super) fn new(latest: Option<Arc<Latest>>) -> Inbox {
        Inbox {
            shared: Arc::default(),
            taken: RefCell::default(),
            service: RefCell::default(),
            latest,
        }
    }

    /// Raises commands, whatever the epoch is, and never waits.
    pub(super) fn commands(&self) -> impl Fn(Command) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |command| {
            let reports = lock(&shared.reports);
            shared.raised.flag(command).store(true, Ordering::SeqCst);
            shared.tell_reader(reports, Haste::Urgent);
        }
    }

    /// Leaves a configuration that was read again, in place of one that nobody has taken over yet,
    /// whatever the epoch is; never waits.
    pub(super) fn reloads(&self) -> impl Fn(Reloaded) + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move |reloaded| {
            *lock(&shared.reloaded) = Some(reloaded);
            let reports = lock(&shared.reports);
            shared.raised.reload.store(true, Ordering::SeqCst);
            shared.tell_reader(reports, Haste::Urgent);
        }
    }

    /// Begins the next epoch: from now on its reports are listened to, and no others.
    pub(super) fn next_epoch(&self) -> Mailbox {
        let mut reports = lock(&self.shared.reports);
        reports.epoch += 1;
        let epoch = reports.epoch;
        let over = std::mem::take(&mut reports.queue);
        self.shared.tell_senders(reports);
        // Not under the lock: what they hold is closed, which may take as long as a share likes.
        drop(over);
        self.taken.take();
        Mailbox {
            shared: Arc::clone(&self.shared),
            epoch,
        }
    }

    /// The next message; `None` after `bound` without one.
    pub(super) fn receive(&self, bound: Option<Duration>) -> Option<Message> {
        // A bound beyond what the clock can count is none.
        let until = bound.and_then(|bound| Instant::now().checked_add(bound));
        loop {
            self.service.borrow_mut().feed();
            if let Some(latest) = &self.latest {
                latest.turn(clock::mono());
            }
            if let Some(message) = self.receive_now() {
                return Some(message);
            }
            let feed = self.service.borrow().until_feeding();
            let turn = self.latest.as_ref().map(|_| TURN_EVERY);
            let round = feed.into_iter().chain(turn).min();
            let round = round.and_then(|left| Instant::now().checked_add(left));
            let wake = until.into_iter().chain(round).min();
            if !self.wait(wake) && until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
        }
    }

    /// Tells the service manager how things stand.
    pub(super) fn status(&self, sentence: impl FnOnce() -> String) {
        self.service.borrow_mut().status(sentence);
    }

    /// Waits until there may be something to read. False when it is `until`.
    fn wait(&self, until: Option<Instant>) -> bool {
        let mut reports = lock(&self.shared.reports);
        if !reports.queue.is_empty() || self.shared.raised.is_any() {
            return true;
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return false;
        }
        let naps = std::mem::take(&mut reports.has_unhurried);
        let (reader, left) = if naps {
            (Reader::Naps, Some(left.map_or(NAP, |left| left.min(NAP))))
        } else {
            (Reader::Waits, left)
        };
        reports.reader = reader;
        let mut reports = match left {
            None => self.shared.news.wait(reports).expect(NO_PANIC),
            Some(left) => {
                let waited = self.shared.news.wait_timeout(reports, left);
                waited.expect(NO_PANIC).0
            }
        };
        reports.reader = Reader::Reads;
        true
    }

    /// A message that is there already.
    pub(super) fn receive_now(&self) -> Option<Message> {
        if let Some(command) = self.shared.raised.take() {
            return Some(Message::Input(Input::Command(command)));
        }
        if self.shared.raised.reload.swap(false, Ordering::SeqCst)
            && let Some(reloaded) = lock(&self.shared.reloaded).take()
        {
            return Some(Message::Reloaded(reloaded));
        }
        self.report_now()
    }

    /// What a thread has said already. Commands stay for who comes next.
    pub(super) fn report_now(&self) -> Option<Message> {
        let mut taken = self.taken.borrow_mut();
        if taken.is_empty() {
            let mut reports = lock(&self.shared.reports);
            std::mem::swap(&mut *taken, &mut reports.queue);
            self.shared.tell_senders(reports);
        }
        taken.pop_front()
    }
}

/// Whoever goes on sending is told that it is for nobody.
impl Drop for Inbox {
    fn drop(&mut self) {
        drop(self.next_epoch());
    }
}

impl Mailbox {
    /// Sends, and waits for room.
    ///
    /// # Errors
    /// If the session is over: whatever the thread would do next is for nobody.
    pub(super) fn send(&self, message: Message) -> Result<(), Gone> {
        self.put(message, Haste::Urgent)
    }

    /// Sends what nobody waits for: it may lie for a millisecond, so that it is read with others.
    ///
    /// # Errors
    /// As [`Mailbox::send`].
    pub(super) fn send_unhurried(&self, message: Message) -> Result<(), Gone> {
        self.put(message, Haste::Unhurried)
    }

    fn put(&self, message: Message, haste: Haste) -> Result<(), Gone> {
        let mut reports = lock(&self.shared.reports);
        while reports.epoch == self.epoch && reports.queue.len() >= INBOX_MAX {
            reports.senders_waiting += 1;
            reports = self.shared.room.wait(reports).expect(NO_PANIC);
            reports.senders_waiting -= 1;
        }
        if reports.epoch != self.epoch {
            return Err(Gone);
        }
        reports.queue.push_back(message);
        reports.has_unhurried |= haste == Haste::Unhurried;
        self.shared.tell_reader(reports, haste);
        Ok(())
    }

    /// Sends an input for the engine.
    ///
    /// # Errors
    /// As [`Mailbox::send`].
    pub(super) fn input(&self, input: Input) -> Result<(), Gone> {
        self.send(Message::Input(input))
    }
}
