//! The engine: sole owner of all state.
//!
//! [`Engine::on`] takes one observation and the time and gives back what is to be done;
//! [`Engine::wake_at`] says when it wants to hear of the time again. The daemon and the
//! seeded simulation drive the same engine.
//!
//! Its parts own their state, and each says in its head what holds for it. In here they are put
//! together; `track`, `outcome` and `filing` take the observations, `phase` ends a run, and
//! `restore` begins one where another one ended.
//!
//! Invariants:
//! - A file is sent only after it has been still for the settle time, its marker is there,
//!   and it has passed its checks; and never by two workers at a time.
//! - A job that was handed out comes back once; until then nothing else is done with its file.
//! - Once accepted, a version is never sent again: only its filing is tried again.
//! - No failure of the endpoint condemns a file.
//! - Nothing is handed out while the share is away, the lock is in doubt, the journal cannot be
//!   written, or a stop was asked for.
//! - Each name is known once ([`Engine::check`]).

mod admission;
mod ahead;
mod burst;
mod emptied;
mod endpoint;
mod files;
mod filing;
mod health;
mod keeping;
mod known;
mod last_listing;
mod looking;
mod outcome;
mod phase;
mod reload;
mod report;
mod restore;
mod scans;
mod track;
mod trouble;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::admission::Admission;
use self::ahead::Ahead;
use self::burst::Burst;
use self::emptied::Emptied;
use self::endpoint::{Endpoint, Scene};
use self::files::{ActiveFile, ActiveFiles, At, Seat};
use self::health::Health;
use self::keeping::Keeping;
use self::known::Known;
use self::last_listing::LastListing;
use self::looking::Looking;
use self::phase::Phase;
pub use self::restore::Handover;
use self::scans::{Order, Pace, Scans};
use crate::flow::clock::{ClockWatch, Gap};
use crate::flow::endpoint::brake::Brake;
use crate::flow::endpoint::idempotency_key::key;
use crate::flow::events::Note;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::journal;
use crate::flow::messages::{Command, Delivery, Effect, FolderRemoved, Input, Inspection};
use crate::flow::policy::Policy;
use crate::flow::rng::Rng;
use crate::flow::scan::filter::Filter;
use crate::flow::scan::tree::Tree;
use crate::flow::settle::settle_time;
use crate::flow::status::Counters;
use crate::flow::time::{Mono, Now};
use crate::flow::troubles::{Kind, Troubles};

/// Upper bound on the files that are being filed: with so many no more are sent. One that cannot be
/// filed gives its place up until it is tried again.
const MAX_FILING: usize = 4096;
/// The number of checks that run side by side.
pub const INSPECTORS: usize = 2;
/// Interval at which filing that is not possible is tried again.
const FILE_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    rng: Rng,
    clock: ClockWatch,
    /// The folders, and what is known of the names in them.
    tree: Tree,
    /// The files in hand, and those whose work so far must not be forgotten.
    files: ActiveFiles,
    admission: Admission,
    scans: Scans,
    /// What the next scan is asked to look at.
    looking: Looking,
    endpoint: Endpoint,
    /// The brake on what `check.command` rejects.
    checker: Brake,
    health: Health,
    /// What is in the way of files, beside the endpoint.
    troubles: Troubles,
    /// What is known from before.
    known: Known,
    /// Folders that may be removed.
    emptied: Emptied,
    /// When it is looked for what has been in `done` for long enough.
    keeping: Keeping,
    /// What `once` looks for before it leaves.
    last_listing: LastListing,
    phase: Phase,
    /// Which names are wanted; `None`: all that are listed.
    wanted: Option<Filter>,
    /// How many files were out when the configuration was changed: there may be fewer workers since.
    out_before: usize,
    ahead: Ahead,
    burst: Burst,
    out: Output,
}

/// What the engine gives.
#[derive(Debug, Default)]
struct Output {
    tally: Tally,
    /// Counts for the status.
    counters: Counters,
    /// What is to be done, in this order, before the next observation.
    effects: Vec<Effect>,
    /// Lines for the journal that wait until they may be written.
    lines: Vec<(Rel, Stamp, journal::Event)>,
}

/// Counts since the start, for a progress bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    /// Files that were accepted.
    pub delivered: u64,
    /// Bytes of them.
    pub delivered_bytes: u64,
    /// Files that went to dead-letter.
    pub condemned: u64,
    /// Files still to be delivered, those that wait for their writer not counted.
    pub left: u64,
    /// Bytes of them.
    pub left_bytes: u64,
}

