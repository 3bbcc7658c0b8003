//! The operations as a machine asks for them, and the names that are promised to files.

use super::disk::{Answer, Copied, Fault, Operation};
use super::{Area, Filing, Place};
use crate::flow::file::{Entry, Look, Rel, Stamp};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// What few files need, in memory of its own, that the machine of each file need not have room for it.
pub(super) fn seldom<T>(future: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    Box::pin(future)
}

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
pub struct Claims {
    owners: BTreeMap<Place, Owner>,
    /// The names of each owner: a release costs no look at those of others.
    places: BTreeMap<Owner, Vec<Place>>,
}

/// To whom a name is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// To this version, from now on.
    Now,
    /// To this version, since an earlier try.
    Before,
    /// To another version.
    ByAnother,
}

/// The version that a name is promised to.
type Owner = (Rel, Stamp);

impl Claims {
    fn claim(&mut self, place: Place, owner: &Owner) {
        let before = self.owners.insert(place.clone(), owner.clone());
        // One that is tried again and again chooses the same names.
        if before.as_ref() != Some(owner) {
            self.places.entry(owner.clone()).or_default().push(place);
        }
    }

    /// Unless it is promised to another version.
    pub(super) fn claim_if_free(&mut self, place: Place, owner: &Owner) {
        if !self.owners.contains_key(&place) {
            self.claim(place, owner);
        }
    }

    /// Whether a name is promised to any version.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.owners.contains_key(place)
    }

    /// Takes one promise back.
    fn take_back(&mut self, place: &Place, owner: &Owner) {
        if self.owners.get(place) == Some(owner) {
            self.owners.remove(place);
        }
        if let Some(places) = self.places.get_mut(owner) {
            places.retain(|other| other != place);
            if places.is_empty() {
                self.places.remove(owner);
            }
        }
    }

    fn release(&mut self, owner: &Owner) {
        for place in self.places.remove(owner).unwrap_or_default() {
            if self.owners.get(&place) == Some(owner) {
                self.owners.remove(&place);
            }
        }
    }
}

impl Ops {
    pub fn new(job: &Filing, desk: Rc<Desk>, claims: Rc<RefCell<Claims>>) -> Ops {
        Ops {
            owner: (job.path.clone(), job.look.stamp),
            desk,
            claims,
        }
    }

