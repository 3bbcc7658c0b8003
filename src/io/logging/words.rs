//! Puts the engine's notes into words: the log that somebody reads at night.

mod run;
mod share;

use std::fmt::Write as _;
use std::time::Duration;

use log::Level::{self, Debug, Error, Info, Warn};

use self::run::{of_end, of_run};
use self::share::{of_lock, of_share};
use super::units::{bytes, files, lasting, span};
use crate::flow::events::Note;
use crate::flow::file::Rel;
use crate::flow::filing::{Area, Place};
use crate::flow::shell_words::quote;
use crate::flow::troubles::{Extent, Kind};

/// Writes one line.
pub fn write(note: &Note) {
    // Each file has this note, which is seldom wanted: then no words are made.
    if matches!(note, Note::Filed { .. }) && !log::log_enabled!(target: "dirpost", Debug) {
        return;
    }
    let (level, text) = line(note);
    log::log!(target: "dirpost", level, "{text}");
}

/// The level and the sentence of a note.
fn line(note: &Note) -> (Level, String) {
    match note {
        Note::Delivered { .. }
        | Note::Failing { .. }
        | Note::Condemned { .. }
        | Note::Changed { .. }
        | Note::Changing { .. } => of_delivery(note),
        Note::Restless { .. }
        | Note::Suspicious { .. }
        | Note::Partial { .. }
        | Note::Timeless { .. }
        | Note::Unfinished { .. } => of_waiting(note),
        Note::Filed { .. }
        | Note::NewVersion { .. }
        | Note::FileTrouble { .. }
        | Note::FileTroubleOver { .. } => of_filing(note),
        Note::GateClosed { .. }
        | Note::GateStillClosed { .. }
        | Note::GateRemembered { .. }
        | Note::GateOpened { .. }
        | Note::BrakeHolds { .. }
        | Note::BrakeReleased { .. } => of_endpoint(note),
        Note::ShareAway { .. }
        | Note::ShareStillAway { .. }
        | Note::ShareBack { .. }
        | Note::MountedOver
        | Note::FolderTrouble { .. }
        | Note::FolderTroubleOver { .. }
        | Note::NameTrouble { .. }
        | Note::ScanHangs { .. }
        | Note::ScanBack { .. } => of_share(note),
        Note::LockLost { .. }
        | Note::Suspended { .. }
        | Note::ClockSet { .. }
        | Note::Starved { .. } => of_lock(note),
        Note::JournalDown { .. } | Note::JournalStillDown { .. } | Note::JournalBack { .. } => {
            of_journal(note)
        }
        Note::Looked { .. } | Note::LeftForNext { .. } | Note::FolderStays { .. } => of_run(note),
        Note::Expired { .. } | Note::ExpiryFails { .. } => of_run(note),
        Note::Stopping { .. } | Note::DeadlineOver { .. } | Note::StoppedEarly { .. } => {
            of_end(note)
        }
    }
}

/// A note without words of its own, for [`line()`] has sent it to the wrong function: better said
/// as it is than not at all.
fn wordless(note: &Note) -> (Level, String) {
    (Warn, format!("{note:?}"))
}

fn of_delivery(note: &Note) -> (Level, String) {
    match note {
        Note::Delivered {
            path,
            size,
            status,
            took,
            attempts,
        } => {
            let (size, took) = (bytes(*size), span(*took));
            let mut text = format!("delivered {path} ({size}, {took}, status {status}");
            if *attempts > 1 {
                let _ = write!(text, ", attempt {attempts}");
            }
            (Info, text + ")")
        }
        Note::Failing {
            path,
            why,
            attempts,
            extent,
            again_in,
        } => {
            let again = span(*again_in);
            let text = match many(extent) {
                None => format!("{path}: {why} (attempt {attempts}); again in {again}"),
                Some((many, since)) => format!(
                    "{many}, for {since} now, one of them {path}: {why} (attempt {attempts}); each is \
                     tried again after its own pause"
                ),
            };
            (Warn, format!("not delivered: {text}"))
        }
        Note::Condemned { path, reason, to } => {
            let see = see(to);
            (Warn, format!("dead letter: {path}: {reason}; {see}"))
        }
        Note::Changed { path } => (
            Info,
            format!("changed after it had settled: {path}; it settles again"),
        ),
        Note::Changing { path } => (Debug, format!("still changing: {path}")),
        other => wordless(other),
    }
}

