//! FILE AWAY: what is to be filed, what came of it, and what earlier engines had to file.

use std::collections::BTreeMap;

use super::files::Seat;
use super::{Engine, FILE_AGAIN};
use crate::config::Action;
use crate::flow::endpoint::reply::Answer;
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel};
use crate::flow::journal::{Fate, Live, Reason};
use crate::flow::messages::{Destination, Effect, Filed, Filing};
use crate::flow::settle::Stability;
use crate::flow::time::Now;

impl Engine {
    pub(super) fn destination(&self) -> Destination {
        match self.policy.action {
            Action::Move => Destination::Done,
            Action::Delete => Destination::Delete,
            Action::Keep => Destination::Keep,
        }
    }

    pub(super) fn file_away(&mut self, file: FileNo, filing: Filing, now: Now) {
        if let Some(active) = self.files.get_mut(file) {
            active.filing = Some(Box::new(filing));
        }
        self.hand_out_filing(file, now);
    }

    pub(super) fn hand_out_filing(&mut self, file: FileNo, now: Now) {
        if !self.may().file {
            self.files
                .put(file, Seat::RetryFiling(now.mono + FILE_AGAIN));
        } else if let Some(filing) = self
            .files
            .get(file)
            .and_then(|active| active.filing.clone())
        {
            self.files.put(file, Seat::Filing);
            self.out.effects.push(Effect::File(*filing));
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
        let Some(motion) = self.files.get(file) else {
            return;
        };
        let (path, look) = (motion.path.clone(), motion.still.look);
        let reason = Reason {
            reason,
            status: answer.map(|answer| answer.status),
            body: answer.map(|answer| answer.body.clone()).unwrap_or_default(),
            attempts: motion.learned.attempts,
            first_seen: motion.learned.first_seen,
            dead_at: now.wall,
            key: self.key_of(&path, look.stamp),
        };
        let marker = motion.marker.filter(|_| self.policy.marker);
        let to = Destination::DeadLetter(Box::new(reason));
        self.file_away(
            file,
            Filing {
                file,
                path,
                look,
                to,
                marker,
                unwritten: None,
                resumed: None,
            },
            now,
        );
    }

    pub(super) fn on_filed(&mut self, file: FileNo, filed: Filed, now: Now) {
        let Some(motion) = self.files.get(file) else {
            return;
        };
        let Some(filing) = motion.filing.clone() else {
            return;
        };
        let path = motion.path.clone();
        // A failure says something of the journal only where a line was to be written first.
        let written = match filed {
            Filed::Unwritten(_) => false,
            Filed::Failed { .. } => filing.unwritten.is_some(),
            _ => true,
        };
        if written {
            self.journal_back(now);
        }
        match filed {
            Filed::Away { to } => {
                self.over(file, now);
                self.filed_away(file, &filing, to);
            }
            Filed::Copied { to } => {
                self.over(file, now);
                self.copied_away(file, &filing, to);
            }
            Filed::PutBack(look) => {
                let motion = self.files.get_mut(file).expect("it was just there");
                motion.learned.used_marker = filing.marker.map(|marker| marker.stamp);
                motion.still = Stability::new(look, now, &self.clock);
                motion.forget_version(now.wall);
                self.note(Note::NewVersion {
                    path,
                    displaced: None,
                });
                self.advance(file, now);
            }
            Filed::Displaced { to } => {
                self.note(Note::NewVersion {
                    path,
                    displaced: Some(to),
                });
                self.leave(file);
            }
            Filed::Gone => {
                self.note(Note::Filed { path, to: None });
                self.leave(file);
            }
            Filed::Failed { why, moved } => {
                if let Some(motion) = self.files.get_mut(file)
                    && let Some(filing) = &mut motion.filing
                {
                    // The journal has the acceptance, or the condemnation, by now.
                    filing.unwritten = None;
                    filing.resumed = Some(moved.or(filing.resumed.take()).unwrap_or_default());
                }
                self.trouble(file, "file", why, now);
            }
            Filed::Unwritten(why) => {
                self.journal_down(why, now);
                self.files
                    .put(file, Seat::RetryFiling(now.mono + FILE_AGAIN));
            }
        }
    }

    fn filed_away(&mut self, file: FileNo, filing: &Filing, to: Option<String>) {
        let path = filing.path.clone();
        match (&filing.to, to) {
            (Destination::Keep, _) => {
                self.drop_file(file);
                self.rest(
                    &path,
                    filing.look.stamp,
                    filing.marker.map(|marker| marker.stamp),
                );
                return;
            }
            (Destination::DeadLetter(reason), to) => {
                self.out.tally.condemned += 1;
                let to = to.unwrap_or_default();
                self.note(Note::Condemned {
                    path,
                    reason: reason.reason.clone(),
                    to,
                });
            }
            (_, to) => self.note(Note::Filed { path, to }),
        }
        self.leave(file);
    }

    /// `file` cannot be moved away: dead-letter has a copy, and it is known from now on.
    fn copied_away(&mut self, file: FileNo, filing: &Filing, to: String) {
        let Destination::DeadLetter(reason) = &filing.to else {
            return;
        };
        let (path, stamp) = (filing.path.clone(), filing.look.stamp);
        self.out.tally.condemned += 1;
        self.note(Note::Condemned {
            path: path.clone(),
            reason: reason.reason.clone(),
            to,
        });
        self.drop_file(file);
        self.rest(&path, stamp, filing.marker.map(|marker| marker.stamp));
        self.known.copied(path, stamp, reason.key.clone());
    }

    /// `file` is not at its place any more.
    fn leave(&mut self, file: FileNo) {
        if let Some(motion) = self.drop_file(file) {
            self.tree.set_left(&motion.path, self.scans.under_way());
        }
    }

    // ---- what earlier engines had to file -------------------------------------------

    /// Goes on with what an earlier engine of the same process had to file away, and with what
    /// the journal says.
    pub(super) fn resume_filings(
        &mut self,
        filings: Vec<Filing>,
        live: BTreeMap<Rel, Live>,
        now: Now,
    ) {
        for filing in filings {
            let filing = anywhere(filing);
            if live
                .get(&filing.path)
                .is_none_or(|live| live.stamp != filing.look.stamp)
            {
                let file = self.add(
                    filing.path.clone(),
                    Stability::new(filing.look, now, &self.clock),
                    None,
                    now,
                );
                self.file_away(file, Filing { file, ..filing }, now);
            }
        }
        for (path, live) in live {
            self.resume_one(path, live, now);
        }
    }

    fn resume_one(&mut self, path: Rel, live: Live, now: Now) {
        let Live {
            stamp,
            fate,
            moving,
            rests,
            missing,
        } = live;
        let (to, marker) = match fate {
            Fate::Accepted(acceptance) => (self.destination(), acceptance.marker),
            Fate::Condemned(reason, marker) => (Destination::DeadLetter(reason), marker),
        };
        if rests {
            if let Destination::DeadLetter(reason) = to {
                self.known.copied(path.clone(), stamp, reason.key);
            }
            match missing {
                Some(since) => self.tree.set_away(&path, stamp, since),
                None => self.rest(&path, stamp, marker),
            }
            return;
        }
        let look = Look {
            stamp,
            ..Default::default()
        };
        let file = self.add(
            path.clone(),
            Stability::new(look, now, &self.clock),
            None,
            now,
        );
        let marker = marker.map(|stamp| Look {
            stamp,
            ..Default::default()
        });
        let resumed = Some(moving.unwrap_or_default());
        self.file_away(
            file,
            Filing {
                file,
                path,
                look,
                to,
                marker,
                unwritten: None,
                resumed,
            },
            now,
        );
    }

    /// What is to be filed away, for an engine that goes on in the same process.
    pub(super) fn filings(&self) -> Vec<Filing> {
        self.files
            .iter()
            .filter_map(|(_, motion)| motion.filing.as_deref().cloned())
            .collect()
    }
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
