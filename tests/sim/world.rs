//! The world that the engine is put into: a folder that others write to, an endpoint with
//! moods, a disk that keeps what the journal says, and a power switch.
//!
//! Each step of each job is an event of its own, so that a crash can come between any two:
//! between the acceptance and its line in the journal, between the line that announces a
//! move and the rename, between the rename and the look behind it. Filing is the real machine
//! over the file system that is modelled in `disk.rs`.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::config::Action;
use dirpost::flow::endpoint::classify::Verdict;
use dirpost::flow::endpoint::reply::{Answer, Failure, FailureKind, Reply};
use dirpost::flow::file::{Difference, FileNo, FsKind, Look, Rel, Stamp};
use dirpost::flow::filing::disk::Line;
use dirpost::flow::filing::{
    Acceptance, Area, Batch, Carried, Fate, Filing, Outcome, Place, Progress, Rules,
};
use dirpost::flow::journal::{Event as JournalEvent, Record, Replay};
use dirpost::flow::memory::Memory;
use dirpost::flow::messages::{Closing, Delivered, Delivery, Input, Miss, ScanOrder};
use dirpost::flow::rng::Rng;
use dirpost::flow::time::{Mono, Now, Wall};

use crate::disk::{Model, Node, WorldDisk, sha256, watched};
use crate::scan::Folder;

/// A version of a file, as its writer made it. Never reused.
pub type Version = u64;

/// What is going to happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A writer does its next step.
    Write(usize),
    /// Somebody changes the mode of a writer's file, and does so again a number of times.
    Chmod(usize, u32),
    /// The scan visits the folder, and is over.
    List(ScanOrder),
    /// The scan sees that the lock is ours, and is over.
    Confirm,
    /// The machine is suspended for a while.
    Suspend,
    SendStart(Delivery),
    /// The last byte goes out.
    SendEnd(Delivery, Version),
    /// The answer is there; if it is an acceptance, it is written down now.
    Answered(Delivery, Version, Verdict, Reply),
    /// The filing thread begins a batch, or does its next operation.
    File,
    /// Moving away works again.
    Unstuck,
    Mood(Mood),
    /// The journal is brought onto the disk.
    Sync,
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
    pub settle: i64,
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
    next_version: Version,
    pub writers: Vec<Writer>,
    /// The file system.
    pub model: Model,
    /// What becomes of what was accepted.
    pub action: Action,
    /// What the filing thread has been asked for.
    orders: Vec<Filing>,
    batch: Option<Batch>,
    carried: Carried,
    owed: Vec<Line>,
    pub journal: Vec<u8>,
    /// So much of the journal is on the disk.
    pub synced: usize,
    /// Accepted, and lost from the journal by a power cut.
    pub lost_lines: usize,
    /// At the first crash the journal is cut after so many bytes of what is not on the disk.
    pub cut: Option<usize>,
    /// So many bytes were not on the disk at the first crash.
    pub tail: Option<usize>,
    pub memory: Memory,
    /// Accepted by the endpoint: version and key, in order.
    pub accepted: Vec<(Version, String)>,
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
    pub in_flight_at_crashes: usize,
    pub in_flight: usize,
    /// When the machine was suspended last, and when a process last ended (ms).
    pub suspended_at: i64,
    pub crashed_at: i64,
    /// Its history is kept.
    pub tells: bool,
    pub tick: Vec<String>,
}

/// Whether a worker breaks the upload off.
fn is_changed(now: &Look, sent: &Look) -> bool {
    match now.difference(sent) {
        Difference::None | Difference::Suspicion => false,
        Difference::Replaced | Difference::Version => true,
    }
}

const START: i64 = 1_800_000_000_000;

impl World {
    pub fn new(seed: u64, crashes: bool) -> World {
        let mut rng = Rng::new(seed);
        let fs = if rng.below(2) == 0 {
            FsKind::Local
        } else {
            FsKind::Share
        };
        let model = Model::new(&mut rng, crashes);
        // Drawn apart, so that all else is as it was.
        let folder = Folder::new(&mut Rng::new(!seed), fs);
        World {
            rng,
            time: 0,
            slept: 0,
            woken: -1_000_000,
            fs,
            settle: 1_000,
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
            orders: Vec::new(),
            batch: None,
            carried: Carried::default(),
            owed: Vec::new(),
            journal: Vec::new(),
            synced: 0,
            lost_lines: 0,
            cut: None,
            tail: None,
            memory: Memory::default(),
            accepted: Vec::new(),
            withdrawn: BTreeSet::new(),
            left: BTreeSet::new(),
            poison: BTreeSet::new(),
            lonely_404: BTreeSet::new(),
            attempts: Vec::new(),
            unjustly: BTreeSet::new(),
            crashes: 0,
            in_flight_at_crashes: 0,
            in_flight: 0,
            suspended_at: -1,
            crashed_at: -1,
            tells: false,
            tick: Vec::new(),
        }
    }

