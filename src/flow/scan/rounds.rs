//! Which folders a scan lists, and which it passes over.
//!
//! One rule for each folder: its times (mtime and ctime) have not moved and can be trusted: it is
//! passed over. They have moved: all of it is looked at, for a file may have been replaced under
//! its name. They cannot be trusted: its names are read, and if they are not what they were, all of
//! it is looked at. Where only the folder's own proof is still open, all of it is looked at as well:
//! a file that is replaced right after a change need not move coarse times once more. Whatever the times say, all names come round every two minutes
//! ([`NAMES_EVERY`]), and all stamps as `watch.rewrites` wants it.
//!
//! Times can be trusted where all of this holds:
//! - The folder has *proven* them: two looks at least [`PROOF`] apart, by our own clock, have shown
//!   the same times, and it was listed at the second. The change that they stem from is then so
//!   long ago that any later one gets other times, however coarse they are (1 s on ext4 with
//!   128-byte inodes, 2 s on FAT).
//! - There is a ctime. Programs put a folder's mtime back to the nanosecond (`rsync -a` in two
//!   passes, `tar x` twice, `cp -a`), but none can set its ctime. Some file systems show the mtime
//!   in its place (sshfs): unless the kind is known to be local, a ctime counts once it was seen to
//!   differ from the mtime.
//! - The file system was seen to move the ctime of a folder whose names changed.
//! - It was never caught not doing so: names that differ in a folder which has proven its times,
//!   and whose times stand still. Once caught, it is not trusted again by these rounds.
//!
//! Times are to be taken before the folder is listed: what changes meanwhile moves them again.
//!
//! Rounds live as long as one opening of the share, for device and inode numbers may change with
//! the next. So a new opening begins with a look at everything, but for one thing: where the names in a
//! folder are exactly those of files that the journal knows to be delivered and kept
//! ([`Rounds::expecting`]), they are all that its first visit reads. Nothing new can be there; one of
//! them may have been replaced, so the next scan looks at all of that folder, and is not waited for
//! ([`Rounds::take_debt`]). With a million files that is 40 % of the time until what is new is found.
//!
//! Invariants ([`Rounds::check`]):
//! - The folder above a known one is known, and comes before it in the order of the walk.
//! - A folder that is not known, or could not be wholly looked at, is never passed over; one of which only
//!   names were read, and were as expected, is wholly looked at by the next scan.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::config::Rewrites;
use crate::flow::file::{FsKind, Rel};
use crate::flow::scan::names_hash::{NamesHash, hash};
use crate::flow::time::{Mono, Wall};

/// How far apart two looks must be that prove a folder's times: over the coarsest times known (2 s),
/// with as much again as a server's clock may stray from ours meanwhile.
pub const PROOF: Duration = Duration::from_secs(3);
/// All names are read at least once in this time.
pub const NAMES_EVERY: Duration = Duration::from_secs(120);
/// With `watch.rewrites` = "auto", all stamps are looked at in this time, unless that is cheap.
pub const STAMPS_EVERY: Duration = Duration::from_secs(600);
/// "auto" looks at everything on every scan as long as that takes less CPU time.
pub const CHEAP: Duration = Duration::from_millis(25);

/// How often a proof is sought in a folder of dirpost's own, for that writes to the share.
const PROOFS_SOUGHT: u8 = 5;

/// What one look at a folder itself shows. Compared with `!=` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When a name in it last changed, or what a program has set.
    pub mtime: Wall,
    /// When anything about it last changed.
    pub ctime: Wall,
    /// The device it lies on.
    pub dev: u64,
    /// Its inode on that device.
    pub ino: u64,
}

/// What is to be looked at of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Nothing: it is passed over.
    Over,
    /// Its names. If they are not what they were, [`Visit::All`].
    Names,
    /// Its names, and each of its files.
    All,
}

/// What a scan is to look at, beside what the rounds say.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Folders of which all is looked at, for something depends on a look there.
    pub must: BTreeSet<Rel>,
    /// All of every folder.
    pub everything: bool,
}

