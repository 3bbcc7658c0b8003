//! Operations that a share carries out and answers with an error all the same, as NFS and SMB do when
//! an answer is lost on the way: nothing is lost, and nothing sent twice. Needs root and /dev/fuse on
//! Linux, and says so where they are missing.
#![cfg(target_os = "linux")]

mod put_back;
mod run;
mod world;

use std::time::Duration;

use fuser::Errno;

use self::run::run_all;
use self::world::{Case, Process, Target, Way, case};
use crate::util::fuse::{Hang, Inodes, Of, Operation};

/// An answer that was lost on the way (EIO and ETIMEDOUT on a soft mount, ESTALE after a restart of
/// the server), and a server that was asked twice and did it the first time (ENOENT, EEXIST).
const ERRORS: [Errno; 5] = [
    Errno::EIO,
    Errno::ENOENT,
    Errno::ETIMEDOUT,
    Errno::ESTALE,
    Errno::EEXIST,
];

/// Once, a few times, for as long as the fault lasts.
const TIMES: [usize; 3] = [1, 3, usize::MAX];

/// The same with each error, each of them as often as comes round next.
fn with_each_error(cases: impl IntoIterator<Item = Case>) -> Vec<Case> {
    let each = cases
        .into_iter()
        .flat_map(|case| ERRORS.map(|errno| Case { errno, ..case }));
    let each = each.enumerate().map(|(number, case)| Case {
        times: TIMES[number % TIMES.len()],
        ..case
    });
    each.collect()
}

// ---- on one file system -------------------------------------------------------------

#[test]
fn an_unlink_that_was_done_and_answers_with_an_error_loses_nothing_and_sends_nothing_twice() {
    let unlink = case(Operation::Unlink, Errno::EIO);
    let delete = Case {
        action: "delete",
        ..unlink
    };
    run_all(with_each_error([
        Case {
            way: Way::Link,
            ..unlink
        },
        Case {
            way: Way::Link,
            ..delete
        },
        delete,
    ]));
}

#[test]
fn a_rename_that_was_done_and_answers_with_an_error_loses_nothing_and_sends_nothing_twice() {
    let rename = case(Operation::Rename, Errno::EIO);
    let delete = Case {
        action: "delete",
        ..rename
    };
    run_all(with_each_error([rename, delete]));
}

#[test]
fn a_rename_over_a_reserved_name_that_was_done_and_answers_with_an_error_loses_nothing() {
    let rename = case(Operation::Rename, Errno::EIO);
    run_all(with_each_error([
        Case {
            way: Way::Reserve(Errno::EPERM),
            ..rename
        },
        Case {
            way: Way::Reserve(Errno::ENOTSUP),
            action: "delete",
            ..rename
        },
    ]));
}

#[test]
fn a_link_that_was_done_and_answers_with_an_error_loses_nothing_and_sends_nothing_twice() {
    let link = Case {
        way: Way::Link,
        ..case(Operation::Link, Errno::EIO)
    };
    run_all(with_each_error([
        link,
        Case {
            action: "delete",
            ..link
        },
    ]));
}

#[test]
fn what_is_kept_and_what_is_condemned_beside_it_outlive_answers_that_are_lost() {
    let keep = |operation, way| Case {
        way,
        action: "keep",
        ..case(operation, Errno::EIO)
    };
    run_all(with_each_error([
        keep(Operation::Unlink, Way::Link),
        keep(Operation::Link, Way::Link),
        keep(Operation::Rename, Way::Rename),
        keep(Operation::Rename, Way::Reserve(Errno::EPERM)),
    ]));
}

#[test]
fn markers_go_where_their_files_go_though_answers_are_lost() {
    let marked = |operation, way, action| Case {
        way,
        action,
        markers: true,
        ..case(operation, Errno::EIO)
    };
    run_all(with_each_error([
        marked(Operation::Unlink, Way::Link, "move"),
        marked(Operation::Unlink, Way::Rename, "delete"),
        marked(Operation::Link, Way::Link, "move"),
        marked(Operation::Rename, Way::Rename, "move"),
        marked(Operation::Rename, Way::Reserve(Errno::EPERM), "move"),
    ]));
}