/// Why a file is not sent yet.
fn of_waiting(note: &Note) -> (Level, String) {
    match note {
        Note::Restless {
            path,
            since,
            files: 1,
        } => (
            Warn,
            format!(
                "{path} has been changing for {}, and is sent when it has come to rest: a log file? \
                 exclude it (watch.exclude)",
                span(*since)
            ),
        ),
        Note::Restless { path, since, files } => (
            Warn,
            format!(
                "{files} files have been changing for over 10 min and are sent when they have come to \
                 rest, one of them {path}, for {}: log files? exclude them (watch.exclude)",
                span(*since)
            ),
        ),
        Note::Suspicious { path } => (
            Debug,
            format!(
                "perhaps still written to: {path}: its ctime or its blocks move while size and \
                 mtime stand still; it settles again, for five settle times in all at most"
            ),
        ),
        Note::Partial { path } => (
            Warn,
            format!(
                "waiting: {path} has an mtime in the first second of 1970, which is how rsync \
                 marks what it has not finished; it is sent when rsync has finished it (if it is \
                 whole: touch it)"
            ),
        ),
        Note::Timeless { path } => (
            Info,
            format!(
                "{} shows an mtime of 0 for everything: it keeps no times, so that is not taken for \
                 rsync's mark of an unfinished file there",
                folder(path)
            ),
        ),
        Note::Unfinished {
            path,
            why,
            again_in,
        } => {
            let again = span(*again_in);
            let text = format!("perhaps unfinished: {path}: {why}; looked at again within {again}");
            (Info, text)
        }
        other => wordless(other),
    }
}

/// Where a dead letter lies, as the command that shows it.
fn see(to: &Place) -> String {
    match to.area {
        Area::DeadLetter => format!(
            "see: dirpost dead-letter show {}",
            quote(to.path.as_bytes())
        ),
        _ => format!("it lies in {to}"),
    }
}

fn of_filing(note: &Note) -> (Level, String) {
    match note {
        Note::Filed { path, to: Some(to) } => (Debug, format!("filed {path} as {to}")),
        Note::Filed { path, to: None } => (Debug, format!("filed {path}: it is no longer there")),
        Note::NewVersion {
            path,
            displaced: None,
        } => (
            Info,
            format!(
                "changed while the answer was awaited: {path}; the new version is back at its \
                 place and settles"
            ),
        ),
        Note::NewVersion {
            path,
            displaced: Some(to),
        } => (
            Warn,
            format!(
                "changed while the answer was awaited, and its place is taken: {path}; the version \
                 between was not sent: {}",
                see(to)
            ),
        ),
        Note::FileTrouble { .. } | Note::FileTroubleOver { .. } => of_trouble(note),
        other => wordless(other),
    }
}

/// What is in the way of files here.
fn of_trouble(note: &Note) -> (Level, String) {
    match note {
        Note::FileTrouble {
            path,
            kind,
            why,
            extent,
            again_in,
        } => {
            let next = span(*again_in);
            let text = match (many(extent), kind) {
                (None, Kind::Done) => format!(
                    "done: {path} is delivered, but cannot be filed away: {why}; it is not sent \
                     again, next try in {next}"
                ),
                (Some((many, since)), Kind::Done) => format!(
                    "done: for {since} now: {many} are delivered, but cannot be filed away, one of \
                     them {path}: {why}; none is sent again, each is tried again after its own pause"
                ),
                (None, Kind::DeadLetter) => format!(
                    "dead-letter: {path} is rejected, but cannot be filed there: {why}; it is not \
                     sent again, next try in {next}"
                ),
                (Some((many, since)), Kind::DeadLetter) => format!(
                    "dead-letter: for {since} now: {many} are rejected, but cannot be filed there, \
                     one of them {path}: {why}; none is sent again, each is tried again after its own pause"
                ),
                (None, kind) => {
                    let doing = verb(*kind);
                    format!(
                        "cannot {doing} {path}: {why}; it stays where it is, next try in {next}"
                    )
                }
                (Some((many, since)), kind) => format!(
                    "cannot {} {many}, for {since} now, one of them {path}: {why}; they stay where \
                     they are, each is tried again after its own pause",
                    verb(*kind)
                ),
            };
            (Warn, text)
        }
        Note::FileTroubleOver { kind, extent } => {
            let (count, since) = (files(extent.files), span(extent.since));
            let text = match kind {
                Kind::Done => {
                    format!(
                        "done: nothing waits to be filed away any more, after {since} ({count})"
                    )
                }
                Kind::DeadLetter => format!(
                    "dead-letter: nothing waits to be filed there any more, after {since} ({count})"
                ),
                kind => format!(
                    "no file is left that dirpost could not {}, after {since} ({count})",
                    verb(*kind)
                ),
            };
            (Info, text)
        }
        other => wordless(other),
    }
}

