//! One folder: its names, and how a new listing of it is merged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::mark::{Base, Mark, State};
use super::queue::Queue;
use super::{Count, Event, Waiting};
use crate::config::Settle;
use crate::flow::file::{FileNo, Fingerprint, FsKind, Look, Rel, Stamp};
use crate::flow::messages::Content;
use crate::flow::scan::listing::{Listing, Pair, merge};
use crate::flow::settle::{RESTLESS_AFTER, calm, settle_time};
use crate::flow::time::{Mono, Now, Wall};

/// Whether a file of this name, with this look and this marker, need not wait for its writer.
pub type IsReady<'a> = dyn Fn(&[u8], &Look, Option<&Look>) -> bool + 'a;

/// What a comparison of what is known and what is listed comes to.
#[derive(Default)]
struct Compared {
    /// The mark of each name that is listed.
    marks: Vec<Mark>,
    /// What was at rest and is not there any more.
    gone: Vec<(Box<[u8]>, Stamp)>,
}

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

    // ---- listings -------------------------------------------------------------------

    /// Merges the complete listing `content` of this folder, which lies at `path`.
    pub(super) fn merge(
        &mut self,
        path: &Rel,
        content: Content,
        how: &Merging<'_>,
        events: &mut Vec<Event>,
    ) {
        self.consolidate();
        self.is_listed = true;
        self.timeless = content.timeless;
        self.folders = content.folders;
        self.markers = content.markers;
        let mut files = content.files;
        self.unseen = content.unseen;
        if self.is_as_before(&files) {
            self.forget_missing(path, how.horizon, events);
            return;
        }
        self.keep_unseen(&mut files);
        let Compared { marks, gone } = self.compare(path, &files, how, events);
        for (name, stamp) in gone {
            events.push(Event::Away {
                path: path.join(&name),
                stamp,
            });
            self.away.insert(name, (stamp, how.now.wall));
        }
        for (name, &file) in &self.moving {
            if files.find(name).is_none() && !is_in(&self.unseen, name) {
                events.push(Event::Missing { file });
            }
        }
        if let Some((_, look)) = files.iter().next() {
            self.fs = look.fs;
        }
        self.known = files.map(|look| look.stamp);
        self.known.shrink();
        self.base = Base::at(how.now.mono);
        self.set_marks(marks);
        self.end_changing(how);
        self.forget_missing(path, how.horizon, events);
        self.left.retain(|_, left| *left >= how.scan);
    }

    /// Whether all is at rest, and is listed again: the usual case, in which nothing is built.
    fn is_as_before(&self, files: &Listing<Look>) -> bool {
        self.marks.is_empty()
            && self.moving.is_empty()
            && self.away.is_empty()
            && self.left.is_empty()
            && self.unseen.is_empty()
            && self.known.has_names_of(files)
            && (0..files.len()).all(|at| files.value(at).stamp == *self.known.value(at))
    }

    /// Enters what is known of names that could not be looked at into the listing: they stay what
    /// they were.
    fn keep_unseen(&self, files: &mut Listing<Look>) {
        for name in &self.unseen {
            let known = self.known.find(name).filter(|_| files.find(name).is_none());
            if let Some(at) = known {
                let look = Look::faded(*self.known.value(at), self.mark(at).print, self.fs);
                files.insert(name, look);
            }
        }
    }

    /// Walks along what is known and what is listed. Gives the mark of each name that is listed, and
    /// what was at rest and is not there any more.
    fn compare(
        &mut self,
        path: &Rel,
        files: &Listing<Look>,
        how: &Merging<'_>,
        events: &mut Vec<Event>,
    ) -> Compared {
        let base = Base::at(how.now.mono);
        let mut marks = Vec::with_capacity(files.len());
        let mut gone = Vec::new();
        let mut room = how.room;
        let mut away = std::mem::take(&mut self.away);
        let calm = calm(self.settle(how.settle));
        for pair in merge(&self.known, files) {
            let (at, before) = match pair {
                Pair::Old(old) => {
                    let stamp = *self.known.value(old);
                    match self.state(old) {
                        State::AtRest => gone.push((self.known.name(old).into(), stamp)),
                        State::Waiting(_) | State::Idle(_) if !how.takes_new => {
                            events.push(Event::Vanished { stamp });
                        }
                        _ => {}
                    }
                    continue;
                }
                Pair::New(new) => (new, None),
                Pair::Both(old, new) => (new, Some(old)),
            };
            let (name, &look) = (files.name(at), files.value(at));
            let marker = self.markers.get(name).copied();
            let rested = before.filter(|&old| self.state(old) == State::AtRest);
            let rested = rested.map(|old| *self.known.value(old));
            if let Some(&file) = self.moving.get(name) {
                if !is_in(&self.unseen, name) {
                    events.push(Event::Seen { file, look, marker });
                }
                gone.extend(rested.map(|stamp| (name.into(), stamp)));
                marks.push(Mark::new(State::InMotion, Fingerprint::default(), base));
                continue;
            }
            if rested == Some(look.stamp) {
                marks.push(Mark::AT_REST);
                continue;
            }
            let missing = away.get(name).filter(|_| rested.is_none());
            if missing.is_some_and(|(stamp, _)| *stamp == look.stamp) {
                away.remove(name);
                let (path, stamp) = (path.join(name), look.stamp);
                events.push(Event::Back { path, stamp });
                marks.push(Mark::AT_REST);
                continue;
            }
            gone.extend(rested.map(|stamp| (name.into(), stamp)));
            let state = self.state_of(name, before, &look, marker.as_ref(), how);
            let is_new = before.is_none_or(|old| self.state(old).since().is_none());
            let state = match state {
                State::Waiting(since) if is_new && how.tells_late => {
                    events.push(Event::Late(Waiting {
                        path: path.join(name),
                        look,
                        since,
                        marker,
                        timeless: self.timeless,
                    }));
                    State::PassedOver(None)
                }
                State::Waiting(_) | State::Idle(_) if is_new && !how.takes_new => {
                    State::PassedOver(None)
                }
                State::Waiting(_) | State::Idle(_) if is_new && room > 0 => {
                    room -= 1;
                    events.push(Event::New {
                        name: name.into(),
                        look,
                        marker,
                    });
                    State::InMotion
                }
                state => state,
            };
            marks.push(Mark::new(state, look.fingerprint(), base));
            let has_changed = before.is_some_and(|old| {
                self.state(old).since().is_some() && *self.known.value(old) != look.stamp
            });
            let is_kept = self.changing.contains_key(name) || self.changing.len() < CHANGING;
            if has_changed && is_kept && state.since().is_some() {
                let now = how.now.mono;
                let begun = Changing {
                    since: now,
                    last: now,
                };
                let changing = self.changing.entry(name.into()).or_insert(begun);
                if now.since(changing.last) >= calm {
                    *changing = begun;
                }
                changing.last = now;
            }
        }
        self.away = away;
        Compared { marks, gone }
    }

    /// What a name is that is neither in motion nor at rest.
    fn state_of(
        &self,
        name: &[u8],
        before: Option<usize>,
        look: &Look,
        marker: Option<&Look>,
        how: &Merging<'_>,
    ) -> State {
        let mark = before.map(|old| self.mark(old));
        let has_left = match mark {
            Some(mark) => mark.has_left_in(how.scan),
            None => self.left.get(name).is_some_and(|&left| left >= how.scan),
        };
        if has_left {
            return State::PassedOver(Some(how.scan));
        }
        let is_same = |old: usize, mark: &Mark| {
            *self.known.value(old) == look.stamp && mark.print == look.fingerprint()
        };
        let known = before.zip(mark).filter(|(old, mark)| is_same(*old, mark));
        let since = known
            .and_then(|(_, mark)| mark.state(self.base).since())
            .unwrap_or_else(|| (how.since)(look));
        if (how.is_ready)(name, look, marker) {
            State::Waiting(since)
        } else {
            State::Idle(since)
        }
    }

    /// Takes over the marks of what is `known` now.
    fn set_marks(&mut self, marks: Vec<Mark>) {
        let (mut at_rest, mut waiting, mut idle) = (0, 0, 0);
        for mark in &marks {
            match mark.state(self.base) {
                State::AtRest => at_rest += 1,
                State::Waiting(_) => waiting += 1,
                State::Idle(_) => idle += 1,
                State::InMotion | State::Left(_) | State::PassedOver(_) => {}
            }
        }
        (self.at_rest, self.waiting, self.idle) = (at_rest, waiting, idle);
        self.marks = marks;
        if self.at_rest == self.known.len() {
            self.marks = Vec::new();
        }
        self.queue.clear();
        self.refill_queue();
    }

    /// Forgets which files keep changing, where they have come to rest, or do not wait here any more.
    fn end_changing(&mut self, how: &Merging<'_>) {
        let mut changing = std::mem::take(&mut self.changing);
        changing.retain(|name, it| {
            let at = self.known.find(name);
            let waits = at.is_some_and(|at| self.state(at).since().is_some());
            waits && how.now.mono.since(it.last) < calm(self.settle(how.settle))
        });
        self.changing = changing;
    }

    /// The files that wait here and have not come to rest for so long that it is worth saying, and since
    /// when.
    pub(super) fn restless(
        &self,
        setting: Settle,
        now: Mono,
    ) -> impl Iterator<Item = (&[u8], Mono)> {
        let calm = calm(self.settle(setting));
        let is_restless =
            move |it: &Changing| now.since(it.since) >= RESTLESS_AFTER && now.since(it.last) < calm;
        let restless = self.changing.iter().filter(move |(_, it)| is_restless(it));
        restless.map(|(name, it)| (&**name, it.since))
    }

    /// The folder itself is gone. What was delivered in it stays known as what is missing anywhere.
    pub(super) fn vanish(&mut self, path: &Rel, how: &Merging<'_>, events: &mut Vec<Event>) {
        events.extend(self.moving.values().map(|&file| Event::Missing { file }));
        let folders = std::mem::take(&mut self.folders);
        let moving = std::mem::take(&mut self.moving);
        self.merge(path, Content::default(), how, events);
        (self.folders, self.moving) = (folders, moving);
    }

    /// Forgets what has been away since before `horizon`.
    pub(super) fn forget_missing(&mut self, path: &Rel, horizon: Wall, events: &mut Vec<Event>) {
        self.away.retain(|name, (stamp, since)| {
            let keep = *since > horizon;
            if !keep {
                events.push(Event::Forgotten {
                    path: path.join(name),
                    stamp: *stamp,
                });
            }
            keep
        });
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

/// Whether `name` is one of the sorted `names`.
fn is_in(names: &[Vec<u8>], name: &[u8]) -> bool {
    !names.is_empty()
        && names
            .binary_search_by(|other| other.as_slice().cmp(name))
            .is_ok()
}
