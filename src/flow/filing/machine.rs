//! The machine that files one version away.
//!
//! It is written as one function that can stop at every operation: an `async fn`, which the
//! compiler turns into the state machine. There is no runtime, no thread and no waker behind it:
//! [`super::batch::Batch`] polls it, finds the operation that it asks for on its [`super::ops::Desk`], and puts
//! the answer there. So the order of what happens on the disk can be read from top to bottom, and a
//! crash can come between any two lines that say `.await`.
//!
//! What goes on after a crash or a fault is told from the journal's last word ([`Progress`]) and
//! from what lies where (`machine/resuming.rs`).

mod companions;
mod comparing;
mod copying;
mod putting_back;
mod resuming;

use super::disk::{Fault, FaultKind, Line, Operation, Side};
use super::free_name::free;
use super::moving::{Moved, Relocation, relocate};
use super::names::{Companions, staging_name};
use super::ops::{Ops, seldom};
use super::{Area, Fate, Filed, Filing, Move, Place, Progress, Rules};
use crate::config::Action;
use crate::flow::file::{Entry, Look, Rel};
use crate::flow::journal::Event;
use crate::flow::time::Wall;
use std::collections::BTreeSet;
use std::rc::Rc;

/// How often a file is read whose ctime goes on moving.
const READINGS: u32 = 3;
/// How often another name is chosen when the one that was free has been taken meanwhile.
const NAMES_TRIED: u32 = 16;

/// How far the file itself has come.
enum Stage {
    /// It is at its place, as far as is known.
    InPlace,
    /// It has been renamed to this place.
    Moved(Place),
    /// It goes to another file system, and is to be copied.
    Copying(Move),
    /// The copy has its name. What it was made of is to be removed, if it is still there.
    Copied(Move),
    /// It lies where it is to lie. `None`: it is deleted.
    Away(Option<Place>),
    /// Nothing more is done with it.
    Over(Filed),
}

struct Machine {
    job: Filing,
    rules: Rc<Rules>,
    ops: Ops,
    now: Wall,
    progress: Progress,
    /// It is known to have left its place.
    left: bool,
    /// What was at its place just before it was moved from there.
    at_place: Option<Look>,
    /// Folders that names were added to, to be brought onto the disk first, and others.
    targets: BTreeSet<Place>,
    sources: BTreeSet<Place>,
    /// Where its marker went.
    marker_at: Option<Place>,
}

/// Files `job` away.
pub(super) fn file(
    job: Filing,
    rules: Rc<Rules>,
    now: Wall,
    ops: Ops,
) -> impl Future<Output = Filed> {
    // Made outside of the future, which would keep room for all of this twice.
    let mut machine = Machine {
        progress: job.progress.clone(),
        job,
        rules,
        ops,
        now,
        left: false,
        at_place: None,
        targets: BTreeSet::new(),
        sources: BTreeSet::new(),
        marker_at: None,
    };
    async move {
        match machine.run().await {
            Ok(filed) => filed,
            Err(fault) => Filed::Failed {
                journal: fault.kind == FaultKind::Journal,
                why: fault.why,
                progress: machine.progress,
                left: machine.left,
            },
        }
    }
}

impl Machine {
    async fn run(&mut self) -> Result<Filed, Fault> {
        if self.progress == Progress::Unwritten {
            self.append(self.fate()).await?;
            self.progress = Progress::Written;
        }
        if self.keeps() {
            return Ok(Filed::Away { to: None });
        }
        let mut stage = match self.progress.clone() {
            Progress::Moving(moving) | Progress::Copied(moving) => {
                seldom(self.resume(moving)).await?
            }
            Progress::Unwritten | Progress::Written => Stage::InPlace,
        };
        loop {
            stage = match stage {
                Stage::InPlace => self.leave_place().await?,
                Stage::Moved(to) => self.look_behind(to).await?,
                Stage::Copying(moving) => seldom(self.copy(moving)).await?,
                Stage::Copied(moving) => seldom(self.remove_original(moving)).await?,
                Stage::Away(to) => {
                    self.file_marker(to.as_ref()).await?;
                    Stage::Over(Filed::Away { to })
                }
                Stage::Over(filed) => {
                    if matches!(filed, Filed::NewVersion(_) | Filed::Displaced { .. }) {
                        // It vouched for the version before, and for no other.
                        self.file_marker_alone().await?;
                    }
                    return Ok(self.write_filed(filed).await);
                }
            };
        }
    }

    fn keeps(&self) -> bool {
        matches!(self.job.fate, Fate::Accepted(_)) && self.rules.action == Action::Keep
    }

