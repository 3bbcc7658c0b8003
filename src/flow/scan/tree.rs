//! TRACK: the folders and what is known of the files in them.
//!
//! A file is either *at rest* (delivered and kept in place: its name and its stamp in its
//! folder's [`Listing`], nothing else) or *in motion* (it has a number, and the engine
//! has a record of it). [`Tree::merge`] takes a new listing of one folder and says what is
//! new, seen again and missing; what is at rest and unchanged costs a comparison.
//!
//! Invariants:
//! - A name is at rest, in motion, or away (was at rest and is missing), never two of these.
//! - Only the complete listing of a folder makes anything in it missing. A folder that could
//!   not be listed is left as it was, with all that is below it; so is a name that is there and
//!   could not be looked at.
//! - What was filed away while a scan was under way may still stand in that scan's listing:
//!   it is passed over there, and what stands in the next scan's is new.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::messages::Content;
use crate::flow::scan::listing::{Listing, Pair, merge};
use crate::flow::time::Wall;

/// All folders, by their paths.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    folders: BTreeMap<Rel, Folder>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    rest: Listing,
    /// What came to rest since the last listing, to be merged into `rest` by the next one.
    rested: BTreeMap<Box<[u8]>, Stamp>,
    moving: BTreeMap<Box<[u8]>, FileNo>,
    /// What was at rest and is missing, and since when.
    away: BTreeMap<Box<[u8]>, (Stamp, Wall)>,
    /// What was filed away, with the number of the scan that was under way.
    left: BTreeMap<Box<[u8]>, u64>,
    /// Names of the folders in it, sorted.
    folders: Vec<Vec<u8>>,
}

/// What a listing says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file, or a version of it, that is not known: neither in motion nor at rest.
    New {
        /// Its name in the folder.
        name: Box<[u8]>,
        /// How it looks now.
        look: Look,
        /// Its marker, if there is one.
        marker: Option<Look>,
    },
    /// A file in motion is there.
    Seen {
        /// The number that it is known by.
        file: FileNo,
        /// How it looks now; it may have become another version.
        look: Look,
        /// Its marker, if there is one.
        marker: Option<Look>,
    },
    /// A file in motion is not there.
    Missing {
        /// The number that it is known by.
        file: FileNo,
    },
    /// It was at rest, and this version is missing.
    Away {
        /// Where it was.
        path: Rel,
        /// The version that is missing; another one may be in its place.
        stamp: Stamp,
    },
    /// It was away, and is at rest again.
    Back {
        /// Where it is again.
        path: Rel,
        /// The version that is back.
        stamp: Stamp,
    },
    /// It has been away for too long.
    Forgotten {
        /// Where it was.
        path: Rel,
        /// The version that is no longer known: it would be new if it reappeared.
        stamp: Stamp,
    },
}

