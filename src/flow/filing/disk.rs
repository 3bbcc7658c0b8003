//! What filing asks of the file system and the journal: one operation at a time.

use super::answer::Delivered;
use super::kept::Kept;
use super::reason::DeadLetter;
use super::{Move, Place};
use crate::flow::file::{Entry, Look};

/// Why an operation was not done, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What follows from it.
    pub kind: FaultKind,
    /// What was tried and what went wrong, for a person.
    pub why: String,
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// There is something under the new name, or was when the call was repeated for the client.
    Exists,
    /// The two names are on different file systems.
    CrossesDevices,
    /// The file system has no such operation: it was certainly not done.
    Unsupported,
    /// It is not allowed (EACCES, EPERM, EROFS, EBUSY): it was certainly not done.
    Refused,
    /// The journal does not take it. What the journal cannot tell of is not done.
    Journal,
    /// Nothing may be done on the share any more: the lock is another's, or everything is being
    /// opened again.
    Stopped,
    /// It may have been done or not: ENOENT, EIO, ETIMEDOUT, ESTALE and whatever else.
    Unclear,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: FaultKind, why: impl Into<String>) -> Fault {
        Fault {
            kind,
            why: why.into(),
        }
    }
}

/// One line for the journal.
pub use crate::flow::journal::Entry as Line;

/// What a draft of a copy turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The digest of what was copied.
    pub sha256: [u8; 32],
    /// What it was made of, as it was when the last byte had been read.
    pub of: Look,
}

/// The file system and the journal, as filing sees them.
///
/// Every method does one thing, undoes nothing and decides nothing. After a fault of kind
/// [`FaultKind::Unclear`] it may have been done all the same.
pub trait Disk {
    /// Looks at a name so that no cache answers: by a fresh open where it is on a share. That
    /// nothing is there is said only of a folder that is known to be the share's: one that has
    /// lost its mark shows nothing either.
    ///
    /// # Errors
    /// It could not be looked at; nothing is known.
    fn look(&mut self, at: &Place) -> Result<Entry, Fault>;

    /// Whether two folders are on one file system, as far as their device numbers tell: a rename
    /// between two mounts of one file system is refused all the same.
    ///
    /// # Errors
    /// One of them cannot be opened.
    fn same_device(&mut self, one: &Place, other: &Place) -> Result<bool, Fault>;

    /// Reads a file whole, through a fresh open, for its SHA-256 digest.
    ///
    /// # Errors
    /// It could not be read.
    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault>;

    /// Renames, replacing nothing.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Fault>;

    /// Gives a file a second name, replacing nothing.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault>;

    /// Makes an empty file under a name that is free, to be renamed over.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn reserve(&mut self, at: &Place) -> Result<Look, Fault>;

    /// Renames, replacing what is under the new name.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault>;

    /// Removes a name.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn remove(&mut self, at: &Place) -> Result<(), Fault>;

    /// Copies a file to a draft, which is made for it: first for dirpost alone (0600), then with
    /// owner, group, mode (without setuid, setgid and sticky), ACL and user attributes, and the
    /// mtime `mtime`; brings its content onto the disk. It is no wider open than what it is a copy
    /// of. A draft that is there already is written again.
    ///
    /// # Errors
    /// The copy is not whole or not on the disk. A part of it may be left under the draft's name.
    fn copy(&mut self, from: &Place, draft: &Place) -> Result<Copied, Fault>;

    /// Writes a file beside what it is about (a reason, an answer), as a whole and onto the disk, in the mode of
    /// `like`; replaces one that an earlier try has left there.
    ///
    /// # Errors
    /// It is not there, or the one before still is.
    fn write_beside(&mut self, at: &Place, text: &[u8], like: &Place) -> Result<(), Fault>;

    /// Makes the folder, and those above it, where they are missing.
    ///
    /// # Errors
    /// It is not there.
    fn make_folder(&mut self, folder: &Place) -> Result<(), Fault>;

    /// Brings the names in a folder onto the disk.
    ///
    /// # Errors
    /// They may not be on the disk, and asking again would not tell: a second fsync may report
    /// success for what the first one lost.
    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault>;

