//! TRACK: the folders and what is known of the names in them.
//!
//! Each name costs what its folder keeps of it: the name, its stamp, and where anything in the
//! folder is more than at rest, a state and a fingerprint of the last look. A name is *at rest*
//! (delivered and kept in place), *waits* for its turn, is *idle* (its writer has yet to do
//! something), or is *in motion*: then the engine has a record of it, by a number. So the folders
//! themselves are the queue, and only what is in hand has records. [`Tree::merge`] takes a new
//! listing of one folder and says what is new, seen again and missing; a folder in which nothing has
//! moved costs a comparison of its buffers.
//!
//! Invariants ([`Tree::check`]):
//! - A name is at rest, waits, is idle, is in motion, or has left. Beside that a version of it that
//!   was delivered and kept may be away: missing, or replaced by another one.
//! - Only the complete listing of a folder makes anything in it missing. A folder that could
//!   not be listed is left as it was, with all that is below it; so is a name that is there and
//!   could not be looked at.
//! - What was filed away while a scan was under way may still stand in that scan's listing:
//!   it is passed over there, and what stands in the next scan's is new.
//! - What waits keeps the moment since when it is still. It is taken when it is due, the longest
//!   waiting first, but from each folder in turn, so that no folder keeps another one waiting.

mod folder;
mod mark;
mod queue;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use self::folder::Folder;
pub use self::folder::{IsReady, Merging};
use self::mark::State;
use crate::config::Settle;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::marker::MarkerRule;
use crate::flow::messages::Content;
use crate::flow::scan::listing::Listing;
use crate::flow::scan::names_hash::NamesHash;
use crate::flow::time::{Mono, Wall};

/// See the module.
#[derive(Clone, Debug)]
pub struct Tree {
    settle: Settle,
    /// All folders, by their paths.
    folders: BTreeMap<Rel, Folder>,
    /// The folders in which files wait, by the moment at which the first of them is due.
    due: BTreeSet<(Mono, Rel)>,
    /// The folder whose turn it was last.
    turn: Rel,
    /// It was the turn of the file that has waited for the longest, and is a folder's now.
    in_turn: bool,
    count: Count,
}

/// How many names there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Delivered, and kept in place.
    pub at_rest: usize,
    /// Waiting for their turn, without a record.
    pub waiting: usize,
    /// Waiting for their writer, without a record.
    pub idle: usize,
    /// In motion, with a record each.
    pub moving: usize,
}

/// What a listing says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file, or a version of it, that is not known, and for which there is room: it is to be set
    /// in motion.
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
    /// A file that waited without a record, and that nobody has taken, is not there any more, where
    /// new files are not wanted.
    Vanished {
        /// As it was last looked at.
        stamp: Stamp,
    },
    /// A file that is new, and not wanted.
    Late(Waiting),
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

/// A file that waits without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where it lies.
    pub path: Rel,
    /// What is left of the last look at it.
    pub look: Look,
    /// Since when it has been still.
    pub since: Mono,
    /// Its marker, if there is one.
    pub marker: Option<Look>,
    /// It lies in a folder whose file system keeps no mtimes.
    pub timeless: bool,
}

/// Files that never come to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restless {
    /// How many.
    pub files: usize,
    /// One of them.
    pub first: Rel,
    /// Since when there has been one.
    pub since: Mono,
}

impl Tree {
    /// One that knows nothing yet. `settle` says when a file is due.
    pub fn new(settle: Settle) -> Tree {
        Tree {
            settle,
            folders: BTreeMap::new(),
            due: BTreeSet::new(),
            turn: Rel::root(),
            in_turn: false,
            count: Count::default(),
        }
    }

    /// Goes on with another settle time: what waits is due at another moment.
    pub fn set_settle(&mut self, settle: Settle) {
        self.settle = settle;
        let folders = self.folders.iter();
        let due = folders.filter_map(|(path, folder)| Some((folder.due(settle)?, path.clone())));
        self.due = due.collect();
    }

    /// Merges the complete listing of `path`.
    pub fn merge(&mut self, path: &Rel, content: Content, how: &Merging<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        let kept = self.drop_folders(path, &content.folders, how, &mut events);
        self.change(path, |folder| {
            folder.merge(path, content, how, &mut events);
            if !kept.is_empty() {
                folder.folders.extend(kept);
                folder.folders.sort_unstable();
            }
        });
        events
    }