/// What is known of a folder before it is visited. A copy, so that several threads can go by it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    times: Option<Times>,
    /// `None`: nothing is known of them.
    names: Option<u64>,
    /// What is to be done if its times have not moved.
    still: Visit,
    /// What is to be done if they have.
    moved: Visit,
    proven: bool,
}

/// One folder, listed.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its times, taken before it was listed; `None` where there are none to go by.
    pub times: Option<Times>,
    /// A moment before its times were taken.
    pub began: Mono,
    /// A moment after they were taken.
    pub read: Mono,
    /// Its names.
    pub names: NamesHash,
    /// What kind of file system it lies on.
    pub fs: FsKind,
    /// Where [`Plan::is_suspect`] says so: its times, taken again after it was listed.
    pub again: Option<Times>,
}

/// One folder of which all was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// The names of the folders in it, sorted.
    pub folders: &'a [Vec<u8>],
    /// Nothing in it could not be looked at.
    pub whole: bool,
    /// A file in it shows a ctime that is not its mtime.
    pub has_ctime: bool,
    /// The CPU time that it took.
    pub cost: Duration,
}

/// What a name that was made in a folder of dirpost's own has shown of the file system. What it has
/// not shown may be so all the same.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// The device of that folder.
    pub dev: u64,
    /// What kind of file system it is.
    pub fs: FsKind,
    /// The folder's ctime moved.
    pub moves: bool,
    /// The file shows a ctime that is not its mtime.
    pub has_ctime: bool,
    /// When it was made.
    pub at: Mono,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Rounds {
    folders: BTreeMap<Rel, Folder>,
    /// By their numbers; seldom more than one.
    devices: Vec<(u64, Device)>,
    rewrites: Rewrites,
    /// What the last full looks at all folders have cost, in nanoseconds of CPU time.
    cost: u64,
    /// Names were all that was read somewhere, and all of it is to be looked at next.
    is_in_debt: bool,
}

/// What is known of one folder. There may be many: it is kept small.
#[derive(Clone, Debug)]
pub struct Folder {
    times: Option<Times>,
    names: NamesHash,
    /// Since when its times have been seen as they are.
    since: Mono,
    /// When its names were last read.
    listed: Mono,
    /// When all of it was last looked at.
    looked: Mono,
    /// What that cost, in nanoseconds of CPU time.
    cost: u32,
    /// Where in each period its turn is, so that not all come at once.
    phase: u32,
    /// It was listed.
    is_known: bool,
    /// It was not listed yet, and these names are expected in it.
    is_expected: bool,
    /// See the module.
    is_proven: bool,
    /// All of it was looked at when its times had proven themselves: before that a file may have
    /// been replaced under its name without moving them.
    is_settled: bool,
    /// It could not be listed or not wholly be looked at, or names in it are out of date.
    is_incomplete: bool,
}

/// What is known of a file system.
#[derive(Clone, Copy, Debug, Default)]
struct Device {
    kind: FsKind,
    /// It has a ctime of its own.
    has_ctime: bool,
    /// It was seen to move the ctime of a folder whose names changed.
    moves: bool,
    /// It was caught not doing so.
    is_caught: bool,
    /// How often a proof was sought.
    sought: u8,
    /// When that was last.
    sought_at: Mono,
}

impl Device {
    fn is_trusted(self) -> bool {
        let has_ctime = match self.kind {
            FsKind::Local => true,
            FsKind::LocalNoCtime => false,
            FsKind::Share => self.has_ctime,
        };
        has_ctime && self.moves && !self.is_caught
    }
}

impl Times {
    fn is_of(&self, other: &Times) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    fn shows_ctime(&self) -> bool {
        shows_ctime(self.ctime, self.mtime)
    }
}

/// Whether a ctime is there that is not just the mtime under another name.
pub fn shows_ctime(ctime: Wall, mtime: Wall) -> bool {
    ctime.0 != 0 && ctime != mtime
}

