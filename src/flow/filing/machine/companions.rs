//! What goes with a file: its reason and its marker.

use super::super::disk::{Fault, Operation, Side};
use super::super::moving::Moved;
use super::super::names::{draft_of, draft_of_reason, free};
use super::super::reason::{DeadLetter, REASON};
use super::super::{Area, Fate, Place};
use super::Machine;
use crate::flow::file::{Entry, Look};

impl Machine {
    /// The reason is there before its file.
    pub(super) async fn write_reason(&mut self, to: &Place, like: &Place) -> Result<(), Fault> {
        let Fate::Condemned(reason) = &self.job.fate else {
            return Ok(());
        };
        if to.area != Area::DeadLetter {
            return Ok(());
        }
        let letter = DeadLetter {
            path: self.job.path.clone(),
            stamp: self.job.look.stamp,
            reason: (**reason).clone(),
        };
        self.ask_reason(to, letter, like).await
    }

    pub(super) async fn ask_reason(
        &self,
        to: &Place,
        letter: DeadLetter,
        like: &Place,
    ) -> Result<(), Fault> {
        let (at, like) = (to.beside(REASON), like.clone());
        let operation = Operation::WriteReason {
            at,
            letter: Box::new(letter),
            like,
        };
        self.ops.ask(operation).await.map(drop)
    }

    /// A crash may have left the draft of the reason at a name that the file does not go to now.
    pub(super) async fn remove_reason_draft(&mut self, to: &Place) -> Result<(), Fault> {
        if to.area == Area::DeadLetter {
            let draft = draft_of_reason(to.beside(REASON).path.name());
            self.ops.remove_own(&to.folder().join(&draft)).await?;
        }
        Ok(())
    }

    /// The file did not go there.
    pub(super) async fn take_reason_back(&mut self, to: &Place) -> Result<(), Fault> {
        if to.area == Area::DeadLetter {
            self.ops.remove_own(&to.beside(REASON)).await?;
            self.sources.insert(to.folder());
        }
        Ok(())
    }

    /// A marker goes where its file went, unless it is a new one by now.
    pub(super) async fn file_marker(&mut self, to: Option<&Place>) -> Result<(), Fault> {
        let Some(known) = self.job.marker else {
            return Ok(());
        };
        let marker = self.place().beside(&self.rules.marker);
        let look = match self.ops.look(&marker).await? {
            Entry::File(look) if look.stamp == known.stamp => look,
            _ => return Ok(()),
        };
        if let Some(to) = to {
            // Its own name was promised to it together with the file's.
            let mut target = to.beside(&self.rules.marker);
            let there = self.ops.look(&target).await?;
            let size = known.stamp.size;
            if there.file().is_some_and(|there| there.stamp.size == size) {
                // The name was promised to it: an earlier try was over but for the removal of what
                // was copied. An empty file that reserves the name of an empty marker is as good.
                return self.remove_marker(&marker, &look).await;
            }
            if there != Entry::Absent {
                target = free(&self.ops, &to.folder(), target.path.name(), &[]).await?;
            }
            match self.relocate_own(&marker, &target, Some(&look)).await? {
                Moved::Done => {
                    self.targets.insert(target.folder());
                    return Ok(());
                }
                Moved::Gone => return Ok(()),
                Moved::NotDone(fault) => return Err(fault),
                // Who takes its file out of dead-letter takes it, too.
                Moved::CrossesDevices => self.copy_marker(&marker, &target).await?,
                // It is empty or nearly so, and has done its work.
                Moved::Taken | Moved::NoWay(_) => {}
            }
        }
        self.remove_marker(&marker, &look).await
    }

    /// Copies a marker to another file system. The copy is on the disk before it is removed here.
    async fn copy_marker(&mut self, marker: &Place, target: &Place) -> Result<(), Fault> {
        let draft = target.folder().join(&draft_of(&marker.to_string()));
        if let Err(fault) = self.ops.copy(marker, &draft).await {
            drop(self.ops.remove_own(&draft).await);
            return Err(fault);
        }
        match self.relocate_own(&draft, target, None).await? {
            Moved::Done => {
                let folder = target.folder();
                let sync = Operation::SyncFolder(Side::Target, folder);
                self.ops.ask(sync).await.map(drop)
            }
            Moved::NotDone(fault) | Moved::NoWay(fault) => Err(fault),
            Moved::Taken | Moved::Gone | Moved::CrossesDevices => self.ops.remove_own(&draft).await,
        }
    }

    /// Removes a marker, unless its writer has put another one there since it was looked at.
    async fn remove_marker(&mut self, marker: &Place, known: &Look) -> Result<(), Fault> {
        self.ops.remove_if(marker, known).await?;
        self.sources.insert(marker.folder());
        Ok(())
    }
}
