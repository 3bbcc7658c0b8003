//! The machines of a group, driven one operation at a time.
//!
//! What has to be on the disk is brought there once for all of them: a machine that asks for such
//! an operation waits at a barrier until every other one has come to a barrier too or is through.
//! Then the earliest of these is carried out, in this order: lines for the journal, the fsync of
//! the journal, the fsyncs of folders, and the lines that say `filed`. So a group costs one fsync
//! of the journal before its renames and one of each folder behind them, whatever its size.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::disk::{Answer, Disk, Fault, Line, Operation, Side};
use super::handed_out::{Out, Rivals};
use super::lost_syncs::LostSyncs;
use super::machine;
use super::names::Companions;
use super::ops::{Claims, Desk, Ops};
use super::{Area, Filed, Filing, Move, Place, Rules};
use crate::flow::file::{FileNo, Rel, Stamp};
use crate::flow::marker::MarkerRule;
use crate::flow::time::Wall;

/// A group of files that are filed away together.
pub struct Batch {
    pub(super) machines: Vec<Running>,
    claims: Rc<RefCell<Claims>>,
    pub(super) unsynced: BTreeSet<Place>,
    lost_syncs: LostSyncs,
    /// The first machine that may not be at a barrier yet.
    pub(super) next: usize,
    /// The machine between [`Operation::SyncNewNames`] and [`Operation::SyncNewName`], if there is one: no
    /// other one changes a name meanwhile, for the second fsync may bring a folder onto the disk that
    /// the other one has taken a name from.
    pub(super) alone: Option<usize>,
    /// Which machines wait for others.
    pub(super) rivals: Rivals,
    /// What is handed out, in that order.
    pub(super) out: VecDeque<Out>,
    /// The number of the first of them.
    pub(super) first_out: u64,
    /// The fsync of the journal has been tried.
    journal_synced: bool,
    /// The fsync of folders that no file has come to has been tried.
    left_synced: bool,
    synced: Result<(), Fault>,
}

/// What came of a batch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What came of each file.
    pub filed: Vec<(FileNo, Filed)>,
    /// What the next batch has to know.
    pub carried: Carried,
    /// Whether all of it is on the disk and said in the journal.
    pub synced: Result<(), Fault>,
}

/// What batches of one filer hand on to one another.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// Names that are still promised.
    claims: Claims,
    /// Folders with new names that may not be on the disk: before they are, no folder that a name
    /// was taken from is brought there.
    unsynced: BTreeSet<Place>,
}

impl Carried {
    /// What the first batch of a filer has to know: the moves that an earlier filer or an earlier
    /// process has written down, and that are not filed to their end. Their names are promised to
    /// their files, whenever these come to be filed: another file that had taken such a name would
    /// be taken for what had been moved there. Nobody knows whether their folders are on the disk.
    /// `marker` is that of [`Rules`].
    pub fn after<'a>(
        moves: impl Iterator<Item = (&'a Rel, Stamp, &'a Move)>,
        marker: Option<&MarkerRule>,
    ) -> Carried {
        let mut carried = Carried::default();
        for (path, stamp, moving) in moves {
            let owner = (path.clone(), stamp);
            let names = [Some(&moving.to), moving.copy_of.as_ref()];
            let own = names.into_iter().flatten();
            for name in own.filter(|name| name.area != Area::Watched) {
                let companions = Companions {
                    reason: true,
                    answer: true,
                    marker,
                };
                for name in companions.names(name) {
                    carried.claims.claim_if_free(name, &owner);
                }
            }
            carried.unsynced.insert(moving.to.folder());
        }
        carried
    }

    /// Whether a move that is not filed to its end goes by this name.
    pub fn is_promised(&self, place: &Place) -> bool {
        self.claims.has(place)
    }
}

/// One machine, and where it stands.
pub(super) struct Running {
    file: FileNo,
    desk: Rc<Desk>,
    pub(super) state: State,
}

pub(super) enum State {
    /// It has asked for this, and waits for the answer.
    Asks(Operation, Pin<Box<dyn Future<Output = Filed>>>),
    /// It is through.
    Through(Filed),
}

