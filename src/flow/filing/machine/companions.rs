//! What goes with a file: its reason and its marker.

use super::super::disk::{Fault, Operation};
use super::super::moving::Moved;
use super::super::names::{draft_of_reason, free};
use super::super::reason::{DeadLetter, REASON};
use super::super::{Area, Fate, Place};
use super::Machine;
use crate::flow::file::Entry;

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
            if self.ops.look(&target).await? != Entry::Absent {
                target = free(&self.ops, &to.folder(), target.path.name(), &[]).await?;
            }
            match self.relocate_own(&marker, &target, Some(&look)).await? {
                Moved::Done => {
                    self.targets.insert(target.folder());
                    return Ok(());
                }
                Moved::Gone => return Ok(()),
                Moved::NotDone(fault) => return Err(fault),
                // It is empty or nearly so, and has done its work.
                Moved::Taken | Moved::CrossesDevices | Moved::NoWay(_) => {}
            }
        }
        self.ops.remove_own(&marker).await?;
        self.sources.insert(marker.folder());
        Ok(())
    }
}