    /// Whether it is only copied, for dirpost may not write to the share.
    fn stays(&self) -> bool {
        matches!(self.job.fate, Fate::Condemned(_)) && self.rules.read_only
    }

    fn area(&self) -> Area {
        match (&self.job.fate, self.rules.action) {
            (Fate::Condemned(_), _) => Area::DeadLetter,
            (Fate::Accepted(_), Action::Delete) => Area::Staging,
            (Fate::Accepted(_), Action::Move | Action::Keep) => Area::Done,
        }
    }

    fn place(&self) -> Place {
        Place::new(Area::Watched, self.job.path.clone())
    }

    fn fate(&self) -> Event {
        match &self.job.fate {
            Fate::Accepted(acceptance) => {
                Event::accepted(acceptance, self.job.marker_stamp(), self.keeps())
            }
            Fate::Condemned(reason) => Event::condemned(reason, self.job.marker_stamp()),
        }
    }

    /// Looks at it once more, and moves it away if it is what was sent.
    async fn leave_place(&mut self) -> Result<Stage, Fault> {
        let place = self.place();
        let Entry::File(look) = self.ops.look(&place).await? else {
            return self.gone().await;
        };
        if !self.is_sent_in_place(&look).await? {
            return Ok(Stage::Over(Filed::NewVersion(Some(look))));
        }
        self.finish_putting_back(&look).await?;
        self.at_place = Some(look);
        if self.stays() {
            return self.plan_copy(place).await.map(Stage::Copying);
        }
        let mut area = self.area();
        let target = Place::new(area, self.job.path.parent());
        if area != Area::Staging && !self.ops.same_device(&place.folder(), &target).await? {
            area = Area::Staging;
        }
        for _ in 0..NAMES_TRIED {
            let to = self.choose(area).await?;
            self.write_move(Move {
                to: to.clone(),
                copy_of: None,
            })
            .await?;
            self.write_beside(&to, &place).await?;
            let moved = self.relocate_own(&place, &to, Some(&look)).await?;
            if moved != Moved::Done {
                // An empty file may have reserved the name, and a power cut must not bring it back.
                self.sources.insert(to.folder());
            }
            match moved {
                Moved::Done => return Ok(self.moved(to)),
                Moved::NotDone(fault) | Moved::NoWay(fault) => {
                    drop(self.take_beside_back(&to).await);
                    return Err(fault);
                }
                Moved::Gone => {
                    self.take_beside_back(&to).await?;
                    return self.gone().await;
                }
                Moved::CrossesDevices if area == Area::Staging => {
                    return seldom(self.leave_foreign_mount(place)).await;
                }
                // Two mounts of one file system.
                Moved::CrossesDevices => {
                    self.take_beside_back(&to).await?;
                    self.ops
                        .ask(Operation::SyncFolder(Side::Source, to.folder()))
                        .await?;
                    area = Area::Staging;
                }
                Moved::Taken => self.take_beside_back(&to).await?,
            }
        }
        Err(Fault::new(
            FaultKind::Exists,
            format!("each name for {place} is taken again at once"),
        ))
    }

    /// Moves into a folder of dirpost's own.
    async fn relocate_own(
        &self,
        from: &Place,
        to: &Place,
        look: Option<&Look>,
    ) -> Result<Moved, Fault> {
        relocate(&self.ops, Relocation::into_own(from, to, look)).await
    }

    /// It has been renamed to `to`.
    fn moved(&mut self, to: Place) -> Stage {
        self.targets.insert(to.folder());
        self.sources.insert(self.place().folder());
        Stage::Moved(to)
    }

    /// Somebody else took it away. Its marker has nothing to vouch for any more, and goes where
    /// the file would have gone.
    async fn gone(&mut self) -> Result<Stage, Fault> {
        self.file_marker_alone().await?;
        Ok(Stage::Over(Filed::Gone))
    }

    /// The marker goes where its file would have gone.
    async fn file_marker_alone(&mut self) -> Result<(), Fault> {
        let to = match self.area() {
            Area::Staging => None,
            area => Some(Place::new(area, self.job.path.clone())),
        };
        self.file_marker(to.as_ref()).await
    }

    /// A folder of the share is a mount point of its own: even the staging folder is on another
    /// file system. It stays at its place until it is copied.
    async fn leave_foreign_mount(&mut self, place: Place) -> Result<Stage, Fault> {
        if self.area() != Area::Staging {
            return self.plan_copy(place).await.map(Stage::Copying);
        }
        let look = self.ops.look(&place).await?;
        match look {
            Entry::File(look) if !self.is_sent_in_place(&look).await? => {
                Ok(Stage::Over(Filed::NewVersion(Some(look))))
            }
            Entry::File(look) => {
                self.ops.remove_if(&place, &look).await?;
                self.left = true;
                self.sources.insert(place.folder());
                Ok(Stage::Away(None))
            }
            Entry::Absent | Entry::NotAFile => self.gone().await,
        }
    }

