//! Giving a file another name without replacing anything, and finding out what an error has left
//! behind.
//!
//! Where the file system has no rename that replaces nothing (NFS, the BSDs, Windows), there are
//! two other ways, and which one is safe depends on who else may use the *old* name:
//!
//! - From the watched folder into a folder of dirpost's own: an empty file reserves the new name,
//!   and the file is renamed over it. The rename takes whatever lies under the old name at that
//!   moment, so nothing that a writer puts there is ever removed; a look behind it tells what it
//!   was. For a moment the new name shows an empty file.
//! - From a folder of dirpost's own back into the watched one, where nobody but the writer may
//!   make names: a second name, and then the removal of the first, which nobody else touches.

use super::disk::{Fault, FaultKind};
use super::ops::{Ops, may_be_same_inode, seldom};
use super::{Area, Place};
use crate::flow::file::{Entry, Look};

/// How a move ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It lies under the new name, and under the old one no more.
    Done,
    /// Something else has the new name.
    Taken,
    /// The two names are on different file systems.
    CrossesDevices,
    /// It lies under neither name.
    Gone,
    /// It still lies under its old name. It may lie under the new one as well: then the two are
    /// names of one file.
    NotDone(Fault),
    /// The file system has no way to do it that would replace nothing.
    NoWay(Fault),
}

/// How the new name may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// In a folder that only dirpost makes files in: the name may be reserved.
    Own,
    /// In the watched folder.
    Foreign,
}

/// What is to get another name, and which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation<'a> {
    /// Its name.
    pub from: &'a Place,
    /// The new one.
    pub to: &'a Place,
    /// How it was just before, where others may put something else under its name meanwhile.
    pub look: Option<&'a Look>,
    /// How the new name may be taken.
    pub target: Target,
}

