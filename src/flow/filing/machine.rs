//! The machine that files one version away.
//!
//! It is written as one function that can stop at every operation: an `async fn`, which the
//! compiler turns into the state machine. There is no runtime, no thread and no waker behind it:
//! [`super::batch::Batch`] polls it, finds the operation that it asks for on its [`Desk`], and puts
//! the answer there. So the order of what happens on the disk can be read from top to bottom, and a
//! crash can come between any two lines that say `.await`.
//!
//! What goes on after a crash or a fault is told from the journal's last word ([`Progress`]) and
//! from what lies where ([`Machine::resume`]).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::Poll;

use super::disk::{Answer, Copied, Fault, FaultKind, Line, Operation, Side};
use super::moving::{Moved, Relocation, Target, relocate, remove_first_name};
use super::names::{free, staging_name};
use super::reason::{DeadLetter, REASON, Reason};
use super::{Area, Fate, Filed, Filing, Move, Place, Progress, Rules};
use crate::config::Action;
use crate::flow::file::{Entry, Look, Rel, Stamp};
use crate::flow::journal::Event;
use crate::flow::time::Wall;

/// How often a file is read whose ctime goes on moving.
const READINGS: u32 = 3;
/// How often another name is chosen when the one that was free has been taken meanwhile.
const NAMES_TRIED: u32 = 16;

/// Where a machine and whoever drives it hand operations and answers to one another.
#[derive(Debug, Default)]
pub struct Desk {
    asked: RefCell<Option<Operation>>,
    answered: RefCell<Option<Result<Answer, Fault>>>,
}

impl Desk {
    /// What the machine asks for.
    pub fn asked(&self) -> Operation {
        self.asked
            .take()
            .expect("a machine stops only to ask for something")
    }

    /// What came of it.
    pub fn answer(&self, answer: Result<Answer, Fault>) {
        self.answered.replace(Some(answer));
    }
}

/// The operations, as a machine asks for them; and the names that are promised to files.
#[derive(Clone, Debug)]
pub(super) struct Ops {
    owner: Owner,
    desk: Rc<Desk>,
    claims: Rc<RefCell<Claims>>,
}

/// Names that are promised to files, beyond the end of a batch: as long as a move stands in the
/// journal and `filed` does not, its names are nobody else's.
#[derive(Clone, Debug, Default)]
pub struct Claims(BTreeMap<Place, Owner>);

/// The version that a name is promised to.
type Owner = (Rel, Stamp);

impl Ops {
    pub fn new(job: &Filing, desk: Rc<Desk>, claims: Rc<RefCell<Claims>>) -> Ops {
        Ops {
            owner: (job.path.clone(), job.look.stamp),
            desk,
            claims,
        }
    }

