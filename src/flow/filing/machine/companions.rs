//! What goes with a file: its reason or its answer, and its marker.

use super::super::answer::{ANSWER, Delivered};
use super::super::disk::{Beside, Fault, Operation, Side};
use super::super::free_name::free;
use super::super::kept::Kept;
use super::super::moving::{Moved, Relocation, Target, relocate, remove_first_name};
use super::super::names::{Companions, draft_of, draft_of_reason};
use super::super::ops::{may_be_same_inode, seldom};
use super::super::reason::{DeadLetter, REASON};
use super::super::{Area, Fate, Filed, Place};
use super::Machine;
use crate::flow::file::{Entry, Look, Stamp};
use crate::flow::marker::MarkerRule;

impl Machine {
    /// What lies beside a file, the reason or the answer, is there before it.
    pub(super) async fn write_beside(&mut self, to: &Place, like: &Place) -> Result<(), Fault> {
        let (path, stamp) = (self.job.path.clone(), self.job.look.stamp);
        match (&self.job.fate, &self.job.receipt, to.area) {
            (Fate::Condemned(reason), _, Area::DeadLetter) => {
                let reason = (**reason).clone();
                let letter = DeadLetter {
                    path,
                    stamp,
                    reason,
                };
                self.ask_reason(to, letter, like).await
            }
            (Fate::Accepted(_), Some(receipt), Area::Done) => {
                let receipt = receipt.clone();
                let operation = Operation::WriteBeside {
                    at: to.beside(ANSWER),
                    beside: Box::new(Beside::Answer(Delivered {
                        path,
                        stamp,
                        receipt,
                    })),
                    like: like.clone(),
                };
                self.ops.ask(operation).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn ask_reason(
        &self,
        to: &Place,
        letter: DeadLetter,
        like: &Place,
    ) -> Result<(), Fault> {
        let (at, like) = (to.beside(REASON), like.clone());
        let operation = Operation::WriteBeside {
            at,
            beside: Box::new(Beside::Reason(letter)),
            like,
        };
        self.ops.ask(operation).await.map(drop)
    }

    /// A crash may have left the draft of what lies beside the file at a name that it does not go to
    /// now.
    pub(super) async fn remove_beside_draft(&mut self, to: &Place) -> Result<(), Fault> {
        let suffix = match to.area {
            Area::DeadLetter => REASON,
            Area::Done => ANSWER,
            Area::Staging | Area::Watched => return Ok(()),
        };
        let draft = draft_of_reason(to.beside(suffix).path.name());
        self.ops.remove_own(&to.folder().join(&draft)).await
    }

    /// The file did not go there.
    ///
    /// An answer is taken back only by the process that has it: its name was free then, and no journal
    /// says of an earlier process whether it was promised to an answer or has gone to another file.
    pub(super) async fn take_beside_back(&mut self, to: &Place) -> Result<(), Fault> {
        let suffix = match to.area {
            Area::DeadLetter => REASON,
            Area::Done if self.job.receipt.is_some() => ANSWER,
            Area::Done | Area::Staging | Area::Watched => return Ok(()),
        };
        self.ops.remove_own(&to.beside(suffix)).await?;
        self.sources.insert(to.folder());
        Ok(())
    }

    /// A marker goes where its file went, unless it is a new one by now.
    pub(super) async fn file_marker(&mut self, to: Option<&Place>) -> Result<(), Fault> {
        match (self.job.marker, self.rules.marker.clone()) {
            (Some(known), Some(rule)) => seldom(self.file_marker_there(known, rule, to)).await,
            _ => Ok(()),
        }
    }

    async fn file_marker_there(
        &mut self,
        known: Look,
        rule: MarkerRule,
        to: Option<&Place>,
    ) -> Result<(), Fault> {
        let marker = self.place().marker(&rule);
        let look = match self.ops.look(&marker).await? {
            Entry::File(look) if look.stamp == known.stamp => look,
            other => {
                self.remove_marker_draft(&marker, to).await?;
                let target = to.map(|to| to.marker(&rule));
                return self
                    .finish_putting_marker_back(&marker, other, target)
                    .await;
            }
        };
        let Some(to) = to else {
            return self.remove_marker(&marker, &look).await;
        };
        // Its own name was promised to it together with the file's. That of a stem was not: whatever comes
        // there meanwhile is not replaced, and its marker is removed, for it has done its work.
        let mut target = to.marker(&rule);
        self.marker_at = Some(target.clone());
        let there = self.ops.look(&target).await?;
        let size = known.stamp.size;
        if there.file().is_some_and(|there| there.stamp.size == size) {
            // The name was promised to it: an earlier try was over but for the removal of what
            // was copied. An empty file that reserves the name of an empty marker is as good.
            self.remove_marker_draft(&marker, Some(to)).await?;
            return self.remove_marker(&marker, &look).await;
        }
        if there != Entry::Absent {
            target = free(
                &self.ops,
                &to.folder(),
                target.path.name(),
                Companions::default(),
            )
            .await?;
            self.marker_at = Some(target.clone());
        }
        match self.relocate_own(&marker, &target, Some(&look)).await? {
            Moved::Done => {
                self.targets.insert(target.folder());
                self.look_behind_marker(&marker, &target, &look).await
            }
            Moved::Gone => Ok(()),
            Moved::NotDone(fault) => Err(fault),
            // Who takes its file out of dead-letter takes it, too.
            Moved::CrossesDevices => self.copy_marker(&marker, &target, &look).await,
            // It is empty or nearly so, and has done its work.
            Moved::Taken | Moved::NoWay(_) => self.remove_marker(&marker, &look).await,
        }
    }

    /// Has what lies in `done` by now written down, if it is to be removed some day.
    pub(super) async fn note_kept(&mut self, filed: &Filed) {
        if !self.rules.notes_kept || self.area() != Area::Done {
            return;
        }
        let file = match filed {
            Filed::Away { to } => to.clone(),
            _ => None,
        };
        let has_answer = self.job.receipt.is_some();
        let answer = file.as_ref().filter(|_| has_answer);
        let answer = answer.map(|file| file.beside(ANSWER));
        let mut kept = Vec::new();
        let marker = self.marker_at.take().filter(|at| at.area == Area::Done);
        let sent = self.job.look.stamp;
        // Another file system may keep coarser times (FAT: 2 s).
        let is_sent = |stamp: Stamp| {
            let between = stamp.mtime.0.abs_diff(sent.mtime.0);
            stamp.size == sent.size && between <= 2_000_000_000
        };
        for place in [file.clone(), answer, marker].into_iter().flatten() {
            match self.ops.look(&place).await {
                // Somebody has changed it where it lies: it is theirs.
                Ok(Entry::File(look)) if Some(&place) == file.as_ref() && !is_sent(look.stamp) => {}
                Ok(Entry::File(look)) => kept.push(Kept {
                    at: self.now,
                    place,
                    stamp: look.stamp,
                }),
                Ok(Entry::Absent | Entry::NotAFile) => {}
                // All of it stays then: an answer without its file would be nothing.
                Err(_) => return,
            }
        }
        if !kept.is_empty() {
            drop(self.ops.ask(Operation::NoteKept(kept)).await);
        }
    }

    /// What its writer has put there since it was looked at went along with the rename. It vouches
    /// for the next version, and goes back, replacing nothing.
    ///
    /// That is not made up for after a crash or where it cannot be looked at: an empty file there
    /// may be a name that was only reserved, and a marker out of nothing would vouch for what is
    /// not finished. The next version then waits for another marker.
    async fn look_behind_marker(
        &mut self,
        marker: &Place,
        target: &Place,
        known: &Look,
    ) -> Result<(), Fault> {
        match self.ops.look(target).await? {
            Entry::File(moved) if moved.stamp != known.stamp => {}
            _ => return Ok(()),
        }
        self.sources.insert(target.folder());
        let back = Relocation {
            from: target,
            to: marker,
            look: None,
            target: Target::Foreign,
        };
        let moved = match relocate(&self.ops, back).await? {
            // A marker that its writer puts at this name meanwhile says of the file what this one
            // says: it is no loss if this one takes its place.
            Moved::NoWay(_) => self.relocate_own(target, marker, None).await?,
            moved => moved,
        };
        match moved {
            Moved::Done => drop(self.targets.insert(marker.folder())),
            Moved::NotDone(fault) => return Err(fault),
            // There is yet another one, or somebody has taken it away.
            Moved::Taken | Moved::Gone | Moved::NoWay(_) | Moved::CrossesDevices => {}
        }
        Ok(())
    }

    /// An earlier try may have put a marker back by a second name, and have come no further.
    async fn finish_putting_marker_back(
        &mut self,
        marker: &Place,
        here: Entry,
        target: Option<Place>,
    ) -> Result<(), Fault> {
        let (Entry::File(here), Some(target)) = (here, target) else {
            return Ok(());
        };
        if let Entry::File(there) = self.ops.look(&target).await?
            && there.stamp == here.stamp
            && may_be_same_inode(&there, &here)
        {
            self.sources.insert(target.folder());
            if let Moved::NotDone(fault) = remove_first_name(&self.ops, &target, marker).await? {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Copies a marker to another file system. The copy is on the disk before it is removed here.
    async fn copy_marker(
        &mut self,
        marker: &Place,
        target: &Place,
        known: &Look,
    ) -> Result<(), Fault> {
        let draft = draft_of_marker(marker, target);
        let copied = self.copy_to_draft(marker, &draft).await?;
        if copied.of.stamp != known.stamp {
            // Its writer has put another one there since: it stays, for the next version.
            return self.remove_marker_draft(marker, Some(target)).await;
        }
        match self.relocate_own(&draft, target, None).await? {
            Moved::Done => {
                let sync = Operation::SyncFolder(Side::Target, target.folder());
                self.ops.ask(sync).await?;
            }
            Moved::NotDone(fault) | Moved::NoWay(fault) => return Err(fault),
            Moved::Taken | Moved::Gone | Moved::CrossesDevices => {
                self.ops.remove_own(&draft).await?;
            }
        }
        self.remove_marker(marker, known).await
    }

    /// An earlier try may have left the draft of a copy of the marker, which is not copied now.
    async fn remove_marker_draft(
        &mut self,
        marker: &Place,
        to: Option<&Place>,
    ) -> Result<(), Fault> {
        if let Some(to) = to {
            self.ops.remove_own(&draft_of_marker(marker, to)).await?;
            self.sources.insert(to.folder());
        }
        Ok(())
    }

    /// Removes a marker, unless its writer has put another one there since it was looked at.
    async fn remove_marker(&mut self, marker: &Place, known: &Look) -> Result<(), Fault> {
        self.ops.remove_if(marker, known).await?;
        self.sources.insert(marker.folder());
        Ok(())
    }
}

/// The draft of a copy of `marker`, in the folder that `to` lies in.
fn draft_of_marker(marker: &Place, to: &Place) -> Place {
    to.folder().join(&draft_of(&marker.to_string()))
}
