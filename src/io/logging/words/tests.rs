//! What each note says.

use super::*;
use crate::flow::scan::filter::Ignored;

const TIME: Duration = Duration::from_secs(90);

const ONE: Extent = Extent {
    files: 1,
    since: TIME,
};
const MANY: Extent = Extent {
    files: 300,
    since: TIME,
};

fn path() -> Rel {
    Rel::new(b"in/a\nb.csv")
}

fn why() -> String {
    "no room".into()
}

fn place(area: Area) -> Place {
    Place::new(area, Rel::new(b"in/a\nb.1.csv"))
}

#[track_caller]
fn says(note: Note, level: Level, text: &str) {
    assert_eq!(line(&note), (level, text.to_string()), "{note:?}");
}

#[test]
fn what_becomes_of_a_file_is_said() {
    says(
        Note::Delivered {
            path: path(),
            size: 1536,
            status: 201,
            took: Duration::from_millis(7),
            attempts: 2,
        },
        Info,
        "delivered in/a%0Ab.csv (1.5 KiB, 7 ms, status 201, attempt 2)",
    );
    says(
        Note::Failing {
            path: path(),
            why: why(),
            attempts: 2,
            extent: ONE,
            again_in: TIME,
        },
        Warn,
        "not delivered: in/a%0Ab.csv: no room (attempt 2); again in 90 s",
    );
    says(
        Note::Condemned {
            path: path(),
            reason: why(),
            to: place(Area::DeadLetter),
        },
        Warn,
        r"dead letter: in/a%0Ab.csv: no room; see: dirpost dead-letter show $'in/a\nb.1.csv'",
    );
    says(
        Note::Changed { path: path() },
        Info,
        "changed after it had settled: in/a%0Ab.csv; it settles again",
    );
}

#[test]
fn why_a_file_waits_is_said() {
    says(
        Note::Restless {
            path: path(),
            since: TIME,
            files: 1,
        },
        Warn,
        "in/a%0Ab.csv has been changing for 90 s, and is sent when it has come to rest: a log file? \
         exclude it (watch.exclude)",
    );
    says(
        Note::Restless {
            path: path(),
            since: TIME,
            files: 3,
        },
        Warn,
        "3 files have been changing for over 10 min and are sent when they have come to rest, one of \
         them in/a%0Ab.csv, for 90 s: log files? exclude them (watch.exclude)",
    );
    says(
        Note::Changing { path: path() },
        Debug,
        "still changing: in/a%0Ab.csv",
    );
    says(
        Note::Suspicious { path: path() },
        Debug,
        "perhaps still written to: in/a%0Ab.csv: its ctime or its blocks move while size \
         and mtime stand still; it settles again, for five settle times in all at most",
    );
    says(
        Note::Partial { path: path() },
        Warn,
        "waiting: in/a%0Ab.csv has an mtime in the first second of 1970, which is how \
         rsync marks what it has not finished; it is sent when rsync has finished it (if it \
         is whole: touch it)",
    );
    says(
        Note::Timeless { path: path() },
        Info,
        "in/a%0Ab.csv shows an mtime of 0 for everything: it keeps no times, so that is \
         not taken for rsync's mark of an unfinished file there",
    );
    says(
        Note::Unfinished {
            path: path(),
            why: why(),
            again_in: TIME,
        },
        Info,
        "perhaps unfinished: in/a%0Ab.csv: no room; looked at again within 90 s",
    );
}