/// Where machines wait for one another, in the order in which the barriers are carried out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Barrier {
    Append,
    SyncJournal,
    SyncFolder(Side),
    AppendOrOwe,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("machines", &self.machines.len())
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// Begins to file `jobs` away. `carried` is what the batch before has handed on, `now` the time
    /// of reasons that filing itself gives.
    pub fn new(jobs: Vec<Filing>, rules: &Rules, carried: Carried, now: Wall) -> Batch {
        let Carried { claims, unsynced } = carried;
        let claims = Rc::new(RefCell::new(claims));
        let rules = Rc::new(rules.clone());
        let machines = jobs
            .into_iter()
            .map(|job| {
                let desk = Rc::new(Desk::default());
                let file = job.file;
                let ops = Ops::new(&job, Rc::clone(&desk), Rc::clone(&claims));
                let future = Box::pin(machine::file(job, Rc::clone(&rules), now, ops));
                Running {
                    file,
                    state: poll(&desk, future),
                    desk,
                }
            })
            .collect();
        Batch {
            machines,
            claims,
            unsynced,
            lost_syncs: LostSyncs::default(),
            next: 0,
            alone: None,
            rivals: Rivals::default(),
            out: VecDeque::new(),
            first_out: 0,
            journal_synced: false,
            left_synced: false,
            synced: Ok(()),
        }
    }

    /// Has one operation carried out, while none is handed out. False when all machines are through.
    pub fn step(&mut self, disk: &mut dyn Disk) -> bool {
        debug_assert!(self.out.is_empty(), "what is handed out has to be back");
        if let Some(number) = self.first_at_work() {
            self.step_one(number, disk);
            return true;
        }
        self.next = 0;
        let waiting = self.machines.iter().filter_map(Running::barrier).min();
        let Some(waiting) = waiting else {
            return self.sync_journal_at_least_once(disk) || self.sync_what_failed(disk);
        };
        match waiting {
            Barrier::Append => {
                let lines = self.lines(&waiting);
                let result = disk.append(&lines).map(|()| Answer::Done);
                self.answer_all(&waiting, &result);
            }
            Barrier::SyncJournal => {
                self.journal_synced = true;
                let result = disk.sync_journal().map(|()| Answer::Done);
                self.answer_all(&waiting, &result);
            }
            Barrier::SyncFolder(side) => self.sync_folder(side, disk),
            Barrier::AppendOrOwe => {
                let lines = self.lines(&waiting);
                let result = disk.append_or_owe(&lines).map(|()| Answer::Done);
                self.note(&result);
                self.answer_all(&waiting, &result);
            }
        }
        true
    }

    /// The machine whose turn it is, if one is at no barrier.
    pub(super) fn first_at_work(&mut self) -> Option<usize> {
        self.alone = self.alone.filter(|&alone| self.is_at_work(alone));
        while self.next < self.machines.len() && !self.is_at_work(self.next) {
            self.next += 1;
        }
        let next = (self.next < self.machines.len()).then_some(self.next);
        self.alone.or(next)
    }

    /// Whether it is at no barrier and not through.
    pub(super) fn is_at_work(&self, number: usize) -> bool {
        matches!(&self.machines[number].state, State::Asks(operation, _) if barrier(operation).is_none())
    }

    /// Has what this machine asks for carried out.
    fn step_one(&mut self, number: usize, disk: &mut dyn Disk) {
        let State::Asks(operation, _) = &self.machines[number].state else {
            return;
        };
        let operation = operation.clone();
        self.begins(number, &operation);
        let answer = match &operation {
            Operation::SyncNewNames => {
                self.alone = Some(number);
                self.sync_targets_left(disk).map(|()| Answer::Done)
            }
            Operation::SyncNewName(at) => {
                self.alone = None;
                let synced = self.sync_target(at, disk).map(|()| Answer::Done);
                self.lost_syncs.told(number, at, synced)
            }
            operation => operation.carry_out(disk),
        };
        self.machines[number].answer(answer);
    }

    /// This machine has this carried out now.
    pub(super) fn begins(&mut self, number: usize, operation: &Operation) {
        // Whatever becomes of this file: no other one's sync may take its old name from the disk
        // before the new one is there.
        self.unsynced.extend(operation.new_name_in());
        self.lost_syncs.changes(number, operation);
    }

    /// Where no file has come as far as its move, what was accepted is brought onto the disk all the
    /// same: filing that fails for hours, one batch after another, leaves nobody else time for it.
    fn sync_journal_at_least_once(&mut self, disk: &mut dyn Disk) -> bool {
        if std::mem::replace(&mut self.journal_synced, true) {
            return false;
        }
        let result = disk.sync_journal().map(|()| Answer::Done);
        self.note(&result);
        true
    }

    /// A file whose filing failed may have its new name, and the next batch may be a while away. Until its
    /// folder is on the disk, any program that brings the watched folder there takes its last name.
    fn sync_what_failed(&mut self, disk: &mut dyn Disk) -> bool {
        if self.unsynced.is_empty() || std::mem::replace(&mut self.left_synced, true) {
            return false;
        }
        // Where this fails, the next batch tries again.
        drop(self.sync_targets_left(disk));
        true
    }

    /// What has come of all files. To be called when [`Batch::step`] has said that they are
    /// through.
    pub fn outcome(self) -> Outcome {
        let filed = self
            .machines
            .into_iter()
            .filter_map(|machine| match machine.state {
                State::Through(filed) => Some((machine.file, filed)),
                State::Asks(..) => None,
            });
        let carried = Carried {
            claims: self.claims.take(),
            unsynced: self.unsynced,
        };
        Outcome {
            filed: filed.collect(),
            carried,
            synced: self.synced,
        }
    }

    fn lines(&self, at: &Barrier) -> Vec<Line> {
        let lines = self
            .machines
            .iter()
            .filter_map(|machine| match &machine.state {
                State::Asks(Operation::Append(line), _) if *at == Barrier::Append => {
                    Some(line.clone())
                }
                State::Asks(Operation::AppendOrOwe(line), _) if *at == Barrier::AppendOrOwe => {
                    Some(line.clone())
                }
                _ => None,
            });
        lines.collect()
    }

    fn answer_all(&mut self, at: &Barrier, result: &Result<Answer, Fault>) {
        for machine in &mut self.machines {
            if machine.barrier().as_ref() == Some(at) {
                machine.answer(result.clone());
            }
        }
    }

    /// Brings the first folder that is asked for onto the disk, for all that ask for it.
    fn sync_folder(&mut self, side: Side, disk: &mut dyn Disk) {
        let asked = self
            .machines
            .iter()
            .find_map(|machine| machine.folder(side))
            .cloned();
        let Some(folder) = asked else { return };
        let result = match side {
            Side::Target => self.sync_target(&folder, disk),
            Side::Source => self
                .sync_targets_left(disk)
                .and_then(|()| disk.sync_folder(&folder)),
        };
        self.folder_synced(side, &folder, result);
    }

    /// What has come of the fsync of a folder is said to all machines that ask for it.
    pub(super) fn folder_synced(&mut self, side: Side, folder: &Place, result: Result<(), Fault>) {
        if side == Side::Source {
            self.lost_syncs.synced(folder, &result);
        }
        let result = result.map(|()| Answer::Done);
        for number in 0..self.machines.len() {
            if self.machines[number].folder(side) == Some(folder) {
                let told = self.lost_syncs.told(number, folder, result.clone());
                self.note(&told);
                self.machines[number].answer(told);
            }
        }
    }

    fn sync_target(&mut self, folder: &Place, disk: &mut dyn Disk) -> Result<(), Fault> {
        let synced = disk.sync_folder(folder);
        self.target_synced(folder, &synced);
        synced
    }

    /// Takes down whether the names in a folder are on the disk.
    pub(super) fn target_synced(&mut self, folder: &Place, synced: &Result<(), Fault>) {
        self.lost_syncs.synced(folder, synced);
        match synced {
            Ok(()) => drop(self.unsynced.remove(folder)),
            Err(_) => drop(self.unsynced.insert(folder.clone())),
        }
    }

    /// Folders that no machine has asked for, or whose fsync has failed before. That it succeeds
    /// then need not mean much; but where it fails as well, no name is taken from the disk whose
    /// new one is not there.
    fn sync_targets_left(&mut self, disk: &mut dyn Disk) -> Result<(), Fault> {
        while let Some(folder) = self.unsynced.first().cloned() {
            self.sync_target(&folder, disk)?;
        }
        Ok(())
    }

    fn note(&mut self, result: &Result<Answer, Fault>) {
        if let (Ok(()), Err(fault)) = (&self.synced, result) {
            self.synced = Err(fault.clone());
        }
    }
}

