//! Where an engine goes on: from the journal, and from what an earlier one has learned.

use super::files::{ActiveFile, At};
use super::{Engine, Tally};
use crate::flow::clock::ClockWatch;
use crate::flow::endpoint::gate::GateShare;
use crate::flow::file::{FileNo, Rel, Stamp};
use crate::flow::filing::{Filing, Move};
use crate::flow::journal::Replay;
use crate::flow::memory::{self, Learned, Memory, Used};
use crate::flow::messages::Effect;
use crate::flow::policy::Ending;
use crate::flow::scan::filter::Filter;
use crate::flow::settle::{Stability, settle_time};
use crate::flow::status::Counters;
use crate::flow::time::{Mono, Now};

/// What there was before.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    /// What the journal says.
    pub journal: Replay,
    /// What was learned.
    pub memory: Memory,
    /// What an engine of the same process had to file away and the journal could not be told of.
    pub filings: Vec<Filing>,
    /// What an engine of the same process has counted.
    pub tally: Tally,
    /// The same for the status; the history is that of earlier processes as well.
    pub counters: Counters,
    /// What an engine of the same process has seen of the clocks.
    pub clock: Option<ClockWatch>,
    /// Which names are wanted: what lies where something was being filed may not be.
    pub wanted: Option<Filter>,
    /// What stands for `[send]` and the credentials now, and holds no secret: what was learned of the
    /// endpoint is believed if it is the same as then.
    pub send: String,
    /// Somebody has started this, and may have mended something: one probe goes at once.
    pub by_hand: bool,
}

impl Handover {
    /// The moves that were written down and are not filed to their end.
    pub fn moves(&self) -> impl Iterator<Item = (&Rel, Stamp, &Move)> {
        let live = self.journal.live.iter();
        let written = live.filter_map(|((path, stamp), live)| {
            let moving = live.moving.as_ref()?;
            Some((path, *stamp, moving))
        });
        let known = self.filings.iter().filter_map(|filing| {
            let moving = filing.progress.moving()?;
            Some((&filing.path, filing.look.stamp, moving))
        });
        written.chain(known)
    }
}

/// Upper bound on the files that were never tried and are remembered by `run`: the others settle
/// once more.
const UNTRIED: usize = 20_000;

impl Engine {
    /// Takes over what there was before: to be called once, before anything else.
    pub fn resume(&mut self, past: Handover, now: Now) -> Vec<Effect> {
        let Handover {
            journal,
            memory,
            filings,
            tally,
            counters,
            clock,
            wanted,
            send,
            by_hand,
        } = past;
        self.wanted = wanted;
        self.endpoint.set_send(send);
        self.out.tally = tally;
        self.out.counters = counters;
        if let Some(mut clock) = clock {
            // Nobody has waited for a turn while everything was opened again, and the lock is new.
            clock.await_turn(None);
            clock.observe(now);
            self.clock = clock;
        }
        self.recall(memory, by_hand, now);
        self.known.hurried = by_hand;
        self.resume_filings(filings, journal, now);
        // The journal has just been read.
        self.burst.add(self.tree.count().at_rest);
        std::mem::take(&mut self.out.effects)
    }

    fn recall(&mut self, memory: Memory, by_hand: bool, now: Now) {
        if !memory.is_empty() {
            // What lies on the disk is of a process that has ended.
            self.known.learned(now.mono);
        }
        let Memory {
            endpoint,
            files,
            emptied,
            used_markers,
            stepped,
        } = memory;
        if self.policy.marker.is_some() {
            for used in used_markers {
                let memory::UsedMarker {
                    path,
                    version,
                    marker,
                } = used;
                self.known.leaves_marker(&path, Used { marker, version });
            }
        }
        if self.policy.remove_emptied {
            self.emptied.restore(emptied);
        }
        if stepped {
            self.clock.stepped(now.mono);
        }
        self.checker
            .recall(endpoint.command_brake, endpoint.command_brake_holds);
        let is_of_this = self.endpoint.is_of_this(&endpoint);
        let note = self.endpoint.recall(&endpoint, by_hand, now.mono);
        self.say(note);
        let of_now = |file: memory::File| memory::File {
            learned: file.learned.without_endpoint(),
            at_gate: GateShare::default(),
            ..file
        };
        let files = files.into_iter();
        if is_of_this {
            self.known.recall(files);
        } else {
            self.known.recall(files.map(of_now));
        }
    }

