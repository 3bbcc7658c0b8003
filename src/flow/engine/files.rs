//! A file in motion: its record, and the queues that files in motion wait in.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::alarm::Alarm;
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::filing::Filing;
use crate::flow::settle::Stability;
use crate::flow::time::{Mono, Wall};

/// Everything known of a file that is not at rest.
#[derive(Debug)]
pub(super) struct ActiveFile {
    pub path: Rel,
    pub still: Stability,
    pub state: State,
    /// Its marker, as it was last seen.
    pub marker: Option<Look>,
    /// The marker that vouched for a version which was accepted: it does not count again.
    pub used_marker: Option<Stamp>,
    /// This version has passed `[check]`; with the digest, if it was read for that.
    pub checked: Option<Option<[u8; 32]>>,
    /// Since when this version has looked unfinished to a check.
    pub unfinished: Option<Mono>,
    pub first_seen: Wall,
    /// Attempts to deliver this version that were answered or failed.
    pub attempts: u32,
    /// Failures that count against its own clock.
    pub own_failures: u32,
    /// It has a fault of its own: it failed before another file was accepted.
    pub own: bool,
    /// The gate's open clock (ms) at the first failure, for `retry.give_up_after`.
    pub first_failure: Option<u128>,
    /// It is not tried again before.
    pub not_before: Option<Mono>,
    /// The failures that count against its own clock.
    pub failing: Alarm,
    /// Troubles with opening, reading or filing it, in a row.
    pub troubles: u32,
    /// The last of them.
    pub trouble: Alarm,
    /// What is to be filed, once it is accepted or condemned.
    pub filing: Option<Box<Filing>>,
    /// It has left its place on the way to where it is filed: what is listed there is another
    /// version, with a record of its own.
    pub detached: bool,
    /// The digest of what was sent.
    pub sent: Option<[u8; 32]>,
    /// Where it stands in the queue or among the timers, so that it can be taken out.
    pub slot: Slot,
}

/// Where a file in motion is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Until it has been still for long enough; a timer says when that may be.
    Settling,
    /// For a change that only its writer can make: a marker, or content.
    Waiting,
    /// In the queue for CHECK.
    ToInspect,
    Inspecting,
    /// In the queue for DELIVER.
    Ready,
    Sending,
    /// Until its own clock lets it try again.
    Pausing,
    /// Being filed away, or until filing is tried again.
    Filing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    None,
    Timer(Mono),
    Queue(Queue, Rank),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// For CHECK.
    Inspect,
    /// For DELIVER, never tried.
    Fresh,
    /// For DELIVER, tried before.
    Again,
}

/// The order within a queue: of arrival there, or (`send.in_order`) of mtime, then path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(pub i64, pub Option<Rel>);

impl ActiveFile {
    pub fn new(path: Rel, still: Stability, marker: Option<Look>, first_seen: Wall) -> ActiveFile {
        ActiveFile {
            path,
            still,
            state: State::Waiting,
            marker,
            used_marker: None,
            checked: None,
            unfinished: None,
            first_seen,
            attempts: 0,
            own_failures: 0,
            own: false,
            first_failure: None,
            not_before: None,
            failing: Alarm::default(),
            troubles: 0,
            trouble: Alarm::default(),
            filing: None,
            detached: false,
            sent: None,
            slot: Slot::None,
        }
    }

    /// A job is out for it: nothing else may be done with it until that is back.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.state,
            State::Inspecting | State::Sending | State::Filing
        )
    }

    /// Whether more is known of it than a look.
    pub fn has_learned(&self) -> bool {
        self.attempts > 0 || self.unfinished.is_some() || self.used_marker.is_some()
    }

    /// What was learned of the last version does not hold for a new one.
    pub fn forget_version(&mut self, first_seen: Wall) {
        self.checked = None;
        self.unfinished = None;
        self.first_seen = first_seen;
        self.attempts = 0;
        self.own_failures = 0;
        self.own = false;
        self.first_failure = None;
        self.not_before = None;
        self.failing = Alarm::default();
        self.troubles = 0;
        self.trouble = Alarm::default();
        self.filing = None;
        self.detached = false;
        self.sent = None;
    }
}

/// The files in motion, by number, with their queues and timers.
#[derive(Debug, Default)]
pub(super) struct ActiveFiles {
    files: BTreeMap<FileNo, ActiveFile>,
    last: FileNo,
    timers: BTreeSet<(Mono, FileNo)>,
    inspect: BTreeSet<(Rank, FileNo)>,
    fresh: BTreeSet<(Rank, FileNo)>,
    again: BTreeSet<(Rank, FileNo)>,
    arrivals: i64,
    /// How many are in each state, by [`State`]'s order.
    counts: [usize; 8],
}

impl ActiveFiles {
    pub fn get(&self, file: FileNo) -> Option<&ActiveFile> {
        self.files.get(&file)
    }

    /// For everything but `state` and `slot`, which [`ActiveFiles::put`] keeps.
    pub fn get_mut(&mut self, file: FileNo) -> Option<&mut ActiveFile> {
        self.files.get_mut(&file)
    }

