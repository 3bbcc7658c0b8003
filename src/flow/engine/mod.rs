//! The engine: sole owner of all state.
//!
//! [`Engine::on`] takes one observation and the time and gives back what is to be done;
//! [`Engine::wake_at`] says when it wants to hear of the time again. The daemon and the
//! seeded simulation drive the same engine.
//!
//! Invariants:
//! - A file is sent only after it has been still for the settle time, its marker is there,
//!   and it has passed its checks; and never by two workers at a time.
//! - A job that was handed out comes back once; until then nothing else is done with its file.
//! - Once accepted, a version is never sent again: only its filing is tried again.
//! - No failure of the endpoint condemns a file.
//! - Nothing is handed out while the share is away, the lock is in doubt, the journal cannot be
//!   written, or a stop was asked for.

mod files;
mod outcome;
mod phase;
mod policy;
mod restore;
mod scans;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use self::files::{ActiveFile, ActiveFiles, Queue, Slot, State};
pub use self::policy::{Ending, Policy};
pub use self::restore::Handover;
use self::scans::Scan;
use crate::config::{Action, Empty};
use crate::flow::alarm::{Alarm, HANG};
use crate::flow::endpoint::brake::Brake;
use crate::flow::endpoint::gate::Gate;
use crate::flow::endpoint::idempotency_key::key;
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::journal::Reason;
use crate::flow::memory;
use crate::flow::messages::{Command, Delivery, Destination, Effect, Filing, Input, Inspection};
use crate::flow::rng::Rng;
use crate::flow::scan::tree::Tree;
use crate::flow::settle::{ClockSteps, Stability, settle_time};
use crate::flow::time::{Mono, Now};

/// So many files may wait to be filed before no more are sent.
const MAX_FILING: usize = 4096;
/// So many checks run side by side.
pub const INSPECTORS: usize = 2;
/// Whether filing is possible again is asked so often.
const FILE_AGAIN: Duration = Duration::from_secs(1);
/// How long what is on its way may take after a stop was asked for.
const GRACE_OF_STOP: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    rng: Rng,
    steps: ClockSteps,
    tree: Tree,
    motions: ActiveFiles,
    gate: Gate,
    brake: Brake,
    command_brake: Brake,
    scan: Scan,
    /// With `send.in_order`: the file that holds the line.
    head: Option<FileNo>,
    /// Whose turn it is between files never tried and files tried before.
    again_next: bool,
    gate_trouble: Option<(Alarm, String)>,
    share_trouble: Option<(Alarm, String)>,
    journal_trouble: Option<Alarm>,
    /// With the number of the last scan that met it.
    folder_troubles: BTreeMap<Rel, (Alarm, u64)>,
    stop: Option<Mono>,
    finished: bool,
    /// All is about to be opened anew: nothing more is handed out.
    closing: bool,
    /// The journal has no room for more than what is in flight.
    low: bool,
    /// Another process may hold the lock by now: a scan after this one has to see that it
    /// is still ours.
    doubt: Option<u64>,
    /// What an earlier process knew of files that were not seen yet, by folder.
    recalled: BTreeMap<Rel, BTreeMap<Rel, memory::File>>,
    /// When what was learned is written down.
    save_at: Option<Mono>,
    /// Condemned, copied to dead-letter, and still at their places; with the keys they had.
    copied: BTreeMap<Rel, (Stamp, String)>,
    /// With a marker and `keep`: the marker that vouched for what was delivered last.
    used_markers: BTreeMap<Rel, Stamp>,
    /// The numbers of the keys of what was taken out of dead-letter; 0 for all others.
    rounds: BTreeMap<(Rel, Stamp), u32>,
    tally: Tally,
    effects: Vec<Effect>,
}

/// Counts since the start, for a progress bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub condemned: u64,
    /// Stability to be delivered, those that wait for their writer not counted.
    pub left: u64,
    pub left_bytes: u64,
}

