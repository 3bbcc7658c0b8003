//! One folder: its names, and how a new listing of it is merged.

mod merging;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Count;
use super::mark::{Base, Mark, State};
use super::queue::Queue;
use crate::config::Settle;
use crate::flow::file::{FileNo, Fingerprint, FsKind, Look, Stamp};
use crate::flow::scan::listing::{Listing, Pair, merge};
use crate::flow::scan::names_hash::{Named, NamesHash};
use crate::flow::settle::settle_time;
use crate::flow::time::{Mono, Now, Wall};

/// Whether a file of this name, with this look and this marker, need not wait for its writer.
pub type IsReady<'a> = dyn Fn(&[u8], &Look, Option<&Look>) -> bool + 'a;

/// How a listing is to be merged.
#[expect(
    missing_debug_implementations,
    reason = "functions have nothing to show"
)]
pub struct Merging<'a> {
    /// The number of the scan that made it.
    pub scan: u64,
    /// When that is.
    pub now: Now,
    /// What has been away since before is forgotten.
    pub horizon: Wall,
    /// For so many new files there is room for a record; the others wait in the folder.
    pub room: usize,
    /// Whether new files are wanted at all. Where they are not, what was not delivered and is gone is
    /// told of, too.
    pub takes_new: bool,
    /// Whether files that are new and not wanted are told of.
    pub tells_late: bool,
    /// How long a file has to be still.
    pub settle: Settle,
    /// Since when a file counts as still at its first look.
    pub since: &'a dyn Fn(&Look) -> Mono,
    /// See [`IsReady`].
    pub is_ready: &'a IsReady<'a>,
}

/// Of how many files that wait in a folder it is remembered, at most, that they keep changing: a hundred
/// bytes each.
const CHANGING: usize = 256;

/// A file that waits without a record changes again and again.
#[derive(Clone, Copy, Debug)]
struct Changing {
    since: Mono,
    /// When it was last seen to have changed.
    last: Mono,
}

/// See the module. A folder in which everything is at rest keeps no marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) known: Listing<Stamp>,
    /// One for each of `known`; empty where all of them are at rest.
    pub(super) marks: Vec<Mark>,
    pub(super) base: Base,
    /// What kind of file system it lies on, going by the last listing.
    pub(super) fs: FsKind,
    /// The markers in the last listing, under the names of their files.
    pub(super) markers: Listing<Look>,
    /// What came to rest and is not in `known`.
    recent: BTreeMap<Box<[u8]>, Stamp>,
    moving: BTreeMap<Box<[u8]>, FileNo>,
    /// What was at rest and is missing, and since when.
    away: BTreeMap<Box<[u8]>, (Stamp, Wall)>,
    /// What was filed away and is not in `known`, with the number of the scan that was under way.
    left: BTreeMap<Box<[u8]>, u64>,
    changing: BTreeMap<Box<[u8]>, Changing>,
    /// It was listed, and not only known of from before.
    pub(super) is_listed: bool,
    /// Its file system keeps no mtimes.
    pub(super) timeless: bool,
    /// The names in it that could not be looked at, sorted.
    pub(super) unseen: Vec<Vec<u8>>,
    /// Names of the folders in it, sorted.
    pub(super) folders: Vec<Vec<u8>>,
    pub(super) queue: Queue,
    at_rest: usize,
    waiting: usize,
    idle: usize,
}

impl Folder {
    // ---- one name -------------------------------------------------------------------

    pub(super) fn enter(&mut self, folder: &[u8]) {
        if let Err(at) = self
            .folders
            .binary_search_by(|name| name.as_slice().cmp(folder))
        {
            self.folders.insert(at, folder.to_vec());
        }
    }

    pub(super) fn moving(&self, name: &[u8]) -> Option<FileNo> {
        self.moving.get(name).copied()
    }

    pub(super) fn set_moving(&mut self, name: &[u8], file: FileNo) {
        self.recent.remove(name);
        self.moving.insert(name.into(), file);
        if let Some(at) = self.known.find(name) {
            self.put(at, State::InMotion, Fingerprint::default());
        }
    }

