//! What is written down is read back, with its times moved to the clock of the reader.

use super::*;
use crate::flow::settle::Suspicions;

const HOUR: i64 = 3_600_000;

fn clocks(boot: Option<&str>, up: Option<i64>, wall_ms: i64) -> Clocks {
    Clocks {
        mono: Mono(50),
        wall: Wall(wall_ms * 1_000_000),
        boot: boot.map(String::from),
        up,
    }
}

fn passed(then: &Clocks, now: &Clocks) -> (u128, bool) {
    let (passed, stepped) = now.passed_since(then);
    (passed.as_millis(), stepped)
}

#[test]
fn within_a_boot_the_boot_clock_counts_and_the_wall_clock_may_jump_as_it_likes() {
    let then = clocks(Some("b"), Some(10_000), 100 * HOUR);
    let later = |wall| clocks(Some("b"), Some(14_000), wall);
    assert_eq!(passed(&then, &later(100 * HOUR + 4_000)), (4_000, false));
    assert_eq!(passed(&then, &later(200 * HOUR)), (4_000, true));
    assert_eq!(passed(&then, &later(99 * HOUR)), (4_000, true));
}

#[test]
fn over_a_boot_no_more_time_passes_than_the_machine_has_been_up() {
    let then = clocks(Some("a"), Some(HOUR), 100 * HOUR);
    assert_eq!(
        passed(&then, &clocks(Some("b"), Some(30_000), 100 * HOUR + 90_000)),
        (30_000, false)
    );
    assert_eq!(
        passed(&then, &clocks(Some("b"), Some(30_000), 900 * HOUR)),
        (30_000, false)
    );
    assert_eq!(
        passed(&then, &clocks(Some("b"), Some(30_000), 100 * HOUR + 7_000)),
        (7_000, false)
    );
    assert_eq!(
        passed(&then, &clocks(Some("b"), Some(30_000), HOUR)),
        (0, false)
    );
    assert_eq!(
        passed(&then, &clocks(None, None, 100 * HOUR + 7_000)),
        (7_000, false)
    );
}

#[test]
fn where_boots_have_no_names_a_wall_clock_that_jumps_settles_nothing_early_either() {
    let then = clocks(None, Some(HOUR), 100 * HOUR);
    let later = |up, wall| clocks(None, Some(up), wall);
    assert_eq!(
        passed(&then, &later(HOUR + 4_000, 100 * HOUR + 4_000)),
        (4_000, false)
    );
    assert_eq!(
        passed(&then, &later(HOUR + 4_000, 200 * HOUR)),
        (4_000, false)
    );
    assert_eq!(passed(&then, &later(HOUR + 4_000, HOUR)), (0, false));
    assert_eq!(passed(&then, &later(30_000, 200 * HOUR)), (30_000, false));
}

fn raised(at: i64) -> Alarm {
    let mut alarm = Alarm::default();
    alarm.raise("503", Mono(at));
    alarm
}

#[test]
fn a_memory_of_the_first_release_is_read() {
    let text = r#"{"v":1,"mono":50,"wall":3600000000000,"boot":"b","up":500,"gate":{"open_ms":33,"closed":{"since":25,"step":4,"next":60,"several":true,"reached":false,"asked":false}},"why":"503","brake":3,"command_brake":0}
{"path":"d/x%0A","size":3,"mtime":4,"since":20,"first_seen":5,"attempts":2,"own_failures":1,"own":true,"first_failure":7,"unfinished":21,"not_before":90,"used_marker":{"size":0,"mtime":1},"at_gate":{"row":true,"suspect":true,"only":false}}
{"path":"y","size":3,"mtime":4,"since":20,"first_seen":5}
"#;
    let mut now = clocks(Some("b"), Some(500), 1);
    now.wall = Wall(3_600_000_000_000);
    let memory = Memory::read(text.as_bytes(), &now);
    assert_eq!(
        (memory.endpoint.why.as_str(), memory.endpoint.brake),
        ("503", 3)
    );
    let learned = Learned {
        attempts: 2,
        own_failures: 1,
        own_fault: true,
        first_failure: Some(gate::OpenTime(7)),
        unfinished: Some(Mono(21)),
        not_before: Some(Mono(90)),
        used_marker: Some(Stamp {
            size: 0,
            mtime: Wall(1),
        }),
        ..Learned::new(Wall(5))
    };
    assert_eq!(memory.files[0].learned, learned);
    assert_eq!(memory.files[0].path, Rel::new(b"d/x\n"));
    assert_eq!(memory.files[1].learned, Learned::new(Wall(5)));
    assert_eq!(memory.files[1].still.since, Mono(20));
}

