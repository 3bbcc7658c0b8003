//! The world that the engine is put into: a folder that others write to, an endpoint with
//! moods, a disk that keeps what the journal says, and a power switch.
//!
//! Each step of each job is an event of its own, so that a crash can come between any two:
//! between the acceptance and its line in the journal, between the line that announces a
//! move and the rename, between the rename and the look behind it. Filing is the real machine
//! over the file system that is modelled in `model.rs` and `disk.rs`.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::config::Action;
use dirpost::flow::endpoint::reply::Reply;
use dirpost::flow::endpoint::verdict::Verdict;
use dirpost::flow::file::{FsKind, Rel, Stamp};
use dirpost::flow::filing::{Kept, Place};
use dirpost::flow::memory::Memory;
use dirpost::flow::messages::{Delivery, Inspection, ScanOrder};
use dirpost::flow::rng::Rng;
use dirpost::flow::time::{Mono, Now, Wall};

use crate::coverage::Coverage;
use crate::dead_letters::Retries;
use crate::filing::Filer;
use crate::model::{Model, Node};
use crate::plan::Features;
use crate::power::{Journal, JournalFault};
use crate::reload::Setting;
use crate::scan::Folder;
use crate::workers::Workers;

/// A version of a file, as its writer made it. Never reused.
pub type Version = u64;

/// What is going to happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A writer does its next step.
    Write(usize),
    /// Somebody changes the mode of a writer's file, and does so again a number of times.
    Chmod(usize, u32),
    /// The scan, which leaves these names out, visits the folder, and is over.
    List(ScanOrder, BTreeSet<String>),
    /// The configuration is read again.
    Reload(Setting),
    /// The scan sees that the lock is ours, and is over.
    Confirm,
    /// The machine is suspended for a while.
    Suspend,
    InspectStart(Inspection),
    /// All has been read.
    InspectEnd(Inspection, Version),
    /// With the settle time that held when it was handed out (ms).
    SendStart(Delivery, i64),
    /// The last byte goes out.
    SendEnd(Delivery, Version),
    /// The answer is there; if it is an acceptance, it is written down now.
    Answered(Delivery, Version, Verdict, Reply),
    /// It looks for what has been in `done` for long enough.
    Expire,
    /// The filing thread begins a batch, or does its next operation.
    File,
    /// Moving away works again.
    Unstuck,
    Mood(Mood),
    /// The journal is brought onto the disk.
    Sync,
    /// Something stands in the way of the journal, or no longer does.
    Journal(JournalFault),
    /// The filing thread tries to set room aside for a full disk again.
    Room,
    /// Somebody has a dead letter sent again.
    Retry,
    /// It is put back.
    PutBack(Place, Version),
    /// What was put back from there is brought onto the disk.
    SyncPutBack(Place, Version),
    Crash,
}

/// How the endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    Unreachable,
    Busy,
    Unauthorized,
    RejectsAll,
    Resets,
}

impl Mood {
    /// For the numbers at the end.
    pub fn word(self) -> &'static str {
        match self {
            Mood::Well => "endpoint: well",
            Mood::Unreachable => "endpoint: unreachable",
            Mood::Busy => "endpoint: 503",
            Mood::Unauthorized => "endpoint: 401",
            Mood::RejectsAll => "endpoint: 400 to everybody",
            Mood::Resets => "endpoint: resets",
        }
    }
}

/// What a writer does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Append,
    Finish,
    Rewrite,
    Replace,
    /// Other content, with size and mtime put back.
    Sneak,
    Delete,
    /// It goes, and comes back as it was.
    Hide,
    Return,
    /// A marker is written, in place of the one before.
    Mark,
    /// The marker is taken away.
    Unmark,
}

pub struct Writer {
    pub name: String,
    pub steps: Vec<(i64, Step)>,
    /// What it has written last.
    pub version: Version,
}

