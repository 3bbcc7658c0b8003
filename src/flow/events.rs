//! What a person is told: events, not sentences. The shell puts them into words.
//!
//! `path` is the file, or folder, that a note is about; `why` what went wrong, for a person; `since`
//! how long it has lasted; `again_in` when it is tried again.

use std::time::Duration;

use crate::flow::file::Rel;
use crate::flow::filing::Place;

/// One line of the log.
#[allow(missing_docs)] // Of fields: what they have in common is in the head of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A file was accepted, with this status, in the attempt with this number, which took this long.
    Delivered {
        path: Rel,
        size: u64,
        status: u16,
        took: Duration,
        attempts: u32,
    },
    /// It lies where it belongs; nowhere, where it was deleted or somebody took it away.
    Filed { path: Rel, to: Option<Place> },
    /// It lies in dead-letter.
    Condemned {
        path: Rel,
        reason: String,
        to: Place,
    },
    /// An attempt failed through what may be the file's own fault.
    Failing {
        path: Rel,
        why: String,
        attempts: u32,
        again_in: Duration,
    },
    /// It changed after it had been taken for complete, and settles again.
    Changed { path: Rel },
    /// Its size and mtime stand still, but something else of it moves.
    Suspicious { path: Rel },
    /// It waits, for its mtime is 0: rsync has not finished it.
    Partial { path: Rel },
    /// In this folder, and perhaps in others, an mtime of 0 says nothing: all files have it.
    Timeless { path: Rel },
    /// It may be unfinished: looked at once more before it is condemned.
    Unfinished {
        path: Rel,
        why: String,
        again_in: Duration,
    },
    /// What was to be filed away turned out to be a new version. It settles at its place, or lies in
    /// dead-letter where that was taken.
    NewVersion { path: Rel, displaced: Option<Place> },
    /// A file cannot be opened, read, checked or filed (`doing`).
    FileTrouble {
        path: Rel,
        doing: &'static str,
        why: String,
        again_in: Duration,
    },
    /// It can be again.
    FileTroubleOver { path: Rel },
    /// The endpoint does not accept; so many files wait for it.
    GateClosed {
        why: String,
        waiting: usize,
        again_in: Duration,
    },
    /// It still does not. Said at growing intervals, and with each new cause.
    GateStillClosed {
        why: String,
        waiting: usize,
        since: Duration,
    },
    /// It did not when an earlier process left.
    GateRemembered {
        why: String,
        since: Duration,
        again_in: Duration,
    },
    /// It accepts again; so many files wait for it.
    GateOpened { since: Duration, waiting: usize },
    /// So many files in a row were rejected by the endpoint, or by `check.command`, that it is the
    /// suspect.
    BrakeHolds {
        files: usize,
        by: &'static str,
        why: String,
    },
    /// It accepts again. So many files of the run that made it the suspect went to dead-letter.
    BrakeReleased { by: &'static str, condemned: usize },
    /// The watched folder is not there, or is not the share.
    ShareAway { why: String },
    /// It still is not. Said at growing intervals, and with each new cause.
    ShareStillAway { why: String, since: Duration },
    /// It is there again.
    ShareBack { since: Duration },
    /// A share was mounted over the watched folder.
    MountedOver,
    /// Another process may work on the folder.
    LockLost { why: String },
    /// The machine was suspended for so long.
    Suspended { time: Duration },
    /// The wall clock was set, by so many milliseconds.
    ClockSet { by_ms: i64 },
    /// The process did not get to run for so long.
    Starved { time: Duration },
    /// A folder cannot be listed, or not to its end.
    FolderTrouble { path: Rel, why: String },
    /// A file that is there cannot be looked at.
    NameTrouble { path: Rel, why: String },
    /// A folder can be listed again, and all in it looked at.
    FolderTroubleOver { path: Rel },
    /// Nothing has been heard of the scan under way for so long.
    ScanHangs { since: Duration },
    /// It goes on.
    ScanBack { since: Duration },
    /// The first scan is over: so many files are in motion, of which so many wait for their writers,
    /// and so many were delivered before.
    Looked {
        files: usize,
        waiting: usize,
        at_rest: usize,
    },
    /// The journal cannot be written.
    JournalDown { why: String },
    /// It still cannot. Said at growing intervals, and with each new cause.
    JournalStillDown { why: String, since: Duration },
    /// It can be written again.
    JournalBack { since: Duration },
    /// `once` leaves these: so many settle, so many others are not delivered.
    LeftForNext { settling: usize, left: usize },
    /// A stop was asked for, with so many files on their way.
    Stopping { in_flight: usize },
    /// The time to finish what was on its way is over.
    StoppedEarly { in_flight: usize },
}
