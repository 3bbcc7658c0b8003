//! `delivered.remove_emptied`: folders that dirpost has emptied are removed.
//!
//! Only the removal itself is certain to find a folder empty (rmdir(2), ENOTEMPTY): what is decided
//! here is when it is worth a try, and which folders are dirpost's to remove. Those are the ones that
//! it has taken the last file out of, and those above that held nothing but such a folder.
//!
//! Invariant: the watched folder itself is never among them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::file::Rel;
use crate::flow::memory::EmptiedFolder;
use crate::flow::messages::FolderRemoved;
use crate::flow::time::Mono;

/// For how long nothing has happened in a folder when it is removed: its writer may have made it
/// for more than one file.
const QUIET: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Emptied {
    folders: BTreeMap<Rel, Folder>,
}

#[derive(Debug)]
struct Folder {
    /// When something was taken out of it last.
    since: Mono,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was not listed since then.
    Unknown,
    /// The last listing shows nothing in it.
    Empty,
    /// It is being removed.
    Leaving,
}

impl Emptied {
    /// A file was taken out of `folder`.
    pub fn taken_out_of(&mut self, folder: Rel, now: Mono) {
        if folder == Rel::root() {
            return;
        }
        let emptied = Folder {
            since: now,
            state: State::Unknown,
        };
        self.folders.insert(folder, emptied);
    }

    /// `folder` was listed.
    pub fn listed(&mut self, folder: &Rel, is_empty: bool) {
        let Some(known) = self.folders.get_mut(folder) else {
            return;
        };
        if !is_empty {
            self.folders.remove(folder);
        } else if known.state == State::Unknown {
            known.state = State::Empty;
        }
    }

    /// When the next one is to be removed.
    pub fn next_due(&self) -> Option<Mono> {
        let empty = self.folders.values().filter(|it| it.state == State::Empty);
        empty.map(|it| it.since + QUIET).min()
    }

    /// Whether one is being removed.
    pub fn is_busy(&self) -> bool {
        self.folders.values().any(|it| it.state == State::Leaving)
    }

    /// Those that are to be removed now.
    pub fn take_due(&mut self, now: Mono) -> Vec<Rel> {
        let mut due = Vec::new();
        for (path, folder) in &mut self.folders {
            if folder.state == State::Empty && folder.since + QUIET <= now {
                folder.state = State::Leaving;
                due.push(path.clone());
            }
        }
        due
    }

    /// What came of a removal.
    pub fn removed(&mut self, path: &Rel, result: &FolderRemoved, now: Mono) {
        self.folders.remove(path);
        if *result == FolderRemoved::Done {
            self.taken_out_of(path.parent(), now);
        }
    }

    /// For the next process.
    pub fn memory(&self) -> Vec<EmptiedFolder> {
        let folders = self.folders.iter().map(|(path, folder)| EmptiedFolder {
            path: path.clone(),
            since: folder.since,
        });
        folders.collect()
    }

    /// What an earlier process knew.
    pub fn restore(&mut self, memory: Vec<EmptiedFolder>) {
        for EmptiedFolder { path, since } in memory {
            self.taken_out_of(path, since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rel(path: &str) -> Rel {
        Rel::new(path.as_bytes())
    }

    #[test]
    fn a_folder_goes_a_minute_after_its_last_file_if_a_listing_shows_nothing_in_it() {
        let mut emptied = Emptied::default();
        emptied.taken_out_of(rel("a/b"), Mono(0));
        assert_eq!(emptied.next_due(), None, "nobody has looked");
        emptied.listed(&rel("a/b"), true);
        assert_eq!(emptied.next_due(), Some(Mono(60_000)));
        assert!(emptied.take_due(Mono(59_999)).is_empty());
        emptied.taken_out_of(rel("a/b"), Mono(50_000));
        emptied.listed(&rel("a/b"), true);
        assert!(emptied.take_due(Mono(60_000)).is_empty());
        assert_eq!(emptied.take_due(Mono(110_000)), [rel("a/b")]);
        assert!(emptied.is_busy() && emptied.take_due(Mono(120_000)).is_empty());
        emptied.removed(&rel("a/b"), &FolderRemoved::Done, Mono(110_001));
        emptied.listed(&rel("a"), true);
        assert_eq!(emptied.take_due(Mono(170_001)), [rel("a")]);
        emptied.removed(&rel("a"), &FolderRemoved::Done, Mono(170_002));
        emptied.listed(&Rel::root(), true);
        assert!(emptied.folders.is_empty(), "never the watched folder");
    }

    #[test]
    fn what_has_something_in_it_is_left_alone_until_it_is_emptied_again() {
        let mut emptied = Emptied::default();
        emptied.listed(&rel("found"), true);
        assert!(emptied.folders.is_empty(), "it was found empty");
        emptied.taken_out_of(rel("a"), Mono(0));
        emptied.listed(&rel("a"), false);
        emptied.listed(&rel("a"), true);
        assert_eq!(emptied.next_due(), None, "somebody else has emptied it");
        emptied.taken_out_of(rel("a"), Mono(5));
        emptied.listed(&rel("a"), true);
        emptied.take_due(Mono(99_000));
        emptied.removed(&rel("a"), &FolderRemoved::NotEmpty, Mono(99_001));
        assert!(emptied.folders.is_empty());
    }
}
