//! A modelled file system: names and inodes, what of the names is on the disk, and the ways in
//! which real ones answer: renames that replace nothing or do not exist, links or none, other
//! file systems, inode numbers that do not last, refusals, operations that are done and answer
//! with an error all the same, and power cuts between any two.
//!
//! Filing drives it through the same trait as the real one.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::flow::file::{Entry, Look, Rel, Stamp};
use dirpost::flow::filing::disk::{Copied, Disk, Line};
use dirpost::flow::filing::{Area, Fault, FaultKind, Place};
use dirpost::flow::rng::Rng;
use dirpost::flow::time::Wall;

use crate::world::{Version, World};

/// A file, under whatever names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Whose content it has. A reason, a marker and an empty reservation have version 0.
    pub version: Version,
    pub look: Look,
    /// When it was last written to (ms).
    pub changed: i64,
    /// Its writer is done with this version.
    pub complete: bool,
}

/// What kind of file system it is.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// It has a rename that replaces nothing.
    pub renames: bool,
    /// It has hard links.
    pub links: bool,
    /// A file keeps its inode number when it is renamed.
    pub inodes_last: bool,
    /// A server sets the mtime a little later now and then, when a file is renamed. Only where
    /// nothing crashes: after a restart nobody knows the bytes that were sent.
    pub late_mtimes: bool,
    /// A rename is on the disk as a whole or not at all, and in order with all others.
    pub atomic: bool,
    /// Bringing a folder onto the disk fails now and then. Only where renames are atomic, for
    /// nothing else helps against a power cut after such a failure; and only where nothing else
    /// hides from a process that comes later what exactly was sent.
    pub syncs_fail: bool,
    /// `done` and `dead-letter` are on another file system.
    pub targets_elsewhere: bool,
    /// They are other mounts of the same file system.
    pub bind_mounts: bool,
    /// The staging folder, too: a folder of the share is a mount point of its own.
    pub staging_elsewhere: bool,
}

/// How operations fail.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// One in this many fails; 0: none.
    pub one_in: u64,
    /// Names in the watched folder that cannot be moved or removed (a folder of another user).
    pub stuck: BTreeSet<String>,
    /// Nothing can be written to `done` and `dead-letter` (their disk is full).
    pub targets_full: bool,
}

/// A change of a name that is not on the disk yet.
#[derive(Clone, Debug)]
struct Change {
    at: Place,
    before: Option<u64>,
    after: Option<u64>,
    /// Changes of one operation have one number.
    operation: u64,
}

pub struct Model {
    pub traits: Traits,
    pub faults: Faults,
    pub names: BTreeMap<Place, u64>,
    pub nodes: BTreeMap<u64, Node>,
    pending: Vec<Change>,
    operations: u64,
    last_inode: u64,
    /// Versions that were removed from the staging folder.
    pub given_up: BTreeSet<Version>,
    /// The last operation was a look.
    pub last_was_look: bool,
    /// Operations by kind, for the numbers at the end.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Model {
    pub fn new(rng: &mut Rng, crashes: bool) -> Model {
        let mut yes = |one_in| rng.below(one_in) == 0;
        let traits = Traits {
            renames: !yes(3),
            links: !yes(3),
            inodes_last: !yes(4),
            late_mtimes: !crashes && yes(6),
            atomic: !yes(4),
            syncs_fail: false,
            targets_elsewhere: yes(3),
            staging_elsewhere: false,
            bind_mounts: yes(2),
        };
        let staging_elsewhere = traits.targets_elsewhere && yes(3);
        Model {
            traits: Traits {
                staging_elsewhere,
                syncs_fail: traits.atomic && !traits.late_mtimes,
                ..traits
            },
            faults: Faults {
                one_in: 12,
                ..Faults::default()
            },
            names: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pending: Vec::new(),
            operations: 0,
            last_inode: 1_000_000,
            given_up: BTreeSet::new(),
            last_was_look: false,
            counts: BTreeMap::new(),
        }
    }

    pub fn inode(&mut self) -> u64 {
        self.last_inode += 1;
        self.last_inode
    }