/// What may be done now.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    /// Scans may begin.
    scan: bool,
    /// Files may be filed away: anything may be written on the share, or to where files go from there.
    file: bool,
    /// Files may be checked and sent.
    send: bool,
}

impl Engine {
    /// One that knows nothing yet. `seed` is for the jitter.
    pub fn new(policy: Policy, seed: u64, now: Now) -> Engine {
        let pace = Pace {
            interval: policy.interval,
            max_share: policy.max_share,
        };
        Engine {
            rng: Rng::new(seed),
            clock: ClockWatch::new(now),
            tree: Tree::new(policy.settle),
            files: ActiveFiles::new(policy.order, policy.in_order),
            admission: Admission::default(),
            scans: Scans::new(pace, now.mono),
            looking: Looking::new(policy.rewrites),
            endpoint: Endpoint::new(policy.backoff, policy.brake, now.mono),
            checker: Brake::new(policy.brake),
            health: Health::default(),
            troubles: Troubles::default(),
            known: Known::default(),
            emptied: Emptied::default(),
            keeping: Keeping::new(policy.keep_for),
            last_listing: LastListing::default(),
            phase: Phase::Working,
            wanted: None,
            out_before: 0,
            ahead: Ahead::default(),
            burst: Burst::default(),
            out: Output::default(),
            policy,
        }
    }

    /// Takes one observation; gives what is to be done, in this order.
    pub fn on(&mut self, now: Now, input: Input) -> Vec<Effect> {
        self.look_at_clocks(now);
        if input.is_from_scan() {
            let note = self.scans.heard(now.mono);
            self.say(note);
        }
        let note = self.scans.tick(now.mono);
        self.say(note);
        match input {
            Input::Tick | Input::Looking => {}
            Input::Retries(retries) => self.on_retries(retries),
            Input::Confirmed => self.scans.confirmed(now.mono),
            Input::Room(room) => {
                let note = self.health.room(room, now.mono);
                self.say(note);
            }
            Input::Closing(why) => self.on_closing(why, now),
            Input::Listed(folder) => self.on_listed(folder, now),
            Input::Rounds(rounds) => {
                if self.looking.take_back(rounds) {
                    self.scans.go_on();
                }
            }
            Input::Scanned(result) => self.on_scanned(result, now),
            Input::Inspected(file, inspected) => self.on_inspected(file, inspected, now),
            Input::Delivered(file, delivered) => self.on_delivered(file, delivered, now),
            Input::Filed(file, filed) => self.on_filed(file, filed, now),
            Input::FolderRemoved(path, result) => {
                self.emptied.removed(&path, &result, now.mono);
                if let FolderRemoved::Failed(why) = result {
                    self.note(Note::FolderStays { path, why });
                }
            }
            Input::Expired(expired) => self.on_expired(expired, now),
            Input::Command(Command::Scan) => {
                self.scans.hasten(now.mono);
                self.looking.want_everything();
                self.probe_now(now);
            }
            Input::Credentials(send) => {
                self.endpoint.set_send(send);
                self.files.outdate_attempts();
                self.ahead.end();
                self.probe_now(now);
            }
            Input::Settings(settings) => self.on_settings(*settings, now),
            Input::Command(Command::Stop) => self.on_stop(now),
        }
        self.run_timers(now);
        self.hand_out(now);
        while self.admit_waiting(now) {
            self.hand_out(now);
        }
        self.save_if_due(now);
        self.end_burst(now.mono);
        self.observe(now);
        self.end(now);
        debug_assert!(
            !self.phase.is_closing() || !self.out.effects.iter().any(Effect::is_job),
            "nothing begins while everything is about to be opened again"
        );
        self.clock.await_turn(self.wake_at());
        std::mem::take(&mut self.out.effects)
    }