    pub(super) fn set_waiting(
        &mut self,
        name: &[u8],
        look: &Look,
        since: Mono,
        marker: Option<Look>,
    ) {
        self.moving.remove(name);
        self.left.remove(name);
        let at = self.place_of(name, look.stamp);
        self.put(at, State::Waiting(since), look.fingerprint());
        self.fs = look.fs;
        if let Some(marker) = marker
            && self.markers.find(name).is_none()
        {
            self.markers.insert(name, marker);
        }
    }

    pub(super) fn rests(&self, name: &[u8]) -> bool {
        self.recent.contains_key(name)
            || self.away.contains_key(name)
            || self
                .known
                .find(name)
                .is_some_and(|at| self.state(at) == State::AtRest)
    }

    pub(super) fn set_left(&mut self, name: &[u8], scan: Option<u64>) {
        self.moving.remove(name);
        if let Some(at) = self.known.find(name) {
            self.put(at, State::Left(scan), Fingerprint::default());
        } else if let Some(scan) = scan {
            self.left.insert(name.into(), scan);
        }
    }

    pub(super) fn set_resting(&mut self, name: &[u8], stamp: Stamp) {
        self.moving.remove(name);
        self.away.remove(name);
        self.left.remove(name);
        match self.known.find(name) {
            Some(at) => {
                *self.known.value_mut(at) = stamp;
                self.put(at, State::AtRest, Fingerprint::default());
            }
            None => {
                self.recent.insert(name.into(), stamp);
                // So few that they cost little, and so many that each name is moved only so often.
                if self.recent.len() > 64 + self.known.len() / 16 {
                    self.consolidate();
                }
            }
        }
    }

    /// All of `rest` is at rest in it.
    pub(super) fn restore(&mut self, rest: Listing<Stamp>) {
        if self.known.is_empty() {
            self.at_rest = rest.len();
            self.known = rest;
            return;
        }
        for (name, stamp) in rest.iter() {
            if self.moving(name).is_none() {
                self.set_resting(name, *stamp);
            }
        }
    }

    pub(super) fn set_away(&mut self, name: &[u8], stamp: Stamp, since: Wall) {
        self.away.insert(name.into(), (stamp, since));
    }

    pub(super) fn forget_delivered(&mut self, name: &[u8]) {
        self.recent.remove(name);
        self.away.remove(name);
        if let Some(at) = self.known.find(name)
            && self.state(at) == State::AtRest
        {
            self.put(at, State::PassedOver(None), Fingerprint::default());
        }
    }

    /// Where `name` is in `known`, where it is put if it is not there yet.
    fn place_of(&mut self, name: &[u8], stamp: Stamp) -> usize {
        self.consolidate();
        let at = match self.known.find(name) {
            Some(at) => {
                *self.known.value_mut(at) = stamp;
                return at;
            }
            None => self.known.insert(name, stamp),
        };
        if !self.marks.is_empty() {
            self.marks.insert(at, Mark::AT_REST);
        }
        self.at_rest += 1;
        self.queue.clear();
        at
    }

    pub(super) fn state(&self, at: usize) -> State {
        self.mark(at).state(self.base)
    }

    fn mark(&self, at: usize) -> Mark {
        self.marks.get(at).copied().unwrap_or(Mark::AT_REST)
    }

    /// Gives entry `at` another state.
    pub(super) fn put(&mut self, at: usize, state: State, print: Fingerprint) {
        let before = self.mark(at);
        let mark = Mark::new(state, print, self.base);
        if mark == before {
            return;
        }
        if self.marks.is_empty() {
            self.marks = vec![Mark::AT_REST; self.known.len()];
        }
        self.marks[at] = mark;
        for (state, by) in [(before.state(self.base), -1), (state, 1)] {
            let count = match state {
                State::AtRest => &mut self.at_rest,
                State::Waiting(_) => &mut self.waiting,
                State::Idle(_) => &mut self.idle,
                State::InMotion | State::Left(_) | State::PassedOver(_) => continue,
            };
            *count = count.saturating_add_signed(by);
        }
        self.shed_marks();
        let (old, new) = (before.waiting_step(), mark.waiting_step());
        self.queue.moved(at, old, new);
        self.refill_queue();
    }

