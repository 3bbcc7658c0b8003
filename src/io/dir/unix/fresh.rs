//! Looks that show what the server of a share has, and not what its client remembers.
//!
//! NFS promises that an `open` shows the file as the server has it (close-to-open consistency,
//! nfs(5)). Which file has a name, or that none has, the Linux client remembers all the same, for
//! as long as it takes the folder for unchanged: up to 30 s (`acdirmin`). So a file that another
//! client has renamed away is still opened under its old name, and a new one that has taken its
//! place is not seen, and what is linked is the old one, by its handle. After a rename of its own
//! the client believes that the file has moved which had the name before, though the server
//! has moved whichever had it then; as nobody else has changed the folder since, asking for the
//! folder does not help there. (All seen with Linux 6.1 over NFS 3 and 4.2.)
//!
//! On SMB it takes up to 1.5 s until a name shows that another client has made or removed; nothing
//! shortens that.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::{Dir, FILE, fs_kind};
use crate::flow::file::FsKind;
use crate::io::dir::Entry;

impl Dir {
    /// Looks at `name` through a handle that is opened for this look, after the server of a share
    /// has been asked for the folder: a plain look may show what was some seconds ago.
    ///
    /// A file that dirpost may not read cannot be opened; the server is asked for its state, and a
    /// plain look made at it. For a name that dirpost itself has just renamed something to there is
    /// [`Dir::moved_entry`].
    ///
    /// # Errors
    /// Whatever `statx`, `openat` and `fstat` answer, but for `ENOENT`, which is
    /// [`Entry::Absent`], and for what they answer to something that is no regular file.
    pub fn fresh_entry(&self, name: &[u8]) -> io::Result<Entry> {
        self.ask_server()?;
        let name = OsStr::from_bytes(name);
        match rustix::fs::openat(&self.fd, name, FILE, Mode::empty()) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                Ok(self.entry_of(&stat, || fs_kind(&fd)))
            }
            Err(Errno::NOENT) => Ok(Entry::Absent),
            Err(Errno::ACCESS | Errno::PERM) => match ask_server(&self.fd, name) {
                Err(Errno::NOENT) => Ok(Entry::Absent),
                Err(err) => Err(err.into()),
                Ok(()) => self.entry(name.as_bytes()),
            },
            // Links, sockets and devices are refused with an errno that differs from system to
            // system; a look tells whether it is one of these.
            Err(err) => match self.entry(name.as_bytes()) {
                Ok(Entry::NotAFile) => Ok(Entry::NotAFile),
                _ => Err(err.into()),
            },
        }
    }

    /// Looks at `name`, in a folder of dirpost's own, where dirpost itself may have renamed
    /// something to it: at what the server has moved, which need not be what the client believes.
    ///
    /// To see that, a folder of the same name is made. As the name is taken, nothing is made, but
    /// Linux looks it up as one that must be free (`LOOKUP_EXCL` in fs/namei.c), which NFS answers
    /// by asking the server (nfs_do_lookup_revalidate in fs/nfs/dir.c). Should nothing have the
    /// name any more, the folder is removed again.
    ///
    /// # Errors
    /// Those of [`Dir::fresh_entry`], and whatever else than that the name is taken `mkdirat`
    /// answers.
    pub fn moved_entry(&self, name: &[u8]) -> io::Result<Entry> {
        let entry = self.fresh_entry(name)?;
        if self.kind != FsKind::Share || entry == Entry::Absent {
            return Ok(entry);
        }
        let as_name = OsStr::from_bytes(name);
        match rustix::fs::mkdirat(&self.fd, as_name, Mode::RWXU) {
            // Only an empty folder is removed by that.
            Ok(()) => rustix::fs::unlinkat(&self.fd, as_name, AtFlags::REMOVEDIR)?,
            Err(Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        self.fresh_entry(name)
    }

    fn ask_server(&self) -> io::Result<()> {
        match self.kind {
            FsKind::Share => Ok(ask_server(&self.fd, OsStr::new(""))?),
            FsKind::Local | FsKind::LocalNoCtime => Ok(()),
        }
    }
}

/// Makes the client of a share ask the server for the state of `name` in the folder, or of the
/// folder itself (""). Then it looks up again what has a name there, if the folder has changed.
///
/// # Errors
/// Whatever `statx` answers.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn ask_server(folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    use rustix::fs::{StatxFlags, statx};
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    match statx(folder, name, flags, StatxFlags::BASIC_STATS) {
        // Without the call (before Linux 4.11) what is remembered has to do.
        Ok(_) | Err(Errno::NOSYS) => Ok(()),
        Err(err) => Err(err),
    }
}

/// There is no call that makes the client of a share ask the server.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn ask_server(_folder: &OwnedFd, _name: &OsStr) -> Result<(), Errno> {
    Ok(())
}
