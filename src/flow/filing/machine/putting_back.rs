//! What was moved and is not what was sent: it goes back to its place, or else to dead-letter.

use super::super::disk::{Fault, FaultKind, Operation};
use super::super::free_name::free;
use super::super::moving::{Moved, Relocation, Target, relocate, remove_first_name};
use super::super::names::Companions;
use super::super::ops::seldom;
use super::super::reason::{DeadLetter, Reason};
use super::super::{Area, Filed, Move, Place};
use super::{Machine, NAMES_TRIED, Stage};
use crate::flow::file::{Entry, Look};

impl Machine {
    /// What lies at `from` is a new version, which was never sent: it goes back to its place,
    /// replacing nothing, or else to dead-letter.
    pub(super) async fn put_back(&mut self, from: Place) -> Result<Stage, Fault> {
        let place = self.place();
        self.take_beside_back(&from).await?;
        self.ops.ask(Operation::MakeFolder(place.folder())).await?;
        let back = Relocation {
            from: &from,
            to: &place,
            look: None,
            target: Target::Foreign,
        };
        match self.move_on(back).await? {
            Moved::Done => {
                self.end_moving_on(&from, &place).await?;
                self.left = false;
                // Whatever this look says, nothing of the old version is left to be filed.
                let look = self.ops.look(&place).await.ok().and_then(Entry::file);
                Ok(Stage::Over(Filed::NewVersion(look)))
            }
            Moved::Gone => Ok(Stage::Over(Filed::Gone)),
            Moved::NotDone(fault) => Err(fault),
            Moved::Taken | Moved::CrossesDevices | Moved::NoWay(_) => self.displace(from).await,
        }
    }

    /// Files are moved from the watched folder into dirpost's own, and the new names there are brought
    /// onto the disk first. A file that moves on from such a folder goes the other way: no order of
    /// the fsyncs behind all of these moves would leave each file one of its names after a power cut.
    /// So what was moved before is on the disk before it moves on, and where it goes right behind
    /// that ([`Machine::end_moving_on`]).
    async fn move_on(&mut self, file: Relocation<'_>) -> Result<Moved, Fault> {
        self.ops.ask(Operation::SyncNewNames).await?;
        let moved = relocate(&self.ops, file).await;
        if moved.is_err() {
            // Nobody knows whether it has its new name. Another file's fsync may be about to take the old
            // one from the disk.
            drop(self.ops.sync_new_name(file.to).await);
        }
        moved
    }

    /// It has moved on from `from` to `to`.
    async fn end_moving_on(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.targets.remove(&from.folder());
        self.sources.insert(from.folder());
        self.targets.insert(to.folder());
        self.ops.sync_new_name(to).await
    }

    /// What lies at the place, as `here` shows it, may have been put back there by a second name
    /// without its first one having been removed: then that one goes now. Were it left, the file
    /// would be put back from there once more when it is filed.
    pub(super) async fn finish_putting_back(&mut self, here: &Look) -> Result<(), Fault> {
        for first in self.ops.names_of_other_versions() {
            seldom(self.remove_if_put_back(&first, here)).await?;
        }
        Ok(())
    }

    /// Removes `first` if it is another name of what lies at the place.
    async fn remove_if_put_back(&mut self, first: &Place, here: &Look) -> Result<(), Fault> {
        let there = self.ops.look(first).await?.file();
        if !there.is_some_and(|there| there.is_same_file(here)) {
            return Ok(());
        }
        self.sources.insert(first.folder());
        match remove_first_name(&self.ops, first, &self.place()).await? {
            Moved::NotDone(fault) => Err(fault),
            _ => Ok(()),
        }
    }

    /// The place has been taken by yet another version.
    pub(super) async fn displace(&mut self, from: Place) -> Result<Stage, Fault> {
        let Entry::File(look) = self.ops.look(&from).await? else {
            return Ok(Stage::Over(Filed::Gone));
        };
        let folder = Place::new(Area::DeadLetter, self.job.path.parent());
        let beside = Companions {
            reason: true,
            ..Companions::default()
        };
        for _ in 0..NAMES_TRIED {
            let to = free(&self.ops, &folder, self.job.path.name(), beside).await?;
            // In the journal as what it is: a version that lies at `from`, and goes to `to`.
            let moving = Move {
                to: to.clone(),
                copy_of: Some(from.clone()),
            };
            self.write_move(moving.clone()).await?;
            self.ask_reason(&to, self.displaced(&look), &from).await?;
            let on = Relocation::into_own(&from, &to, None);
            let moved = match self.move_on(on).await? {
                Moved::CrossesDevices => self.displace_across(moving, &look).await?,
                moved => moved,
            };
            match moved {
                Moved::Done => {
                    self.end_moving_on(&from, &to).await?;
                    return Ok(Stage::Over(Filed::Displaced { to }));
                }
                Moved::NotDone(fault) | Moved::NoWay(fault) => return Err(fault),
                Moved::Gone => {
                    self.take_beside_back(&to).await?;
                    return Ok(Stage::Over(Filed::Gone));
                }
                Moved::Taken | Moved::CrossesDevices => self.take_beside_back(&to).await?,
            }
        }
        Err(Fault::new(
            FaultKind::Exists,
            format!("each name for {from} is taken again at once"),
        ))
    }

    pub(super) async fn displace_across(
        &mut self,
        moving: Move,
        look: &Look,
    ) -> Result<Moved, Fault> {
        let (Some(from), Some(draft)) = (&moving.copy_of, moving.draft()) else {
            return Ok(Moved::Gone);
        };
        let copied = self.ops.copy(from, &draft).await?;
        if copied.of.stamp != look.stamp {
            self.ops.remove_own(&draft).await?;
            let why = format!("{from} changed while it was copied");
            return Ok(Moved::NotDone(Fault::new(FaultKind::Unclear, why)));
        }
        let named = self.relocate_own(&draft, &moving.to, None).await?;
        if named != Moved::Done {
            return Ok(named);
        }
        self.bring_copy_onto_disk(&moving).await?;
        if !self.is_as_it_was(&copied.of, from).await? {
            // Its writer still writes to it: the copy is of a part.
            self.ops.remove_own(&moving.to).await?;
            let why = format!("{from} changed after it was copied");
            return Ok(Moved::NotDone(Fault::new(FaultKind::Unclear, why)));
        }
        self.ops.remove_own(from).await?;
        self.sources.insert(from.folder());
        Ok(Moved::Done)
    }

    pub(super) fn displaced(&self, look: &Look) -> DeadLetter {
        DeadLetter {
            path: self.job.path.clone(),
            stamp: look.stamp,
            reason: Reason {
                reason: "a new version appeared while the one before it was being filed away, and \
                         its place was taken by yet another: it was never sent"
                    .into(),
                status: None,
                body: Vec::new(),
                attempts: 0,
                first_seen: self.now,
                dead_at: self.now,
                key: String::new(),
            },
        }
    }
}
