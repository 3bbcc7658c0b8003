//! What may have cost the lock, and what is not done before it was looked at.

use super::*;

#[test]
fn after_a_hang_nothing_is_sent_or_filed_before_a_new_scan_has_seen_the_lock() {
    let mut engine = engine(|config| config.send.workers = 2);
    engine.on(at(0), Input::Tick);
    engine.on(at(1), Input::Confirmed);
    let mut content = Content::default();
    for name in ["a", "b", "c"] {
        let look = Look {
            stamp: Stamp {
                size: 1,
                mtime: Wall(EPOCH + 1),
            },
            ..Look::default()
        };
        content.files.push(name.as_bytes(), look);
    }
    let sent = deliveries(engine.on(
        at(2),
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    ));
    assert_eq!(sent.len(), 2);
    // The scan hangs. What was under way ends; it is not filed, and nothing takes its place.
    engine.on(at(30_002), Input::Tick);
    let effects = engine.on(at(30_003), Input::Delivered(sent[0].file, accepted()));
    assert!(!files(&effects) && deliveries(effects).is_empty());
    // What the scan that hung saw of the lock is too old.
    let effects = engine.on(at(30_004), Input::Confirmed);
    assert!(!files(&effects) && deliveries(effects).is_empty());
    let now = next_scan(&mut engine, 40_000);
    assert!(deliveries(engine.on(at(now), Input::Tick)).is_empty());
    assert_eq!(
        deliveries(engine.on(at(now + 1), Input::Confirmed)).len(),
        1
    );
    assert!(
        files(&engine.on(at(now + 1_001), Input::Tick)),
        "what was accepted is filed now"
    );
}

#[test]
fn after_a_sleep_the_lock_is_looked_at_at_once_and_nothing_is_sent_before() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c"]);
    assert_eq!(sent.len(), 2);
    let woken = |mono| after_sleep(mono, 3_600_000);
    let effects = engine.on(woken(10), Input::Tick);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Confirm)),
        "it does not wait for the interval"
    );
    let effects = engine.on(woken(11), Input::Delivered(sent[0].file, accepted()));
    assert!(deliveries(effects).is_empty());
    assert_eq!(deliveries(engine.on(woken(12), Input::Confirmed)).len(), 1);
}

#[test]
fn what_was_learned_is_not_written_while_the_lock_may_be_anothers() {
    let (mut engine, sent) = started(policy(), &["a"]);
    engine.on(at(1), Input::Delivered(sent[0].file, unreachable()));
    let at = |mono| after_sleep(mono, 3_600_000);
    engine.on(at(2), Input::Tick);
    let remembers = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Remember(_)))
    };
    assert!(!remembers(&engine.on(at(40_000), Input::Tick)));
    assert!(
        engine.wake_at().is_some_and(|wake| wake > Mono(40_000)),
        "it would spin"
    );
    let mut stopped = Vec::new();
    stopped.extend(engine.on(at(40_001), Input::Command(Command::Stop)));
    stopped.extend(engine.on(at(60_000), Input::Tick));
    assert!(
        stopped
            .iter()
            .any(|effect| matches!(effect, Effect::Finish(_)))
            && !remembers(&stopped)
    );
}

fn hangs(effects: &[Effect]) -> bool {
    let is_hang = |effect: &Effect| matches!(effect, Effect::Note(Note::ScanHangs { .. }));
    effects.iter().any(is_hang)
}

#[test]
fn a_scan_that_ended_because_all_is_opened_again_is_not_said_to_hang() {
    let (mut engine, _) = started(policy(), &["a"]);
    let now = next_scan(&mut engine, 1);
    engine.on(
        at(now + 1),
        Input::Closing(Closing::LockLost("another".into())),
    );
    for later in 1..10 {
        let effects = engine.on(at(now + 5_000 * later), Input::Tick);
        assert!(!hangs(&effects), "{effects:?}");
    }
    engine.check();
}

