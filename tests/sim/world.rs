//! The world that the engine is put into: a folder that others write to, an endpoint with
//! moods, a disk that keeps what the journal says, and a power switch.
//!
//! Each step of each job is an event of its own, so that a crash can come between any two:
//! between the acceptance and its line in the journal, between the line that announces a
//! move and the rename, between the rename and the look behind it. What is filed away is in
//! `filing.rs`.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::flow::endpoint::classify::Verdict;
use dirpost::flow::endpoint::reply::{Answer, Failure, FailureKind, Reply};
use dirpost::flow::file::{FsKind, Look, Rel, Stamp};
use dirpost::flow::journal::{Acceptance, Moving};
use dirpost::flow::journal::{Event as JournalEvent, Record, Replay};
use dirpost::flow::memory::Memory;
use dirpost::flow::messages::{
    Content, Delivered, Delivery, Filed, Filing, Input, ListedFolder, Miss,
};
use dirpost::flow::rng::Rng;
use dirpost::flow::time::{Mono, Now, Wall};

use crate::filing::place;

/// A version of a file, as its writer made it. Never reused.
pub type Version = u64;

/// A file on the simulated disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub version: Version,
    pub look: Look,
    /// When it was last written to (ms).
    pub changed: i64,
    /// Its writer is done with this version.
    pub complete: bool,
}

/// What is going to happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A writer does its next step.
    Write(usize),
    /// The scan lists the folder, and is over.
    List,
    SendStart(Delivery),
    /// The last byte goes out.
    SendEnd(Delivery, Version),
    /// The answer is there; if it is an acceptance, it is written down now.
    Answered(Delivery, Verdict, Reply),
    FileStart(Filing),
    FileRename(Filing, String),
    FileLook(Filing, String),
    /// To another file system: the draft is written, takes its name, and what it was made of
    /// is removed.
    FileCopy(Filing, Moving),
    FileName(Filing, Moving),
    FileRemove(Filing, Moving),
    FileDone(Filing, Filed),
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

/// Which file system `done` and `dead-letter` are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Same,
    /// Files go there by way of the staging folder.
    Other,
    /// They stay where they are until the copy is whole.
    OtherFromPlace,
}

/// A move on the disk of the share: entries as in the journal.
#[derive(Clone, Debug)]
pub struct Move {
    pub from: String,
    pub to: Moved,
}

/// Where it went.
#[derive(Clone, Debug)]
pub enum Moved {
    To(String),
    /// It was removed.
    Gone(Node),
}

/// What a writer does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Append,
    Finish,
    Rewrite,
    Replace,
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
    pub fs: FsKind,
    pub settle: i64,
    pub mood: Mood,
    pub faulty: bool,
    /// Delivered files stay.
    pub keep: bool,
    /// Files that went, and will come back.
    pub hidden: BTreeMap<String, Node>,
    pub events: BTreeMap<(i64, u64), Event>,
    order: u64,
    next_version: Version,
    pub writers: Vec<Writer>,
    /// The watched folder, `done`, `dead-letter` and the staging folder.
    pub watched: BTreeMap<String, Node>,
    pub done: BTreeMap<String, Node>,
    pub dead: BTreeMap<String, Node>,
    pub staging: BTreeMap<String, Node>,
    /// Copies that have not got their names, by what they are made of.
    pub drafts: BTreeMap<String, Node>,
    pub target: Target,
    /// How many copies were made: each is a file of its own.
    pub copies: u64,
    pub journal: Vec<u8>,
    /// So much of the journal is on the disk.
    pub synced: usize,
    /// Moves that are not on the disk yet, in order.
    pub moves: Vec<Move>,
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
    pub tick: Vec<String>,
}

