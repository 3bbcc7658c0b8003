//! Threads and signals that tell a reader, whatever it does meanwhile.

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
