//! The scan of the modelled file system: real rounds, over a folder whose times move as they do on
//! one kind of file system or another. After each scan it is seen that nothing is missed for longer
//! than promised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dirpost::config::Rewrites;
use dirpost::flow::file::{FsKind, Rel, Stamp};
use dirpost::flow::filing::Area;
use dirpost::flow::messages::{Input, ListedFolder, ScanOrder};
use dirpost::flow::rng::Rng;
use dirpost::flow::scan::names_hash::{Named, NamesHash};
use dirpost::flow::scan::rounds::{Looked, NAMES_EVERY, Proof, STAMPS_EVERY, Seen, Times, Visit};
use dirpost::flow::time::{Mono, Wall};

use crate::world::World;

/// How a file system shows the times of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// As multiples of so many milliseconds.
    MultiplesOf(i64),
    /// They never move.
    Never,
    /// They move now and then.
    Sometimes,
    /// There is no ctime: the mtime stands in for it, and is put back now and then.
    NoCtime,
}

/// What one name in the folder leads to, and since when (ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    ino: u64,
    stamp: Stamp,
    /// When the name was given to this inode.
    named: i64,
    /// When its stamp was set.
    written: i64,
}

/// The watched folder.
#[derive(Debug)]
pub struct Folder {
    shows: Shows,
    fs: FsKind,
    pub rewrites: Rewrites,
    mtime: i64,
    ctime: i64,
    names: BTreeMap<String, Entry>,
    /// What the last listing showed.
    shown: BTreeMap<String, Entry>,
    /// This engine has read its names and nothing else: it owes a look at all of it.
    pub by_names: bool,
    rng: Rng,
}

impl Folder {
    pub fn new(rng: &mut Rng, fs: FsKind) -> Folder {
        let shows = match rng.below(8) {
            0 => Shows::MultiplesOf(1_000),
            1 => Shows::MultiplesOf(2_000),
            2 => Shows::Never,
            3 => Shows::Sometimes,
            4 => Shows::NoCtime,
            _ => Shows::MultiplesOf(1),
        };
        let rewrites = match rng.below(4) {
            0 => Rewrites::Every(Duration::ZERO),
            1 => Rewrites::Every(Duration::from_secs(30)),
            _ => Rewrites::Auto,
        };
        Folder {
            shows,
            fs,
            rewrites,
            mtime: 0,
            ctime: 0,
            names: BTreeMap::new(),
            shown: BTreeMap::new(),
            by_names: false,
            rng: Rng::new(rng.draw()),
        }
    }

    /// A name in it changed at this moment of the server's clock (ms).
    fn touch(&mut self, wall: i64) {
        let (moves, wall) = match self.shows {
            Shows::MultiplesOf(multiple) => (true, wall / multiple * multiple),
            Shows::Never => (false, wall),
            Shows::Sometimes => (self.rng.below(2) == 0, wall),
            Shows::NoCtime => (self.rng.below(2) == 0, wall),
        };
        if moves {
            self.ctime = wall;
            // `rsync -a` puts it back.
            if self.rng.below(3) > 0 {
                self.mtime = wall;
            }
        }
    }

    fn times(&self) -> Times {
        let ctime = match self.shows {
            Shows::NoCtime => self.mtime,
            _ => self.ctime,
        };
        Times {
            mtime: Wall(self.mtime),
            ctime: Wall(ctime),
            dev: 1,
            ino: 1,
        }
    }

    /// Its times can be trusted, as far as anybody can tell.
    fn is_good(&self) -> bool {
        matches!(self.shows, Shows::MultiplesOf(_))
    }

    fn has_ctime(&self) -> bool {
        self.shows != Shows::NoCtime
    }

    /// Its names, but for those that are not wanted.
    fn hash(&self, excluded: &BTreeSet<String>) -> NamesHash {
        let mut hash = NamesHash::default();
        for name in self.names.keys().filter(|name| !excluded.contains(*name)) {
            hash.add(Named::File, name.as_bytes());
        }
        hash
    }

    /// How long a change to a file at rest may go unnoticed (ms).
    fn rewrites_within(&self) -> i64 {
        match self.rewrites {
            Rewrites::Auto => STAMPS_EVERY.as_millis() as i64,
            Rewrites::Every(period) => period.as_millis() as i64,
        }
    }