    pub fn get(&self, at: &Place) -> Option<Node> {
        self.names.get(at).map(|ino| self.nodes[ino])
    }

    pub fn get_mut(&mut self, at: &Place) -> Option<&mut Node> {
        self.names.get(at).and_then(|ino| self.nodes.get_mut(ino))
    }

    /// All files with content of a writer, by their names in an area.
    pub fn area(&self, area: Area) -> impl Iterator<Item = (&Place, Node)> {
        let all = self
            .names
            .iter()
            .filter(move |(place, _)| place.area == area);
        all.map(|(place, ino)| (place, self.nodes[ino]))
            .filter(|(_, node)| node.version > 0)
    }

    /// Gives `at` another file, as its writer does: what writers do is on the disk.
    pub fn write(&mut self, at: &Place, node: Node) {
        let ino = node.look.ino;
        self.nodes.insert(ino, node);
        self.names.insert(at.clone(), ino);
        self.settle(at);
    }

    /// Takes a name away, as its writer does.
    pub fn take(&mut self, at: &Place) -> Option<Node> {
        let ino = self.names.remove(at)?;
        self.settle(at);
        self.nodes.get(&ino).copied()
    }

    /// What a writer does to a name is on the disk, and what came before it with it.
    fn settle(&mut self, at: &Place) {
        self.reached(|change| change.at == *at);
    }

    /// These changes are on the disk; where changes are in order, so are all before them.
    fn reached(&mut self, is_one: impl Fn(&Change) -> bool) {
        if self.traits.atomic {
            let last = self
                .pending
                .iter()
                .rposition(is_one)
                .map(|at| self.pending[at].operation);
            if let Some(last) = last {
                self.pending.retain(|change| change.operation > last);
            }
        } else {
            self.pending.retain(|change| !is_one(change));
        }
    }

    fn set(&mut self, at: &Place, ino: Option<u64>) {
        let before = match ino {
            Some(ino) => self.names.insert(at.clone(), ino),
            None => self.names.remove(at),
        };
        let operation = self.operations;
        self.pending.push(Change {
            at: at.clone(),
            before,
            after: ino,
            operation,
        });
    }

    /// The folder's names are on the disk.
    pub fn sync(&mut self, folder: &Place) {
        self.reached(|change| change.at.folder() == *folder);
    }

    /// What is not on the disk may be there all the same: in order where changes are atomic, else
    /// none of it.
    pub fn cut_power(&mut self, rng: &mut Rng) {
        let undone = match (self.traits.atomic, self.pending.len() as u64) {
            (true, pending) => rng.below(pending + 1),
            (false, pending) => pending,
        };
        let mut last = None;
        let mut left = undone;
        while let Some(change) = self.pending.last() {
            if left == 0 && Some(change.operation) != last {
                break;
            }
            left = left.saturating_sub(1);
            last = Some(change.operation);
            let Change {
                at, before, after, ..
            } = self.pending.pop().expect("it was just there");
            if self.names.get(&at).copied() != after {
                // A writer has used the name since: that is on the disk.
                continue;
            }
            match before {
                Some(ino) => drop(self.names.insert(at, ino)),
                None => drop(self.names.remove(&at)),
            }
        }
        self.pending.clear();
    }

    /// A mount that gives all files other numbers.
    pub fn renumber(&mut self, add: u64) {
        let names = std::mem::take(&mut self.names);
        self.names = names
            .into_iter()
            .map(|(place, ino)| (place, ino + add))
            .collect();
        let nodes = std::mem::take(&mut self.nodes);
        self.nodes = nodes
            .into_iter()
            .map(|(ino, node)| {
                let look = Look {
                    ino: ino + add,
                    dev: node.look.dev + 1,
                    ..node.look
                };
                (ino + add, Node { look, ..node })
            })
            .collect();
        self.last_inode += add;
        for change in &mut self.pending {
            change.before = change.before.map(|ino| ino + add);
            change.after = change.after.map(|ino| ino + add);
        }
    }

