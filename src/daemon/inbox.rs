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
/// woken is small then, and the delay cannot be noticed, nor where timers are as coarse as on Windows (16 ms).
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

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Option<Duration> = Some(Duration::from_secs(60));

    /// The number of a message, as the tests give it.
    fn number(message: Option<Message>) -> Option<usize> {
        match message {
            Some(Message::WorkerFree { worker, .. }) => Some(worker),
            _ => None,
        }
    }

    fn numbered(worker: usize) -> Message {
        Message::WorkerFree {
            worker,
            input: Input::Tick,
        }
    }

    #[test]
    fn no_stop_is_lost_while_one_session_follows_the_other() {
        let inbox = Inbox::new(None);
        for _ in 0..2_000 {
            let command = inbox.commands();
            let signals = std::thread::spawn(move || command(Command::Stop));
            // As the daemon does while all is opened again and again.
            let is_stop =
                |message: Message| matches!(message, Message::Input(Input::Command(Command::Stop)));
            let mut heard = false;
            for _ in 0..3 {
                let mailbox = inbox.next_epoch();
                mailbox.input(Input::Tick).unwrap();
                while let Some(message) = inbox.receive_now() {
                    heard |= is_stop(message);
                }
                while inbox.report_now().is_some() {}
            }
            heard = heard || inbox.receive(BOUND).is_some_and(is_stop);
            assert!(heard, "it is swallowed");
            signals.join().unwrap();
            assert!(inbox.receive_now().is_none(), "it was raised once");
        }
    }

    #[test]
    fn a_command_that_came_while_nobody_listened_is_heard_by_the_next_session() {
        let inbox = Inbox::new(None);
        // As the signal thread holds it, over all sessions.
        let command = inbox.commands();
        let first = inbox.next_epoch();
        first.send(numbered(1)).unwrap();
        command(Command::Stop);
        assert_eq!(inbox.report_now().map(|_| ()), Some(()));
        let second = inbox.next_epoch();
        second.send(numbered(2)).unwrap();
        assert!(matches!(
            inbox.receive(BOUND),
            Some(Message::Input(Input::Command(Command::Stop)))
        ));
        assert_eq!(number(inbox.receive(BOUND)), Some(2));
        command(Command::Scan);
        assert!(matches!(
            inbox.receive(BOUND),
            Some(Message::Input(Input::Command(Command::Scan)))
        ));
        assert!(inbox.receive_now().is_none());
    }

    #[test]
    fn a_signal_does_not_wait_for_room_in_the_inbox() {
        let inbox = Inbox::new(None);
        let mailbox = inbox.next_epoch();
        for at in 0..INBOX_MAX {
            mailbox.send(numbered(at)).unwrap();
        }
        // Nobody reads: a call that waits would never come back.
        inbox.commands()(Command::Scan);
        inbox.commands()(Command::Stop);
        let next = || match inbox.receive(BOUND) {
            Some(Message::Input(Input::Command(command))) => Some(command),
            _ => None,
        };
        assert_eq!((next(), next()), (Some(Command::Stop), Some(Command::Scan)));
    }

    #[test]
    fn threads_of_a_session_that_is_over_are_told_so_and_not_listened_to() {
        let inbox = Inbox::new(None);
        let first = inbox.next_epoch();
        first.send(numbered(1)).unwrap();
        let second = inbox.next_epoch();
        assert!(first.send(numbered(3)).is_err());
        assert!(inbox.receive(Some(Duration::ZERO)).is_none());
        second.send(numbered(4)).unwrap();
        assert_eq!(number(inbox.receive_now()), Some(4));
    }

    #[test]
    fn a_full_inbox_holds_a_thread_of_a_session_that_is_over_for_no_longer_than_it_is_read() {
        let inbox = Inbox::new(None);
        let first = inbox.next_epoch();
        let reporter = std::thread::spawn(move || {
            (0..=10 * INBOX_MAX)
                .find(|&at| first.send(numbered(at)).is_err())
                .is_some()
        });
        while number(inbox.receive(BOUND)).is_none() {}
        let second = inbox.next_epoch();
        let waker = std::thread::spawn(move || second.send(numbered(7)));
        assert_eq!(number(inbox.receive(BOUND)), Some(7));
        assert!(reporter.join().unwrap(), "it goes on and on");
        waker.join().unwrap().unwrap();
    }

    /// Waits until so many threads wait for room.
    fn wait_for_waiting(inbox: &Inbox, senders: usize) {
        let started = Instant::now();
        while lock(&inbox.shared.reports).senders_waiting != senders {
            assert!(started.elapsed() < Duration::from_secs(60), "nobody waits");
            std::thread::yield_now();
        }
    }

    #[test]
    fn nothing_is_lost_or_reordered_on_its_way_from_any_thread() {
        const SENDERS: usize = 8;
        const EACH: usize = 5_000;
        let inbox = Inbox::new(None);
        let mailbox = inbox.next_epoch();
        let threads: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || {
                    for at in 0..EACH {
                        let message = numbered(sender * EACH + at);
                        // The last ones of all are such that nobody waits for.
                        if at % 100 == sender {
                            mailbox.send(message).unwrap();
                        } else {
                            mailbox.send_unhurried(message).unwrap();
                        }
                    }
                })
            })
            .collect();
        let mut read = [0; SENDERS];
        for turn in 0..SENDERS * EACH {
            // As the loop does: it waits for the first one, and takes some that are there.
            let there = if turn % 3 == 0 {
                None
            } else {
                inbox.receive_now()
            };
            let message = there.or_else(|| inbox.receive(BOUND));
            let number = number(message).expect("a message is lost, or nobody was woken");
            let (sender, at) = (number / EACH, number % EACH);
            assert_eq!(at, read[sender], "of thread {sender}");
            read[sender] += 1;
        }
        assert!(inbox.receive_now().is_none());
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_reader_that_naps_is_woken_by_what_is_urgent_and_by_many_of_the_others_and_one_that_waits_by_any()
     {
        let is_woken = |reader: Reader, haste: Haste, queued: usize| {
            let shared = Shared::default();
            {
                let mut reports = lock(&shared.reports);
                reports.reader = reader;
                reports.queue.extend((0..queued).map(numbered));
            }
            shared.tell_reader(lock(&shared.reports), haste);
            matches!(lock(&shared.reports).reader, Reader::Reads)
        };
        assert!(!is_woken(Reader::Naps, Haste::Unhurried, 1));
        assert!(is_woken(Reader::Naps, Haste::Urgent, 1));
        // Before anybody has to wait for room.
        let many = (1..INBOX_MAX).find(|&many| is_woken(Reader::Naps, Haste::Unhurried, many));
        assert!(many.is_some_and(|many| many > 1), "{many:?}");
        assert!(is_woken(Reader::Waits, Haste::Unhurried, 1));
        assert!(is_woken(Reader::Waits, Haste::Urgent, 1));
    }

    #[test]
    fn a_reader_naps_once_for_what_nobody_waited_for_and_then_waits() {
        let inbox = Inbox::new(None);
        let mailbox = inbox.next_epoch();
        mailbox.send_unhurried(numbered(1)).unwrap();
        assert_eq!(number(inbox.receive(BOUND)), Some(1));
        let reader = std::thread::spawn(move || number(inbox.receive(BOUND)));
        let state = |wanted: fn(&Reader) -> bool| {
            let started = Instant::now();
            while !wanted(&lock(&mailbox.shared.reports).reader) {
                assert!(started.elapsed() < Duration::from_secs(60), "it naps on");
                std::thread::yield_now();
            }
        };
        // However long it napped: nobody has woken it.
        state(|reader| matches!(reader, Reader::Waits));
        mailbox.send_unhurried(numbered(2)).unwrap();
        assert_eq!(reader.join().unwrap(), Some(2));
    }

    #[test]
    fn who_finds_the_inbox_full_waits_and_goes_on_when_it_is_read() {
        const BEYOND: usize = 3;
        let inbox = Inbox::new(None);
        let mailbox = inbox.next_epoch();
        for at in 0..INBOX_MAX {
            mailbox.send(numbered(at)).unwrap();
        }
        let threads: Vec<_> = (0..BEYOND)
            .map(|at| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || mailbox.send(numbered(INBOX_MAX + at)))
            })
            .collect();
        wait_for_waiting(&inbox, BEYOND);
        assert_eq!(lock(&inbox.shared.reports).queue.len(), INBOX_MAX);
        for at in 0..INBOX_MAX {
            assert_eq!(number(inbox.receive(BOUND)), Some(at));
        }
        let mut beyond: Vec<_> = (0..BEYOND).map(|_| number(inbox.receive(BOUND))).collect();
        beyond.sort();
        let wanted: Vec<_> = (0..BEYOND).map(|at| Some(INBOX_MAX + at)).collect();
        assert_eq!(beyond, wanted);
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
        assert_eq!(lock(&inbox.shared.reports).senders_waiting, 0);
    }

    #[test]
    fn who_waits_for_room_is_told_when_its_session_is_over_and_when_nobody_reads_any_more() {
        let inbox = Inbox::new(None);
        let mut mailbox = inbox.next_epoch();
        for is_last in [false, true] {
            for at in 0..INBOX_MAX {
                mailbox.send(numbered(at)).unwrap();
            }
            let waiting = mailbox.clone();
            let thread = std::thread::spawn(move || waiting.send(numbered(7)));
            wait_for_waiting(&inbox, 1);
            if is_last {
                drop(inbox);
                assert!(thread.join().unwrap().is_err());
                break;
            }
            mailbox = inbox.next_epoch();
            assert!(thread.join().unwrap().is_err());
            assert!(inbox.receive_now().is_none(), "it was for nobody");
        }
    }

    #[test]
    fn a_command_wakes_whoever_waits_for_a_message() {
        let inbox = Inbox::new(None);
        let command = inbox.commands();
        let (heard, next) = std::sync::mpsc::channel();
        let signals = std::thread::spawn(move || {
            while next.recv().is_ok() {
                command(Command::Scan);
            }
        });
        for round in 0..2_000 {
            heard.send(()).unwrap();
            let message = inbox.receive(BOUND);
            let is_scan = matches!(message, Some(Message::Input(Input::Command(Command::Scan))));
            assert!(is_scan, "round {round}: {message:?}");
        }
        drop(heard);
        signals.join().unwrap();
    }
}