    /// Hands lines to the journal, all or none.
    ///
    /// # Errors
    /// None of them counts.
    fn append(&mut self, lines: &[Line]) -> Result<(), Fault>;

    /// Hands lines to the journal that must not be dropped: after an error they are written
    /// before any other line.
    ///
    /// # Errors
    /// They are owed.
    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault>;

    /// Writes down what has been put into `done`, at the latest with the next
    /// [`Disk::append_or_owe`]. What cannot be written down stays there for ever.
    fn note_kept(&mut self, kept: &[Kept]);

    /// Brings the journal onto the disk.
    ///
    /// # Errors
    /// What was appended may not be on the disk.
    fn sync_journal(&mut self) -> Result<(), Fault>;
}

/// What a folder is to a move. All targets of a batch are on the disk before the first source is:
/// where renames between folders are not atomic on the disk, a power cut could else take both
/// names of a file away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// A name was added to it.
    Target,
    /// A name was taken from it.
    Source,
}

/// What is written beside a file that is moved.
#[derive(Clone, Debug)]
pub enum Beside {
    /// In dead-letter: why it is there.
    Reason(DeadLetter),
    /// In `done`: what the endpoint answered.
    Answer(Delivered),
}

impl Beside {
    /// The content of the file.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Beside::Reason(letter) => letter.text(),
            Beside::Answer(delivered) => delivered.text(),
        }
    }
}

/// An operation that a machine asks for, as a value.
#[derive(Clone, Debug)]
pub enum Operation {
    /// [`Disk::look`].
    Look(Place),
    /// [`Disk::same_device`].
    SameDevice(Place, Place),
    /// [`Disk::digest`].
    Digest(Place),
    /// [`Disk::rename`]: from, to.
    Rename(Place, Place),
    /// [`Disk::link`]: from, to.
    Link(Place, Place),
    /// [`Disk::reserve`].
    Reserve(Place),
    /// [`Disk::rename_over`]: from, to.
    RenameOver(Place, Place),
    /// [`Disk::remove`].
    Remove(Place),
    /// [`Disk::look`] and, if that shows the file of this look still, [`Disk::remove`] right behind it,
    /// with no other machine's operation in between: for a name that others write.
    RemoveIf(Place, Look),
    /// [`Disk::copy`]: from, draft.
    Copy(Place, Place),
    /// [`Disk::write_beside`].
    WriteBeside {
        /// The name of the file to write.
        at: Place,
        /// What it says of which file.
        beside: Box<Beside>,
        /// The file that it is about.
        like: Place,
    },
    /// [`Disk::make_folder`].
    MakeFolder(Place),
    /// [`Disk::note_kept`].
    NoteKept(Vec<Kept>),
    /// A barrier: [`Disk::append`], once for all machines that have come to it.
    Append(Line),
    /// A barrier: [`Disk::sync_journal`], once for all machines that have come to it.
    SyncJournal,
    /// A barrier: [`Disk::sync_folder`], once a folder.
    SyncFolder(Side, Place),
    /// The last barrier: [`Disk::append_or_owe`], once for all machines that have come to it.
    AppendOrOwe(Line),
    /// [`Disk::sync_folder`] at once, for each folder in which a name may not be on the disk.
    SyncNewNames,
    /// [`Disk::sync_folder`] at once, for a folder that a name has come to.
    SyncNewName(Place),
}

