//! SCAN and TRACK: what the engine makes of listings, and of a share that is not there.

use std::time::Duration;

use super::Engine;
use super::files::State;
use crate::flow::alarm::{Alarm, HANG, Said};
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::journal::Event as Line;
use crate::flow::messages::{Closing, Effect, ListedFolder};
use crate::flow::scan::tree::Event;
use crate::flow::settle::Stability;
use crate::flow::time::{Mono, Now, Wall};

/// What a scan may take beyond four times the one before and count in full.
const UNUSUAL: Duration = Duration::from_secs(1);

/// Where the scans stand.
#[derive(Debug)]
pub(super) struct Scan {
    /// Counts the scans that were started.
    pub number: u64,
    /// Since when one is under way.
    pub running: Option<Mono>,
    /// When it was last heard of.
    pub heard: Mono,
    pub next: Mono,
    /// How long the last one took, as far as that counts.
    pub usual: Duration,
    /// How many were complete.
    pub completed: u64,
    pub hangs: Alarm,
}

impl Engine {
    pub(super) fn on_listed(&mut self, folder: ListedFolder, now: Now) {
        let path = &folder.path;
        let trouble = match &folder.content {
            Ok(content) => content.unseen_why.as_ref().map(|(name, why)| {
                let (path, why) = (path.join(name), why.clone());
                Note::NameTrouble { path, why }
            }),
            Err(why) => Some(Note::FolderTrouble {
                path: path.clone(),
                why: why.clone(),
            }),
        };
        self.folder_trouble(path, trouble, now);
        let Ok(content) = folder.content else { return };
        let remember = i64::try_from(self.policy.remember.as_nanos()).unwrap_or(i64::MAX);
        let horizon = Wall(now.wall.0.saturating_sub(remember));
        let mut lines = Vec::new();
        for event in self
            .tree
            .merge(&folder.path, content, self.scan.number, now.wall, horizon)
        {
            match event {
                Event::New { name, look, marker } => {
                    if !self.takes_new() {
                        continue;
                    }
                    let still = Stability::new(look, now, &self.steps);
                    let file = self.add(folder.path.join(&name), still, marker, now);
                    self.advance(file, now);
                }
                Event::Seen { file, look, marker } => self.on_seen(file, look, marker, now),
                Event::Missing { file } => {
                    if self
                        .motions
                        .get(file)
                        .is_some_and(|motion| !motion.is_busy())
                    {
                        let motion = self.drop_file(file).expect("it was just there");
                        self.tree.forget(&motion.path);
                    }
                }
                Event::Away { path, stamp } => {
                    lines.push((path, stamp, Line::Missing { since: now.wall.0 }))
                }
                Event::Back { path, stamp } => lines.push((path, stamp, Line::Back)),
                Event::Forgotten { path, stamp } => {
                    self.copied.remove(&path);
                    self.used_markers.remove(&path);
                    lines.push((path, stamp, Line::Forgotten));
                }
            }
        }
        self.forget_recalled(&folder.path);
        if !lines.is_empty() {
            self.effects.push(Effect::Write(lines));
        }
    }

    /// Something in `path` could not be listed or looked at, or all could.
    fn folder_trouble(&mut self, path: &Rel, trouble: Option<Note>, now: Now) {
        let Some(note) = trouble else {
            if self.folder_troubles.remove(path).is_some() {
                self.note(Note::FolderTroubleOver { path: path.clone() });
            }
            return;
        };
        let (Note::FolderTrouble { why, .. } | Note::NameTrouble { why, .. }) = &note else {
            return;
        };
        let (alarm, scan) = self.folder_troubles.entry(path.clone()).or_default();
        *scan = self.scan.number;
        if alarm.raise(why, now.mono).is_some() {
            self.note(note);
        }
    }