    pub fn now(&self) -> Now {
        Now {
            mono: Mono(self.time),
            wall: self.wall(),
            up: Some(self.time + self.slept),
        }
    }

    pub(super) fn wall(&self) -> Wall {
        Wall((START + self.time + self.slept) * 1_000_000)
    }

    pub fn at(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events
            .insert((self.time + delay as i64, self.order), event);
    }

    pub(super) fn soon(&mut self, most: u64, event: Event) {
        let delay = self.rng.below(most);
        self.at(delay, event);
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if !self.tells {
            return;
        }
        let line = format!("{:>8} {}", self.time, what());
        self.tick.push(line);
    }

    // ---- writers --------------------------------------------------------------------

    pub fn write(&mut self, writer: usize) {
        let name = self.writers[writer].name.clone();
        let Some((_, step)) =
            (!self.writers[writer].steps.is_empty()).then(|| self.writers[writer].steps.remove(0))
        else {
            return;
        };
        // Nobody can see what comes between the last look and the rename: see the contract.
        if self.batch.is_some() && step == Step::Sneak {
            self.writers[writer].steps.insert(0, (50, step));
            self.at(50, Event::Write(writer));
            return;
        }
        let next = self.next_version + 1;
        self.say(|| format!("writer: {name} {step:?} (version {next})"));
        let wall = self.wall();
        // A file that was moved while it was being written is written on through the handle
        // that its writer holds.
        let place = self
            .moved_from_under(writer, step)
            .unwrap_or_else(|| watched(&name));
        let old = self.model.get(&place);
        match step {
            Step::Delete => {
                if let Some(old) = self.model.take(&watched(&name)) {
                    self.withdrawn.insert(old.version);
                }
            }
            Step::Hide => {
                if let Some(node) = self.model.take(&watched(&name)) {
                    self.hidden.insert(name, node);
                }
            }
            Step::Return => {
                if let Some(node) = self.hidden.remove(&name) {
                    self.model.write(&watched(&name), node);
                }
            }
            Step::Finish => {
                let version = self.writers[writer].version;
                if self.model.get(&place).is_none() && self.model.given_up.contains(&version) {
                    // Its writer went on through a handle that it held beyond the filing.
                    self.withdrawn.insert(version);
                    return;
                }
                let Some(node) = self.model.get_mut(&place) else {
                    // It was taken away while it was being written: only a writer that
                    // paused for longer than the settle time allows that.
                    panic!("{name} vanished while it was being written");
                };
                node.complete = true;
                let version = node.version;
                self.left.insert(version);
            }
            Step::Sneak => {
                if let Some(old) = self.model.get(&watched(&name)).filter(|old| old.complete) {
                    self.next_version += 1;
                    self.withdrawn.insert(old.version);
                    self.left.insert(self.next_version);
                    let look = Look {
                        ctime: wall,
                        ..old.look
                    };
                    // Size and mtime have stood still for as long as before.
                    let changed = old.changed;
                    let node = Node {
                        version: self.next_version,
                        look,
                        changed,
                        complete: true,
                    };
                    self.model.write(&watched(&name), node);
                }
            }
            Step::Append | Step::Rewrite | Step::Replace => {
                self.next_version += 1;
                let version = self.next_version;
                if let Some(old) = old {
                    self.withdrawn.insert(old.version);
                }
                let size = match step {
                    Step::Append => {
                        old.map_or(0, |node| node.look.stamp.size) + 1 + self.rng.below(9)
                    }
                    // Sometimes the very same size.
                    _ => old.map_or(5, |node| node.look.stamp.size) + self.rng.below(2),
                };
                let keeps_inode = old.filter(|_| step != Step::Replace);
                let ino = keeps_inode.map_or_else(|| self.model.inode(), |node| node.look.ino);
                // Some tools give a file the mtime it had elsewhere: old, or in the future.
                let mtime = match self.rng.below(6) {
                    0 if step == Step::Replace => Wall(1_000_000_000 * (1 + version as i64)),
                    1 if step == Step::Replace => Wall(wall.0 + 86_400_000_000_000),
                    _ => wall,
                };
                let look = Look {
                    stamp: Stamp { size, mtime },
                    ctime: wall,
                    dev: 1,
                    ino,
                    blocks: size / 4,
                    fs: self.fs,
                };
                let complete = step == Step::Replace;
                if complete {
                    self.left.insert(version);
                }
                self.writers[writer].version = version;
                let node = Node {
                    version,
                    look,
                    changed: self.time,
                    complete,
                };
                self.model.write(&place, node);
            }
        }
        if let Some(&(pause, _)) = self.writers[writer].steps.first() {
            self.at(pause as u64, Event::Write(writer));
        }
    }

