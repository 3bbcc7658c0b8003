//! The machines of a group, driven one operation at a time.
//!
//! What has to be on the disk is brought there once for all of them: a machine that asks for such
//! an operation waits at a barrier until every other one has come to a barrier too or is through.
//! Then the earliest of these is carried out, in this order: lines for the journal, the fsync of
//! the journal, the fsyncs of folders, and the lines that say `filed`. So a group costs one fsync
//! of the journal before its renames and one of each folder behind them, whatever its size.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::disk::{Answer, Disk, Fault, Line, Operation, Side};
use super::machine;
use super::names::Companions;
use super::ops::{Claims, Desk, Ops};
use super::{Area, Filed, Filing, Move, Place, Rules};
use crate::flow::file::{Entry, FileNo, Rel, Stamp};
use crate::flow::marker::MarkerRule;
use crate::flow::time::Wall;

/// A group of files that are filed away together.
pub struct Batch {
    machines: Vec<Running>,
    claims: Rc<RefCell<Claims>>,
    unsynced: BTreeSet<Place>,
    /// The first machine that may not be at a barrier yet.
    next: usize,
    /// The fsync of the journal has been tried.
    journal_synced: bool,
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
}

impl Carried {
    /// Whether a move that is not filed to its end goes by this name.
    pub fn is_promised(&self, place: &Place) -> bool {
        self.claims.has(place)
    }
}

/// One machine, and where it stands.
struct Running {
    file: FileNo,
    desk: Rc<Desk>,
    state: State,
}

enum State {
    /// It has asked for this, and waits for the answer.
    Asks(Operation, Pin<Box<dyn Future<Output = Filed>>>),
    /// It is through.
    Through(Filed),
}

/// Where machines wait for one another, in the order in which the barriers are carried out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Barrier {
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
            next: 0,
            journal_synced: false,
            synced: Ok(()),
        }
    }

    /// Has one operation carried out. False when all machines are through.
    pub fn step(&mut self, disk: &mut dyn Disk) -> bool {
        while let Some(machine) = self.machines.get_mut(self.next) {
            match &machine.state {
                State::Asks(operation, _) if barrier(operation).is_none() => {
                    // Whatever becomes of this file: no other one's sync may take its old name
                    // from the disk before the new one is there.
                    self.unsynced.extend(operation.new_name_in());
                    let operation = operation.clone();
                    let answer = match &operation {
                        Operation::SyncNewNames => {
                            self.sync_targets_left(disk).map(|()| Answer::Done)
                        }
                        Operation::SyncNewName(at) => {
                            self.sync_target(at, disk).map(|()| Answer::Done)
                        }
                        operation => carry_out(disk, operation),
                    };
                    self.machines[self.next].answer(answer);
                    return true;
                }
                _ => self.next += 1,
            }
        }
        self.next = 0;
        let waiting = self.machines.iter().filter_map(Running::barrier).min();
        let Some(waiting) = waiting else {
            return self.sync_journal_at_least_once(disk);
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
        let result = result.map(|()| Answer::Done);
        self.note(&result);
        for machine in &mut self.machines {
            if machine.folder(side) == Some(&folder) {
                machine.answer(result.clone());
            }
        }
    }

    fn sync_target(&mut self, folder: &Place, disk: &mut dyn Disk) -> Result<(), Fault> {
        let synced = disk.sync_folder(folder);
        match synced {
            Ok(()) => drop(self.unsynced.remove(folder)),
            Err(_) => drop(self.unsynced.insert(folder.clone())),
        }
        synced
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
    fn barrier(&self) -> Option<Barrier> {
        match &self.state {
            State::Asks(operation, _) => barrier(operation),
            State::Through(_) => None,
        }
    }

    /// The folder that it wants on the disk, as this side of its move.
    fn folder(&self, side: Side) -> Option<&Place> {
        match &self.state {
            State::Asks(Operation::SyncFolder(asked, folder), _) if *asked == side => Some(folder),
            _ => None,
        }
    }

    fn answer(&mut self, answer: Result<Answer, Fault>) {
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

fn barrier(operation: &Operation) -> Option<Barrier> {
    match operation {
        Operation::Append(_) => Some(Barrier::Append),
        Operation::SyncJournal => Some(Barrier::SyncJournal),
        Operation::SyncFolder(side, _) => Some(Barrier::SyncFolder(*side)),
        Operation::AppendOrOwe(_) => Some(Barrier::AppendOrOwe),
        _ => None,
    }
}

/// Hands what concerns one machine only to the disk.
fn carry_out(disk: &mut dyn Disk, operation: &Operation) -> Result<Answer, Fault> {
    let done = |()| Answer::Done;
    match operation {
        Operation::Look(at) => disk.look(at).map(Answer::Entry),
        Operation::SameDevice(one, other) => disk.same_device(one, other).map(Answer::SameDevice),
        Operation::Digest(at) => disk.digest(at).map(Answer::Digest),
        Operation::Rename(from, to) => disk.rename(from, to).map(done),
        Operation::Link(from, to) => disk.link(from, to).map(done),
        Operation::Reserve(at) => disk.reserve(at).map(Answer::Reserved),
        Operation::RenameOver(from, to) => disk.rename_over(from, to).map(done),
        Operation::Remove(at) => disk.remove(at).map(done),
        Operation::RemoveIf(at, known) => match disk.look(at)? {
            Entry::File(look) if !look.difference(known).is_change() => disk.remove(at).map(done),
            _ => Ok(Answer::Done),
        },
        Operation::Copy(from, draft) => disk.copy(from, draft).map(Answer::Copied),
        Operation::WriteBeside { at, beside, like } => {
            disk.write_beside(at, &beside.text(), like).map(done)
        }
        Operation::NoteKept(kept) => {
            disk.note_kept(kept);
            Ok(Answer::Done)
        }
        Operation::MakeFolder(folder) => disk.make_folder(folder).map(done),
        Operation::Append(line) => disk.append(std::slice::from_ref(line)).map(done),
        Operation::AppendOrOwe(line) => disk.append_or_owe(std::slice::from_ref(line)).map(done),
        Operation::SyncJournal => disk.sync_journal().map(done),
        Operation::SyncFolder(_, folder) | Operation::SyncNewName(folder) => {
            disk.sync_folder(folder).map(done)
        }
        // It is known to the batch alone.
        Operation::SyncNewNames => Ok(Answer::Done),
    }
}
