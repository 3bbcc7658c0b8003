//! What is known of a file: its name, and what one look at it shows.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::time::Wall;

/// The number of a record that the engine keeps of a file. Never used again in the same process,
/// and without meaning in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileNo(pub u64);

impl FileNo {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> FileNo {
        FileNo(self.0 + 1)
    }
}

/// A path relative to the watched folder, as bytes, with `/` between its parts.
/// Any byte but NUL and `/` may stand in a part. The watched folder itself is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rel(Arc<[u8]>);

impl Rel {
    /// The watched folder.
    pub fn root() -> Rel {
        // Allocates nothing, in contrast to an empty slice that is copied.
        Rel(Arc::default())
    }

    /// Takes `bytes` as they are.
    pub fn new(bytes: &[u8]) -> Rel {
        Rel(Arc::from(bytes))
    }

    /// The entry `name` of this folder.
    pub fn join(&self, name: &[u8]) -> Rel {
        if self.0.is_empty() {
            return Rel::new(name);
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Rel(Arc::from(bytes))
    }

    /// How the entry `name` of this folder compares with `other`, byte by byte.
    pub fn cmp_entry(&self, name: &[u8], other: &Rel) -> Ordering {
        let separator: &[u8] = if self.0.is_empty() { b"" } else { b"/" };
        let entry = self.0.iter().chain(separator).chain(name);
        entry.cmp(other.0.iter())
    }

    /// The path as the file system spells it, which need not be UTF-8; parts are joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &[u8] {
        self.0
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or(&self.0)
    }

    /// The folder it lies in.
    pub fn parent(&self) -> Rel {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(at) => Rel::new(&self.0[..at]),
            None => Rel::root(),
        }
    }

    /// Whether it lies in `folder`, at any depth.
    pub fn is_below(&self, folder: &Rel) -> bool {
        let rest = self.0.strip_prefix(&*folder.0);
        rest.is_some_and(|rest| match folder.0.is_empty() {
            true => !rest.is_empty(),
            false => rest.first() == Some(&b'/'),
        })
    }

    /// From the outermost folder to the name.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Whether every part is a plain name: neither empty, `.` nor `..`, and no NUL.
    /// What is read from a file on disk must pass this before it is used as a path.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0)
    }
}

/// What [`Rel::is_plain`] says of a path that is still bytes.
pub fn is_plain(path: &[u8]) -> bool {
    !path.contains(&0)
        && path
            .split(|&byte| byte == b'/')
            .all(|part| !part.is_empty() && part != b"." && part != b"..")
}

/// What follows the last `/` of a path.
pub fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// The name without what stands behind its last dot; all of it where that is its only dot, at its
/// beginning, or where there is none.
pub fn stem(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// For people: bytes that are not UTF-8 and control characters are percent-encoded,
/// so that a name cannot forge a line of the log.
impl fmt::Display for Rel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::flow::escape::escape(&self.0))
    }
}

impl fmt::Debug for Rel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rel({self})")
    }
}

/// Escaped, as in the log.
impl Serialize for Rel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::flow::escape::escape(&self.0))
    }
}

/// Only what is plain: what stands in a file leads nowhere outside.
impl<'de> Deserialize<'de> for Rel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rel, D::Error> {
        let path = Rel::new(&crate::flow::escape::unescape(&String::deserialize(
            deserializer,
        )?));
        if path.is_plain() {
            Ok(path)
        } else {
            Err(D::Error::custom("it is no plain relative path"))
        }
    }
}

/// Size and modification time: with the path, the identity of a version of a file
/// that outlives a process and a remount. Compared with `!=` only, never "newer than".
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: Wall,
}

/// Where a file lies, as far as that matters for telling when it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FsKind {
    /// A local file system whose ctime no program can set, on this machine's clock.
    Local,
    /// A local one without such a ctime (FAT, Windows).
    LocalNoCtime,
    /// A network file system, or one that is not known.
    #[default]
    Share,
}

/// One look at a file. Everything beside the stamp is for this process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Look {
    /// Size and mtime, which tell one version of a file from another.
    pub stamp: Stamp,
    /// Change time; 0 where there is none.
    pub ctime: Wall,
    /// Device and inode; 0 where there are none.
    pub dev: u64,
    /// The inode on that device; 0 where there is none.
    pub ino: u64,
    /// Allocated blocks of 512 bytes; 0 where they are not known.
    pub blocks: u64,
    /// What kind of file system it lies on, which says how far ctime can be trusted.
    pub fs: FsKind,
    /// What is left of ctime, device, inode and blocks (all 0 then) in a look that a listing has
    /// kept; `None` in one that was just made.
    pub faded: Option<Fingerprint>,
}

/// What a listing keeps of a look beside its stamp: 32 bits made of ctime, device, inode and blocks.
/// Two looks at a file to which nothing has happened have the same one; two others do once in 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fingerprint(pub u32);

impl Stamp {
    /// No stamp is less.
    pub const MIN: Stamp = Stamp {
        size: 0,
        mtime: Wall(i64::MIN),
    };
    /// No stamp is greater.
    pub const MAX: Stamp = Stamp {
        size: u64::MAX,
        mtime: Wall(i64::MAX),
    };
}

/// How a look differs from an earlier one at the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not in anything that says something of the content.
    None,
    /// Size and mtime stand still, ctime, blocks or the inode's number do not: a chmod or a hard link
    /// does that, and so does a program that puts size and mtime back after writing.
    Suspicion,
    /// It is another file, with the same size and mtime.
    Replaced,
    /// Size or mtime differ.
    Version,
}

impl Difference {
    /// Whether it is another version, or another file.
    pub fn is_change(self) -> bool {
        matches!(self, Difference::Replaced | Difference::Version)
    }
}