impl Folder {
    fn unknown(path: &Rel) -> Folder {
        Folder {
            times: None,
            names: NamesHash(0),
            since: Mono(0),
            listed: Mono(0),
            looked: Mono(0),
            cost: 0,
            phase: (hash(path.as_bytes(), 0) >> 32) as u32,
            is_known: false,
            is_expected: false,
            is_proven: false,
            is_settled: false,
            is_incomplete: false,
        }
    }

    /// Whether its turn in a period has come since `last`. Turns are a period apart, and so no two
    /// looks are further apart than that and the time from one scan to the next.
    fn is_due(&self, last: Mono, period: Duration, now: Mono) -> bool {
        let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        if period == 0 {
            return true;
        }
        let phase = i64::from(self.phase) % period;
        let turns = |at: Mono| at.0.saturating_sub(phase).div_euclid(period);
        turns(now) > turns(last)
    }
}

impl Plan {
    /// What is to be done with a folder that shows these times.
    pub fn visit(&self, times: Option<Times>) -> Visit {
        if times == self.times {
            self.still
        } else {
            self.moved
        }
    }

    /// Whether its times decide anything.
    pub fn asks_for_times(&self) -> bool {
        self.still != self.moved
    }

    /// The device that it was on.
    pub fn device(&self) -> Option<u64> {
        self.times.map(|times| times.dev)
    }

    /// Whether its names are what they were.
    pub fn has_names(&self, names: NamesHash) -> bool {
        self.names == Some(names.0)
    }

    /// Whether its names have changed and its times have not, though they had proven that they
    /// would. They may have changed while it was listed: its times are to be taken once more.
    pub fn is_suspect(&self, times: Option<Times>, names: NamesHash) -> bool {
        self.proven && times == self.times && !self.has_names(names)
    }
}

impl Rounds {
    /// Rounds that know nothing but the watched folder itself: the first one looks at everything.
    pub fn new(rewrites: Rewrites) -> Rounds {
        let root = Rel::root();
        Rounds {
            folders: BTreeMap::from([(root.clone(), Folder::unknown(&root))]),
            devices: Vec::new(),
            rewrites,
            cost: 0,
            is_in_debt: false,
        }
    }

    /// Rounds that have seen nothing yet, and expect these names in these folders: each comes after the one
    /// that it is in.
    /// Of those without names nothing is expected.
    pub fn expecting(
        rewrites: Rewrites,
        folders: impl Iterator<Item = (Rel, Option<NamesHash>)>,
    ) -> Rounds {
        let mut rounds = Rounds::new(rewrites);
        rounds.folders.extend(folders.map(|(path, names)| {
            let folder = Folder {
                names: names.unwrap_or_default(),
                is_expected: names.is_some(),
                ..Folder::unknown(&path)
            };
            (path, folder)
        }));
        rounds
    }

    /// Whether the next scan is to begin at once, for all that this one has found as expected is to be
    /// looked at. Says so once.
    pub fn take_debt(&mut self) -> bool {
        std::mem::take(&mut self.is_in_debt)
    }

    /// How many folders are known.
    pub fn len(&self) -> usize {
        self.folders.len()
    }

