//! Which files are in hand when there is not room for all.

use super::*;
use crate::flow::filing::{Area, Place};

/// Answers whatever the engine asks for until then; gives what it sent, in order. Scans show nothing
/// new.
fn drive(
    engine: &mut Engine,
    effects: Vec<Effect>,
    (from, until): (i64, i64),
    answer: &dyn Fn(&Delivery) -> Delivered,
    filed: &dyn Fn() -> Filed,
) -> Vec<(i64, String)> {
    let (mut now, mut sent, mut turns) = (from, Vec::new(), 0);
    let mut queue = std::collections::VecDeque::from(effects);
    loop {
        while let Some(effect) = queue.pop_front() {
            let inputs = match effect {
                Effect::Scan(_) | Effect::Confirm => {
                    vec![Input::Confirmed, Input::Scanned(Ok(()))]
                }
                Effect::Deliver(job) => {
                    sent.push((now, job.path.to_string()));
                    vec![Input::Delivered(job.file, answer(&job))]
                }
                Effect::File(filing) => vec![Input::Filed(filing.file, filed())],
                _ => Vec::new(),
            };
            for input in inputs {
                queue.extend(engine.on(at(now), input));
            }
        }
        turns += 1;
        if turns % 100 == 1 || now >= until {
            engine.check();
        }
        if now >= until {
            return sent;
        }
        let wake = engine.wake_at().map_or(until, |wake| wake.0.min(until));
        assert!(wake > now || engine.wake_at().is_none_or(|wake| wake.0 <= now));
        now = wake.max(now + 1);
        queue.extend(engine.on(at(now), Input::Tick));
    }
}

fn away() -> Filed {
    let to = Some(Place::new(Area::Done, Rel::new(b"x")));
    Filed::Away { to }
}

/// A listing of the root with so many files of that name, the first the oldest.
fn many(name: &str, count: usize) -> Input {
    many_since(name, count, 1_700_000_000_000_000_000)
}

/// Whose mtimes begin with `first`.
fn many_since(name: &str, count: usize, first: i64) -> Input {
    let mut content = Content::default();
    for number in 0..count {
        let look = Look {
            stamp: Stamp {
                size: 1,
                mtime: Wall(first + number as i64),
            },
            ..Look::default()
        };
        let name = format!("{name}{number:05}");
        content.files.push(name.as_bytes(), look);
    }
    Input::Listed(ListedFolder {
        path: Rel::new(name.as_bytes()),
        content: Ok(content),
    })
}

fn later() -> Delivered {
    let answer = crate::flow::endpoint::reply::Answer {
        status: 500,
        ..Default::default()
    };
    Delivered::Replied {
        verdict: Verdict::Later,
        reply: Reply::Answer(answer),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    }
}

/// What the engine does when its scan shows these folders.
fn scanned(engine: &mut Engine, now: i64, folders: Vec<Input>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for input in folders.into_iter().chain([Input::Scanned(Ok(()))]) {
        effects.extend(engine.on(at(now), input));
    }
    effects
}

/// With a scan under way.
fn begun(policy: Policy) -> Engine {
    let mut engine = Engine::new(policy, 1, at(0));
    engine.on(at(0), Input::Tick);
    engine.on(at(0), Input::Confirmed);
    engine
}

#[test]
fn far_more_files_than_there_is_room_for_are_all_sent_once_each_and_none_has_a_record_meanwhile() {
    let mut engine = begun(Policy {
        in_hand: 8,
        ..policy()
    });
    let effects = scanned(&mut engine, 0, vec![many("a", 5_000)]);
    assert!(engine.files.len() <= 8 + 2, "{}", engine.files.len());
    assert_eq!(engine.tally().left, 5_000);
    let sent = drive(&mut engine, effects, (0, 1_000), &|_| accepted(), &away);
    let names: std::collections::BTreeSet<_> = sent.iter().map(|(_, name)| name).collect();
    assert_eq!((sent.len(), names.len()), (5_000, 5_000));
    assert_eq!(engine.tally().left, 0);
}

#[test]
fn files_with_a_fault_of_their_own_keep_no_other_one_waiting_however_many_they_are() {
    let mut engine = begun(Policy {
        in_hand: 8,
        ..policy()
    });
    let folders = vec![many("bad", 500), many("good", 500)];
    let effects = scanned(&mut engine, 0, folders);
    let answer = |job: &Delivery| {
        if job.path.as_bytes().starts_with(b"bad") {
            later()
        } else {
            accepted()
        }
    };
    let mut sent = drive(&mut engine, effects, (0, 600_000), &answer, &away);
    let good = sent.iter().filter(|(_, name)| name.starts_with("good"));
    assert_eq!(good.count(), 500);
    // By now all of the bad ones wait by their own clocks. A new one goes at once.
    engine.on(at(600_000), Input::Command(Command::Scan));
    engine.on(at(600_000), Input::Confirmed);
    let effects = scanned(&mut engine, 600_000, vec![many("good2", 1)]);
    sent = drive(&mut engine, effects, (600_000, 600_010), &answer, &away);
    assert!(
        sent.iter().any(|(_, name)| name.starts_with("good2")),
        "{sent:?}"
    );
    // And the bad ones are tried again and again.
    sent = drive(&mut engine, Vec::new(), (600_010, 700_000), &answer, &away);
    assert!(sent.len() >= 500, "{}", sent.len());
}

