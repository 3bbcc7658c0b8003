//! What the lines of a journal add up to.

use std::collections::BTreeMap;
use std::collections::btree_map;

use super::Head;
use super::at_rest::{AtRest, Note};
use super::line::{Event, Line, Record};
use super::rewrite::{LineSet, Part};
use crate::flow::escape::unescape;
use crate::flow::file::{Rel, Stamp};
use crate::flow::filing::{Acceptance, Fate, Move, Reason};
use crate::flow::time::Wall;

/// What is still to be done, or known, of a version that has not simply been delivered and stays.
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
    /// It was condemned, dead-letter has a copy, and it stays where it is: it is only to be known
    /// again.
    pub rests: bool,
    /// It rests, and has not been there since.
    pub missing: Option<Wall>,
}

/// The numbers of the lines that say what is live of a version.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    fate: u64,
    /// The first and the last one. The first one tells that the version was on its way when the
    /// next one under its name came.
    moving: Option<(u64, u64)>,
    rests: Option<u64>,
    missing: Option<u64>,
}

/// A journal, added up.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The share that the last file names, if one does: files of old versions do not.
    pub share: Option<String>,
    /// By path and version: while one version is still on its way to where it is filed, the next
    /// one under its name may have been accepted. They are as many as are in flight, and what was
    /// condemned and could not be moved.
    pub live: BTreeMap<(Rel, Stamp), Live>,
    /// What was delivered and stays where it is.
    pub at_rest: AtRest,
    /// Lines that could not be read.
    pub unreadable: usize,
    /// Lines that were read, with those.
    read: u64,
    /// Those of each version in `live`.
    lines: BTreeMap<(Rel, Stamp), Lines>,
    /// Only these paths are added up.
    part: Part,
}

/// By what they add up to, but for the numbers of the lines.
impl PartialEq for Replay {
    fn eq(&self, other: &Replay) -> bool {
        (&self.share, &self.live, &self.at_rest, self.unreadable)
            == (&other.share, &other.live, &other.at_rest, other.unreadable)
    }
}

impl Eq for Replay {}

impl Replay {
    /// For those paths alone that are in `part`.
    pub fn of(part: Part) -> Replay {
        Replay {
            part,
            ..Replay::default()
        }
    }

    /// Adds the whole lines of `bytes`; what follows the last newline is left out.
    pub fn add(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if let Some(line) = line.strip_suffix(b"\n") {
                self.line(line);
            }
        }
    }

    /// Adds a line, without its newline.
    pub fn line(&mut self, line: &[u8]) {
        let number = self.read;
        self.read += 1;
        if line.is_empty() {
            return;
        }
        match Record::read(line) {
            Some(line) if self.part.has(&line.path) => self.apply(line, number),
            Some(_) => {}
            None => match Head::read(line) {
                Some(head) => self.share = Some(head.share),
                None => self.unreadable += 1,
            },
        }
    }

    /// How many lines were read.
    pub fn lines_read(&self) -> u64 {
        self.read
    }

    /// About how many of them are still of interest.
    pub fn lines_live(&self) -> u64 {
        self.at_rest.count_about() + self.live.len() as u64
    }

    fn apply(&mut self, line: Line<'_>, number: u64) {
        let at = line.at_if_live();
        let of = |marker: Option<(u64, i64)>| {
            marker.map(|(size, mtime)| Stamp {
                size,
                mtime: Wall(mtime),
            })
        };
        let live = |fate, marker| Live {
            at,
            fate,
            marker: of(marker),
            moving: None,
            rests: false,
            missing: None,
        };
        match line.event {
            Event::Accepted {
                marker, keep: true, ..
            }
            | Event::Skipped { marker } => {
                self.end_earlier(&line.path, line.stamp);
                let note = Note::Kept(line.stamp, of(marker));
                self.at_rest.note(&line.path, note, number);
            }
            Event::Accepted {
                key,
                status,
                marker,
                keep: false,
            } => {
                let fate = Fate::Accepted(Acceptance { key, status });
                self.begin(&line.path, line.stamp, live(fate, marker), number);
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
                self.begin(&line.path, line.stamp, live(fate, marker), number);
            }
            later => self.amend(&line.path, line.stamp, later, number),
        }
    }

    /// Another version is accepted or condemned. What is known of the one before it is only still
    /// of interest while that is on its way to where it is filed.
    fn end_earlier(&mut self, path: &[u8], stamp: Stamp) {
        if self.live.is_empty() {
            return;
        }
        let path = Rel::new(path);
        let versions = (path.clone(), Stamp::MIN)..=(path, Stamp::MAX);
        let is_over = |version: &(Rel, Stamp), live: &mut Live| {
            live.moving.is_none() || live.rests || version.1 == stamp
        };
        for (version, _) in self
            .live
            .extract_if(versions, |version, live| is_over(version, live))
        {
            self.lines.remove(&version);
        }
    }

    fn begin(&mut self, path: &[u8], stamp: Stamp, live: Live, number: u64) {
        self.end_earlier(path, stamp);
        self.at_rest.note(path, Note::Superseded, number);
        let version = (Rel::new(path), stamp);
        let lines = Lines {
            fate: number,
            ..Lines::default()
        };
        self.lines.insert(version.clone(), lines);
        self.live.insert(version, live);
    }

    /// What happened to a version that is known.
    fn amend(&mut self, path: &[u8], stamp: Stamp, event: Event, number: u64) {
        let version = (Rel::new(path), stamp);
        let btree_map::Entry::Occupied(mut entry) = self.live.entry(version) else {
            let note = match event {
                Event::Missing { since } => Note::Missing(stamp, Wall(since)),
                Event::Back => Note::Back(stamp),
                Event::Filed | Event::Forgotten => Note::Gone(stamp),
                // They are said of what does not stay.
                Event::Moving { .. } | Event::Copied => return,
                Event::Accepted { .. } | Event::Skipped { .. } | Event::Condemned { .. } => return,
            };
            return self.at_rest.note(path, note, number);
        };
        let lines = self.lines.entry(entry.key().clone()).or_default();
        let live = entry.get_mut();
        match event {
            Event::Moving { to, from } => {
                live.moving = Some(Move { to, copy_of: from });
                let first = lines.moving.map_or(number, |(first, _)| first);
                lines.moving = Some((first, number));
            }
            Event::Copied => (live.rests, lines.rests) = (true, Some(number)),
            Event::Missing { since } => {
                (live.missing, lines.missing) = (Some(Wall(since)), Some(number));
            }
            Event::Back => (live.missing, lines.missing) = (None, None),
            Event::Filed | Event::Forgotten => {
                let (version, _) = entry.remove_entry();
                self.lines.remove(&version);
            }
            Event::Accepted { .. } | Event::Skipped { .. } | Event::Condemned { .. } => {}
        }
    }

    /// Enters in `live` the numbers of the lines that say what is live, the first line having the
    /// number 0.
    pub fn mark_live(&self, live: &mut LineSet) {
        for lines in self.lines.values() {
            live.insert(lines.fate);
            for moving in lines.moving.into_iter().flat_map(<[u64; 2]>::from) {
                live.insert(moving);
            }
            for line in lines.rests.into_iter().chain(lines.missing) {
                live.insert(line);
            }
        }
        for (_, files) in self.at_rest.folders() {
            for file in files.files() {
                live.insert(file.line);
                if file.missing.is_some() {
                    live.insert(file.missing_line);
                }
            }
        }
    }
}