    /// Whether none is known: never, for there is the watched one.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// The folders to be visited after `last`, each after the one above it; all for `None`. What is
    /// found in a folder meanwhile comes after it.
    pub fn after(&self, last: Option<&Rel>) -> impl Iterator<Item = (&Rel, &Folder)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.folders.range::<Rel, _>((from, Bound::Unbounded))
    }

    /// What is to be done with `folder`, which lies at `path`, now.
    pub fn plan(&self, path: &Rel, folder: &Folder, wanted: &Wanted, now: Mono) -> Plan {
        let times = folder.times;
        let is_trusted = || times.is_some_and(|times| self.device(times.dev).is_trusted());
        let is_wanted = wanted.everything || folder.is_incomplete || wanted.must.contains(path);
        let is_expected = folder.is_expected && !is_wanted;
        let still = if is_expected {
            Visit::Names
        } else if is_wanted || !folder.is_known || self.are_stamps_due(folder, now) {
            Visit::All
        } else if !is_trusted() {
            Visit::Names
        } else if !folder.is_settled {
            Visit::All
        } else if folder.is_due(folder.listed, NAMES_EVERY, now) {
            Visit::Names
        } else {
            Visit::Over
        };
        Plan {
            times: folder.times,
            names: (folder.is_known || folder.is_expected).then_some(folder.names.0),
            still,
            moved: if is_expected { still } else { Visit::All },
            proven: folder.is_proven,
        }
    }

    /// Whether there is known to be a folder at `path`.
    pub fn knows(&self, path: &Rel) -> bool {
        self.folders.contains_key(path)
    }

    /// What is to be done with the folder at `path` now, if it is known.
    pub fn plan_of(&self, path: &Rel, wanted: &Wanted, now: Mono) -> Option<Plan> {
        let folder = self.folders.get(path)?;
        Some(self.plan(path, folder, wanted, now))
    }

    fn are_stamps_due(&self, folder: &Folder, now: Mono) -> bool {
        let period = match self.rewrites {
            Rewrites::Every(period) => period,
            Rewrites::Auto if u128::from(self.cost) < CHEAP.as_nanos() => return true,
            Rewrites::Auto => STAMPS_EVERY,
        };
        folder.is_due(folder.looked, period, now)
    }

    /// A folder was listed; `looked`, unless only its names were read and are what they were.
    pub fn listed(&mut self, path: &Rel, seen: &Seen, looked: Option<&Looked<'_>>) {
        let before = self.folders.get(path);
        let is_known = before.is_some_and(|folder| folder.is_known);
        let differs = is_known && before.is_some_and(|folder| folder.names != seen.names);
        self.judge(path, seen, differs);
        if let Some(times) = seen.times {
            let device = self.device_mut(times.dev);
            device.kind = seen.fs;
            device.has_ctime |=
                times.shows_ctime() || looked.is_some_and(|looked| looked.has_ctime);
        }
        let folder = self
            .folders
            .entry(path.clone())
            .or_insert_with(|| Folder::unknown(path));
        let stands = is_known && folder.times == seen.times;
        if !stands || differs {
            folder.since = seen.read;
        }
        folder.is_proven = stands && !differs && seen.began.since(folder.since) >= PROOF;
        folder.is_settled = folder.is_proven && (folder.is_settled || looked.is_some());
        folder.times = seen.times;
        folder.names = seen.names;
        folder.listed = seen.began;
        folder.is_known = true;
        let is_as_expected = std::mem::take(&mut folder.is_expected);
        let Some(looked) = looked else {
            folder.is_incomplete |= is_as_expected;
            self.is_in_debt |= is_as_expected;
            return;
        };
        let is_out_of_date = !is_known || differs || folder.is_incomplete;
        let cost = u32::try_from(looked.cost.as_nanos()).unwrap_or(u32::MAX);
        folder.looked = seen.began;
        folder.is_incomplete = !looked.whole;
        let old = std::mem::replace(&mut folder.cost, cost);
        self.cost = self.cost - u64::from(old) + u64::from(cost);
        if is_out_of_date {
            self.adopt(path, looked.folders);
        }
    }

    /// What the listing of a folder says of the file system that it is on.
    fn judge(&mut self, path: &Rel, seen: &Seen, differs: bool) {
        let Some((folder, times)) = self.folders.get(path).zip(seen.times) else {
            return;
        };
        let Some(old) = folder.times.filter(|old| differs && old.is_of(&times)) else {
            return;
        };
        let is_caught = folder.is_proven && old == times && seen.again == Some(times);
        let device = self.device_mut(times.dev);
        device.is_caught |= is_caught;
        device.moves |= old.ctime != times.ctime;
    }

    /// In `path` there are these folders, and no others.
    fn adopt(&mut self, path: &Rel, folders: &[Vec<u8>]) {
        let gone: Vec<Rel> = self
            .below(path)
            .filter(|below| {
                let name = first_part(path, below);
                folders
                    .binary_search_by(|other| other.as_slice().cmp(name))
                    .is_err()
            })
            .cloned()
            .collect();
        for path in gone {
            self.remove(&path);
        }
        for name in folders {
            let entry = self.folders.entry(path.join(name));
            let folder = Folder::unknown(entry.key());
            entry.or_insert(folder);
        }
    }

    /// All folders below `path`.
    fn below(&self, path: &Rel) -> impl Iterator<Item = &Rel> {
        // Everything below `a/b` lies between `a/b/` and `a/b0`, for `0` follows `/`.
        let edge = |end: u8| Rel::new(&[path.as_bytes(), &[end]].concat());
        let range = if *path == Rel::root() {
            (Bound::Excluded(Rel::root()), Bound::Unbounded)
        } else {
            (Bound::Included(edge(b'/')), Bound::Excluded(edge(b'0')))
        };
        self.folders.range(range).map(|(path, _)| path)
    }

    fn remove(&mut self, path: &Rel) {
        if let Some(folder) = self.folders.remove(path) {
            self.cost -= u64::from(folder.cost);
        }
    }

    /// The folder at `path` could not be listed, or not to its end: it is tried again by the next
    /// scan.
    pub fn failed(&mut self, path: &Rel) {
        if let Some(folder) = self.folders.get_mut(path) {
            folder.is_incomplete = true;
        }
    }

    /// There is no folder at `path` any more: the next scan looks at the one that it was in.
    pub fn gone(&mut self, path: &Rel) {
        self.failed(&path.parent());
        let below: Vec<Rel> = self.below(path).cloned().collect();
        for path in below.iter().chain([path]) {
            self.remove(path);
        }
    }

    /// Whether it is still open if the times of device `dev`, of this kind, can be trusted, and it is
    /// time to seek a proof. Proofs are sought [`PROOF`] apart, for coarse times do not show what
    /// changes right after another change; and only a few times, for that writes to the share.
    pub fn wants_proof(&self, dev: u64, fs: FsKind, now: Mono) -> bool {
        let device = self.device(dev);
        let known = Device { kind: fs, ..device };
        let is_open = !known.is_trusted() && !known.is_caught;
        let is_time = match device.sought {
            0 => true,
            PROOFS_SOUGHT.. => false,
            _ => now.since(device.sought_at) >= PROOF,
        };
        fs != FsKind::LocalNoCtime && is_open && is_time
    }

    /// What was seen as a proof was sought.
    pub fn proof(&mut self, proof: Proof) {
        let device = self.device_mut(proof.dev);
        device.kind = proof.fs;
        device.sought = device.sought.saturating_add(1);
        device.sought_at = proof.at;
        device.moves |= proof.moves;
        device.has_ctime |= proof.has_ctime;
    }

    fn device(&self, dev: u64) -> Device {
        let found = self.devices.iter().find(|(other, _)| *other == dev);
        found.map_or(Device::default(), |(_, device)| *device)
    }

    fn device_mut(&mut self, dev: u64) -> &mut Device {
        let found = self.devices.iter().position(|(other, _)| *other == dev);
        let at = found.unwrap_or_else(|| {
            self.devices.push((dev, Device::default()));
            self.devices.len() - 1
        });
        &mut self.devices[at].1
    }

    /// Sees that the invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&self) {
        for (path, folder) in &self.folders {
            assert!(
                *path == Rel::root() || self.folders.contains_key(&path.parent()),
                "the folder above {path} is known"
            );
            assert!(folder.is_known || !folder.is_proven, "{path} was listed");
            assert!(folder.is_proven || !folder.is_settled, "{path} is proven");
            assert!(
                !folder.is_known || !folder.is_expected,
                "{path} is expected to have names until it was listed"
            );
        }
        let cost: u64 = self
            .folders
            .values()
            .map(|folder| u64::from(folder.cost))
            .sum();
        assert_eq!(self.cost, cost, "the costs add up");
    }
}

/// The first part of the way from `folder` to `below`.
fn first_part<'a>(folder: &Rel, below: &'a Rel) -> &'a [u8] {
    let rest = &below.as_bytes()[folder.as_bytes().len()..];
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    rest.split(|&byte| byte == b'/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests;