/// With something in every field.
fn file() -> File {
    File {
        path: Rel::new(b"d/odd\n\xff"),
        stamp: Stamp {
            size: 3,
            mtime: Wall(4),
        },
        still: StabilityMemory {
            since: Mono(20_000),
            suspicions: Suspicions {
                count: 2,
                put_off_ms: 9,
            },
        },
        learned: Learned {
            first_seen: Wall(5),
            attempts: 2,
            own_failures: 1,
            own_fault: true,
            first_failure: Some(gate::OpenTime(7)),
            unfinished: Some(Mono(21_000)),
            not_before: Some(Mono(90_000)),
            used_marker: Some(Stamp {
                size: 0,
                mtime: Wall(1),
            }),
            used_by: Some(Stamp {
                size: 2,
                mtime: Wall(3),
            }),
            failing: raised(22_000),
        },
        at_gate: gate::GateShare {
            row: true,
            suspect: true,
            only: false,
        },
    }
}

fn closed() -> gate::GateMemoryClosed {
    gate::GateMemoryClosed {
        since: Mono(25_000),
        step: 4,
        next: Mono(60_000),
        several: true,
        reached: false,
        asked: false,
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        gate: gate::GateMemory {
            open_ms: gate::OpenTime(33),
            closed: Some(closed()),
        },
        why: "503".into(),
        down: raised(25_000),
        brake: 3,
        brake_holds: true,
        send: Some("f".into()),
        ..Endpoint::default()
    }
}

fn memory() -> Memory {
    Memory {
        endpoint: endpoint(),
        files: vec![file()],
        emptied: vec![EmptiedFolder {
            path: Rel::new(b"d"),
            since: Mono(5),
        }],
        used_markers: vec![UsedMarker {
            path: Rel::new(b"d/a.csv"),
            version: Stamp {
                size: 7,
                mtime: Wall(8),
            },
            marker: Stamp {
                size: 0,
                mtime: Wall(9),
            },
        }],
        stepped: false,
    }
}

#[test]
fn what_is_read_back_is_as_old_as_it_is() {
    let (file, memory, closed) = (file(), memory(), closed());
    let mut then = clocks(Some("b"), Some(500_000), HOUR);
    then.mono = Mono(40_000);
    let mut now = clocks(Some("b"), Some(510_000), HOUR + 10_000);
    now.mono = Mono(3);
    let mut lines = memory.lines(&then);
    lines.extend_from_slice(
        b"{\"path\":\"../out\",\"size\":1,\"mtime\":1,\"since\":1,\"first_seen\":1}\n{\"to",
    );
    let read = Memory::read(&lines, &now);
    let shift = |at: i64| Mono(at - 40_000 - 10_000 + 3);
    assert_eq!(
        read.endpoint.gate.closed.unwrap(),
        gate::GateMemoryClosed {
            since: shift(25_000),
            next: shift(60_000),
            ..closed
        }
    );
    assert_eq!(
        (read.endpoint.brake, read.endpoint.gate.open_ms),
        (3, gate::OpenTime(33))
    );
    assert_eq!(read.endpoint.down, raised(shift(25_000).0));
    assert!(read.endpoint.brake_holds && read.endpoint.send.as_deref() == Some("f"));
    let expected = File {
        still: StabilityMemory {
            since: shift(20_000),
            ..file.still
        },
        learned: Learned {
            unfinished: Some(shift(21_000)),
            not_before: Some(shift(90_000)),
            failing: raised(shift(22_000).0),
            ..file.learned.clone()
        },
        ..file
    };
    assert_eq!(read.files, [expected]);
    assert_eq!(read.used_markers, memory.used_markers);
    assert_eq!(Memory::read(b"", &now), Memory::default());
}