const START: i64 = 1_800_000_000_000;

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let fs = if rng.below(2) == 0 {
            FsKind::Local
        } else {
            FsKind::Share
        };
        let target = match rng.below(4) {
            0 => Target::Other,
            1 => Target::OtherFromPlace,
            _ => Target::Same,
        };
        World {
            rng,
            time: 0,
            fs,
            settle: 1_000,
            mood: Mood::Well,
            faulty: true,
            keep: false,
            hidden: BTreeMap::new(),
            events: BTreeMap::new(),
            order: 0,
            next_version: 0,
            writers: Vec::new(),
            watched: BTreeMap::new(),
            done: BTreeMap::new(),
            dead: BTreeMap::new(),
            staging: BTreeMap::new(),
            drafts: BTreeMap::new(),
            target,
            copies: 0,
            journal: Vec::new(),
            synced: 0,
            moves: Vec::new(),
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
            tick: Vec::new(),
        }
    }

    pub fn now(&self) -> Now {
        Now {
            mono: Mono(self.time),
            wall: self.wall(),
        }
    }

    pub(super) fn wall(&self) -> Wall {
        Wall((START + self.time) * 1_000_000)
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
        self.say(|| format!("writer: {name} {step:?}"));
        let wall = self.wall();
        // A file that was moved while it was being written is written on through the handle
        // that its writer holds.
        let moved = self.moved_from_under(writer, step);
        let old = moved
            .as_ref()
            .map(|place| self.area(place)[place])
            .or_else(|| self.watched.get(&name).copied());
        match step {
            Step::Delete => {
                if let Some(old) = self.watched.remove(&name) {
                    self.withdrawn.insert(old.version);
                }
            }
            Step::Hide => {
                if let Some(node) = self.watched.remove(&name) {
                    self.hidden.insert(name, node);
                }
            }
            Step::Return => {
                if let Some(node) = self.hidden.remove(&name) {
                    self.watched.insert(name, node);
                }
            }
            Step::Finish => {
                let node = match &moved {
                    Some(place) => self.area(place).get_mut(place),
                    None => self.watched.get_mut(&name),
                };
                if let Some(node) = node {
                    node.complete = true;
                    let version = node.version;
                    self.left.insert(version);
                } else {
                    // It was taken away while it was being written: only a writer that
                    // paused for longer than the settle time allows that.
                    panic!("{name} vanished while it was being written");
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
                let ino = keeps_inode.map_or(version + 1_000_000, |node| node.look.ino);
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
                match moved {
                    Some(place) => self.area(&place).insert(place, node),
                    None => self.watched.insert(name.clone(), node),
                };
            }
        }
        if let Some(&(pause, _)) = self.writers[writer].steps.first() {
            self.at(pause as u64, Event::Write(writer));
        }
    }

    /// Where the file is that this writer has open, if not at its place.
    fn moved_from_under(&self, writer: usize, step: Step) -> Option<String> {
        if !matches!(step, Step::Append | Step::Finish) {
            return None;
        }
        let version = self.writers[writer].version;
        let is_it = |node: &Node| node.version == version && !node.complete;
        [&self.done, &self.dead, &self.staging]
            .into_iter()
            .flat_map(|area| area.iter())
            .find(|(_, node)| is_it(node))
            .map(|(place, _)| place.clone())
    }

    // ---- scan -----------------------------------------------------------------------

    pub fn list(&mut self) -> Vec<Input> {
        if self.faulty && self.rng.below(20) == 0 {
            return vec![Input::Scanned(Err("the share is away".into()))];
        }
        let path = Rel::root();
        if self.faulty && self.rng.below(20) == 0 {
            let content = Err("EIO half-way".into());
            return vec![
                Input::Listed(ListedFolder { path, content }),
                Input::Scanned(Ok(())),
            ];
        }
        let mut content = Content::default();
        for (name, node) in &self.watched {
            content.files.push(name.as_bytes(), node.look.stamp);
            content.looks.push(node.look);
        }
        vec![
            Input::Listed(ListedFolder {
                path,
                content: Ok(content),
            }),
            Input::Scanned(Ok(())),
        ]
    }

    // ---- deliver --------------------------------------------------------------------

    fn find(&self, path: &Rel) -> Option<Node> {
        self.watched
            .get(std::str::from_utf8(path.as_bytes()).unwrap())
            .copied()
    }

    pub fn send_start(&mut self, job: Delivery) -> Option<Input> {
        self.in_flight += 1;
        match self.find(&job.path) {
            None => Some(self.back(job.file, Delivered::Missing(Miss::Gone))),
            Some(node) if node.look != job.look => {
                Some(self.back(job.file, Delivered::Changed(Some(node.look))))
            }
            Some(node) => {
                assert!(
                    self.time - node.changed >= self.settle,
                    "{} is sent {} ms after its last change",
                    job.path,
                    self.time - node.changed
                );
                assert!(
                    node.complete,
                    "{} is sent before its writer is done",
                    job.path
                );
                self.attempts.push((self.time, self.mood));
                if self.mood == Mood::Unreachable {
                    let failure = Failure {
                        kind: FailureKind::Connect,
                        detail: "refused".into(),
                    };
                    return Some(self.replied(
                        &job,
                        Verdict::Down { reached: false },
                        Reply::Failed(failure),
                    ));
                }
                let delay = 1 + self.rng.below(300);
                self.at(delay, Event::SendEnd(job, node.version));
                None
            }
        }
    }

    pub fn send_end(&mut self, job: Delivery, version: Version) -> Option<Input> {
        match self.find(&job.path) {
            Some(node) if node.look == job.look => {}
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
        self.at(delay, Event::Answered(job, verdict, reply));
        None
    }

    pub fn answered(&mut self, job: &Delivery, verdict: Verdict, reply: Reply) -> Input {
        if verdict == Verdict::Accepted {
            let acceptance = Acceptance {
                key: job.key.clone(),
                status: 200,
                marker: None,
            };
            self.write_down(
                &job.path,
                job.look.stamp,
                Record::accepted(&acceptance, self.keep),
            );
        }
        self.replied(job, verdict, reply)
    }

    fn replied(&mut self, job: &Delivery, verdict: Verdict, reply: Reply) -> Input {
        let took = std::time::Duration::from_millis(1);
        self.back(
            job.file,
            Delivered::Replied {
                verdict,
                reply,
                took,
                journaled: Ok(()),
                sha256: None,
                look: job.look,
            },
        )
    }

    fn back(&mut self, file: u64, delivered: Delivered) -> Input {
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
        self.in_flight_at_crashes += self.in_flight;
        self.in_flight = 0;
        self.events
            .retain(|_, event| matches!(event, Event::Write(_) | Event::Mood(_) | Event::Crash));
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
        let mut replay = Replay::default();
        replay.add(&self.journal);
        // As the next process does: a new file with what is live, all of it on the disk.
        self.journal = replay.lines(self.wall());
        self.sync_journal();
        self.moves.clear();
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
        let mut moves = std::mem::take(&mut self.moves);
        let undone = self.rng.below(moves.len() as u64 + 1);
        for _ in 0..undone {
            let Some(Move { from, to }) = moves.pop() else {
                break;
            };
            // Somebody made another file there: then the disk has got that far.
            if self.area(&from).contains_key(place(&from)) {
                break;
            }
            let node = match to {
                Moved::To(to) => self.area(&to).remove(place(&to)),
                Moved::Gone(node) => Some(node),
            };
            // It may have been moved on by now, and that is on the disk.
            let Some(node) = node else { break };
            self.area(&from).insert(place(&from).to_string(), node);
        }
    }
}
