//! The modelled file system: names and inodes, what of the names is on the disk, and what a power
//! cut leaves of them.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::flow::file::Look;
use dirpost::flow::filing::{Area, Place};
use dirpost::flow::rng::Rng;
use dirpost::flow::time::Wall;

use crate::world::Version;

/// A file, under whatever names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Whose content it has. A reason, a marker and an empty reservation have version 0.
    pub version: Version,
    /// The number of a marker; 0 for all other files.
    pub marker: u64,
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
    /// Bringing a folder of another file system onto the disk fails now and then, where renames
    /// are not atomic: what is copied there can be copied again. An fsync that succeeds after one
    /// that has failed brings nothing onto the disk that was to be there by then.
    pub target_syncs_fail: bool,
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
    /// An fsync has failed to bring it onto the disk, and the next one will not try.
    given_up: bool,
}

pub struct Model {
    pub traits: Traits,
    pub faults: Faults,
    pub names: BTreeMap<Place, u64>,
    pub nodes: BTreeMap<u64, Node>,
    pending: Vec<Change>,
    pub operations: u64,
    last_inode: u64,
    /// Versions that were removed from the staging folder.
    pub given_up: BTreeSet<Version>,
    /// What an fsync did not bring onto the disk no later one will bring there.
    pub lost_syncs: bool,
    /// The last operation was a look.
    pub last_was_look: bool,
    /// What was looked at last: its name, wherever it lay.
    pub looked_at: String,
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
            target_syncs_fail: false,
            targets_elsewhere: yes(3),
            staging_elsewhere: false,
            bind_mounts: yes(2),
        };
        let staging_elsewhere = traits.targets_elsewhere && yes(3);
        Model {
            traits: Traits {
                staging_elsewhere,
                // Where a power cut leaves both names of a file, only its inode tells the one that
                // it has left from an equal file that has come since, which is a new drop.
                inodes_last: traits.inodes_last || crashes && !traits.atomic,
                syncs_fail: traits.atomic && !traits.late_mtimes,
                target_syncs_fail: !traits.atomic
                    && !traits.late_mtimes
                    && traits.targets_elsewhere,
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
            lost_syncs: false,
            last_was_look: false,
            looked_at: String::new(),
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

    /// All markers in an area, by their names.
    pub fn markers(&self, area: Area) -> impl Iterator<Item = (&Place, Node)> {
        let all = self
            .names
            .iter()
            .filter(move |(place, _)| place.area == area);
        all.map(|(place, ino)| (place, self.nodes[ino]))
            .filter(|(_, node)| node.marker > 0)
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

    /// What a writer does to a name is on the disk, and what came before it with it. If a file was
    /// moved away from there, so is its new name: where renames are not on the disk as a whole, who
    /// takes the old name before the new one is there leaves a power cut nothing to bring back, and
    /// no order of operations helps against that.
    pub fn settle(&mut self, at: &Place) {
        let changes = self.pending.iter().filter(|change| change.at == *at);
        let operations: BTreeSet<u64> = changes.map(|change| change.operation).collect();
        self.reached(|change| operations.contains(&change.operation));
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

    pub fn set(&mut self, at: &Place, ino: Option<u64>) {
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
            given_up: false,
        });
    }

    /// Somebody else than the filing thread gives a file another name.
    pub fn rename(&mut self, from: &Place, to: &Place, now: Wall) {
        let Some(mut node) = self.get(from) else {
            return;
        };
        self.operations += 1;
        node.look.ctime = now;
        if !self.traits.inodes_last {
            node.look.ino = self.inode();
        }
        self.set(from, None);
        self.nodes.insert(node.look.ino, node);
        self.set(to, Some(node.look.ino));
    }

    /// The folder's names are on the disk.
    pub fn sync(&mut self, folder: &Place) {
        self.reached(|change| change.at.folder() == *folder && !change.given_up);
    }

    /// They are not, and the next try will not bring them there either. Where changes are in order,
    /// that makes no difference: what comes later takes them along.
    pub fn fail_to_sync(&mut self, folder: &Place) {
        self.lost_syncs |= !self.traits.atomic;
        for change in &mut self.pending {
            change.given_up |= !self.traits.atomic && change.at.folder() == *folder;
        }
    }

    /// Whether a power cut would leave all names as they are.
    pub fn is_on_disk(&self) -> bool {
        self.pending.is_empty()
    }

    /// The names as a power cut would leave them that comes now and takes all that is not on the disk.
    /// Where changes are atomic and in order, fewer of them may be taken: then each state in between was
    /// one in which this was asked before.
    pub fn after_power_cut(&self) -> BTreeMap<&Place, u64> {
        let mut names: BTreeMap<&Place, u64> =
            self.names.iter().map(|(at, ino)| (at, *ino)).collect();
        let mut moved: Option<(u64, u64)> = None;
        for change in self.pending.iter().rev() {
            if let Some(after) = change.after {
                moved = Some((change.operation, after));
            }
            if names.get(&change.at).copied() != change.after {
                // A writer has used the name since: that is on the disk.
                continue;
            }
            let is_moved = |(operation, _): &(u64, u64)| {
                *operation == change.operation && change.after.is_none()
            };
            match (change.before, moved.filter(is_moved)) {
                // The same file under another number, with what was written to it since.
                (Some(_), Some((_, new))) => drop(names.insert(&change.at, new)),
                (Some(ino), None) => drop(names.insert(&change.at, ino)),
                (None, _) => drop(names.remove(&change.at)),
            }
        }
        names
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
        let mut moved: Option<(u64, u64)> = None;
        while let Some(change) = self.pending.last() {
            if left == 0 && Some(change.operation) != last {
                break;
            }
            left = left.saturating_sub(1);
            last = Some(change.operation);
            let Change {
                at,
                before,
                after,
                operation,
                ..
            } = self.pending.pop().expect("it was just there");
            if let Some(after) = after {
                moved = Some((operation, after));
            }
            if self.names.get(&at).copied() != after {
                // A writer has used the name since: that is on the disk.
                continue;
            }
            match (before, moved) {
                // The number of a renamed file is another one, and the file is the same: what its
                // writer has written since through an open handle is in it.
                (Some(ino), Some((same, new))) if same == operation && after.is_none() => {
                    let (node, before) = (self.nodes[&new], self.nodes[&ino]);
                    if (node.version, node.complete) != (before.version, before.complete) {
                        let look = Look { ino, ..node.look };
                        self.nodes.insert(ino, Node { look, ..node });
                    }
                    self.names.insert(at, ino);
                }
                (Some(ino), _) => drop(self.names.insert(at, ino)),
                (None, _) => drop(self.names.remove(&at)),
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

    pub fn device(&self, area: Area) -> u8 {
        match area {
            Area::Watched => 0,
            Area::Staging => u8::from(self.traits.staging_elsewhere),
            Area::Done | Area::DeadLetter => u8::from(self.traits.targets_elsewhere) * 2,
        }
    }
}
