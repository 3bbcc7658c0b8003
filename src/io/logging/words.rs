//! Puts the engine's notes into words: the log that somebody reads at night.

use std::fmt::Write as _;
use std::time::Duration;

use log::Level::{self, Debug, Error, Info, Warn};

use crate::flow::events::Note;
use crate::flow::file::Rel;
use crate::flow::filing::{Area, Place};
use crate::flow::shell_words::quote;

/// Writes one line.
pub fn write(note: &Note) {
    let (level, text) = line(note);
    log::log!(target: "dirpost", level, "{text}");
}

/// The level and the sentence of a note.
fn line(note: &Note) -> (Level, String) {
    match note {
        Note::Delivered { .. }
        | Note::Failing { .. }
        | Note::Condemned { .. }
        | Note::Changed { .. } => of_delivery(note),
        Note::Suspicious { .. }
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
        Note::Looked { .. }
        | Note::LeftForNext { .. }
        | Note::Stopping { .. }
        | Note::StoppedEarly { .. } => of_run(note),
    }
}

/// A note without words of its own, for [`line()`] has sent it to the wrong function: better said as it
/// is than not at all.
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
            again_in,
        } => {
            let again = span(*again_in);
            let text =
                format!("not delivered: {path}: {why} (attempt {attempts}); again in {again}");
            (Warn, text)
        }
        Note::Condemned { path, reason, to } => {
            let see = see(to);
            (Warn, format!("dead letter: {path}: {reason}; {see}"))
        }
        Note::Changed { path } => (
            Info,
            format!("changed after it had settled: {path}; it settles again"),
        ),
        other => wordless(other),
    }
}

/// Why a file is not sent yet.
fn of_waiting(note: &Note) -> (Level, String) {
    match note {
        Note::Suspicious { path } => (
            Debug,
            format!(
                "perhaps still written to: {path}: its ctime or its blocks move while size and mtime \
                 stand still; it settles again, for five settle times in all at most"
            ),
        ),
        Note::Partial { path } => (
            Warn,
            format!(
                "waiting: {path} has an mtime of 0 (1970-01-01), which is how rsync marks what it has not finished; \
                 it is sent when rsync has finished it (if it is whole: touch it)"
            ),
        ),
        Note::Timeless { path } => (
            Info,
            format!(
                "{} shows an mtime of 0 for everything: it keeps no times, so 0 is not taken for rsync's mark of \
                 an unfinished file there",
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
        Note::FileTrouble {
            path,
            doing,
            why,
            again_in,
        } => {
            // What cannot be filed may have left its place, and it is settled what becomes of it.
            let then = match *doing {
                "file" => "it is not sent again",
                _ => "it stays where it is",
            };
            let again = span(*again_in);
            let text = format!("cannot {doing} {path}: {why}; {then}, next try in {again}");
            (Warn, text)
        }
        Note::FileTroubleOver { path } => (Info, format!("trouble over: {path}")),
        other => wordless(other),
    }
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
        } => {
            let (waiting, since) = (files(*waiting), span(*since));
            let text = format!("endpoint: for {since} now: {why}; {waiting} waiting");
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
            let since = span(*since);
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
                 {by}; no more files go to dead-letter until it accepts one"
            ),
        ),
        Note::BrakeReleased { by, condemned } => (
            Warn,
            format!(
                "{by} accepts again: {} went to dead-letter while it rejected everything; send them \
                 again with `dirpost dead-letter retry --all`, or one by one",
                files(*condemned)
            ),
        ),
        other => wordless(other),
    }
}

fn of_share(note: &Note) -> (Level, String) {
    match note {
        Note::ShareAway { why } => (
            Error,
            format!("share: {why}; waiting for it, nothing is forgotten"),
        ),
        Note::ShareStillAway { why, since } => {
            (Error, format!("share: for {} now: {why}", span(*since)))
        }
        Note::ShareBack { since } => (Info, format!("share: back after {}", span(*since))),
        Note::MountedOver => (
            Info,
            "the share has been mounted on the folder: opening it again".into(),
        ),
        Note::FolderTrouble { path, why } => {
            let folder = folder(path);
            let text = format!("cannot list {folder}: {why}; what it holds is left as it was");
            (Warn, text)
        }
        Note::FolderTroubleOver { path } => (Info, format!("can list {} again", folder(path))),
        Note::NameTrouble { path, why } => (
            Warn,
            format!("cannot look at {path}: {why}; it is left as it was, the others go on"),
        ),
        Note::ScanHangs { since } => {
            let since = span(*since);
            let text = format!(
                "share: a look at it has been hanging for {since}; uploads under way go on"
            );
            (Error, text)
        }
        Note::ScanBack { since } => (
            Info,
            format!("share: the look that hung is back after {}", span(*since)),
        ),
        other => wordless(other),
    }
}

