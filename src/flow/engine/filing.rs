//! FILE AWAY: what is to be filed, what came of it, and what earlier engines had to file. How it
//! is filed is decided in [`crate::flow::filing`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::{ActiveFile, At, Seat};
use super::known::NameOf;
use super::{Engine, FILE_AGAIN, MAX_FILING};
use crate::config::Action;
use crate::flow::endpoint::reply::Answer;
use crate::flow::events::Note;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::filing::{Fate, Filed, Filing, Place, Progress, Reason, Receipt};
use crate::flow::journal::{FolderAtRest, Live, Replay};
use crate::flow::marker::MarkerRule;
use crate::flow::memory::{Learned, Used};
use crate::flow::messages::Effect;
use crate::flow::scan::listing::Listing;
use crate::flow::settle::Stability;
use crate::flow::status::Then;
use crate::flow::time::{Now, Wall};
use crate::flow::troubles::Kind;

/// So many answers of up to 64 KiB wait with their files to be moved away: 16 MiB at most. Of others less
/// is kept, for where files cannot be moved away there may be any number of them.
const LONG_RECEIPTS: usize = 256;

/// For so many looks a folder that cannot be listed is waited for, where its files may share a marker.
const LOOKS_AWAITED: u64 = 10;

impl Engine {
    /// `file` is to be filed away.
    pub(super) fn file_away(&mut self, file: FileNo, fate: Fate, progress: Progress, now: Now) {
        self.file_away_with(file, fate, None, (progress, now));
    }

    /// As [`Engine::file_away`], with the answer that is written beside it.
    pub(super) fn file_away_with(
        &mut self,
        file: FileNo,
        fate: Fate,
        receipt: Option<Receipt>,
        (progress, now): (Progress, Now),
    ) {
        self.end_trouble(file, now);
        let waiting = self.files.count(At::Filing) + self.files.count(At::RetryFiling);
        let receipt = receipt.map(|receipt| match waiting < LONG_RECEIPTS {
            true => receipt,
            false => receipt.short(),
        });
        let Some(motion) = self.files.get_mut(file) else {
            return;
        };
        let filing = Filing {
            file,
            path: motion.path.clone(),
            look: motion.still.look,
            sha256: motion.sent.or(motion.checked.sha256()),
            marker: motion.voucher.filter(|_| self.policy.marker.is_some()),
            fate,
            receipt,
            progress,
        };
        motion.filing = Some(Arc::new(filing));
        self.hand_out_filing(file, now);
    }

    pub(super) fn hand_out_filing(&mut self, file: FileNo, now: Now) {
        let is_full = self.files.count(At::Filing) >= MAX_FILING;
        let is_early = self.awaits_listing(file);
        if is_full || is_early || !self.may().file {
            self.files
                .put(file, Seat::RetryFiling(now.mono + FILE_AGAIN));
        } else if let Some(filing) = self
            .files
            .get(file)
            .and_then(|motion| motion.filing.clone())
        {
            let filing = self.leave_shared_marker(Filing::clone(&filing));
            self.files.put(file, Seat::Filing);
            if let Some(active) = self.files.get_mut(file) {
                active.journal_failures = self.health.failures();
            }
            self.out.effects.push(Effect::File(Box::new(filing)));
        }
    }

    /// Whether nobody knows yet whose marker it is beside: its folder was not listed so far. That is not
    /// waited for without end, for the folder may be gone.
    fn awaits_listing(&self, file: FileNo) -> bool {
        self.shared_marker().is_some()
            && self.scans.completed() < LOOKS_AWAITED
            && self
                .files
                .get(file)
                .is_some_and(|active| !self.tree.is_listed(&active.path.parent()))
    }

    /// `ready.marker`, if a marker can vouch for several files.
    fn shared_marker(&self) -> Option<&MarkerRule> {
        let rule = self.policy.marker.as_ref();
        rule.filter(|rule| rule.is_shared())
    }

