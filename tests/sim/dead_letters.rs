//! Dead letters that somebody has sent again, as `dirpost dead-letter retry` does it beside a
//! running daemon or between two: first the line that gives the version another key, which is on
//! the disk before anything else is done; then the file and its marker back at their places, which
//! are never replaced; then their folder is brought onto the disk, and last the reason goes, and
//! with it dead-letter is. A kill or a power cut may come between any two of these.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::flow::file::{Rel, Stamp};
use dirpost::flow::filing::reason::REASON;
use dirpost::flow::filing::{Area, Place};
use dirpost::flow::messages::Input;

use crate::disk::watched;
use crate::world::{Event, Version, World};

/// What was taken out of dead-letter, and what is left of that.
#[derive(Default)]
pub struct Retries {
    /// The numbers of the keys.
    numbers: BTreeMap<(Rel, Stamp), u32>,
    /// The engine knows them.
    pub are_told: bool,
    /// Those that were handed over last.
    pub told: BTreeMap<(Rel, Stamp), u32>,
    /// Those before them.
    pub told_before: BTreeMap<(Rel, Stamp), u32>,
    /// Versions that were put back.
    pub versions: BTreeSet<Version>,
    /// Names in dead-letter whose reasons may be left over: a retry of their files was killed, or a power
    /// cut took the names that a failed fsync had left in doubt.
    pub lone_reasons: BTreeSet<Place>,
    /// An fsync of a folder of dead letters has failed.
    pub in_doubt: bool,
}

impl World {
    /// One of the dead letters gets another key, and is put back a moment later. `to_be_filed` are
    /// the files whose filing is not over.
    pub fn retry(&mut self, to_be_filed: &BTreeSet<Rel>) {
        let dead = self.model.area(Area::DeadLetter);
        let dead: Vec<(Place, Version, Stamp)> = dead
            .filter(|(place, node)| node.complete && !place.path.name().starts_with(b"."))
            .map(|(place, node)| (place.clone(), node.version, node.look.stamp))
            .collect();
        // What is being filed there is not there yet.
        if self.filer.is_filing() || dead.is_empty() {
            return;
        }
        let (place, version, stamp) = dead[self.rng.below(dead.len() as u64) as usize].clone();
        if self.crashes > 0 && self.was_accepted(version) {
            // A crash has lost its acceptance and it was condemned then, or a power cut has undone
            // an earlier retry: whoever sends it again knows that, and gets another key.
            self.may_repeat.push(version);
            self.in_flight_at_crashes += 1;
        }
        let origin = self.origins[&version].clone();
        let version_there = (Rel::new(origin.as_bytes()), stamp);
        *self.retries.numbers.entry(version_there).or_default() += 1;
        self.retries.are_told = false;
        self.say(|| format!("retry of {origin} version {version}"));
        // Sometimes the endpoint has been mended, sometimes it has not.
        if self.rng.below(2) == 0 {
            self.poison.remove(&origin);
        }
        if self.model.device(Area::DeadLetter) != self.model.device(Area::Watched) {
            // It says so, and that the file is to be copied back by hand: whoever does that sees
            // to it that dirpost is done with it.
            self.meet("retry across file systems");
            if to_be_filed.contains(&Rel::new(origin.as_bytes())) {
                return;
            }
        }
        if self.rng.below(8) == 0 {
            self.meet("retry killed before the file is back");
        } else {
            self.soon(300, Event::PutBack(place, version));
        }
    }

    pub fn put_dead_letter_back(&mut self, place: &Place, version: Version) {
        let back = watched(&self.origins[&version]);
        if self.model.get(place).map(|node| node.version) != Some(version) {
            return;
        }
        if self.model.get(&back).is_some() {
            self.meet("retry whose place is taken");
            return;
        }
        self.meet("retry");
        if let Some(node) = self.hidden.get(&self.origins[&version])
            && self.was_accepted(node.version)
        {
            // What stays is known by the last version at its place: when its writer brings another
            // one back there, that is a new drop, with its old key.
            self.may_repeat.push(node.version);
            self.in_flight_at_crashes += 1;
        }
        self.put(place, &back);
        self.retries.versions.insert(version);
        let marker = self.marker_of(place);
        let marker_there = self.marker_of(&back);
        if self.model.get(&marker).is_some_and(|node| node.marker > 0)
            && self.model.get(&marker_there).is_none()
        {
            self.meet("retry with its marker");
            let mut dead = self.model.area(Area::DeadLetter);
            let is_anothers = dead.any(|(place, _)| self.is_marker_of(&marker, &place.path));
            drop(dead);
            if is_anothers {
                // It may be that of another one, which is brought back with it when a power cut undoes
                // that one's filing.
                self.unvouched.insert(version);
            }
            self.put(&marker, &marker_there);
        } else {
            // It has none of its own, and waits for one.
            self.unvouched.insert(version);
        }
        // Where renames are not on the disk as a whole, a name that nobody brings there may come
        // back in dead-letter whatever else is done: then nobody kills it.
        if self.model.traits.atomic && self.rng.below(4) == 0 {
            self.meet("retry killed before the file is on the disk");
            self.retries.lone_reasons.insert(place.clone());
            self.unvouched.insert(version);
        } else {
            self.soon(100, Event::SyncPutBack(place.clone(), version));
        }
    }

    /// What is on its way back from dead-letter, by another process. Where renames are not on the disk as a
    /// whole, dirpost may bring the removal of the old name there before that process does so with the new
    /// one (docs/architecture.md, "What is not made up for").
    pub fn being_put_back(&self) -> impl Iterator<Item = Version> {
        let events = self.events.values();
        let versions = events.filter_map(|event| match event {
            Event::SyncPutBack(_, version) => Some(*version),
            _ => None,
        });
        versions.filter(|_| !self.model.traits.atomic)
    }

    /// A power cut ends all retries that are under way. It may take the marker's way back, and not
    /// that of its file.
    pub fn kill_retries(&mut self) {
        let may_be_lost: Vec<Version> = self.being_put_back().collect();
        self.withdrawn.extend(may_be_lost);
        for event in self.events.values() {
            if let Event::SyncPutBack(place, version) = event {
                self.retries.lone_reasons.insert(place.clone());
                self.unvouched.insert(*version);
            }
        }
        self.events
            .retain(|_, event| !matches!(event, Event::PutBack(..) | Event::SyncPutBack(..)));
    }

    /// The names of a file that was put back are brought onto the disk, and its reason goes.
    pub fn sync_put_back(&mut self, place: &Place) {
        self.say(|| format!("on the disk: {place} is back"));
        self.model.sync(&Place::new(Area::Watched, Rel::root()));
        if self.model.get(place).is_none() {
            self.model.take(&place.beside(REASON));
        }
        self.model.sync(&place.folder());
        // Where that fails it says so, and whoever has asked for it sees what comes back there.
        self.model.settle(place);
    }

    fn put(&mut self, from: &Place, to: &Place) {
        let wall = self.wall();
        self.say(|| format!("put back {from} -> {to}"));
        self.model.rename(from, to, wall);
    }

    /// What the scan hands over between a listing and its use, if that is news.
    pub fn tell_retries(&mut self) -> Option<Input> {
        if std::mem::replace(&mut self.retries.are_told, true) {
            return None;
        }
        let now = self.retries.numbers.clone();
        self.retries.told_before = std::mem::replace(&mut self.retries.told, now);
        let all = self.retries.numbers.iter();
        let all = all.map(|((path, stamp), number)| (path.clone(), *stamp, *number));
        Some(Input::Retries(all.collect()))
    }
}
