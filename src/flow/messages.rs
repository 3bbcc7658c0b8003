//! What the engine is told, and what it asks for.
//!
//! [`Input`]s come from the shell's threads over one inbox; [`Effect`]s go to them. All
//! of it is plain data. Each job that the engine hands out comes back exactly once, with
//! the number of its file.

use std::time::Duration;

use crate::flow::endpoint::classify::Verdict;
use crate::flow::endpoint::reply::Reply;
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::journal::{self, Acceptance, Moving, Reason};
use crate::flow::memory::Memory;
use crate::flow::scan::listing::Listing;

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing but that time has passed.
    Tick,
    /// Versions that were taken out of dead-letter to be sent again, with the numbers of their keys.
    Retries(Vec<(Rel, Stamp, u32)>),
    /// The scan under way goes on: it does not hang.
    Looking,
    /// One folder was listed.
    Listed(ListedFolder),
    /// A scan is over. `Err`: the watched folder itself is not there, or is not the share.
    Scanned(Result<(), String>),
    Inspected(FileNo, Inspected),
    Delivered(FileNo, Delivered),
    Filed(FileNo, Filed),
    Command(Command),
    /// A scan has found, as it began, that the lock is still this process's.
    Confirmed,
    /// Whether the journal has room for the lines of all that may be in flight. To be said when that
    /// changes.
    Room(Result<(), String>),
    /// The machine was suspended for so long.
    Suspended(Duration),
    /// All is about to be opened anew.
    Closing(Closing),
}

/// Why all is opened anew: the lock taken, the journal read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The share was away, and is there again.
    ShareBack,
    /// A share was mounted over the folder.
    MountedOver,
    /// The lock is not this process's any more.
    LockLost(String),
}

/// What a person or the service manager wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Look at everything now.
    Scan,
    /// Finish what is on its way, and leave.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Look at everything. Answered by any number of [`Input::Listed`], then one [`Input::Scanned`].
    Scan,
    Inspect(Inspection),
    Deliver(Delivery),
    File(Filing),
    /// To be written to the journal, about versions that it knows.
    Write(Vec<(Rel, Stamp, journal::Event)>),
    /// To be written down for the next process, in place of what was written before.
    Remember(Memory),
    /// Something to tell a person.
    Note(Note),
    /// Leave.
    Finish(Finish),
}

/// One folder, listed.
#[derive(Clone, Debug)]
pub struct ListedFolder {
    pub path: Rel,
    /// `Err`: it could not be listed, or not to its end. What it holds is left as it was.
    pub content: Result<Content, String>,
}

/// The files in a folder that are wanted, and the folders in it that are entered.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub files: Listing,
    /// One for each of `files`.
    pub looks: Vec<Look>,
    /// Marker files with their looks, sorted; their names without the suffix.
    pub markers: Vec<(Vec<u8>, Look)>,
    /// Names of folders, sorted.
    pub folders: Vec<Vec<u8>>,
    /// Names that are there and could not be looked at, sorted: what is known of them stays.
    pub unseen: Vec<Vec<u8>>,
    /// One of them, and why.
    pub unseen_why: Option<(Vec<u8>, String)>,
}

/// CHECK: open the file, see that it is the one that was looked at, and judge its content.
#[derive(Clone, Debug)]
pub struct Inspection {
    pub file: FileNo,
    pub path: Rel,
    pub look: Look,
}

/// What came of a check.
#[derive(Clone, Debug)]
pub enum Inspected {
    /// It passes. The digest of its content if it was read to its end for the check.
    Good {
        sha256: Option<[u8; 32]>,
    },
    /// It may only be unfinished.
    Unfinished(String),
    Bad(String),
    /// `check.command` says no.
    CommandRejects(String),
    /// `check.command` could not say.
    Undecided(String),
    /// It is not as it was when it was looked at; how it is now, if that is known.
    Changed(Option<Look>),
    Missing(Miss),
}

/// DELIVER: open the file, see that it is the one that was looked at, and send it.
///
/// An acceptance is written to the journal before it is reported.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub file: FileNo,
    pub path: Rel,
    pub look: Look,
    pub key: String,
    /// The digest of what a check, or an earlier attempt, has read of this version. A file that
    /// turns out to have another one is broken off before its last byte.
    pub sha256: Option<[u8; 32]>,
    /// The marker that vouches for it.
    pub marker: Option<Stamp>,
    /// Its ctime moves again and again, and has put its settling off for as long as that may be:
    /// it is opened although ctime or blocks are no longer those of `look`. It is not where a
    /// check has read the file and left no digest, for then nothing could show that what would
    /// be sent is what was checked.
    pub suspicions_spent: bool,
}

/// What came of an attempt to deliver.
#[derive(Clone, Debug)]
pub enum Delivered {
    Replied {
        verdict: Verdict,
        reply: Reply,
        took: Duration,
        /// For an acceptance: whether it is in the journal.
        journaled: Result<(), String>,
        /// The digest of the file's own bytes; `None` where not all of them were read, as when
        /// the endpoint answered before it had them.
        sha256: Option<[u8; 32]>,
        /// The last look at which the file was known to hold what was sent. Its ctime may be
        /// later than that of the look that the job came with: then what had been read was read
        /// again behind it, and was the same.
        look: Look,
    },
    /// It is not as it was when it was looked at, or changed while it was sent; how it is
    /// now, if that is known. No server can have taken it for whole.
    Changed(Option<Look>),
    Missing(Miss),
    /// Nothing was sent for a reason that lies here: credentials that cannot be read.
    NotSent(String),
}

/// A file that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    Gone,
    /// It is there, but cannot be opened or read, or is not a regular file.
    Unreadable(String),
}

/// FILE AWAY.
#[derive(Clone, Debug)]
pub struct Filing {
    pub file: FileNo,
    pub path: Rel,
    /// As it was read.
    pub look: Look,
    pub to: Destination,
    /// Its marker goes with it.
    pub marker: Option<Look>,
    /// The journal does not have the acceptance yet: its record is to be written first.
    pub unwritten: Option<Acceptance>,
    /// After a crash: where it was about to go.
    pub resumed: Option<Moving>,
}

#[derive(Clone, Debug)]
pub enum Destination {
    Done,
    Delete,
    /// It stays where it is; only the journal is told.
    Keep,
    DeadLetter(Box<Reason>),
}

/// What came of filing.
#[derive(Clone, Debug)]
pub enum Filed {
    /// It is away, and that is on the disk. Where it lies now, if it does.
    Away { to: Option<String> },
    /// It cannot be moved away: dead-letter has a copy, and it stays where it is.
    Copied { to: String },
    /// What was moved was not what was sent: a new version. It is back at its place.
    PutBack(Look),
    /// As before, but the place was taken meanwhile: the new version is in dead-letter.
    Displaced { to: String },
    /// Somebody else took it away.
    Gone,
    Failed {
        why: String,
        /// It has left its place already: where it lies, for the next try.
        moved: Option<Moving>,
    },
    /// The acceptance could not be written to the journal.
    Unwritten(String),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Nothing is left to do.
    Done,
    /// Something is left to be tried again.
    Left,
    /// Something went to dead-letter.
    Dead,
    /// It was asked to stop.
    Stopped,
}