    /// The ctime of the file moves, and nothing else.
    pub fn chmod(&mut self, writer: usize, times: u32) {
        let wall = self.wall();
        let place = watched(&self.writers[writer].name);
        if let Some(node) = self.model.get_mut(&place) {
            node.look.ctime = wall;
        }
        if times > 1 {
            let pause = 1 + self.rng.below(1_500);
            self.at(pause, Event::Chmod(writer, times - 1));
        }
    }

    /// Where the file is that this writer has open, if not at its place.
    fn moved_from_under(&self, writer: usize, step: Step) -> Option<Place> {
        if !matches!(step, Step::Append | Step::Finish) {
            return None;
        }
        let version = self.writers[writer].version;
        let is_it = |node: &Node| node.version == version && !node.complete;
        // What lies elsewhere as well is a copy.
        if self
            .find(&Rel::new(self.writers[writer].name.as_bytes()))
            .as_ref()
            .is_some_and(is_it)
        {
            return None;
        }
        [Area::Done, Area::DeadLetter, Area::Staging]
            .into_iter()
            .flat_map(|area| self.model.area(area))
            .find(|(_, node)| is_it(node))
            .map(|(place, _)| place.clone())
    }

    // ---- scan -----------------------------------------------------------------------

    /// A look at the lock alone.
    pub fn confirm(&mut self) -> Vec<Input> {
        match self.reopen() {
            Some(answer) => vec![answer],
            None => vec![Input::Confirmed, Input::Scanned(Ok(()))],
        }
    }

    /// The share is opened again, as each scan does first. A share that was away has everything
    /// opened again when it is back.
    pub(super) fn reopen(&mut self) -> Option<Input> {
        if self.faulty && self.rng.below(20) == 0 {
            self.away = true;
            return Some(Input::Scanned(Err("the share is away".into())));
        }
        std::mem::take(&mut self.away).then_some(Input::Closing(Closing::ShareBack))
    }

    // ---- deliver --------------------------------------------------------------------

    fn find(&self, path: &Rel) -> Option<Node> {
        self.model.get(&Place::new(Area::Watched, path.clone()))
    }

    pub fn send_start(&mut self, job: Delivery) -> Option<Input> {
        self.in_flight += 1;
        match self.find(&job.path) {
            None => Some(self.back(job.file, Delivered::Missing(Miss::Gone))),
            Some(node) if is_changed(&node.look, &job.look) => {
                Some(self.back(job.file, Delivered::Changed(Some(node.look))))
            }
            Some(node) => {
                // A process that comes after one that saw the machine suspended knows nothing of it.
                let slept_unseen =
                    self.suspended_at >= node.changed && self.crashed_at >= self.suspended_at;
                assert!(
                    self.time - node.changed >= self.settle || slept_unseen,
                    "{} is sent {} ms after its last change",
                    job.path,
                    self.time - node.changed
                );
                assert!(
                    node.complete || slept_unseen,
                    "{} is sent before its writer is done",
                    job.path
                );
                self.attempts.push((self.time, self.mood));
                if self.mood == Mood::Unreachable {
                    let failure = Failure {
                        kind: FailureKind::Connect,
                        detail: "refused".into(),
                    };
                    let failed = (Verdict::Down { reached: false }, Reply::Failed(failure));
                    return Some(self.replied(&job, None, failed));
                }
                let delay = 1 + self.rng.below(300);
                self.at(delay, Event::SendEnd(job, node.version));
                None
            }
        }
    }

