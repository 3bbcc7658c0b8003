use super::*;

const PACE: Pace = Pace {
    interval: Duration::from_secs(5),
    max_share: 0.25,
};

fn begun(at: i64) -> Scans {
    let mut scans = Scans::new(PACE, Mono(at));
    assert_eq!(scans.begin_if_due(Mono(at)), Some(Order::Scan));
    scans
}

fn complete(scans: &mut Scans, at: i64) {
    scans.ended(Ok(()), Mono(at));
    scans.check();
}

#[test]
fn one_scan_is_under_way_at_a_time_and_the_next_begins_an_interval_after_it_began() {
    let mut scans = begun(0);
    assert_eq!(scans.begin_if_due(Mono(9_000)), None);
    complete(&mut scans, 100);
    assert_eq!(scans.wake_at(true), Some(Mono(5_000)));
    assert_eq!(scans.begin_if_due(Mono(4_999)), None);
    assert_eq!(scans.begin_if_due(Mono(5_000)), Some(Order::Scan));
    assert_eq!((scans.number(), scans.under_way()), (2, Some(2)));
}

#[test]
fn scans_that_take_long_take_a_quarter_of_the_time() {
    let (mut scans, mut now) = (begun(0), 0);
    let goes_on = |scans: &mut Scans, now: i64| {
        scans.confirmed(Mono(now));
        for second in 1..11 {
            scans.heard(Mono(now + second * 1_000));
        }
        complete(scans, now + 10_000);
    };
    for _ in 0..5 {
        goes_on(&mut scans, now);
        now = scans.wake_at(true).unwrap().0;
        assert!(scans.begin_if_due(Mono(now)).is_some());
    }
    goes_on(&mut scans, now);
    assert_eq!(scans.wake_at(true), Some(Mono(now + 40_000)));
}

#[test]
fn a_scan_that_is_wanted_while_one_is_under_way_begins_right_after_it() {
    let mut scans = begun(0);
    scans.hasten(Mono(10));
    assert_eq!(scans.begin_if_due(Mono(10)), None);
    complete(&mut scans, 300);
    assert_eq!(scans.begin_if_due(Mono(300)), Some(Order::Scan));
    complete(&mut scans, 600);
    assert_eq!(scans.begin_if_due(Mono(600)), None, "once");
}

#[test]
fn a_doubt_is_dispelled_by_a_look_that_began_after_it_arose_and_that_begins_at_once() {
    let mut scans = begun(0);
    scans.doubt_lock();
    scans.confirmed(Mono(11));
    assert!(!scans.is_lock_sure(), "it began before");
    complete(&mut scans, 20);
    assert_eq!(scans.begin_if_due(Mono(20)), Some(Order::Confirm));
    scans.confirmed(Mono(21));
    assert!(scans.is_lock_sure());
    let (ended, _) = scans.ended(Ok(()), Mono(21));
    assert_eq!(ended, Ended::Nothing, "nothing was listed");
    assert_eq!(scans.completed(), 1);
    assert_eq!(
        scans.wake_at(true),
        Some(Mono(5_000)),
        "the next scan waits"
    );
    scans.check();
}

#[test]
fn a_scan_that_falls_silent_for_five_seconds_makes_the_lock_doubtful() {
    for tick in [false, true] {
        let mut scans = begun(0);
        scans.confirmed(Mono(100));
        scans.heard(Mono(100));
        assert_eq!(scans.wake_at(true), Some(Mono(5_100)));
        scans.tick(Mono(5_099));
        assert!(scans.is_lock_sure());
        let note = if tick {
            scans.tick(Mono(5_100))
        } else {
            scans.heard(Mono(5_100))
        };
        assert_eq!(note, None, "it is not said yet");
        assert!(!scans.is_lock_sure());
        scans.confirmed(Mono(5_101));
        assert!(!scans.is_lock_sure(), "what it saw is too old");
    }
}

