//! A listing is merged with what is known of its folder: what is new, what has changed, and what is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{CHANGING, Changing, Folder, Merging};
use crate::config::Settle;
use crate::flow::file::{Fingerprint, Look, Rel, Stamp};
use crate::flow::messages::Content;
use crate::flow::scan::listing::{Listing, Pair, merge};
use crate::flow::scan::tree::mark::{Base, Mark, State};
use crate::flow::scan::tree::{Event, Waiting};
use crate::flow::settle::{RESTLESS_AFTER, calm};
use crate::flow::time::{Mono, Wall};

/// What a comparison of what is known and what is listed comes to.
#[derive(Default)]
struct Compared {
    /// The mark of each name that is listed.
    marks: Vec<Mark>,
    /// What was at rest and is not there any more.
    gone: Vec<(Box<[u8]>, Stamp)>,
}

/// A file that is listed.
struct Listed<'a> {
    /// The path of its folder.
    folder: &'a Rel,
    name: &'a [u8],
    look: Look,
    marker: Option<Look>,
    /// Where it stands among what is known, unless it is new.
    before: Option<usize>,
}

/// A file that waits without a record has changed. When it has been calm for so long, its changing begins
/// again.
fn note_change(all: &mut BTreeMap<Box<[u8]>, Changing>, name: &[u8], calm: Duration, now: Mono) {
    if !all.contains_key(name) && all.len() >= CHANGING {
        return;
    }
    let begun = Changing {
        since: now,
        last: now,
    };
    let changing = all.entry(name.into()).or_insert(begun);
    if now.since(changing.last) >= calm {
        *changing = begun;
    }
    changing.last = now;
}

impl Folder {
    /// Merges the complete listing `content` of this folder, which lies at `path`.
    pub(in super::super) fn merge(
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
        self.only_rests()
            && self.away.is_empty()
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
        let (mut marks, mut gone) = (Vec::with_capacity(files.len()), Vec::new());
        let mut room = how.room;
        let mut away = std::mem::take(&mut self.away);
        let calm = calm(self.settle(how.settle));
        for pair in merge(&self.known, files) {
            let (at, before) = match pair {
                Pair::Old(old) => {
                    gone.extend(self.missing(old, how, events));
                    continue;
                }
                Pair::New(new) => (new, None),
                Pair::Both(old, new) => (new, Some(old)),
            };
            let (name, &look) = (files.name(at), files.value(at));
            let marker = self.markers.get(name).copied();
            let listed = Listed {
                folder: path,
                name,
                look,
                marker,
                before,
            };
            let rested = self.rested(before);
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
            let state = self.state_of(&listed, how);
            let is_new = before.is_none_or(|old| self.state(old).since().is_none());
            let (state, event) = match is_new {
                true => self.take_new(&listed, state, how, &mut room),
                false => (state, None),
            };
            events.extend(event);
            marks.push(Mark::new(state, look.fingerprint(), base));
            if state.since().is_some() && self.has_changed(&listed) {
                note_change(&mut self.changing, name, calm, how.now.mono);
            }
        }
        self.away = away;
        Compared { marks, gone }
    }

    /// The state of a file that did not wait here until now and would be in `state`, and what is told of
    /// it. Where new files are not wanted it is passed over; while there is `room` for a record it gets
    /// one; otherwise it waits here.
    fn take_new(
        &self,
        listed: &Listed<'_>,
        state: State,
        how: &Merging<'_>,
        room: &mut usize,
    ) -> (State, Option<Event>) {
        let Listed { look, marker, .. } = *listed;
        match state {
            State::Waiting(since) if how.tells_late => {
                let late = Waiting {
                    path: listed.folder.join(listed.name),
                    look,
                    marker,
                    since,
                    timeless: self.timeless,
                };
                (State::PassedOver(None), Some(Event::Late(late)))
            }
            State::Waiting(_) | State::Idle(_) if !how.takes_new => (State::PassedOver(None), None),
            State::Waiting(_) | State::Idle(_) if *room > 0 => {
                *room -= 1;
                let name = listed.name.into();
                (State::InMotion, Some(Event::New { name, look, marker }))
            }
            state => (state, None),
        }
    }

    /// The version that was at rest there.
    fn rested(&self, before: Option<usize>) -> Option<Stamp> {
        let rested = before.filter(|&old| self.state(old) == State::AtRest);
        rested.map(|old| *self.known.value(old))
    }

    /// Whether a version that waits without a record is another one now.
    fn has_changed(&self, listed: &Listed<'_>) -> bool {
        listed.before.is_some_and(|old| {
            self.state(old).since().is_some() && *self.known.value(old) != listed.look.stamp
        })
    }

    /// What was known and is not listed: gives it if it was at rest.
    fn missing(
        &self,
        old: usize,
        how: &Merging<'_>,
        events: &mut Vec<Event>,
    ) -> Option<(Box<[u8]>, Stamp)> {
        let stamp = *self.known.value(old);
        match self.state(old) {
            State::AtRest => Some((self.known.name(old).into(), stamp)),
            State::Waiting(_) | State::Idle(_) if !how.takes_new => {
                events.push(Event::Vanished { stamp });
                None
            }
            _ => None,
        }
    }

    /// What a name is that is neither in motion nor at rest.
    fn state_of(&self, listed: &Listed<'_>, how: &Merging<'_>) -> State {
        let Listed {
            name, look, before, ..
        } = listed;
        let mark = before.map(|old| self.mark(old));
        let has_left = match mark {
            Some(mark) => mark.has_left_in(how.scan),
            None => self.left.get(*name).is_some_and(|&left| left >= how.scan),
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
        if (how.is_ready)(name, look, listed.marker.as_ref()) {
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
        self.shed_marks();
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
    pub(in super::super) fn restless(
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
    pub(in super::super) fn vanish(
        &mut self,
        path: &Rel,
        how: &Merging<'_>,
        events: &mut Vec<Event>,
    ) {
        events.extend(self.moving.values().map(|&file| Event::Missing { file }));
        let folders = std::mem::take(&mut self.folders);
        let moving = std::mem::take(&mut self.moving);
        self.merge(path, Content::default(), how, events);
        (self.folders, self.moving) = (folders, moving);
    }

    /// Forgets what has been away since before `horizon`.
    pub(in super::super) fn forget_missing(
        &mut self,
        path: &Rel,
        horizon: Wall,
        events: &mut Vec<Event>,
    ) {
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
}

/// Whether `name` is one of the sorted `names`.
fn is_in(names: &[Vec<u8>], name: &[u8]) -> bool {
    !names.is_empty()
        && names
            .binary_search_by(|other| other.as_slice().cmp(name))
            .is_ok()
}