#[test]
fn a_journal_whose_writes_and_syncs_answer_with_errors_stops_everything_and_repeats_nothing() {
    let fault = |operation, action| Case {
        action,
        of: Of::Everything,
        ..case(operation, Errno::EIO)
    };
    run_all(with_each_error([
        fault(Operation::Write, "move"),
        fault(Operation::Fsync, "move"),
        fault(Operation::FsyncDir, "delete"),
    ]));
}

#[test]
fn a_folder_or_a_file_that_was_made_though_the_answer_was_an_error_is_in_nobodys_way() {
    let fault = |operation, way| Case {
        way,
        of: Of::Everything,
        ..case(operation, Errno::EIO)
    };
    run_all(with_each_error([
        fault(Operation::Mkdir, Way::Rename),
        fault(Operation::Create, Way::Rename),
        fault(Operation::Create, Way::Reserve(Errno::EPERM)),
        fault(Operation::Setattr, Way::Rename),
    ]));
}

#[test]
fn a_share_on_which_every_answer_to_an_operation_is_lost_is_waited_for_and_repeats_nothing() {
    let lost = |operation, way| Case {
        way,
        times: usize::MAX,
        of: Of::Everything,
        ..case(operation, Errno::EIO)
    };
    run_all(vec![
        lost(Operation::Unlink, Way::Link),
        lost(Operation::Link, Way::Link),
        lost(Operation::Rename, Way::Rename),
        lost(Operation::Rename, Way::Reserve(Errno::ENOTSUP)),
    ]);
}

// ---- to another file system ---------------------------------------------------------

#[test]
fn on_the_way_to_another_file_system_a_lost_answer_of_the_share_loses_nothing() {
    let across = |operation, way, markers| Case {
        way,
        markers,
        target: Target::Disk,
        ..case(operation, Errno::EIO)
    };
    run_all(with_each_error([
        across(Operation::Unlink, Way::Rename, false),
        across(Operation::Unlink, Way::Link, false),
        across(Operation::Link, Way::Link, false),
        across(Operation::Rename, Way::Rename, false),
        across(Operation::Rename, Way::Reserve(Errno::EPERM), false),
    ]));
}

#[test]
fn a_target_whose_answers_are_lost_gets_every_file_once_and_keeps_no_draft() {
    let across = |operation, way| Case {
        way,
        target: Target::Share,
        ..case(operation, Errno::EIO)
    };
    run_all(with_each_error([
        across(Operation::Create, Way::Rename),
        across(Operation::Write, Way::Rename),
        across(Operation::Setattr, Way::Rename),
        across(Operation::Fsync, Way::Rename),
        across(Operation::FsyncDir, Way::Rename),
        across(Operation::Mkdir, Way::Rename),
        across(Operation::Rename, Way::Rename),
        across(Operation::Rename, Way::Reserve(Errno::EPERM)),
        across(Operation::Link, Way::Link),
        across(Operation::Unlink, Way::Link),
    ]));
}

// ---- shares that show less than a disk does -----------------------------------------

/// Every way in which a file leaves its place, with no fault at all but what the traits are.
fn on_a_share_that_shows_less(traits: impl Fn(Case) -> Case) {
    let quiet = Case {
        times: 0,
        ..case(Operation::Unlink, Errno::EIO)
    };
    let ways = [Way::Rename, Way::Link, Way::Reserve(Errno::EPERM)];
    let mut cases: Vec<Case> = ways.map(|way| traits(Case { way, ..quiet })).to_vec();
    for action in ["delete", "keep"] {
        cases.push(traits(Case { action, ..quiet }));
    }
    for target in [Target::Disk, Target::Share] {
        cases.push(traits(Case { target, ..quiet }));
    }
    cases.push(traits(Case {
        markers: true,
        ..quiet
    }));
    for (operation, way) in [
        (Operation::Unlink, Way::Link),
        (Operation::Link, Way::Link),
        (Operation::Rename, Way::Rename),
        (Operation::Rename, Way::Reserve(Errno::EPERM)),
    ] {
        cases.push(traits(Case {
            times: 3,
            way,
            ..case(operation, Errno::EIO)
        }));
    }
    run_all(cases);
}

