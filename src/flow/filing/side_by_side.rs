//! Operations of several files at a time, for a disk whose every answer takes a round trip.
//!
//! Which of them may be carried out side by side is decided here, and nowhere else. Whoever drives the
//! batch takes [orders](Order), carries them out on whatever thread and in whatever order, and
//! hands the answers back; when none is to be had and none is out, [`Batch::step`] does what has to be
//! done alone.
//!
//! Invariants:
//! - One operation of a machine is out at a time, and none while it is at a barrier. So all that came
//!   before a barrier is done when that is carried out, as it is with one thread.
//! - Two files that share a name from the beginning (their place, their marker, a target that the
//!   journal names) are filed one after the other: see [`Rivals`]. A name that is chosen later is promised
//!   to one file before it is looked at ([`super::names`]).
//! - Nothing is out beside an operation that uses a name which the other one changes.
//! - A file that moves on from a folder of dirpost's own does so alone, from the fsync before to the
//!   fsync behind it: that one may take names from the disk whose new ones are not there yet.
//! - Answers reach the machines in the order in which the operations were handed out, whenever they
//!   came: what is decided does not depend on which thread was the quickest.

use super::batch::{Barrier, Batch, Carried, State, barrier};
use super::disk::{Answer, Fault, Operation, Side};
use super::handed_out::{Out, Rivals, What};
use super::{Filing, Place, Rules};
use crate::flow::time::Wall;

/// An operation that is to be carried out.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its number, to be given with the answer.
    pub number: u64,
    /// What is to be done, by [`Operation::carry_out`].
    pub operation: Operation,
}

impl Batch {
    /// [`Batch::new`], for a driver that takes orders.
    pub fn side_by_side(jobs: Vec<Filing>, rules: &Rules, carried: Carried, now: Wall) -> Batch {
        let rivals = Rivals::of(&jobs, rules);
        let mut batch = Batch::new(jobs, rules, carried, now);
        batch.rivals = rivals;
        batch
    }

    /// Another operation that may be carried out beside all that are out. `None`: first an answer has to
    /// come back, or, if nothing is out, [`Batch::step`] goes on.
    pub fn hand_out(&mut self) -> Option<Order> {
        let (what, operation) = match self.out.front().map(|out| &out.what) {
            Some(&What::Folder(side, _)) => self.next_folder(side)?,
            Some(What::File(_)) => self.next_operation()?,
            None => match self.next_operation() {
                Some(next) => next,
                None if self.first_at_work().is_some() => return None,
                None => self
                    .next_folder(Side::Target)
                    .or_else(|| self.next_folder(Side::Source))?,
            },
        };
        let number = self.first_out + self.out.len() as u64;
        self.out.push_back(Out { what, answer: None });
        Some(Order { number, operation })
    }

    /// What came of the order with this number. The machine goes on when all that were handed out
    /// before it are back as well.
    pub fn hand_back(&mut self, number: u64, answer: Result<Answer, Fault>) {
        let at = number.checked_sub(self.first_out);
        let out = at.and_then(|at| self.out.get_mut(usize::try_from(at).ok()?));
        if let Some(out) = out {
            out.answer = Some(answer);
        }
        while self.out.front().is_some_and(|out| out.answer.is_some()) {
            let Some(Out {
                what,
                answer: Some(answer),
            }) = self.out.pop_front()
            else {
                return;
            };
            self.first_out += 1;
            self.go_on(what, answer);
        }
    }

    fn go_on(&mut self, what: What, answer: Result<Answer, Fault>) {
        match what {
            What::File(number) => self.machines[number].answer(answer),
            What::Folder(side, folder) => {
                let synced = answer.map(drop);
                if side == Side::Target {
                    self.target_synced(&folder, &synced);
                }
                self.folder_synced(side, &folder, synced);
                // Those that it answers are at no barrier any more.
                self.next = 0;
            }
        }
    }

    fn next_operation(&mut self) -> Option<(What, Operation)> {
        self.first_at_work()?;
        let number = (self.next..self.machines.len()).find(|&number| self.may_go(number))?;
        let operation = self.asked(number)?.clone();
        // From now on it may be done.
        self.begins(number, &operation);
        Some((What::File(number), operation))
    }

    /// Whether what this machine asks for may be handed out now.
    fn may_go(&self, number: usize) -> bool {
        let Some(operation) = self.asked(number) else {
            return false;
        };
        let is_ordinary = !matches!(
            operation,
            Operation::SyncNewNames | Operation::SyncNewName(_) | Operation::NoteKept(_)
        );
        let before = self.rivals.before(number);
        is_ordinary
            && self.alone.is_none_or(|alone| alone == number)
            && !before.iter().any(|&rival| self.is_at_work(rival))
            && !self.out.iter().any(|out| match out.what {
                What::File(other) => {
                    other == number
                        || self
                            .asked(other)
                            .is_some_and(|other| other.interferes(operation))
                }
                What::Folder(..) => true,
            })
    }

    /// What a machine asks for that is at no barrier.
    fn asked(&self, number: usize) -> Option<&Operation> {
        match &self.machines[number].state {
            State::Asks(operation, _) => barrier(operation).is_none().then_some(operation),
            State::Through(_) => None,
        }
    }

    /// The next folder to be brought onto the disk, if the machines wait for that. Sources only when
    /// no target is left.
    fn next_folder(&self, side: Side) -> Option<(What, Operation)> {
        let barriers = self.machines.iter().filter_map(|machine| machine.barrier());
        if barriers.min()? != Barrier::SyncFolder(side)
            || side == Side::Source && !self.unsynced.is_empty()
        {
            return None;
        }
        let is_out = |folder: &Place| {
            let mut out = self.out.iter();
            out.any(|out| matches!(&out.what, What::Folder(_, other) if other == folder))
        };
        let mut folders = self
            .machines
            .iter()
            .filter_map(|machine| machine.folder(side));
        let folder = folders.find(|folder| !is_out(folder))?;
        let operation = Operation::SyncFolder(side, folder.clone());
        Some((What::Folder(side, folder.clone()), operation))
    }
}

#[cfg(test)]
mod tests;
