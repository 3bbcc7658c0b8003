//! What each note says.

mod process;

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

fn trouble(kind: Kind, extent: Extent) -> Note {
    Note::FileTrouble {
        path: path(),
        kind,
        why: why(),
        extent,
        again_in: TIME,
    }
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
}

#[test]
fn what_filing_did_not_come_to_is_said() {
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
fn a_note_that_no_function_knows_is_said_all_the_same() {
    assert_eq!(of_run(&Note::MountedOver), (Warn, "MountedOver".into()));
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