#[test]
fn a_hang_is_said_after_thirty_seconds_and_its_end_as_well() {
    let mut scans = begun(0);
    assert_eq!(scans.tick(Mono(29_999)), None);
    let since = Duration::from_secs(30);
    assert_eq!(scans.tick(Mono(30_000)), Some(Note::ScanHangs { since }));
    assert_eq!(scans.tick(Mono(30_001)), None);
    let since = Duration::from_secs(31);
    assert_eq!(scans.heard(Mono(31_000)), Some(Note::ScanBack { since }));
    complete(&mut scans, 31_000);
    assert_eq!(
        scans.wake_at(true),
        Some(Mono(31_000)),
        "its time does not count"
    );
}

#[test]
fn on_a_slow_share_the_look_at_the_lock_counts_unless_it_is_too_old() {
    let mut scans = begun(0);
    for (took, sure) in [(6_000, true), (9_999, true), (10_000, false)] {
        let mut scans = begun(0);
        scans.tick(Mono(5_000));
        assert!(!scans.is_lock_sure(), "nothing is sent meanwhile");
        scans.heard(Mono(took));
        scans.confirmed(Mono(took));
        assert_eq!(scans.is_lock_sure(), sure, "after {took} ms");
    }
    scans.doubt_lock();
    scans.tick(Mono(6_000));
    scans.heard(Mono(6_000));
    scans.confirmed(Mono(6_000));
    assert!(!scans.is_lock_sure(), "a doubt that arose meanwhile stays");
}

#[test]
fn whatever_it_waits_for_it_is_not_woken_again_and_again() {
    let mut scans = begun(0);
    for confirms in [None, Some(100)] {
        if let Some(at) = confirms {
            scans.confirmed(Mono(at));
        }
        let mut now = 100;
        while now < 600_000 {
            let wake = scans.wake_at(true).expect("it waits for the scan").0;
            assert!(wake > now, "{wake} after {now}");
            now = wake;
            scans.tick(Mono(now));
        }
        scans = begun(0);
    }
}

#[test]
fn a_share_that_is_away_is_not_asked_for_the_lock_again_and_again() {
    let mut scans = begun(0);
    scans.doubt_lock();
    scans.ended(Err("away".into()), Mono(1));
    assert_eq!(scans.begin_if_due(Mono(2)), None);
    assert_eq!(scans.begin_if_due(Mono(5_000)), Some(Order::Scan));
    complete(&mut scans, 5_001);
    assert!(scans.is_share_away(), "until everything is opened again");
}

#[test]
fn a_share_that_is_away_is_said_once_and_is_back_once() {
    let mut scans = begun(0);
    let away = |scans: &mut Scans, at| {
        scans.begin_if_due(Mono(at));
        scans.ended(Err("not mounted".into()), Mono(at + 1)).1
    };
    assert!(matches!(away(&mut scans, 0), Some(Note::ShareAway { .. })));
    assert!(scans.is_share_away());
    assert_eq!(away(&mut scans, 5_000), None);
    assert!(scans.begin_if_due(Mono(10_000)).is_some());
    assert_eq!(scans.close(Mono(10_001)), Some(Duration::from_secs(10)));
    scans.check();
}

#[test]
fn the_fault_of_a_folder_that_is_gone_is_forgotten() {
    let mut scans = begun(0);
    let (path, why) = (Rel::new(b"d"), String::from("EACCES"));
    let trouble = || FolderTrouble {
        kind: Kind::List,
        path: path.clone(),
        why: why.clone(),
    };
    let said = |scans: &mut Scans, at| scans.listed(&path, Some(trouble()), Mono(at)).is_some();
    assert!(said(&mut scans, 1) && !said(&mut scans, 2));
    let (ended, _) = scans.ended(Ok(()), Mono(3));
    let whole = |first, whole| Ended::Complete { first, whole };
    assert_eq!(ended, whole(true, false));
    scans.begin_if_due(Mono(5_000));
    assert_eq!(scans.ended(Ok(()), Mono(5_001)).0, whole(false, true));
    scans.begin_if_due(Mono(10_000));
    assert!(said(&mut scans, 10_001), "it is another fault");
}