    /// A marker is filed with the last of the files that it vouches for. For the others it has done
    /// its work: the next version at their places needs another one.
    fn leave_shared_marker(&mut self, filing: Filing) -> Filing {
        let leaves = |file: FileNo| {
            let active = self.files.get(file);
            // Another version may lie at its place, which the marker vouches for as well.
            active.is_some_and(|active| active.filing.is_some() && !active.has_next)
        };
        let is_shared = self.shared_marker().is_some_and(|rule| {
            // What lies in a folder that could not be listed yet nobody knows.
            !self.tree.is_listed(&filing.path.parent())
                || self.is_marker_taken(&filing, rule)
                || self.tree.shares_marker(&filing.path, rule, leaves)
                || self.known.shares_marker_with_next(&filing.path, rule)
        });
        let stays = matches!(filing.fate, Fate::Accepted(_)) && self.policy.action == Action::Keep;
        let version = filing.look.stamp;
        let left = filing.marker_stamp().filter(|_| is_shared && !stays);
        if let Some(active) = self.files.get_mut(filing.file) {
            active.leaves_marker = left.map(|marker| Used { marker, version });
        }
        let marker = filing.marker.filter(|_| left.is_none());
        if let Some(rule) = self.shared_marker() {
            let path = rule.path_of(&filing.path);
            match marker {
                Some(_) => self.known.takes_marker(path, filing.file),
                None => self.known.leaves_marker_alone(&path, filing.file),
            }
        }
        Filing { marker, ..filing }
    }

    /// Whether another file takes the marker of this one along. A try of it that failed may have left a copy
    /// of the marker where that goes.
    fn is_marker_taken(&self, filing: &Filing, rule: &MarkerRule) -> bool {
        let taker = self.known.marker_taker(&rule.path_of(&filing.path));
        let taker = taker.and_then(|taker| self.files.get(taker)?.filing.as_ref());
        // An earlier version of the same file may be filed as well, with the marker before.
        taker.is_some_and(|taker| {
            taker.path != filing.path && taker.marker_stamp() == filing.marker_stamp()
        })
    }

    /// `file` goes to dead-letter.
    pub(super) fn condemn(
        &mut self,
        file: FileNo,
        reason: String,
        answer: Option<&Answer>,
        now: Now,
    ) {
        self.note_failure(file, Then::DeadLetter, &reason, now);
        let Some(motion) = self.files.get(file) else {
            return;
        };
        let reason = Reason {
            reason,
            status: answer.map(|answer| answer.status),
            body: answer.map(|answer| answer.body.clone()).unwrap_or_default(),
            attempts: motion.learned.attempts,
            first_seen: motion.learned.first_seen,
            dead_at: now.wall,
            key: self.key_of(&motion.path, motion.still.look.stamp),
        };
        self.file_away(
            file,
            Fate::Condemned(Box::new(reason)),
            Progress::Unwritten,
            now,
        );
    }