#[test]
fn a_lock_is_doubted_after_five_seconds_of_silence_and_a_hang_is_said_after_thirty() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c", "d"]);
    let now = next_scan(&mut engine, 1);
    engine.on(at(now + 4_999), Input::Tick);
    let next = |engine: &mut Engine, at_ms, job: &Delivery| {
        let effects = engine.on(
            at(at_ms),
            Input::Delivered(job.file, unreachable_by_itself()),
        );
        (hangs(&effects), deliveries(effects).len())
    };
    assert_eq!(next(&mut engine, now + 4_999, &sent[0]), (false, 1));
    engine.on(at(now + 5_000), Input::Tick);
    assert_eq!(next(&mut engine, now + 5_001, &sent[1]), (false, 0));
    assert!(!hangs(&engine.on(at(now + 10_000), Input::Tick)));
    let mut said = 0;
    for ms in (now + 10_000..now + 30_001).step_by(1_000) {
        said += usize::from(hangs(&engine.on(at(ms), Input::Tick)));
    }
    assert_eq!(said, 1);
}

/// The file changed: the endpoint was not asked, and the worker is free again.
fn unreachable_by_itself() -> Delivered {
    Delivered::Missing(crate::flow::messages::Miss::Unreadable("EIO".into()))
}

#[test]
fn what_a_listing_shows_is_not_written_down_while_the_lock_may_be_anothers() {
    let keep = Policy {
        action: Action::Keep,
        ..policy()
    };
    let (mut engine, sent) = started(keep, &["a"]);
    engine.on(at(1), Input::Delivered(sent[0].file, accepted()));
    let now = next_scan(&mut engine, 2);
    engine.on(at(now), Input::Confirmed);
    // It wakes with the listing of a scan that had seen the lock before it slept.
    let woken = |mono| after_sleep(mono, 3_600_000);
    let listed = |engine: &mut Engine, mono| {
        let folder = ListedFolder {
            path: Rel::root(),
            content: Ok(Content::default()),
        };
        engine.on(woken(mono), Input::Listed(folder))
    };
    let writes = |effects: &[Effect]| {
        let mut effects = effects.iter();
        effects.any(|effect| matches!(effect, Effect::Write(_)))
    };
    assert!(!writes(&listed(&mut engine, now + 1)));
    assert!(!writes(&engine.on(woken(now + 1), Input::Scanned(Ok(())))));
    assert!(writes(&engine.on(woken(now + 2), Input::Confirmed)));
    assert!(
        !writes(&engine.on(woken(now + 3), Input::Scanned(Ok(())))),
        "once"
    );
}

#[test]
fn a_turn_that_comes_five_seconds_late_makes_the_lock_doubtful_whatever_it_waited_for() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c", "d"]);
    // The next scan is far away: with files in hand it wants a turn all the same.
    let wake = engine.wake_at().expect("a turn").0;
    assert!(wake <= 5_000, "{wake}");
    let effects = engine.on(at(wake + 4_999), Input::Tick);
    assert!(effects.is_empty(), "{effects:?}");
    let late = engine.wake_at().expect("a turn").0 + 5_000;
    let effects = engine.on(at(late), Input::Delivered(sent[0].file, accepted()));
    let is_said = |effect: &Effect| matches!(effect, Effect::Note(Note::Starved { .. }));
    assert!(effects.iter().any(is_said));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Confirm))
    );
    assert!(!files(&effects) && deliveries(effects).is_empty());
    let effects = engine.on(at(late + 1), Input::Confirmed);
    assert_eq!(deliveries(effects).len(), 1);
}

#[test]
fn a_wall_clock_that_jumps_makes_the_lock_doubtful() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c"]);
    let ahead = Now {
        wall: Wall(at(10).wall.0 + 60_000_000_000),
        ..at(10)
    };
    let effects = engine.on(ahead, Input::Delivered(sent[0].file, accepted()));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Confirm))
    );
    assert!(!files(&effects) && deliveries(effects).is_empty());
}

#[test]
fn a_run_whose_deadline_passes_while_the_machine_sleeps_ends_with_the_first_turn() {
    let once = Policy {
        ending: Ending::Once {
            deadline: Mono(60_000),
            no_wait: false,
        },
        settle: Settle::For(Duration::from_secs(3_600)),
        ..policy()
    };
    let (mut engine, _) = started(once, &["a"]);
    let effects = engine.on(after_sleep(60_000, 3_600_000), Input::Tick);
    let finish = effects.iter().find_map(|effect| match effect {
        Effect::Finish(how) => Some(*how),
        _ => None,
    });
    assert_eq!(finish, Some(Finish::Left));
    assert_eq!(engine.wake_at(), None);
}
