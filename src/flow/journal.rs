//! The journal's lines: what they say, and what a journal read back adds up to.
//!
//! JSON Lines (one object a line), described for administrators in `docs/journal.md`.
//! Paths are escaped as in the log ([`crate::flow::escape`]), so that `grep` finds them.
//!
//! Invariants:
//! - A version of a file is named by path, size and mtime (ns), as everywhere.
//! - `accepted` and `condemned` are written before the file is moved, `moving` before the
//!   rename and only for a target that was free, `filed` only when the move is on the disk.
//! - What stays where it is (`keep`, or copied to dead-letter) is known until `forgotten` is
//!   written; for how long it has been missing outlives a restart.
//! - [`Replay`] never trusts anything behind the last whole line, and skips a line that it
//!   cannot read: each line stands for itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Rel, Stamp};
use crate::flow::time::Wall;

/// The version of the format.
const VERSION: u32 = 1;

/// What the journal needs of an acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    pub key: String,
    pub status: u16,
    pub marker: Option<Stamp>,
}

/// A move that the journal knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    pub to: String,
    /// It is copied there, across file systems, and what it is copied from is removed last.
    pub from: Option<String>,
}

/// Why a file is in the dead-letter folder: its `.reason.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub reason: String,
    pub status: Option<u16>,
    /// The start of the answer.
    pub body: Vec<u8>,
    pub attempts: u32,
    pub first_seen: Wall,
    pub dead_at: Wall,
    pub key: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    /// When it was written, for people: RFC 3339.
    pub at: String,
    /// Escaped.
    pub path: String,
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The endpoint has all of it. `keep`: it stays where it is, and this is the last word.
    Accepted {
        key: String,
        status: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<(u64, i64)>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep: bool,
    },
    /// It is to go to dead-letter.
    Condemned {
        key: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Escaped.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        body: String,
        attempts: u32,
        first_seen: i64,
        dead_at: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<(u64, i64)>,
    },
    /// It is about to be renamed to `to`, which was free; or, with `from`, copied there
    /// from where it lies now, which is on another file system.
    Moving {
        to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// It has been moved, deleted or put back for good.
    Filed,
    /// Dead-letter has a copy: it cannot be moved away, and stays where it is.
    Copied,
    /// It was delivered or copied, stays where it was, and is not there: since then (ns).
    Missing { since: i64 },
    /// It is there again.
    Back,
    /// It has been missing for `delivered.remember`: as if it had never been seen.
    Forgotten,
}

impl Record {
    /// The line of `event`, with its newline.
    pub fn line(path: &Rel, stamp: Stamp, at: Wall, event: Event) -> Vec<u8> {
        let record = Record {
            v: VERSION,
            at: at.rfc3339_millis(),
            path: escape(path.as_bytes()),
            size: stamp.size,
            mtime: stamp.mtime.0,
            event,
        };
        let mut line = serde_json::to_vec(&record).expect("plain data becomes JSON");
        line.push(b'\n');
        line
    }

    pub fn accepted(acceptance: &Acceptance, keep: bool) -> Event {
        Event::Accepted {
            key: acceptance.key.clone(),
            status: acceptance.status,
            marker: acceptance.marker.map(|stamp| (stamp.size, stamp.mtime.0)),
            keep,
        }
    }

    pub fn moving(moving: &Moving) -> Event {
        Event::Moving {
            to: moving.to.clone(),
            from: moving.from.clone(),
        }
    }

    pub fn condemned(reason: &Reason, marker: Option<Stamp>) -> Event {
        Event::Condemned {
            key: reason.key.clone(),
            reason: reason.reason.clone(),
            status: reason.status,
            body: escape(&reason.body),
            attempts: reason.attempts,
            first_seen: reason.first_seen.0,
            dead_at: reason.dead_at.0,
            marker: marker.map(|stamp| (stamp.size, stamp.mtime.0)),
        }
    }
}

/// What is still to be done, or known, of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub stamp: Stamp,
    pub fate: Fate,
    /// Where it was about to be moved.
    pub moving: Option<Moving>,
    /// All is done, and it stays where it is: it is only to be known again.
    pub rests: bool,
    /// It rests, and has not been there since.
    pub missing: Option<Wall>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Accepted(Acceptance),
    Condemned(Box<Reason>, Option<Stamp>),
}