impl Tree {
    /// Merges the complete listing of `path`, taken by scan number `scan`. What has been away
    /// since before `horizon` is forgotten.
    pub fn merge(
        &mut self,
        path: &Rel,
        content: Content,
        scan: u64,
        now: Wall,
        horizon: Wall,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let kept = self.drop_folders(path, &content.folders, now, horizon, &mut events);
        let folder = self.node(path);
        folder.folders = content.folders;
        folder.folders.extend(kept);
        folder.folders.sort_unstable();

        let marker_of = |name: &[u8]| {
            content
                .markers
                .binary_search_by(|(own, _)| own.as_slice().cmp(name))
                .ok()
                .map(|at| content.markers[at].1)
        };
        let mut resting = Vec::new();
        let mut gone = Vec::new();
        let is_unseen = |name: &[u8]| {
            content
                .unseen
                .binary_search_by(|other| other.as_slice().cmp(name))
                .is_ok()
        };
        let mut unseen = Vec::new();
        // Whether `rest` is right as it stands: the usual case, in which nothing is built.
        let mut intact = folder.rested.is_empty();
        for pair in merge(&folder.rest, &content.files) {
            let (at, old) = match pair {
                Pair::Old(old) => {
                    if is_unseen(folder.rest.name(old)) {
                        unseen.push(old);
                    } else {
                        gone.push(old);
                    }
                    continue;
                }
                Pair::New(new) => (new, None),
                Pair::Both(old, new) => (new, Some(old)),
            };
            let (name, look) = (content.files.name(at), content.looks[at]);
            let known = resting.len();
            if let Some(&file) = folder.moving.get(name) {
                events.push(Event::Seen {
                    file,
                    look,
                    marker: marker_of(name),
                });
            } else if folder.left.get(name).is_some_and(|&left| left >= scan) {
                // Listed before it was filed away.
            } else if folder.is_known(old.map(|old| folder.rest.stamp(old)), name, look.stamp) {
                resting.push(at);
            } else {
                events.push(Event::New {
                    name: name.into(),
                    look,
                    marker: marker_of(name),
                });
            }
            let rests = resting.len() > known;
            intact &= old.is_some() == rests;
            gone.extend(old.filter(|_| !rests));
        }
        intact &= gone.is_empty();
        for (name, &file) in &folder.moving {
            if content.files.find(name).is_none() && !is_unseen(name) {
                events.push(Event::Missing { file });
            }
        }
        if !intact {
            // They stay with what came to rest since, for the next listing.
            let mut stays: BTreeMap<Box<[u8]>, Stamp> = unseen
                .iter()
                .map(|&old| (folder.rest.name(old).into(), folder.rest.stamp(old)))
                .collect();
            stays.extend(folder.rested.extract_if(.., |name, _| is_unseen(name)));
            folder.rebuild_rest(path, &content.files, &resting, &gone, now, &mut events);
            folder.rested = stays;
        }
        folder.forget(path, horizon, &mut events);
        folder.left.retain(|_, left| *left >= scan);
        events
    }

    /// Forgets folders in `path` that are no longer listed, with all that is below them. Gives
    /// those of which something is still known: they are for a later listing to forget.
    fn drop_folders(
        &mut self,
        path: &Rel,
        now_there: &[Vec<u8>],
        now: Wall,
        horizon: Wall,
        events: &mut Vec<Event>,
    ) -> Vec<Vec<u8>> {
        let Some(known) = self.folders.get(path) else {
            return Vec::new();
        };
        let mut gone: Vec<Vec<u8>> = known.folders.clone();
        gone.retain(|name| now_there.binary_search(name).is_err());
        gone.retain(|name| {
            let mut kept = false;
            for below in self.subtree(&path.join(name)) {
                let node = self.folders.get_mut(&below).expect("it was just listed");
                events.extend(node.moving.values().map(|&file| Event::Missing { file }));
                // Delivered files in a folder that is missing stay known like any others.
                let all: Vec<usize> = (0..node.rest.len()).collect();
                node.rebuild_rest(&below, &Listing::new(), &[], &all, now, events);
                node.forget(&below, horizon, events);
                if node.is_forgettable() {
                    self.folders.remove(&below);
                } else {
                    kept = true;
                }
            }
            kept
        });
        gone
    }

    /// The folder `path`; where it is not known yet, it is entered in the one above.
    fn node(&mut self, path: &Rel) -> &mut Folder {
        if !self.folders.contains_key(path) {
            self.folders.insert(path.clone(), Folder::default());
            if *path != Rel::root() {
                let above = self.node(&path.parent());
                if let Err(at) = above
                    .folders
                    .binary_search_by(|name| name.as_slice().cmp(path.name()))
                {
                    above.folders.insert(at, path.name().to_vec());
                }
            }
        }
        self.folders.get_mut(path).expect("it is known by now")
    }

