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
//! - The first line of a file names the share ([`Head`]), so that a journal tells whose it is
//!   when the mark is gone.
//! - A journal is rewritten by leaving lines out ([`rewrite`]): those that stay stay as they were
//!   written, with their times, and in their order.
//! - [`Replay`] never trusts anything behind the last whole line, and skips a line that it
//!   cannot read: each line stands for itself.
//! - Lines that are read twice, because a file was copied and the old one is still there, say no
//!   more than once: the second reading ends where the first one did.

mod at_rest;
mod line;
mod replay;
pub mod rewrite;

use serde::{Deserialize, Serialize};

use crate::flow::time::Wall;

pub use self::at_rest::{AtRest, FileAtRest, FolderAtRest};
pub use self::line::{Entry, Event, LINE, Record, parse_rfc3339};
pub use self::replay::{Live, Replay};

/// The version of the format.
const VERSION: u32 = 1;

/// The first line of a file: whose journal it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    v: u32,
    /// When the file was begun, for people: RFC 3339.
    at: String,
    event: HeadEvent,
    /// The share: its id, and behind that whether it carries it as a mark.
    pub share: String,
    /// The first and the last number of the files whose lines stand in this one: what is still
    /// there of them does not count, whichever of them a power cut has brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum HeadEvent {
    #[serde(rename = "journal")]
    Journal,
}

impl Head {
    /// That of a file of `share` which is begun at `at` and replaces no other.
    pub fn new(share: &str, at: Wall) -> Head {
        Head {
            v: VERSION,
            at: at.rfc3339_millis(),
            event: HeadEvent::Journal,
            share: share.into(),
            replaces: None,
        }
    }

    /// The same of a file in which all lines of the files `first` to `last` stand that are of
    /// interest.
    #[must_use]
    pub fn replacing(self, first: u64, last: u64) -> Head {
        Head {
            replaces: Some((first, last)),
            ..self
        }
    }

    /// As a line, with its newline.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("plain data becomes JSON");
        line.push(b'\n');
        line
    }

    /// What `line` says, if it is the first line of a file.
    pub fn read(line: &[u8]) -> Option<Head> {
        let head = serde_json::from_slice::<Head>(line).ok()?;
        (head.v == VERSION).then_some(head)
    }
}

#[cfg(test)]
mod tests;
