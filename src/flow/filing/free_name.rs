//! A free name for a file that is filed away, promised to it before it is looked at.

use super::Place;
use super::disk::Fault;
use super::names::{Companions, NAME_MAX, numbered};
use super::ops::{Claimed, Ops};
use crate::flow::file::Entry;

/// A name in `folder` that nothing has and that is promised to no other file of the batch: `name`,
/// or `name` with a number before its extension. What lies beside it is free as well. All of these
/// names are promised from now on.
///
/// # Errors
/// A name could not be looked at.
pub(super) async fn free(
    ops: &Ops,
    folder: &Place,
    name: &[u8],
    beside: Companions<'_>,
) -> Result<Place, Fault> {
    let search = Search {
        ops,
        folder,
        name,
        beside,
        room: NAME_MAX.saturating_sub(beside.longest_ending()),
    };
    search.run().await
}

struct Search<'a> {
    ops: &'a Ops,
    folder: &'a Place,
    name: &'a [u8],
    beside: Companions<'a>,
    /// Bytes that the name may have.
    room: usize,
}

/// A name that is promised to a file, with what lies beside it.
struct Promised {
    place: Place,
    /// Which of [`Companions::names`] were not before, a bit each.
    new: u8,
}

impl Search<'_> {
    async fn run(&self) -> Result<Place, Fault> {
        for number in 0..8 {
            if let Some(promised) = self.promise(number).await? {
                return Ok(promised.place);
            }
        }
        // A name that comes every day: the end of the numbers is looked for in growing strides,
        // and then between the last that was taken and the first that was free.
        let (mut taken, mut free) = (7, 16);
        let mut found = loop {
            match self.promise(free).await? {
                Some(promised) => break promised,
                None => (taken, free) = (free, free * 2),
            }
        };
        while free - taken > 1 {
            let middle = taken + (free - taken) / 2;
            match self.promise(middle).await {
                Ok(Some(promised)) => {
                    free = middle;
                    self.take_back(&std::mem::replace(&mut found, promised));
                }
                Ok(None) => taken = middle,
                Err(fault) => {
                    self.take_back(&found);
                    return Err(fault);
                }
            }
        }
        Ok(found.place)
    }

    /// The name with this number, if it is free.
    async fn promise(&self, number: u64) -> Result<Option<Promised>, Fault> {
        let place = self.folder.join(&numbered(self.name, number, self.room));
        let mut promised = Promised { place, new: 0 };
        for (at, name) in self.beside.names(&promised.place).enumerate() {
            match self.ops.claim(name) {
                Claimed::Now => promised.new |= 1 << at,
                Claimed::Before => {}
                Claimed::ByAnother => {
                    self.take_back(&promised);
                    return Ok(None);
                }
            }
        }
        for name in self.beside.names(&promised.place) {
            match self.ops.look(&name).await {
                Ok(Entry::Absent) => {}
                other => {
                    self.take_back(&promised);
                    return other.map(|_| None);
                }
            }
        }
        Ok(Some(promised))
    }

    /// What was promised for it is free again, but for what had been before.
    fn take_back(&self, promised: &Promised) {
        for (at, name) in self.beside.names(&promised.place).enumerate() {
            if promised.new & 1 << at != 0 {
                self.ops.take_back(&name);
            }
        }
    }
}
