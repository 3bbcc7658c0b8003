use super::*;
use crate::flow::clock::ClockWatch;
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::endpoint::gate::Failure;
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::rng::Rng;
use crate::flow::time::{Now, Wall};
use std::time::Duration;

fn active(name: &str, mtime: i64) -> ActiveFile {
    let look = Look {
        stamp: Stamp {
            size: 1,
            mtime: Wall(mtime),
        },
        ..Look::default()
    };
    let still = Stability::new(look, Now::default(), &ClockWatch::new(Now::default()));
    ActiveFile::new(Rel::new(name.as_bytes()), still, None, Learned::default())
}

fn files<const N: usize>(in_order: bool, all: [(&str, i64); N]) -> (ActiveFiles, [FileNo; N]) {
    let order = if in_order {
        SendOrder::Mtime
    } else {
        SendOrder::Arrival
    };
    let mut files = ActiveFiles::new(order, in_order);
    let numbers = all.map(|(name, mtime)| files.add(active(name, mtime)));
    (files, numbers)
}

fn gate() -> Gate {
    let backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
    };
    Gate::new(backoff, Mono(0))
}

/// The names in the order in which an open gate lets them go.
fn sent(files: &mut ActiveFiles) -> Vec<String> {
    let gate = gate();
    let mut names = Vec::new();
    while let Some(file) = files.next_to_send(&gate, Mono(0)) {
        files.send(file);
        files.check();
        names.push(files.remove(file).unwrap().path.to_string());
    }
    names
}

#[test]
fn a_file_is_in_one_place_only() {
    let (mut files, [file]) = files(false, [("a", 1)]);
    files.enqueue(file, Queue::Fresh);
    files.put(file, Seat::Settling(Mono(5)));
    assert!(!files.has_ready() && files.next_timer() == Some(Mono(5)));
    files.enqueue(file, Queue::Again);
    assert!(files.has_ready() && files.next_timer().is_none());
    assert_eq!(files.count(At::Ready), 1);
    files.check();
    files.remove(file);
    assert!(!files.has_ready());
    assert_eq!((files.len(), files.count(At::Ready)), (0, 0));
    files.check();
}

#[test]
fn in_order_means_by_mtime_and_then_by_path_whether_they_were_tried_or_not() {
    let (mut files, [b, c, a]) = files(true, [("b", 2), ("c", 1), ("a", 2)]);
    files.enqueue(b, Queue::Fresh);
    files.enqueue(c, Queue::Again);
    files.enqueue(a, Queue::Fresh);
    assert_eq!(sent(&mut files), ["c", "a", "b"]);
}

#[test]
fn the_head_of_the_line_holds_it_until_it_is_released() {
    let (mut files, [a, b]) = files(true, [("a", 1), ("b", 2)]);
    files.enqueue(b, Queue::Fresh);
    files.enqueue(a, Queue::Fresh);
    files.send(a);
    assert_eq!(files.next_to_send(&gate(), Mono(0)), None, "one at a time");
    files.put(a, Seat::Pausing(Mono(9)));
    files.check();
    assert_eq!(
        files.next_to_send(&gate(), Mono(0)),
        None,
        "it holds the line"
    );
    files.enqueue(a, Queue::Again);
    assert_eq!(files.next_to_send(&gate(), Mono(0)), Some(a));
    files.put(a, Seat::Pausing(Mono(9)));
    files.release_line(a);
    assert_eq!(files.next_to_send(&gate(), Mono(0)), Some(b));
}

#[test]
fn files_never_tried_and_files_tried_before_take_turns() {
    let names = [("n1", 0), ("n2", 0), ("n3", 0), ("o1", 0), ("o2", 0)];
    let (mut files, [n1, n2, n3, o1, o2]) = files(false, names);
    for file in [n1, n2, n3] {
        files.enqueue(file, Queue::Fresh);
    }
    for file in [o1, o2] {
        files.enqueue(file, Queue::Again);
    }
    assert_eq!(sent(&mut files), ["n1", "o1", "n2", "o2", "n3"]);
}

#[test]
fn at_a_closed_gate_files_never_tried_probe_first_and_then_others_than_the_suspect() {
    let (mut files, [a, b, c]) = files(false, [("a", 0), ("b", 0), ("c", 0)]);
    let (mut gate, mut rng) = (gate(), Rng::new(1));
    let refused = Failure {
        file: a,
        verdict: Verdict::Refused,
        own_fault: false,
        wait: None,
    };
    gate.failed(refused, Mono(0), &mut rng);
    files.enqueue(a, Queue::Again);
    assert_eq!(
        files.next_to_send(&gate, Mono(0)),
        None,
        "the suspect waits"
    );
    files.enqueue(b, Queue::Again);
    assert_eq!(files.next_to_send(&gate, Mono(0)), Some(b));
    files.enqueue(c, Queue::Fresh);
    assert_eq!(files.next_to_send(&gate, Mono(0)), Some(c));
}

#[test]
fn timers_come_in_their_order_and_no_sooner() {
    let (mut files, [a, b]) = files(false, [("a", 0), ("b", 0)]);
    files.put(a, Seat::RetryFiling(Mono(20)));
    files.put(b, Seat::Settling(Mono(10)));
    assert_eq!((files.due(Mono(9)), files.due(Mono(30))), (None, Some(b)));
    files.put(b, Seat::Waiting);
    assert_eq!((files.due(Mono(19)), files.due(Mono(20))), (None, Some(a)));
}

#[test]
fn a_file_that_is_not_ready_any_more_does_not_hold_the_line() {
    for seat in [Seat::Settling(Mono(9)), Seat::Waiting, Seat::Filing] {
        let (mut files, [a, b]) = files(true, [("a", 1), ("b", 2)]);
        files.send(a);
        files.enqueue(b, Queue::Fresh);
        files.put(a, seat);
        files.check();
        assert_eq!(files.next_to_send(&gate(), Mono(0)), Some(b));
    }
}