    pub fn send_end(&mut self, mut job: Delivery, version: Version) -> Option<Input> {
        match self.find(&job.path) {
            // After a suspicion the bytes are read again before the last of them goes out.
            Some(node) if !is_changed(&node.look, &job.look) && node.version == version => {
                job.look = node.look;
            }
            other => {
                return Some(self.back(job.file, Delivered::Changed(other.map(|node| node.look))));
            }
        }
        let name = job.path.to_string();
        let answer = |status| {
            Reply::Answer(Answer {
                status,
                body_matches: true,
                ..Answer::default()
            })
        };
        let (verdict, reply) = match self.mood {
            Mood::Unreachable | Mood::Resets => {
                let failure = Failure {
                    kind: FailureKind::Broken,
                    detail: "reset".into(),
                };
                (Verdict::Down { reached: true }, Reply::Failed(failure))
            }
            Mood::Busy => (Verdict::Busy, answer(503)),
            Mood::Unauthorized => (Verdict::Refused, answer(401)),
            Mood::RejectsAll => (Verdict::Rejected, answer(400)),
            Mood::Well if self.poison.contains(&name) => (Verdict::Rejected, answer(422)),
            Mood::Well if self.lonely_404.contains(&name) => (Verdict::Refused, answer(404)),
            Mood::Well => (Verdict::Accepted, answer(200)),
        };
        if verdict == Verdict::Accepted {
            self.say(|| format!("accepted {name} version {version}"));
            self.accepted.push((version, job.key.clone()));
        }
        let delay = 1 + self.rng.below(400);
        self.at(delay, Event::Answered(job, version, verdict, reply));
        None
    }

    pub fn answered(
        &mut self,
        job: &Delivery,
        version: Version,
        (verdict, reply): (Verdict, Reply),
    ) -> Input {
        if verdict == Verdict::Accepted {
            let acceptance = Acceptance {
                key: job.key.clone(),
                status: 200,
            };
            let event = JournalEvent::accepted(&acceptance, None, self.keeps());
            self.write_down(&job.path, job.look.stamp, event);
        }
        self.replied(job, Some(version), (verdict, reply))
    }

    fn replied(
        &mut self,
        job: &Delivery,
        version: Option<Version>,
        (verdict, reply): (Verdict, Reply),
    ) -> Input {
        let took = std::time::Duration::from_millis(1);
        self.back(
            job.file,
            Delivered::Replied {
                verdict,
                reply,
                took,
                journaled: Ok(()),
                sha256: version.and_then(sha256),
                look: job.look,
            },
        )
    }

    fn back(&mut self, file: FileNo, delivered: Delivered) -> Input {
        self.in_flight -= 1;
        Input::Delivered(file, delivered)
    }

    pub fn write_lines(&mut self, lines: Vec<(Rel, Stamp, JournalEvent)>) {
        for (path, stamp, event) in lines {
            self.write_down(&path, stamp, event);
        }
    }

    pub(super) fn write_down(&mut self, path: &Rel, stamp: Stamp, event: JournalEvent) {
        let line = Record::line(path, stamp, self.wall(), event);
        self.journal.extend(line);
        if !self
            .events
            .values()
            .any(|event| matches!(event, Event::Sync))
        {
            self.at(500, Event::Sync);
        }
    }

    /// The journal is brought onto the disk.
    pub fn sync_journal(&mut self) {
        self.synced = self.journal.len();
    }

    // ---- the power switch -----------------------------------------------------------

    /// All that was under way is gone; the journal may have lost its torn end. A power cut takes
    /// what was not on the disk, too.
    pub fn crash(&mut self) -> Replay {
        self.crashes += 1;
        self.crashed_at = self.time;
        self.in_flight_at_crashes += self.in_flight;
        self.in_flight = 0;
        self.orders.clear();
        self.batch = None;
        self.carried = Carried::default();
        self.owed.clear();
        self.away = false;
        self.events.retain(|_, event| {
            matches!(
                event,
                Event::Write(_)
                    | Event::Chmod(..)
                    | Event::Mood(_)
                    | Event::Unstuck
                    | Event::Suspend
                    | Event::Crash
            )
        });
        let is_first = self.tail.is_none();
        self.tail.get_or_insert(self.journal.len() - self.synced);
        let cut = self.cut.filter(|_| is_first);
        if self.rng.below(2) == 0 || cut.is_some() {
            self.say(|| "power cut".into());
            self.cut_power(cut);
        } else {
            self.say(|| "crash".into());
        }
        let torn = self.rng.below(30) as usize;
        self.journal.extend_from_slice(
            &b"{\"v\":1,\"at\":\"2026-01-01T00:00:00Z\",\"path\":\"x"[..torn.min(40)],
        );
        self.reread_journal()
    }