#[test]
fn what_filing_comes_to_is_said() {
    says(
        Note::Filed {
            path: path(),
            to: Some(place(Area::Done)),
        },
        Debug,
        "filed in/a%0Ab.csv as done/in/a%0Ab.1.csv",
    );
    says(
        Note::Filed {
            path: path(),
            to: None,
        },
        Debug,
        "filed in/a%0Ab.csv: it is no longer there",
    );
    says(
        Note::NewVersion {
            path: path(),
            displaced: None,
        },
        Info,
        "changed while the answer was awaited: in/a%0Ab.csv; the new version is back at its \
         place and settles",
    );
    says(
        Note::NewVersion {
            path: path(),
            displaced: Some(place(Area::DeadLetter)),
        },
        Warn,
        "changed while the answer was awaited, and its place is taken: in/a%0Ab.csv; the \
         version between was not sent: see: dirpost dead-letter show $'in/a\\nb.1.csv'",
    );
    let trouble = |kind, extent| Note::FileTrouble {
        path: path(),
        kind,
        why: why(),
        extent,
        again_in: TIME,
    };
    says(
        trouble(Kind::Done, ONE),
        Warn,
        "done: in/a%0Ab.csv is delivered, but cannot be filed away: no room; it is not sent again, \
         next try in 90 s",
    );
    says(
        trouble(Kind::Done, MANY),
        Warn,
        "done: for 90 s now: 300 files are delivered, but cannot be filed away, one of them \
         in/a%0Ab.csv: no room; none is sent again, each is tried again after its own pause",
    );
    says(
        trouble(Kind::DeadLetter, ONE),
        Warn,
        "dead-letter: in/a%0Ab.csv is rejected, but cannot be filed there: no room; it is not sent \
         again, next try in 90 s",
    );
    says(
        trouble(Kind::DeadLetter, MANY),
        Warn,
        "dead-letter: for 90 s now: 300 files are rejected, but cannot be filed there, one of them \
         in/a%0Ab.csv: no room; none is sent again, each is tried again after its own pause",
    );
    says(
        trouble(Kind::Read, ONE),
        Warn,
        "cannot read in/a%0Ab.csv: no room; it stays where it is, next try in 90 s",
    );
    says(
        trouble(Kind::Read, MANY),
        Warn,
        "cannot read 300 files, for 90 s now, one of them in/a%0Ab.csv: no room; they stay where \
         they are, each is tried again after its own pause",
    );
    let over = |kind| Note::FileTroubleOver { kind, extent: MANY };
    says(
        over(Kind::Done),
        Info,
        "done: nothing waits to be filed away any more, after 90 s (300 files)",
    );
    says(
        over(Kind::DeadLetter),
        Info,
        "dead-letter: nothing waits to be filed there any more, after 90 s (300 files)",
    );
    says(
        over(Kind::Read),
        Info,
        "no file is left that dirpost could not read, after 90 s (300 files)",
    );
}

#[test]
fn how_the_endpoint_fares_is_said() {
    says(
        Note::GateClosed {
            why: why(),
            waiting: 1,
            again_in: TIME,
        },
        Error,
        "endpoint: no room; 1 file waiting, nothing is lost, next try in 90 s",
    );
    says(
        Note::GateStillClosed {
            why: why(),
            waiting: 2,
            since: TIME,
            again_in: TIME,
        },
        Error,
        "endpoint: for 90 s now: no room; 2 files waiting, next try in 90 s",
    );
    says(
        Note::GateRemembered {
            why: why(),
            since: TIME,
            again_in: Duration::ZERO,
        },
        Warn,
        "endpoint: for 90 s now, as an earlier run found: no room; trying it now",
    );
    says(
        Note::GateOpened {
            since: TIME,
            waiting: 2,
        },
        Info,
        "endpoint: accepts again after 90 s; 2 files waiting",
    );
    says(
        Note::BrakeHolds {
            files: 10,
            by: "the endpoint",
            why: "422: bad".into(),
        },
        Error,
        "10 files in a row were rejected by the endpoint (422: bad): this looks like a \
         fault of the endpoint; beside these no more files go to dead-letter until it accepts one",
    );
    says(
        Note::BrakeReleased {
            by: "the endpoint",
            condemned: 10,
        },
        Warn,
        "the endpoint accepts again: 10 files went to dead-letter while it rejected \
         everything; send them again with `dirpost dead-letter retry --all`, or one by one",
    );
}

#[test]
fn how_the_share_fares_is_said() {
    says(
        Note::ShareAway { why: why() },
        Error,
        "folder: no room; waiting for it, nothing is forgotten",
    );
    says(
        Note::ShareStillAway {
            why: why(),
            since: TIME,
        },
        Error,
        "folder: for 90 s now: no room",
    );
    says(
        Note::ShareStillAway {
            why: why(),
            since: Duration::ZERO,
        },
        Error,
        "folder: for less than 1 s now: no room",
    );
    says(
        Note::ShareBack { since: TIME },
        Info,
        "folder: back after 90 s",
    );
    says(
        Note::MountedOver,
        Info,
        "a file system has been mounted on the folder: opening it again",
    );
    says(
        Note::FolderTrouble {
            path: Rel::root(),
            why: why(),
            extent: ONE,
        },
        Warn,
        "cannot list the watched folder: no room; what it holds is left as it was",
    );
    says(
        Note::FolderTroubleOver {
            path: path(),
            extent: ONE,
        },
        Info,
        "can list in/a%0Ab.csv again",
    );
    says(
        Note::NameTrouble {
            path: path(),
            why: why(),
            extent: ONE,
        },
        Warn,
        "cannot look at in/a%0Ab.csv: no room; it is left as it was, the others go on",
    );
    says(
        Note::ScanHangs { since: TIME },
        Error,
        "folder: a look at it has been hanging for 90 s; uploads under way go on",
    );
    says(
        Note::ScanBack { since: TIME },
        Info,
        "folder: the look that hung is back after 90 s",
    );
}

