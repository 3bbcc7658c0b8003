//! Who may write to a folder, as it shows, and what can be done about it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Access, AtFlags, Mode};

use crate::flow::file::Rel;
use crate::flow::time::Wall;

use super::Dir;

/// What a folder shows of who may write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The user id of its owner.
    pub owner: u32,
    /// The permission bits, with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// When owner, mode or content changed last: the mode has been what it is since then at the
    /// latest.
    pub changed: Wall,
}

impl Ownership {
    /// Whether others than the owner may write.
    pub fn is_wide(&self) -> bool {
        self.mode & 0o022 != 0
    }
}

impl Dir {
    /// What it shows of who may write to it.
    ///
    /// # Errors
    /// Of `fstat`.
    pub fn ownership(&self) -> io::Result<Ownership> {
        let stat = rustix::fs::fstat(&self.fd)?;
        let changed = (stat.st_ctime as i64)
            .saturating_mul(1_000_000_000)
            .saturating_add(stat.st_ctime_nsec as i64);
        Ok(Ownership {
            owner: stat.st_uid,
            mode: stat.st_mode as u32 & 0o7777,
            changed: Wall(changed),
        })
    }

    /// Why this user may not move files out of it, as a sentence; `None` if he may, or if it cannot be
    /// told: over a share the server has the last word.
    pub fn holds_fast(&self) -> Option<String> {
        /// The sticky bit, by which only the owner of a file, or of the folder, may move it
        /// (inode(7)).
        const STICKY: u32 = 0o1000;
        let may = Access::WRITE_OK | Access::EXEC_OK;
        if let Err(err) = rustix::fs::accessat(&self.fd, ".", may, AtFlags::EACCESS) {
            let err = io::Error::from(err);
            return Some(format!("dirpost may not change the folder: {err}"));
        }
        let shown = self.ownership().ok()?;
        let me = rustix::process::geteuid().as_raw();
        (shown.mode & STICKY != 0 && me != 0 && shown.owner != me).then(|| {
            "the folder is sticky: the files of other users cannot be moved out of it".into()
        })
    }

    /// Sets its permission bits. A file system may take the call and change nothing.
    ///
    /// # Errors
    /// Of `fchmod`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(
            &self.fd,
            Mode::from_raw_mode(mode as _),
        )?)
    }

    /// Makes the folder `name`, which must not be there, for this user alone.
    ///
    /// # Errors
    /// Of `mkdirat`, and of opening it.
    pub fn make_private(&self, name: &[u8]) -> io::Result<Dir> {
        rustix::fs::mkdirat(&self.fd, OsStr::from_bytes(name), Mode::RWXU)?;
        self.folder(&Rel::new(name))
    }

    /// Removes the folder `name`, which must be empty.
    ///
    /// # Errors
    /// Of `unlinkat`.
    pub fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.fd,
            OsStr::from_bytes(name),
            AtFlags::REMOVEDIR,
        )?)
    }
}
