//! What a person is told: events, not sentences. The shell puts them into words.

use std::time::Duration;

use crate::flow::file::Rel;
use crate::flow::filing::Place;
use crate::flow::scan::filter::Ignored;
use crate::flow::troubles::{Extent, Kind};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// `attempts` counts this one.
    Delivered {
        /// The file, below the watched folder.
        path: Rel,
        /// The size of the file in bytes, before any compression.
        size: u64,
        /// The HTTP status of the answer.
        status: u16,
        /// How long this attempt took.
        took: Duration,
        /// How many attempts it took.
        attempts: u32,
    },
    /// It lies where it belongs.
    Filed {
        /// The place the file was sent from.
        path: Rel,
        /// Where it is kept now; `None` if it is no longer there.
        to: Option<Place>,
    },
    /// It was put into dead-letter: moved there, or copied where it cannot be moved.
    Condemned {
        /// The place the file had in the watched folder.
        path: Rel,
        /// Why it is not sent, as one sentence.
        reason: String,
        /// Where in dead-letter it is.
        to: Place,
    },
    /// An attempt failed through what may be the file's own fault.
    Failing {
        /// The file that is sent again later.
        path: Rel,
        /// What the endpoint answered, or what went wrong.
        why: String,
        /// How many attempts this version has had, with this one.
        attempts: u32,
        /// How many files fail so, and for how long.
        extent: Extent,
        /// The pause before the next attempt.
        again_in: Duration,
    },
    /// It changed after it had been taken for complete, and settles again.
    Changed {
        /// The file that changed.
        path: Rel,
    },
    /// It was taken for complete and has changed before anything was done with it, so that it had not
    /// come to rest.
    Changing {
        /// The file that changes.
        path: Rel,
    },
    /// It never comes to rest. It is said at growing intervals.
    Restless {
        /// The file that changes all the time.
        path: Rel,
        /// For how long it has been changing.
        since: Duration,
        /// How many such files there are.
        files: usize,
    },
    /// Its size and mtime stand still, but something else of it moves.
    Suspicious {
        /// The file that may still be written to.
        path: Rel,
    },
    /// It waits, for its mtime is 0: rsync has not finished it.
    Partial {
        /// The file that waits.
        path: Rel,
    },
    /// In this folder, and perhaps in others, an mtime of 0 says nothing: all files have it.
    Timeless {
        /// The folder; empty for the watched folder itself.
        path: Rel,
    },
    /// It may be unfinished: looked at once more before it is condemned.
    Unfinished {
        /// The file that waits.
        path: Rel,
        /// What the check found missing.
        why: String,
        /// How long until the next look at the latest: `check.grace`.
        again_in: Duration,
    },
    /// What was filed away turned out to be a new version.
    NewVersion {
        /// The place the file was sent from.
        path: Rel,
        /// Where the new version is kept, as its own place was taken. `None` if it is back at its
        /// place and settles there.
        displaced: Option<Place>,
    },
    /// A file cannot be opened, read or filed.
    FileTrouble {
        /// The file that the trouble is with.
        path: Rel,
        /// What was tried.
        kind: Kind,
        /// The error, as a sentence for a person.
        why: String,
        /// How many files have this trouble, and for how long.
        extent: Extent,
        /// The pause before the next try.
        again_in: Duration,
    },
    /// No file has this trouble any more.
    FileTroubleOver {
        /// What was tried.
        kind: Kind,
        /// How many files had it at a time, and for how long.
        extent: Extent,
    },
    /// The endpoint does not accept: deliveries stop, and one file at a time tries it.
    GateClosed {
        /// What the endpoint answered, or why it cannot be reached.
        why: String,
        /// How many files wait to be sent.
        waiting: usize,
        /// How long until the endpoint is tried again.
        again_in: Duration,
    },
    /// The endpoint still does not accept. It is said at growing intervals, and with each new
    /// cause.
    GateStillClosed {
        /// What the last attempt came to.
        why: String,
        /// How many files wait to be sent.
        waiting: usize,
        /// For how long the endpoint has not accepted.
        since: Duration,
        /// How long until the endpoint is tried again.
        again_in: Duration,
    },
    /// The endpoint did not accept when an earlier process left.
    GateRemembered {
        /// What the earlier process found.
        why: String,
        /// For how long the endpoint has not accepted, the time of the earlier process included.
        since: Duration,
        /// How long until the endpoint is tried again; zero if that is at once.
        again_in: Duration,
    },
    /// The endpoint accepts again.
    GateOpened {
        /// For how long it had not accepted.
        since: Duration,
        /// How many files still wait to be sent, without the one that was just accepted.
        waiting: usize,
    },
    /// So many files in a row were rejected that the endpoint is the suspect.
    BrakeHolds {
        /// How many files in a row were rejected.
        files: usize,
        /// Who rejected them: the endpoint or `check.command`.
        by: &'static str,
        /// How the last of them was rejected.
        why: String,
    },
    /// What was the suspect accepts again.
    BrakeReleased {
        /// Who accepts again: the endpoint or `check.command`.
        by: &'static str,
        /// How many files went to dead-letter before the brake held; they may be worth a retry.
        condemned: usize,
    },
    /// The watched folder is not there, or is not the share that it was.
    ShareAway {
        /// What was found in its place, or the error.
        why: String,
    },
    /// The share is still away. It is said at growing intervals, and with each new cause.
    ShareStillAway {
        /// What was found at the last look.
        why: String,
        /// For how long the share has been away.
        since: Duration,
    },
    /// The share that was away is there again.
    ShareBack {
        /// For how long it was away.
        since: Duration,
    },
    /// A share was mounted over the watched folder while it was in use; all is opened again.
    MountedOver,
    /// Another process may work on the folder.
    LockLost {
        /// What was found in place of the lock, or the error.
        why: String,
    },
    /// The machine was suspended.
    Suspended {
        /// How long it slept.
        time: Duration,
    },
    /// The wall clock was set, by so many milliseconds.
    ClockSet {
        /// Milliseconds, negative if it was set back.
        by_ms: i64,
    },
    /// The process did not get to run for so long.
    Starved {
        /// How much later than it was due the process ran.
        time: Duration,
    },
    /// A folder cannot be listed, or not to its end. What it holds is left as it was.
    FolderTrouble {
        /// The folder; empty for the watched folder itself.
        path: Rel,
        /// The error, as a sentence for a person.
        why: String,
        /// How many folders have it, and for how long.
        extent: Extent,
    },
    /// A file that is there cannot be looked at.
    NameTrouble {
        /// The name that cannot be looked at. Others in the folder are handled as usual.
        path: Rel,
        /// The error, as a sentence for a person.
        why: String,
        /// How many folders hold such names, and for how long.
        extent: Extent,
    },
    /// All folders that could not be listed, or not wholly, are listed again.
    FolderTroubleOver {
        /// The last of them; empty for the watched folder itself.
        path: Rel,
        /// How many there were at a time, and for how long.
        extent: Extent,
    },
    /// Nothing has been heard of the scan under way, as when a server does not answer.
    ScanHangs {
        /// For how long nothing has been heard of it.
        since: Duration,
    },
    /// The scan that hung goes on.
    ScanBack {
        /// For how long nothing had been heard of it.
        since: Duration,
    },
    /// A folder that was emptied could not be removed. It is left alone from now on.
    FolderStays {
        /// Where it lies.
        path: Rel,
        /// The error, as a sentence for a person.
        why: String,
    },
    /// The first scan is over.
    Looked {
        /// How many files are in motion: still to settle, to be sent, or to go to dead-letter.
        files: usize,
        /// How many files are delivered, and only to be moved away.
        unfiled: usize,
        /// How many of them wait for a marker or for content, which only their writer can give.
        waiting: usize,
        /// How many files are known and stay where they are, with nothing left to be done.
        at_rest: usize,
        /// What is left alone.
        ignored: Ignored,
    },
    /// The journal cannot be written, or has no room left. Nothing is sent until it can be.
    JournalDown {
        /// The error, as a sentence for a person.
        why: String,
    },
    /// Said at growing intervals, and with each new cause.
    JournalStillDown {
        /// What the last try came to.
        why: String,
        /// For how long nothing could be written.
        since: Duration,
    },
    /// The journal can be written again, and deliveries go on.
    JournalBack {
        /// For how long it could not be written.
        since: Duration,
    },
    /// What has been in `done` for as long as `delivered.keep_for` says was removed.
    Expired {
        /// How many files.
        files: u64,
        /// `delivered.keep_for`.
        keep_for: Duration,
    },
    /// Some of it cannot be removed. Said at growing intervals.
    ExpiryFails {
        /// The first error, as a sentence for a person.
        why: String,
    },
    /// `once` leaves these.
    LeftForNext {
        /// How many files were still settling, which is no fault.
        settling: usize,
        /// How many files are to be tried again.
        left: usize,
        /// How many files are delivered, and only to be moved away.
        delivered: usize,
        /// How many files have come since the first look, which is no fault.
        new: usize,
        /// An earlier run has said why.
        is_known: bool,
    },
    /// The process was asked to stop, and finishes what is on its way.
    Stopping {
        /// How many files are on their way.
        in_flight: usize,
    },
    /// `once` has worked for as long as it may, and finishes what is on its way.
    DeadlineOver {
        /// How many files are on their way.
        in_flight: usize,
    },
    /// The time to finish what was on its way is over.
    StoppedEarly {
        /// How many files were broken off. What the endpoint may already have is sent again under
        /// the same key.
        in_flight: usize,
    },
}
