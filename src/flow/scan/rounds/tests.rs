use super::*;

mod histories;

const SECOND: i64 = 1_000;
const AUTO: Rewrites = Rewrites::Auto;
/// Enough for "auto" not to look at everything each time.
const COSTLY: Duration = Duration::from_millis(30);

fn rel(path: &str) -> Rel {
    Rel::new(path.as_bytes())
}

fn times(mtime: i64, ctime: i64) -> Option<Times> {
    Some(Times {
        mtime: Wall(mtime),
        ctime: Wall(ctime),
        dev: 1,
        ino: 1,
    })
}

/// What a name in dirpost's own folder shows.
fn prove(rounds: &mut Rounds, fs: FsKind, moves: bool, has_ctime: bool) {
    rounds.proof(Proof {
        dev: 1,
        fs,
        moves,
        has_ctime,
        at: Mono(0),
    });
}

/// Rounds over the root alone, on a local file system that has proven to move times.
fn trusted() -> Rounds {
    let mut rounds = Rounds::new(AUTO);
    prove(&mut rounds, FsKind::Local, true, false);
    rounds
}

fn plan(rounds: &Rounds, path: &str, now: i64) -> Plan {
    let wanted = Wanted::default();
    rounds
        .plan_of(&rel(path), &wanted, Mono(now))
        .expect("it is known")
}

fn seen(times: Option<Times>, names: u64, now: i64) -> Seen {
    Seen {
        times,
        began: Mono(now),
        read: Mono(now),
        names: NamesHash(names),
        fs: FsKind::Local,
        again: times,
    }
}

fn looked(folders: &[Vec<u8>]) -> Looked<'_> {
    Looked {
        folders,
        whole: true,
        has_ctime: false,
        cost: COSTLY,
    }
}

/// What a scan does with the root, which shows these times and names.
fn visit(rounds: &mut Rounds, times: Option<Times>, names: u64, now: i64) -> Visit {
    let root = Rel::root();
    let plan = plan(rounds, "", now);
    let visit = plan.visit(times);
    let seen = seen(times, names, now);
    match visit {
        Visit::Over => Visit::Over,
        Visit::Names if plan.has_names(NamesHash(names)) => {
            rounds.listed(&root, &seen, None);
            Visit::Names
        }
        Visit::Names | Visit::All => {
            rounds.listed(&root, &seen, Some(&looked(&[])));
            Visit::All
        }
    }
}

#[test]
fn a_folder_is_passed_over_once_two_listings_three_seconds_apart_have_shown_its_times() {
    let mut rounds = trusted();
    let times = times(5, 5);
    let visits = [0, 1, 2, 3, 4].map(|at| visit(&mut rounds, times, 1, at * SECOND));
    assert_eq!(
        visits,
        [Visit::All, Visit::All, Visit::All, Visit::All, Visit::Over]
    );
}

#[test]
fn a_folder_whose_times_moved_is_looked_at_whole_though_its_names_are_what_they_were() {
    let mut rounds = trusted();
    for at in [0, 5] {
        visit(&mut rounds, times(5, 5), 1, at * SECOND);
    }
    assert_eq!(visit(&mut rounds, times(5, 5), 1, 6 * SECOND), Visit::Over);
    // What `rsync -a` does: the mtime is put back, the ctime is not.
    assert_eq!(visit(&mut rounds, times(5, 6), 1, 7 * SECOND), Visit::All);
    assert_eq!(
        visit(&mut rounds, times(5, 6), 1, 8 * SECOND),
        Visit::All,
        "the times have to prove themselves again"
    );
}

#[test]
fn where_no_folder_was_seen_to_move_or_there_is_no_ctime_names_are_read_each_time() {
    for (kind, moves, has_ctime) in [
        (FsKind::Local, false, true),
        (FsKind::LocalNoCtime, true, true),
        (FsKind::Share, true, false),
    ] {
        let mut rounds = Rounds::new(AUTO);
        for at in 0..20 {
            prove(&mut rounds, kind, moves, has_ctime);
            // The mtime stands in for the ctime.
            let seen = Seen {
                fs: kind,
                ..seen(times(5, 5), 1, at * 5 * SECOND)
            };
            let plan = plan(&rounds, "", at * 5 * SECOND);
            let expected = if at == 0 { Visit::All } else { Visit::Names };
            assert_eq!(plan.visit(seen.times), expected, "{kind:?}");
            let looked = looked(&[]);
            rounds.listed(&Rel::root(), &seen, (at == 0).then_some(&looked));
        }
    }
}