    /// All versions that were ever taken out of dead-letter. One that had only been copied there
    /// lies at its place already, and becomes new again.
    pub(super) fn on_retries(&mut self, retries: Vec<(Rel, Stamp, u32)>) {
        self.rounds = retries
            .into_iter()
            .map(|(path, stamp, round)| ((path, stamp), round))
            .collect();
        let again: Vec<Rel> = self
            .copied
            .iter()
            .filter(|(path, (stamp, old))| self.key_of(path, *stamp) != *old)
            .map(|(path, _)| path.clone())
            .collect();
        for path in again {
            self.copied.remove(&path);
            self.tree.disturb(&path);
        }
    }

    /// All is about to be opened anew: what is under way ends, and nothing more begins.
    pub(super) fn on_closing(&mut self, why: Closing, now: Now) {
        self.closing = true;
        match why {
            Closing::ShareBack => {
                if let Some(since) = self.share_trouble.since() {
                    let since = now.mono.since(since);
                    self.note(Note::ShareBack { since });
                }
            }
            Closing::MountedOver => self.note(Note::MountedOver),
            Closing::LockLost(why) => self.note(Note::LockLost { why }),
        }
    }

    fn on_seen(&mut self, file: FileNo, look: Look, marker: Option<Look>, now: Now) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        let marker_changed =
            motion.marker.map(|marker| marker.stamp) != marker.map(|marker| marker.stamp);
        motion.marker = marker;
        // What is being sent is watched by its worker, more closely than from here.
        if motion.is_busy() {
            return;
        }
        let changed = motion.still.observe(look, now, &self.steps);
        if changed {
            motion.forget_version(now.wall);
            self.gate.forget(file);
            self.release_line(file);
        }
        if changed || marker_changed {
            self.advance(file, now);
        }
    }

    /// The scan under way goes on. What takes long hangs only while nothing is heard of it.
    pub(super) fn heard_of_scan(&mut self, now: Now) {
        if self.scan.running.is_none() {
            return;
        }
        if now.mono.since(self.scan.heard) >= HANG {
            self.doubt = Some(self.scan.number);
        }
        self.scan.heard = now.mono;
        if let Some(since) = self.scan.hangs.clear(now.mono) {
            self.note(Note::ScanBack { since });
        }
    }

    pub(super) fn on_scanned(&mut self, result: Result<(), String>, now: Now) {
        let Some(started) = self.scan.running.take() else {
            return;
        };
        let took = now.mono.since(started);
        let hung = self.doubt == Some(self.scan.number);
        // The time of a scan that hung, or did not get far, does not count; nor does most of one
        // that took far longer than the one before: that was the share, not the looking.
        let counted = took.min(self.scan.usual * 4 + UNUSUAL);
        let rest = counted.mul_f64((1.0 / self.policy.max_share - 1.0).clamp(0.0, 1e6));
        let rest = if result.is_ok() && !hung {
            rest
        } else {
            Duration::ZERO
        };
        if result.is_ok() {
            self.scan.usual = counted;
        }
        self.scan.next = (started + self.policy.interval).max(now.mono + rest);
        match result {
            Ok(()) => {
                if let Some(since) = self.share_trouble.clear(now.mono) {
                    self.note(Note::ShareBack { since });
                }
                // A folder that is gone has no trouble any more.
                self.folder_troubles
                    .retain(|_, (_, scan)| *scan == self.scan.number);
                self.scan.completed += 1;
                if self.scan.completed == 1 {
                    let waiting = self.motions.count(State::Waiting);
                    let files = self.motions.len();
                    self.note(Note::Looked {
                        files,
                        waiting,
                        at_rest: self.tree.resting(),
                    });
                }
                if self.folder_troubles.is_empty() {
                    // What was not seen by now is not there.
                    self.recalled.clear();
                }
            }
            Err(why) => self.on_share_away(why, now),
        }
    }

    fn on_share_away(&mut self, why: String, now: Now) {
        match self.share_trouble.raise(&why, now.mono) {
            Some(Said::Began) => self.note(Note::ShareAway { why }),
            Some(Said::Still { since }) => self.note(Note::ShareStillAway { why, since }),
            None => {}
        }
    }
}