impl Engine {
    /// `seed` is for the jitter.
    pub fn new(policy: Policy, seed: u64, now: Now) -> Engine {
        Engine {
            rng: Rng::new(seed),
            steps: ClockSteps::new(now),
            tree: Tree::default(),
            motions: ActiveFiles::default(),
            gate: Gate::new(policy.backoff, now.mono),
            brake: Brake::new(policy.brake),
            command_brake: Brake::new(policy.brake),
            scan: Scan {
                number: 0,
                running: None,
                heard: now.mono,
                next: now.mono,
                usual: Duration::ZERO,
                completed: 0,
                hangs: None,
            },
            head: None,
            again_next: false,
            gate_trouble: None,
            share_trouble: None,
            journal_trouble: None,
            folder_troubles: BTreeMap::new(),
            stop: None,
            finished: false,
            closing: false,
            low: false,
            doubt: None,
            recalled: BTreeMap::new(),
            save_at: None,
            copied: BTreeMap::new(),
            used_markers: BTreeMap::new(),
            rounds: BTreeMap::new(),
            tally: Tally::default(),
            effects: Vec::new(),
            policy,
        }
    }

    /// Takes one observation; gives what is to be done, in this order.
    pub fn on(&mut self, now: Now, input: Input) -> Vec<Effect> {
        self.steps.observe(now);
        if matches!(
            input,
            Input::Confirmed | Input::Looking | Input::Listed(_) | Input::Scanned(_)
        ) {
            self.heard_of_scan(now);
        }
        match input {
            Input::Tick | Input::Looking => {}
            Input::Retries(retries) => self.on_retries(retries),
            Input::Confirmed => self.doubt = self.doubt.filter(|&scan| self.scan.number <= scan),
            Input::Suspended(time) => {
                self.note(Note::Suspended { time });
                self.doubt_lock(now);
            }
            Input::Room(room) => self.on_room(room, now),
            Input::Closing(why) => self.on_closing(why, now),
            Input::Listed(folder) => self.on_listed(folder, now),
            Input::Scanned(result) => self.on_scanned(result, now),
            Input::Inspected(file, inspected) => self.on_inspected(file, inspected, now),
            Input::Delivered(file, delivered) => self.on_delivered(file, delivered, now),
            Input::Filed(file, filed) => self.on_filed(file, filed, now),
            Input::Command(Command::Scan) => self.scan.next = now.mono,
            Input::Command(Command::Stop) => self.on_stop(now),
        }
        self.run_timers(now);
        self.hand_out(now);
        self.remind(now);
        self.save_if_due(now);
        self.end(now);
        std::mem::take(&mut self.effects)
    }

    /// The next moment at which something is due; `None` if only an input can change anything.
    pub fn wake_at(&self) -> Option<Mono> {
        if self.finished {
            return None;
        }
        let scan = (self.scan.running.is_none() && self.may_scan()).then_some(self.scan.next);
        let hang = self.scan.running.map(|_| {
            self.scan
                .hangs
                .map_or(self.scan.heard + HANG, |hangs| hangs.next())
        });
        // With no worker free nothing can go, whatever is due: the one that comes back wakes us.
        let probe = self
            .gate
            .next_probe()
            .filter(|_| self.may_work() && self.has_room() && self.has_ready());
        [
            self.motions.next_timer(),
            scan,
            hang,
            probe,
            self.stop,
            self.deadline(),
            self.save_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Counts, for a progress bar. It goes through all files in motion: not for every turn.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally;
        for (_, motion) in self
            .motions
            .iter()
            .filter(|(_, motion)| !matches!(motion.state, State::Filing | State::Waiting))
        {
            tally.left += 1;
            tally.left_bytes += motion.still.look.stamp.size;
        }
        tally
    }

    /// How many files are on their way to or at the endpoint, or being filed.
    pub fn in_flight(&self) -> usize {
        self.motions.count(State::Sending) + self.motions.being_filed()
    }

    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }

    fn may_scan(&self) -> bool {
        self.stop.is_none() && !self.finished && !self.closing
    }

    /// Whether anything may be written: on the share, or to where files go from there.
    fn may_file(&self) -> bool {
        self.share_trouble.is_none() && self.doubt.is_none() && !self.closing && !self.low
    }

    fn may_work(&self) -> bool {
        self.may_file() && self.journal_trouble.is_none() && self.stop.is_none() && !self.finished
    }

    /// Another process may hold the lock by now.
    fn doubt_lock(&mut self, now: Now) {
        self.doubt = Some(self.scan.number);
        self.scan.next = now.mono;
    }

    /// Whether one more file may be on its way.
    fn has_room(&self) -> bool {
        self.motions.count(State::Sending) < self.policy.workers
            && self.motions.count(State::Filing) < MAX_FILING
    }