impl Operation {
    /// Has it carried out. Whoever calls this owns the disk for as long as it takes, and no other
    /// operation that [interferes](Operation::interferes) with it is under way.
    ///
    /// # Errors
    /// Those of the method of [`Disk`] that it stands for.
    pub fn carry_out(&self, disk: &mut dyn Disk) -> Result<Answer, Fault> {
        let done = |()| Answer::Done;
        match self {
            Operation::Look(at) => disk.look(at).map(Answer::Entry),
            Operation::SameDevice(one, other) => {
                disk.same_device(one, other).map(Answer::SameDevice)
            }
            Operation::Digest(at) => disk.digest(at).map(Answer::Digest),
            Operation::Rename(from, to) => disk.rename(from, to).map(done),
            Operation::Link(from, to) => disk.link(from, to).map(done),
            Operation::Reserve(at) => disk.reserve(at).map(Answer::Reserved),
            Operation::RenameOver(from, to) => disk.rename_over(from, to).map(done),
            Operation::Remove(at) => disk.remove(at).map(done),
            Operation::RemoveIf(at, known) => match disk.look(at)? {
                Entry::File(look) if !look.difference(known).is_change() => {
                    disk.remove(at).map(done)
                }
                _ => Ok(Answer::Done),
            },
            Operation::Copy(from, draft) => disk.copy(from, draft).map(Answer::Copied),
            Operation::WriteBeside { at, beside, like } => {
                disk.write_beside(at, &beside.text(), like).map(done)
            }
            Operation::NoteKept(kept) => {
                disk.note_kept(kept);
                Ok(Answer::Done)
            }
            Operation::MakeFolder(folder) => disk.make_folder(folder).map(done),
            Operation::Append(line) => disk.append(std::slice::from_ref(line)).map(done),
            Operation::AppendOrOwe(line) => {
                disk.append_or_owe(std::slice::from_ref(line)).map(done)
            }
            Operation::SyncJournal => disk.sync_journal().map(done),
            Operation::SyncFolder(_, folder) | Operation::SyncNewName(folder) => {
                disk.sync_folder(folder).map(done)
            }
            // It is known to the batch alone.
            Operation::SyncNewNames => Ok(Answer::Done),
        }
    }

    /// The name that it only looks at, and those that it changes.
    fn names(&self) -> (Option<&Place>, [Option<&Place>; 2]) {
        match self {
            Operation::Look(at) | Operation::Digest(at) => (Some(at), [None; 2]),
            Operation::Rename(from, to)
            | Operation::Link(from, to)
            | Operation::RenameOver(from, to) => (None, [Some(from), Some(to)]),
            Operation::Reserve(at)
            | Operation::Remove(at)
            | Operation::RemoveIf(at, _)
            | Operation::MakeFolder(at) => (None, [Some(at), None]),
            Operation::Copy(from, draft) => (Some(from), [Some(draft), None]),
            Operation::WriteBeside { at, like, .. } => (Some(like), [Some(at), None]),
            Operation::SameDevice(..)
            | Operation::Append(_)
            | Operation::AppendOrOwe(_)
            | Operation::SyncJournal
            | Operation::SyncFolder(..)
            | Operation::SyncNewName(_)
            | Operation::SyncNewNames
            | Operation::NoteKept(_) => (None, [None; 2]),
        }
    }

    /// Whether one of the two changes a name that the other one uses: then they are not carried out
    /// side by side.
    pub fn interferes(&self, other: &Operation) -> bool {
        let (mine, theirs) = (self.names(), other.names());
        let meet = |changed: Option<&Place>,
                    (looked, changes): (Option<&Place>, [Option<&Place>; 2])| {
            changed.is_some() && (changed == looked || changes.contains(&changed))
        };
        mine.1.into_iter().any(|name| meet(name, theirs))
            || theirs.1.into_iter().any(|name| meet(name, mine))
    }

    /// The names that it gives, takes away, or makes another file's.
    pub(super) fn changed_names(&self) -> impl Iterator<Item = &Place> {
        self.names().1.into_iter().flatten()
    }

    /// The folder that a file of another folder may get a name in.
    pub fn new_name_in(&self) -> Option<Place> {
        match self {
            Operation::Rename(from, to)
            | Operation::Link(from, to)
            | Operation::RenameOver(from, to) => {
                (from.folder() != to.folder()).then(|| to.folder())
            }
            _ => None,
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of a look.
    Entry(Entry),
    /// Of a comparison of devices.
    SameDevice(bool),
    /// Of a digest.
    Digest([u8; 32]),
    /// Of a reservation: the empty file.
    Reserved(Look),
    /// Of a copy.
    Copied(Copied),
    /// Of all others.
    Done,
}

impl Move {
    /// The name of the draft that a copy is made under: called after what it is a copy of, so that
    /// who goes on after a crash finds it.
    pub fn draft(&self) -> Option<Place> {
        let from = self.copy_of.as_ref()?;
        Some(
            self.to
                .folder()
                .join(&super::names::draft_of(&from.to_string())),
        )
    }
}
