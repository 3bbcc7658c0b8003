//! A batch whose operations are carried out by several threads (`watch.threads`).
//!
//! Which of them may be under way at a time, and in which order the answers count, is decided in the core
//! ([`Batch::hand_out`]). Here are the threads: they live no longer than the batch, and none is started
//! for one file, or where calls are answered at once. A call that hangs holds up its batch, as it does
//! with one thread; what the others were answered stays with the batch.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::disk::RealDisk;
use crate::flow::filing::disk::{Answer, Disk, Operation};
use crate::flow::filing::{Batch, Fault, Order};
use crate::io::os::lock;

/// So many operations are handed out for each thread: one that takes long holds up the answers behind it,
/// and the others have something to do meanwhile.
const AHEAD: usize = 4;
/// Where a call takes longer on an average, several threads are worth their while: a rename takes
/// 10 to 50 us on a local disk, and 200 us to 1 ms over a local network.
const SLOW: Duration = Duration::from_micros(200);
/// So many calls are needed to tell, and twice as many are remembered at most.
const CALLS: u32 = 32;
/// The stack of a thread, in bytes.
const STACK: usize = 512 * 1024;

/// How long calls have taken of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    calls: u32,
    took: Duration,
}

impl Pace {
    fn add(&mut self, took: Duration) {
        self.calls += 1;
        self.took += took;
        if self.calls >= 2 * CALLS {
            self.calls /= 2;
            self.took /= 2;
        }
    }

    fn is_slow(self) -> bool {
        self.calls >= CALLS && self.took >= SLOW * self.calls
    }
}

/// What a thread has done.
struct Done {
    number: u64,
    answer: Result<Answer, Fault>,
    /// How long it took, where that says something of calls: nothing of how much there was to be read.
    took: Option<Duration>,
}

impl Done {
    fn by(disk: &mut dyn Disk, order: Order) -> Done {
        let Order { number, operation } = order;
        let began = Instant::now();
        let answer = operation.carry_out(disk);
        let is_call = !matches!(
            operation,
            Operation::Copy(..) | Operation::Digest(_) | Operation::SyncFolder(..)
        );
        Done {
            number,
            answer,
            took: is_call.then(|| began.elapsed()),
        }
    }
}

/// Files a batch away with so many threads at most, where that is worth their while.
pub(super) fn file(batch: &mut Batch, disk: &mut RealDisk<'_>, threads: usize, pace: &mut Pace) {
    let is_share = disk.is_share();
    while !is_share && !pace.is_slow() {
        match batch.hand_out() {
            Some(order) => take(batch, Done::by(disk, order), pace),
            None if !batch.step(disk) => return,
            None => {}
        }
    }
    let disks = (0..threads).map(|_| disk.another()).collect();
    conduct(batch, disk, disks, pace);
}

fn take(batch: &mut Batch, done: Done, pace: &mut Pace) {
    if let Some(took) = done.took {
        pace.add(took);
    }
    batch.hand_back(done.number, done.answer);
}

/// Has a batch carried out by one thread for each of `disks`; what has to be done alone is done here. Where
/// the system gives no threads, this one does it all.
pub(super) fn conduct<D: Disk + Send>(
    batch: &mut Batch,
    disk: &mut dyn Disk,
    disks: Vec<D>,
    pace: &mut Pace,
) {
    let (orders, waiting) = channel();
    let waiting = Mutex::new(waiting);
    let (done, answers) = channel();
    std::thread::scope(|scope| {
        // Dropped when the batch is through: then the threads end.
        let orders = orders;
        let mut started = 0;
        for disk in disks {
            let (waiting, done) = (&waiting, done.clone());
            let thread = std::thread::Builder::new()
                .name("file".into())
                .stack_size(STACK);
            let spawned = thread.spawn_scoped(scope, move || work(disk, waiting, &done));
            started += usize::from(spawned.is_ok());
        }
        drop(done);
        let mut out = 0;
        loop {
            while out < started * AHEAD
                && let Some(order) = batch.hand_out()
            {
                if orders.send(order).is_err() {
                    return;
                }
                out += 1;
            }
            if out == 0 {
                if !batch.step(disk) {
                    return;
                }
                continue;
            }
            let Ok(done) = answers.recv() else { return };
            out -= 1;
            take(batch, done, pace);
        }
    });
}

/// What one thread does: one operation after the other.
fn work(mut disk: impl Disk, waiting: &Mutex<Receiver<Order>>, done: &Sender<Done>) {
    loop {
        let next = lock(waiting).recv();
        let Ok(order) = next else { return };
        if done.send(Done::by(&mut disk, order)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_slow_when_they_take_a_round_trip_on_an_average_and_not_for_one_that_took_long() {
        let mut pace = Pace::default();
        pace.add(5 * CALLS * SLOW);
        assert!(!pace.is_slow(), "one call tells nothing");
        for _ in 0..20 * CALLS {
            pace.add(SLOW / 10);
        }
        assert!(!pace.is_slow());
        for _ in 0..2 * CALLS {
            pace.add(SLOW * 3);
        }
        assert!(pace.is_slow());
        for _ in 0..6 * CALLS {
            pace.add(SLOW / 10);
        }
        assert!(!pace.is_slow(), "what was long ago is forgotten");
    }
}
