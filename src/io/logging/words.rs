//! Puts the engine's notes into words: the log that somebody reads at night.

use std::fmt::Write as _;
use std::time::Duration;

use log::Level;

use crate::flow::events::Note;

/// Writes one line.
pub fn write(note: &Note) {
    let (level, text) = line(note);
    log::log!(target: "dirpost", level, "{text}");
}

/// The level and the sentence of a note.
fn line(note: &Note) -> (Level, String) {
    use Level::{Debug, Error, Info, Warn};
    match note {
        Note::Delivered {
            path,
            size,
            status,
            took,
            attempts,
        } => {
            let mut text = format!(
                "delivered {path} ({}, {}, status {status}",
                bytes(*size),
                span(*took)
            );
            if *attempts > 1 {
                let _ = write!(text, ", attempt {attempts}");
            }
            (Info, text + ")")
        }
        Note::Filed { path, to: Some(to) } => (Debug, format!("filed {path} as {to}")),
        Note::Filed { path, to: None } => (Debug, format!("filed {path}: it is no longer there")),
        Note::Condemned { path, reason, to } => (
            Warn,
            format!("dead letter: {path}: {reason}; it lies in {to}"),
        ),
        Note::Failing {
            path,
            why,
            attempts,
            again_in,
        } => (
            Warn,
            format!(
                "not delivered: {path}: {why} (attempt {attempts}); again in {}",
                span(*again_in)
            ),
        ),
        Note::Changed { path } => (
            Info,
            format!("changed after it had settled: {path}; it settles again"),
        ),
        Note::Suspicious { path } => (
            Debug,
            format!(
                "perhaps still written to: {path}: its ctime or its blocks move while size and mtime stand still; \
                 it settles again, for five settle times in all at most"
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
        } => (
            Info,
            format!(
                "perhaps unfinished: {path}: {why}; looked at again within {}",
                span(*again_in)
            ),
        ),
        Note::NewVersion {
            path,
            displaced: None,
        } => (
            Info,
            format!(
                "changed while the answer was awaited: {path}; the new version is back at its place and settles"
            ),
        ),
        Note::NewVersion {
            path,
            displaced: Some(to),
        } => (
            Warn,
            format!(
                "changed while the answer was awaited, and its place is taken: {path}; the version between lies in {to}"
            ),
        ),
        Note::FileTrouble {
            path,
            doing,
            why,
            again_in,
        } => (
            Warn,
            format!(
                "cannot {doing} {path}: {why}; it stays where it is, again in {}",
                span(*again_in)
            ),
        ),
        Note::FileTroubleOver { path } => (Info, format!("trouble over: {path}")),
        Note::GateClosed {
            why,
            waiting,
            again_in,
        } => (
            Error,
            format!(
                "endpoint: {why}; {} waiting, nothing is lost, next try in {}",
                files(*waiting),
                span(*again_in)
            ),
        ),
        Note::GateStillClosed {
            why,
            waiting,
            since,
        } => (
            Error,
            format!(
                "endpoint: for {} now: {why}; {} waiting",
                span(*since),
                files(*waiting)
            ),
        ),
        Note::GateRemembered {
            why,
            since,
            again_in,
        } => {
            let next = match again_in {
                &Duration::ZERO => "trying it now".into(),
                wait => format!("next try in {}", span(*wait)),
            };
            (
                Warn,
                format!(
                    "endpoint: for {} now, as an earlier run found: {why}; {next}",
                    span(*since)
                ),
            )
        }
        Note::GateOpened { since, waiting } => (
            Info,
            format!(
                "endpoint: accepts again after {}; {} waiting",
                span(*since),
                files(*waiting)
            ),
        ),
        Note::BrakeHolds { files, by, why } => (
            Error,
            format!(
                "{files} files in a row were rejected by {by} ({why}): it is the suspect, nothing more is condemned until it accepts one"
            ),
        ),
        Note::BrakeReleased { by, condemned } => (
            Warn,
            format!(
                "{by} accepts again: {} went to dead-letter while it rejected everything; send them again with \
                 `dirpost dead-letter retry --all`, or one by one",
                files(*condemned)
            ),
        ),
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
            "the share has been mounted on the folder: opening it anew".into(),
        ),
        Note::LockLost { why } => (
            Error,
            format!("lock: {why}; nothing more is sent before it is ours again"),
        ),
        Note::Suspended { time } => (
            Info,
            format!(
                "the machine was suspended for {}: looking whether the lock is still ours",
                span(*time)
            ),
        ),
        Note::ClockSet { by_ms } => {
            let by = span(Duration::from_millis(by_ms.unsigned_abs()));
            let where_to = if *by_ms < 0 { "back" } else { "forward" };
            (
                Info,
                format!(
                    "the clock was set {where_to} by {by}: looking whether the lock is still ours"
                ),
            )
        }
        Note::Starved { time } => (
            Warn,
            format!(
                "this process did not get to run for {}: looking whether the lock is still ours",
                span(*time)
            ),
        ),
        Note::FolderTrouble { path, why } => (
            Warn,
            format!(
                "cannot list {}: {why}; what it holds is left as it was",
                folder(path)
            ),
        ),
        Note::NameTrouble { path, why } => (
            Warn,
            format!("cannot look at {path}: {why}; it is left as it was, the others go on"),
        ),
        Note::FolderTroubleOver { path } => (Info, format!("can list {} again", folder(path))),
        Note::ScanHangs { since } => (
            Error,
            format!(
                "share: a look at it has been hanging for {}; uploads under way go on",
                span(*since)
            ),
        ),
        Note::ScanBack { since } => (
            Info,
            format!("share: the look that hung is back after {}", span(*since)),
        ),
        Note::Looked {
            files: all,
            waiting,
            at_rest,
        } => {
            let mut text = format!("first look: {} to deliver", files(all - waiting));
            if *waiting > 0 {
                let _ = write!(
                    text,
                    ", {} waiting for a marker or content",
                    files(*waiting)
                );
            }
            if *at_rest > 0 {
                let _ = write!(text, ", {} delivered before", files(*at_rest));
            }
            (Info, text)
        }
        Note::JournalDown { why } => (
            Error,
            format!("journal: {why}; nothing is sent until it can be written again"),
        ),
        Note::JournalStillDown { why, since } => (
            Error,
            format!(
                "journal: for {} now: {why}; nothing is sent until it can be written again",
                span(*since)
            ),
        ),
        Note::JournalBack { since } => (
            Info,
            format!("journal: can be written again after {}", span(*since)),
        ),
        Note::LeftForNext { settling, left: 0 } => (
            Info,
            format!(
                "left for the next run: {} not still for long enough yet",
                files(*settling)
            ),
        ),
        Note::LeftForNext { settling: 0, left } => (
            Warn,
            format!("left for the next run: {} to be tried again", files(*left)),
        ),
        Note::LeftForNext { settling, left } => (
            Warn,
            format!(
                "left for the next run: {} to be tried again, {} not still for long enough yet",
                files(*left),
                files(*settling)
            ),
        ),
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
                "stopped with {} in flight: what the endpoint may have is sent again, under the same key",
                files(*in_flight)
            ),
        ),
    }
}

fn folder(path: &crate::flow::file::Rel) -> String {
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
    use crate::flow::file::Rel;

    #[test]
    fn a_delivery_is_one_line_with_path_size_time_and_status() {
        let note = Note::Delivered {
            path: Rel::new(b"in/a\nb.csv"),
            size: 1536,
            status: 201,
            took: Duration::from_millis(7),
            attempts: 1,
        };
        assert_eq!(
            line(&note),
            (
                Level::Info,
                "delivered in/a%0Ab.csv (1.5 KiB, 7 ms, status 201)".into()
            )
        );
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
