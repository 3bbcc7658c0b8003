//! What filing asks of the modelled file system, one operation at a time, and the ways in which
//! real ones answer: renames that replace nothing or do not exist, links or none, other file
//! systems, inode numbers that do not last, refusals, and operations that are done and answer with
//! an error all the same.
//!
//! Filing drives it through the same trait as the real one.

use dirpost::flow::file::{Entry, Look, Rel, Stamp};
use dirpost::flow::filing::answer::ANSWER;
use dirpost::flow::filing::disk::{Copied, Disk, Line};
use dirpost::flow::filing::{Area, Fault, FaultKind, Kept, Place};
use dirpost::flow::time::Wall;

use crate::model::{Model, Node};
use crate::world::{Version, World};

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
            self.world.meet("folder of another user");
            return Turn::Refused;
        }
        let is_full = |place: &&Place| is_target(place.area);
        if faults.targets_full && what != "look" && places.iter().any(is_full) {
            self.world.meet("target without room");
            return Turn::Failed;
        }
        if faults.one_in == 0 || self.world.rng.below(faults.one_in) != 0 {
            return Turn::Done;
        }
        let (turn, kind) = match self.world.rng.below(4) {
            0 => (Turn::Refused, "operation refused"),
            1 => (Turn::Failed, "operation failed"),
            2 => (
                Turn::DoneAndFailed(FaultKind::Unclear),
                "operation done that answers with an error",
            ),
            _ => (
                Turn::DoneAndFailed(FaultKind::Exists),
                "operation done that answers that the name is taken",
            ),
        };
        self.world.meet(kind);
        turn
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

    /// A version that is put back waits for another marker if a later one was filed with that which
    /// its writer has written last.
    fn comes_back(&mut self, ino: u64, to: &Place) {
        let world = &mut *self.world;
        let version = world.model.nodes[&ino].version;
        if to.area != Area::Watched || version == 0 {
            return;
        }
        if world.features.groups {
            // The marker that is there may have vouched for it before.
            world.unvouched.insert(version);
        }
        if world.model.get(&world.marker_of(to)).is_some() {
            return;
        }
        let filed = [Area::Done, Area::DeadLetter].into_iter();
        let filed = filed.flat_map(|area| world.model.area(area));
        let accepted = world.accepted.iter().map(|(version, _)| *version);
        let mut over = filed.map(|(_, node)| node.version).chain(accepted);
        let origin = &world.origins[&version];
        if over.any(|later| later > version && world.origins[&later] == *origin) {
            world.unvouched.insert(version);
        }
    }

    /// What a rename does to the file itself.
    fn touch(&mut self, ino: u64, from: &Place, to: &Place) {
        let (now, other) = (self.world.wall(), self.world.model.inode());
        let model = &mut self.world.model;
        let traits = model.traits;
        let mut node = model.nodes[&ino];
        node.look.ctime = now;
        // A marker was closed long ago.
        let late = traits.late_mtimes && node.marker == 0 && node.look.stamp.mtime.0 % 3 == 0;
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

/// Whether it is where files go to in the end.
fn is_target(area: Area) -> bool {
    matches!(area, Area::Done | Area::DeadLetter)
}

/// The digest of what a file of this version holds.
pub fn digest_of(version: Version) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&version.to_le_bytes());
    digest
}

impl Disk for WorldDisk<'_> {
    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        self.count("look");
        self.world.model.looked_at = at.path.to_string();
        let faults = &self.world.model.faults;
        if faults.one_in > 0 && self.world.rng.below(faults.one_in * 3) == 0 {
            self.world.meet("look that fails");
            self.world.say(|| format!("  disk: look {at}: failed"));
            return Err(Fault::new(FaultKind::Unclear, "EIO"));
        }
        let entry = self
            .world
            .model
            .get(at)
            .map_or(Entry::Absent, |node| Entry::File(node.look));
        self.world.say(|| match &entry {
            Entry::File(look) => format!("  disk: look {at}: {:?}", look.stamp),
            other => format!("  disk: look {at}: {other:?}"),
        });
        if at.area == Area::Staging {
            let now = self.world.time;
            self.world.looked_at_in_staging.insert(at.clone(), now);
        }
        Ok(entry)
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
            disk.comes_back(ino, to);
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
            disk.comes_back(ino, to);
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
                marker: 0,
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
                // A copy that may not be on the disk is made again.
                let is_same = node.version == disk.world.model.nodes[&ino].version;
                assert!(node.version == 0 || is_same, "{to} was replaced");
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
                let Node {
                    version, changed, ..
                } = disk.world.model.nodes[&ino];
                disk.world.model.given_up.insert(version);
                // Nobody can see what a writer adds through its handle between the last look at a file
                // and its removal.
                let looked_at = disk.world.looked_at_in_staging.get(at);
                if looked_at.is_some_and(|&at| changed > at) {
                    disk.world.withdrawn.insert(version);
                }
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
            // Its writer holds what it was made of, and writes nothing to it.
            let copy = Node {
                look,
                complete: true,
                ..source
            };
            disk.world.model.nodes.insert(ino, copy);
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
                marker: 0,
                look,
                changed: 0,
                complete: false,
            };
            self.world.model.nodes.insert(ino, torn);
            self.world.model.set(draft, Some(ino));
        }
        result
    }

    fn write_beside(&mut self, at: &Place, text: &[u8], _like: &Place) -> Result<(), Fault> {
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
                marker: 0,
                look,
                changed: disk.world.time,
                complete: true,
            };
            disk.world.model.nodes.insert(ino, node);
            disk.world.model.set(at, Some(ino));
            if at.path.as_bytes().ends_with(ANSWER) {
                let said: serde_json::Value = serde_json::from_slice(text).expect("JSON");
                assert_eq!(at.area, Area::Done);
                assert_eq!(said["body"], "stored");
                let key = said["key"].as_str().expect("its key").to_owned();
                disk.world.answers.insert(at.clone(), key);
                disk.world.meet("answer kept");
            }
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
        let may_fail = traits.syncs_fail || traits.target_syncs_fail && is_target(folder.area);
        if may_fail && faults.one_in > 0 && self.world.rng.below(faults.one_in * 2) == 0 {
            self.world.model.fail_to_sync(folder);
            self.world.retries.in_doubt |= folder.area == Area::DeadLetter;
            self.world.meet("fsync of a folder that fails");
            self.world.say(|| format!("  disk: sync {folder}: failed"));
            return Err(Fault::new(FaultKind::Unclear, "EIO"));
        }
        self.world.model.sync(folder);
        Ok(())
    }

    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.count("append");
        self.world
            .append(lines)
            .map_err(|why| Fault::new(FaultKind::Journal, why))
    }

    fn note_kept(&mut self, kept: &[Kept]) {
        self.count("note");
        self.world.kept.extend_from_slice(kept);
    }

    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.count("append");
        self.world
            .append_or_owe(lines)
            .map_err(|why| Fault::new(FaultKind::Journal, why))
    }

    fn sync_journal(&mut self) -> Result<(), Fault> {
        self.count("sync journal");
        self.world
            .sync_journal()
            .map_err(|why| Fault::new(FaultKind::Journal, why))
    }
}

/// What stands behind a file's name in the name of its marker.
pub const MARKER: &[u8] = b".done";

/// The place of `name` in the watched folder.
pub fn watched(name: &str) -> Place {
    Place::new(Area::Watched, Rel::new(name.as_bytes()))
}