    pub(super) fn on_filed(&mut self, file: FileNo, filed: Filed, now: Now) {
        let Some(filing) = self
            .files
            .get(file)
            .and_then(|motion| motion.filing.clone())
        else {
            return;
        };
        let took_lines = match &filed {
            Filed::Failed { journal, .. } => !journal && filing.progress == Progress::Unwritten,
            _ => true,
        };
        let begun = self.files.get(file).map(|active| active.journal_failures);
        if let Some(failures) = begun.filter(|_| took_lines) {
            self.journal_back(failures, now);
        }
        if !matches!(filed, Filed::Failed { .. }) {
            self.over(file, now);
        }
        match filed {
            Filed::Away { to } => self.filed_away(file, &filing, to),
            Filed::Copied { to } => self.copied_away(file, &filing, to),
            Filed::NewVersion(look) => self.superseded(file, &filing, look, now),
            Filed::Displaced { to } => {
                self.note(Note::NewVersion {
                    path: filing.path.clone(),
                    displaced: Some(to),
                });
                self.leave(file);
            }
            Filed::Gone => {
                self.note(Note::Filed {
                    path: filing.path.clone(),
                    to: None,
                });
                self.leave(file);
            }
            Filed::Failed {
                why,
                journal,
                progress,
                left,
            } => {
                let active = self.files.get_mut(file);
                if let Some(filing) = active.and_then(|active| active.filing.as_mut()) {
                    Arc::make_mut(filing).progress = progress;
                }
                if left {
                    self.detach(file);
                }
                if journal {
                    self.journal_down(why, now);
                    self.files
                        .put(file, Seat::RetryFiling(now.mono + FILE_AGAIN));
                } else {
                    let kind = match filing.fate {
                        Fate::Accepted(_) => Kind::Done,
                        Fate::Condemned(_) => Kind::DeadLetter,
                    };
                    self.trouble(file, kind, why, now);
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
                self.count_condemned(reason.status);
                self.note(Note::Condemned {
                    path,
                    reason: reason.reason.clone(),
                    to,
                });
            }
            (_, to) => self.note(Note::Filed { path, to }),
        }
        if self.policy.remove_emptied {
            let now = self.clock.now().mono;
            self.emptied.taken_out_of(filing.path.parent(), now);
        }
        self.leave(file);
    }

    /// `file` cannot be moved away: dead-letter has a copy, and it is known from now on.
    fn copied_away(&mut self, file: FileNo, filing: &Filing, to: Place) {
        let Fate::Condemned(reason) = &filing.fate else {
            return;
        };
        let (path, stamp) = (filing.path.clone(), filing.look.stamp);
        self.count_condemned(reason.status);
        self.note(Note::Condemned {
            path: path.clone(),
            reason: reason.reason.clone(),
            to,
        });
        self.drop_file(file);
        self.rest(&path, stamp, filing.marker_stamp());
        self.known.copied(path, stamp, reason.key.clone());
    }

    /// Another version lies at the place of `file`, and of the one that was to be filed nothing is
    /// left to be done.
    fn superseded(&mut self, file: FileNo, filing: &Filing, look: Option<Look>, now: Now) {
        self.note(Note::NewVersion {
            path: filing.path.clone(),
            displaced: None,
        });
        let Some(motion) = self.files.get_mut(file) else {
            return;
        };
        let look = look.filter(|_| !motion.detached && !self.known.is_name_shared(&filing.path));
        let Some(look) = look else {
            // What lies there has a record of its own, or gets one by the next listing.
            return self.leave(file);
        };
        // For whichever version lies there by now: with size and mtime put back it shows the same stamp.
        motion.learned.used_marker = filing.marker_stamp();
        motion.learned.used_by = None;
        motion.still = Stability::new(look, now, &self.clock);
        self.end_trouble(file, now);
        let Some(motion) = self.files.get_mut(file) else {
            return;
        };
        motion.forget_version(now.wall);
        self.advance(file, now);
    }

    /// What is to be filed has left its place, and is not where it goes to yet: what is listed at
    /// its name is another version, with a record of its own.
    fn detach(&mut self, file: FileNo) {
        if self.files.detach(file)
            && let Some(path) = self.files.get(file).map(|motion| motion.path.clone())
        {
            self.release_name(file, &path);
        }
    }

    /// `file` is not at its place any more.
    fn leave(&mut self, file: FileNo) {
        if let Some(motion) = self.drop_file(file) {
            self.dealt_with(&motion.path);
            if motion.has_next && self.shared_marker().is_some() {
                self.known.has_next(motion.path.clone());
            }
            // Not before it is filed: a power cut may take its acceptance back until then, and it would
            // wait for another marker.
            if let Some(used) = motion.leaves_marker {
                self.known.leaves_marker(&motion.path, used);
                self.known.learned(self.clock.now().mono);
            }
            if !motion.detached {
                self.release_name(file, &motion.path);
            }
        }
    }

    /// The name `path` is no longer that of `file`.
    fn release_name(&mut self, file: FileNo, path: &Rel) {
        match self.known.release_name(path, file) {
            NameOf::Nobody => self.tree.set_left(path, self.scans.under_way()),
            NameOf::Other(next) => self.tree.set_moving(path, next),
            NameOf::AsBefore => {}
        }
    }

    fn keeps(&self) -> bool {
        self.policy.action == crate::config::Action::Keep
    }

    // ---- what earlier engines had to file -------------------------------------------

    /// Goes on with what an earlier engine of the same process had to file away, and with what
    /// the journal says.
    pub(super) fn resume_filings(&mut self, filings: Vec<Filing>, journal: Replay, now: Now) {
        let Replay {
            mut live, at_rest, ..
        } = journal;
        // The journal does not know the bytes that were sent, and not what was answered.
        let mut unwritten = BTreeMap::new();
        for filing in filings {
            let version = (filing.path.clone(), filing.look.stamp);
            if live
                .get(&version)
                .is_some_and(|live| is_later(&filing, live))
            {
                live.remove(&version);
            }
            if let Some(live) = live.get(&version) {
                // The name of a move is promised to an answer only if this process has chosen it.
                let moving = match &filing.progress {
                    Progress::Moving(moving) | Progress::Copied(moving) => Some(moving),
                    Progress::Unwritten | Progress::Written => None,
                };
                let is_own = live.moving.is_none() || live.moving.as_ref() == moving;
                let receipt = filing.receipt.filter(|_| is_own);
                unwritten.insert(version, (filing.sha256, receipt));
            } else if !at_rest.has(&version.0, version.1) {
                self.resume_filing(anywhere(filing), now);
            }
        }
        // First what lies at its place and stays there: the name is its own.
        for folder in at_rest {
            self.resume_resting(&folder, now);
        }
        let (copied, moving): (BTreeMap<_, _>, BTreeMap<_, _>) =
            live.into_iter().partition(|(_, live)| live.rests);
        for ((path, stamp), live) in copied {
            self.resume_copied(&path, stamp, live, now);
        }
        for (version, live) in moving {
            let (sha256, receipt) = unwritten.remove(&version).unwrap_or_default();
            let filing = Filing {
                sha256,
                receipt,
                ..resumed(version, live)
            };
            self.resume_filing(filing, now);
        }
    }

    /// What was delivered and stays in one folder.
    fn resume_resting(&mut self, folder: &FolderAtRest, now: Now) {
        let mut rest = Listing::new();
        for file in folder.files() {
            let path = || folder.path.join(file.name);
            if file.marker.is_some() {
                self.known.rests(&path(), file.stamp, file.marker);
            }
            match self.missing_since(path, file.missing, now) {
                Some(since) => self.tree.set_away(&path(), file.stamp, since),
                None => rest.push(file.name, file.stamp),
            }
        }
        rest.shrink();
        self.tree.restore(&folder.path, rest);
    }

    /// What was condemned, was copied to dead-letter, and stays.
    fn resume_copied(&mut self, path: &Rel, stamp: Stamp, live: Live, now: Now) {
        if let Fate::Condemned(reason) = live.fate {
            self.known.copied(path.clone(), stamp, reason.key);
        }
        match self.missing_since(|| path.clone(), live.missing, now) {
            Some(since) => {
                self.known.rests(path, stamp, live.marker);
                self.tree.set_away(path, stamp, since);
            }
            None => self.rest(path, stamp, live.marker),
        }
    }

    /// Since when a version that stayed at `path` is missing there, if it is.
    fn missing_since(
        &self,
        path: impl FnOnce() -> Rel,
        missing: Option<Wall>,
        now: Now,
    ) -> Option<Wall> {
        // A later version may lie there, whose fate the journal could not be told of.
        let is_replaced = || self.tree.count().moving > 0 && self.tree.moving(&path()).is_some();
        missing.or_else(|| is_replaced().then_some(now.wall))
    }

    fn resume_filing(&mut self, filing: Filing, now: Now) {
        let still = Stability::new(filing.look, now, &self.clock);
        let path = filing.path.clone();
        let file = if self.tree.rests(&path) {
            // What lies at its place came later, and stays.
            let learned = Learned::new(now.wall);
            let file = self.files.add(ActiveFile::new(path, still, None, learned));
            self.files.detach(file);
            file
        } else {
            let holder = self.tree.moving(&path);
            let file = self.add(path.clone(), still, None, now);
            if let Some(holder) = holder {
                self.known.share_name(path, holder);
            }
            file
        };
        let has_left = filing.progress.has_left_its_place();
        if let Some(motion) = self.files.get_mut(file) {
            motion.filing = Some(Arc::new(Filing { file, ..filing }));
        }
        if has_left {
            self.detach(file);
        }
        self.hand_out_filing(file, now);
    }

    /// What is to be filed away, for an engine that goes on in the same process.
    pub(super) fn filings(&self) -> Vec<Filing> {
        self.files
            .iter()
            .filter_map(|(_, motion)| motion.filing.as_deref().cloned())
            .collect()
    }
}

/// What the journal says of a version that is still to be filed.
fn resumed((path, stamp): (Rel, Stamp), live: Live) -> Filing {
    let look = |stamp| Look {
        stamp,
        ..Look::default()
    };
    Filing {
        file: FileNo::default(),
        path,
        look: look(stamp),
        sha256: None,
        marker: live.marker.map(look),
        fate: live.fate,
        receipt: None,
        progress: live.moving.map_or(Progress::Written, Progress::Moving),
    }
}

/// Whether the journal tells of an earlier round only: the version was sent again since, as a dead
/// letter that somebody put back, and what came of that could not be written down.
fn is_later(filing: &Filing, live: &Live) -> bool {
    filing.progress == Progress::Unwritten && filing.fate.key() != live.fate.key()
}

/// Without what a share that was mounted again may show otherwise: inodes and devices.
fn anywhere(filing: Filing) -> Filing {
    let only = |look: Look| Look {
        stamp: look.stamp,
        ..Look::default()
    };
    Filing {
        look: only(filing.look),
        marker: filing.marker.map(only),
        ..filing
    }
}
