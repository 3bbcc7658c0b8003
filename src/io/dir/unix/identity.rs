//! Whether what a path shows now is what a handle holds.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW};

use super::Dir;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Which file it is, for as long as it is held open: a file system that gives inode numbers
/// out of its own head (FAT, some SMB and FUSE mounts) keeps that of a file that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    /// Which file `file` is; `None` where the platform does not say.
    ///
    /// # Errors
    /// Of `fstat`.
    pub fn of(file: &File) -> io::Result<Option<FileId>> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Some(FileId {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
        }))
    }
}

/// Whether an open file has lost its last name: what is written to it is lost when it is closed.
/// Over NFS a file that this client removes while it is open is renamed instead, and one that
/// another removes shows its old count of links for as long as attributes are cached.
pub fn is_unlinked(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink as u64 == 0)
}

impl Dir {
    /// Whether `fresh`, just opened by its path, is the very folder that this handle holds: the
    /// same device and inode, by the same mount where the platform can tell.
    pub fn is_still(&self, fresh: &Dir) -> bool {
        self.is(fresh)
    }

    /// Sets the mtime of `name` to the present, so that a clean-up by age leaves it.
    ///
    /// # Errors
    /// Of `utimensat`; `NotFound` if it is not there.
    pub fn touch(&self, name: &[u8]) -> io::Result<()> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW as _,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        Ok(rustix::fs::utimensat(
            &self.fd,
            OsStr::from_bytes(name),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}