#[test]
fn a_done_that_is_full_keeps_nothing_from_being_sent() {
    let mut engine = begun(policy());
    let full = || Filed::Failed {
        why: "no room".into(),
        journal: false,
        progress: Progress::Written,
        left: false,
    };
    let effects = scanned(&mut engine, 0, vec![many("a", 2 * MAX_FILING)]);
    let sent = drive(&mut engine, effects, (0, 60_000), &|_| accepted(), &full);
    assert_eq!(sent.len(), 2 * MAX_FILING);
    // When there is room again all of them are filed.
    let sent = drive(
        &mut engine,
        Vec::new(),
        (60_000, 600_000),
        &|_| accepted(),
        &away,
    );
    assert_eq!((sent.len(), engine.files.len()), (0, 0));
}

#[test]
fn in_order_the_first_by_mtime_goes_next_whether_it_is_in_hand_or_waits_in_its_folder() {
    let mut engine = begun(Policy {
        in_hand: 4,
        order: SendOrder::Mtime,
        in_order: true,
        workers: 1,
        ..policy()
    });
    // The second is as old, and its paths come first.
    let effects = scanned(&mut engine, 0, vec![many("z", 300), many("b", 300)]);
    let sent = drive(&mut engine, effects, (0, 1_000), &|_| accepted(), &away);
    let names: Vec<&str> = sent.iter().map(|(_, name)| name.as_str()).collect();
    let mut expected: Vec<String> = (0..300)
        .flat_map(|n| [format!("b/b{n:05}"), format!("z/z{n:05}")])
        .collect();
    // The first was on its way before the other folder was listed.
    expected.swap(0, 1);
    assert!(names == expected, "{:?}", &names[..20]);
}

#[test]
fn each_order_begins_with_its_first_side_by_side_as_well() {
    for (order, first) in [
        (SendOrder::Mtime, "z/z00000"),
        (SendOrder::Name, "b/b00000"),
    ] {
        let mut engine = begun(Policy {
            in_hand: 8,
            order,
            workers: 2,
            ..policy()
        });
        let older = many_since("z", 300, 1_600_000_000_000_000_000);
        // What is listed first is on its way before the other is known.
        let mut folders = vec![older, many("b", 300)];
        if order == SendOrder::Name {
            folders.reverse();
        }
        let effects = scanned(&mut engine, 0, folders);
        let sent = drive(&mut engine, effects, (0, 1_000), &|_| accepted(), &away);
        let names: Vec<&str> = sent.iter().map(|(_, name)| name.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        if order == SendOrder::Mtime {
            sorted.rotate_left(300);
        }
        assert!(names.len() == 600 && names == sorted, "{:?}", &names[..20]);
        assert_eq!(names[0], first);
    }
}

#[test]
fn a_file_that_waits_in_its_folder_and_is_touched_is_sent_as_it_is_then_and_a_gone_one_is_not() {
    let mut engine = begun(Policy {
        in_hand: 1,
        workers: 1,
        settle: Settle::For(Duration::from_secs(5)),
        ..policy()
    });
    let files = |size| {
        ["a", "b", "c"].map(|name| {
            let mut look = look(0);
            look.stamp.size = size;
            (name, look)
        })
    };
    engine.on(at(0), Input::Tick);
    engine.on(at(0), Input::Confirmed);
    scanned(&mut engine, 0, vec![listed(&files(1))]);
    turn(&mut engine, 1_000, Input::Command(Command::Scan));
    engine.on(at(1_000), Input::Confirmed);
    let mut changed = files(2).to_vec();
    changed.remove(1);
    let effects = scanned(&mut engine, 1_000, vec![listed(&changed)]);
    let sizes = std::cell::RefCell::new(Vec::new());
    let answer = |job: &Delivery| {
        sizes.borrow_mut().push(job.look.stamp.size);
        accepted()
    };
    let sent = drive(&mut engine, effects, (1_000, 5_900), &answer, &away);
    assert_eq!(sent, [], "they were touched a second ago");
    let sent = drive(&mut engine, Vec::new(), (5_900, 7_000), &answer, &away);
    let names: Vec<&str> = sent.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!((names, sizes.take()), (vec!["a", "c"], vec![2, 2]));
}
