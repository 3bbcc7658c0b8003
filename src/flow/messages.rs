//! What the engine is told, and what it asks for.
//!
//! [`Input`]s come from the shell's threads over one inbox; [`Effect`]s go to them. All
//! of it is plain data. Each job that the engine hands out comes back exactly once, with
//! the number of its file.

use std::time::Duration;

use crate::flow::endpoint::reply::Reply;
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::file::{Difference, Look, Rel, Stamp};
use crate::flow::filing::{Filed, Filing};
use crate::flow::journal;
use crate::flow::memory::Memory;
use crate::flow::policy::Policy;
use crate::flow::scan::filter::{Filter, Ignored};
use crate::flow::scan::listing::Listing;
use crate::flow::scan::rounds::{Rounds, Wanted};

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
    /// What the scan under way has learned of the folders: comes before [`Input::Scanned`].
    Rounds(Box<Rounds>),
    /// A scan is over. `Err`: the watched folder itself is not there, or is not the share. Then
    /// everything has to be opened again ([`Input::Closing`]) before a scan can succeed.
    Scanned(Result<(), String>),
    /// A check of this file is over: the answer to [`Effect::Inspect`].
    Inspected(FileNo, Inspected),
    /// An attempt to deliver this file is over: the answer to [`Effect::Deliver`].
    Delivered(FileNo, Delivered),
    /// The filing of this file is over: the answer to [`Effect::File`].
    Filed(FileNo, Filed),
    /// What came of [`Effect::RemoveFolder`].
    FolderRemoved(Rel, FolderRemoved),
    /// What came of [`Effect::Expire`].
    Expired(Expired),
    /// A person or the service manager wants something.
    Command(Command),
    /// A scan has found, as it began, that the lock is still this process's.
    Confirmed,
    /// Whether the journal has room for the lines of all that may be in flight. To be said when that
    /// changes.
    Room(Result<(), String>),
    /// All is about to be opened anew.
    Closing(Closing),
    /// A file of credentials has changed: what stands for `[send]` and the credentials now, without a
    /// secret.
    Credentials(String),
    /// A person has changed the configuration.
    Settings(Box<Settings>),
}

/// What may change while a run lasts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the engine goes by from now on; what cannot change in it ([`Policy::taking_over`]) is as
    /// before.
    pub policy: Policy,
    /// Which names are wanted from now on.
    pub filter: Filter,
    /// What stands for `[send]` and the credentials now, without a secret.
    pub send: String,
    /// `[check]` is another one: what has passed the one before is checked again.
    pub rechecks: bool,
}

impl Input {
    /// Whether it shows that the scan under way goes on.
    pub fn is_from_scan(&self) -> bool {
        matches!(
            self,
            Input::Confirmed
                | Input::Looking
                | Input::Listed(_)
                | Input::Rounds(_)
                | Input::Scanned(_)
                | Input::Closing(_)
        )
    }
}

/// What came of the removal of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderRemoved {
    /// It is gone.
    Done,
    /// Something is in it, or it was gone before.
    NotEmpty,
    /// It cannot be removed: the error, as a sentence for a person.
    Failed(String),
}

/// What came of a look at what has been in `done` for long enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// So many files were removed.
    pub removed: u64,
    /// There is more to be looked at.
    pub more: bool,
    /// Something could not be removed: the first error, as a sentence for a person.
    pub failed: Option<String>,
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
    /// Look at everything now, and try at once whether the endpoint accepts again.
    Scan,
    /// Finish what is on its way, and leave.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Look at the folders. Answered by one [`Input::Confirmed`] where the order or the time that the look
    /// at the lock took says so, an [`Input::Listed`] for each folder
    /// of which all was looked at, one [`Input::Rounds`] and one [`Input::Scanned`]; by the last two
    /// alone where the share is away, or by [`Input::Closing`].
    Scan(ScanOrder),
    /// Look only whether the lock is still this process's. Answered as a scan that lists nothing.
    Confirm,
    /// Check the content of a file. Answered by [`Input::Inspected`].
    Inspect(Inspection),
    /// Send a file. Answered by [`Input::Delivered`]. Where all workers are busy it waits until one of
    /// them [goes on](Delivered::lets_go_on), behind those that were handed out before it.
    Deliver(Delivery),
    /// Give back what no worker has begun to send: each is answered for by [`Delivered::NotBegun`].
    Recall,
    /// Put a file where it belongs. Answered by [`Input::Filed`].
    File(Box<Filing>),
    /// Remove a folder, if nothing is in it. Answered by [`Input::FolderRemoved`].
    RemoveFolder(Rel),
    /// Remove some of what has been in `done` for long enough. Answered by [`Input::Expired`].
    Expire,
    /// Give the system back what a burst has left in the allocator.
    GiveMemoryBack,
    /// To be written to the journal, about versions that it knows.
    Write(Vec<(Rel, Stamp, journal::Event)>),
    /// To be written down for the next process, in place of what was written before.
    Remember(Memory),
    /// Something to tell a person.
    Note(Note),
    /// Leave.
    Finish(Finish),
}

