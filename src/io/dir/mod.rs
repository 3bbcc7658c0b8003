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

pub use crate::flow::file::Entry;
use crate::flow::file::Rel;

#[cfg(not(unix))]
use self::other as system;
#[cfg(unix)]
use self::unix as system;

pub use self::kept::{GroupRights, Lost, Made, Why, Wider};
pub use self::own_file::{DRAFT, Durability, draft_name};
pub use self::system::{
    Dir, FileId, bytes_of, copy_attributes, copy_mode, file_look, is_unlinked, link_is_unsupported,
    name_of, rename_is_unsupported,
};
#[cfg(unix)]
pub use self::unix::Ownership;

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Anything else: a link, a FIFO, a socket, a device.
    Other,
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

    /// Opens the folder at `path`, and makes what is missing of it. Links in `path` are
    /// followed: it is the user's.
    ///
    /// # Errors
    /// Of opening the nearest folder that is there, of `mkdir`, and of syncing the folders in
    /// which something was made: their new names are on the disk when this succeeds.
    pub fn make_at(path: &Path) -> io::Result<Dir> {
        let mut missing = Vec::new();
        let mut there = path;
        let found = loop {
            match Dir::at(there) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                        return Err(err);
                    };
                    missing.push(bytes_of(name));
                    // The parent of a bare name is the present folder.
                    there = if parent.as_os_str().is_empty() {
                        Path::new(".")
                    } else {
                        parent
                    };
                }
                other => break other?,
            }
        };
        missing.reverse();
        found.make(&Rel::new(&missing.join(&b'/')))
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
    fn a_file_is_replaced_as_a_whole_and_no_draft_is_left_not_even_after_an_error() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        for durability in [Durability::Durable, Durability::Cached] {
            for content in ["one", "another"] {
                folder
                    .replace(b"x", content.as_bytes(), durability)
                    .unwrap();
                assert_eq!(
                    std::fs::read(dir.path().join("x")).unwrap(),
                    content.as_bytes()
                );
            }
        }
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        for durability in [Durability::Durable, Durability::Cached] {
            folder
                .replace(b"taken", b"by a folder", durability)
                .unwrap_err();
            assert!(dir.path().join("taken").is_dir());
        }
        let mut names = folder.names(&Rel::root()).unwrap();
        names.sort();
        assert_eq!(names, [b"taken".to_vec(), b"x".to_vec()]);
    }

    #[test]
    fn folders_that_are_missing_are_made_along_a_path() {
        let dir = TempDir::new();
        let made = Dir::make_at(&dir.path().join("a/b/c")).unwrap();
        assert!(made.is(&Dir::at(&dir.path().join("a/b/c")).unwrap()));
        std::fs::write(dir.path().join("file"), "").unwrap();
        Dir::make_at(&dir.path().join("file/x")).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_made_again_at_its_path_is_not_the_one_that_is_held() {
        let dir = TempDir::new();
        let path = dir.path().join("held");
        let held = Dir::make_at(&path).unwrap();
        assert!(held.is_still(&Dir::at(&path).unwrap()));
        // Still held, so that its inode number is not given out again.
        std::fs::remove_dir(&path).unwrap();
        assert!(!held.is_still(&Dir::make_at(&path).unwrap()));
    }

    #[cfg(unix)]
    #[test]
    fn an_open_file_that_has_lost_its_name_is_told_from_one_that_has_not() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        let held = folder.append(b"x").unwrap();
        assert!(!is_unlinked(&held));
        folder.remove(b"x").unwrap();
        assert!(is_unlinked(&held));
        let other = folder.append(b"x").unwrap();
        assert_ne!(FileId::of(&held).unwrap(), FileId::of(&other).unwrap());
    }

    #[test]
    fn a_file_that_is_touched_is_as_new() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        let file = folder.create(b"x").unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        folder.touch(b"x").unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        let age = std::time::SystemTime::now().duration_since(modified);
        assert!(age.unwrap_or_default() < std::time::Duration::from_secs(3600));
        assert_eq!(
            folder.touch(b"y").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
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
