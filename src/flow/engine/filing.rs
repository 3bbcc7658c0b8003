//! FILE AWAY: what is to be filed, what came of it, and what earlier engines had to file. How it
//! is filed is decided in [`crate::flow::filing`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::files::{ActiveFile, State};
use super::{Engine, FILE_AGAIN};
use crate::flow::endpoint::reply::Answer;
use crate::flow::events::Note;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::filing::{Fate, Filed, Filing, Place, Progress, Reason};
use crate::flow::journal::Live;
use crate::flow::messages::Effect;
use crate::flow::settle::Stability;
use crate::flow::time::Now;

/// How long a filing waits that the journal did not take.
const JOURNAL_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// `file` is to be filed away.
    pub(super) fn file_away(&mut self, file: FileNo, fate: Fate, progress: Progress, now: Now) {
        let Some(motion) = self.motions.get_mut(file) else { return };
        let filing = Filing {
            file,
            path: motion.path.clone(),
            look: motion.still.look,
            sha256: motion.sent.or(motion.checked.flatten()),
            marker: motion.marker.filter(|_| self.policy.marker),
            fate,
            progress,
        };
        motion.filing = Some(Box::new(filing));
        self.begin_filing(file, now);
    }

    fn begin_filing(&mut self, file: FileNo, now: Now) {
        self.release_line(file);
        self.motions.put(file, State::Filing);
        self.hand_out_filing(file, now);
    }

    pub(super) fn hand_out_filing(&mut self, file: FileNo, now: Now) {
        if !self.may_file() {
            self.motions.put_until(file, State::Filing, now.mono + FILE_AGAIN);
        } else if let Some(filing) = self.motions.get(file).and_then(|motion| motion.filing.clone())
        {
            self.effects.push(Effect::File(*filing));
        }
    }

    /// `file` goes to dead-letter.
    pub(super) fn condemn(
        &mut self,
        file: FileNo,
        reason: String,
        answer: Option<&Answer>,
        now: Now,
    ) {
        let Some(motion) = self.motions.get(file) else { return };
        let reason = Reason {
            reason,
            status: answer.map(|answer| answer.status),
            body: answer.map(|answer| answer.body.clone()).unwrap_or_default(),
            attempts: motion.attempts,
            first_seen: motion.first_seen,
            dead_at: now.wall,
            key: self.key_of(&motion.path, motion.still.look.stamp),
        };
        self.file_away(file, Fate::Condemned(Box::new(reason)), Progress::Unwritten, now);
    }

    pub(super) fn on_filed(&mut self, file: FileNo, filed: Filed, now: Now) {
        let Some(filing) = self.motions.get(file).and_then(|motion| motion.filing.clone()) else {
            return;
        };
        let took_lines = match &filed {
            Filed::Failed { journal, .. } => !journal && filing.progress == Progress::Unwritten,
            _ => true,
        };
        if took_lines && !self.low {
            self.journal_back(now);
        }
        if !matches!(filed, Filed::Failed { .. }) {
            self.over(file, now);
        }
        match filed {
            Filed::Away { to } => self.filed_away(file, &filing, to),
            Filed::Copied { to } => self.copied_away(file, &filing, to),
            Filed::NewVersion(look) => self.new_version(file, &filing, look, now),
            Filed::Displaced { to } => {
                self.note(Note::NewVersion { path: filing.path, displaced: Some(to) });
                self.leave(file);
            }
            Filed::Gone => {
                self.note(Note::Filed { path: filing.path, to: None });
                self.leave(file);
            }
            Filed::Failed { why, journal, progress, left } => {
                if let Some(filing) =
                    self.motions.get_mut(file).and_then(|motion| motion.filing.as_mut())
                {
                    filing.progress = progress;
                }
                if left {
                    self.detach(file);
                }
                if journal {
                    self.journal_down(why, now);
                    self.motions.put_until(file, State::Filing, now.mono + JOURNAL_AGAIN);
                } else {
                    self.trouble(file, "file", why, now);
                }
            }
        }
    }

    fn filed_away(&mut self, file: FileNo, filing: &Filing, to: Option<Place>) {
        let path = filing.path.clone();
        match (&filing.fate, to) {
            (Fate::Accepted(_), None) if self.keeps() => {
                self.drop_file(file);
                self.rest(&path, filing.look.stamp, filing.marker_stamp());
                return;
            }
            (Fate::Condemned(reason), Some(to)) => {
                self.tally.condemned += 1;
                self.note(Note::Condemned { path, reason: reason.reason.clone(), to });
            }
            (_, to) => self.note(Note::Filed { path, to }),
        }
        self.leave(file);
    }

    /// `file` cannot be moved away: dead-letter has a copy, and it is known from now on.
    fn copied_away(&mut self, file: FileNo, filing: &Filing, to: Place) {
        let Fate::Condemned(reason) = &filing.fate else { return };
        let (path, stamp) = (filing.path.clone(), filing.look.stamp);
        self.tally.condemned += 1;
        self.note(Note::Condemned { path: path.clone(), reason: reason.reason.clone(), to });
        self.drop_file(file);
        self.rest(&path, stamp, filing.marker_stamp());
        self.copied.insert(path, (stamp, reason.key.clone()));
    }

    /// Another version lies at the place of `file`, and of the one that was to be filed nothing is
    /// left to be done.
    fn new_version(&mut self, file: FileNo, filing: &Filing, look: Option<Look>, now: Now) {
        self.note(Note::NewVersion { path: filing.path.clone(), displaced: None });
        let Some(motion) = self.motions.get_mut(file) else { return };
        let look = look.filter(|_| !motion.detached && !self.same_name.contains_key(&filing.path));
        let Some(look) = look else {
            // What lies there has a record of its own, or gets one by the next listing.
            return self.leave(file);
        };
        motion.used_marker = filing.marker_stamp();
        motion.still = Stability::new(look, now, &self.steps);
        motion.forget_version(now.wall);
        self.motions.put(file, State::Settling);
        self.advance(file, now);
    }

    /// What is to be filed has left its place, and is not where it goes to yet: what is listed at
    /// its name is another version, with a record of its own.
    fn detach(&mut self, file: FileNo) {
        let Some(motion) = self.motions.get_mut(file) else { return };
        if !std::mem::replace(&mut motion.detached, true) {
            let path = motion.path.clone();
            self.release_name(file, &path);
        }
    }

    /// `file` is not at its place any more.
    fn leave(&mut self, file: FileNo) {
        if let Some(motion) = self.drop_file(file)
            && !motion.detached
        {
            self.release_name(file, &motion.path);
        }
    }

    /// The name `path` is no longer that of `file`. If another version is still to be filed from
    /// there, it is that one's; else what is listed there next is new.
    fn release_name(&mut self, file: FileNo, path: &Rel) {
        let Some(others) = self.same_name.get_mut(path) else {
            self.tree.set_left(path, self.scan.running.map(|_| self.scan.number));
            return;
        };
        if let Some(at) = others.iter().position(|&other| other == file) {
            others.remove(at);
        } else if let Some(next) = others.pop() {
            self.tree.set_moving(path, next);
        }
        if others.is_empty() {
            self.same_name.remove(path);
        }
    }

    fn keeps(&self) -> bool {
        self.policy.action == crate::config::Action::Keep
    }

    // ---- what earlier engines had to file -------------------------------------------

    /// Goes on with what an earlier engine of the same process had to file away, and with what
    /// the journal says.
    pub(super) fn resume_filings(
        &mut self,
        filings: Vec<Filing>,
        live: BTreeMap<(Rel, Stamp), Live>,
        now: Now,
    ) {
        for filing in filings {
            if !live.contains_key(&(filing.path.clone(), filing.look.stamp)) {
                self.resume_filing(anywhere(filing), now);
            }
        }
        // First what lies at its place and stays there: the name is its own.
        let (resting, moving): (BTreeMap<_, _>, BTreeMap<_, _>) =
            live.into_iter().partition(|(_, live)| live.rests);
        for ((path, stamp), live) in resting {
            self.resume_resting(&path, stamp, live);
        }
        for ((path, stamp), live) in moving {
            self.resume_live(path, stamp, live, now);
        }
    }

    fn resume_resting(&mut self, path: &Rel, stamp: Stamp, live: Live) {
        if let Fate::Condemned(reason) = live.fate {
            self.copied.insert(path.clone(), (stamp, reason.key));
        }
        match live.missing {
            Some(since) => self.tree.set_away(path, stamp, since),
            None => self.rest(path, stamp, live.marker),
        }
    }

    fn resume_live(&mut self, path: Rel, stamp: Stamp, live: Live, now: Now) {
        let Live { fate, marker, moving, .. } = live;
        let look = |stamp| Look { stamp, ..Look::default() };
        let filing = Filing {
            file: 0,
            path,
            look: look(stamp),
            sha256: None,
            marker: marker.map(look),
            fate,
            progress: moving.map_or(Progress::Written, Progress::Moving),
        };
        self.resume_filing(filing, now);
    }

    fn resume_filing(&mut self, filing: Filing, now: Now) {
        let still = Stability::new(filing.look, now, &self.steps);
        let path = filing.path.clone();
        let file = if self.tree.rests(&path) {
            // What lies at its place came later, and stays.
            let motion = ActiveFile::new(path, still, None, now.wall);
            self.motions.add(ActiveFile { detached: true, ..motion })
        } else {
            let holder = self.tree.moving(&path);
            let file = self.add(path.clone(), still, None, now);
            if let Some(holder) = holder {
                // Which of them lies at its place is known when their filings come back.
                self.same_name.entry(path).or_default().push(holder);
            }
            file
        };
        if let Some(motion) = self.motions.get_mut(file) {
            motion.filing = Some(Box::new(Filing { file, ..filing }));
        }
        self.begin_filing(file, now);
    }

    /// What is to be filed away, for an engine that goes on in the same process.
    pub(super) fn filings(&self) -> Vec<Filing> {
        self.motions.iter().filter_map(|(_, motion)| motion.filing.as_deref().cloned()).collect()
    }
}

/// Without what a share that was mounted again may show otherwise: inodes and devices.
fn anywhere(filing: Filing) -> Filing {
    let only = |look: Look| Look { stamp: look.stamp, ..Look::default() };
    Filing { look: only(filing.look), marker: filing.marker.map(only), ..filing }
}
