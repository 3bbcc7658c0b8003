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

/// A marker that has vouched for one version. It vouches for no other one at that place; for this one it
/// does again, when it is put back from dead-letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The stamp of the marker.
    pub marker: Stamp,
    /// That of the version.
    pub version: Stamp,
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
    /// The stamp of a marker that has vouched for a version of this name: it counts for no other.
    #[serde(default, skip_serializing_if = "is_default")]
    pub used_marker: Option<Stamp>,
    /// The stamp of that version. `None` where it tells nothing, and where an earlier release has not kept
    /// it: then the marker counts for no version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub used_by: Option<Stamp>,
    /// When its failures are mentioned.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failing: Alarm,
}

impl Learned {
    /// What is known of a version that was first looked at then.
    pub fn new(first_seen: Wall) -> Learned {
        Learned {
            first_seen,
            ..Learned::default()
        }
    }

    /// The same, but for what is known of a marker: that is as `other` has it.
    #[must_use]
    pub fn with_used_marker_of(self, other: &Learned) -> Learned {
        Learned {
            used_marker: other.used_marker,
            used_by: other.used_by,
            ..self
        }
    }

    /// This marker has vouched for a version of its name.
    pub fn set_used(&mut self, used: Option<Used>) {
        self.used_marker = used.map(|used| used.marker);
        self.used_by = used.map(|used| used.version);
    }

    /// The marker that is known to have vouched for another version than this one.
    pub fn used_marker(&self, version: Stamp) -> Option<Stamp> {
        self.used_marker.filter(|_| self.used_by != Some(version))
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
mod tests;
