//! When the engine asks to be woken: for a reason, and never in the past.

use super::*;

/// A scan that finds these files; what is to be delivered.
fn scan(engine: &mut Engine, now: Now, names: &[&str]) -> Vec<Delivery> {
    let mut content = Content::default();
    for name in names {
        let look = look_of_sent();
        content.files.push(name.as_bytes(), look);
    }
    let mut effects = engine.on(
        now,
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    );
    effects.extend(engine.on(now, Input::Scanned(Ok(()))));
    deliveries(effects)
}

#[test]
fn with_all_workers_busy_a_probe_that_is_due_does_not_wake_it_again_and_again() {
    let mut engine = engine(|config| config.send.workers = 2);
    engine.on(at(0), Input::Tick);
    let jobs = scan(&mut engine, at(1), &["a", "b", "c", "d"]);
    assert_eq!(jobs.len(), 2);
    // One fails: the gate closes. The other hangs, and the probe takes the free worker.
    engine.on(at(2), Input::Delivered(jobs[0].file, unreachable()));
    let probe = engine.wake_at().unwrap();
    let jobs = deliveries(engine.on(at(probe.0), Input::Tick));
    assert_eq!(jobs.len(), 1);
    let wake = engine.wake_at().unwrap();
    assert!(wake > Mono(probe.0), "{wake:?}");
}

#[test]
fn whatever_it_waits_for_it_never_asks_to_be_woken_in_the_past() {
    let mut engine = engine(|config| config.send.workers = 1);
    engine.on(at(0), Input::Tick);
    let mut job = scan(&mut engine, at(1), &["a", "b"]).pop();
    let mut now = 1;
    for _ in 0..500 {
        if let Some(job) = job.take() {
            engine.on(at(now), Input::Delivered(job.file, unreachable()));
        }
        let wake = engine.wake_at().unwrap();
        assert!(wake.0 > now, "at {now} it wants to be woken at {wake:?}");
        now = wake.0;
        for effect in engine.on(at(now), Input::Tick) {
            match effect {
                Effect::Deliver(delivery) => job = Some(delivery),
                Effect::Scan(_) => drop(engine.on(at(now), Input::Scanned(Err("away".into())))),
                _ => {}
            }
        }
        if now % 3 == 0 {
            engine.on(at(now), Input::Scanned(Ok(())));
        }
    }
}

#[test]
fn one_scan_that_hung_for_a_while_does_not_put_off_the_next_for_minutes_but_slow_ones_do() {
    let mut engine = engine(|config| config.watch.interval = Duration::from_secs(5));
    engine.on(at(0), Input::Tick);
    engine.on(at(10), Input::Scanned(Ok(())));
    pass(&mut engine, 5_000, 30_000);
    turn(&mut engine, 30_000, Input::Scanned(Ok(())));
    let next = engine.wake_at().unwrap();
    assert!(next <= Mono(30_000 + 4_000), "{next:?}");
    // A folder that always takes 10 s is looked at a quarter of the time.
    let (mut now, mut rest) = (next.0, 0);
    for _ in 0..7 {
        pass(&mut engine, now, now + 10_000);
        turn(&mut engine, now + 10_000, Input::Scanned(Ok(())));
        let next = engine.wake_at().unwrap().0;
        rest = next - (now + 10_000);
        now = next;
    }
    assert_eq!(rest, 30_000);
}

#[test]
fn while_the_head_of_the_line_waits_a_probe_that_is_due_wakes_nobody() {
    let policy = Policy {
        order: SendOrder::Mtime,
        in_order: true,
        workers: 1,
        ..policy()
    };
    let (mut engine, sent) = started(policy, &["a", "b"]);
    let (head, mut now) = (sent[0].file, 0);
    // It has a fault of its own, and waits by its own clock; then the endpoint goes.
    engine.files.get_mut(head).unwrap().learned.own_fault = true;
    for _ in 0..8 {
        let effects = engine.on(at(now), Input::Delivered(head, unreachable()));
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::Deliver(_)))
        );
        for _ in 0..100 {
            let next = engine.wake_at().unwrap().0;
            assert!(next > now, "it would spin at {now}");
            now = next;
            if engine
                .on(at(now), Input::Tick)
                .iter()
                .any(|effect| matches!(effect, Effect::Deliver(_)))
            {
                break;
            }
        }
    }
}

#[test]
fn the_trouble_with_a_folder_that_is_gone_is_forgotten() {
    let (mut engine, _) = started(policy(), &[]);
    for number in 0..3 {
        let now = at(10_000_000 * (number + 1));
        engine.on(now, Input::Tick);
        let path = Rel::new(format!("d{number}").as_bytes());
        engine.on(
            now,
            Input::Listed(ListedFolder {
                path,
                content: Err("EACCES".into()),
            }),
        );
        engine.on(now, Input::Scanned(Ok(())));
        engine.check();
    }
}

#[test]
fn a_scan_that_takes_long_and_goes_on_does_not_hang_and_is_not_repeated_at_once() {
    let (mut engine, sent) = started(
        Policy {
            interval: Duration::from_secs(5),
            ..policy()
        },
        &["a", "b", "c", "d"],
    );
    let start = next_scan(&mut engine, 1);
    let mut now = start;
    for _ in 0..100 {
        now += 1_000;
        let effects = engine.on(at(now), Input::Looking);
        let hangs = |effect: &Effect| matches!(effect, Effect::Note(Note::ScanHangs { .. }));
        assert!(
            !effects.iter().any(hangs),
            "after {} s",
            (now - start) / 1_000
        );
    }
    let effects = engine.on(at(now), Input::Delivered(sent[0].file, accepted()));
    assert!(files(&effects), "nothing is in doubt");
    // It takes no more than a quarter of the time from now on.
    for _ in 0..4 {
        let end = now + 100_000;
        while now < end {
            now += 1_000;
            engine.on(at(now), Input::Looking);
        }
        now = next_scan(&mut engine, now);
    }
    let end = now + 100_000;
    while now < end {
        now += 1_000;
        engine.on(at(now), Input::Looking);
    }
    assert!(next_scan(&mut engine, now) >= now + 299_000);
}

#[test]
fn with_nothing_in_hand_it_sleeps_until_the_next_scan() {
    let (engine, _) = started(policy(), &[]);
    assert_eq!(engine.wake_at(), Some(Mono(1_000_000)));
}
