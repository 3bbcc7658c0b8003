//! Folders held open, and files opened in them: all that touches the file system by name.
//!
//! A [`Dir`] is a handle, not a path. What is opened below it is opened part by part
//! without following a symbolic link anywhere, so that nobody who may write to the watched
//! folder can lead dirpost out of it, also not by a swap between two calls. FIFOs, sockets
//! and devices are opened in no way that blocks, and are not read.
//!
//! This is also the one place where platforms differ in how they name and open files, and in
//! whose they are. Windows has no handles to open things below; there each part is looked at on
//! the way.

mod kept;
#[cfg(not(unix))]
mod other;
mod own_file;
#[cfg(unix)]
mod unix;

use std::io;
use std::path::Path;

use crate::flow::file::{Look, Rel};

#[cfg(not(unix))]
use self::other as system;
#[cfg(unix)]
use self::unix as system;

pub use self::kept::{GroupRights, Lost, Made, Why, Wider};
pub use self::own_file::{DRAFT, Durability, draft_name};
pub use self::system::{
    Dir, bytes_of, copy_attributes, copy_mode, file_look, link_is_unsupported, name_of,
    rename_is_unsupported,
};

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

/// How a rename without replacing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// It has its new name.
    Done,
    /// There is something at the target.
    Taken,
    /// The target is on another file system.
    CrossesDevices,
}

impl Dir {
    /// Renames `from` in this folder to `to` in `target`, replacing nothing.
    ///
    /// Where the file system has no such rename (NFS, BSDs, Windows): by a link and an
    /// unlink. Where it has no links either, and `target` is dirpost's own (`own`): by
    /// reserving the name with an exclusive create, and renaming over that.
    ///
    /// # Errors
    /// Whatever the last of these calls answers. It may have been done all the same; what was
    /// begun is undone without a look, so that nothing new should use this.
    pub fn rename(&self, from: &[u8], target: &Dir, to: &[u8], own: bool) -> io::Result<Renamed> {
        let by_rename = self.rename_no_replace(from, target, to);
        let by_link = match by_rename {
            Err(err) if rename_is_unsupported(&err) => self
                .link(from, target, to)
                .and_then(|()| self.remove(from).inspect_err(|_| drop(target.remove(to)))),
            other => other,
        };
        let result = match by_link {
            Err(err) if own && link_is_unsupported(&err) => {
                let reserved = target.create(to);
                reserved.and_then(|_| {
                    self.rename_over(from, target, to)
                        .inspect_err(|_| drop(target.remove(to)))
                })
            }
            other => other,
        };
        match result {
            Ok(()) => Ok(Renamed::Done),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(Renamed::Taken),
            Err(err) if err.kind() == io::ErrorKind::CrossesDevices => Ok(Renamed::CrossesDevices),
            Err(err) => Err(err),
        }
    }
}

/// The relative path of `path` in `folder`, if it is below it.
pub fn below(folder: &Path, path: &Path) -> Option<Rel> {
    let rest = path.strip_prefix(folder).ok()?;
    let parts: Vec<Vec<u8>> = rest.iter().map(bytes_of).collect();
    Some(Rel::new(&parts.join(&b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::io::testing::TempDir;

    #[test]
    fn a_rename_replaces_nothing() {
        let dir = TempDir::new();
        std::fs::write(dir.path().join("a"), "a").unwrap();
        std::fs::write(dir.path().join("b"), "b").unwrap();
        let folder = Dir::at(dir.path()).unwrap();
        assert_eq!(
            folder.rename(b"a", &folder, b"b", true).unwrap(),
            Renamed::Taken
        );
        assert_eq!(
            folder.rename(b"a", &folder, b"c", true).unwrap(),
            Renamed::Done
        );
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"b");
        assert_eq!(std::fs::read(dir.path().join("c")).unwrap(), b"a");
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all_and_replaces_nothing() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        folder.write_new(b"x", b"one").unwrap();
        assert_eq!(
            folder.write_new(b"x", b"two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_that_a_former_process_with_the_same_id_left_is_not_in_the_way() {
        let dir = TempDir::new();
        for count in 0..200 {
            std::fs::write(
                dir.path()
                    .join(format!(".draft-{}-{count}", std::process::id())),
                "",
            )
            .unwrap();
        }
        Dir::at(dir.path())
            .unwrap()
            .write_new(b"x", b"one")
            .unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn no_link_is_followed_neither_as_a_file_nor_on_the_way() {
        let dir = TempDir::new();
        let outside = TempDir::new();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
        let folder = Dir::at(dir.path()).unwrap();
        for path in ["folder/secret", "file"] {
            assert!(folder.open(&Rel::new(path.as_bytes())).is_err(), "{path}");
        }
        assert!(folder.folder(&Rel::new(b"folder")).is_err());
        assert_eq!(folder.look(b"file").unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_fifo_is_opened_in_no_way_that_blocks() {
        let dir = TempDir::new();
        let fifo = dir.path().join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let folder = Dir::at(dir.path()).unwrap();
        assert!(folder.open(&Rel::new(b"fifo")).is_err());
        assert_eq!(folder.look(b"fifo").unwrap(), None);
    }
}
