//! The inbox: what signals and threads tell the loop.
//!
//! There is one for the whole process, so that no signal is ever put into one that nobody reads any
//! more. What threads report belongs to the session that started them: each report carries the
//! epoch of its session, and what comes from an earlier one is about handles and an engine that are
//! gone, and is passed over.
//!
//! Threads wait where the inbox is full. Signals never do: a command is a flag that stays up until
//! it is read, for the thread that hears the first signal must be free to hear the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::opening::OpenResult;
use crate::flow::messages::{Command, Input};
use crate::io::Gone;

/// Upper bound on the reports in the inbox; who has more to say waits. The room for all of them is
/// in memory from the start, about 256 bytes each.
pub(super) const INBOX_MAX: usize = 128;

/// What comes out of the inbox.
#[derive(Debug)]
pub(super) enum Message {
    /// For the engine: what a thread of this epoch has to say, or what a person or the service
    /// manager wants of whoever works by now.
    Input(Input),
    /// From a worker that is free again.
    WorkerFree { worker: usize, input: Input },
    /// The folder and all that belongs to it was opened, or could not be.
    Opened(OpenResult),
}

struct Sent {
    epoch: u64,
    /// `None`: a command has been raised.
    message: Option<Message>,
}

/// The commands that were raised and not read yet.
#[derive(Default)]
struct Raised {
    stop: AtomicBool,
    scan: AtomicBool,
}

/// The end that is read.
pub(super) struct Inbox {
    receiver: Receiver<Sent>,
    sender: SyncSender<Sent>,
    raised: Arc<Raised>,
    /// The epoch whose reports are listened to.
    epoch: Arc<AtomicU64>,
}

/// Where the threads of one epoch put their reports.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: SyncSender<Sent>,
    epoch: u64,
    current: Arc<AtomicU64>,
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
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        let (sender, receiver) = sync_channel(INBOX_MAX);
        Inbox {
            receiver,
            sender,
            raised: Arc::default(),
            epoch: Arc::default(),
        }
    }

    /// Raises commands, whatever the epoch is, and never waits.
    pub(super) fn commands(&self) -> impl Fn(Command) + Send + 'static {
        let (sender, raised) = (self.sender.clone(), Arc::clone(&self.raised));
        move |command| {
            raised.flag(command).store(true, Ordering::SeqCst);
            // Where the inbox is full, whoever reads it is awake, and looks at the flags next.
            let _ = sender.try_send(Sent {
                epoch: 0,
                message: None,
            });
        }
    }

    /// Begins the next epoch: from now on its reports are listened to, and no others.
    pub(super) fn next_epoch(&self) -> Mailbox {
        let epoch = 1 + self.epoch.fetch_add(1, Ordering::SeqCst);
        Mailbox {
            sender: self.sender.clone(),
            epoch,
            current: Arc::clone(&self.epoch),
        }
    }

    /// The next message; `None` after `bound` without one.
    pub(super) fn receive(&self, bound: Option<Duration>) -> Option<Message> {
        // A bound beyond what the clock can count is none.
        let until = bound.and_then(|bound| Instant::now().checked_add(bound));
        loop {
            if let Some(command) = self.raised.take() {
                return Some(Message::Input(Input::Command(command)));
            }
            let sent = match until {
                None => self.receiver.recv().map_err(RecvTimeoutError::from),
                Some(until) => self
                    .receiver
                    .recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match sent {
                Ok(sent) => {
                    if let Some(message) = self.current(sent) {
                        return Some(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the inbox holds a sender"),
            }
        }
    }

    /// A message that is there already.
    pub(super) fn receive_now(&self) -> Option<Message> {
        match self.raised.take() {
            Some(command) => Some(Message::Input(Input::Command(command))),
            None => self.report_now(),
        }
    }

    /// What a thread has said already. Commands stay for who comes next.
    pub(super) fn report_now(&self) -> Option<Message> {
        self.receiver.try_iter().find_map(|sent| self.current(sent))
    }

    fn current(&self, sent: Sent) -> Option<Message> {
        sent.message
            .filter(|_| sent.epoch == self.epoch.load(Ordering::SeqCst))
    }
}

impl Mailbox {
    /// Sends, and waits for room.
    ///
    /// # Errors
    /// If the session is over: whatever the thread would do next is for nobody.
    pub(super) fn send(&self, message: Message) -> Result<(), Gone> {
        if self.epoch != self.current.load(Ordering::SeqCst) {
            return Err(Gone);
        }
        let sent = Sent {
            epoch: self.epoch,
            message: Some(message),
        };
        self.sender.send(sent).map_err(|_| Gone)
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
        let inbox = Inbox::new();
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
        let inbox = Inbox::new();
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
        let inbox = Inbox::new();
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
        let inbox = Inbox::new();
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
        let inbox = Inbox::new();
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
}
