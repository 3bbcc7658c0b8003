//! What is to be seen of a run from outside: by `dirpost status`, `dirpost explain` and the metrics.
//!
//! The engine gives a [`Work`] at any time ([`crate::flow::engine::Engine::work`]); the shell adds
//! which process it is and writes both to `status.json` as a [`Status`]. A [`Pace`] says when.
//!
//! Invariants:
//! - It holds moments of the wall clock and no ages: what is read later is as true as it was.
//! - No secret and no path outside of the watched folder stands in it, but for those of the
//!   configuration and of what an error names.

mod delays;
mod failures;
mod history;
mod pace;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::delays::Delays;
pub use self::failures::{Failure, Failures, Then};
pub use self::history::{History, PARTS, Point, Sum};
pub use self::pace::{Pace, Pulse};
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::file::{Rel, Stamp};
use crate::flow::messages::Delivered as Delivery;
use crate::flow::time::{Wall, rfc3339};

/// The version of the format: readers refuse one that they do not know.
pub const VERSION: u32 = 1;

/// All that stands in `status.json`. It is read by [`Status::read`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// [`VERSION`].
    pub v: u32,
    /// Which process has written it, and when.
    pub process: Process,
    /// What it is doing.
    #[serde(flatten)]
    pub work: Work,
}

/// What stands in a status beside the work.
#[derive(Deserialize)]
struct Head {
    v: u32,
    process: Process,
}

impl Status {
    /// Reads the text of a status; `None` where it is none, or one of another version. Twice, and not
    /// by serde's `flatten`, which would bring a second reader of everything in it into the program.
    pub fn read(text: &[u8]) -> Option<Status> {
        let Head { v, process } = serde_json::from_slice(text).ok()?;
        if v != VERSION {
            return None;
        }
        let work = serde_json::from_slice(text).ok()?;
        Some(Status { v, process, work })
    }
}

/// The process that a status is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The version of dirpost.
    pub version: String,
    /// Its id on `host`.
    pub pid: u32,
    /// The name of the machine.
    pub host: String,
    /// It was `once`: that it has ended is no fault.
    pub once: bool,
    /// When it started.
    #[serde(with = "rfc3339")]
    pub started: Wall,
    /// When this was written.
    #[serde(with = "rfc3339")]
    pub written: Wall,
    /// The configuration file; `None` where the folder and the endpoint were named instead.
    pub config: Option<String>,
    /// When the configuration was read.
    #[serde(with = "rfc3339")]
    pub config_read: Wall,
    /// The watched folder.
    pub dir: String,
    /// The endpoint, without its query.
    pub url: String,
}

/// What a run is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Whether it works.
    pub state: State,
    /// Who works on the folder instead, while this process stands by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// How many files there are, by what they wait for.
    pub files: Files,
    /// The file that has been waiting to be accepted for the longest.
    pub oldest: Option<Oldest>,
    /// The files on their way to the endpoint.
    pub sending: Vec<Sending>,
    /// Files that failed for themselves and wait for their next try; the first [`FAILING`] of them.
    #[serde(default)]
    pub failing: Vec<Failing>,
    /// What failed last, that of earlier processes as well.
    #[serde(default)]
    pub failures: Failures,
    /// What was delivered.
    pub delivered: Delivered,
    /// Files that went to dead-letter since the start of the process, by the status that the endpoint
    /// gave, or "check".
    pub dead_lettered: BTreeMap<String, u64>,
    /// Attempts to deliver since the start of the process, by what came of them.
    pub attempts: Attempts,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The scans.
    pub scan: Scan,
    /// What is wrong, but for the endpoint.
    pub faults: Vec<Fault>,
}

/// Whether a run works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It opens the folder, or waits for it or for its lock. `status.json` never says so, for the
    /// folder may be another process's then.
    Opening,
    /// It works.
    #[default]
    Working,
    /// It finishes what is on its way.
    Stopping,
    /// It has ended as it should.
    Ended,
}

/// How many files there are, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// They may still be written to.
    pub settling: usize,
    /// They wait for their writer: a marker, content, or the end of an rsync.
    pub waiting_for_writer: usize,
    /// They are complete, and wait to be checked or sent.
    pub ready: usize,
    /// They failed for themselves, and wait for their next try.
    pub failing: usize,
    /// They are being checked.
    pub checking: usize,
    /// They are on their way to the endpoint.
    pub sending: usize,
    /// They are accepted or condemned, and are being moved to where they belong.
    pub filing: usize,
    /// They are accepted or condemned, and cannot be moved to where they belong.
    pub unfiled: usize,
    /// They are delivered and stay at their places.
    pub at_rest: usize,
}