impl Effect {
    /// Whether a thread begins to work on the share.
    pub fn is_job(&self) -> bool {
        matches!(
            self,
            Effect::Scan(_)
                | Effect::Confirm
                | Effect::Inspect(_)
                | Effect::Deliver(_)
                | Effect::File(_)
                | Effect::RemoveFolder(_)
                | Effect::Expire
        )
    }
}

/// SCAN: what is to be looked at.
#[derive(Clone, Debug)]
pub struct ScanOrder {
    /// What is known of the folders. It comes back by [`Input::Rounds`].
    pub rounds: Box<Rounds>,
    /// What is looked at, whatever the rounds say.
    pub wanted: Wanted,
    /// The engine waits to hear that the lock is still this process's. Else that need not be told if
    /// the look at it was quick.
    pub is_lock_awaited: bool,
}

/// One folder, listed.
#[derive(Clone, Debug)]
pub struct ListedFolder {
    /// Where the folder lies; empty for the watched folder itself.
    pub path: Rel,
    /// `Err`: it could not be listed, or not to its end. What it holds is left as it was.
    pub content: Result<Content, String>,
}

impl Content {
    /// Whether nothing is in the folder, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.markers.is_empty()
            && self.markers_alone.is_empty()
            && self.folders.is_empty()
            && self.unseen.is_empty()
            && self.ignored.all() == 0
    }
}

/// The files in a folder that are wanted, and the folders in it that are entered.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The files, and how each of them looks.
    pub files: Listing<Look>,
    /// The marker files, under their names without the suffix.
    pub markers: Listing<Look>,
    /// The marker files beside which no file lies that they vouch for, under what they are called after.
    pub markers_alone: Listing<Look>,
    /// Names of folders, sorted.
    pub folders: Vec<Vec<u8>>,
    /// What is left alone.
    pub ignored: Ignored,
    /// Every file in it has an mtime of exactly 0, and so has the folder itself: this file system keeps
    /// none.
    pub timeless: bool,
    /// Names that are there and could not be looked at, sorted: what is known of them stays.
    pub unseen: Vec<Vec<u8>>,
    /// One of them, and why.
    pub unseen_why: Option<(Vec<u8>, String)>,
}

/// CHECK: open the file, see that it is the one that was looked at, and judge its content.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Which file.
    pub file: FileNo,
    /// Where it lies.
    pub path: Rel,
    /// As it was looked at.
    pub look: Look,
    /// Its ctime, or something else that is only suspicious, has moved for so long that it is checked
    /// all the same: else one that moves all the time would never be.
    pub beyond_suspicion: bool,
}

impl Inspection {
    /// Whether a look shows that what is read of the file says nothing of the version that was looked
    /// at.
    pub fn is_changed(&self, now: &Look) -> bool {
        match now.difference(&self.look) {
            Difference::None => false,
            Difference::Suspicion => !self.beyond_suspicion,
            Difference::Replaced | Difference::Version => true,
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug)]
pub enum Inspected {
    /// It passes. The digest of its content if it was read to its end for the check.
    Good {
        /// The digest of the whole content; `None` if the check did not read all of it.
        sha256: Option<[u8; 32]>,
    },
    /// It may only be unfinished.
    Unfinished(String),
    /// Its content is not what `check.format` asks for; the reason for a person.
    Bad(String),
    /// `check.command` says no.
    CommandRejects(String),
    /// `check.command` could not say.
    Undecided(String),
    /// It is not as it was when it was looked at; how it is now, if that is known.
    Changed(Option<Look>),
    /// It could not be opened or read.
    Missing(Miss),
}

/// DELIVER: open the file, see that it is the one that was looked at, and send it.
///
/// An acceptance is written to the journal before it is reported.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The number that the answer comes back with.
    pub file: FileNo,
    /// Where the file lies, below the watched folder.
    pub path: Rel,
    /// The file as it was last looked at: only this version is sent.
    pub look: Look,
    /// The idempotency key, the same for every attempt with this version.
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
    pub beyond_suspicion: bool,
}

/// What came of an attempt to deliver.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// The attempt was made, and the endpoint answered or could not be reached.
    Replied {
        /// What the reply means for this file and for the endpoint.
        verdict: Verdict,
        /// The answer, or the failure.
        reply: Reply,
        /// How long the attempt took.
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
    /// It was not as it was when it was looked at, before anything of it was sent: it had not come to
    /// rest. How it is now, if that is known.
    Unsettled(Option<Look>),
    /// The file could not be opened or read, so nothing whole was sent.
    Missing(Miss),
    /// Nothing was sent for a reason that lies here: credentials that cannot be read.
    NotSent(String),
    /// It was called back before a worker had begun ([`Effect::Recall`]).
    NotBegun,
}

impl Delivered {
    /// Whether the worker goes on with a file that was handed out ahead, before anybody has heard of
    /// this one: only behind an acceptance that is written down, for all else may change what is to be
    /// sent.
    pub fn lets_go_on(&self) -> bool {
        matches!(
            self,
            Delivered::Replied {
                verdict: Verdict::Accepted,
                journaled: Ok(()),
                ..
            }
        )
    }
}

/// A file that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nothing has this name any more.
    Gone,
    /// It is there, but cannot be opened or read, or is not a regular file.
    Unreadable(String),
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