pub struct World {
    pub rng: Rng,
    pub time: i64,
    /// How long the machine has been suspended in all (ms): the monotonic clock stood still.
    pub slept: i64,
    /// When it last woke.
    pub woken: i64,
    pub fs: FsKind,
    /// What of the configuration changes, as it is now.
    pub setting: Setting,
    /// The watched folder itself, as scans see it.
    pub folder: Folder,
    pub mood: Mood,
    pub faulty: bool,
    /// The share is away since it was last looked at.
    pub away: bool,
    /// Files that went, and will come back.
    pub hidden: BTreeMap<String, Node>,
    pub events: BTreeMap<(i64, u64), Event>,
    order: u64,
    pub next_version: Version,
    pub writers: Vec<Writer>,
    /// The file system.
    pub model: Model,
    /// What becomes of what was accepted.
    pub action: Action,
    pub filer: Filer,
    /// What was put into `done`, as it was written down.
    pub kept: Vec<Kept>,
    /// What was removed there, its time being over.
    pub expired: BTreeSet<Version>,
    pub journal: Journal,
    pub memory: Memory,
    /// What answer files say: the key that the version was sent under.
    pub answers: BTreeMap<Place, String>,
    /// Accepted by the endpoint: version and key, in order.
    pub accepted: Vec<(Version, String)>,
    pub accepted_versions: BTreeSet<Version>,
    /// Versions that their writer took back: overwritten or deleted.
    pub withdrawn: BTreeSet<Version>,
    /// Complete versions that were ever left in the folder.
    pub left: BTreeSet<Version>,
    pub poison: BTreeSet<String>,
    pub lonely_404: BTreeSet<String>,
    pub attempts: Vec<(i64, Mood)>,
    /// Condemned while the endpoint rejected everything.
    pub unjustly: BTreeSet<(String, Stamp)>,
    pub crashes: usize,
    /// There may be crashes: nothing is left out of the model that a power cut would show.
    pub can_crash: bool,
    /// So many crashes come right behind an operation of filing.
    pub ambushes: u64,
    /// Accepted, and the journal has no line of it yet: what is in flight.
    pub unrecorded: BTreeMap<(Rel, Stamp), Version>,
    /// What was in flight at the crashes: it may be sent once more for each time.
    pub may_repeat: Vec<Version>,
    pub in_flight_at_crashes: usize,
    pub in_flight: usize,
    pub workers: Workers,
    /// When the machine was suspended last, and when a process last ended (ms).
    pub suspended_at: i64,
    pub crashed_at: i64,
    /// Its history is kept.
    pub tells: bool,
    pub tick: Vec<String>,
    /// What of the configuration, and which faults, this run is about.
    pub features: Features,
    /// Which kinds of faults have occurred.
    pub coverage: Coverage,
    /// When the faults are over (ms).
    pub faults_end: i64,
    /// The number of the last marker.
    pub last_marker: u64,
    /// Names whose writers write no marker.
    pub markerless: BTreeSet<String>,
    /// Versions that were put back without a marker.
    pub unvouched: BTreeSet<Version>,
    /// The versions that were accepted with one marker.
    pub vouched: BTreeMap<(Rel, Stamp), BTreeSet<Version>>,
    /// What a check finds in a version, if it finds anything wrong.
    pub findings: BTreeMap<Version, Finding>,
    /// Names whose content is wrong, and how.
    pub wrong: BTreeMap<String, Finding>,
    /// Versions that have passed their check.
    pub passed: BTreeSet<Version>,
    /// Where a version was written.
    pub origins: BTreeMap<Version, String>,
    pub retries: Retries,
    /// Markers that were to stay for other files of their stem.
    pub shared_markers: BTreeSet<Place>,
    /// When each name in the staging folder was last looked at.
    pub looked_at_in_staging: BTreeMap<Place, i64>,
    /// By when a version has to be accepted, unless its writer takes it back.
    pub deadlines: BTreeMap<Version, i64>,
}

