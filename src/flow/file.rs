//! What is known of a file: its name, and what one look at it shows.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::time::Wall;

/// The number of a file that the engine has a record of, for as long as this process lives.
pub type FileNo = u64;

/// A path relative to the watched folder, as bytes, with `/` between its parts.
/// Any byte but NUL and `/` may stand in a part. The watched folder itself is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rel(Arc<[u8]>);

impl Rel {
    /// The watched folder.
    pub fn root() -> Rel {
        Rel(Arc::from(&b""[..]))
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

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &[u8] {
        last_part(&self.0)
    }

    /// The folder it lies in.
    pub fn parent(&self) -> Rel {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(at) => Rel::new(&self.0[..at]),
            None => Rel::root(),
        }
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
        !self.0.is_empty()
            && !self.0.contains(&0)
            && self
                .0
                .split(|&byte| byte == b'/')
                .all(|part| !part.is_empty() && part != b"." && part != b"..")
    }
}

/// What follows the last `/` of a path.
pub fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
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
    pub stamp: Stamp,
    /// Change time; 0 where there is none.
    pub ctime: Wall,
    /// Device and inode; 0 where there are none.
    pub dev: u64,
    pub ino: u64,
    /// Allocated blocks; 0 where they are not known.
    pub blocks: u64,
    pub fs: FsKind,
}

/// What a later look at a file shows beside an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The two are equal.
    None,
    /// Size and mtime stand still, and ctime or the number of blocks has moved: a chmod, a hard
    /// link or a trim does that, and so does a program that puts size and mtime back after it
    /// has written. Only reading the file again tells which it was.
    Suspicion,
    /// It is another version or another file: size, mtime, device or inode differ.
    Change,
}

impl Look {
    /// What `later` shows beside this look.
    pub fn compare(&self, later: &Look) -> Difference {
        if (self.stamp, self.dev, self.ino) != (later.stamp, later.dev, later.ino) {
            Difference::Change
        } else if (self.ctime, self.blocks) != (later.ctime, later.blocks) {
            Difference::Suspicion
        } else {
            Difference::None
        }
    }

    /// Whether this may be the same bytes as in `other`, moved to another name:
    /// a rename changes the ctime, and nothing else.
    pub fn same_but_moved(&self, other: &Look) -> bool {
        self.stamp == other.stamp && self.ino == other.ino
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
    fn what_a_chmod_moves_is_a_suspicion_and_what_a_writer_moves_is_a_change() {
        let look = Look::default();
        let size = |size| Stamp { size, ..look.stamp };
        let mtime = |mtime| Stamp {
            mtime,
            ..look.stamp
        };
        let with = |stamp| Look { stamp, ..look };
        let cases = [
            (look, Difference::None),
            (
                Look {
                    ctime: Wall(1),
                    ..look
                },
                Difference::Suspicion,
            ),
            (Look { blocks: 8, ..look }, Difference::Suspicion),
            (with(size(1)), Difference::Change),
            (with(mtime(Wall(1))), Difference::Change),
            (Look { ino: 1, ..look }, Difference::Change),
            (Look { dev: 1, ..look }, Difference::Change),
        ];
        for (later, difference) in cases {
            assert_eq!(look.compare(&later), difference, "{later:?}");
            assert_eq!(later.compare(&look), difference, "{later:?}");
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