    fn device(&self, area: Area) -> u8 {
        match area {
            Area::Watched => 0,
            Area::Staging => u8::from(self.traits.staging_elsewhere),
            Area::Done | Area::DeadLetter => u8::from(self.traits.targets_elsewhere) * 2,
        }
    }
}

/// How one operation ends.
enum Turn {
    Done,
    /// Certainly not.
    Refused,
    /// It answers with an error, and was not done.
    Failed,
    /// It answers with an error, and was done.
    DoneAndFailed(FaultKind),
}

/// The model as one thread of the daemon sees it, with the journal.
pub struct WorldDisk<'a> {
    pub world: &'a mut World,
}

impl WorldDisk<'_> {
    fn count(&mut self, what: &'static str) {
        self.world.model.last_was_look = what == "look";
        *self.world.model.counts.entry(what).or_default() += 1;
    }

    fn turn(&mut self, what: &'static str, places: &[&Place]) -> Turn {
        self.world.model.operations += 1;
        self.count(what);
        let faults = &self.world.model.faults;
        let is_stuck = |place: &&Place| {
            place.area == Area::Watched
                && !faults.stuck.is_empty()
                && faults.stuck.contains(&place.path.to_string())
        };
        if places.iter().any(is_stuck) && what != "look" {
            return Turn::Refused;
        }
        let is_full = |place: &&Place| matches!(place.area, Area::Done | Area::DeadLetter);
        if faults.targets_full && what != "look" && places.iter().any(is_full) {
            return Turn::Failed;
        }
        if faults.one_in == 0 || self.world.rng.below(faults.one_in) != 0 {
            return Turn::Done;
        }
        self.count("faults");
        match self.world.rng.below(4) {
            0 => Turn::Refused,
            1 => Turn::Failed,
            2 => Turn::DoneAndFailed(FaultKind::Unclear),
            _ => Turn::DoneAndFailed(FaultKind::Exists),
        }
    }

    /// Carries `body` out as `turn` says.
    fn carry<T>(
        &mut self,
        what: &'static str,
        places: &[&Place],
        body: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (result, how) = match self.turn(what, places) {
            Turn::Done => (body(self), "ok"),
            Turn::Refused => (Err(Fault::new(FaultKind::Refused, "EACCES")), "refused"),
            Turn::Failed => (Err(Fault::new(FaultKind::Unclear, "EIO")), "failed"),
            Turn::DoneAndFailed(kind) => match body(self) {
                Ok(_) => (Err(Fault::new(kind, "EIO")), "done, but failed"),
                Err(fault) => (Err(fault), "failed"),
            },
        };
        let why = result.as_ref().err().map(|fault| fault.kind);
        self.world.say(|| {
            let places: Vec<String> = places.iter().map(|place| place.to_string()).collect();
            format!("  disk: {what} {}: {how} {why:?}", places.join(" -> "))
        });
        result
    }

    fn find(&self, at: &Place) -> Result<u64, Fault> {
        let found = self.world.model.names.get(at).copied();
        found.ok_or_else(|| Fault::new(FaultKind::Unclear, "ENOENT"))
    }

    fn may_cross(&self, from: &Place, to: &Place) -> Result<(), Fault> {
        let model = &self.world.model;
        if model.device(from.area) == model.device(to.area) {
            return Ok(());
        }
        Err(Fault::new(FaultKind::CrossesDevices, "EXDEV"))
    }

    fn is_free(&self, at: &Place) -> Result<(), Fault> {
        if self.world.model.names.contains_key(at) {
            return Err(Fault::new(FaultKind::Exists, "EEXIST"));
        }
        Ok(())
    }

    /// What a rename does to the file itself.
    fn touch(&mut self, ino: u64, from: &Place, to: &Place) {
        let (now, other) = (self.world.wall(), self.world.model.inode());
        let model = &mut self.world.model;
        let traits = model.traits;
        let mut node = model.nodes[&ino];
        node.look.ctime = now;
        let late = traits.late_mtimes && node.look.stamp.mtime.0 % 3 == 0;
        if late {
            node.look.stamp.mtime.0 += 1;
        }
        model.set(from, None);
        if traits.inodes_last && !late {
            model.nodes.insert(ino, node);
            model.set(to, Some(ino));
        } else {
            node.look.ino = other;
            model.nodes.insert(other, node);
            model.set(to, Some(other));
        }
    }
}

