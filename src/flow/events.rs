//! What a person is told: events, not sentences. The shell puts them into words.

use std::time::Duration;

use crate::flow::file::Rel;
use crate::flow::filing::Place;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// `attempts` counts this one.
    Delivered {
        path: Rel,
        size: u64,
        status: u16,
        took: Duration,
        attempts: u32,
    },
    /// It lies where it belongs.
    Filed {
        path: Rel,
        to: Option<Place>,
    },
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
    Changed {
        path: Rel,
    },
    /// Its size and mtime stand still, but something else of it moves.
    Suspicious {
        path: Rel,
    },
    /// It waits, for its mtime is 0: rsync has not finished it.
    Partial {
        path: Rel,
    },
    /// In this folder, and perhaps in others, an mtime of 0 says nothing: all files have it.
    Timeless {
        path: Rel,
    },
    /// It may be unfinished: looked at once more before it is condemned.
    Unfinished {
        path: Rel,
        why: String,
        again_in: Duration,
    },
    /// What was filed away turned out to be a new version.
    NewVersion {
        path: Rel,
        displaced: Option<Place>,
    },
    /// A file cannot be opened, read or filed.
    FileTrouble {
        path: Rel,
        doing: &'static str,
        why: String,
        again_in: Duration,
    },
    FileTroubleOver {
        path: Rel,
    },
    GateClosed {
        why: String,
        waiting: usize,
        again_in: Duration,
    },
    GateStillClosed {
        why: String,
        waiting: usize,
        since: Duration,
    },
    /// The endpoint did not accept when an earlier process left.
    GateRemembered {
        why: String,
        since: Duration,
        again_in: Duration,
    },
    GateOpened {
        since: Duration,
        waiting: usize,
    },
    /// So many files in a row were rejected that the endpoint is the suspect.
    BrakeHolds {
        files: usize,
        by: &'static str,
        why: String,
    },
    /// It accepts again. So many files of the run that made it the suspect went to dead-letter.
    BrakeReleased {
        by: &'static str,
        condemned: usize,
    },
    ShareAway {
        why: String,
    },
    ShareStillAway {
        why: String,
        since: Duration,
    },
    ShareBack {
        since: Duration,
    },
    MountedOver,
    /// Another process may work on the folder.
    LockLost {
        why: String,
    },
    /// The machine was suspended.
    Suspended {
        time: Duration,
    },
    /// The wall clock was set, by so many milliseconds.
    ClockSet {
        by_ms: i64,
    },
    /// The process did not get to run for so long.
    Starved {
        time: Duration,
    },
    FolderTrouble {
        path: Rel,
        why: String,
    },
    /// A file that is there cannot be looked at.
    NameTrouble {
        path: Rel,
        why: String,
    },
    FolderTroubleOver {
        path: Rel,
    },
    ScanHangs {
        since: Duration,
    },
    ScanBack {
        since: Duration,
    },
    /// The first scan is over.
    Looked {
        files: usize,
        waiting: usize,
        at_rest: usize,
    },
    JournalDown {
        why: String,
    },
    /// Said at growing intervals, and with each new cause.
    JournalStillDown {
        why: String,
        since: Duration,
    },
    JournalBack {
        since: Duration,
    },
    /// `once` leaves these.
    LeftForNext {
        settling: usize,
        left: usize,
    },
    Stopping {
        in_flight: usize,
    },
    /// The time to finish what was on its way is over.
    StoppedEarly {
        in_flight: usize,
    },
}