    /// Takes what came to rest into `known`.
    fn consolidate(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let recent = std::mem::take(&mut self.recent);
        self.at_rest += recent.len();
        let mut news = Listing::new();
        for (name, stamp) in recent {
            news.push(&name, stamp);
        }
        let mut known = Listing::with_room_of(&self.known, &news);
        let mut marks = Vec::new();
        for pair in merge(&self.known, &news) {
            let mark = match pair {
                Pair::Old(at) | Pair::Both(at, _) => {
                    known.push(self.known.name(at), *self.known.value(at));
                    self.mark(at)
                }
                Pair::New(at) => {
                    known.push(news.name(at), *news.value(at));
                    Mark::AT_REST
                }
            };
            if !self.marks.is_empty() {
                marks.push(mark);
            }
        }
        self.known = known;
        self.marks = marks;
        self.queue.clear();
        self.refill_queue();
    }

    // ---- all of it ------------------------------------------------------------------

    pub(super) fn count(&self) -> Count {
        Count {
            at_rest: self.at_rest + self.recent.len(),
            waiting: self.waiting,
            idle: self.idle,
            moving: self.moving.len(),
        }
    }

    /// Whether all names in it are at rest, and were looked at.
    fn only_rests(&self) -> bool {
        self.marks.is_empty()
            && self.moving.is_empty()
            && self.left.is_empty()
            && self.unseen.is_empty()
    }

    /// Where everything is at rest no marks are kept.
    fn shed_marks(&mut self) {
        if self.at_rest == self.known.len() {
            self.marks = Vec::new();
        }
    }

    /// The names that are expected in it, if all of them are at rest.
    pub(super) fn expected(&self) -> Option<NamesHash> {
        self.only_rests().then(|| {
            let known = self.known.iter().map(|(name, _)| name);
            let recent = self.recent.keys().map(Box::as_ref);
            let mut names = NamesHash::default();
            known
                .chain(recent)
                .for_each(|name| names.add(Named::File, name));
            self.folders
                .iter()
                .for_each(|name| names.add(Named::Folder, name));
            names
        })
    }

    pub(super) fn is_forgettable(&self) -> bool {
        self.at_rest == 0
            && self.recent.is_empty()
            && self.away.is_empty()
            && self.moving.is_empty()
    }

    pub(super) fn settle(&self, setting: Settle) -> Duration {
        settle_time(setting, self.fs)
    }

    /// When the first of those that wait is due.
    pub(super) fn due(&self, setting: Settle) -> Option<Mono> {
        let at = self.queue.first()?;
        Some(self.state(at).since()? + self.settle(setting))
    }

    /// Whether something in it depends on a look.
    pub(super) fn needs_look(&self, setting: Settle, now: Mono) -> bool {
        let is_past = |mark: &Mark| match mark.state(self.base) {
            State::Waiting(since) => since + self.settle(setting) <= now,
            State::Idle(_) | State::Left(_) | State::PassedOver(_) => false,
            State::AtRest | State::InMotion => true,
        };
        !self.unseen.is_empty() || !self.left.is_empty() || !self.marks.iter().all(is_past)
    }

    pub(super) fn check(&self) {
        assert!(self.marks.is_empty() || self.marks.len() == self.known.len());
        assert!(
            self.marks.is_empty() || self.at_rest < self.known.len(),
            "a folder in which everything is at rest keeps no marks"
        );
        let (mut at_rest, mut waiting, mut idle) = (0, 0, 0);
        for at in 0..self.known.len() {
            let name = self.known.name(at);
            let state = self.state(at);
            match state {
                State::AtRest => at_rest += 1,
                State::Waiting(_) => waiting += 1,
                State::Idle(_) => idle += 1,
                State::InMotion | State::Left(_) | State::PassedOver(_) => {}
            }
            assert!(
                state == State::InMotion || !self.moving.contains_key(name),
                "a name in motion is nothing else"
            );
            assert!(
                !self.recent.contains_key(name),
                "what came to rest is known once"
            );
        }
        assert_eq!(
            (at_rest, waiting, idle),
            (self.at_rest, self.waiting, self.idle)
        );
        self.queue.check(&self.marks, self.waiting);
    }
}
