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
//! - The first line of a file names the share ([`head`]), so that a journal tells whose it is
//!   when the mark is gone.
//! - The time of an acceptance or a condemnation outlives every rewriting of the journal.
//! - [`Replay`] never trusts anything behind the last whole line, and skips a line that it
//!   cannot read: each line stands for itself.

use std::collections::BTreeMap;
use std::collections::btree_map;

use serde::{Deserialize, Serialize};

use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Rel, Stamp};
use crate::flow::filing::{Acceptance, Fate, Move, Place, Reason};
use crate::flow::time::Wall;

/// The version of the format.
const VERSION: u32 = 1;

/// What is to be written down: something that has happened to one version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the watched folder.
    pub path: Rel,
    /// The version.
    pub stamp: Stamp,
    /// What has happened to it.
    pub event: Event,
}

impl Entry {
    /// As a line of the journal that is written at `at`, with its newline.
    pub fn line(self, at: Wall) -> Vec<u8> {
        Record::line(&self.path, self.stamp, at, self.event)
    }
}

impl From<(Rel, Stamp, Event)> for Entry {
    fn from((path, stamp, event): (Rel, Stamp, Event)) -> Entry {
        Entry { path, stamp, event }
    }
}

/// The first line of a file: whose journal it is.
#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    /// When the file was begun, for people: RFC 3339.
    at: String,
    event: HeadEvent,
    /// The share: its id, and behind that whether it carries it as a mark.
    share: String,
}

#[derive(Serialize, Deserialize)]
enum HeadEvent {
    #[serde(rename = "journal")]
    Journal,
}

/// The first line of a file that is begun at `at`, with its newline.
pub fn head(share: &str, at: Wall) -> Vec<u8> {
    let head = Head {
        v: VERSION,
        at: at.rfc3339_millis(),
        event: HeadEvent::Journal,
        share: share.into(),
    };
    let mut line = serde_json::to_vec(&head).expect("plain data becomes JSON");
    line.push(b'\n');
    line
}

/// The share that a line names, if it is the first line of a file.
pub fn share_of(line: &[u8]) -> Option<String> {
    let head = serde_json::from_slice::<Head>(line).ok()?;
    (head.v == VERSION).then_some(head.share)
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format: 1. A line of another version is not understood.
    pub v: u32,
    /// When it was written, for people: RFC 3339.
    pub at: String,
    /// Escaped.
    pub path: String,
    /// The size in bytes of the version that the line is about.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    /// What happened, flattened into the same JSON object.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The endpoint has all of it. `keep`: it stays where it is, and this is the last word.
    Accepted {
        /// The idempotency key that it was sent with.
        key: String,
        /// The HTTP status of the answer.
        status: u16,
        /// Size and mtime (ns) of the marker that vouched for it, to be filed with it. `None` if
        /// there was no marker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<(u64, i64)>,
        /// Whether it stays where it is: then no [`Event::Filed`] follows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep: bool,
    },
    /// It is to go to dead-letter.
    Condemned {
        /// The idempotency key that it was sent with, or would have been.
        key: String,
        /// Why it is not sent, as one sentence for the reason file.
        reason: String,
        /// The HTTP status that rejected it; `None` if the endpoint did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Escaped.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        body: String,
        /// How many attempts to deliver it were made.
        attempts: u32,
        /// When this version was first seen (ns since the epoch).
        first_seen: i64,
        /// When it was condemned (ns since the epoch).
        dead_at: i64,
        /// Size and mtime (ns) of the marker that vouched for it, to be filed with it. `None` if
        /// there was no marker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<(u64, i64)>,
    },
    /// It is about to be renamed to `to`, which was free; or, with `from`, copied there
    /// from where it lies now, which is on another file system.
    Moving {
        /// Where it goes.
        to: Place,
        /// What is copied, where the file cannot be renamed to `to`. `None` if it is renamed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Place>,
    },
    /// It has been moved, deleted or put back for good.
    Filed,
    /// Dead-letter has a copy: it cannot be moved away, and stays where it is.
    Copied,
    /// It was delivered or copied, stays where it was, and is not there: since then (ns).
    Missing {
        /// When it was first missed (ns since the epoch).
        since: i64,
    },
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
}

