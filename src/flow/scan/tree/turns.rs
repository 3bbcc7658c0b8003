//! Whose turn it is among those that wait in the folders.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::folder::Folder;
use super::mark::State;
use super::queue::Queue;
use super::{Tree, Waiting};
use crate::config::SendOrder;
use crate::flow::file::{Fingerprint, Look, Rel};
use crate::flow::time::{Mono, Wall};

/// Into so many parts the room is cut, each for one folder.
const PARTS: usize = 8;

impl Folder {
    /// Sees to it that the first of those that wait is known.
    pub(super) fn refill_queue(&mut self) {
        let waiting = self.count().waiting;
        if self.queue.first().is_none() && waiting > 0 {
            self.queue.refill(&self.marks, waiting);
        } else if waiting == 0 {
            self.queue = Queue::default();
        }
    }

    /// Takes the first of those that wait out of the queue.
    fn take(&mut self, path: &Rel) -> Option<Waiting> {
        let at = self.queue.first()?;
        let State::Waiting(since) = self.state(at) else {
            return None;
        };
        let taken = self.waiting(path, at, since);
        self.put(at, State::InMotion, Fingerprint::default());
        Some(taken)
    }

    fn waiting(&self, path: &Rel, at: usize, since: Mono) -> Waiting {
        let name = self.known.name(at);
        Waiting {
            path: path.join(name),
            look: Look::faded(*self.known.value(at), self.marks[at].print, self.fs),
            since,
            marker: self.markers.get(name).copied(),
            timeless: self.timeless,
        }
    }

    /// Those that wait in it or are idle.
    fn all_waiting(&self) -> impl Iterator<Item = (usize, State, Mono)> {
        (0..self.marks.len()).filter_map(|at| {
            let state = self.state(at);
            Some((at, state, state.since()?))
        })
    }
}

impl Tree {
    /// When the first of those that wait is due.
    pub fn next_due(&self) -> Option<Mono> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes up to `room` of those that wait and are due by `now`; each is to be set in motion. From
    /// the folder of the one that has waited for the longest and from each other folder in turn.
    pub fn take_waiting(&mut self, room: usize, now: Mono) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let part = room.div_ceil(PARTS);
        while taken.len() < room {
            let Some(path) = self.next_folder(now) else {
                break;
            };
            let settle = self.settle;
            let upper = part.min(room - taken.len());
            self.change(&path, |folder| {
                for _ in 0..upper {
                    if folder.due(settle).is_none_or(|due| due > now) {
                        break;
                    }
                    taken.extend(folder.take(&path));
                }
            });
        }
        taken
    }

    /// The folder to take from: that of the first one, or the next in turn.
    fn next_folder(&mut self, now: Mono) -> Option<Rel> {
        let (due, first) = self.due.first()?;
        if *due > now {
            return None;
        }
        self.in_turn = !self.in_turn;
        if self.in_turn {
            return Some(first.clone());
        }
        let settle = self.settle;
        let is_due = |folder: &Folder| folder.due(settle).is_some_and(|due| due <= now);
        let behind = (Bound::Excluded(&self.turn), Bound::Unbounded);
        let mut in_order = self
            .folders
            .range::<Rel, _>(behind)
            .chain(self.folders.range(..=&self.turn));
        let next = in_order.find(|(_, folder)| is_due(folder));
        self.turn = next.map(|(path, _)| path.clone())?;
        Some(self.turn.clone())
    }

    /// Takes up to `room` of those that wait and are due by `now`: the first by `order`, which is not
    /// that of arrival. Gives also when the next of the others is due.
    pub fn take_first(
        &mut self,
        order: SendOrder,
        room: usize,
        now: Mono,
    ) -> (Vec<Waiting>, Option<Mono>) {
        let mut next: Option<Mono> = None;
        let mut first: BTreeSet<(Wall, Rel)> = BTreeSet::new();
        for (path, folder) in &self.folders {
            let settle = folder.settle(self.settle);
            for (at, state, since) in folder.all_waiting() {
                if !matches!(state, State::Waiting(_)) {
                    continue;
                }
                let due = since + settle;
                if due > now {
                    next = Some(next.map_or(due, |next| next.min(due)));
                    continue;
                }
                let time = match order {
                    SendOrder::Mtime => folder.known.value(at).mtime,
                    SendOrder::Name | SendOrder::Arrival => Wall::default(),
                };
                let is_behind = |(last_time, last): &(Wall, Rel)| {
                    time.cmp(last_time)
                        .then_with(|| path.cmp_entry(folder.known.name(at), last))
                        .is_gt()
                };
                if first.len() >= room && first.last().is_some_and(is_behind) {
                    continue;
                }
                first.insert((time, path.join(folder.known.name(at))));
                if first.len() > room {
                    first.pop_last();
                }
            }
        }
        let taken = first
            .into_iter()
            .filter_map(|(_, path)| self.take_waiting_at(&path));
        (taken.collect(), next)
    }

    /// Takes what waits or is idle at `path`; it is to be set in motion.
    pub fn take_waiting_at(&mut self, path: &Rel) -> Option<Waiting> {
        let parent = path.parent();
        let folder = self.folders.get(&parent)?;
        let at = folder.known.find(path.name())?;
        let since = folder.state(at).since()?;
        let taken = folder.waiting(&parent, at, since);
        self.change(&parent, |folder| {
            folder.put(at, State::InMotion, Fingerprint::default());
        });
        Some(taken)
    }

    /// Everything that waits or is idle, without a record.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting> {
        self.folders.iter().flat_map(|(path, folder)| {
            folder
                .all_waiting()
                .map(move |(at, _, since)| folder.waiting(path, at, since))
        })
    }

    /// The one that is due first of those that wait, and since when it has been still.
    pub fn longest_waiting(&self) -> Option<(Rel, Mono)> {
        let (_, path) = self.due.first()?;
        let folder = self.folders.get(path)?;
        let at = folder.queue.first()?;
        Some((path.join(folder.known.name(at)), folder.state(at).since()?))
    }

    /// How many of those that wait are not due yet, and how many bytes all of them have.
    pub fn tally(&self, now: Mono) -> (usize, u64) {
        let (mut settling, mut bytes) = (0, 0u64);
        for folder in self
            .folders
            .values()
            .filter(|folder| folder.count().waiting > 0)
        {
            let settle = folder.settle(self.settle);
            for (at, state, since) in folder.all_waiting() {
                if matches!(state, State::Waiting(_)) {
                    settling += usize::from(since + settle > now);
                    bytes = bytes.saturating_add(folder.known.value(at).size);
                }
            }
        }
        (settling, bytes)
    }
}