    /// The next moment at which something is due; `None` if only an input can change anything.
    pub fn wake_at(&self) -> Option<Mono> {
        if self.phase == Phase::Finished {
            return None;
        }
        let may = self.may();
        // With no worker free nothing can go, whatever is due: the one that comes back wakes us.
        let can_send = || may.send && self.has_room() && self.files.has_ready();
        let probe = self.endpoint.gate().next_probe().filter(|_| can_send());
        [
            self.files.next_timer(),
            // What is in hand is to be sent or written sooner or later.
            (self.files.len() > 0).then(|| self.clock.heartbeat()),
            self.next_admission(),
            self.scans.wake_at(may.scan),
            probe,
            (self.ahead.waiting() > 0).then(|| self.ahead.ends_at()),
            self.phase.until(),
            self.deadline(),
            self.known.save_at(),
            self.emptied.next_due().filter(|_| may.file),
            self.keeping.next_due().filter(|_| may.file),
            self.last_listing.next_turn(self.clock.now().mono),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Counts, for a progress bar. It goes through all files in motion: not for every turn.
    pub fn tally(&self) -> Tally {
        let mut tally = self.out.tally;
        for (_, active) in self.files.iter() {
            if !matches!(active.at(), At::Filing | At::RetryFiling | At::Waiting) {
                tally.left += 1;
                tally.left_bytes += active.still.look.stamp.size;
            }
        }
        tally.left += self.tree.count().waiting as u64;
        tally.left_bytes += self.tree.tally(Mono::default()).1;
        tally
    }

    /// How many files are on their way to or at the endpoint, or being filed.
    pub fn in_flight(&self) -> usize {
        self.files.count(At::Sending) + self.files.count(At::Filing)
    }

    /// Sees that the invariants of all parts hold, and those between them. It goes through
    /// everything that is known: for tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.files.check();
        self.tree.check();
        self.scans.check();
        self.endpoint.check();
        self.health.check();
        assert!(
            self.ahead.waiting() <= self.files.count(At::Sending),
            "what was handed out ahead is out"
        );
        let most = self.policy.workers.max(self.out_before);
        assert!(
            self.begun() <= most && self.ahead.waiting() <= most,
            "no more files are out than there are workers, and no more ahead"
        );
        if let Some(probe) = self.endpoint.gate().probing() {
            let at = self.files.get(probe).map(ActiveFile::at);
            assert_eq!(at, Some(At::Sending), "the probe {probe:?} is out");
        }
        for (file, active) in self.files.iter() {
            let holder = self.tree.moving(&active.path);
            assert!(
                holder == Some(file)
                    || active.detached
                    || self.known.shares_name(&active.path, file),
                "{} is known once",
                active.path
            );
            let is_filing = matches!(active.at(), At::Filing | At::RetryFiling);
            assert_eq!(
                active.filing.is_some(),
                is_filing,
                "{} is at {:?}",
                active.path,
                active.at()
            );
        }
        for kind in [Kind::Read, Kind::Deliver, Kind::Done, Kind::DeadLetter] {
            let have = self.files.iter().filter(|(_, it)| it.trouble == Some(kind));
            assert_eq!(self.troubles.files(kind), have.count(), "{kind:?}");
        }
        let restless = |it: &ActiveFile| it.changing.is_some_and(|it| it.is_restless);
        let restless = self.files.iter().filter(|(_, it)| restless(it)).count();
        assert_eq!(self.troubles.files(Kind::Settle), restless, "restless");
        let nameless = self.files.iter().filter(|(file, active)| {
            active.detached || self.known.shares_name(&active.path, *file)
        });
        assert_eq!(
            self.tree.count().moving,
            self.files.len() - nameless.count(),
            "each name in motion has a record"
        );
    }

    /// A machine that slept, a process that was stopped and a clock that jumped may each have been
    /// silent for longer than a lock lives.
    fn look_at_clocks(&mut self, now: Now) {
        let Some(gap) = self.clock.observe(now) else {
            return;
        };
        self.scans.doubt_lock();
        self.note(match gap {
            Gap::Suspended(time) => Note::Suspended { time },
            Gap::Stepped(by_ms) => Note::ClockSet { by_ms },
            Gap::Late(time) => Note::Starved { time },
        });
    }

    fn note(&mut self, note: Note) {
        self.out.effects.push(Effect::Note(note));
    }

    fn say(&mut self, notes: impl IntoIterator<Item = Note>) {
        self.out.effects.extend(notes.into_iter().map(Effect::Note));
    }

    fn may(&self) -> Allowed {
        let file = self.phase.may_write()
            && !self.scans.is_share_away()
            && self.scans.is_lock_sure()
            && self.health.has_room();
        let is_working = self.phase == Phase::Working;
        Allowed {
            scan: is_working,
            file,
            send: file && is_working && self.health.is_good(),
        }
    }

    /// Whether one more file may be on its way.
    fn has_room(&self) -> bool {
        let workers = self.policy.workers;
        let is_one_wanted =
            self.begun() < workers || self.ahead.waiting() < workers && self.hands_out_ahead();
        is_one_wanted && self.files.count(At::Filing) < MAX_FILING
    }

    /// How many files workers are at.
    fn begun(&self) -> usize {
        let out = self.files.count(At::Sending);
        out.saturating_sub(self.ahead.waiting())
    }

    /// Whether files may be handed out while all workers are busy.
    fn hands_out_ahead(&self) -> bool {
        self.may().send
            && !self.policy.in_order
            && self.endpoint.gate().is_open()
            && self.ahead.is_on(self.clock.now().mono)
    }

    fn key_of(&self, path: &Rel, stamp: Stamp) -> String {
        let retry = self.known.retry(path, stamp);
        key(&self.policy.key_scope, path, stamp, retry)
    }

    fn settle_time(&self, look: &Look) -> Duration {
        settle_time(self.policy.settle, look.fs)
    }

    // ---- handing out ----------------------------------------------------------------

    fn run_timers(&mut self, now: Now) {
        while let Some(file) = self.files.due(now.mono) {
            match self.files.get(file).map(ActiveFile::at) {
                Some(At::RetryFiling) => self.hand_out_filing(file, now),
                _ => self.advance(file, now),
            }
        }
    }

    /// Starts what may be started.
    fn hand_out(&mut self, now: Now) {
        let may = self.may();
        if may.scan
            && let Some(order) = self.scans.begin_if_due(now.mono)
        {
            let effect = match order {
                Order::Scan => Effect::Scan(self.scan_order(now.mono)),
                Order::Confirm => Effect::Confirm,
            };
            self.out.effects.push(effect);
        }
        if may.file && !self.out.lines.is_empty() {
            let lines = std::mem::take(&mut self.out.lines);
            self.out.effects.push(Effect::Write(lines));
        }
        if may.file {
            let due = self.emptied.take_due(now.mono).into_iter();
            self.out.effects.extend(due.map(Effect::RemoveFolder));
            self.begin_expiry();
        }
        if self.ahead.waiting() > 0 && !self.hands_out_ahead() {
            self.out.effects.push(Effect::Recall);
        }
        if !may.send {
            return;
        }
        while self.files.count(At::Inspecting) < INSPECTORS
            && let Some(file) = self.files.next_to_inspect()
        {
            self.hand_out_inspection(file);
        }
        while self.has_room()
            && let Some(file) = self.files.next_to_send(self.endpoint.gate(), now.mono)
        {
            self.hand_out_delivery(file);
        }
    }

    fn hand_out_inspection(&mut self, file: FileNo) {
        self.files.put(file, Seat::Inspecting);
        if let Some(active) = self.files.get(file) {
            let settle = self.settle_time(&active.still.look);
            let inspection = Inspection {
                file,
                path: active.path.clone(),
                look: active.still.look,
                beyond_suspicion: active.still.is_beyond_suspicion(settle),
            };
            self.out.effects.push(Effect::Inspect(inspection));
        }
    }

    fn hand_out_delivery(&mut self, file: FileNo) {
        if self.begun() >= self.policy.workers {
            self.ahead.handed_out();
        }
        self.files.send(file);
        self.endpoint.sent(file);
        let now = self.clock.now().mono;
        if let Some(active) = self.files.get_mut(file) {
            active.sent_at = now;
        }
        let Some(active) = self.files.get(file) else {
            return;
        };
        let (path, look) = (active.path.clone(), active.still.look);
        let sha256 = active.checked.sha256();
        let marker = active.voucher.filter(|_| self.policy.marker.is_some());
        let marker = marker.map(|marker| marker.stamp);
        let settle = self.settle_time(&look);
        let delivery = Delivery {
            beyond_suspicion: active.still.is_beyond_suspicion(settle),
            file,
            look,
            key: self.key_of(&path, look.stamp),
            path,
            sha256,
            marker,
        };
        if let Some(active) = self.files.get_mut(file) {
            active.sent_marker = marker;
        }
        self.out.effects.push(Effect::Deliver(delivery));
    }

    /// How many files are not accepted or condemned yet, but for those that wait for their writer.
    fn waiting(&self) -> usize {
        let is_over = [At::Waiting, At::Filing, At::RetryFiling];
        let over: usize = is_over.into_iter().map(|at| self.files.count(at)).sum();
        self.files.len() - over + self.tree.count().waiting
    }

    /// The endpoint, and by what a report on it is judged.
    fn report(&mut self, now: Mono) -> (&mut Endpoint, Scene<'_>) {
        let waiting = self.waiting();
        let scene = Scene {
            now,
            rng: &mut self.rng,
            waiting,
        };
        (&mut self.endpoint, scene)
    }
}