fn digest_of(version: Version) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&version.to_le_bytes());
    digest
}

/// The digest that a worker makes of this version as it sends it.
pub fn sha256(version: Version) -> Option<[u8; 32]> {
    Some(digest_of(version))
}

impl Disk for WorldDisk<'_> {
    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        self.count("look");
        let faults = &self.world.model.faults;
        if faults.one_in > 0 && self.world.rng.below(faults.one_in * 3) == 0 {
            self.world.say(|| format!("  disk: look {at}: failed"));
            return Err(Fault::new(FaultKind::Unclear, "EIO"));
        }
        Ok(self
            .world
            .model
            .get(at)
            .map_or(Entry::Absent, |node| Entry::File(node.look)))
    }

    fn same_device(&mut self, one: &Place, other: &Place) -> Result<bool, Fault> {
        self.count("same device");
        let model = &self.world.model;
        // Two mounts of one file system look alike.
        Ok(model.traits.bind_mounts || model.device(one.area) == model.device(other.area))
    }

    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault> {
        self.count("digest");
        let ino = self.find(at)?;
        Ok(digest_of(self.world.model.nodes[&ino].version))
    }

    fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        // The kernel compares the mounts before it asks the file system (do_renameat2).
        if !self.world.model.traits.renames && self.may_cross(from, to).is_ok() {
            // And whether the new name is free.
            self.is_free(to)?;
            return Err(Fault::new(FaultKind::Unsupported, "EINVAL"));
        }
        self.carry("rename", &[from, to], |disk| {
            disk.may_cross(from, to)?;
            let ino = disk.find(from)?;
            disk.is_free(to)?;
            disk.touch(ino, from, to);
            Ok(())
        })
    }

    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        if !self.world.model.traits.links && self.may_cross(from, to).is_ok() {
            return Err(Fault::new(FaultKind::Unsupported, "EPERM"));
        }
        self.carry("link", &[from, to], |disk| {
            disk.may_cross(from, to)?;
            let ino = disk.find(from)?;
            disk.is_free(to)?;
            let now = disk.world.wall();
            disk.world
                .model
                .nodes
                .get_mut(&ino)
                .expect("it was found")
                .look
                .ctime = now;
            disk.world.model.set(to, Some(ino));
            Ok(())
        })
    }

    fn reserve(&mut self, at: &Place) -> Result<Look, Fault> {
        let taken = self.world.model.names.contains_key(at);
        let result = self.carry("reserve", &[at], |disk| {
            disk.is_free(at)?;
            let (ino, now) = (disk.world.model.inode(), disk.world.wall());
            let stamp = Stamp {
                size: 0,
                mtime: now,
            };
            let look = Look {
                stamp,
                ctime: now,
                dev: 1,
                ino,
                ..Look::default()
            };
            let node = Node {
                version: 0,
                look,
                changed: disk.world.time,
                complete: true,
            };
            disk.world.model.nodes.insert(ino, node);
            disk.world.model.set(at, Some(ino));
            Ok(look)
        });
        // An exclusive create that is repeated for the client is known again by its verifier
        // (RFC 8881, 18.16.3).
        result.map_err(|fault| match fault.kind {
            FaultKind::Exists if !taken => Fault::new(FaultKind::Unclear, "EIO"),
            _ => fault,
        })
    }

    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        let result = self.carry("rename over", &[from, to], |disk| {
            disk.may_cross(from, to)?;
            let ino = disk.find(from)?;
            if let Some(node) = disk.world.model.get(to) {
                assert_eq!(node.version, 0, "{to} was replaced");
            }
            disk.touch(ino, from, to);
            Ok(())
        });
        // No server answers that of this call.
        result.map_err(|fault| match fault.kind {
            FaultKind::Exists => Fault::new(FaultKind::Unclear, "EIO"),
            _ => fault,
        })
    }

    fn remove(&mut self, at: &Place) -> Result<(), Fault> {
        let result = self.carry("remove", &[at], |disk| {
            let ino = disk.find(at)?;
            if at.area == Area::Staging {
                let version = disk.world.model.nodes[&ino].version;
                disk.world.model.given_up.insert(version);
            }
            disk.world.model.set(at, None);
            Ok(())
        });
        result.map_err(|fault| match fault.kind {
            FaultKind::Exists => Fault::new(FaultKind::Unclear, "EIO"),
            _ => fault,
        })
    }

    fn copy(&mut self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        let result = self.carry("copy", &[from, draft], |disk| {
            let source = disk.world.model.nodes[&disk.find(from)?];
            let (ino, now) = (disk.world.model.inode(), disk.world.wall());
            // Another file system may keep coarser times.
            let mtime = match disk.world.model.traits.late_mtimes {
                true => Wall(source.look.stamp.mtime.0 / 1_000_000_000 * 1_000_000_000),
                false => source.look.stamp.mtime,
            };
            let stamp = Stamp {
                mtime,
                ..source.look.stamp
            };
            let look = Look {
                stamp,
                ctime: now,
                ino,
                dev: 2,
                ..source.look
            };
            disk.world.model.nodes.insert(ino, Node { look, ..source });
            disk.world.model.set(draft, Some(ino));
            Ok(Copied {
                sha256: digest_of(source.version),
                of: source.look,
            })
        });
        // It undoes nothing: a part of a copy may lie there.
        if let Err(fault) = &result
            && fault.kind == FaultKind::Unclear
            && !self.world.model.names.contains_key(draft)
            && !self.world.model.faults.targets_full
        {
            let (ino, now) = (self.world.model.inode(), self.world.wall());
            let look = Look {
                stamp: Stamp {
                    size: 1,
                    mtime: now,
                },
                ino,
                ..Look::default()
            };
            let torn = Node {
                version: 0,
                look,
                changed: 0,
                complete: false,
            };
            self.world.model.nodes.insert(ino, torn);
            self.world.model.set(draft, Some(ino));
        }
        result
    }

    fn write_reason(&mut self, at: &Place, text: &[u8], _like: &Place) -> Result<(), Fault> {
        assert!(text.starts_with(b"{"));
        self.carry("reason", &[at], |disk| {
            let (ino, now) = (disk.world.model.inode(), disk.world.wall());
            let stamp = Stamp {
                size: text.len() as u64,
                mtime: now,
            };
            let look = Look {
                stamp,
                ctime: now,
                ino,
                ..Look::default()
            };
            let node = Node {
                version: 0,
                look,
                changed: disk.world.time,
                complete: true,
            };
            disk.world.model.nodes.insert(ino, node);
            disk.world.model.set(at, Some(ino));
            Ok(())
        })
    }

    fn make_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        assert_eq!(folder.area, Area::Watched);
        self.carry("make folder", &[], |_| Ok(()))
    }

    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        self.count("sync folder");
        let Model { faults, traits, .. } = &self.world.model;
        if traits.syncs_fail && faults.one_in > 0 && self.world.rng.below(faults.one_in * 2) == 0 {
            self.world.say(|| format!("  disk: sync {folder}: failed"));
            return Err(Fault::new(FaultKind::Unclear, "EIO"));
        }
        self.world.model.sync(folder);
        Ok(())
    }

    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.count("append");
        if self.world.journal_is_full() {
            return Err(Fault::new(FaultKind::Journal, "the disk is full"));
        }
        for line in lines {
            self.world
                .write_down(&line.path, line.stamp, line.event.clone());
        }
        Ok(())
    }

    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.count("append");
        for line in lines {
            self.world.write_or_owe(line.clone());
        }
        Ok(())
    }

    fn sync_journal(&mut self) -> Result<(), Fault> {
        self.count("sync journal");
        if self.world.journal_is_full() {
            return Err(Fault::new(FaultKind::Journal, "the disk is full"));
        }
        self.world.sync_journal();
        Ok(())
    }
}

/// The place of `name` in the watched folder.
pub fn watched(name: &str) -> Place {
    Place::new(Area::Watched, Rel::new(name.as_bytes()))
}