impl<'a> Relocation<'a> {
    /// Into a folder of dirpost's own.
    pub fn into_own(from: &'a Place, to: &'a Place, look: Option<&'a Look>) -> Relocation<'a> {
        Relocation {
            from,
            to,
            look,
            target: Target::Own,
        }
    }
}

/// Moves a file.
///
/// # Errors
/// What is there could not be looked at after an operation that may have been done: nothing is
/// known, and nothing was undone.
pub(super) async fn relocate(ops: &Ops, file: Relocation<'_>) -> Result<Moved, Fault> {
    match ops.rename(file.from, file.to).await {
        Ok(()) => Ok(Moved::Done),
        Err(fault) if fault.kind == FaultKind::Unsupported => match file.target {
            Target::Own => seldom(by_reservation(ops, file.from, file.to)).await,
            Target::Foreign => seldom(by_link(ops, file)).await,
        },
        Err(fault) => seldom(find_out(ops, file, fault)).await,
    }
}

/// By a second name and the removal of the first.
async fn by_link(ops: &Ops, file: Relocation<'_>) -> Result<Moved, Fault> {
    match ops.link(file.from, file.to).await {
        Ok(()) => remove_first_name(ops, file.from, file.to).await,
        Err(fault) if fault.kind == FaultKind::Unsupported => Ok(Moved::NoWay(fault)),
        Err(fault) => find_out(ops, file, fault).await,
    }
}

/// Two names of one file have been made, or found: the first one goes, if it still is that.
///
/// # Errors
/// See [`relocate`].
pub(super) async fn remove_first_name(ops: &Ops, from: &Place, to: &Place) -> Result<Moved, Fault> {
    // Somebody may have put another version under the first name since.
    let first = match (ops.look(from).await?, ops.look(to).await?) {
        (Entry::File(first), Entry::File(second)) if first.is_same_file(&second) => first,
        (Entry::File(first), Entry::File(_)) if from.area != Area::Watched => {
            // What is under the first name is the file, for nobody else writes there; its second
            // name has gone to another one, unless two names of one file have inodes of their own
            // (SMB with noserverino).
            if !have_one_content(ops, from, to).await? {
                return Ok(Moved::Taken);
            }
            first
        }
        (_, Entry::File(_)) => return Ok(Moved::Done),
        (Entry::File(_), _) => return Ok(Moved::Taken),
        _ => return Ok(Moved::Gone),
    };
    if from.area != Area::Watched
        && to.area == Area::Watched
        && let Err(fault) = ops.sync_new_name(to).await
    {
        // After a kill nobody would know that the one name left is not on the disk.
        return Ok(Moved::NotDone(fault));
    }
    let Err(fault) = ops.remove_name_of(&first, from).await else {
        return Ok(Moved::Done);
    };
    match (ops.look(from).await?, ops.look(to).await?) {
        (Entry::File(first), Entry::File(second)) if first.is_same_file(&second) => {
            if fault.kind == FaultKind::Refused {
                // It certainly was not removed, and will not be soon: it is under its first name
                // only again. Where this fails as well, it keeps both names until the next try.
                drop(ops.remove_name_of(&second, to).await);
            }
            Ok(Moved::NotDone(fault))
        }
        (Entry::File(_), Entry::Absent | Entry::NotAFile) => Ok(Moved::NotDone(fault)),
        (Entry::File(_), _) if from.area != Area::Watched => Ok(Moved::NotDone(fault)),
        (_, Entry::File(_)) => Ok(Moved::Done),
        _ => Ok(Moved::Gone),
    }
}

/// Whether the files at two names have one stamp and one content. Of one file whose writer goes on
/// between two looks these tell different stamps: then it is looked at again, three times at most.
async fn have_one_content(ops: &Ops, one: &Place, other: &Place) -> Result<bool, Fault> {
    for _ in 0..3 {
        let (first, second) = (ops.look(one).await?.file(), ops.look(other).await?.file());
        let stamps = (first.map(|look| look.stamp), second.map(|look| look.stamp));
        if stamps.0 == stamps.1 && ops.digest(one).await? == ops.digest(other).await? {
            return Ok(stamps.0.is_some());
        }
    }
    Ok(false)
}

/// By an empty file that takes the new name, and a rename over that.
async fn by_reservation(ops: &Ops, from: &Place, to: &Place) -> Result<Moved, Fault> {
    let reserved = match ops.reserve(to).await {
        Ok(look) => look,
        Err(fault) if fault.kind == FaultKind::Exists => return Ok(Moved::Taken),
        Err(fault) if fault.kind != FaultKind::Unclear => return Ok(Moved::NotDone(fault)),
        // The name was free and is dirpost's to give: an empty file there is the one asked for.
        Err(fault) => match ops.look(to).await? {
            Entry::File(look) if look.stamp.size == 0 => look,
            Entry::Absent => return Ok(Moved::NotDone(fault)),
            _ => return Ok(Moved::Taken),
        },
    };
    rename_over_reserved(ops, from, to, &reserved).await
}

/// Renames over an empty file that was made for it.
///
/// # Errors
/// See [`relocate`].
async fn rename_over_reserved(
    ops: &Ops,
    from: &Place,
    to: &Place,
    reserved: &Look,
) -> Result<Moved, Fault> {
    let Err(fault) = ops.rename_over(from, to).await else {
        return Ok(Moved::Done);
    };
    let is_reserved = |entry: Entry| {
        entry
            .file()
            .is_some_and(|look| look.stamp == reserved.stamp && may_be_same_inode(&look, reserved))
    };
    let (first, second) = (ops.look(from).await?, ops.look(to).await?);
    match (first, second) {
        (_, Entry::Absent | Entry::NotAFile) if first.file().is_none() => Ok(Moved::Gone),
        (_, Entry::Absent | Entry::NotAFile) => Ok(Moved::NotDone(fault)),
        (_, second) if is_reserved(second) => {
            // It is empty and dirpost's own, and the file does not lie there. Where it cannot be
            // removed, the next try finds it.
            ops.remove_own(to).await?;
            match first.file() {
                Some(_) if fault.kind == FaultKind::CrossesDevices => Ok(Moved::CrossesDevices),
                Some(_) => Ok(Moved::NotDone(fault)),
                None => Ok(Moved::Gone),
            }
        }
        _ => Ok(Moved::Done),
    }
}

/// After a fault: what is under the two names says whether it was done all the same.
async fn find_out(ops: &Ops, file: Relocation<'_>, fault: Fault) -> Result<Moved, Fault> {
    let Relocation { from, to, look, .. } = file;
    match fault.kind {
        FaultKind::CrossesDevices => return Ok(Moved::CrossesDevices),
        FaultKind::Refused | FaultKind::Stopped | FaultKind::Unsupported | FaultKind::Journal => {
            return Ok(Moved::NotDone(fault));
        }
        FaultKind::Exists | FaultKind::Unclear => {}
    }
    match (ops.look(from).await?, ops.look(to).await?) {
        (Entry::File(first), Entry::File(second)) if first.is_same_file(&second) => {
            remove_first_name(ops, from, to).await
        }
        (Entry::File(_), Entry::Absent) => Ok(Moved::NotDone(fault)),
        // Another version has come under the old name since; so what has the new one is the file,
        // for that name was free.
        (Entry::File(first), Entry::File(_))
            if look.is_some_and(|look| {
                look.stamp != first.stamp || !may_be_same_inode(look, &first)
            }) =>
        {
            Ok(Moved::Done)
        }
        (Entry::File(_), _) => Ok(Moved::Taken),
        // The name was free when it was written down, and the file is not under its old one.
        (_, Entry::File(_)) => Ok(Moved::Done),
        _ => Ok(Moved::Gone),
    }
}