/// What is tried in vain, as a verb that goes before a file.
fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Check => "check",
        Kind::Read => "read",
        Kind::Send | Kind::Deliver => "send",
        Kind::Done | Kind::DeadLetter => "file away",
        Kind::Settle => "find at rest",
        Kind::List => "list",
        Kind::Look => "look at",
    }
}

/// So many files, and for how long, if it is more than one.
fn many(extent: &Extent) -> Option<(String, String)> {
    (extent.files > 1).then(|| (files(extent.files), lasting(extent.since)))
}

fn of_endpoint(note: &Note) -> (Level, String) {
    match note {
        Note::GateClosed {
            why,
            waiting,
            again_in,
        } => {
            let (waiting, again) = (files(*waiting), span(*again_in));
            let text =
                format!("endpoint: {why}; {waiting} waiting, nothing is lost, next try in {again}");
            (Error, text)
        }
        Note::GateStillClosed {
            why,
            waiting,
            since,
            again_in,
        } => {
            let (waiting, since, again) = (files(*waiting), lasting(*since), span(*again_in));
            let text =
                format!("endpoint: for {since} now: {why}; {waiting} waiting, next try in {again}");
            (Error, text)
        }
        Note::GateRemembered {
            why,
            since,
            again_in,
        } => {
            let next = match again_in {
                &Duration::ZERO => "trying it now".into(),
                wait => format!("next try in {}", span(*wait)),
            };
            let since = lasting(*since);
            let text = format!("endpoint: for {since} now, as an earlier run found: {why}; {next}");
            (Warn, text)
        }
        Note::GateOpened { since, waiting } => {
            let (waiting, since) = (files(*waiting), span(*since));
            let text = format!("endpoint: accepts again after {since}; {waiting} waiting");
            (Info, text)
        }
        Note::BrakeHolds { files, by, why } => (
            Error,
            format!(
                "{files} files in a row were rejected by {by} ({why}): this looks like a fault of \
                 {by}; beside these no more files go to dead-letter until it accepts one"
            ),
        ),
        Note::BrakeReleased { by, condemned } => (
            Warn,
            format!(
                "{by} accepts again: {} went to dead-letter while it rejected everything; send \
                 them again with `dirpost dead-letter retry --all`, or one by one",
                files(*condemned)
            ),
        ),
        other => wordless(other),
    }
}

fn of_journal(note: &Note) -> (Level, String) {
    const UNTIL: &str = "nothing is sent until it can be written again";
    match note {
        Note::JournalDown { why } => (Error, format!("journal: {why}; {UNTIL}")),
        Note::JournalStillDown { why, since } => {
            let since = lasting(*since);
            (Error, format!("journal: for {since} now: {why}; {UNTIL}"))
        }
        Note::JournalBack { since } => (
            Info,
            format!("journal: can be written again after {}", span(*since)),
        ),
        other => wordless(other),
    }
}

/// A folder by its path; the watched one has none.
fn folder(path: &Rel) -> String {
    if path.as_bytes().is_empty() {
        "the watched folder".into()
    } else {
        path.to_string()
    }
}

/// Who holds the lock, for people. `holder` is what stands in the lock's `holder` file: a token,
/// the host and the process, unless somebody else has written there.
pub fn holder(holder: &str) -> String {
    match holder.split_whitespace().collect::<Vec<_>>()[..] {
        [_, host, pid] => format!("pid {pid} on {host}"),
        [] => "it has not written down who it is".into(),
        _ => format!("its holder file says: {holder}"),
    }
}

#[cfg(test)]
mod tests;
