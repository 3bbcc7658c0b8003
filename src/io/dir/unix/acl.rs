//! POSIX access lists as Linux hands them out, in the extended attribute
//! `system.posix_acl_access` (linux/posix_acl_xattr.h): a version, then entries of a tag, the
//! rights and an id, little-endian, in the order of their tags and ids.

// The types of stat's fields differ from platform to platform.
#![allow(clippy::unnecessary_cast)]

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::access::{Access, Named, Who};
use super::nfs4_acl;
use super::xattr;

const NAME: &str = "system.posix_acl_access";
const VERSION: u32 = 2;
const ENTRY: usize = 8;
/// The id of an entry that names nobody.
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The rights that the mode and the access list of `fd` give.
///
/// # Errors
/// Whatever `fstat` and `fgetxattr` answer, but for what says that there is no list;
/// `InvalidData` if there is one that is not understood.
pub(super) fn access_of(fd: impl AsFd) -> io::Result<Access> {
    let by_mode = by_mode(&fd)?;
    match xattr::get(&fd, NAME) {
        Ok(Some(list)) => decode(by_mode, &list),
        Ok(None) if nfs4_acl::named(&fd) != nfs4_acl::Named::Nobody => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its access list is one of NFS 4",
        )),
        Ok(None) => Ok(by_mode),
        Err(err) => Err(err.into()),
    }
}

/// The rights that the mode of `fd` shows. Where there is an access list, its mask stands for the
/// group.
///
/// # Errors
/// Whatever `fstat` answers.
pub(super) fn by_mode(fd: impl AsFd) -> io::Result<Access> {
    let stat = rustix::fs::fstat(&fd)?;
    Ok(Access::from_mode(
        stat.st_uid,
        stat.st_gid,
        stat.st_mode as u32,
    ))
}

/// The rights to what has an access list that is not understood: what its mode shows for the group
/// may be those of others than the group, and somebody may have less than everybody.
///
/// # Errors
/// Whatever `fstat` answers.
pub(super) fn without_known_list(fd: impl AsFd) -> io::Result<Access> {
    let mut access = by_mode(&fd)?;
    let is_given_only = matches!(xattr::get(&fd, NAME), Ok(None))
        && nfs4_acl::named(&fd) != nfs4_acl::Named::Refused;
    if !is_given_only {
        access.other_bits = 0;
    }
    access.group_bits &= access.other_bits;
    Ok(access)
}

/// Takes the access list away that a new file or folder has inherited. The mode stays.
pub(super) fn remove(fd: impl AsFd) {
    // Whether there is one left is for a look to tell.
    let _ = xattr::remove(&fd, NAME);
    nfs4_acl::remove_named(&fd);
}

/// Gives `fd` the access list of `access`, and with it the mode.
///
/// # Errors
/// Whatever `fsetxattr` answers.
pub(super) fn set(fd: impl AsFd, access: &Access) -> Result<(), Errno> {
    xattr::set(fd, NAME, &encode(access))
}

fn decode(by_mode: Access, list: &[u8]) -> io::Result<Access> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "its access list cannot be read");
    let (version, entries) = list.split_at_checked(4).ok_or_else(broken)?;
    if version != VERSION.to_le_bytes() || entries.len() % ENTRY != 0 {
        return Err(broken());
    }
    let mut access = by_mode;
    for entry in entries.chunks_exact(ENTRY) {
        let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let id = u32::from(number(4)) | u32::from(number(6)) << 16;
        let bits = (number(2) & 7) as u8;
        match number(0) {
            USER_OBJ => access.owner_bits = bits,
            GROUP_OBJ => access.group_bits = bits,
            OTHER => access.other_bits = bits,
            MASK => access.mask = Some(bits),
            tag @ (USER | GROUP) => {
                let who = if tag == USER {
                    Who::User(id)
                } else {
                    Who::Group(id)
                };
                access.named.push(Named { who, bits });
            }
            _ => return Err(broken()),
        }
    }
    Ok(access)
}

fn encode(access: &Access) -> Vec<u8> {
    let mut entries = vec![
        (USER_OBJ, access.owner_bits, NO_ID),
        (GROUP_OBJ, access.group_bits, NO_ID),
        (OTHER, access.other_bits, NO_ID),
    ];
    if let Some(mask) = access.mask {
        entries.push((MASK, mask, NO_ID));
    }
    for entry in &access.named {
        entries.push(match entry.who {
            Who::User(user) => (USER, entry.bits, user),
            Who::Group(group) => (GROUP, entry.bits, group),
        });
    }
    entries.sort_unstable_by_key(|&(tag, _, id)| (tag, id));
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(u16::from(bits).to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Access {
        Access {
            mask: Some(6),
            named: vec![
                Named {
                    who: Who::User(70_000),
                    bits: 4,
                },
                Named {
                    who: Who::Group(3),
                    bits: 7,
                },
            ],
            ..Access::from_mode(1, 2, 0o640)
        }
    }

    #[test]
    fn a_list_is_read_back_as_it_was_written() {
        let by_mode = Access::from_mode(1, 2, 0o777);
        assert_eq!(decode(by_mode, &encode(&some())).unwrap(), some());
    }

    #[test]
    fn a_list_that_is_cut_or_strange_is_an_error_and_no_empty_list() {
        let list = encode(&some());
        let by_mode = || Access::from_mode(1, 2, 0o777);
        for end in (0..list.len()).filter(|end| end % ENTRY != 4) {
            assert!(decode(by_mode(), &list[..end]).is_err(), "{end} bytes");
        }
        for at in [0, 4] {
            let mut strange = list.clone();
            strange[at] = 0x40;
            assert!(decode(by_mode(), &strange).is_err(), "byte {at}");
        }
    }
}