#[test]
fn a_folder_whose_names_changed_proves_that_its_file_system_moves_times() {
    let mut rounds = Rounds::new(AUTO);
    visit(&mut rounds, times(5, 5), 1, 0);
    visit(&mut rounds, times(6, 6), 2, 5 * SECOND);
    visit(&mut rounds, times(6, 6), 2, 10 * SECOND);
    assert_eq!(visit(&mut rounds, times(6, 6), 2, 15 * SECOND), Visit::Over);
    // One whose mtime alone moved has shown nothing of its ctime.
    let mut rounds = Rounds::new(AUTO);
    visit(&mut rounds, times(5, 3), 1, 0);
    visit(&mut rounds, times(6, 3), 2, 5 * SECOND);
    visit(&mut rounds, times(6, 3), 2, 10 * SECOND);
    assert_eq!(
        visit(&mut rounds, times(6, 3), 2, 15 * SECOND),
        Visit::Names
    );
}

#[test]
fn a_file_system_that_is_caught_not_to_move_times_is_never_trusted_again() {
    let mut rounds = trusted();
    for at in [0, 5] {
        visit(&mut rounds, times(5, 5), 1, at * SECOND);
    }
    let turn = 5 + 120;
    assert_eq!(
        visit(&mut rounds, times(5, 5), 2, turn * SECOND),
        Visit::All
    );
    for at in 1..100 {
        let now = (turn + 5 * at) * SECOND;
        assert_ne!(visit(&mut rounds, times(5, 5), 2, now), Visit::Over);
        prove(&mut rounds, FsKind::Local, true, true);
    }
}

#[test]
fn a_name_that_came_while_the_folder_was_listed_is_no_lie() {
    let mut rounds = trusted();
    for at in [0, 5] {
        visit(&mut rounds, times(5, 5), 1, at * SECOND);
    }
    let now = 125 * SECOND;
    assert!(plan(&rounds, "", now).is_suspect(times(5, 5), NamesHash(2)));
    let meanwhile = Seen {
        again: times(7, 7),
        ..seen(times(5, 5), 2, now)
    };
    rounds.listed(&Rel::root(), &meanwhile, Some(&looked(&[])));
    for at in [130, 135, 140] {
        visit(&mut rounds, times(7, 7), 2, at * SECOND);
    }
    assert_eq!(
        visit(&mut rounds, times(7, 7), 2, 141 * SECOND),
        Visit::Over
    );
}

#[test]
fn a_look_that_hung_proves_nothing() {
    let mut rounds = trusted();
    // The call for the times was begun at 0, and answered at 20 s.
    let late = Seen {
        read: Mono(20 * SECOND),
        ..seen(times(5, 5), 1, 0)
    };
    rounds.listed(&Rel::root(), &late, Some(&looked(&[])));
    visit(&mut rounds, times(5, 5), 1, 21 * SECOND);
    assert_eq!(visit(&mut rounds, times(5, 5), 1, 22 * SECOND), Visit::All);
}

#[test]
fn what_must_be_looked_at_or_could_not_be_is_looked_at_whatever_its_times_say() {
    let mut rounds = trusted();
    let root = Rel::root();
    for at in [0, 5] {
        visit(&mut rounds, times(5, 5), 1, at * SECOND);
    }
    let plan_for = |rounds: &Rounds, wanted: &Wanted| {
        let plan = rounds.plan_of(&root, wanted, Mono(6 * SECOND)).unwrap();
        plan.visit(times(5, 5))
    };
    let must = Wanted {
        must: BTreeSet::from([root.clone()]),
        everything: false,
    };
    let everything = Wanted {
        must: BTreeSet::new(),
        everything: true,
    };
    assert_eq!(plan_for(&rounds, &Wanted::default()), Visit::Over);
    assert_eq!(plan_for(&rounds, &must), Visit::All);
    assert_eq!(plan_for(&rounds, &everything), Visit::All);
    rounds.failed(&root);
    assert_eq!(plan_for(&rounds, &Wanted::default()), Visit::All);
    let partly = Looked {
        whole: false,
        ..looked(&[])
    };
    rounds.listed(&root, &seen(times(5, 5), 1, 10 * SECOND), Some(&partly));
    assert_eq!(plan_for(&rounds, &Wanted::default()), Visit::All);
}

#[test]
fn auto_looks_at_everything_as_long_as_that_is_cheap_and_a_duration_fixes_it() {
    for (rewrites, cost, expected) in [
        (AUTO, 24_999, Visit::All),
        (AUTO, 25_000, Visit::Over),
        (Rewrites::Every(Duration::ZERO), 90_000, Visit::All),
        (Rewrites::Every(STAMPS_EVERY), 1, Visit::Over),
    ] {
        let mut rounds = Rounds::new(rewrites);
        prove(&mut rounds, FsKind::Local, true, false);
        for at in [0, 5] {
            let cheap = Looked {
                cost: Duration::from_micros(cost),
                ..looked(&[])
            };
            let seen = seen(times(5, 5), 1, at * SECOND);
            rounds.listed(&Rel::root(), &seen, Some(&cheap));
        }
        let plan = plan(&rounds, "", 6 * SECOND);
        assert_eq!(plan.visit(times(5, 5)), expected, "{rewrites:?}, {cost} µs");
    }
}