    /// What an earlier process knew of this version, when it is seen for the first time.
    pub(super) fn recall_file(&mut self, file: FileNo, now: Mono) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let Some(known) = self.known.take(&active.path) else {
            return;
        };
        let here = active.learned.clone();
        let used = match here.used_marker {
            Some(_) => here,
            None => known.learned.clone(),
        };
        if known.stamp == active.still.look.stamp {
            let settle = settle_time(self.policy.settle, active.still.look.fs);
            active.still.recall(known.still, settle, now);
            active.learned = known.learned;
            self.endpoint.recall_share(file, known.at_gate);
        }
        active.learned = std::mem::take(&mut active.learned).with_used_marker_of(&used);
        let waits = active.learned.not_before.is_some_and(|until| now < until);
        if waits && self.endpoint.gate().is_open() && std::mem::take(&mut self.known.hurried) {
            active.learned.not_before = None;
        }
    }

    /// Somebody has reason to believe that a fault is mended: one file goes at once, as the probe,
    /// or, with the gate open, one of those that wait after a failure of their own.
    pub(super) fn probe_now(&mut self, now: Now) {
        self.endpoint.probe_now(now.mono);
        if !self.endpoint.gate().is_open() {
            return;
        }
        let waiting = self
            .files
            .iter()
            .filter(|(_, active)| active.at() == At::Pausing);
        let first = waiting
            .filter_map(|(file, active)| Some((active.learned.not_before?, file)))
            .min();
        if let Some((_, file)) = first
            && let Some(active) = self.files.get_mut(file)
        {
            active.learned.not_before = None;
            self.advance(file, now);
        }
    }

    pub(super) fn save_if_due(&mut self, now: Now) {
        if self.known.save_at().is_some_and(|at| now.mono >= at) {
            self.save(false, now);
        }
    }

    /// With `all` also the looks at files that were never tried. Later, while another process may
    /// hold the lock: the memory is its own then.
    pub(super) fn save(&mut self, all: bool, now: Now) {
        if !self.scans.is_lock_sure() || self.phase.is_closing() {
            self.known.postpone(now.mono);
            return;
        }
        self.known.saved();
        let memory = self.memory(all, now);
        self.out.effects.push(Effect::Remember(memory));
    }

    fn memory(&self, all: bool, now: Now) -> Memory {
        let endpoint = memory::Endpoint {
            command_brake: self.checker.count(),
            command_brake_holds: self.checker.holds(),
            ..self.endpoint.learned(now.mono)
        };
        let mut untried = match (all, self.policy.ending) {
            (false, _) => 0,
            (true, Ending::Never) => UNTRIED,
            (true, Ending::Once { .. }) => usize::MAX,
        };
        let mut files = Vec::new();
        for (file, active) in self.files.iter() {
            if matches!(active.at(), At::Filing | At::RetryFiling) {
                continue;
            }
            if !active.learned.is_more_than_looks() {
                if untried == 0 {
                    continue;
                }
                untried -= 1;
            }
            files.push(self.file_memory(file, active));
        }
        // Those that wait for their turn have been looked at, and nothing else.
        let waiting = self.tree.waiting().take(untried);
        files.extend(waiting.map(|waiting| memory::File {
            path: waiting.path,
            stamp: waiting.look.stamp,
            still: Stability::kept(waiting.look, waiting.since).memory(),
            learned: Learned::new(now.wall_of(waiting.since)),
            at_gate: GateShare::default(),
        }));
        // What was not listed since the start is known all the same.
        files.extend(self.known.unseen().cloned());
        Memory {
            endpoint,
            files,
            emptied: self.emptied.memory(),
            used_markers: self.known.left_markers(),
            stepped: false,
        }
    }

    fn file_memory(&self, file: FileNo, active: &ActiveFile) -> memory::File {
        memory::File {
            path: active.path.clone(),
            stamp: active.still.look.stamp,
            still: active.still.memory(),
            learned: active.learned.clone(),
            at_gate: self.endpoint.gate().share_of(file),
        }
    }

    /// For an engine that goes on in the same process, beside the journal.
    pub fn past(&self, now: Now) -> Handover {
        Handover {
            journal: Replay::default(),
            memory: self.memory(true, now),
            filings: self.filings(),
            tally: self.out.tally,
            counters: self.out.counters.clone(),
            clock: Some(self.clock),
            wanted: self.wanted.clone(),
            send: String::new(),
            by_hand: false,
        }
    }
}