    /// As everything is opened again, so is what files away.
    pub fn renew_filer(&mut self) {
        assert!(self.batch.is_none() && self.orders.is_empty());
        self.carried = Carried::default();
        // A share that is mounted again may give all its files other numbers.
        if self.rng.below(2) == 0 {
            self.model.renumber(1_000_000);
        }
    }

    /// As whoever opens the journal does: a new file with what is live, all of it on the disk.
    pub fn reread_journal(&mut self) -> Replay {
        let mut replay = Replay::default();
        replay.add(&self.journal);
        self.journal = replay.lines(self.wall());
        self.sync_journal();
        replay
    }

    /// Any part of what was not synced may be there all the same, but in order.
    fn cut_power(&mut self, cut: Option<usize>) {
        let drawn = self
            .rng
            .below((self.journal.len() - self.synced) as u64 + 1) as usize;
        let kept = self.synced + cut.unwrap_or(drawn);
        let lost = String::from_utf8(self.journal.split_off(kept)).expect("text");
        let whole = self
            .journal
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let half = String::from_utf8(self.journal[whole..].to_vec()).expect("text");
        self.lost_lines += format!("{half}{lost}")
            .matches("\"event\":\"accepted\"")
            .count();
        let World { model, rng, .. } = self;
        model.cut_power(rng);
    }

    // ---- file away ------------------------------------------------------------------

    /// Whether the endpoint has this version.
    pub fn was_accepted(&self, version: Version) -> bool {
        self.accepted
            .iter()
            .any(|(accepted, _)| *accepted == version)
    }

    pub fn keeps(&self) -> bool {
        self.action == Action::Keep
    }

    /// The filing thread is asked for this.
    pub fn file_start(&mut self, job: Filing) {
        if let Fate::Condemned(reason) = &job.fate
            && reason.status == Some(400)
            && job.progress == Progress::Unwritten
        {
            self.unjustly.insert((job.path.to_string(), job.look.stamp));
        }
        if self.orders.is_empty() && self.batch.is_none() {
            self.soon(30, Event::File);
        }
        self.orders.push(job);
    }

    /// One operation of the filing thread. Gives what came of a batch when it is through.
    pub fn file_step(&mut self) -> Vec<Input> {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None if self.orders.is_empty() => return Vec::new(),
            None => {
                let rules = Rules {
                    action: self.action,
                    marker: Vec::new(),
                    read_only: false,
                };
                let now = self.wall();
                Batch::new(
                    std::mem::take(&mut self.orders),
                    &rules,
                    std::mem::take(&mut self.carried),
                    now,
                )
            }
        };
        let mut goes_on = batch.step(&mut WorldDisk { world: self });
        // What lies on a mount point of its own inside of the share can only be looked at and then
        // be removed, and nobody can see what comes between the two: so nothing does.
        while goes_on && self.model.traits.staging_elsewhere && self.model.last_was_look {
            goes_on = batch.step(&mut WorldDisk { world: self });
        }
        if goes_on {
            self.batch = Some(batch);
            // A large file takes its time now and then.
            let most = if self.rng.below(20) == 0 { 2_000 } else { 20 };
            self.soon(most, Event::File);
            return Vec::new();
        }
        if !self.orders.is_empty() {
            self.soon(30, Event::File);
        }
        let Outcome { filed, carried, .. } = batch.outcome();
        self.carried = carried;
        for (file, filed) in &filed {
            self.say(|| format!("filed {file:?}: {filed:?}"));
        }
        filed
            .into_iter()
            .map(|(file, filed)| Input::Filed(file, filed))
            .collect()
    }

    pub fn is_filing(&self) -> bool {
        self.batch.is_some() || !self.orders.is_empty()
    }

    /// Nothing can be appended to the journal.
    pub fn journal_is_full(&self) -> bool {
        false
    }

    /// A line that must not be dropped.
    pub fn write_or_owe(&mut self, line: Line) {
        if self.journal_is_full() {
            self.owed.push(line);
        } else {
            self.write_down(&line.path, line.stamp, line.event);
        }
    }
}