#[test]
fn names_come_round_every_two_minutes_and_stamps_every_ten_a_few_folders_at_a_time() {
    const FOLDERS: usize = 600;
    let mut rounds = trusted();
    let names: Vec<Vec<u8>> = (0..FOLDERS)
        .map(|number| format!("{number:03}").into_bytes())
        .collect();
    let root = seen(times(5, 5), 1, 0);
    rounds.listed(&Rel::root(), &root, Some(&looked(&names)));
    let mut last: BTreeMap<Rel, (i64, i64)> = BTreeMap::new();
    let wanted = Wanted::default();
    let (mut most_names, mut most_stamps) = (0, 0);
    for now in (0..3_600 * SECOND).step_by(5_000) {
        let due: Vec<(Rel, Visit)> = rounds
            .after(None)
            .map(|(path, folder)| {
                let plan = rounds.plan(path, folder, &wanted, Mono(now));
                (path.clone(), plan.visit(times(5, 5)))
            })
            .collect();
        let count = |visit| due.iter().filter(|(_, other)| *other == visit).count();
        // The first minute goes into the proof.
        if now >= 60 * SECOND {
            most_names = most_names.max(count(Visit::Names));
            most_stamps = most_stamps.max(count(Visit::All));
        }
        for (path, visit) in due {
            let (listed, stamps) = last.entry(path.clone()).or_insert((now, now));
            assert!(now - *listed <= 125 * SECOND, "{path}: names after {now}");
            assert!(now - *stamps <= 605 * SECOND, "{path}: stamps after {now}");
            let seen = seen(times(5, 5), 1, now);
            match visit {
                Visit::Over => continue,
                Visit::Names => rounds.listed(&path, &seen, None),
                Visit::All => {
                    rounds.listed(&path, &seen, Some(&looked(&[])));
                    *stamps = now;
                }
            }
            *listed = now;
        }
    }
    // On the average 25 and 5.
    assert!((1..=60).contains(&most_names), "{most_names} at once");
    assert!((1..=20).contains(&most_stamps), "{most_stamps} at once");
}

#[test]
fn folders_that_are_gone_are_forgotten_with_all_below_them_and_new_ones_are_visited() {
    let mut rounds = trusted();
    let walk = |rounds: &Rounds| -> Vec<String> {
        let folders = rounds.after(None);
        folders.map(|(path, _)| path.to_string()).collect()
    };
    let list = |rounds: &mut Rounds, path: &str, names: u64, folders: &[&str]| {
        let folders: Vec<Vec<u8>> = folders.iter().map(|name| name.as_bytes().into()).collect();
        let seen = seen(times(5, names as i64), names, 0);
        rounds.listed(&rel(path), &seen, Some(&looked(&folders)));
        rounds.check();
    };
    list(&mut rounds, "", 1, &["a", "a-b", "b"]);
    list(&mut rounds, "a", 2, &["x"]);
    list(&mut rounds, "a/x", 3, &["y"]);
    assert_eq!(walk(&rounds), ["", "a", "a-b", "a/x", "a/x/y", "b"]);
    list(&mut rounds, "", 4, &["a-b", "b", "c"]);
    assert_eq!(walk(&rounds), ["", "a-b", "b", "c"]);
    assert_eq!(plan(&rounds, "c", 1).visit(None), Visit::All);
    // One that is gone before its own folder was listed again.
    rounds.gone(&rel("b"));
    assert_eq!(plan(&rounds, "", 1).visit(times(5, 4)), Visit::All);
    list(&mut rounds, "", 4, &["a-b", "b", "c"]);
    assert_eq!(walk(&rounds), ["", "a-b", "b", "c"]);
}

#[test]
fn a_thousand_folders_take_less_than_three_hundred_bytes_each() {
    // Beside the path, twice in a map that is two thirds full, with the counts of its `Rel`.
    let folder = std::mem::size_of::<Folder>() + std::mem::size_of::<Rel>();
    assert!(folder * 3 / 2 + 16 + 32 < 300, "{folder}");
}

#[test]
fn proofs_are_sought_three_seconds_apart_and_a_few_times_only() {
    let mut rounds = Rounds::new(AUTO);
    let mut sought = Vec::new();
    for at in 0..100 {
        let now = Mono(at * SECOND);
        if rounds.wants_proof(1, FsKind::Local, now) {
            sought.push(at);
            rounds.proof(Proof {
                dev: 1,
                fs: FsKind::Local,
                moves: false,
                has_ctime: true,
                at: now,
            });
        }
    }
    assert_eq!(sought, [0, 3, 6, 9, 12]);
    assert!(!rounds.wants_proof(2, FsKind::LocalNoCtime, Mono(0)));
    assert!(!trusted().wants_proof(1, FsKind::Local, Mono(0)));
}
