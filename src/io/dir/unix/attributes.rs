//! What a copy takes over from its file beside the bytes, so that filing opens nothing to others.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Stat, Uid};

use super::access::{Access, READ_AND_WRITE};
use super::acl;
use super::xattr;
use crate::io::dir::kept::Lost;

/// Gives a copy the attributes of its file, and nobody more than he had: user attributes, owner
/// and group, the mode without setuid, setgid and sticky, the access list. Capabilities and
/// labels (`security.*`, `trusted.*`) are not taken over. What cannot be kept is no error; it is
/// returned.
///
/// `to` must have been made with the mode 0600 ([`Dir::create_new`](super::Dir::create_new)). It is
/// to be given its time before, for a file that belongs to another user may not be given one, and
/// to be brought onto the disk after.
///
/// # Errors
/// Whatever `fstat` answers for one of the two. The copy may have some of its attributes then; in
/// no case is it wider than its file.
pub fn copy_attributes(from: &File, to: &File) -> io::Result<Vec<Lost>> {
    let known = acl::access_of(from);
    let has_known_list = known.is_ok();
    let source = match known {
        Ok(access) => access,
        Err(_) => acl::without_known_list(from)?,
    };
    let mut lost = Vec::new();
    // First, for who may not write to a file may not set them either, be it that the mode forbids
    // it or that the file belongs to another user by then. They open nothing to anybody.
    if !xattr::copy_user_attributes(from, to) {
        lost.push(Lost::Attributes);
    }
    let made = hand_over(to, &source)?;
    if made.st_uid != source.owner {
        lost.push(Lost::Owner);
    }
    if made.st_gid != source.group {
        lost.push(Lost::Group);
    }
    let wanted = source.owned_by(made.st_uid, made.st_gid);
    give_rights(to, &wanted);
    let given = match acl::access_of(to) {
        Ok(access) => access,
        Err(_) => acl::by_mode(to)?,
    };
    if !has_known_list || given.named != source.named {
        lost.push(Lost::AccessList);
    }
    if given.mode() != wanted.mode() && given.mode() != wanted.without_list().mode() {
        lost.push(Lost::Mode);
    }
    Ok(lost)
}

/// Gives a file that dirpost writes about another one (a reason, an answer) the rights to that one,
/// but for its owner, which stays dirpost's own user, and for executing it. Nobody may read more
/// than he could. What cannot be kept is no error.
///
/// `to` must have been made with the mode 0600 ([`Dir::create_new`](super::Dir::create_new)).
///
/// # Errors
/// Whatever `fstat` answers for one of the two.
pub fn copy_mode(from: &File, to: &File) -> io::Result<()> {
    let owner = rustix::fs::fstat(to)?.st_uid;
    let source = match acl::access_of(from) {
        Ok(access) => access,
        Err(_) => acl::without_known_list(from)?,
    };
    let made = hand_over(
        to,
        &Access {
            owner,
            ..source.clone()
        },
    )?;
    let mut wanted = source.owned_by(made.st_uid, made.st_gid).without_execute();
    wanted.owner_bits = READ_AND_WRITE;
    give_rights(to, &wanted);
    Ok(())
}

/// Gives `fd` the owner and the group of `source`, or one of the two, as far as that is allowed.
/// What came of it is for a look to tell: some file systems say yes and do nothing.
pub(super) fn hand_over(fd: impl AsFd, source: &Access) -> io::Result<Stat> {
    let (owner, group) = (Uid::from_raw(source.owner), Gid::from_raw(source.group));
    let before = rustix::fs::fstat(&fd)?;
    if (before.st_uid, before.st_gid) == (source.owner, source.group) {
        return Ok(before);
    }
    if rustix::fs::fchown(&fd, Some(owner), Some(group)).is_err() {
        // A member of the group may give a file to it, though not to another user.
        let _ = rustix::fs::fchown(&fd, None, Some(group));
        let _ = rustix::fs::fchown(&fd, Some(owner), None);
    }
    Ok(rustix::fs::fstat(&fd)?)
}

/// Gives `fd`, which nobody but its owner may use so far, these rights. At no moment, and whatever
/// call fails, has anybody more.
pub(super) fn give_rights(fd: impl AsFd, wanted: &Access) {
    // What was inherited from the folder (a default access list) gives nothing as long as the mode
    // gives the group nothing, which is the mask; with a wider mode it would.
    acl::remove(&fd);
    if acl::access_of(&fd).is_ok_and(|access| access.named.is_empty()) {
        chmod(&fd, wanted.without_list().mode());
    }
    if !wanted.named.is_empty() {
        // Where that succeeds it sets the mode as well.
        let _ = acl::set(&fd, wanted);
    }
}

/// Sets the mode, as far as the file system has one. A look tells what came of it.
pub(super) fn chmod(fd: impl AsFd, mode: u32) {
    let _ = rustix::fs::fchmod(fd, Mode::from_raw_mode(mode as _));
}