    fn subtree(&self, folder: &Rel) -> Vec<Rel> {
        // Everything below `a/b` lies between `a/b/` and `a/b0`, for `0` follows `/`.
        let edge = |end: u8| Rel::new(&[folder.as_bytes(), &[end]].concat());
        let below = (Bound::Included(edge(b'/')), Bound::Excluded(edge(b'0')));
        let mut all: Vec<Rel> = self
            .folders
            .range(below)
            .map(|(path, _)| path.clone())
            .collect();
        all.extend(self.folders.contains_key(folder).then(|| folder.clone()));
        all
    }

    /// `path` is in motion from now on, as number `file`.
    pub fn set_moving(&mut self, path: &Rel, file: FileNo) {
        let folder = self.node(&path.parent());
        folder.rested.remove(path.name());
        folder.moving.insert(path.name().into(), file);
    }

    /// Whether a version is known that was delivered, and stays or stayed at `path`.
    pub fn rests(&self, path: &Rel) -> bool {
        self.folders.get(&path.parent()).is_some_and(|folder| {
            let name = path.name();
            folder.rested.contains_key(name)
                || folder.away.contains_key(name)
                || folder.rest.find(name).is_some()
        })
    }

    /// `path` is no longer in motion, and nothing is known of it.
    pub fn forget(&mut self, path: &Rel) {
        if let Some(folder) = self.folders.get_mut(&path.parent()) {
            folder.moving.remove(path.name());
        }
    }

    /// `path` was filed away. `scan` is the scan under way, if one is.
    pub fn set_left(&mut self, path: &Rel, scan: Option<u64>) {
        self.forget(path);
        if let (Some(folder), Some(scan)) = (self.folders.get_mut(&path.parent()), scan) {
            folder.left.insert(path.name().into(), scan);
        }
    }

    /// `path` is delivered and stays where it is.
    pub fn set_resting(&mut self, path: &Rel, stamp: Stamp) {
        let folder = self.node(&path.parent());
        folder.moving.remove(path.name());
        folder.away.remove(path.name());
        folder.rested.insert(path.name().into(), stamp);
    }

    /// `rest` is what an earlier process delivered in `path` and left where it was. What is in motion
    /// there came later.
    pub fn restore(&mut self, path: &Rel, rest: Listing) {
        self.node(path).rest = rest;
    }

    /// `path` was delivered and stayed where it was, and has been missing since then.
    pub fn set_away(&mut self, path: &Rel, stamp: Stamp, since: Wall) {
        self.node(&path.parent())
            .away
            .insert(path.name().into(), (stamp, since));
    }

    /// What is at rest at `path` is new again when it is listed next.
    pub fn disturb(&mut self, path: &Rel) {
        let folder = self.node(&path.parent());
        folder.rested.remove(path.name());
        folder.away.remove(path.name());
        let mut rest = Listing::new();
        for (name, stamp) in folder.rest.iter().filter(|(name, _)| *name != path.name()) {
            rest.push(name, stamp);
        }
        folder.rest = rest;
    }

    /// The number of `path`, if it is in motion.
    pub fn moving(&self, path: &Rel) -> Option<FileNo> {
        let folder = self.folders.get(&path.parent())?;
        folder.moving.get(path.name()).copied()
    }

    /// How many files are in motion.
    pub fn count_moving(&self) -> usize {
        self.folders
            .values()
            .map(|folder| folder.moving.len())
            .sum()
    }

    /// How many files are at rest.
    pub fn resting(&self) -> usize {
        self.folders
            .values()
            .map(|folder| folder.rest.len() + folder.rested.len())
            .sum()
    }
}

impl Folder {
    /// Whether this version was delivered before.
    fn is_known(&self, rested: Option<Stamp>, name: &[u8], stamp: Stamp) -> bool {
        // What came to rest last counts: `rest` may still hold the version before it.
        let last = self
            .rested
            .get(name)
            .copied()
            .or(rested)
            .or_else(|| self.away.get(name).map(|(stamp, _)| *stamp));
        last == Some(stamp)
    }

