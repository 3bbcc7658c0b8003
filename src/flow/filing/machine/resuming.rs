//! After a crash or a fault: how far a move that stands in the journal has come.

use super::super::disk::{Fault, Operation, Side};
use super::super::moving::{Moved, remove_first_name};
use super::super::{Area, Move, Place, Progress};
use super::{Machine, Stage};
use crate::flow::file::{Entry, Look};

impl Machine {
    /// How far a move that stands in the journal has come.
    pub(super) async fn resume(&mut self, moving: Move) -> Result<Stage, Fault> {
        // Whoever moved it may not have lived, or not have come, to bring that onto the disk.
        self.targets.insert(moving.to.folder());
        self.sources.extend([self.place().folder()]);
        self.sources
            .extend(moving.copy_of.as_ref().map(Place::folder));
        self.remove_beside_draft(&moving.to).await?;
        match &moving.copy_of {
            Some(from) => {
                let from = from.clone();
                self.resume_copy(moving, from).await
            }
            None => self.resume_rename(moving.to).await,
        }
    }

    pub(super) async fn resume_rename(&mut self, to: Place) -> Result<Stage, Fault> {
        let Entry::File(there) = self.ops.look(&to).await? else {
            // Its reason was written first.
            self.take_beside_back(&to).await?;
            self.bring_removals_onto_disk(&to).await?;
            return Ok(Stage::InPlace);
        };
        let place = self.place();
        if let Entry::File(here) = self.ops.look(&place).await? {
            if here.is_same_file(&there) {
                if !self.is_sent_behind(&there, &to).await? {
                    // It is the way back of a new version that has stopped between its two names: that
                    // is for the place alone, and may have been sent from there by now.
                    self.left = true;
                    return self.put_back(to).await;
                }
                // The way there has stopped in between.
                return match remove_first_name(&self.ops, &place, &to).await? {
                    Moved::Done => self.moved_before(to).await,
                    Moved::NotDone(fault) => Err(fault),
                    _ => Ok(Stage::InPlace),
                };
            }
            let never_left = self.is_version(&here) && !self.is_version(&there);
            if never_left && there.stamp.size > 0 {
                // The name has gone to another file.
                return Ok(Stage::InPlace);
            }
        }
        if self.is_reservation(&there) {
            self.take_reservation_back(&to).await?;
            return Ok(Stage::InPlace);
        }
        self.moved_before(to).await
    }

    /// Whether an empty file is only there to reserve the name.
    ///
    /// A version that was truncated after it was moved looks the same but for its inode, which is
    /// known until the next start. After that it is taken for a reservation: what was in it its
    /// writer has thrown away. Whether the file system needs reservations at all cannot be asked
    /// without making files, for Linux answers `EEXIST` before it asks the file system
    /// (renameat2(2)).
    pub(super) fn is_reservation(&self, look: &Look) -> bool {
        let sent = &self.job.look;
        let is_moved = sent.ino != 0 && look.ino == sent.ino;
        look.stamp.size == 0 && sent.stamp.size > 0 && !is_moved
    }

    pub(super) async fn take_reservation_back(&mut self, at: &Place) -> Result<(), Fault> {
        self.take_beside_back(at).await?;
        self.remove_reservation(at).await
    }

    async fn remove_reservation(&mut self, at: &Place) -> Result<(), Fault> {
        self.ops.remove_own(at).await?;
        self.bring_removals_onto_disk(at).await
    }

    /// That a reservation is gone, whoever has removed it, is on the disk before the journal names
    /// another move: nobody would know of an empty file that a power cut brings back.
    async fn bring_removals_onto_disk(&mut self, at: &Place) -> Result<(), Fault> {
        self.ops
            .ask(Operation::SyncFolder(Side::Source, at.folder()))
            .await
            .map(drop)
    }

    /// It was renamed to `to` by an earlier try. Its reason may not have outlived a power cut. (Who knows
    /// its answer has written that before the rename, and no power cut was in between.)
    pub(super) async fn moved_before(&mut self, to: Place) -> Result<Stage, Fault> {
        self.left = true;
        if to.area == Area::DeadLetter {
            self.write_beside(&to, &to).await?;
        }
        Ok(self.moved(to))
    }

    pub(super) async fn resume_copy(&mut self, moving: Move, from: Place) -> Result<Stage, Fault> {
        if let Some(draft) = moving.draft() {
            self.ops.remove_own(&draft).await?;
        }
        let original = self.look_for_more_than_its_name(&from).await?;
        let copy = self.ops.look(&moving.to).await?;
        self.left |= from.area == Area::Staging && original.file().is_some();
        if let (Entry::File(original), Entry::File(copy)) = (original, copy)
            && !self.is_reservation(&copy)
            && self.is_copy(&copy, &original, &moving).await?
        {
            return match self.progress {
                Progress::Copied(_) => Ok(Stage::Copied(moving)),
                _ => self.copy_again(moving, original).await,
            };
        }
        self.progress = Progress::Moving(moving.clone());
        match (original, copy) {
            (Entry::File(_), Entry::Absent) if !self.ops.is_claimed(&moving.to) => {
                Ok(Stage::Copying(moving))
            }
            (Entry::File(_), Entry::File(copy)) if self.is_reservation(&copy) => {
                self.take_reservation_back(&moving.to).await?;
                Ok(Stage::Copying(moving))
            }
            // The name has gone to another file, and so has the reason beside it.
            (Entry::File(_), _) => self.plan_copy(from).await.map(Stage::Copying),
            (_, Entry::File(copy)) if self.is_reservation(&copy) => {
                self.take_reservation_back(&moving.to).await?;
                Ok(Stage::InPlace)
            }
            (_, Entry::File(_)) => {
                self.left = true;
                self.resume_copied(moving).await
            }
            _ => {
                self.take_beside_back(&moving.to).await?;
                Ok(Stage::InPlace)
            }
        }
    }

    /// Looks at what a copy was to be made of. Where a power cut has kept the reservation of a name
    /// in the staging folder and lost the rename onto it, nothing has come there.
    pub(super) async fn look_for_more_than_its_name(
        &mut self,
        from: &Place,
    ) -> Result<Entry, Fault> {
        let found = self.ops.look(from).await?;
        if let Entry::File(look) = found
            && from.area == Area::Staging
            && self.is_reservation(&look)
        {
            self.remove_reservation(from).await?;
            return Ok(Entry::Absent);
        }
        Ok(found)
    }

    pub(super) async fn resume_copied(&mut self, moving: Move) -> Result<Stage, Fault> {
        // Nothing is left that it could be copied from again. What was removed on purpose was so
        // only when the name was on the disk.
        self.ops
            .ask(Operation::SyncFolder(Side::Target, moving.to.folder()))
            .await?;
        Ok(Stage::Copied(moving))
    }
}
