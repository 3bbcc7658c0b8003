//! What is said of the share, the lock, the journal and a run.

use super::*;

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
}

#[test]
fn what_a_run_has_left_or_cleaned_up_is_said() {
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
}

#[test]
fn how_a_run_ends_is_said() {
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
fn the_holder_of_the_lock_is_named_by_process_and_host() {
    assert_eq!(holder("b40e vm 17152"), "pid 17152 on vm");
    assert_eq!(holder(""), "it has not written down who it is");
    assert_eq!(holder("forged"), "its holder file says: forged");
}