impl Files {
    /// How many are still to be accepted, those that only their writer can finish not counted.
    pub fn to_deliver(&self) -> usize {
        self.settling + self.ready + self.failing + self.checking + self.sending
    }
}

/// A file, and since when something is true of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oldest {
    /// Which one.
    pub path: Rel,
    /// Since when it has been known, or, where it waits in its folder, has been still.
    #[serde(with = "rfc3339")]
    pub since: Wall,
}

/// A file on its way to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// Which one.
    pub path: Rel,
    /// In bytes.
    pub size: u64,
    /// When the attempt began.
    #[serde(with = "rfc3339")]
    pub since: Wall,
    /// Which attempt it is, from 1.
    pub attempt: u32,
}

/// How many failing files are named.
pub const FAILING: usize = 100;

/// A file that failed for itself, and waits for its next try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Which one.
    pub path: Rel,
    /// Which version of it: its size and modification time.
    pub size: u64,
    /// See `size`.
    pub mtime: Wall,
    /// What it was that failed.
    pub doing: Doing,
    /// What came of it.
    pub why: String,
    /// How many attempts to deliver it there were.
    pub attempts: u32,
    /// When it is tried again.
    #[serde(with = "rfc3339")]
    pub next_try: Wall,
}

impl Failing {
    /// Which version of it.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            size: self.size,
            mtime: self.mtime,
        }
    }
}

/// What may fail for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// It does not pass its check, and may only be unfinished; at the next try it is condemned.
    Check,
    /// It could not be opened, read or checked.
    Read,
    /// The endpoint does not take it.
    Deliver,
}

/// What was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Since the start of the process.
    pub since_start: Sum,
    /// In the last 24 hours, in parts of five minutes, with the most files that waited in each.
    pub history: History,
    /// The last one.
    pub last: Option<LastDelivered>,
    /// How long each took from the moment at which it was ready, since the start of the process.
    #[serde(default)]
    pub delays: Delays,
}

/// The file that was accepted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDelivered {
    /// Which one.
    pub path: Rel,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Wall,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// Attempts to deliver, by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempts {
    /// The endpoint has the file.
    pub accepted: u64,
    /// The file is bad.
    pub rejected: u64,
    /// The endpoint or the configuration is wrong.
    pub refused: u64,
    /// Later.
    pub later: u64,
    /// There was no answer.
    pub unreachable: u64,
    /// The file changed before its last byte was out, or could not be read.
    pub broken_off: u64,
}

impl Attempts {
    /// One more that came to this.
    pub fn count(&mut self, delivered: &Delivery) {
        let count = match delivered {
            Delivery::Replied { verdict, .. } => match verdict {
                Verdict::Accepted => &mut self.accepted,
                Verdict::Rejected => &mut self.rejected,
                Verdict::Refused => &mut self.refused,
                Verdict::Busy | Verdict::Later => &mut self.later,
                Verdict::Down { .. } => &mut self.unreachable,
            },
            Delivery::Changed(_) | Delivery::Unsettled(_) | Delivery::Missing(_) => {
                &mut self.broken_off
            }
            // Nothing was tried.
            Delivery::NotSent(_) | Delivery::NotBegun => return,
        };
        *count += 1;
    }
}

/// What a run counts: kept over all engines of a process, the history and the failures over processes
/// as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What was delivered in the last 24 hours, and how many files waited.
    pub history: History,
    /// The file that was accepted last.
    pub last: Option<LastDelivered>,
    /// See [`Work::failures`].
    pub failures: Failures,
    /// See [`Delivered::delays`].
    pub delays: Delays,
    /// See [`Work::dead_lettered`].
    pub dead_lettered: BTreeMap<String, u64>,
    /// See [`Work::attempts`].
    pub attempts: Attempts,
}

impl Counters {
    /// A file of so many bytes was accepted, that long after it was ready.
    pub fn delivered(&mut self, last: LastDelivered, size: u64, delay: Duration) {
        self.history.add(last.at, size);
        self.delays.add(delay);
        self.last = Some(last);
    }

