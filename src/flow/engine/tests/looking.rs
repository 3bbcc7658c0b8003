//! What scans are asked to look at.

use super::*;
use crate::flow::filing::Acceptance;
use crate::flow::scan::names_hash::{Named, NamesHash};
use crate::flow::scan::rounds::{Seen, Visit, Wanted};
use crate::flow::settle::StabilityMemory;

/// What the scan is to look at that begins with these effects.
fn wanted(effects: Vec<Effect>) -> Option<Wanted> {
    scan_order(effects).map(|order| order.wanted)
}

/// The scan under way ends, with its rounds given back, and the next one begins: what it is asked
/// for.
fn next_wanted(engine: &mut Engine, from: i64) -> Wanted {
    let rounds = Box::new(Rounds::new(Rewrites::Auto));
    engine.on(at(from), Input::Rounds(rounds));
    let mut effects = engine.on(at(from), Input::Scanned(Ok(())));
    let mut now = from;
    loop {
        if let Some(wanted) = wanted(effects) {
            return wanted;
        }
        now = engine.wake_at().expect("the next scan").0.max(now + 1);
        effects = engine.on(at(now), Input::Tick);
    }
}

fn must(wanted: &Wanted) -> Vec<String> {
    wanted.must.iter().map(ToString::to_string).collect()
}

fn listed_in(folder: &str, name: &str) -> Input {
    let Input::Listed(mut listed) = listed(&[(name, look_of_sent())]) else {
        unreachable!("it is a listing")
    };
    listed.path = Rel::new(folder.as_bytes());
    Input::Listed(listed)
}

#[test]
fn a_scan_that_is_asked_for_and_those_of_once_look_at_everything() {
    let mut engine = engine(|config| config.watch.interval = Duration::from_secs(5));
    let first = wanted(engine.on(at(0), Input::Tick)).unwrap();
    assert!(!first.everything, "what is not known is looked at anyway");
    assert!(!next_wanted(&mut engine, 1_000).everything);
    engine.on(at(6_000), Input::Command(Command::Scan));
    assert!(next_wanted(&mut engine, 7_000).everything);
    assert!(!next_wanted(&mut engine, 8_000).everything);

    let deadline = Mono(600_000);
    let ending = Ending::Once {
        deadline,
        no_wait: false,
    };
    let interval = Duration::from_secs(5);
    let policy = Policy {
        ending,
        interval,
        ..policy()
    };
    let mut once = Engine::new(policy, 1, at(0));
    assert!(wanted(once.on(at(0), Input::Tick)).unwrap().everything);
    once.on(at(1), listed_in("", "a"));
    assert!(next_wanted(&mut once, 1_000).everything);
}

/// What the journal says of files that were delivered and kept.
fn kept(paths: &[&str]) -> Handover {
    let mut journal = journal::Replay::default();
    for path in paths {
        let path = Rel::new(path.as_bytes());
        let skipped = journal::Event::Skipped { marker: None };
        add_events(&mut journal, &path, look_of_sent().stamp, [skipped]);
    }
    Handover {
        journal,
        ..Handover::default()
    }
}

/// The order of the first scan of a process that goes on from there.
fn first_order(policy: Policy, past: Handover) -> (Engine, ScanOrder) {
    let mut engine = Engine::new(policy, 1, at(0));
    let mut effects = engine.resume(past, at(0));
    effects.extend(engine.on(at(0), Input::Tick));
    let order = scan_order(effects).expect("the first scan begins at once");
    (engine, order)
}

/// What the first scan does with the folder at `path`, whatever its times are.
fn first_visit(order: &ScanOrder, path: &str) -> Visit {
    let plan = order
        .rounds
        .plan_of(&Rel::new(path.as_bytes()), &order.wanted, Mono(0));
    plan.map_or(Visit::All, |plan| plan.visit(None))
}

#[test]
fn a_start_reads_the_names_in_folders_of_kept_files_and_the_next_scan_looks_at_them_at_once() {
    let names = |names: &[(Named, &str)]| {
        let mut hash = NamesHash::default();
        for (kind, name) in names {
            hash.add(*kind, name.as_bytes());
        }
        hash
    };
    let (mut engine, mut order) = first_order(policy(), kept(&["a", "b", "sub/deep/c"]));
    let expected = [
        (
            "",
            names(&[
                (Named::File, "a"),
                (Named::File, "b"),
                (Named::Folder, "sub"),
            ]),
        ),
        ("sub", names(&[(Named::Folder, "deep")])),
        ("sub/deep", names(&[(Named::File, "c")])),
    ];
    for (path, names) in expected {
        let path = Rel::new(path.as_bytes());
        let plan = order
            .rounds
            .plan_of(&path, &order.wanted, Mono(0))
            .expect("it is in the journal");
        assert_eq!(plan.visit(None), Visit::Names, "{path}");
        assert!(plan.has_names(names), "{path}");
        let seen = Seen {
            times: None,
            began: Mono(1),
            read: Mono(1),
            names,
            fs: FsKind::Local,
            again: None,
        };
        order.rounds.listed(&path, &seen, None);
    }
    engine.on(at(2), Input::Rounds(order.rounds));
    let effects = engine.on(at(10), Input::Scanned(Ok(())));
    let looked = effects.iter().find_map(|effect| match effect {
        Effect::Note(Note::Looked { at_rest, files, .. }) => Some((*at_rest, *files)),
        _ => None,
    });
    assert_eq!(looked, Some((3, 0)));
    // Scans may take a quarter of the time, and this one took 10 ms: the interval is 1,000 s.
    assert_eq!(engine.wake_at(), Some(Mono(40)));
    let next = scan_order(engine.on(at(40), Input::Tick)).expect("it is due");
    for (path, _) in expected {
        assert_eq!(first_visit(&next, path), Visit::All, "{path}");
    }
}