    pub async fn ask(&self, operation: Operation) -> Result<Answer, Fault> {
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

    /// Brings onto the disk what was moved before, and then the new name in the folder of `to`. In the watched
    /// folder, whose fsync takes the old names of other files from the disk, in no other order.
    pub async fn sync_new_name(&self, to: &Place) -> Result<(), Fault> {
        self.ask(Operation::SyncNewNames).await?;
        let sync = Operation::SyncNewName(to.folder());
        self.ask(sync).await.map(drop)
    }

    pub async fn rename_over(&self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.ask(Operation::RenameOver(from.clone(), to.clone()))
            .await
            .map(drop)
    }

    pub async fn remove(&self, at: &Place) -> Result<(), Fault> {
        self.ask(Operation::Remove(at.clone())).await.map(drop)
    }

    /// Removes a name that others use as well, if it still is what `known` showed: that it is gone, or
    /// another file, is as good.
    pub async fn remove_if(&self, at: &Place, known: &Look) -> Result<(), Fault> {
        let operation = Operation::RemoveIf(at.clone(), *known);
        let Err(fault) = self.ask(operation).await else {
            return Ok(());
        };
        match self.look(at).await? {
            Entry::File(look) if !look.difference(known).is_change() => Err(fault),
            _ => Ok(()),
        }
    }

    /// Removes a name of the file `known`: in the watched folder, where others may put another one under it,
    /// only if it still is that.
    pub async fn remove_name_of(&self, known: &Look, at: &Place) -> Result<(), Fault> {
        match at.area {
            Area::Watched => self.remove_if(at, known).await,
            Area::Done | Area::DeadLetter | Area::Staging => self.remove(at).await,
        }
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

    /// Has a name promised to this version, unless it is promised to another one. To be called before
    /// it is looked at: else another file, whose operations are carried out meanwhile, might choose
    /// it as well.
    pub fn claim(&self, place: Place) -> Claimed {
        let mut claims = self.claims.borrow_mut();
        match claims.owners.get(&place) {
            Some(owner) if *owner == self.owner => Claimed::Before,
            Some(_) => Claimed::ByAnother,
            None => {
                claims.claim(place, &self.owner);
                Claimed::Now
            }
        }
    }

    /// Takes the promise of a name back.
    pub fn take_back(&self, place: &Place) {
        self.claims.borrow_mut().take_back(place, &self.owner);
    }

    /// The names that are promised to other versions of the same path, and not filed to their end.
    pub fn names_of_other_versions(&self) -> Vec<Place> {
        let claims = self.claims.borrow();
        let (path, stamp) = &self.owner;
        let owners = claims.places.range((path.clone(), Stamp::MIN)..);
        owners
            .take_while(|((of, _), _)| of == path)
            .filter(|((_, of), _)| of != stamp)
            .flat_map(|(_, places)| places.iter().cloned())
            .collect()
    }

    /// Nothing stands in the journal any more that names what was promised to this version.
    pub fn release(&self) {
        self.claims.borrow_mut().release(&self.owner);
    }

    /// Whether a name is promised to another version.
    pub fn is_claimed(&self, place: &Place) -> bool {
        self.claims
            .borrow()
            .owners
            .get(place)
            .is_some_and(|owner| *owner != self.owner)
    }
}

/// Whether two looks may be of the same inode; where a file system has none, any two may.
pub(super) fn may_be_same_inode(one: &Look, other: &Look) -> bool {
    one.ino == 0 || other.ino == 0 || one.ino == other.ino
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::filing::Area;
    use crate::flow::time::Wall;

    fn owner(name: &[u8]) -> Owner {
        let stamp = Stamp {
            size: 1,
            mtime: Wall(1),
        };
        (Rel::new(name), stamp)
    }

    #[test]
    fn a_release_frees_all_names_of_one_version_and_none_of_another() {
        let place = |name: &[u8]| Place::new(Area::Done, Rel::new(name));
        let (one, other) = (owner(b"a"), owner(b"b"));
        let mut claims = Claims::default();
        for name in [&b"a"[..], b"a.1", b"a.1"] {
            claims.claim(place(name), &one);
        }
        claims.claim(place(b"b"), &other);
        // As no version should: what one claims last is its own.
        claims.claim(place(b"a"), &other);
        claims.release(&one);
        let left: Vec<_> = claims.owners.keys().cloned().collect();
        assert_eq!(left, [place(b"a"), place(b"b")]);
        claims.release(&other);
        assert!(claims.owners.is_empty() && claims.places.is_empty());
    }

    #[test]
    fn a_promise_that_is_taken_back_is_free_and_no_other_is() {
        let place = |name: &[u8]| Place::new(Area::Done, Rel::new(name));
        let (one, other) = (owner(b"a"), owner(b"b"));
        let mut claims = Claims::default();
        claims.claim(place(b"a"), &one);
        claims.claim(place(b"a.1"), &one);
        claims.take_back(&place(b"a"), &other);
        assert_eq!(claims.owners.len(), 2);
        claims.take_back(&place(b"a"), &one);
        assert_eq!(claims.places[&one], [place(b"a.1")]);
        claims.take_back(&place(b"a.1"), &one);
        assert!(claims.owners.is_empty() && claims.places.is_empty());
    }

    #[test]
    fn a_version_that_is_tried_again_and_again_remembers_no_name_twice() {
        let mut claims = Claims::default();
        for _ in 0..1_000 {
            claims.claim(Place::new(Area::Done, Rel::new(b"a")), &owner(b"a"));
        }
        assert_eq!(claims.places[&owner(b"a")].len(), 1);
    }
}