    /// What the next process goes on with.
    #[must_use]
    pub fn of_earlier(work: Work) -> Counters {
        Counters {
            history: work.delivered.history,
            last: work.delivered.last,
            failures: work.failures,
            ..Counters::default()
        }
    }
}

/// How the endpoint stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// It is closed: files wait, and one at a time tries it.
    pub closed: Option<Closed>,
    /// It has rejected so many files in a row that nothing more is condemned.
    pub brake_holds: bool,
    /// How many it has rejected in a row.
    pub rejected_in_a_row: usize,
    /// The same of `check.command`.
    pub command_brake_holds: bool,
}

/// A gate that is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: Wall,
    /// What the endpoint answered, or why it cannot be reached.
    pub why: String,
    /// When it is tried again; `None` while a try is under way.
    #[serde(with = "rfc3339::option")]
    pub next_try: Option<Wall>,
}

/// The scans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The last one that was complete.
    pub last: Option<LastScan>,
    /// Since when one has been under way.
    #[serde(with = "rfc3339::option")]
    pub running_since: Option<Wall>,
    /// How many were complete since all was opened.
    pub completed: u64,
}

/// A scan that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastScan {
    /// When it was over.
    #[serde(with = "rfc3339")]
    pub ended: Wall,
    /// How long it took.
    pub took_ms: u64,
    /// How many folders were looked at in full; the others showed that nothing had moved in them.
    pub folders_looked_at: u64,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is at fault.
    pub what: Part,
    /// Which folder or file, where it is one of several.
    pub path: Option<Rel>,
    /// How many there are of this kind; this is the first.
    pub count: usize,
    /// The error, as a sentence for a person.
    pub why: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: Wall,
}

/// What may be at fault, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The watched folder is away.
    Share,
    /// A scan hangs.
    Scan,
    /// The journal cannot be written.
    Journal,
    /// A folder cannot be listed, or a name in it not be looked at.
    Folder,
    /// A file cannot be read or checked.
    File,
    /// A file changes all the time, and never comes to rest.
    Restless,
    /// A file is accepted or condemned, and cannot be moved to where it belongs.
    Filing,
    /// The configuration file is refused, or waits for a restart: dirpost goes by what it said before.
    Configuration,
}

impl Part {
    /// Whether nothing goes while this is at fault.
    pub fn stops_everything(self) -> bool {
        matches!(self, Part::Share | Part::Scan | Part::Journal)
    }
}

impl Work {
    /// What is shown while all is opened, after this: files in the folder are not known then, but what
    /// was counted stays, for a counter that goes back to 0 and comes again would count twice.
    #[must_use]
    pub fn while_opening(self, since: Wall) -> Work {
        Work {
            state: State::Opening,
            delivered: self.delivered,
            failures: self.failures,
            dead_lettered: self.dead_lettered,
            attempts: self.attempts,
            scan: Scan {
                running_since: Some(since),
                ..self.scan
            },
            ..Work::default()
        }
    }

    /// The fault because of which nothing goes, if there is one: the gravest.
    pub fn standstill(&self) -> Option<&Fault> {
        let grave = self
            .faults
            .iter()
            .filter(|fault| fault.what.stops_everything());
        grave.min_by_key(|fault| fault.what)
    }
}

#[cfg(test)]
impl Process {
    /// One for tests.
    pub(crate) fn example() -> Process {
        Process {
            version: "1".into(),
            pid: 7,
            host: "h".into(),
            once: false,
            started: Wall(0),
            written: Wall(0),
            config: None,
            config_read: Wall(0),
            dir: "/d".into(),
            url: "http://x/".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_back_as_it_was_written_and_its_times_are_for_people() {
        let mut work = Work {
            oldest: Some(Oldest {
                path: Rel::new(b"d/odd\n\xff"),
                since: Wall(1_700_000_000_123_000_000),
            }),
            ..Work::default()
        };
        work.delivered
            .history
            .add(Wall(1_700_000_000_000_000_000), 7);
        work.endpoint.closed = Some(Closed {
            since: Wall(0),
            why: "503".into(),
            next_try: Some(Wall(1_000_000)),
        });
        let status = Status {
            v: VERSION,
            process: Process {
                written: Wall(1_000_000),
                ..Process::example()
            },
            work,
        };
        let text = serde_json::to_string(&status).unwrap();
        assert!(
            text.contains("\"since\":\"2023-11-14T22:13:20.123Z\""),
            "{text}"
        );
        assert_eq!(Status::read(text.as_bytes()), Some(status));
    }
}