impl Event {
    /// The endpoint has all of it. `keep`: it stays where it is, and this is the last word.
    pub fn accepted(acceptance: &Acceptance, marker: Option<Stamp>, keep: bool) -> Event {
        Event::Accepted {
            key: acceptance.key.clone(),
            status: acceptance.status,
            marker: marker.map(|stamp| (stamp.size, stamp.mtime.0)),
            keep,
        }
    }

    /// It is about to be moved.
    pub fn moving(moving: &Move) -> Event {
        Event::Moving {
            to: moving.to.clone(),
            from: moving.copy_of.clone(),
        }
    }

    /// It is to go to dead-letter.
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

/// The reverse of [`Wall::rfc3339_millis`]; `None` if that is no such time.
pub fn parse_rfc3339(text: &str) -> Option<Wall> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .ok()?;
    i64::try_from(since.as_nanos()).ok().map(Wall)
}

/// What is still to be done, or known, of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// When it was accepted or condemned; `None` if the line does not tell.
    pub at: Option<Wall>,
    /// Accepted or condemned.
    pub fate: Fate,
    /// The marker that vouched for it.
    pub marker: Option<Stamp>,
    /// Where it was about to be moved.
    pub moving: Option<Move>,
    /// All is done, and it stays where it is: it is only to be known again.
    pub rests: bool,
    /// It rests, and has not been there since.
    pub missing: Option<Wall>,
}