impl Running {
    pub(super) fn barrier(&self) -> Option<Barrier> {
        match &self.state {
            State::Asks(operation, _) => barrier(operation),
            State::Through(_) => None,
        }
    }

    /// The folder that it wants on the disk, as this side of its move.
    pub(super) fn folder(&self, side: Side) -> Option<&Place> {
        match &self.state {
            State::Asks(Operation::SyncFolder(asked, folder), _) if *asked == side => Some(folder),
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, answer: Result<Answer, Fault>) {
        // The placeholder is replaced at once.
        let state = std::mem::replace(&mut self.state, State::Through(Filed::Gone));
        self.state = match state {
            State::Asks(_, future) => {
                self.desk.answer(answer);
                poll(&self.desk, future)
            }
            through => through,
        };
    }
}

/// Lets a machine go on until it asks for something or is through.
fn poll(desk: &Desk, mut future: Pin<Box<dyn Future<Output = Filed>>>) -> State {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(filed) => State::Through(filed),
        Poll::Pending => State::Asks(desk.asked(), future),
    }
}

pub(super) fn barrier(operation: &Operation) -> Option<Barrier> {
    match operation {
        Operation::Append(_) => Some(Barrier::Append),
        Operation::SyncJournal => Some(Barrier::SyncJournal),
        Operation::SyncFolder(side, _) => Some(Barrier::SyncFolder(*side)),
        Operation::AppendOrOwe(_) => Some(Barrier::AppendOrOwe),
        _ => None,
    }
}