    fn has_ready(&self) -> bool {
        if self.policy.in_order {
            return self.next_in_order().is_some();
        }
        self.motions.first(Queue::Fresh).is_some() || self.motions.first(Queue::Again).is_some()
    }

    fn key_of(&self, path: &Rel, stamp: Stamp) -> String {
        let round = if self.rounds.is_empty() {
            None
        } else {
            self.rounds.get(&(path.clone(), stamp))
        };
        key(
            &self.policy.key_scope,
            path,
            stamp,
            round.copied().unwrap_or(0),
        )
    }

    fn destination(&self) -> Destination {
        match self.policy.action {
            Action::Move => Destination::Done,
            Action::Delete => Destination::Delete,
            Action::Keep => Destination::Keep,
        }
    }

    fn add(&mut self, path: Rel, still: Stability, marker: Option<Look>, now: Now) -> FileNo {
        let mut motion = ActiveFile::new(path.clone(), still, marker, now.wall);
        motion.used_marker = self.used_markers.get(&path).copied();
        let file = self.motions.add(motion);
        self.tree.set_moving(&path, file);
        self.recall_file(file, now.mono);
        file
    }

    /// `path` is delivered and stays where it is.
    fn rest(&mut self, path: &Rel, stamp: Stamp, marker: Option<Stamp>) {
        self.tree.set_resting(path, stamp);
        // A retry of another version, which dead-letter has a copy of, is none of this one.
        if self
            .copied
            .get(path)
            .is_some_and(|(copied, _)| *copied != stamp)
        {
            self.copied.remove(path);
        }
        if let Some(marker) = marker {
            self.used_markers.insert(path.clone(), marker);
        }
    }

    /// Takes `file` out of motion: nothing is known of it any more.
    fn drop_file(&mut self, file: FileNo) -> Option<ActiveFile> {
        let motion = self.motions.remove(file)?;
        self.gate.untried(file);
        if self.head == Some(file) {
            self.head = None;
        }
        Some(motion)
    }

    // ---- the way of one file --------------------------------------------------------

    /// Decides where `file`, for which no job is out, waits next.
    fn advance(&mut self, file: FileNo, now: Now) {
        let Some(motion) = self.motions.get(file) else {
            return;
        };
        let stamp = motion.still.look.stamp;
        let vouched = !self.policy.marker
            || motion
                .marker
                .is_some_and(|marker| Some(marker.stamp) != motion.used_marker);
        if !vouched || (stamp.size == 0 && self.policy.empty == Empty::Wait) {
            self.motions.put(file, State::Waiting);
            return;
        }
        if let Some(pause) = motion.not_before.filter(|&until| now.mono < until) {
            self.motions.put_until(file, State::Pausing, pause);
            return;
        }
        let due = motion
            .still
            .due(settle_time(self.policy.settle, motion.still.look.fs));
        if now.mono < due {
            self.motions.put_until(file, State::Settling, due);
            return;
        }
        let attempts = motion.attempts;
        let checked = motion.checked.is_some();
        if stamp.size == 0 && self.policy.empty == Empty::Reject {
            self.condemn(file, "the file is empty".into(), None, now);
        } else if let Some(max) = self.policy.max_size.filter(|&max| stamp.size > max) {
            self.condemn(
                file,
                format!("{} bytes are more than check.max_size ({max})", stamp.size),
                None,
                now,
            );
        } else if let Some(min) = self.policy.min_size.filter(|&min| stamp.size < min) {
            let why = format!("{} bytes are less than check.min_size ({min})", stamp.size);
            self.unfinished(file, why, now);
        } else if self.policy.inspects && !checked {
            self.motions.enqueue(file, Queue::Inspect, false);
        } else {
            let queue = if attempts == 0 {
                Queue::Fresh
            } else {
                Queue::Again
            };
            self.motions.enqueue(file, queue, self.policy.in_order);
        }
    }

    fn run_timers(&mut self, now: Now) {
        while let Some(file) = self.motions.pop_due(now.mono) {
            match self.motions.get(file).map(|motion| motion.state) {
                Some(State::Filing) => self.hand_out_filing(file, now),
                Some(_) => self.advance(file, now),
                None => {}
            }
        }
    }

