//! To another file system: a copy that is whole before it takes its name, and only then the
//! removal of what it was made of.

use super::super::disk::{Copied, Fault, FaultKind, Operation, Side};
use super::super::moving::Moved;
use super::super::{Area, Fate, Filed, Move, Place, Progress};
use super::{Machine, Stage};
use crate::flow::file::{Entry, Look};

impl Machine {
    /// Chooses where the copy of `from` goes.
    pub(super) async fn plan_copy(&mut self, from: Place) -> Result<Move, Fault> {
        let to = self.choose(self.area()).await?;
        let moving = Move {
            to,
            copy_of: Some(from),
        };
        self.write_move(moving.clone()).await?;
        Ok(moving)
    }

    /// Copies: what takes the name is whole and on the disk.
    pub(super) async fn copy(&mut self, moving: Move) -> Result<Stage, Fault> {
        let (Some(from), Some(draft)) = (moving.copy_of.clone(), moving.draft()) else {
            return Ok(Stage::InPlace);
        };
        let Entry::File(look) = self.ops.look(&from).await? else {
            return Err(Fault::new(
                FaultKind::Unclear,
                format!("{from} is not there"),
            ));
        };
        if !self.is_sent_original(&look, &from).await? {
            self.take_beside_back(&moving.to).await?;
            return self.original_changed(from, look).await;
        }
        self.progress = Progress::Moving(moving.clone());
        self.left = from.area != Area::Watched;
        self.write_beside(&moving.to, &from).await?;
        match self.copy_to_name(&from, &draft, &moving.to).await? {
            Moved::Done => {
                self.bring_copy_onto_disk(&moving).await?;
                Ok(Stage::Copied(moving))
            }
            Moved::Taken => {
                self.ops.remove_own(&draft).await?;
                self.take_beside_back(&moving.to).await?;
                self.plan_copy(from).await.map(Stage::Copying)
            }
            Moved::NotDone(fault) | Moved::NoWay(fault) => {
                drop(self.take_beside_back(&moving.to).await);
                Err(fault)
            }
            Moved::Gone | Moved::CrossesDevices => {
                let why = format!("the draft {draft} is gone");
                Err(Fault::new(FaultKind::Unclear, why))
            }
        }
    }

    pub(super) async fn copy_to_name(
        &mut self,
        from: &Place,
        draft: &Place,
        to: &Place,
    ) -> Result<Moved, Fault> {
        let copied = self.copy_to_draft(from, draft).await?;
        if !self.is_sent_copy(&copied) {
            self.ops.remove_own(draft).await?;
            let why = format!("{from} changed while it was copied");
            return Err(Fault::new(FaultKind::Unclear, why));
        }
        self.relocate_own(draft, to, None).await
    }

    pub(super) async fn copy_to_draft(&self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        let copied = self.ops.copy(from, draft).await;
        if copied.is_err() {
            // No whole copy: nothing is lost with it, and a full disk gets its room back.
            drop(self.ops.remove_own(draft).await);
        }
        copied
    }

    /// Brings the name of the copy onto the disk. Where that fails the next try copies again, for
    /// a second fsync may report success for what the first one lost (fsync(2), ERRORS: EIO). The
    /// copy stays where it is until then: its writer may replace what it was made of at any moment.
    pub(super) async fn bring_copy_onto_disk(&mut self, moving: &Move) -> Result<(), Fault> {
        self.ops
            .ask(Operation::SyncFolder(Side::Target, moving.to.folder()))
            .await?;
        self.progress = Progress::Copied(moving.clone());
        Ok(())
    }

    /// The copy has its name since an earlier try, and nobody can say whether that is on the disk:
    /// its fsync may have failed there, also in a process that is gone. It is copied once more, and
    /// takes the place of the one before in one step, so that there is no moment without.
    pub(super) async fn copy_again(
        &mut self,
        moving: Move,
        original: Look,
    ) -> Result<Stage, Fault> {
        let (Some(from), Some(draft)) = (&moving.copy_of, moving.draft()) else {
            return Ok(Stage::InPlace);
        };
        let copied = self.copy_to_draft(from, &draft).await?;
        if copied.sha256 != self.ops.digest(&moving.to).await? {
            // Another version lies there by now: nothing is left to copy it from.
            self.ops.remove_own(&draft).await?;
            return self.resume_copied(moving).await;
        }
        self.write_beside_again(&moving.to, from, &original).await?;
        if let Err(fault) = self.ops.rename_over(&draft, &moving.to).await {
            match (
                self.ops.look(&draft).await?,
                self.ops.look(&moving.to).await?,
            ) {
                (Entry::Absent, Entry::File(_)) => {}
                _ => return Err(fault),
            }
        }
        self.bring_copy_onto_disk(&moving).await?;
        Ok(Stage::Copied(moving))
    }

    /// The name of what lies beside it was brought onto the disk by the same fsync as that of the copy.
    async fn write_beside_again(
        &mut self,
        to: &Place,
        from: &Place,
        original: &Look,
    ) -> Result<(), Fault> {
        if to.area == Area::DeadLetter
            && from.area == Area::Staging
            && !self.is_sent_behind(original, from).await?
        {
            return self.ask_reason(to, self.displaced(original), from).await;
        }
        self.write_beside(to, from).await
    }

    /// Removes what the copy was made of, if that is still what was sent.
    pub(super) async fn remove_original(&mut self, moving: Move) -> Result<Stage, Fault> {
        let to = moving.to;
        let Some(from) = moving.copy_of else {
            return Ok(Stage::Away(Some(to)));
        };
        if let Entry::File(look) = self.ops.look(&from).await? {
            if !self.is_original_of(&look, &from, &to).await? {
                return self.changed_under_copy(from, to, look).await;
            }
            if self.stays() {
                return Ok(Stage::Over(Filed::Copied { to }));
            }
            if !matches!(self.progress, Progress::Copied(_)) {
                // It was not there when the copy was found, so that this could not be made again.
                let why = format!(
                    "{from} has come back, and its copy {to} may not be on the disk: it is to be copied again"
                );
                return Err(Fault::new(FaultKind::Unclear, why));
            }
            match from.area {
                // Its writer may put another version there now.
                Area::Watched => self.ops.remove_if(&from, &look).await?,
                _ => self.ops.remove_own(&from).await?,
            }
        }
        self.sources.insert(from.folder());
        if to.area == Area::DeadLetter && matches!(self.job.fate, Fate::Accepted(_)) {
            // Only a new version goes there that had no other place.
            return Ok(Stage::Over(Filed::Displaced { to }));
        }
        self.left = true;
        Ok(Stage::Away(Some(to)))
    }

    /// The copy has its name, and what lies where it was made from is not what was sent: a new
    /// version came in between, or it was a new version that was copied, for its place was taken.
    pub(super) async fn changed_under_copy(
        &mut self,
        from: Place,
        to: Place,
        look: Look,
    ) -> Result<Stage, Fault> {
        if from.area == Area::Watched
            || self.ops.digest(&from).await? != self.ops.digest(&to).await?
        {
            return self.original_changed(from, look).await;
        }
        self.ops.remove_own(&from).await?;
        self.sources.insert(from.folder());
        Ok(Stage::Over(Filed::Displaced { to }))
    }

    /// What was to be copied, or removed, is a new version.
    pub(super) async fn original_changed(
        &mut self,
        from: Place,
        look: Look,
    ) -> Result<Stage, Fault> {
        if from.area == Area::Watched {
            return Ok(Stage::Over(Filed::NewVersion(Some(look))));
        }
        self.put_back(from).await
    }
}