    /// Forgets folders in `path` that are no longer listed, with all that is below them. Gives
    /// those of which something is still known: they are for a later listing to forget.
    fn drop_folders(
        &mut self,
        path: &Rel,
        now_there: &[Vec<u8>],
        how: &Merging<'_>,
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
                let is_over = self.change(&below, |folder| {
                    folder.vanish(&below, how, events);
                    folder.is_forgettable()
                });
                if is_over {
                    self.folders.remove(&below);
                } else {
                    kept = true;
                }
            }
            kept
        });
        gone
    }

    /// Changes the folder `path`; where it is not known yet, it is entered in the one above.
    fn change<T>(&mut self, path: &Rel, change: impl FnOnce(&mut Folder) -> T) -> T {
        if !self.folders.contains_key(path) {
            self.enter(path.clone());
        }
        let folder = self.folders.get_mut(path).expect("it is known by now");
        let (count, due) = (folder.count(), folder.due(self.settle));
        let result = change(folder);
        let (count_now, due_now) = (folder.count(), folder.due(self.settle));
        self.count.replace(count, count_now);
        if due != due_now {
            due.map(|due| self.due.remove(&(due, path.clone())));
            self.due.extend(due_now.map(|due| (due, path.clone())));
        }
        result
    }

    /// Enters a folder that is not known yet, and those above it.
    fn enter(&mut self, mut path: Rel) {
        self.folders.insert(path.clone(), Folder::default());
        while path != Rel::root() {
            let above = path.parent();
            let is_known = self.folders.contains_key(&above);
            let folder = self.folders.entry(above.clone()).or_default();
            folder.enter(path.name());
            if is_known {
                break;
            }
            path = above;
        }
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

    // ---- one name -------------------------------------------------------------------

    /// `path` is in motion from now on, as number `file`.
    pub fn set_moving(&mut self, path: &Rel, file: FileNo) {
        self.change(&path.parent(), |folder| {
            folder.set_moving(path.name(), file);
        });
    }

    /// `path` waits without a record from now on, and has been still since then.
    pub fn set_waiting(&mut self, path: &Rel, look: &Look, since: Mono, marker: Option<Look>) {
        self.change(&path.parent(), |folder| {
            folder.set_waiting(path.name(), look, since, marker);
        });
    }

    /// Whether a version is known that was delivered, and stays or stayed at `path`.
    pub fn rests(&self, path: &Rel) -> bool {
        self.folders
            .get(&path.parent())
            .is_some_and(|folder| folder.rests(path.name()))
    }

    /// How many names are known in `folder`.
    pub fn len_of(&self, folder: &Rel) -> usize {
        let folder = self.folders.get(folder);
        folder.map_or(0, |folder| folder.known.len())
    }

    /// Whether `folder` was listed by this process, as a whole.
    pub fn is_listed(&self, folder: &Rel) -> bool {
        let folder = self.folders.get(folder);
        folder.is_some_and(|folder| folder.is_listed)
    }

    /// `path` is no longer in motion, and nothing is known of it.
    pub fn forget(&mut self, path: &Rel) {
        self.set_left(path, None);
    }

    /// `path` was filed away. `scan` is the scan under way, if one is.
    pub fn set_left(&mut self, path: &Rel, scan: Option<u64>) {
        if self.folders.contains_key(&path.parent()) {
            self.change(&path.parent(), |folder| folder.set_left(path.name(), scan));
        }
    }

    /// `path` is delivered and stays where it is.
    pub fn set_resting(&mut self, path: &Rel, stamp: Stamp) {
        self.change(&path.parent(), |folder| {
            folder.set_resting(path.name(), stamp);
        });
    }

    /// `rest` is what an earlier process delivered in `path`, which is not known yet, and left where it
    /// was; nothing in it is in motion.
    pub fn restore(&mut self, path: &Rel, rest: Listing<Stamp>) {
        self.change(path, |folder| folder.restore(rest));
    }

    /// `path` was delivered and stayed where it was, and has been missing since then.
    pub fn set_away(&mut self, path: &Rel, stamp: Stamp, since: Wall) {
        self.change(&path.parent(), |folder| {
            folder.set_away(path.name(), stamp, since);
        });
    }

    /// What is at rest at `path` is new again when it is listed next.
    pub fn forget_delivered(&mut self, path: &Rel) {
        self.change(&path.parent(), |folder| {
            folder.forget_delivered(path.name());
        });
    }

    /// The number of `path`, if it is in motion.
    pub fn moving(&self, path: &Rel) -> Option<FileNo> {
        self.folders.get(&path.parent())?.moving(path.name())
    }

    /// Whether the marker of `path` vouches for another file as well that lies there and is to be
    /// delivered, as far as is known. `leaves` says of one in motion whether it is on its way to where it
    /// is filed.
    pub fn shares_marker(
        &self,
        path: &Rel,
        rule: &MarkerRule,
        leaves: impl Fn(FileNo) -> bool,
    ) -> bool {
        let name = path.name();
        let subject = rule.subject(name);
        let folder = self.folders.get(&path.parent());
        folder.is_some_and(|folder| {
            let mut files = rule.files_of(subject, folder.known.from(subject));
            let needs = |at: usize, other: &[u8]| match folder.state(at) {
                State::AtRest | State::Left(_) => false,
                State::Waiting(_) | State::Idle(_) | State::PassedOver(_) => true,
                State::InMotion => folder.moving(other).is_some_and(|file| !leaves(file)),
            };
            // What cannot be looked at may be any file, only not the marker.
            let marker = rule.name_of(name);
            let mut unseen = folder.unseen.iter().filter(|other| **other != marker);
            files.any(|(at, other)| other != name && needs(at, other))
                || unseen.any(|other| other != name && rule.subject(other) == subject)
        })
    }

    /// Forgets what has been away since before `horizon`, in folders that need not be listed for it.
    pub fn forget_missing(&mut self, horizon: Wall) -> Vec<Event> {
        let mut events = Vec::new();
        for (path, folder) in &mut self.folders {
            folder.forget_missing(path, horizon, &mut events);
        }
        events
    }

    // ---- all of them ----------------------------------------------------------------

    /// What waits without a record and never comes to rest; `None` where there is no such file.
    pub fn restless(&self, now: Mono) -> Option<Restless> {
        let mut all: Option<Restless> = None;
        for (path, folder) in &self.folders {
            for (name, since) in folder.restless(self.settle, now) {
                let all = all.get_or_insert_with(|| Restless {
                    files: 0,
                    first: path.join(name),
                    since,
                });
                all.files += 1;
                all.since = all.since.min(since);
            }
        }
        all
    }

    /// All folders, each after the one that it is in, with the names that are expected in it: those of
    /// what is at rest, and of folders. `None` where something else is known of a name.
    pub fn expected(&self) -> impl Iterator<Item = (&Rel, Option<NamesHash>)> {
        self.folders
            .iter()
            .map(|(path, folder)| (path, folder.expected()))
    }

    /// How many names there are of each kind.
    pub fn count(&self) -> Count {
        self.count
    }

    /// The folders in which something depends on a look: a file that settles, or that its writer has
    /// yet to finish, or a name of which it is not known what has it by now.
    pub fn need_look(&self, now: Mono) -> impl Iterator<Item = &Rel> {
        let settle = self.settle;
        self.folders
            .iter()
            .filter(move |(_, folder)| folder.needs_look(settle, now))
            .map(|(path, _)| path)
    }

    /// Sees that the invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&self) {
        let mut count = Count::default();
        let mut due = BTreeSet::new();
        for (path, folder) in &self.folders {
            folder.check();
            count.replace(Count::default(), folder.count());
            due.extend(folder.due(self.settle).map(|due| (due, path.clone())));
        }
        assert_eq!(count, self.count, "the counts are those of the folders");
        assert_eq!(due, self.due, "a folder is due when its first file is");
    }
}

impl Count {
    /// The part that was `before` is `now` another one.
    fn replace(&mut self, before: Count, now: Count) {
        self.at_rest = self.at_rest - before.at_rest + now.at_rest;
        self.waiting = self.waiting - before.waiting + now.waiting;
        self.idle = self.idle - before.idle + now.idle;
        self.moving = self.moving - before.moving + now.moving;
    }
}