impl Look {
    /// How this look differs from an `earlier` one at the same name.
    ///
    /// Another inode is another file. Numbers do not last everywhere, though (FAT, some SMB and
    /// FUSE file systems make them up): where the ctime, which every way of putting another file
    /// there sets or brings along, is the same, another number is only a suspicion.
    ///
    /// Of a look that a listing has kept no more is known than its fingerprint, so that whatever
    /// differs is a suspicion.
    pub fn difference(&self, earlier: &Look) -> Difference {
        if self.stamp != earlier.stamp {
            return Difference::Version;
        }
        if self.faded.is_some() || earlier.faded.is_some() {
            return if self.fingerprint() == earlier.fingerprint() {
                Difference::None
            } else {
                Difference::Suspicion
            };
        }
        let both = |ours: i64, theirs: i64| ours != 0 && theirs != 0;
        let has_ctimes = both(self.ctime.0, earlier.ctime.0);
        let has_inodes = self.ino != 0 && earlier.ino != 0;
        let is_same_inode = (self.dev, self.ino) == (earlier.dev, earlier.ino);
        let is_same_ctime = !has_ctimes || self.ctime == earlier.ctime;
        if has_inodes && !is_same_inode {
            return if has_ctimes && is_same_ctime {
                Difference::Suspicion
            } else {
                Difference::Replaced
            };
        }
        if is_same_ctime && self.blocks == earlier.blocks {
            Difference::None
        } else {
            Difference::Suspicion
        }
    }

    /// What a listing keeps of it beside the stamp.
    pub fn fingerprint(&self) -> Fingerprint {
        if let Some(print) = self.faded {
            return print;
        }
        let parts = [
            self.ctime.0.cast_unsigned(),
            self.dev,
            self.ino,
            self.blocks,
        ];
        // The finalizer of MurmurHash3 between the parts: each bit of a part moves half of the result.
        let mixed = parts.into_iter().fold(0u64, |hash, part| {
            let mut mixed = (hash ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
            mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
            mixed ^ (mixed >> 33)
        });
        Fingerprint((mixed >> 32) as u32)
    }

    /// A look at which a listing has kept `stamp` and `print`, on a file system of kind `fs`.
    pub fn faded(stamp: Stamp, print: Fingerprint, fs: FsKind) -> Look {
        Look {
            stamp,
            fs,
            faded: Some(print),
            ..Look::default()
        }
    }

    /// Whether both are looks at one file under two names, or at two moments.
    pub fn is_same_file(&self, other: &Look) -> bool {
        self.ino != 0 && (self.dev, self.ino) == (other.dev, other.ino)
    }

    /// Whether nothing at all has happened to the file between the two looks, as far as looks can
    /// tell: neither to its content nor to its owner, mode, names or attributes.
    pub fn is_unmoved(&self, other: &Look) -> bool {
        self.stamp == other.stamp
            && self.ino == other.ino
            && self.ctime == other.ctime
            && self.blocks == other.blocks
    }
}

/// What a look found under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing has this name.
    Absent,
    /// Something that is no regular file: a folder, a link, a FIFO, a socket or a device.
    NotAFile,
    /// A regular file, and what the look showed of it.
    File(Look),
}

impl Entry {
    /// The look at the regular file, if it is one.
    pub fn file(self) -> Option<Look> {
        match self {
            Entry::File(look) => Some(look),
            Entry::Absent | Entry::NotAFile => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_name_take_a_path_apart_and_join_puts_it_together() {
        let path = Rel::new(b"a/b/c.csv");
        assert_eq!(path.parent().join(path.name()), path);
        assert_eq!(Rel::root().join(b"x").parent(), Rel::root());
        assert_eq!(path.parts().count(), 3);
    }

    #[test]
    fn what_moves_between_two_looks_says_whether_it_is_another_version_or_only_suspicious() {
        let earlier = Look {
            stamp: Stamp {
                size: 10,
                mtime: Wall(5),
            },
            ctime: Wall(5),
            dev: 1,
            ino: 7,
            blocks: 8,
            fs: FsKind::Share,
            faded: None,
        };
        type Change = fn(&mut Look);
        let cases: [(Change, Difference); 11] = [
            (|_| {}, Difference::None),
            // Smaller and older as well.
            (|it| it.stamp.size = 9, Difference::Version),
            (|it| it.stamp.mtime = Wall(4), Difference::Version),
            (|it| it.ctime = Wall(6), Difference::Suspicion),
            (|it| it.blocks = 16, Difference::Suspicion),
            (|it| it.ino = 8, Difference::Suspicion),
            (|it| (it.ino, it.ctime) = (8, Wall(6)), Difference::Replaced),
            (|it| (it.dev, it.ctime) = (2, Wall(6)), Difference::Replaced),
            // Where there is no ctime, or no inode, it says nothing.
            (|it| it.ctime = Wall(0), Difference::None),
            (|it| (it.ino, it.ctime) = (8, Wall(0)), Difference::Replaced),
            (|it| (it.dev, it.ino) = (0, 0), Difference::None),
        ];
        for (change, difference) in cases {
            let mut look = earlier;
            change(&mut look);
            assert_eq!(look.difference(&earlier), difference, "{look:?}");
            assert_eq!(earlier.difference(&look), difference, "{look:?}");
        }
    }

    #[test]
    fn a_path_that_leads_outside_is_not_plain() {
        for bad in [
            &b""[..],
            b"..",
            b"a/../b",
            b"/etc",
            b"a//b",
            b"a/",
            b"a/.",
            b"a\0b",
        ] {
            assert!(!Rel::new(bad).is_plain(), "{bad:?}");
        }
        assert!(Rel::new(b"a/..b/c..").is_plain());
    }
}
