//! Where an engine goes on: from the journal, and from what an earlier one has learned.

use std::collections::BTreeMap;
use std::time::Duration;

use super::files::{ActiveFile, State};
use super::{Engine, Tally};
use crate::flow::alarm::Alarm;
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel};
use crate::flow::journal::{Fate, Live};
use crate::flow::memory::{Endpoint, File, Memory};
use crate::flow::messages::{Destination, Effect, Filing};
use crate::flow::settle::{ClockSteps, Stability};
use crate::flow::time::{Mono, Now};

/// What there was before.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    /// What the journal says.
    pub live: BTreeMap<Rel, Live>,
    pub memory: Memory,
    /// What an engine of the same process had to file away and the journal could not be told of.
    pub filings: Vec<Filing>,
    /// What an engine of the same process has counted.
    pub tally: Tally,
    /// What an engine of the same process has seen of the wall clock.
    pub steps: Option<ClockSteps>,
}

/// What was learned is written down so long after it was learned.
const SAVE: Duration = Duration::from_secs(30);
/// So many files that were never tried are remembered by `run`: the others settle once more.
const UNTRIED: usize = 20_000;

impl Engine {
    /// Takes over what there was before: to be called once, before anything else.
    pub fn resume(&mut self, past: Handover, now: Now) -> Vec<Effect> {
        let Handover {
            live,
            memory,
            filings,
            tally,
            steps,
        } = past;
        self.tally = tally;
        if let Some(steps) = steps {
            self.steps = steps;
            self.steps.observe(now);
        }
        self.recall(memory, now);
        for filing in filings {
            let filing = anywhere(filing);
            if live
                .get(&filing.path)
                .is_none_or(|live| live.stamp != filing.look.stamp)
            {
                let file = self.add(
                    filing.path.clone(),
                    Stability::new(filing.look, now, &self.steps),
                    None,
                    now,
                );
                self.file_away(file, Filing { file, ..filing }, now);
            }
        }
        for (path, live) in live {
            self.resume_one(path, live, now);
        }
        std::mem::take(&mut self.effects)
    }

    fn resume_one(&mut self, path: Rel, live: Live, now: Now) {
        let Live {
            stamp,
            fate,
            moving,
            rests,
            missing,
            at: _,
        } = live;
        let (to, marker) = match fate {
            Fate::Accepted(acceptance) => (self.destination(), acceptance.marker),
            Fate::Condemned(reason, marker) => (Destination::DeadLetter(reason), marker),
        };
        if rests {
            if let Destination::DeadLetter(reason) = to {
                self.copied.insert(path.clone(), (stamp, reason.key));
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
            Stability::new(look, now, &self.steps),
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

    fn recall(&mut self, memory: Memory, now: Now) {
        if !memory.is_empty() {
            // What lies on the disk is of a process that has ended.
            self.learned(now);
        }
        let Memory {
            endpoint:
                Endpoint {
                    gate,
                    why,
                    brake,
                    command_brake,
                },
            files,
            stepped,
        } = memory;
        self.gate.recall(&gate, now.mono);
        self.brake.recall(brake);
        self.command_brake.recall(command_brake);
        if stepped {
            self.steps.stepped(now.mono);
        }
        if let Some(closed) = gate.closed {
            self.gate_trouble = Some((Alarm::new(closed.since), why.clone()));
            let (since, again_in) = (now.mono.since(closed.since), closed.next.since(now.mono));
            self.note(Note::GateRemembered {
                why,
                since,
                again_in,
            });
        }
        for file in files {
            self.recalled
                .entry(file.path.parent())
                .or_default()
                .insert(file.path.clone(), file);
        }
    }

    /// What an earlier process knew of this version, when it is seen for the first time.
    pub(super) fn recall_file(&mut self, file: FileNo, now: Mono) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        if self.recalled.is_empty() {
            return;
        }
        let folder = self.recalled.get_mut(&motion.path.parent());
        let Some(known) = folder.and_then(|files| files.remove(&motion.path)) else {
            return;
        };
        motion.used_marker = motion.used_marker.or(known.used_marker);
        if known.stamp != motion.still.look.stamp {
            return;
        }
        motion.still.recall(known.since, now);
        motion.first_seen = known.first_seen;
        motion.attempts = known.attempts;
        motion.own_failures = known.own_failures;
        motion.own = known.own;
        motion.first_failure = known.first_failure.map(u128::from);
        motion.unfinished = known.unfinished;
        motion.not_before = known.not_before;
        self.gate.recall_part(file, known.at_gate);
    }

    /// What was known of files in `folder`, which was listed by now, and was not taken up, is not
    /// of what is there.
    pub(super) fn forget_recalled(&mut self, folder: &Rel) {
        self.recalled.remove(folder);
    }

    /// Something was learned that the next process should know.
    pub(super) fn learned(&mut self, now: Now) {
        self.save_at.get_or_insert(now.mono + SAVE);
    }

    pub(super) fn save_if_due(&mut self, now: Now) {
        if self.save_at.is_some_and(|at| now.mono >= at) {
            self.save(false, now);
        }
    }

    /// With `all` also the looks at files that were never tried. Later, while another process may
    /// hold the lock: the memory is its own then.
    pub(super) fn save(&mut self, all: bool, now: Now) {
        if self.doubt.is_some() || self.closing {
            self.save_at = Some(now.mono + SAVE);
            return;
        }
        self.save_at = None;
        let memory = self.memory(all, now);
        self.effects.push(Effect::Remember(memory));
    }

    fn memory(&self, all: bool, now: Now) -> Memory {
        let endpoint = Endpoint {
            gate: self.gate.learned(now.mono),
            why: self
                .gate_trouble
                .as_ref()
                .map(|(_, why)| why.clone())
                .unwrap_or_default(),
            brake: self.brake.count(),
            command_brake: self.command_brake.count(),
        };
        let mut untried = match (all, self.policy.ending) {
            (false, _) => 0,
            (true, super::Ending::Never) => UNTRIED,
            (true, super::Ending::Once { .. }) => usize::MAX,
        };
        let mut files = Vec::new();
        for (file, motion) in self
            .motions
            .iter()
            .filter(|(_, motion)| motion.state != State::Filing)
        {
            if !motion.has_learned() {
                if untried == 0 {
                    continue;
                }
                untried -= 1;
            }
            files.push(self.file_memory(file, motion));
        }
        // What was not listed since the start is known all the same.
        files.extend(self.recalled.values().flat_map(BTreeMap::values).cloned());
        Memory {
            endpoint,
            files,
            stepped: false,
        }
    }

    fn file_memory(&self, file: FileNo, motion: &ActiveFile) -> File {
        File {
            path: motion.path.clone(),
            stamp: motion.still.look.stamp,
            since: motion.still.since,
            first_seen: motion.first_seen,
            attempts: motion.attempts,
            own_failures: motion.own_failures,
            own: motion.own,
            first_failure: motion
                .first_failure
                .and_then(|clock| u64::try_from(clock).ok()),
            unfinished: motion.unfinished,
            not_before: motion.not_before,
            used_marker: motion.used_marker,
            at_gate: self.gate.part(file),
        }
    }

    /// For an engine that goes on in the same process, beside the journal.
    pub fn past(&self, now: Now) -> Handover {
        let filings = self
            .motions
            .iter()
            .filter_map(|(_, motion)| motion.filing.as_deref().cloned());
        Handover {
            live: BTreeMap::new(),
            memory: self.memory(true, now),
            filings: filings.collect(),
            tally: self.tally,
            steps: Some(self.steps),
        }
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
