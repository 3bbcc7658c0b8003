//! What is said of the share: that it is away or hangs, that something in it cannot be listed, and what puts
//! its lock in doubt.

use std::time::Duration;

use log::Level::{self, Error, Info, Warn};

use super::{folder, wordless};
use crate::flow::events::Note;
use crate::io::logging::units::{lasting, span};

/// The watched folder, and what is in it.
pub(super) fn of_share(note: &Note) -> (Level, String) {
    match note {
        Note::ShareAway { why } => (
            Error,
            format!("folder: {why}; waiting for it, nothing is forgotten"),
        ),
        Note::ShareStillAway { why, since } => {
            (Error, format!("folder: for {} now: {why}", lasting(*since)))
        }
        Note::ShareBack { since } => (Info, format!("folder: back after {}", span(*since))),
        Note::MountedOver => (
            Info,
            "a file system has been mounted on the folder: opening it again".into(),
        ),
        Note::FolderTrouble { path, why, extent } => {
            let folder = folder(path);
            let text = match extent.files {
                0 | 1 => format!("cannot list {folder}: {why}; what it holds is left as it was"),
                many => format!(
                    "cannot list {many} folders, one of them {folder}: {why}; what they hold is \
                     left as it was"
                ),
            };
            (Warn, text)
        }
        Note::FolderTroubleOver { path, extent } => (
            Info,
            match extent.files {
                0 | 1 => format!("can list {} again", folder(path)),
                many => format!(
                    "can list all {many} folders again, after {}",
                    span(extent.since)
                ),
            },
        ),
        Note::NameTrouble { path, why, extent } => (
            Warn,
            match extent.files {
                0 | 1 => {
                    format!("cannot look at {path}: {why}; it is left as it was, the others go on")
                }
                many => format!(
                    "cannot look at all that is in {many} folders, as at {path}: {why}; it is left \
                     as it was, the others go on"
                ),
            },
        ),
        Note::ScanHangs { since } => {
            let since = span(*since);
            let text = format!(
                "folder: a look at it has been hanging for {since}; uploads under way go on"
            );
            (Error, text)
        }
        Note::ScanBack { since } => (
            Info,
            format!("folder: the look that hung is back after {}", span(*since)),
        ),
        other => wordless(other),
    }
}

/// What puts the lock in doubt.
pub(super) fn of_lock(note: &Note) -> (Level, String) {
    let (level, what) = match note {
        Note::LockLost { why } => {
            let text = format!("lock: {why}; nothing more is sent before it is ours again");
            return (Error, text);
        }
        Note::Suspended { time } => (
            Info,
            format!("the machine was suspended for {}", span(*time)),
        ),
        Note::ClockSet { by_ms } => {
            let by = span(Duration::from_millis(by_ms.unsigned_abs()));
            let direction = if *by_ms < 0 { "back" } else { "forward" };
            (Info, format!("the clock was set {direction} by {by}"))
        }
        Note::Starved { time } => (
            Warn,
            format!("this process did not get to run for {}", span(*time)),
        ),
        other => return wordless(other),
    };
    (
        level,
        format!("{what}: looking whether the lock is still ours"),
    )
}