#[test]
fn what_puts_the_lock_in_doubt_is_said() {
    says(
        Note::LockLost { why: why() },
        Error,
        "lock: no room; nothing more is sent before it is ours again",
    );
    says(
        Note::Suspended { time: TIME },
        Info,
        "the machine was suspended for 90 s: looking whether the lock is still ours",
    );
    says(
        Note::ClockSet { by_ms: -90_000 },
        Info,
        "the clock was set back by 90 s: looking whether the lock is still ours",
    );
    says(
        Note::Starved { time: TIME },
        Warn,
        "this process did not get to run for 90 s: looking whether the lock is still ours",
    );
}

#[test]
fn how_the_journal_fares_is_said() {
    says(
        Note::JournalDown { why: why() },
        Error,
        "journal: no room; nothing is sent until it can be written again",
    );
    says(
        Note::JournalStillDown {
            why: why(),
            since: TIME,
        },
        Error,
        "journal: for 90 s now: no room; nothing is sent until it can be written again",
    );
    says(
        Note::JournalBack { since: TIME },
        Info,
        "journal: can be written again after 90 s",
    );
}

#[test]
fn how_a_run_begins_and_ends_is_said() {
    says(
        Note::FolderStays {
            path: Rel::new(b"a/b"),
            why: "it is in use".into(),
        },
        Warn,
        "a/b: the folder is empty, and cannot be removed: it is in use; it stays (see \
         delivered.remove_emptied)",
    );
    says(
        Note::Looked {
            files: 5,
            unfiled: 0,
            waiting: 1,
            at_rest: 2,
            ignored: Ignored::default(),
        },
        Info,
        "first look: 4 files to deliver, 1 file waiting for a marker or content, 2 files \
         delivered before",
    );
    let ignored = Ignored {
        temporary: 2,
        excluded: 1,
        ..Ignored::default()
    };
    says(
        Note::Looked {
            files: 0,
            unfiled: 0,
            waiting: 0,
            at_rest: 0,
            ignored,
        },
        Info,
        "first look: 0 files to deliver; 3 left alone (2 temporary names, 1 excluded)",
    );
    says(
        Note::LeftForNext {
            settling: 1,
            left: 0,
            delivered: 0,
            new: 0,
            is_known: false,
        },
        Info,
        "left for the next run: 1 file still settling",
    );
    says(
        Note::LeftForNext {
            settling: 2,
            left: 1,
            delivered: 0,
            new: 0,
            is_known: false,
        },
        Warn,
        "left for the next run: 1 file to be tried again, 2 files still settling",
    );
    says(
        Note::LeftForNext {
            settling: 1,
            left: 0,
            delivered: 0,
            new: 2,
            is_known: false,
        },
        Info,
        "left for the next run: 1 file still settling, 2 files that came meanwhile",
    );
    says(
        Note::Expired {
            files: 2,
            keep_for: Duration::from_secs(86_400),
        },
        Info,
        "removed from done: 2 files, filed more than 1day ago (delivered.keep_for)",
    );
    says(
        Note::ExpiryFails {
            why: "removing x: EACCES".into(),
        },
        Warn,
        "something in done is over its time (delivered.keep_for) and cannot be removed: removing x: \
         EACCES; tried again later",
    );
    says(
        Note::DeadlineOver { in_flight: 0 },
        Warn,
        "--deadline is over before all was delivered: stopping",
    );
    says(
        Note::DeadlineOver { in_flight: 2 },
        Warn,
        "--deadline is over before all was delivered: finishing 2 files first, up to 10 s",
    );
    says(Note::Stopping { in_flight: 0 }, Info, "stopping");
    says(
        Note::Stopping { in_flight: 1 },
        Info,
        "stopping: finishing 1 file first, up to 10 s; a second signal ends it at once",
    );
    says(
        Note::StoppedEarly { in_flight: 2 },
        Warn,
        "stopped with 2 files in flight: what the endpoint may have is sent again, under \
         the same key",
    );
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