    pub fn iter(&self) -> impl Iterator<Item = (FileNo, &ActiveFile)> {
        self.files.iter().map(|(file, motion)| (*file, motion))
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    pub fn add(&mut self, motion: ActiveFile) -> FileNo {
        self.last += 1;
        self.counts[motion.state as usize] += 1;
        self.files.insert(self.last, motion);
        self.last
    }

    pub fn remove(&mut self, file: FileNo) -> Option<ActiveFile> {
        self.unslot(file);
        let motion = self.files.remove(&file)?;
        self.counts[motion.state as usize] -= 1;
        Some(motion)
    }

    /// Puts `file` into `state`, out of any queue and timer.
    pub fn put(&mut self, file: FileNo, state: State) {
        self.unslot(file);
        let Some(motion) = self.files.get_mut(&file) else {
            return;
        };
        self.counts[motion.state as usize] -= 1;
        self.counts[state as usize] += 1;
        motion.state = state;
    }

    /// Puts `file` into `state` until `due`.
    pub fn put_until(&mut self, file: FileNo, state: State, due: Mono) {
        self.put(file, state);
        if let Some(motion) = self.files.get_mut(&file) {
            motion.slot = Slot::Timer(due);
            self.timers.insert((due, file));
        }
    }

    /// Puts `file` at the end of `queue`, or in its place by mtime and path.
    pub fn enqueue(&mut self, file: FileNo, queue: Queue, in_order: bool) {
        let state = if queue == Queue::Inspect {
            State::ToInspect
        } else {
            State::Ready
        };
        self.put(file, state);
        self.arrivals += 1;
        let arrival = self.arrivals;
        let Some(motion) = self.files.get_mut(&file) else {
            return;
        };
        let rank = if in_order {
            Rank(motion.still.look.stamp.mtime.0, Some(motion.path.clone()))
        } else {
            Rank(arrival, None)
        };
        motion.slot = Slot::Queue(queue, rank.clone());
        self.queue(queue).insert((rank, file));
    }

    fn unslot(&mut self, file: FileNo) {
        let Some(motion) = self.files.get_mut(&file) else {
            return;
        };
        match std::mem::replace(&mut motion.slot, Slot::None) {
            Slot::None => {}
            Slot::Timer(due) => {
                self.timers.remove(&(due, file));
            }
            Slot::Queue(queue, rank) => {
                self.queue(queue).remove(&(rank, file));
            }
        }
    }

    fn queue(&mut self, queue: Queue) -> &mut BTreeSet<(Rank, FileNo)> {
        match queue {
            Queue::Inspect => &mut self.inspect,
            Queue::Fresh => &mut self.fresh,
            Queue::Again => &mut self.again,
        }
    }

    /// How many are being filed away now; the others in that state wait to be tried again.
    pub fn being_filed(&self) -> usize {
        if self.count(State::Filing) == 0 {
            return 0;
        }
        self.files
            .values()
            .filter(|motion| motion.state == State::Filing && motion.slot == Slot::None)
            .count()
    }

    /// The first in `queue`, with its rank.
    pub fn first(&self, queue: Queue) -> Option<&(Rank, FileNo)> {
        match queue {
            Queue::Inspect => self.inspect.first(),
            Queue::Fresh => self.fresh.first(),
            Queue::Again => self.again.first(),
        }
    }

    /// The first in the queue of those tried before that is not `but`.
    pub fn first_again_but(&self, but: FileNo) -> Option<FileNo> {
        self.again
            .iter()
            .map(|(_, file)| *file)
            .find(|&file| file != but)
    }

    pub fn next_timer(&self) -> Option<Mono> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Takes out a file whose timer is over.
    pub fn pop_due(&mut self, now: Mono) -> Option<FileNo> {
        let &(due, file) = self.timers.first()?;
        if due > now {
            return None;
        }
        self.unslot(file);
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::settle::ClockSteps;
    use crate::flow::time::Now;

    fn motion(name: &str, mtime: i64) -> ActiveFile {
        let look = Look {
            stamp: Stamp {
                size: 1,
                mtime: Wall(mtime),
            },
            ..Look::default()
        };
        let still = Stability::new(look, Now::default(), &ClockSteps::new(Now::default()));
        ActiveFile::new(Rel::new(name.as_bytes()), still, None, Wall(0))
    }

    #[test]
    fn a_file_is_in_one_place_only() {
        let mut motions = ActiveFiles::default();
        let file = motions.add(motion("a", 1));
        motions.enqueue(file, Queue::Fresh, false);
        motions.put_until(file, State::Settling, Mono(5));
        motions.enqueue(file, Queue::Again, false);
        assert!(motions.first(Queue::Fresh).is_none() && motions.next_timer().is_none());
        assert_eq!(motions.count(State::Ready), 1);
        motions.remove(file);
        assert!(motions.first(Queue::Again).is_none());
        assert_eq!((motions.len(), motions.count(State::Ready)), (0, 0));
    }

    #[test]
    fn in_order_means_by_mtime_and_then_by_path() {
        let mut motions = ActiveFiles::default();
        let files =
            [("b", 2), ("c", 1), ("a", 2)].map(|(name, mtime)| motions.add(motion(name, mtime)));
        for file in files {
            motions.enqueue(file, Queue::Fresh, true);
        }
        let mut names = Vec::new();
        while let Some((_, file)) = motions.first(Queue::Fresh).cloned() {
            names.push(motions.remove(file).unwrap().path.to_string());
        }
        assert_eq!(names, ["c", "a", "b"]);
    }
}
