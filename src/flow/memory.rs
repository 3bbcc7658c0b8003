//! What the engine has learned and would forget with its process: looks, attempts and next
//! tries, grace, gate and brakes.
//!
//! It is advice, not truth: what is accepted or condemned stands in the journal. A memory that
//! is lost or old costs a settle time or a probe, nothing else.
//!
//! Invariants:
//! - All moments are on the clock of the process that holds the memory. Read by another, they
//!   are shifted by the time that has passed for certain ([`Clocks::passed_since`]): never by
//!   more, so that nothing is taken for still before it has been still for long enough.
//! - It holds for one version of a file (path, size and mtime) and for no other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flow::alarm::Alarm;
use crate::flow::clock::STEP_MS;
use crate::flow::endpoint::gate;
use crate::flow::file::{Rel, Stamp};
use crate::flow::settle::StabilityMemory;
use crate::flow::time::{Mono, Now, Wall};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What is known of the endpoint and of `check.command`.
    pub endpoint: Endpoint,
    /// The files that have something worth knowing, one for each version in motion.
    pub files: Vec<File>,
    /// Folders that something was taken out of, with `delivered.remove_emptied`.
    pub emptied: Vec<EmptiedFolder>,
    /// Markers that stay for other files of their stem, and have vouched for versions that are filed.
    pub used_markers: Vec<UsedMarker>,
    /// The wall clock was set since the memory was written down.
    pub stepped: bool,
}

/// What is known of the endpoint and of `check.command`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// How the gate stands, so that a restart does not hurry an endpoint that is down.
    pub gate: gate::GateMemory,
    /// Why the gate is closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub why: String,
    /// When it is mentioned that the gate is closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub down: Alarm,
    /// How many files the endpoint rejected in a row.
    pub brake: usize,
    /// Nothing is condemned before it accepts one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub brake_holds: bool,
    /// How many files `check.command` rejected in a row.
    pub command_brake: usize,
    /// Nothing is condemned before it accepts one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub command_brake_holds: bool,
    /// The value that stood for `[send]` when all this was learned: of another one it says nothing.
    /// `None` where the version that wrote it had no such value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
}

/// A folder that dirpost may have emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptiedFolder {
    /// Where it lies.
    pub path: Rel,
    /// When something was taken out of it last.
    pub since: Mono,
}

/// A marker that stays at its place, and has vouched for a version that has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedMarker {
    /// Where that version lay.
    pub path: Rel,
    /// Its stamp.
    pub version: Stamp,
    /// The stamp of the marker.
    pub marker: Stamp,
}

/// What is known of one version of a file that is in motion. A line is read by `File::read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// Which file.
    pub path: Rel,
    /// Which version of it.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// Since when it has been still.
    #[serde(flatten)]
    pub still: StabilityMemory,
    /// What the work on it has shown.
    #[serde(flatten)]
    pub learned: Learned,
    /// Its part in the state of the gate.
    #[serde(skip_serializing_if = "is_default")]
    pub at_gate: gate::GateShare,
}

impl File {
    /// Reads a line, once for each of the parts that are flattened into it: serde's `flatten` would bring
    /// a second reader of each type into the program.
    fn read(line: &[u8]) -> Option<File> {
        #[derive(Deserialize)]
        struct Rest {
            path: Rel,
            #[serde(default)]
            at_gate: gate::GateShare,
        }
        let Rest { path, at_gate } = serde_json::from_slice(line).ok()?;
        Some(File {
            path,
            stamp: serde_json::from_slice(line).ok()?,
            still: serde_json::from_slice(line).ok()?,
            learned: serde_json::from_slice(line).ok()?,
            at_gate,
        })
    }
}

/// What the work on one version of a file has shown: the engine's record of it and the memory share
/// this type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// When it was first looked at.
    pub first_seen: Wall,
    /// Attempts to deliver it that were answered or failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// Failures that count against its own clock.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own_failures: u32,
    /// It has a fault of its own: it failed before another file was accepted.
    #[serde(default, rename = "own", skip_serializing_if = "is_default")]
    pub own_fault: bool,
    /// The first failure, on the gate's open clock: for `retry.give_up_after`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_failure: Option<gate::OpenTime>,
    /// Since when it has looked unfinished to a check.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unfinished: Option<Mono>,
    /// It is not tried again before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_before: Option<Mono>,
    /// The stamp of the marker that vouched for an earlier version: it does not count for this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub used_marker: Option<Stamp>,
    /// When its failures are mentioned.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failing: Alarm,
}

impl Learned {
    /// What is known of a version that was first looked at then.
    pub fn new(first_seen: Wall, used_marker: Option<Stamp>) -> Learned {
        Learned {
            first_seen,
            used_marker,
            ..Learned::default()
        }
    }

    /// Without what concerns the endpoint: it is another one now.
    #[must_use]
    pub fn without_endpoint(self) -> Learned {
        Learned {
            own_failures: 0,
            own_fault: false,
            first_failure: None,
            not_before: None,
            failing: Alarm::default(),
            ..self
        }
    }