    /// Starts what may be started.
    fn hand_out(&mut self, now: Now) {
        if self.may_scan() && self.scan.running.is_none() && now.mono >= self.scan.next {
            self.scan.number += 1;
            self.scan.running = Some(now.mono);
            self.scan.heard = now.mono;
            self.effects.push(Effect::Scan);
        }
        if !self.may_work() {
            return;
        }
        while self.motions.count(State::Inspecting) < INSPECTORS
            && let Some(&(_, file)) = self.motions.first(Queue::Inspect)
        {
            self.motions.put(file, State::Inspecting);
            let motion = self.motions.get(file).expect("it is in a queue");
            let job = Inspection {
                file,
                path: motion.path.clone(),
                look: motion.still.look,
            };
            self.effects.push(Effect::Inspect(job));
        }
        while self.has_room()
            && let Some(file) = self.next_to_send(now.mono)
        {
            self.hand_out_delivery(file);
        }
    }

    fn hand_out_delivery(&mut self, file: FileNo) {
        self.motions.put(file, State::Sending);
        self.gate.sent(file);
        if self.policy.in_order {
            self.head = Some(file);
        }
        let motion = self.motions.get(file).expect("it is in a queue");
        let look = motion.still.look;
        let delivery = Delivery {
            file,
            path: motion.path.clone(),
            look,
            key: self.key_of(&motion.path, look.stamp),
            sha256: motion.checked.flatten(),
            marker: motion
                .marker
                .filter(|_| self.policy.marker)
                .map(|marker| marker.stamp),
            suspicions_spent: false,
        };
        self.effects.push(Effect::Deliver(delivery));
    }

    /// The file that goes next, if one may go.
    fn next_to_send(&mut self, now: Mono) -> Option<FileNo> {
        if self.policy.in_order {
            return self
                .next_in_order()
                .filter(|&file| self.gate.admits(file, now));
        }
        let fresh = self.motions.first(Queue::Fresh).map(|(_, file)| *file);
        let again = self.motions.first(Queue::Again).map(|(_, file)| *file);
        if self.gate.is_open() {
            // In turn, so that neither new nor failing files keep the others waiting.
            let (first, second) = if self.again_next {
                (again, fresh)
            } else {
                (fresh, again)
            };
            self.again_next = !self.again_next;
            return first.or(second);
        }
        // Files never tried probe first; then those whose last try is the longest ago.
        let candidate = fresh.or(again)?;
        if self.gate.admits(candidate, now) {
            return Some(candidate);
        }
        let lone = self.gate.lone_suspect()?;
        self.motions
            .first_again_but(lone)
            .filter(|&file| self.gate.admits(file, now))
    }

    /// With `send.in_order`: the first of those that are ready, unless one holds the line.
    fn next_in_order(&self) -> Option<FileNo> {
        let first = [Queue::Fresh, Queue::Again]
            .into_iter()
            .filter_map(|queue| self.motions.first(queue))
            .min();
        match self.head {
            Some(head) => {
                let motion = self.motions.get(head)?;
                matches!(motion.slot, Slot::Queue(Queue::Fresh | Queue::Again, _)).then_some(head)
            }
            None => first.map(|(_, file)| *file),
        }
    }

    fn release_line(&mut self, file: FileNo) {
        if self.head == Some(file) {
            self.head = None;
        }
    }

    // ---- filing ---------------------------------------------------------------------

    fn file_away(&mut self, file: FileNo, filing: Filing, now: Now) {
        self.release_line(file);
        self.motions.put(file, State::Filing);
        if let Some(motion) = self.motions.get_mut(file) {
            motion.filing = Some(Box::new(filing));
        }
        self.hand_out_filing(file, now);
    }

    fn hand_out_filing(&mut self, file: FileNo, now: Now) {
        if !self.may_file() {
            self.motions
                .put_until(file, State::Filing, now.mono + FILE_AGAIN);
        } else if let Some(filing) = self
            .motions
            .get(file)
            .and_then(|motion| motion.filing.clone())
        {
            self.effects.push(Effect::File(*filing));
        }
    }

    /// `file` goes to dead-letter.
    fn condemn(
        &mut self,
        file: FileNo,
        reason: String,
        answer: Option<&crate::flow::endpoint::reply::Answer>,
        now: Now,
    ) {
        let Some(motion) = self.motions.get(file) else {
            return;
        };
        let (path, look) = (motion.path.clone(), motion.still.look);
        let reason = Reason {
            reason,
            status: answer.map(|answer| answer.status),
            body: answer.map(|answer| answer.body.clone()).unwrap_or_default(),
            attempts: motion.attempts,
            first_seen: motion.first_seen,
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
}