/// A journal, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    pub live: BTreeMap<Rel, Live>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

impl Replay {
    /// Adds the whole lines of `bytes`; what follows the last newline is left out.
    pub fn add(&mut self, bytes: &[u8]) {
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in bytes[..whole]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice::<Record>(line) {
                Ok(record) if record.v == VERSION => self.apply(record),
                _ => self.unreadable += 1,
            }
        }
    }

    fn apply(&mut self, record: Record) {
        let path = Rel::new(&unescape(&record.path));
        if !path.is_plain() {
            self.unreadable += 1;
            return;
        }
        let stamp = Stamp {
            size: record.size,
            mtime: Wall(record.mtime),
        };
        let (fate, rests) = match record.event {
            Event::Accepted {
                key,
                status,
                marker,
                keep,
            } => {
                let marker = marker.map(|(size, mtime)| Stamp {
                    size,
                    mtime: Wall(mtime),
                });
                (
                    Fate::Accepted(Acceptance {
                        key,
                        status,
                        marker,
                    }),
                    keep,
                )
            }
            Event::Condemned {
                key,
                reason,
                status,
                body,
                attempts,
                first_seen,
                dead_at,
                marker,
            } => {
                let marker = marker.map(|(size, mtime)| Stamp {
                    size,
                    mtime: Wall(mtime),
                });
                let reason = Reason {
                    reason,
                    status,
                    body: unescape(&body),
                    attempts,
                    first_seen: Wall(first_seen),
                    dead_at: Wall(dead_at),
                    key,
                };
                (Fate::Condemned(Box::new(reason), marker), false)
            }
            later => return self.amend(path, stamp, later),
        };
        self.live.insert(
            path,
            Live {
                stamp,
                fate,
                moving: None,
                rests,
                missing: None,
            },
        );
    }

    /// What happened to a version that is known.
    fn amend(&mut self, path: Rel, stamp: Stamp, event: Event) {
        let Entry::Occupied(mut entry) = self.live.entry(path) else {
            return;
        };
        let live = entry.get_mut();
        if live.stamp != stamp {
            return;
        }
        match event {
            Event::Moving { to, from } => live.moving = Some(Moving { to, from }),
            Event::Copied => live.rests = true,
            Event::Missing { since } => live.missing = Some(Wall(since)),
            Event::Back => live.missing = None,
            Event::Filed | Event::Forgotten => drop(entry.remove()),
            Event::Accepted { .. } | Event::Condemned { .. } => {}
        }
    }

    /// The same state as lines, for a new journal file.
    pub fn lines(&self, at: Wall) -> Vec<u8> {
        let mut lines = Vec::new();
        for (path, live) in &self.live {
            let mut add = |event| lines.extend(Record::line(path, live.stamp, at, event));
            match &live.fate {
                Fate::Accepted(acceptance) => add(Record::accepted(acceptance, live.rests)),
                Fate::Condemned(reason, marker) => add(Record::condemned(reason, *marker)),
            }
            if let Some(moving) = &live.moving {
                add(Record::moving(moving));
            }
            if live.rests && matches!(live.fate, Fate::Condemned(..)) {
                add(Event::Copied);
            }
            if let Some(since) = live.missing {
                add(Event::Missing { since: since.0 });
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp {
            size,
            mtime: Wall(1_700_000_000_123_456_789),
        }
    }

    fn journal() -> Vec<u8> {
        let at = Wall(1_700_000_001_000_000_000);
        let accepted = Acceptance {
            key: "k1".into(),
            status: 201,
            marker: Some(stamp(0)),
        };
        let reason = Reason {
            reason: "it is not JSON".into(),
            status: Some(422),
            body: b"no\xff\n".to_vec(),
            attempts: 2,
            first_seen: at,
            dead_at: at,
            key: "k2".into(),
        };
        let moving = |to: &str, from: Option<&str>| Event::Moving {
            to: to.into(),
            from: from.map(Into::into),
        };
        let odd = Rel::new(b"d/odd\n\xff%.csv");
        let mut lines = Vec::new();
        let mut line = |path: &Rel, event| lines.extend(Record::line(path, stamp(5), at, event));
        line(&Rel::new(b"a.csv"), Record::accepted(&accepted, false));
        line(&odd, Record::accepted(&accepted, true));
        line(
            &Rel::new(b"bad.json"),
            Record::condemned(&reason, Some(stamp(0))),
        );
        line(
            &Rel::new(b"bad.json"),
            moving("dead-letter/bad.json", Some("staging/d")),
        );
        line(&Rel::new(b"a.csv"), moving("done/a.csv", None));
        line(&Rel::new(b"a.csv"), Event::Filed);
        line(&odd, Event::Missing { since: 77 });
        line(&Rel::new(b"copied.json"), Record::condemned(&reason, None));
        line(&Rel::new(b"copied.json"), Event::Copied);
        line(&Rel::new(b"back"), Record::accepted(&accepted, true));
        line(&Rel::new(b"back"), Event::Missing { since: 78 });
        line(&Rel::new(b"back"), Event::Back);
        line(&Rel::new(b"old"), Record::accepted(&accepted, true));
        line(&Rel::new(b"old"), Event::Forgotten);
        lines
    }

    #[test]
    fn a_journal_adds_up_to_what_is_still_to_be_done_or_known() {
        let mut replay = Replay::default();
        replay.add(&journal());
        assert_eq!(replay.unreadable, 0);
        let paths: Vec<String> = replay.live.keys().map(ToString::to_string).collect();
        assert_eq!(
            paths,
            ["back", "bad.json", "copied.json", "d/odd%0A%FF%25.csv"]
        );
        let rests: Vec<(bool, Option<Wall>)> = replay
            .live
            .values()
            .map(|live| (live.rests, live.missing))
            .collect();
        assert_eq!(
            rests,
            [
                (true, None),
                (false, None),
                (true, None),
                (true, Some(Wall(77)))
            ]
        );
        let moving = Moving {
            to: "dead-letter/bad.json".into(),
            from: Some("staging/d".into()),
        };
        assert_eq!(replay.live[&Rel::new(b"bad.json")].moving, Some(moving));
    }

    #[test]
    fn a_move_that_was_written_down_without_from_is_still_read() {
        let accepted = Record::accepted(
            &Acceptance {
                key: "k".into(),
                status: 200,
                marker: None,
            },
            false,
        );
        let mut replay = Replay::default();
        replay.add(&Record::line(
            &Rel::new(b"x"),
            Stamp {
                size: 5,
                mtime: Wall(7),
            },
            Wall(0),
            accepted,
        ));
        replay.add(
            b"{\"v\":1,\"at\":\"\",\"path\":\"x\",\"size\":5,\"mtime\":7,\"event\":\"moving\",\"to\":\"done/x\"}\n",
        );
        assert_eq!(replay.unreadable, 0);
        assert_eq!(
            replay.live[&Rel::new(b"x")].moving,
            Some(Moving {
                to: "done/x".into(),
                from: None
            })
        );
        assert!(
            !String::from_utf8(replay.lines(Wall(0)))
                .unwrap()
                .contains("from")
        );
    }

    #[test]
    fn a_journal_cut_at_any_byte_is_a_prefix_of_its_whole_lines() {
        let journal = journal();
        for cut in 0..=journal.len() {
            let mut replay = Replay::default();
            replay.add(&journal[..cut]);
            let whole = journal[..cut]
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            let mut clean = Replay::default();
            clean.add(&journal[..whole]);
            assert_eq!(replay, clean, "cut at {cut}");
            assert_eq!(replay.unreadable, 0);
        }
    }

    #[test]
    fn a_rewritten_journal_says_the_same() {
        let mut replay = Replay::default();
        replay.add(&journal());
        let mut again = Replay::default();
        again.add(&replay.lines(Wall(0)));
        assert_eq!(again, replay);
    }

    #[test]
    fn a_line_that_is_broken_or_leads_outside_is_skipped_and_counted() {
        let mut journal = journal();
        let mut outside = Record::line(&Rel::new(b"../x"), stamp(1), Wall(0), Event::Filed);
        journal.splice(0..0, b"{\"v\":1,\"at\n\0\0\0\n".iter().copied());
        journal.append(&mut outside);
        let mut replay = Replay::default();
        replay.add(&journal);
        assert_eq!((replay.unreadable, replay.live.len()), (3, 4));
    }
}