    /// A free name in `area`.
    async fn choose(&mut self, area: Area) -> Result<Place, Fault> {
        let marker = self.job.marker.and(self.rules.marker.as_ref());
        let beside = match area {
            Area::DeadLetter => Companions {
                reason: true,
                answer: false,
                marker,
            },
            Area::Done => Companions {
                reason: false,
                answer: self.job.receipt.is_some(),
                marker,
            },
            Area::Staging | Area::Watched => Companions::default(),
        };
        let name = self.job.path.name().to_vec();
        let (folder, name) = match area {
            Area::Staging => (
                Rel::root(),
                staging_name(&self.job.path, self.job.look.stamp),
            ),
            _ => (self.job.path.parent(), name),
        };
        free(&self.ops, &Place::new(area, folder), &name, beside).await
    }

    /// Writes a move down, and has that on the disk: a power cut that kept the rename and lost its
    /// line would leave a file in the staging folder, or a new version in `done`, that nobody
    /// knows of.
    async fn write_move(&mut self, moving: Move) -> Result<(), Fault> {
        self.append(Event::moving(&moving)).await?;
        self.progress = Progress::Moving(moving);
        self.ops.ask(Operation::SyncJournal).await.map(drop)
    }

    async fn look_behind(&mut self, to: Place) -> Result<Stage, Fault> {
        let sent = match self.ops.look(&to).await? {
            Entry::File(look) => self.is_sent_behind(&look, &to).await?,
            // Somebody takes from `done` what comes there: it was filed.
            Entry::Absent if to.area != Area::Staging => return Ok(Stage::Away(Some(to))),
            Entry::Absent => return Ok(Stage::Away(None)),
            Entry::NotAFile => {
                let why = format!("{to} is no file any more");
                return Err(Fault::new(FaultKind::Unclear, why));
            }
        };
        if !sent {
            return seldom(self.put_back(to)).await;
        }
        self.left = true;
        match (to.area, self.area()) {
            (Area::Staging, Area::Staging) => {
                self.ops.remove_own(&to).await?;
                Ok(Stage::Away(None))
            }
            (Area::Staging, _) => {
                // A power cut must not undo the way there and leave the line that says that it
                // is copied from there.
                self.ops
                    .ask(Operation::SyncFolder(Side::Target, to.folder()))
                    .await?;
                self.ops
                    .ask(Operation::SyncFolder(Side::Source, self.place().folder()))
                    .await?;
                self.plan_copy(to).await.map(Stage::Copying)
            }
            _ => Ok(Stage::Away(Some(to))),
        }
    }

    async fn append(&self, event: Event) -> Result<(), Fault> {
        self.ops
            .ask(Operation::Append(self.line(event)))
            .await
            .map(drop)
    }

    fn line(&self, event: Event) -> Line {
        Line {
            path: self.job.path.clone(),
            stamp: self.job.look.stamp,
            event,
        }
    }

    /// Brings it all onto the disk, targets before sources, so that no power cut takes both names
    /// away; only then the journal says that it is filed. Where that fails the file is where it
    /// belongs, and the journal goes on holding its fate: the next start finds both.
    async fn write_filed(&mut self, filed: Filed) -> Filed {
        let targets = std::mem::take(&mut self.targets);
        let mut sources = std::mem::take(&mut self.sources);
        // What got a name in the watched folder was put back. An fsync of that folder takes the old names of
        // other files from the disk as well: it waits until the new ones are there.
        let (back, targets): (BTreeSet<Place>, BTreeSet<Place>) = targets
            .into_iter()
            .partition(|folder| folder.area == Area::Watched);
        sources.extend(back);
        let mut on_disk = true;
        for folder in targets {
            on_disk &= self
                .ops
                .ask(Operation::SyncFolder(Side::Target, folder))
                .await
                .is_ok();
        }
        for folder in sources {
            on_disk &= self
                .ops
                .ask(Operation::SyncFolder(Side::Source, folder))
                .await
                .is_ok();
        }
        if on_disk {
            self.note_kept(&filed).await;
            let event = if matches!(filed, Filed::Copied { .. }) {
                Event::Copied
            } else {
                Event::Filed
            };
            drop(self.ops.ask(Operation::AppendOrOwe(self.line(event))).await);
            self.ops.release();
        }
        filed
    }
}