    async fn ask(&self, operation: Operation) -> Result<Answer, Fault> {
        self.desk.asked.replace(Some(operation));
        std::future::poll_fn(|_| self.desk.answered.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    pub async fn look(&self, at: &Place) -> Result<Entry, Fault> {
        match self.ask(Operation::Look(at.clone())).await? {
            Answer::Entry(entry) => Ok(entry),
            other => unreachable!("{other:?} is no answer to a look"),
        }
    }

    pub async fn same_device(&self, one: &Place, other: &Place) -> Result<bool, Fault> {
        match self
            .ask(Operation::SameDevice(one.clone(), other.clone()))
            .await?
        {
            Answer::SameDevice(same) => Ok(same),
            other => unreachable!("{other:?} is no answer about devices"),
        }
    }

    pub async fn digest(&self, at: &Place) -> Result<[u8; 32], Fault> {
        match self.ask(Operation::Digest(at.clone())).await? {
            Answer::Digest(digest) => Ok(digest),
            other => unreachable!("{other:?} is no digest"),
        }
    }

    pub async fn reserve(&self, at: &Place) -> Result<Look, Fault> {
        match self.ask(Operation::Reserve(at.clone())).await? {
            Answer::Reserved(look) => Ok(look),
            other => unreachable!("{other:?} is no answer to a reservation"),
        }
    }

    pub async fn copy(&self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        match self
            .ask(Operation::Copy(from.clone(), draft.clone()))
            .await?
        {
            Answer::Copied(copied) => Ok(copied),
            other => unreachable!("{other:?} is no answer to a copy"),
        }
    }

    pub async fn rename(&self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.ask(Operation::Rename(from.clone(), to.clone()))
            .await
            .map(drop)
    }

    pub async fn link(&self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.ask(Operation::Link(from.clone(), to.clone()))
            .await
            .map(drop)
    }

    pub async fn rename_over(&self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.ask(Operation::RenameOver(from.clone(), to.clone()))
            .await
            .map(drop)
    }

    pub async fn remove(&self, at: &Place) -> Result<(), Fault> {
        self.ask(Operation::Remove(at.clone())).await.map(drop)
    }

    /// Removes a name that only dirpost uses: that it is gone already is as good.
    pub async fn remove_own(&self, at: &Place) -> Result<(), Fault> {
        let Err(fault) = self.remove(at).await else {
            return Ok(());
        };
        if self.look(at).await? == Entry::Absent {
            Ok(())
        } else {
            Err(fault)
        }
    }

    pub fn claim(&self, place: Place) {
        self.claims.borrow_mut().0.insert(place, self.owner.clone());
    }

    /// Nothing stands in the journal any more that names what was promised to this version.
    fn release(&self) {
        self.claims
            .borrow_mut()
            .0
            .retain(|_, owner| *owner != self.owner);
    }

    /// Whether a name is promised to another version.
    pub fn is_claimed(&self, place: &Place) -> bool {
        self.claims
            .borrow()
            .0
            .get(place)
            .is_some_and(|owner| *owner != self.owner)
    }
}

/// Whether two looks may be of the same inode; where a file system has none, any two may.
pub(super) fn may_be_same_inode(one: &Look, other: &Look) -> bool {
    one.ino == 0 || other.ino == 0 || one.ino == other.ino
}

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
}

/// Files `job` away.
pub(super) async fn file(job: Filing, rules: Rc<Rules>, now: Wall, ops: Ops) -> Filed {
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
    };
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
            Progress::Moving(moving) => self.resume(moving).await?,
            Progress::Unwritten | Progress::Written => Stage::InPlace,
        };
        loop {
            stage = match stage {
                Stage::InPlace => self.leave_place().await?,
                Stage::Moved(to) => self.look_behind(to).await?,
                Stage::Copying(moving) => self.copy(moving).await?,
                Stage::Copied(moving) => self.remove_original(moving).await?,
                Stage::Away(to) => {
                    self.file_marker(to.as_ref()).await?;
                    Stage::Over(Filed::Away { to })
                }
                Stage::Over(filed) => return Ok(self.write_filed(filed).await),
            };
        }
    }

    // ---- what is to become of it ----------------------------------------------------

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

    // ---- from its place -------------------------------------------------------------

    /// Looks at it once more, and moves it away if it is what was sent.
    async fn leave_place(&mut self) -> Result<Stage, Fault> {
        let place = self.place();
        let Entry::File(look) = self.ops.look(&place).await? else {
            return self.gone().await;
        };
        if !self.is_sent_in_place(&look).await? {
            return Ok(Stage::Over(Filed::NewVersion(Some(look))));
        }
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
            self.write_reason(&to, &place).await?;
            match self.relocate_own(&place, &to, Some(&look)).await? {
                Moved::Done => return Ok(self.moved(to)),
                Moved::NotDone(fault) | Moved::NoWay(fault) => {
                    drop(self.take_reason_back(&to).await);
                    return Err(fault);
                }
                Moved::Gone => {
                    self.take_reason_back(&to).await?;
                    return self.gone().await;
                }
                Moved::CrossesDevices if area == Area::Staging => {
                    return self.leave_foreign_mount(place).await;
                }
                // Two mounts of one file system.
                Moved::CrossesDevices => {
                    self.take_reason_back(&to).await?;
                    self.ops
                        .ask(Operation::SyncFolder(Side::Source, to.folder()))
                        .await?;
                    area = Area::Staging;
                }
                Moved::Taken => self.take_reason_back(&to).await?,
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
        relocate(
            &self.ops,
            Relocation {
                from,
                to,
                look,
                target: Target::Own,
            },
        )
        .await
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
        let to = match self.area() {
            Area::Staging => None,
            area => Some(Place::new(area, self.job.path.clone())),
        };
        self.file_marker(to.as_ref()).await?;
        Ok(Stage::Over(Filed::Gone))
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
            Entry::File(_) => {
                self.ops.remove_own(&place).await?;
                self.left = true;
                self.sources.insert(place.folder());
                Ok(Stage::Away(None))
            }
            Entry::Absent | Entry::NotAFile => self.gone().await,
        }
    }

    /// A free name in `area`.
    async fn choose(&mut self, area: Area) -> Result<Place, Fault> {
        let marker = if self.job.marker.is_some() {
            &self.rules.marker[..]
        } else {
            b""
        };
        let beside: &[&[u8]] = match area {
            Area::DeadLetter => &[REASON, marker],
            Area::Done => &[marker],
            Area::Staging | Area::Watched => &[],
        };
        let beside: Vec<&[u8]> = beside
            .iter()
            .copied()
            .filter(|suffix| !suffix.is_empty())
            .collect();
        let name = self.job.path.name().to_vec();
        let (folder, name) = match area {
            Area::Staging => (
                Rel::root(),
                staging_name(&self.job.path, self.job.look.stamp),
            ),
            _ => (self.job.path.parent(), name),
        };
        free(&self.ops, &Place::new(area, folder), &name, &beside).await
    }

    /// Writes a move down, and has that on the disk: a power cut that kept the rename and lost its
    /// line would leave a file in the staging folder, or a new version in `done`, that nobody
    /// knows of.
    async fn write_move(&mut self, moving: Move) -> Result<(), Fault> {
        self.append(Event::moving(&moving)).await?;
        self.progress = Progress::Moving(moving);
        self.ops.ask(Operation::SyncJournal).await.map(drop)
    }

    // ---- behind the rename ----------------------------------------------------------

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
            return self.put_back(to).await;
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

    // ---- to another file system -----------------------------------------------------

    /// Chooses where the copy of `from` goes.
    async fn plan_copy(&mut self, from: Place) -> Result<Move, Fault> {
        let to = self.choose(self.area()).await?;
        let moving = Move {
            to,
            copy_of: Some(from),
        };
        self.write_move(moving.clone()).await?;
        Ok(moving)
    }

    /// Copies: what takes the name is whole and on the disk.
    async fn copy(&mut self, moving: Move) -> Result<Stage, Fault> {
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
            self.take_reason_back(&moving.to).await?;
            return self.original_changed(from, look).await;
        }
        self.left = from.area != Area::Watched;
        self.write_reason(&moving.to, &from).await?;
        match self.copy_to_name(&from, &draft, &moving.to).await? {
            Moved::Done => {
                self.bring_copy_onto_disk(&from, &moving.to).await?;
                Ok(Stage::Copied(moving))
            }
            Moved::Taken => {
                self.ops.remove_own(&draft).await?;
                self.take_reason_back(&moving.to).await?;
                self.plan_copy(from).await.map(Stage::Copying)
            }
            Moved::NotDone(fault) | Moved::NoWay(fault) => {
                drop(self.take_reason_back(&moving.to).await);
                Err(fault)
            }
            Moved::Gone | Moved::CrossesDevices => {
                let why = format!("the draft {draft} is gone");
                Err(Fault::new(FaultKind::Unclear, why))
            }
        }
    }

    async fn copy_to_name(
        &mut self,
        from: &Place,
        draft: &Place,
        to: &Place,
    ) -> Result<Moved, Fault> {
        let copied = match self.ops.copy(from, draft).await {
            Ok(copied) => copied,
            Err(fault) => {
                // No whole copy: nothing is lost with it, and a full disk gets its room back.
                drop(self.ops.remove_own(draft).await);
                return Err(fault);
            }
        };
        if !self.is_sent_copy(&copied) {
            self.ops.remove_own(draft).await?;
            let why = format!("{from} changed while it was copied");
            return Err(Fault::new(FaultKind::Unclear, why));
        }
        self.relocate_own(draft, to, None).await
    }

    /// The name of the copy is on the disk, or is taken back: a second fsync may report success
    /// for what the first one lost, so the copy is made again.
    async fn bring_copy_onto_disk(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        let Err(fault) = self
            .ops
            .ask(Operation::SyncFolder(Side::Target, to.folder()))
            .await
        else {
            return Ok(());
        };
        if self.ops.look(from).await?.file().is_some() {
            self.ops.remove_own(to).await?;
            drop(self.take_reason_back(to).await);
        }
        Err(fault)
    }

    /// Removes what the copy was made of, if that is still what was sent.
    async fn remove_original(&mut self, moving: Move) -> Result<Stage, Fault> {
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
            self.ops.remove_own(&from).await?;
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
    async fn changed_under_copy(
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
    async fn original_changed(&mut self, from: Place, look: Look) -> Result<Stage, Fault> {
        if from.area == Area::Watched {
            return Ok(Stage::Over(Filed::NewVersion(Some(look))));
        }
        self.put_back(from).await
    }

    // ---- back to its place ----------------------------------------------------------

    /// What lies at `from` is a new version, which was never sent: it goes back to its place,
    /// replacing nothing, or else to dead-letter.
    async fn put_back(&mut self, from: Place) -> Result<Stage, Fault> {
        let place = self.place();
        self.take_reason_back(&from).await?;
        self.ops.ask(Operation::MakeFolder(place.folder())).await?;
        self.sources.insert(from.folder());
        let back = Relocation {
            from: &from,
            to: &place,
            look: None,
            target: Target::Foreign,
        };
        match relocate(&self.ops, back).await? {
            Moved::Done => {
                self.left = false;
                self.targets.insert(place.folder());
                // Whatever this look says, nothing of the old version is left to be filed.
                let look = self.ops.look(&place).await.ok().and_then(Entry::file);
                Ok(Stage::Over(Filed::NewVersion(look)))
            }
            Moved::Gone => Ok(Stage::Over(Filed::Gone)),
            Moved::NotDone(fault) => Err(fault),
            Moved::Taken | Moved::CrossesDevices | Moved::NoWay(_) => self.displace(from).await,
        }
    }

    /// The place has been taken by yet another version.
    async fn displace(&mut self, from: Place) -> Result<Stage, Fault> {
        let Entry::File(look) = self.ops.look(&from).await? else {
            return Ok(Stage::Over(Filed::Gone));
        };
        let folder = Place::new(Area::DeadLetter, self.job.path.parent());
        for _ in 0..NAMES_TRIED {
            let to = free(&self.ops, &folder, self.job.path.name(), &[REASON]).await?;
            // In the journal as what it is: a version that lies at `from`, and goes to `to`.
            let moving = Move {
                to: to.clone(),
                copy_of: Some(from.clone()),
            };
            self.write_move(moving.clone()).await?;
            self.ask_reason(&to, self.displaced(&look), &from).await?;
            let moved = match self.relocate_own(&from, &to, None).await? {
                Moved::CrossesDevices => self.displace_across(moving, &look).await?,
                moved => moved,
            };
            match moved {
                Moved::Done => {
                    self.targets.insert(to.folder());
                    return Ok(Stage::Over(Filed::Displaced { to }));
                }
                Moved::NotDone(fault) | Moved::NoWay(fault) => return Err(fault),
                Moved::Gone => {
                    self.take_reason_back(&to).await?;
                    return Ok(Stage::Over(Filed::Gone));
                }
                Moved::Taken | Moved::CrossesDevices => self.take_reason_back(&to).await?,
            }
        }
        Err(Fault::new(
            FaultKind::Exists,
            format!("each name for {from} is taken again at once"),
        ))
    }

    async fn displace_across(&mut self, moving: Move, look: &Look) -> Result<Moved, Fault> {
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
        self.bring_copy_onto_disk(from, &moving.to).await?;
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

    fn displaced(&self, look: &Look) -> DeadLetter {
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

    // ---- after a crash or a fault ---------------------------------------------------

    /// How far a move that stands in the journal has come.
    async fn resume(&mut self, moving: Move) -> Result<Stage, Fault> {
        self.claim(&moving.to);
        // Whoever moved it may not have lived, or not have come, to bring that onto the disk.
        self.targets.insert(moving.to.folder());
        self.sources.extend([self.place().folder()]);
        self.sources
            .extend(moving.copy_of.as_ref().map(Place::folder));
        match &moving.copy_of {
            Some(from) => {
                let from = from.clone();
                self.resume_copy(moving, from).await
            }
            None => self.resume_rename(moving.to).await,
        }
    }

    /// A name that stands in the journal is promised to this file, unless another one of the batch
    /// has been promised it before.
    fn claim(&self, to: &Place) {
        for suffix in [&b""[..], REASON, &self.rules.marker] {
            let name = to.beside(suffix);
            if !self.ops.is_claimed(&name) {
                self.ops.claim(name);
            }
        }
    }

    async fn resume_rename(&mut self, to: Place) -> Result<Stage, Fault> {
        let Entry::File(there) = self.ops.look(&to).await? else {
            // Its reason was written first.
            self.take_reason_back(&to).await?;
            return Ok(Stage::InPlace);
        };
        let place = self.place();
        if let Entry::File(here) = self.ops.look(&place).await? {
            if here.is_same_file(&there) {
                // A move by a second name stopped in between.
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
        if self.is_reservation(&there, &to).await? {
            self.take_reservation_back(&to).await?;
            return Ok(Stage::InPlace);
        }
        self.moved_before(to).await
    }

    /// Whether an empty file is only there to reserve the name. A version that was truncated after
    /// it was moved looks the same; but names are only reserved where no rename replaces nothing,
    /// and that can be asked without doing anything: the name has no other place to go to.
    async fn is_reservation(&self, look: &Look, at: &Place) -> Result<bool, Fault> {
        if look.stamp.size > 0 || self.job.look.stamp.size == 0 {
            return Ok(false);
        }
        match self.ops.rename(at, at).await {
            Err(fault) if fault.kind == FaultKind::Unsupported => Ok(true),
            Err(fault) if fault.kind == FaultKind::Exists => Ok(false),
            Ok(()) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    async fn take_reservation_back(&mut self, at: &Place) -> Result<(), Fault> {
        self.ops.remove_own(at).await?;
        self.sources.insert(at.folder());
        self.take_reason_back(at).await
    }

    /// It was renamed to `to` by an earlier try. Its reason may not have outlived a power cut.
    async fn moved_before(&mut self, to: Place) -> Result<Stage, Fault> {
        self.write_reason(&to, &to).await?;
        Ok(self.moved(to))
    }

    async fn resume_copy(&mut self, moving: Move, from: Place) -> Result<Stage, Fault> {
        if let Some(draft) = moving.draft() {
            self.ops.remove_own(&draft).await?;
        }
        let original = self.look_for_more_than_its_name(&from).await?;
        let copy = self.ops.look(&moving.to).await?;
        match (original, copy) {
            (Entry::File(_), Entry::Absent) if !self.ops.is_claimed(&moving.to) => {
                Ok(Stage::Copying(moving))
            }
            (Entry::File(_), Entry::File(copy))
                if self.is_reservation(&copy, &moving.to).await? =>
            {
                self.take_reservation_back(&moving.to).await?;
                Ok(Stage::Copying(moving))
            }
            (Entry::File(original), Entry::File(copy))
                if self.is_copy(&copy, &original, &moving).await? =>
            {
                self.resume_copied(moving).await
            }
            // The name has gone to another file, and so has the reason beside it.
            (Entry::File(_), _) => self.plan_copy(from).await.map(Stage::Copying),
            (_, Entry::File(copy)) if self.is_reservation(&copy, &moving.to).await? => {
                self.take_reservation_back(&moving.to).await?;
                Ok(Stage::InPlace)
            }
            (_, Entry::File(_)) => self.resume_copied(moving).await,
            _ => {
                self.take_reason_back(&moving.to).await?;
                Ok(Stage::InPlace)
            }
        }
    }

    /// Looks at what a copy was to be made of. Where a power cut has kept the reservation of a name
    /// in the staging folder and lost the rename onto it, nothing has come there.
    async fn look_for_more_than_its_name(&mut self, from: &Place) -> Result<Entry, Fault> {
        let found = self.ops.look(from).await?;
        if let Entry::File(look) = found
            && from.area == Area::Staging
            && self.is_reservation(&look, from).await?
        {
            self.ops.remove_own(from).await?;
            self.sources.insert(from.folder());
            return Ok(Entry::Absent);
        }
        Ok(found)
    }

    async fn resume_copied(&mut self, moving: Move) -> Result<Stage, Fault> {
        // A crash may have come before the name was on the disk.
        self.ops
            .ask(Operation::SyncFolder(Side::Target, moving.to.folder()))
            .await?;
        Ok(Stage::Copied(moving))
    }

    // ---- is it what was sent? -------------------------------------------------------

    /// Whether a look shows the version of this filing, as far as looks can tell.
    fn is_version(&self, look: &Look) -> bool {
        look.stamp == self.job.look.stamp && may_be_same_inode(look, &self.job.look)
    }

    /// Before the move. Another stamp is another version. Another inode, ctime or number of
    /// blocks may be: then the bytes decide.
    async fn is_sent_in_place(&self, look: &Look) -> Result<bool, Fault> {
        let sent = &self.job.look;
        if look.stamp != sent.stamp {
            return Ok(false);
        }
        match self.job.sha256 {
            _ if look.is_unmoved(sent) => Ok(true),
            Some(sha256) => self.has_bytes(&self.place(), look, sha256).await,
            // After a restart nothing more is known of what was sent.
            None => Ok(may_be_same_inode(look, sent)),
        }
    }

    /// After the move, which moves the ctime. A server may set the mtime at a late close, and
    /// inode numbers do not last everywhere: then the bytes decide.
    async fn is_sent_behind(&self, look: &Look, at: &Place) -> Result<bool, Fault> {
        let sent = self.at_place.as_ref().unwrap_or(&self.job.look);
        if look.stamp.size != sent.stamp.size {
            return Ok(false);
        }
        if look.stamp == sent.stamp && may_be_same_inode(look, sent) {
            return Ok(true);
        }
        match self.job.sha256 {
            Some(sha256) => Ok(self.ops.digest(at).await? == sha256),
            None => Ok(look.stamp == sent.stamp),
        }
    }

    async fn is_sent_original(&self, look: &Look, from: &Place) -> Result<bool, Fault> {
        if from.area == Area::Watched {
            self.is_sent_in_place(look).await
        } else {
            self.is_sent_behind(look, from).await
        }
    }

    fn is_sent_copy(&self, copied: &Copied) -> bool {
        match self.job.sha256 {
            Some(sha256) => copied.sha256 == sha256,
            None => copied.of.stamp == self.job.look.stamp,
        }
    }

    /// Whether what has the name of the copy is the copy. Its stamp may differ where the file
    /// system keeps coarser times, and what was copied may be a new version; then the bytes
    /// decide.
    async fn is_copy(&self, copy: &Look, original: &Look, moving: &Move) -> Result<bool, Fault> {
        if copy.stamp == self.job.look.stamp {
            return Ok(true);
        }
        let Some(from) = moving.copy_of.as_ref() else {
            return Ok(false);
        };
        Ok(copy.stamp.size == original.stamp.size
            && self.ops.digest(&moving.to).await? == self.ops.digest(from).await?)
    }

    /// Whether what is to be removed is still what was copied. After a restart what lies at its
    /// place under an equal stamp may be a new file: the bytes decide.
    async fn is_original_of(&self, look: &Look, from: &Place, to: &Place) -> Result<bool, Fault> {
        if !self.is_sent_original(look, from).await? {
            return Ok(false);
        }
        if from.area != Area::Watched || self.job.look.ino != 0 {
            return Ok(true);
        }
        let copied = self.ops.digest(to).await?;
        self.has_bytes(from, look, copied).await
    }

    /// Whether the bytes of the file at `at`, which was looked at just now, are those of `sha256`.
    /// They are read again if it is touched meanwhile, three times at most: something that goes on
    /// touching it without changing it must not keep it for ever.
    async fn has_bytes(&self, at: &Place, look: &Look, sha256: [u8; 32]) -> Result<bool, Fault> {
        let mut before = *look;
        for _ in 0..READINGS {
            if self.ops.digest(at).await? != sha256 {
                return Ok(false);
            }
            match self.ops.look(at).await? {
                Entry::File(now) if now.is_unmoved(&before) => return Ok(true),
                Entry::File(now) if now.stamp == look.stamp => before = now,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether a file that took its time to be read is still what it was before.
    async fn is_as_it_was(&self, look: &Look, at: &Place) -> Result<bool, Fault> {
        let now = self.ops.look(at).await?.file();
        Ok(now.is_some_and(|now| now.is_unmoved(look)))
    }

    // ---- what goes with it ----------------------------------------------------------

    /// The reason is there before its file.
    async fn write_reason(&mut self, to: &Place, like: &Place) -> Result<(), Fault> {
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

    async fn ask_reason(&self, to: &Place, letter: DeadLetter, like: &Place) -> Result<(), Fault> {
        let (at, like) = (to.beside(REASON), like.clone());
        let operation = Operation::WriteReason {
            at,
            letter: Box::new(letter),
            like,
        };
        self.ops.ask(operation).await.map(drop)
    }

    /// The file did not go there.
    async fn take_reason_back(&mut self, to: &Place) -> Result<(), Fault> {
        if to.area == Area::DeadLetter {
            self.ops.remove_own(&to.beside(REASON)).await?;
            self.sources.insert(to.folder());
        }
        Ok(())
    }

    /// A marker goes where its file went, unless it is a new one by now.
    async fn file_marker(&mut self, to: Option<&Place>) -> Result<(), Fault> {
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

    // ---- the end --------------------------------------------------------------------

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
        let sources = std::mem::take(&mut self.sources);
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