    /// Takes over what is at rest by the new listing. `gone` are the entries of the old one
    /// that are not there any more, or are another version now.
    fn rebuild_rest(
        &mut self,
        path: &Rel,
        files: &Listing,
        resting: &[usize],
        gone: &[usize],
        now: Wall,
        events: &mut Vec<Event>,
    ) {
        let rested = std::mem::take(&mut self.rested);
        let old = gone
            .iter()
            .map(|&at| (self.rest.name(at), self.rest.stamp(at)));
        // What came to rest last counts.
        let old = old.filter(|(name, _)| !rested.contains_key(*name));
        let new = rested.iter().filter(|(name, _)| {
            files
                .find(name)
                .is_none_or(|at| resting.binary_search(&at).is_err())
        });
        for (name, stamp) in old.chain(new.map(|(name, stamp)| (&**name, *stamp))) {
            self.away.insert(name.into(), (stamp, now));
            events.push(Event::Away {
                path: path.join(name),
                stamp,
            });
        }
        let mut rest = Listing::new();
        for &at in resting {
            let (name, stamp) = (files.name(at), files.stamp(at));
            rest.push(name, stamp);
            if !self.away.is_empty() && self.away.remove(name).is_some() {
                events.push(Event::Back {
                    path: path.join(name),
                    stamp,
                });
            }
        }
        rest.shrink();
        self.rest = rest;
    }

    /// Forgets what has been away since before `horizon`.
    fn forget(&mut self, path: &Rel, horizon: Wall, events: &mut Vec<Event>) {
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

    fn is_forgettable(&self) -> bool {
        self.rest.is_empty()
            && self.rested.is_empty()
            && self.away.is_empty()
            && self.moving.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(size: u64) -> Look {
        Look {
            stamp: Stamp {
                size,
                mtime: Wall(1),
            },
            ..Look::default()
        }
    }

    fn content(files: &[(&str, u64)], folders: &[&str]) -> Content {
        let mut content = Content::default();
        for &(name, size) in files {
            content.files.push(name.as_bytes(), look(size).stamp);
            content.looks.push(look(size));
        }
        content.folders = folders
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        content
    }

    fn new(name: &str, size: u64) -> Event {
        Event::New {
            name: name.as_bytes().into(),
            look: look(size),
            marker: None,
        }
    }

    const NOW: Wall = Wall(1_000);
    const LONG_AGO: Wall = Wall(0);

    #[test]
    fn nothing_is_left_of_a_folder_that_went_with_files_in_motion() {
        let mut tree = Tree::default();
        let (root, path) = (Rel::root(), Rel::new(b"a/b/f"));
        tree.merge(&root, content(&[], &["a"]), 1, NOW, LONG_AGO);
        tree.merge(&Rel::new(b"a"), content(&[], &["b"]), 1, NOW, LONG_AGO);
        tree.merge(
            &Rel::new(b"a/b"),
            content(&[("f", 1)], &[]),
            1,
            NOW,
            LONG_AGO,
        );
        tree.set_moving(&path, FileNo(7));
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 2, NOW, LONG_AGO),
            [Event::Missing { file: FileNo(7) }]
        );
        tree.forget(&path);
        tree.merge(&root, content(&[], &[]), 3, NOW, LONG_AGO);
        assert_eq!(tree.folders.keys().collect::<Vec<_>>(), [&root]);
    }