/// What puts the lock in doubt.
fn of_lock(note: &Note) -> (Level, String) {
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

fn of_journal(note: &Note) -> (Level, String) {
    const UNTIL: &str = "nothing is sent until it can be written again";
    match note {
        Note::JournalDown { why } => (Error, format!("journal: {why}; {UNTIL}")),
        Note::JournalStillDown { why, since } => {
            let since = span(*since);
            (Error, format!("journal: for {since} now: {why}; {UNTIL}"))
        }
        Note::JournalBack { since } => (
            Info,
            format!("journal: can be written again after {}", span(*since)),
        ),
        other => wordless(other),
    }
}

fn of_run(note: &Note) -> (Level, String) {
    match note {
        Note::Looked {
            files: all,
            waiting,
            at_rest,
        } => {
            let mut text = format!("first look: {} to deliver", files(all - waiting));
            if *waiting > 0 {
                let waiting = files(*waiting);
                let _ = write!(text, ", {waiting} waiting for a marker or content");
            }
            if *at_rest > 0 {
                let _ = write!(text, ", {} delivered before", files(*at_rest));
            }
            (Info, text)
        }
        Note::LeftForNext { settling, left } => {
            let mut parts = Vec::new();
            if *left > 0 {
                parts.push(format!("{} to be tried again", files(*left)));
            }
            if *settling > 0 {
                parts.push(format!("{} still settling", files(*settling)));
            }
            // That a file settles is no fault.
            let level = if *left > 0 { Warn } else { Info };
            (
                level,
                format!("left for the next run: {}", parts.join(", ")),
            )
        }
        Note::Stopping { in_flight: 0 } => (Info, "stopping".into()),
        Note::Stopping { in_flight } => (
            Info,
            format!(
                "stopping: finishing {} first, up to 10 s; a second signal ends it at once",
                files(*in_flight)
            ),
        ),
        Note::StoppedEarly { in_flight } => (
            Warn,
            format!(
                "stopped with {} in flight: what the endpoint may have is sent again, under the same \
                 key",
                files(*in_flight)
            ),
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

/// Who holds the lock, for people. `holder` is what stands in the lock's `holder` file: a token, the
/// host and the process, unless somebody else has written there.
pub fn holder(holder: &str) -> String {
    match holder.split_whitespace().collect::<Vec<_>>()[..] {
        [_, host, pid] => format!("pid {pid} on {host}"),
        [] => "it has not written down who it is".into(),
        _ => format!("its holder file says: {holder}"),
    }
}

/// A number of files for people.
pub fn files<N: std::fmt::Display + PartialEq + From<u8>>(count: N) -> String {
    if count == N::from(1) {
        "1 file".into()
    } else {
        format!("{count} files")
    }
}

/// A size for people.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// A time for people: two units at most.
pub fn span(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        10_000..120_000 => format!("{} s", millis / 1000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        7_200_000..172_800_000 => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
        _ => format!("{} days", millis / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each, with what it says.
    fn all() -> Vec<(Note, Level, &'static str)> {
        let path = || Rel::new(b"in/a\nb.csv");
        let why = || "no room".to_string();
        let place = |area| Place::new(area, Rel::new(b"in/a\nb.1.csv"));
        let time = Duration::from_secs(90);
        vec![
            (
                Note::Delivered {
                    path: path(),
                    size: 1536,
                    status: 201,
                    took: Duration::from_millis(7),
                    attempts: 2,
                },
                Info,
                "delivered in/a%0Ab.csv (1.5 KiB, 7 ms, status 201, attempt 2)",
            ),
            (
                Note::Failing {
                    path: path(),
                    why: why(),
                    attempts: 2,
                    again_in: time,
                },
                Warn,
                "not delivered: in/a%0Ab.csv: no room (attempt 2); again in 90 s",
            ),
            (
                Note::Condemned {
                    path: path(),
                    reason: why(),
                    to: place(Area::DeadLetter),
                },
                Warn,
                r"dead letter: in/a%0Ab.csv: no room; see: dirpost dead-letter show $'in/a\nb.1.csv'",
            ),
            (
                Note::Changed { path: path() },
                Info,
                "changed after it had settled: in/a%0Ab.csv; it settles again",
            ),
            (
                Note::Suspicious { path: path() },
                Debug,
                "perhaps still written to: in/a%0Ab.csv: its ctime or its blocks move while size and mtime stand still; it settles again, for five settle times in all at most",
            ),
            (
                Note::Partial { path: path() },
                Warn,
                "waiting: in/a%0Ab.csv has an mtime of 0 (1970-01-01), which is how rsync marks what it has not finished; it is sent when rsync has finished it (if it is whole: touch it)",
            ),
            (
                Note::Timeless { path: path() },
                Info,
                "in/a%0Ab.csv shows an mtime of 0 for everything: it keeps no times, so 0 is not taken for rsync's mark of an unfinished file there",
            ),
            (
                Note::Unfinished {
                    path: path(),
                    why: why(),
                    again_in: time,
                },
                Info,
                "perhaps unfinished: in/a%0Ab.csv: no room; looked at again within 90 s",
            ),
            (
                Note::Filed {
                    path: path(),
                    to: Some(place(Area::Done)),
                },
                Debug,
                "filed in/a%0Ab.csv as done/in/a%0Ab.1.csv",
            ),
            (
                Note::Filed {
                    path: path(),
                    to: None,
                },
                Debug,
                "filed in/a%0Ab.csv: it is no longer there",
            ),
            (
                Note::NewVersion {
                    path: path(),
                    displaced: None,
                },
                Info,
                "changed while the answer was awaited: in/a%0Ab.csv; the new version is back at its place and settles",
            ),
            (
                Note::NewVersion {
                    path: path(),
                    displaced: Some(place(Area::DeadLetter)),
                },
                Warn,
                r"changed while the answer was awaited, and its place is taken: in/a%0Ab.csv; the version between was not sent: see: dirpost dead-letter show $'in/a\nb.1.csv'",
            ),
            (
                Note::FileTrouble {
                    path: path(),
                    doing: "file",
                    why: why(),
                    again_in: time,
                },
                Warn,
                "cannot file in/a%0Ab.csv: no room; it is not sent again, next try in 90 s",
            ),
            (
                Note::FileTrouble {
                    path: path(),
                    doing: "read",
                    why: why(),
                    again_in: time,
                },
                Warn,
                "cannot read in/a%0Ab.csv: no room; it stays where it is, next try in 90 s",
            ),
            (
                Note::FileTroubleOver { path: path() },
                Info,
                "trouble over: in/a%0Ab.csv",
            ),
            (
                Note::GateClosed {
                    why: why(),
                    waiting: 1,
                    again_in: time,
                },
                Error,
                "endpoint: no room; 1 file waiting, nothing is lost, next try in 90 s",
            ),
            (
                Note::GateStillClosed {
                    why: why(),
                    waiting: 2,
                    since: time,
                },
                Error,
                "endpoint: for 90 s now: no room; 2 files waiting",
            ),
            (
                Note::GateRemembered {
                    why: why(),
                    since: time,
                    again_in: Duration::ZERO,
                },
                Warn,
                "endpoint: for 90 s now, as an earlier run found: no room; trying it now",
            ),
            (
                Note::GateOpened {
                    since: time,
                    waiting: 2,
                },
                Info,
                "endpoint: accepts again after 90 s; 2 files waiting",
            ),
            (
                Note::BrakeHolds {
                    files: 10,
                    by: "the endpoint",
                    why: "422: bad".into(),
                },
                Error,
                "10 files in a row were rejected by the endpoint (422: bad): this looks like a fault of the endpoint; no more files go to dead-letter until it accepts one",
            ),
            (
                Note::BrakeReleased {
                    by: "the endpoint",
                    condemned: 10,
                },
                Warn,
                "the endpoint accepts again: 10 files went to dead-letter while it rejected everything; send them again with `dirpost dead-letter retry --all`, or one by one",
            ),
            (
                Note::ShareAway { why: why() },
                Error,
                "share: no room; waiting for it, nothing is forgotten",
            ),
            (
                Note::ShareStillAway {
                    why: why(),
                    since: time,
                },
                Error,
                "share: for 90 s now: no room",
            ),
            (
                Note::ShareBack { since: time },
                Info,
                "share: back after 90 s",
            ),
            (
                Note::MountedOver,
                Info,
                "the share has been mounted on the folder: opening it again",
            ),
            (
                Note::FolderTrouble {
                    path: Rel::root(),
                    why: why(),
                },
                Warn,
                "cannot list the watched folder: no room; what it holds is left as it was",
            ),
            (
                Note::FolderTroubleOver { path: path() },
                Info,
                "can list in/a%0Ab.csv again",
            ),
            (
                Note::NameTrouble {
                    path: path(),
                    why: why(),
                },
                Warn,
                "cannot look at in/a%0Ab.csv: no room; it is left as it was, the others go on",
            ),
            (
                Note::ScanHangs { since: time },
                Error,
                "share: a look at it has been hanging for 90 s; uploads under way go on",
            ),
            (
                Note::ScanBack { since: time },
                Info,
                "share: the look that hung is back after 90 s",
            ),
            (
                Note::LockLost { why: why() },
                Error,
                "lock: no room; nothing more is sent before it is ours again",
            ),
            (
                Note::Suspended { time },
                Info,
                "the machine was suspended for 90 s: looking whether the lock is still ours",
            ),
            (
                Note::ClockSet { by_ms: -90_000 },
                Info,
                "the clock was set back by 90 s: looking whether the lock is still ours",
            ),
            (
                Note::Starved { time },
                Warn,
                "this process did not get to run for 90 s: looking whether the lock is still ours",
            ),
            (
                Note::JournalDown { why: why() },
                Error,
                "journal: no room; nothing is sent until it can be written again",
            ),
            (
                Note::JournalStillDown {
                    why: why(),
                    since: time,
                },
                Error,
                "journal: for 90 s now: no room; nothing is sent until it can be written again",
            ),
            (
                Note::JournalBack { since: time },
                Info,
                "journal: can be written again after 90 s",
            ),
            (
                Note::Looked {
                    files: 5,
                    waiting: 1,
                    at_rest: 2,
                },
                Info,
                "first look: 4 files to deliver, 1 file waiting for a marker or content, 2 files delivered before",
            ),
            (
                Note::LeftForNext {
                    settling: 1,
                    left: 0,
                },
                Info,
                "left for the next run: 1 file still settling",
            ),
            (
                Note::LeftForNext {
                    settling: 2,
                    left: 1,
                },
                Warn,
                "left for the next run: 1 file to be tried again, 2 files still settling",
            ),
            (Note::Stopping { in_flight: 0 }, Info, "stopping"),
            (
                Note::Stopping { in_flight: 1 },
                Info,
                "stopping: finishing 1 file first, up to 10 s; a second signal ends it at once",
            ),
            (
                Note::StoppedEarly { in_flight: 2 },
                Warn,
                "stopped with 2 files in flight: what the endpoint may have is sent again, under the same key",
            ),
        ]
    }

    #[test]
    fn every_note_has_words_of_its_own() {
        for (note, level, text) in all() {
            assert_eq!(line(&note), (level, text.to_string()), "{note:?}");
        }
    }

    #[test]
    fn a_note_that_no_function_knows_is_said_all_the_same() {
        assert_eq!(of_run(&Note::MountedOver), (Warn, "MountedOver".into()));
    }

    #[test]
    fn the_holder_of_the_lock_is_named_by_process_and_host() {
        assert_eq!(holder("b40e vm 17152"), "pid 17152 on vm");
        assert_eq!(holder(""), "it has not written down who it is");
        assert_eq!(holder("forged"), "its holder file says: forged");
    }

    #[test]
    fn times_and_sizes_are_short() {
        let secs = Duration::from_secs;
        let spans = [
            Duration::from_millis(250),
            secs(2),
            secs(75),
            secs(600),
            secs(9000),
            secs(300_000),
        ]
        .map(span);
        assert_eq!(
            spans,
            ["250 ms", "2.0 s", "75 s", "10 min", "2 h 30 min", "3 days"]
        );
        assert_eq!(
            [0, 1023, 1024, 10 << 20, 3 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "10 MiB", "3.0 GiB"]
        );
    }
}