    /// Sees that what the last listing did not show as it is has not been so for too long.
    fn nothing_is_missed(&self, now: i64) {
        for (name, entry) in &self.names {
            let (since, bound) = match self.shown.get(name) {
                Some(shown) if shown == entry => continue,
                None if self.is_good() => (entry.named, 0),
                None => (entry.named, NAMES_EVERY.as_millis() as i64),
                Some(shown) if shown.named != entry.named && self.is_good() => (entry.named, 0),
                Some(shown) if shown.named != entry.named => (entry.named, self.rewrites_within()),
                Some(_) => (entry.written, self.rewrites_within()),
            };
            assert!(
                now - since <= bound,
                "{name} has not been seen for {} ms where times show {:?}, with {:?}",
                now - since,
                self.shows,
                self.rewrites
            );
        }
    }
}

impl World {
    /// To be called after whatever may have changed names: the folder's times move with them.
    pub fn note_names(&mut self) {
        let now = self.time;
        let mut names = BTreeMap::new();
        let (mut changed, mut count) = (false, 0);
        let files = self.model.area(Area::Watched);
        for (place, node) in files.chain(self.model.markers(Area::Watched)) {
            let name = place.path.to_string();
            let (ino, stamp) = (node.look.ino, node.look.stamp);
            let old = self.folder.names.get(&name);
            let old = old.filter(|old| old.ino == ino);
            changed |= old.is_none();
            count += usize::from(old.is_some());
            let same = old.filter(|old| old.stamp == stamp);
            let entry = Entry {
                ino,
                stamp,
                named: old.map_or(now, |old| old.named),
                written: same.map_or(now, |old| old.written),
            };
            names.insert(name, entry);
        }
        changed |= count != self.folder.names.len();
        self.folder.names = names;
        if changed {
            let wall = self.wall().0 / 1_000_000;
            self.folder.touch(wall);
        }
    }

    /// What the thread that scans does.
    pub fn list(&mut self, mut order: ScanOrder, excluded: &BTreeSet<String>) -> Vec<Input> {
        self.note_names();
        if let Some(answer) = self.reopen() {
            return vec![Input::Rounds(order.rounds), answer];
        }
        // Now and then it is told though nobody waits for it: the look took long.
        let is_told = order.is_lock_awaited || self.time % 4 == 0;
        let mut inputs: Vec<Input> = is_told.then_some(Input::Confirmed).into_iter().collect();
        inputs.extend(self.tell_retries());
        inputs.extend(self.visit(&mut order, excluded));
        order.rounds.check();
        inputs.push(Input::Rounds(order.rounds));
        inputs.push(Input::Scanned(Ok(())));
        inputs
    }

    /// Visits the watched folder, which is the only one. What is shown of it, if it is listed.
    fn visit(&mut self, order: &mut ScanOrder, excluded: &BTreeSet<String>) -> Option<Input> {
        let (path, now) = (Rel::root(), Mono(self.time));
        let rounds = &mut order.rounds;
        if rounds.wants_proof(1, self.folder.fs, now) {
            let moves = !matches!(self.folder.shows, Shows::Never | Shows::Sometimes);
            rounds.proof(Proof {
                dev: 1,
                fs: self.folder.fs,
                moves,
                has_ctime: self.folder.has_ctime(),
                at: now,
            });
        }
        if self.faulty && self.rng.below(20) == 0 {
            self.meet("listing that breaks off");
            rounds.failed(&path);
            let content = Err("EIO half-way".into());
            return Some(Input::Listed(ListedFolder { path, content }));
        }
        let plan = rounds.plan_of(&path, &order.wanted, now)?;
        let times = Some(self.folder.times());
        let names = self.folder.hash(excluded);
        let visit = plan.visit(times);
        assert!(
            visit == Visit::All || !self.folder.by_names,
            "all of what a start took by its names is looked at by the next scan"
        );
        let seen = Seen {
            times,
            began: now,
            read: now,
            names,
            fs: self.folder.fs,
            again: times.filter(|_| plan.is_suspect(times, names)),
        };
        if visit == Visit::Over || visit == Visit::Names && plan.has_names(names) {
            self.say(|| format!("scan: {visit:?}"));
            self.meet("folder passed over");
            if visit == Visit::Names {
                rounds.listed(&path, &seen, None);
            }
            self.folder.by_names = rounds.clone().take_debt();
            if self.folder.by_names {
                self.meet("folder whose names are those of the journal");
            } else {
                self.folder.nothing_is_missed(self.time);
            }
            return None;
        }
        let looked = Looked {
            folders: &[],
            whole: true,
            has_ctime: self.folder.has_ctime(),
            // Half of the worlds are too large to be looked at on each scan.
            cost: Duration::from_millis(if self.setting.settle % 1_000 == 0 {
                50
            } else {
                5
            }),
        };
        rounds.listed(&path, &seen, Some(&looked));
        self.folder.shown = self.folder.names.clone();
        self.folder.by_names = false;
        Some(Input::Listed(ListedFolder {
            path,
            content: Ok(self.content(excluded)),
        }))
    }
}