    #[test]
    fn a_file_is_new_once_then_seen_then_missing() {
        let mut tree = Tree::default();
        let root = Rel::root();
        assert_eq!(
            tree.merge(&root, content(&[("a", 1)], &[]), 1, NOW, LONG_AGO),
            [new("a", 1)]
        );
        tree.set_moving(&Rel::new(b"a"), FileNo(7));
        let seen = Event::Seen {
            file: FileNo(7),
            look: look(2),
            marker: None,
        };
        assert_eq!(
            tree.merge(&root, content(&[("a", 2)], &[]), 2, NOW, LONG_AGO),
            [seen]
        );
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 3, NOW, LONG_AGO),
            [Event::Missing { file: FileNo(7) }]
        );
    }

    #[test]
    fn a_kept_file_is_silent_until_it_changes_and_stays_known_while_it_is_away() {
        let mut tree = Tree::default();
        let (root, path) = (Rel::root(), Rel::new(b"a"));
        let away = |size| Event::Away {
            path: Rel::new(b"a"),
            stamp: look(size).stamp,
        };
        let back = |size| Event::Back {
            path: Rel::new(b"a"),
            stamp: look(size).stamp,
        };
        tree.set_resting(&path, look(1).stamp);
        for scan in 1..4 {
            assert_eq!(
                tree.merge(&root, content(&[("a", 1)], &[]), scan, NOW, LONG_AGO),
                []
            );
        }
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 4, NOW, LONG_AGO),
            [away(1)]
        );
        assert_eq!(tree.merge(&root, content(&[], &[]), 4, NOW, LONG_AGO), []);
        assert_eq!(
            tree.merge(&root, content(&[("a", 1)], &[]), 5, NOW, LONG_AGO),
            [back(1)]
        );
        assert_eq!(
            tree.merge(&root, content(&[("a", 2)], &[]), 6, NOW, LONG_AGO),
            [new("a", 2), away(1)]
        );
        tree.set_moving(&path, FileNo(1));
        tree.set_resting(&path, look(2).stamp);
        assert_eq!(
            tree.merge(&root, content(&[("a", 2)], &[]), 7, NOW, LONG_AGO),
            []
        );
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 8, NOW, LONG_AGO),
            [away(2)]
        );
        let forgotten = Event::Forgotten {
            path,
            stamp: look(2).stamp,
        };
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 9, Wall(2_000), NOW),
            [forgotten]
        );
        assert_eq!(
            tree.merge(&root, content(&[("a", 2)], &[]), 10, NOW, LONG_AGO),
            [new("a", 2)]
        );
    }

    #[test]
    fn kept_files_of_a_folder_that_is_gone_are_known_until_their_time_is_over_also_after_a_restart()
    {
        let mut tree = Tree::default();
        let (root, path) = (Rel::root(), Rel::new(b"a/b/f"));
        tree.set_resting(&path, look(1).stamp);
        tree.set_away(&Rel::new(b"a/g"), look(1).stamp, Wall(10));
        let away = Event::Away {
            path: path.clone(),
            stamp: look(1).stamp,
        };
        let forgotten = |path: &[u8]| Event::Forgotten {
            path: Rel::new(path),
            stamp: look(1).stamp,
        };
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 1, NOW, Wall(10)),
            [away, forgotten(b"a/g")]
        );
        assert_eq!(
            tree.merge(&root, content(&[], &["a"]), 2, NOW, Wall(10)),
            []
        );
        assert_eq!(
            tree.merge(&Rel::new(b"a"), content(&[], &["b"]), 2, NOW, Wall(10)),
            []
        );
        let back = Event::Back {
            path: path.clone(),
            stamp: look(1).stamp,
        };
        assert_eq!(
            tree.merge(
                &Rel::new(b"a/b"),
                content(&[("f", 1)], &[]),
                2,
                NOW,
                Wall(10)
            ),
            [back]
        );
        tree.merge(&root, content(&[], &[]), 3, NOW, Wall(10));
        assert_eq!(
            tree.merge(&root, content(&[], &[]), 4, Wall(2_000), NOW),
            [forgotten(b"a/b/f")]
        );
        assert_eq!(tree.folders.len(), 1);
    }

    #[test]
    fn a_name_that_cannot_be_looked_at_stays_what_it_was_and_the_others_go_on() {
        let mut tree = Tree::default();
        let root = Rel::root();
        tree.set_resting(&Rel::new(b"kept"), look(1).stamp);
        tree.merge(
            &root,
            content(&[("kept", 1), ("moving", 1)], &[]),
            1,
            NOW,
            LONG_AGO,
        );
        tree.set_moving(&Rel::new(b"moving"), FileNo(7));
        tree.set_resting(&Rel::new(b"rested"), look(1).stamp);
        for scan in 2..5 {
            let mut listed = content(&[("new", 1)], &[]);
            listed.unseen = [&b"kept"[..], b"moving", b"rested"]
                .map(<[u8]>::to_vec)
                .to_vec();
            assert_eq!(
                tree.merge(&root, listed, scan, NOW, LONG_AGO),
                [new("new", 1)]
            );
        }
        let events = tree.merge(
            &root,
            content(&[("kept", 1), ("moving", 1), ("rested", 1)], &[]),
            5,
            NOW,
            LONG_AGO,
        );
        assert_eq!(
            events,
            [Event::Seen {
                file: FileNo(7),
                look: look(1),
                marker: None
            }]
        );
    }

    #[test]
    fn what_is_disturbed_is_new_again() {
        let mut tree = Tree::default();
        let root = Rel::root();
        tree.set_resting(&Rel::new(b"a"), look(1).stamp);
        tree.set_resting(&Rel::new(b"b"), look(1).stamp);
        tree.merge(&root, content(&[("a", 1), ("b", 1)], &[]), 1, NOW, LONG_AGO);
        tree.disturb(&Rel::new(b"a"));
        assert_eq!(
            tree.merge(&root, content(&[("a", 1), ("b", 1)], &[]), 2, NOW, LONG_AGO),
            [new("a", 1)]
        );
    }

    #[test]
    fn a_listing_from_before_a_file_was_filed_does_not_bring_it_back_but_the_next_one_does() {
        let mut tree = Tree::default();
        let root = Rel::root();
        tree.merge(&root, content(&[("a", 1)], &[]), 1, NOW, LONG_AGO);
        tree.set_moving(&Rel::new(b"a"), FileNo(7));
        tree.set_left(&Rel::new(b"a"), Some(2));
        assert_eq!(
            tree.merge(&root, content(&[("a", 1)], &[]), 2, NOW, LONG_AGO),
            []
        );
        assert_eq!(
            tree.merge(&root, content(&[("a", 1)], &[]), 3, NOW, LONG_AGO),
            [new("a", 1)]
        );
    }

    #[test]
    fn a_folder_that_is_gone_takes_what_is_below_it_along_and_no_neighbour() {
        let mut tree = Tree::default();
        tree.merge(&Rel::root(), content(&[], &["d", "d-e"]), 1, NOW, LONG_AGO);
        tree.merge(&Rel::new(b"d"), content(&[], &["x"]), 1, NOW, LONG_AGO);
        for (file, path) in [(1, "d/x/f"), (2, "d/f"), (3, "d-e/f")] {
            tree.set_moving(&Rel::new(path.as_bytes()), FileNo(file));
        }
        let events = tree.merge(&Rel::root(), content(&[], &["d-e"]), 2, NOW, LONG_AGO);
        assert_eq!(
            events,
            [
                Event::Missing { file: FileNo(1) },
                Event::Missing { file: FileNo(2) }
            ]
        );
    }

    #[test]
    fn a_marker_comes_with_its_file() {
        let mut tree = Tree::default();
        let mut listed = content(&[("a", 1), ("b", 1)], &[]);
        listed.markers.push((b"b".to_vec(), look(0)));
        let events = tree.merge(&Rel::root(), listed, 1, NOW, LONG_AGO);
        assert_eq!(
            events[1],
            Event::New {
                name: (*b"b").into(),
                look: look(1),
                marker: Some(look(0))
            }
        );
        assert_eq!(events[0], new("a", 1));
    }
}
