//! FILE AWAY: what becomes of a file that was accepted or condemned.
//!
//! The engine decides *that* a version is to be filed and hands out a [`Filing`]. How that is
//! done is decided here, by one machine for each file ([`machine`]): it asks for one operation on
//! the file system or the journal at a time and is handed what came of it. A [`batch::Batch`]
//! drives the machines of a group, and carries nothing out itself: it has a [`Disk`] for that,
//! which is the real one in production and a modelled one in the simulation.
//!
//! Invariants, in this order for each file:
//! 1. The acceptance, or the reason of the condemnation, stands in the journal.
//! 2. The file is looked at once more at its place. What is not what was sent is not moved.
//! 3. A name that is free is chosen and written down as the target. All of that is on the disk
//!    before anything is moved.
//! 4. The file is renamed there; nothing is ever replaced. For `delete`, and across file systems,
//!    "there" is the staging folder, which only dirpost writes to.
//! 5. It is looked at there. Only if it is what was sent is it filed, deleted or copied on; else
//!    it is a new version, and is put back, replacing nothing.
//! 6. Only when the move is on the disk does the journal say `filed`.
//!
//! An operation that answered with an error may have been done all the same (an unlink or a
//! rename over NFS and SMB). So nothing is undone, and nothing is done again, on such an answer
//! before a fresh look has shown what is there; and of two names of one file the last is never
//! removed.

pub mod answer;
pub mod batch;
pub mod disk;
mod free_name;
mod handed_out;
pub mod keeping;
mod kept;
mod lost_syncs;
pub mod machine;
mod moving;
pub mod names;
pub mod ops;
pub mod reason;
mod side_by_side;

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::answer::Receipt;
pub use self::batch::{Batch, Carried, Outcome};
pub use self::disk::{Disk, Fault, FaultKind};
pub use self::kept::Kept;
pub use self::reason::Reason;
pub use self::side_by_side::Order;
use crate::config::Action;
use crate::flow::escape::{escape, unescape};
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::marker::MarkerRule;

/// The folders that a file can lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// `delivered.dir`: what was accepted.
    Done,
    /// `dead_letter.dir`: what was condemned, with its reason beside it.
    DeadLetter,
    /// `staging` in dirpost's own folder on the share: on the way to another file system or to
    /// the deletion, for a moment.
    Staging,
    /// The watched folder. Nothing is moved there but what is put back; a copy may be made of
    /// what lies there.
    Watched,
}

impl Area {
    const ALL: [Area; 4] = [Area::Done, Area::DeadLetter, Area::Staging, Area::Watched];

    /// The word of the journal and the log.
    pub const fn word(self) -> &'static str {
        match self {
            Area::Done => "done",
            Area::DeadLetter => "dead-letter",
            Area::Staging => "staging",
            Area::Watched => "watched",
        }
    }
}

/// Where a file lies or goes: a path in an area.
///
/// As text, in the journal and the log, it is `done/a/b.csv`, escaped like all paths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In which area.
    pub area: Area,
    /// Below the folder of the area.
    pub path: Rel,
}

impl Place {
    /// `path` in `area`.
    pub fn new(area: Area, path: Rel) -> Place {
        Place { area, path }
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> Place {
        Place::new(self.area, self.path.parent())
    }

    /// The entry `name` of this folder.
    pub fn join(&self, name: &[u8]) -> Place {
        Place::new(self.area, self.path.join(name))
    }

    /// The same name with `suffix` behind it, in the same folder.
    pub fn beside(&self, suffix: &[u8]) -> Place {
        Place::new(
            self.area,
            Rel::new(&[self.path.as_bytes(), suffix].concat()),
        )
    }

    /// Where the marker of a file that lies here lies.
    pub fn marker(&self, rule: &MarkerRule) -> Place {
        Place::new(self.area, rule.path_of(&self.path))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.area.word(), escape(self.path.as_bytes()))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Only what is plain is a place: what stands in a file leads nowhere outside.
impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        let (word, rest) = text.split_once('/').ok_or("no area is named")?;
        let area = Area::ALL.into_iter().find(|area| area.word() == word);
        let path = Rel::new(&unescape(rest));
        match area {
            Some(area) if path.is_plain() => Ok(Place { area, path }),
            Some(_) => Err("it is no plain relative path"),
            None => Err("there is no such area"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A move that stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The target. It was free when it was written down.
    pub to: Place,
    /// Across file systems: the target is a copy of this, which is removed last.
    pub copy_of: Option<Place>,
}

/// What the endpoint said when it accepted a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The `Idempotency-Key` that it was sent under.
    pub key: String,
    /// The HTTP status.
    pub status: u16,
}

/// Why a version is to be filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The endpoint has all of it.
    Accepted(Acceptance),
    /// It goes to dead-letter.
    Condemned(Box<Reason>),
}

impl Fate {
    /// The `Idempotency-Key` of the round that has come to this.
    pub fn key(&self) -> &str {
        match self {
            Fate::Accepted(acceptance) => &acceptance.key,
            Fate::Condemned(reason) => &reason.key,
        }
    }
}

/// How far the filing of a version has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The journal does not have its fate yet.
    Unwritten,
    /// The journal has its fate, and nothing of a move.
    Written,
    /// This move stands in the journal. Whether it took place is to be looked at.
    Moving(Move),
    /// This move stands in the journal, and this process has brought the name of its copy onto the
    /// disk. No other process can know that: what an fsync has failed to bring there, the next one
    /// says nothing of.
    Copied(Move),
}

