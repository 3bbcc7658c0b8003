//! Access lists of NFS 4, as Linux hands them out in the extended attribute `system.nfs4_acl`:
//! the fattr4_acl of RFC 7530, section 6.2.1, in XDR (RFC 4506): a count, then entries of a type,
//! flags, rights and whom it is about, numbers big-endian, texts padded to four bytes.
//!
//! They are not understood here, only told apart: whether a list is about anybody but the owner,
//! the group and everybody, whose rights the mode shows as well. A server that keeps POSIX lists
//! (Linux) shows them so, and a new file inherits one from its folder without any other sign.

use std::os::fd::AsFd;

use super::xattr;

const NAME: &str = "system.nfs4_acl";
/// The type of an entry that refuses rights (ACE4_ACCESS_DENIED_ACE_TYPE).
const REFUSES: u32 = 1;
/// Of the flags: the entry is for what will be made in the folder, not for the folder itself.
const INHERIT_ONLY: u32 = 0x8;
/// Whom the mode is about (RFC 7530, section 6.2.1.5).
const SHOWN_BY_MODE: [&[u8]; 3] = [b"OWNER@", b"GROUP@", b"EVERYONE@"];

/// What a list says of those whom the mode is not about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// There are none, or there is no list.
    Nobody,
    /// Somebody is given rights that the mode does not show.
    Given,
    /// Somebody is refused what others have. Also where the list cannot be read.
    Refused,
}

/// What the list of `fd` says of those whom the mode is not about.
pub(super) fn named(fd: impl AsFd) -> Named {
    match xattr::get(fd, NAME) {
        Ok(None) => Named::Nobody,
        Ok(Some(list)) => entries(&list).map_or(Named::Refused, |entries| named_in(&entries)),
        Err(_) => Named::Refused,
    }
}

fn named_in(entries: &[Entry]) -> Named {
    let hidden: Vec<&Entry> = entries.iter().filter(|entry| !entry.is_shown()).collect();
    if hidden.is_empty() {
        Named::Nobody
    } else if hidden.iter().any(|entry| entry.kind == REFUSES) {
        Named::Refused
    } else {
        Named::Given
    }
}

/// Takes out of the list who has rights of his own.
pub(super) fn remove_named(fd: impl AsFd) {
    let Ok(Some(list)) = xattr::get(&fd, NAME) else {
        return;
    };
    let Some(mut entries) = entries(&list) else {
        return;
    };
    let before = entries.len();
    entries.retain(Entry::is_shown);
    if entries.len() < before {
        // A look tells whether it has been done.
        let _ = xattr::set(&fd, NAME, &encode(&entries));
    }
}

/// One entry, as it stands in the list.
struct Entry<'a> {
    bytes: &'a [u8],
    kind: u32,
    flags: u32,
    who: &'a [u8],
}

impl Entry<'_> {
    fn is_shown(&self) -> bool {
        self.flags & INHERIT_ONLY != 0 || SHOWN_BY_MODE.contains(&self.who)
    }
}

/// The entries of a list; `None` if it is not one.
fn entries(list: &[u8]) -> Option<Vec<Entry<'_>>> {
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let count = number(list, 0)?;
    let mut rest = &list[4..];
    let mut entries = Vec::new();
    for _ in 0..count {
        let (kind, flags) = (number(rest, 0)?, number(rest, 4)?);
        let length = usize::try_from(number(rest, 12)?).ok()?;
        let who = rest.get(16..)?.get(..length)?;
        let end = 16 + length.next_multiple_of(4);
        let bytes = rest.get(..end)?;
        entries.push(Entry {
            bytes,
            kind,
            flags,
            who,
        });
        rest = &rest[end..];
    }
    Some(entries)
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let bytes = entries.iter().flat_map(|entry| entry.bytes);
    count.to_be_bytes().iter().chain(bytes).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, &[u8])]) -> Vec<u8> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(flags, who)| (0, *flags, *who))
            .collect();
        list_of(&entries)
    }

    fn list_of(entries: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = (entries.len() as u32).to_be_bytes().to_vec();
        for (kind, flags, who) in entries {
            for number in [*kind, *flags, 0x0016_0087, who.len() as u32] {
                bytes.extend(number.to_be_bytes());
            }
            bytes.extend(*who);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn who_is_named_is_taken_out_and_everything_else_stays_as_it_was() {
        let mixed = list(&[
            (0, b"OWNER@"),
            (0, b"3000@example.net"),
            (0x40, b"GROUP@"),
            (0xb, b"4000"),
            (0x40, b"4000"),
            (0, b"EVERYONE@"),
        ]);
        let mut kept = entries(&mixed).unwrap();
        kept.retain(Entry::is_shown);
        let expected = list(&[
            (0, b"OWNER@"),
            (0x40, b"GROUP@"),
            (0xb, b"4000"),
            (0, b"EVERYONE@"),
        ]);
        assert_eq!(encode(&kept), expected);
    }

    #[test]
    fn who_is_refused_is_told_from_who_is_given_rights() {
        let named = |kind, flags, who| {
            let list = list_of(&[(0, 0, b"OWNER@"), (kind, flags, who), (1, 0, b"EVERYONE@")]);
            named_in(&entries(&list).unwrap())
        };
        assert_eq!(named(1, 0, b"GROUP@"), Named::Nobody);
        assert_eq!(named(0, 0, b"3000"), Named::Given);
        assert_eq!(named(1, 0, b"3000"), Named::Refused);
        assert_eq!(named(1, INHERIT_ONLY, b"3000"), Named::Nobody);
    }

    #[test]
    fn a_list_of_a_linux_server_is_read() {
        // Of a file with `setfacl -m g::-,u:3000:r`, mode 0640, from an NFS 4.2 mount (Linux 6.1).
        let hex = "00000004000000000000000000160187000000064f574e4552400000000000000000000000120081\
                   00000004333030300000000000000000001200800000000647524f55504000000000000000000000\
                   001200800000000945564552594f4e4540000000";
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let list: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let entries = entries(&list).unwrap();
        let who: Vec<_> = entries.iter().map(|entry| entry.who).collect();
        assert_eq!(who, [&b"OWNER@"[..], b"3000", b"GROUP@", b"EVERYONE@"]);
        assert_eq!(named_in(&entries), Named::Given);
        assert_eq!(encode(&entries), list);
    }

    #[test]
    fn a_list_that_is_cut_or_absurd_is_no_list() {
        let whole = list(&[(0, b"OWNER@"), (0, b"GROUP@")]);
        assert!(entries(&whole).is_some());
        for end in 0..whole.len() {
            assert!(entries(&whole[..end]).is_none(), "{end} bytes");
        }
        assert!(entries(&[0xff; 64]).is_none());
    }
}