#[test]
fn a_start_looks_at_all_of_a_folder_in_which_more_is_known_than_kept_files() {
    let more = |tell: &dyn Fn(&mut Handover)| {
        let mut past = kept(&["a", "sub/b", "other/c"]);
        tell(&mut past);
        let (_, order) = first_order(policy(), past);
        ["", "sub", "other"].map(|path| first_visit(&order, path))
    };
    let b = Rel::new(b"sub/b");
    let stamp = Stamp {
        size: 2,
        mtime: Wall(EPOCH + 2),
    };
    assert_eq!(more(&|_| {}), [Visit::Names; 3]);
    // A later version of one of them is in hand: nothing of it may be forgotten because it was not seen.
    let failed = more(&|past| {
        past.memory.files.push(memory::File {
            path: b.clone(),
            stamp,
            still: StabilityMemory {
                since: Mono(0),
                suspicions: Default::default(),
            },
            learned: memory::Learned {
                attempts: 3,
                ..memory::Learned::default()
            },
            at_gate: Default::default(),
        });
    });
    assert_eq!(failed, [Visit::Names, Visit::All, Visit::Names]);
    // A version of another file was accepted and is to be filed.
    let unfiled = more(&|past| {
        let accepted = journal::Event::accepted(
            &Acceptance {
                key: "key".into(),
                status: 200,
            },
            None,
            false,
        );
        add_events(&mut past.journal, &Rel::new(b"sub/d"), stamp, [accepted]);
    });
    assert_eq!(unfiled, [Visit::Names, Visit::All, Visit::Names]);
}

#[test]
fn a_start_looks_at_everything_where_markers_mean_something_or_somebody_asks_for_it() {
    let marked = Policy {
        marker: Some(MarkerRule::of_name(".done")),
        ..policy()
    };
    let (_, order) = first_order(marked, kept(&["a"]));
    assert_eq!(first_visit(&order, ""), Visit::All);
    let once = Policy {
        ending: Ending::Once {
            deadline: Mono(600_000),
            no_wait: false,
        },
        ..policy()
    };
    let (_, order) = first_order(once, kept(&["a"]));
    assert_eq!(first_visit(&order, ""), Visit::All);
}

#[test]
fn rounds_that_do_not_come_back_are_no_reason_to_pass_anything_over() {
    let mut engine = engine(|config| config.watch.interval = Duration::from_secs(5));
    engine.on(at(0), Input::Tick);
    engine.on(at(1), Input::Scanned(Ok(())));
    let effects = engine.on(at(6_000), Input::Tick);
    assert!(wanted(effects).unwrap().everything);
}

#[test]
fn folders_are_looked_at_in_which_a_file_settles_and_not_those_in_which_one_waits_for_the_endpoint()
{
    let mut engine = engine(|config| {
        config.watch.interval = Duration::from_secs(5);
        config.ready.settle = Settle::For(Duration::from_secs(8));
        config.send.workers = 1;
    });
    engine.on(at(0), Input::Tick);
    engine.on(at(1), listed_in("one", "a"));
    engine.on(at(2), listed_in("two", "b"));
    assert_eq!(must(&next_wanted(&mut engine, 3)), ["one", "two"]);
    assert_eq!(must(&next_wanted(&mut engine, 5_500)), [""; 0]);
    let counts = [At::Sending, At::Ready].map(|at| engine.files.count(at));
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_folder_in_which_a_name_was_let_go_of_is_looked_at_by_the_next_scan_and_that_once() {
    let mut engine = engine(|config| {
        config.watch.interval = Duration::from_secs(5);
    });
    engine.on(at(0), Input::Tick);
    let effects = engine.on(at(1), listed_in("sub", "a"));
    let job = deliveries(effects).pop().unwrap();
    // It goes while a scan is under way that may have listed its folder before.
    engine.on(
        at(2),
        Input::Delivered(job.file, Delivered::Missing(Miss::Gone)),
    );
    assert_eq!(must(&next_wanted(&mut engine, 3)), ["sub"]);
    engine.on(at(5_100), emptied("sub"));
    assert_eq!(must(&next_wanted(&mut engine, 5_500)), [""; 0]);
}

/// The listing of a folder in which nothing is.
fn emptied(folder: &str) -> Input {
    Input::Listed(ListedFolder {
        path: Rel::new(folder.as_bytes()),
        content: Ok(Content::default()),
    })
}