/// A journal, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The share that the last file names, if one does: files of old versions do not.
    pub share: Option<String>,
    /// By path and version: while one version is still on its way to where it is filed, the next
    /// one under its name may have been accepted.
    pub live: BTreeMap<(Rel, Stamp), Live>,
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
                _ => match share_of(line) {
                    Some(share) => self.share = Some(share),
                    None => self.unreadable += 1,
                },
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
        let of = |marker: Option<(u64, i64)>| {
            marker.map(|(size, mtime)| Stamp {
                size,
                mtime: Wall(mtime),
            })
        };
        let live = |fate, marker, rests| Live {
            at: None,
            fate,
            marker,
            moving: None,
            rests,
            missing: None,
        };
        let at = parse_rfc3339(&record.at);
        let live = |fate, marker, rests| Live {
            at,
            ..live(fate, marker, rests)
        };
        match record.event {
            Event::Accepted {
                key,
                status,
                marker,
                keep,
            } => {
                let fate = Fate::Accepted(Acceptance { key, status });
                self.begin(path, stamp, live(fate, of(marker), keep));
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
                let reason = Reason {
                    reason,
                    status,
                    body: unescape(&body),
                    attempts,
                    first_seen: Wall(first_seen),
                    dead_at: Wall(dead_at),
                    key,
                };
                let fate = Fate::Condemned(Box::new(reason));
                self.begin(path, stamp, live(fate, of(marker), false));
            }
            later => self.amend(path, stamp, later),
        }
    }

    /// Another version is accepted or condemned. What is known of the one before it is only still
    /// of interest while that is on its way to where it is filed.
    fn begin(&mut self, path: Rel, stamp: Stamp, live: Live) {
        let versions = (path.clone(), Stamp::MIN)..=(path.clone(), Stamp::MAX);
        self.live
            .extract_if(versions, |_, live| live.moving.is_none() || live.rests)
            .for_each(drop);
        self.live.insert((path, stamp), live);
    }

    /// What happened to a version that is known.
    fn amend(&mut self, path: Rel, stamp: Stamp, event: Event) {
        let btree_map::Entry::Occupied(mut entry) = self.live.entry((path, stamp)) else {
            return;
        };
        let live = entry.get_mut();
        match event {
            Event::Moving { to, from } => live.moving = Some(Move { to, copy_of: from }),
            Event::Copied => live.rests = true,
            Event::Missing { since } => live.missing = Some(Wall(since)),
            Event::Back => live.missing = None,
            Event::Filed | Event::Forgotten => drop(entry.remove()),
            Event::Accepted { .. } | Event::Condemned { .. } => {}
        }
    }

    /// What is live as lines of a new journal file, which is begun at `now`. What was accepted or
    /// condemned keeps its time.
    pub fn lines(&self, now: Wall) -> Vec<u8> {
        let mut lines = Vec::new();
        // What is on its way comes before what has not begun to move, or stays: that came last under
        // its name, and its line ends what is known of all before it that is on no way.
        let (moving, last): (Vec<_>, Vec<_>) =
            (self.live.iter()).partition(|(_, live)| live.moving.is_some() && !live.rests);
        for ((path, stamp), live) in moving.into_iter().chain(last) {
            let fate = match &live.fate {
                Fate::Accepted(acceptance) => Event::accepted(acceptance, live.marker, live.rests),
                Fate::Condemned(reason) => Event::condemned(reason, live.marker),
            };
            let at = live.at.unwrap_or(now);
            lines.extend(Record::line(path, *stamp, at, fate));

            let mut add = |event| lines.extend(Record::line(path, *stamp, now, event));
            if let Some(moving) = &live.moving {
                add(Event::moving(moving));
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
        };
        let marker = Some(stamp(0));
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
            to: to.parse().unwrap(),
            from: from.map(|from| from.parse().unwrap()),
        };
        let odd = Rel::new(b"d/odd\n\xff%.csv");
        let mut lines = Vec::new();
        let mut line = |path: &Rel, event| lines.extend(Record::line(path, stamp(5), at, event));
        line(
            &Rel::new(b"a.csv"),
            Event::accepted(&accepted, marker, false),
        );
        line(&odd, Event::accepted(&accepted, marker, true));
        line(
            &Rel::new(b"bad.json"),
            Event::condemned(&reason, Some(stamp(0))),
        );
        line(
            &Rel::new(b"bad.json"),
            moving("dead-letter/bad.json", Some("staging/d")),
        );
        line(&Rel::new(b"a.csv"), moving("done/a.csv", None));
        line(&Rel::new(b"a.csv"), Event::Filed);
        line(&odd, Event::Missing { since: 77 });
        line(&Rel::new(b"copied.json"), Event::condemned(&reason, None));
        line(&Rel::new(b"copied.json"), Event::Copied);
        line(&Rel::new(b"back"), Event::accepted(&accepted, marker, true));
        line(&Rel::new(b"back"), Event::Missing { since: 78 });
        line(&Rel::new(b"back"), Event::Back);
        line(&Rel::new(b"old"), Event::accepted(&accepted, marker, true));
        line(&Rel::new(b"old"), Event::Forgotten);
        lines
    }

    #[test]
    fn a_journal_adds_up_to_what_is_still_to_be_done_or_known() {
        let mut replay = Replay::default();
        replay.add(&journal());
        assert_eq!(replay.unreadable, 0);
        let paths: Vec<String> = replay
            .live
            .keys()
            .map(|(path, _)| path.to_string())
            .collect();
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
        let moving = Move {
            to: "dead-letter/bad.json".parse().unwrap(),
            copy_of: Some("staging/d".parse().unwrap()),
        };
        let bad = (Rel::new(b"bad.json"), stamp(5));
        assert_eq!(replay.live[&bad].moving, Some(moving));
    }

    #[test]
    fn a_move_that_was_written_down_without_from_is_still_read() {
        let acceptance = Acceptance {
            key: "k".into(),
            status: 200,
        };
        let accepted = Event::accepted(&acceptance, None, false);
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
        let x = (
            Rel::new(b"x"),
            Stamp {
                size: 5,
                mtime: Wall(7),
            },
        );
        let moving = Move {
            to: "done/x".parse().unwrap(),
            copy_of: None,
        };
        assert_eq!(replay.live[&x].moving, Some(moving));
        assert!(
            !String::from_utf8(replay.lines(Wall(0)))
                .unwrap()
                .contains("from")
        );
    }

    #[test]
    fn the_next_version_under_a_name_does_not_hide_one_that_is_still_on_its_way() {
        let acceptance = Acceptance {
            key: "k".into(),
            status: 200,
        };
        let path = Rel::new(b"x");
        let mut replay = Replay::default();
        let mut line = |size, event| replay.add(&Record::line(&path, stamp(size), Wall(0), event));
        line(1, Event::accepted(&acceptance, None, false));
        line(2, Event::accepted(&acceptance, None, false));
        line(
            2,
            Event::Moving {
                to: "staging/2".parse().unwrap(),
                from: None,
            },
        );
        line(3, Event::accepted(&acceptance, None, false));
        line(
            3,
            Event::Moving {
                to: "staging/3".parse().unwrap(),
                from: None,
            },
        );
        line(3, Event::Filed);
        let sizes: Vec<u64> = replay.live.keys().map(|(_, stamp)| stamp.size).collect();
        // Of the first nothing was on its way when the second was accepted.
        assert_eq!(sizes, [2]);
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
    fn the_time_of_an_acceptance_outlives_every_rewriting() {
        let accepted_at = Wall(1_700_000_001_234_000_000);
        let acceptance = Acceptance {
            key: "k".into(),
            status: 200,
        };
        let path = Rel::new(b"kept.csv");
        let event = Event::accepted(&acceptance, None, true);
        let mut lines = Record::line(&path, stamp(5), accepted_at, event);
        for days in 1..4 {
            let mut replay = Replay::default();
            replay.add(&lines);
            assert_eq!(replay.live.values().next().unwrap().at, Some(accepted_at));
            lines = replay.lines(Wall(accepted_at.0 + days * 86_400_000_000_000));
        }
        let text = String::from_utf8(lines).unwrap();
        assert!(
            text.contains("\"at\":\"2023-11-14T22:13:21.234Z\""),
            "{text}"
        );
    }

    #[test]
    fn the_first_line_names_the_share_and_is_no_unreadable_one() {
        let mut file = head("0a1b unmarked mount", Wall(1_700_000_000_000_000_000));
        file.extend(journal());
        let mut replay = Replay::default();
        replay.add(&file);
        assert_eq!(replay.share.as_deref(), Some("0a1b unmarked mount"));
        assert_eq!((replay.unreadable, replay.live.len()), (0, 4));
        let mut later = Replay::default();
        later.add(b"{\"v\":2,\"at\":\"\",\"event\":\"journal\",\"share\":\"x\"}\n");
        assert_eq!((later.unreadable, later.share), (1, None));
    }

    #[test]
    fn the_bytes_of_a_journal_are_these() {
        let mut written = head("0a1b2c", Wall(1_700_000_000_000_000_000));
        written.extend(journal());
        let golden = include_str!("../../tests/data/journal.jsonl");
        assert_eq!(String::from_utf8(written).unwrap(), golden);
    }

    #[test]
    fn a_rewritten_journal_knows_the_last_version_beside_one_before_it_that_is_on_its_way() {
        let (path, at) = (Rel::new(b"x"), Wall(1_700_000_000_000_000_000));
        let acceptance = Acceptance {
            key: "k".into(),
            status: 200,
        };
        let moving = Event::Moving {
            to: "staging/d".parse().unwrap(),
            from: None,
        };
        // Whichever of them sorts first, and whether the last one is to be moved or stays.
        for (first, last, keep) in [(1, 2, false), (2, 1, false), (1, 2, true), (2, 1, true)] {
            let mut replay = Replay::default();
            for (version, event) in [
                (first, Event::accepted(&acceptance, None, false)),
                (first, moving.clone()),
                (last, Event::accepted(&acceptance, None, keep)),
            ] {
                replay.add(&Record::line(&path, stamp(version), at, event));
            }
            assert_eq!(replay.live.len(), 2);
            let mut again = Replay::default();
            again.add(&replay.lines(at));
            assert_eq!(again, replay, "{first}, then {last}");
        }
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