#[test]
fn where_a_rename_gives_a_file_another_inode_number_it_is_sent_once_and_filed() {
    on_a_share_that_shows_less(|case| Case {
        inodes: Inodes::OfNames,
        ..case
    });
}

#[test]
fn where_every_look_shows_another_inode_number_a_file_is_sent_once_and_filed() {
    on_a_share_that_shows_less(|case| Case {
        inodes: Inodes::OfLookups,
        ..case
    });
}

#[test]
fn where_times_are_kept_to_two_seconds_a_file_is_sent_once_and_filed() {
    on_a_share_that_shows_less(|case| Case {
        granularity: Duration::from_secs(2),
        ..case
    });
}

#[test]
fn where_a_look_may_be_seconds_old_a_file_is_sent_once_and_filed() {
    on_a_share_that_shows_less(|case| Case {
        stale: Duration::from_secs(3),
        ..case
    });
}

// ---- kills, and one run after the other ---------------------------------------------

/// The operations that file, by every way.
fn filing() -> Vec<Case> {
    let mut cases = Vec::new();
    for (operation, way) in [
        (Operation::Unlink, Way::Link),
        (Operation::Link, Way::Link),
        (Operation::Rename, Way::Rename),
        (Operation::Rename, Way::Reserve(Errno::EPERM)),
    ] {
        for (errno, action) in [(Errno::EIO, "move"), (Errno::ENOENT, "delete")] {
            cases.push(Case {
                way,
                action,
                times: usize::MAX,
                ..case(operation, errno)
            });
        }
        cases.push(Case {
            way,
            target: Target::Disk,
            times: usize::MAX,
            ..case(operation, Errno::ETIMEDOUT)
        });
    }
    cases
}

#[test]
fn a_kill_while_answers_are_lost_loses_nothing_and_sends_nothing_again() {
    let killed = filing().into_iter().map(|case| Case {
        process: Process::Killed(3),
        ..case
    });
    run_all(killed.collect());
}

/// Every operation that filing is made of, before and after it is carried out.
fn moments(operations: &[Operation]) -> Vec<Hang> {
    let both = operations.iter().flat_map(|&operation| {
        let turns = 0..3;
        turns.flat_map(move |turn| [Hang::Before(operation, turn), Hang::After(operation, turn)])
    });
    both.collect()
}

#[test]
fn a_kill_between_any_two_operations_of_filing_leaves_nothing_half_done() {
    use Operation::{Create, Fsync, FsyncDir, Link, Mkdir, Rename, Setattr, Unlink, Write};
    let reserve = Way::Reserve(Errno::EPERM);
    let stops: [(Way, Target, &'static str, &[Operation]); 8] = [
        (
            Way::Rename,
            Target::Beside,
            "move",
            &[Rename, Create, Mkdir],
        ),
        (Way::Link, Target::Beside, "move", &[Link, Unlink]),
        (reserve, Target::Beside, "move", &[Create, Rename]),
        (Way::Rename, Target::Beside, "delete", &[Rename, Unlink]),
        (reserve, Target::Beside, "delete", &[Create, Rename]),
        (Way::Link, Target::Disk, "move", &[Link, Unlink]),
        (
            Way::Rename,
            Target::Share,
            "move",
            &[Create, Write, Setattr, Fsync, FsyncDir, Rename],
        ),
        (reserve, Target::Share, "move", &[Create, Rename]),
    ];
    let mut cases = Vec::new();
    for (way, target, action, operations) in stops {
        for hang in moments(operations) {
            for only in ["sub/b.csv", "sub/bad.csv"] {
                cases.push(Case {
                    way,
                    target,
                    action,
                    only: Some(only),
                    process: Process::KilledAt(hang),
                    ..case(Operation::Rename, Errno::EIO)
                });
            }
        }
    }
    run_all(cases);
}

#[test]
fn one_run_after_the_other_files_everything_though_answers_are_lost() {
    let runs = filing().into_iter().enumerate().map(|(number, case)| Case {
        process: Process::Once,
        times: TIMES[number % TIMES.len()],
        ..case
    });
    run_all(runs.collect());
}