/// What a check finds wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The format is another one.
    Bad,
    /// `check.command` says no.
    Rejected,
    /// `check.command` cannot say, so many times.
    Undecided(u32),
}

const START: i64 = 1_800_000_000_000;
/// The faults are over after this (ms).
pub const FAULTS: i64 = 120_000;

impl World {
    pub fn new(seed: u64, crashes: bool) -> World {
        let mut rng = Rng::new(seed);
        let fs = [FsKind::Local, FsKind::Share][rng.below(2) as usize];
        let model = Model::new(&mut rng, crashes);
        // Drawn apart, so that all else is as it was.
        let folder = Folder::new(&mut Rng::new(!seed), fs);
        World {
            rng,
            time: 0,
            slept: 0,
            woken: -1_000_000,
            fs,
            setting: Setting::default(),
            folder,
            mood: Mood::Well,
            faulty: true,
            away: false,
            hidden: BTreeMap::new(),
            events: BTreeMap::new(),
            order: 0,
            next_version: 0,
            writers: Vec::new(),
            model,
            action: Action::Move,
            filer: Filer::new(seed),
            kept: Vec::new(),
            expired: BTreeSet::new(),
            journal: Journal::default(),
            memory: Memory::default(),
            accepted: Vec::new(),
            accepted_versions: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            left: BTreeSet::new(),
            poison: BTreeSet::new(),
            lonely_404: BTreeSet::new(),
            attempts: Vec::new(),
            answers: BTreeMap::new(),
            unjustly: BTreeSet::new(),
            crashes: 0,
            can_crash: crashes,
            ambushes: 0,
            unrecorded: BTreeMap::new(),
            may_repeat: Vec::new(),
            in_flight_at_crashes: 0,
            in_flight: 0,
            workers: Workers::default(),
            suspended_at: -1,
            crashed_at: -1,
            tells: false,
            tick: Vec::new(),
            features: Features::default(),
            coverage: Coverage::default(),
            faults_end: FAULTS,
            last_marker: 0,
            markerless: BTreeSet::new(),
            unvouched: BTreeSet::new(),
            vouched: BTreeMap::new(),
            findings: BTreeMap::new(),
            wrong: BTreeMap::new(),
            passed: BTreeSet::new(),
            origins: BTreeMap::new(),
            retries: Retries::default(),
            shared_markers: BTreeSet::new(),
            looked_at_in_staging: BTreeMap::new(),
            deadlines: BTreeMap::new(),
        }
    }

    pub fn now(&self) -> Now {
        Now {
            mono: Mono(self.time),
            wall: self.wall(),
            up: Some(self.time + self.slept),
        }
    }

    pub fn wall(&self) -> Wall {
        Wall((START + self.time + self.slept) * 1_000_000)
    }

    pub fn at(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events
            .insert((self.time + delay as i64, self.order), event);
    }

    pub fn soon(&mut self, most: u64, event: Event) {
        let delay = self.rng.below(most);
        self.at(delay, event);
    }

    /// The machine is suspended for a while, and wakes.
    pub fn suspend(&mut self) {
        self.slept += 1_000 + self.rng.below(3_600_000) as i64;
        self.suspended_at = self.time;
        self.meet("machine suspended");
        self.say(|| "the machine was suspended".into());
        self.woken = self.time;
    }

    /// The endpoint behaves like this from now on.
    pub fn set_mood(&mut self, mood: Mood) {
        self.say(|| format!("endpoint: {mood:?}"));
        self.mood = mood;
        self.meet(mood.word());
    }

    /// Moving away works again.
    pub fn unstick(&mut self) {
        self.say(|| "moving away works again".into());
        self.model.faults.stuck.clear();
        self.model.faults.targets_full = false;
    }

    /// A kind of fault has occurred.
    pub fn meet(&mut self, kind: &'static str) {
        self.coverage.meet(kind);
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if !self.tells {
            return;
        }
        let line = format!("{:>8} {}", self.time, what());
        self.tick.push(line);
    }
}