    /// Whether more is known than looks.
    pub fn is_more_than_looks(&self) -> bool {
        self.attempts > 0 || self.unfinished.is_some() || self.used_marker.is_some()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// All clocks of a machine, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// The monotonic clock, which means nothing to another process by itself.
    pub mono: Mono,
    /// The time of day, which may be set.
    pub wall: Wall,
    /// Which boot it is, where the system says so.
    #[serde(default)]
    pub boot: Option<String>,
    /// How long the machine has been up (ms), sleep included, where that is known.
    #[serde(default)]
    pub up: Option<i64>,
}

impl Clocks {
    /// The two clocks that the engine works with.
    pub fn now(&self) -> Now {
        Now {
            mono: self.mono,
            wall: self.wall,
            up: self.up,
        }
    }

    /// How much time has passed since `then` for certain, and whether the wall clock was set
    /// meanwhile, as far as that can be seen. In the same boot that is the time on the boot clock; else
    /// it is what the wall clock says, but no more than the machine has been up, for a wall clock
    /// may have jumped; and where the boots have no names, no more than it has been up since `then`
    /// if it was the same. A clock that went back says nothing: no time has passed.
    pub fn passed_since(&self, then: &Clocks) -> (Duration, bool) {
        let wall = self.wall.since(then.wall);
        let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        match (self.up, then.up) {
            (Some(now), Some(then_up)) if self.boot.is_some() && self.boot == then.boot => {
                let passed = millis(now.saturating_sub(then_up));
                let stepped = wall.abs_diff(passed) > millis(STEP_MS) || self.wall < then.wall;
                (passed, stepped)
            }
            (Some(now), Some(then_up)) if self.boot.is_none() && now >= then_up => {
                (wall.min(millis(now - then_up)), false)
            }
            (Some(now), _) => (wall.min(millis(now)), false),
            (None, _) => (wall, false),
        }
    }
}

/// The first line. It is read by [`Head::read`].
#[derive(Serialize)]
struct Head {
    v: u32,
    #[serde(flatten)]
    clocks: Clocks,
    #[serde(flatten)]
    endpoint: Endpoint,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    emptied: Vec<EmptiedFolder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    used_markers: Vec<UsedMarker>,
}

impl Head {
    /// Reads the line, as [`File::read`] does.
    fn read(line: &[u8]) -> Option<Head> {
        #[derive(Deserialize)]
        struct Rest {
            v: u32,
            #[serde(default)]
            emptied: Vec<EmptiedFolder>,
            #[serde(default)]
            used_markers: Vec<UsedMarker>,
        }
        let Rest {
            v,
            emptied,
            used_markers,
        } = serde_json::from_slice(line).ok()?;
        Some(Head {
            v,
            clocks: serde_json::from_slice(line).ok()?,
            endpoint: serde_json::from_slice(line).ok()?,
            emptied,
            used_markers,
        })
    }
}

const VERSION: u32 = 1;

impl Memory {
    /// Whether the next process would learn nothing from it.
    pub fn is_empty(&self) -> bool {
        let Endpoint {
            gate,
            brake,
            command_brake,
            ..
        } = &self.endpoint;
        gate.closed.is_none()
            && *brake == 0
            && *command_brake == 0
            && self.files.is_empty()
            && self.emptied.is_empty()
            && self.used_markers.is_empty()
    }

    /// As JSON Lines: a head, then a line for each file.
    pub fn lines(&self, clocks: &Clocks) -> Vec<u8> {
        let head = Head {
            v: VERSION,
            clocks: clocks.clone(),
            endpoint: self.endpoint.clone(),
            emptied: self.emptied.clone(),
            used_markers: self.used_markers.clone(),
        };
        let mut lines = serde_json::to_vec(&head).expect("plain data becomes JSON");
        for file in &self.files {
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, file).expect("plain data becomes JSON");
        }
        lines.push(b'\n');
        lines
    }

    /// What [`Memory::lines`] has written, on the clocks of this process. Nothing where the
    /// head cannot be read; a line that cannot be read is passed over.
    pub fn read(bytes: &[u8], clocks: &Clocks) -> Memory {
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let head = lines.next().and_then(Head::read);
        let Some(head) = head.filter(|head| head.v == VERSION) else {
            return Memory::default();
        };
        let (passed, stepped) = clocks.passed_since(&head.clocks);
        let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let shift = clocks
            .mono
            .0
            .saturating_sub(head.clocks.mono.0)
            .saturating_sub(passed);
        let files = lines.filter_map(File::read).collect();
        let mut memory = Memory {
            endpoint: head.endpoint,
            files,
            emptied: head.emptied,
            used_markers: head.used_markers,
            stepped,
        };
        memory.shift(shift);
        memory
    }

    fn shift(&mut self, by: i64) {
        let moved = |moment: &mut Mono| moment.0 = moment.0.saturating_add(by);
        if let Some(closed) = &mut self.endpoint.gate.closed {
            moved(&mut closed.since);
            moved(&mut closed.next);
        }
        self.endpoint.down.shift(by);
        for folder in &mut self.emptied {
            moved(&mut folder.since);
        }
        for file in &mut self.files {
            moved(&mut file.still.since);
            file.learned.unfinished.iter_mut().for_each(moved);
            file.learned.not_before.iter_mut().for_each(moved);
            file.learned.failing.shift(by);
        }
    }
}

#[cfg(test)]
mod tests {
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
            ..Learned::new(Wall(5), None)
        };
        assert_eq!(memory.files[0].learned, learned);
        assert_eq!(memory.files[0].path, Rel::new(b"d/x\n"));
        assert_eq!(memory.files[1].learned, Learned::new(Wall(5), None));
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
}