impl Progress {
    /// The move that stands in the journal.
    pub fn moving(&self) -> Option<&Move> {
        match self {
            Progress::Moving(moving) | Progress::Copied(moving) => Some(moving),
            Progress::Unwritten | Progress::Written => None,
        }
    }

    /// Whether the file is known to have left its place: a copy is made of what lies in the staging
    /// folder only once it has been looked at there.
    pub fn has_left_its_place(&self) -> bool {
        let from = self.moving().and_then(|moving| moving.copy_of.as_ref());
        from.is_some_and(|from| from.area == Area::Staging)
    }
}

/// FILE AWAY: one version of a file, and what is to become of it.
#[derive(Clone, Debug)]
pub struct Filing {
    /// Its number in the engine.
    pub file: FileNo,
    /// Its place in the watched folder.
    pub path: Rel,
    /// As it was read. After a restart only the stamp is known; inode and ctime are 0.
    pub look: Look,
    /// The SHA-256 digest of what was read, if it is known.
    pub sha256: Option<[u8; 32]>,
    /// The marker that vouched for it. It is filed right after it.
    pub marker: Option<Look>,
    /// Accepted or condemned.
    pub fate: Fate,
    /// What is to be written beside it in `done`: the answer to it. No journal has it.
    pub receipt: Option<Receipt>,
    /// How far it has come.
    pub progress: Progress,
}

impl Filing {
    /// The stamp of its marker.
    pub fn marker_stamp(&self) -> Option<Stamp> {
        self.marker.map(|marker| marker.stamp)
    }
}

/// What came of a filing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filed {
    /// Nothing is left to be done. Where it lies now: `None` if it was deleted or stays where it
    /// is (`keep`).
    Away {
        /// The place.
        to: Option<Place>,
    },
    /// It cannot be moved away from a share that dirpost may not write to: dead-letter has a
    /// copy, and it stays where it is.
    Copied {
        /// The place of the copy.
        to: Place,
    },
    /// Another version lies at its place, and of the old one nothing is left to be filed. This
    /// is what it looks like, if it could be looked at.
    NewVersion(Option<Look>),
    /// What was moved turned out to be a new version, and its place was taken meanwhile: it is in
    /// dead-letter.
    Displaced {
        /// The place of the new version.
        to: Place,
    },
    /// Somebody else took it away.
    Gone,
    /// It could not be filed, and is to be tried again.
    Failed {
        /// What was tried and what went wrong.
        why: String,
        /// It is the journal that does not take what has to be written down first.
        journal: bool,
        /// How far it has come, for the next try.
        progress: Progress,
        /// It has left its place, and what lies where it went has been seen to be what was sent:
        /// what is listed at its place now is another version.
        left: bool,
    },
}

/// What the configuration and the share say of filing.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What becomes of what was accepted.
    pub action: Action,
    /// How markers are called, if files have any.
    pub marker: Option<MarkerRule>,
    /// dirpost may not write to the share: what is condemned is copied, and stays.
    pub read_only: bool,
    /// What is put into `done` is written down, to be removed some day (`delivered.keep_for`).
    pub notes_kept: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_its_text_whatever_its_name() {
        for path in [
            &b"a.csv"[..],
            b"d/odd\n\xff%2F.csv",
            b"done/x",
            "\u{9b}ü".as_bytes(),
        ] {
            for area in Area::ALL {
                let place = Place::new(area, Rel::new(path));
                let text = place.to_string();
                assert!(!text.contains('\n'));
                assert_eq!(text.parse(), Ok(place));
            }
        }
    }

    #[test]
    fn no_text_leads_out_of_an_area() {
        for text in [
            "",
            "done",
            "done/",
            "done/../x",
            "done//x",
            "/etc/passwd",
            "lost/x",
            "done/a%00b",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
