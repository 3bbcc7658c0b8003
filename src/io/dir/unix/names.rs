//! What changes the names in a folder: each one system call, and nothing is undone. Over NFS and
//! SMB any of them may have been done and answer with an error all the same.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Dir;
use super::fs_kind::is_rclone;

/// Why nothing can be filed on a mount of rclone's. It knows neither a rename that replaces nothing nor
/// links (`Dir.Link` in cmd/mount/dir.go; its `ENOSYS` becomes `EIO` on the way, as any error does that
/// its FUSE library, bazil.org/fuse, knows no number of). And no name may be reserved there, as it is
/// elsewhere then: with a write cache rclone uploads the empty file seconds later, over the one that was
/// moved to its name (seen with rclone 1.60).
const RCLONE: &str = "rclone has no rename that replaces nothing and no links, so nothing can be \
                      filed here: mount it with --read-only, and set delivered.action = \"keep\" and \
                      state.dir to a local disk";

impl Dir {
    /// Makes the file `name`, which must not be there, for everybody to read (less the umask).
    ///
    /// # Errors
    /// Whatever `openat` answers; `AlreadyExists` if there is anything under that name.
    pub fn create(&self, name: &[u8]) -> io::Result<File> {
        self.create_new(name, 0o644)
    }

    /// Makes the file `name`, which must not be there, with these permission bits (less the
    /// umask), and opens it to read and write.
    ///
    /// # Errors
    /// Whatever `openat` answers; `AlreadyExists` if there is anything under that name. After any
    /// other error the file may have been made all the same.
    pub fn create_new(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(
            &self.fd,
            OsStr::from_bytes(name),
            flags,
            Mode::from_raw_mode(mode as _),
        )?;
        Ok(File::from(fd))
    }

    /// Removes the name `name`: one system call, and nothing is undone.
    ///
    /// # Errors
    /// Whatever `unlinkat` answers. Over NFS and SMB the name may be gone all the same.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.fd,
            OsStr::from_bytes(name),
            AtFlags::empty(),
        )?)
    }

    /// Renames `from` to `to` in `target`, replacing nothing: one system call (`renameat2` with
    /// `RENAME_NOREPLACE`, on macOS `renameatx_np` with `RENAME_EXCL`), and nothing is undone.
    ///
    /// # Errors
    /// Whatever the call answers: `AlreadyExists` if there is something at the target,
    /// `CrossesDevices` if that is on another file system or mount, and one for which
    /// [`rename_is_unsupported`] holds where there is no such rename. Over NFS and SMB it may have
    /// been done all the same.
    pub fn rename_no_replace(&self, from: &[u8], target: &Dir, to: &[u8]) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        return Ok(rustix::fs::renameat_with(
            &self.fd,
            OsStr::from_bytes(from),
            &target.fd,
            OsStr::from_bytes(to),
            rustix::fs::RenameFlags::NOREPLACE,
        )?);
        #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
        {
            let _ = (from, target, to);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Gives the file `from` a second name, `to` in `target`, replacing nothing: one system call.
    /// Over NFS that is the file which a look has shown, by its handle, and not the one that has
    /// the name `from` by now. So before `from` is removed a [`Dir::fresh_entry`] has to show that
    /// both are one: what is removed is whichever file has the name.
    ///
    /// # Errors
    /// Whatever `linkat` answers: `AlreadyExists` if there is something at the target,
    /// `CrossesDevices` if that is on another file system or mount, and one for which
    /// [`link_is_unsupported`] holds where there are no links. Over NFS and SMB it may have been
    /// done all the same.
    pub fn link(&self, from: &[u8], target: &Dir, to: &[u8]) -> io::Result<()> {
        let linked = rustix::fs::linkat(
            &self.fd,
            OsStr::from_bytes(from),
            &target.fd,
            OsStr::from_bytes(to),
            AtFlags::empty(),
        );
        match linked {
            Err(Errno::IO) if is_rclone(&target.fd) => Err(io::Error::other(RCLONE)),
            other => Ok(other?),
        }
    }

    /// Renames `from` to `to` in `target`, replacing what is there: one system call. Two names of
    /// one file are left as they are, without an error (rename(2)).
    ///
    /// # Errors
    /// Whatever `renameat` answers. Over NFS and SMB it may have been done all the same.
    pub fn rename_over(&self, from: &[u8], target: &Dir, to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.fd,
            OsStr::from_bytes(from),
            &target.fd,
            OsStr::from_bytes(to),
        )?)
    }

    /// Lets two names in this folder change places: one system call (`renameat2` with `RENAME_EXCHANGE`,
    /// on macOS `renameatx_np` with `RENAME_SWAP`), so that each of them is there at any moment.
    ///
    /// # Errors
    /// Whatever the call answers: `NotFound` if one of them is not there, and one for which
    /// [`rename_is_unsupported`] holds where there is no such call.
    pub fn exchange(&self, one: &[u8], other: &[u8]) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        return Ok(rustix::fs::renameat_with(
            &self.fd,
            OsStr::from_bytes(one),
            &self.fd,
            OsStr::from_bytes(other),
            rustix::fs::RenameFlags::EXCHANGE,
        )?);
        #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
        {
            let _ = (one, other);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Brings renames, links and removals in this folder onto the disk.
    ///
    /// # Errors
    /// Whatever `fsync` answers, but for what says that the file system has no fsync of folders
    /// (some SMB and FUSE ones): there is nothing to wait for then. Who asks a second time after
    /// an error may be told a success that is none (fsync(2), EIO).
    pub fn fsync(&self) -> io::Result<()> {
        fsync(&self.fd)
    }

    /// An older name of [`Dir::fsync`].
    ///
    /// # Errors
    /// Those of [`Dir::fsync`].
    pub fn sync(&self) -> io::Result<()> {
        self.fsync()
    }
}

/// Whether `err` is what a file system answers to a rename that replaces nothing because it has
/// no such rename. Anything else, also a refusal, is no reason to try another way.
///
/// - `EINVAL`: rename(2), "the filesystem does not support one of the flags". So do NFS, 9p, Ceph
///   and Lustre, and so does Linux itself for a FUSE server without the call (fuse_rename2 in
///   fs/fuse/dir.c).
/// - `ENOSYS`: a Linux before 3.15, a sandbox that does not know the call.
/// - `EOPNOTSUPP`, `ENOTSUP`: renameatx_np(2) of macOS on FAT, SMB and NFS.
///
/// `EPERM` is no such answer: it is what a sticky or immutable folder says to any rename.
pub fn rename_is_unsupported(err: &io::Error) -> bool {
    is_no_such_call(err)
}

/// Whether `err` is what a file system answers to a link that it cannot make, though it may
/// well be able to rename the file.
///
/// - `EPERM`: link(2), "the filesystem does not support the creation of hard links" (FAT, exFAT,
///   some FUSE); also Linux itself for the file of another user that dirpost may not write to
///   (`fs.protected_hardlinks`, proc_sys_fs(5)).
/// - `EOPNOTSUPP`, `ENOTSUP`: SMB, and FAT and SMB on macOS and the BSDs.
/// - 524, which has no name outside of the kernel (`ENOTSUPP`): NFS 3, of a server without links
///   (nfs_errtbl in fs/nfs, NFS3ERR_NOTSUPP).
/// - `ENOSYS`: a FUSE server without the call.
/// - `EINVAL`: SMB servers that do not know the request.
/// - `EMLINK`: the file has as many names as it may have.
pub fn link_is_unsupported(err: &io::Error) -> bool {
    is_no_such_call(err) || matches!(Errno::from_io_error(err), Some(Errno::PERM | Errno::MLINK))
}

fn is_no_such_call(err: &io::Error) -> bool {
    /// linux/errno.h, which is the kernel's own.
    const ENOTSUPP: i32 = 524;
    // Two of these are one number on Linux.
    let answers = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP];
    match Errno::from_io_error(err) {
        Some(errno) => {
            answers.contains(&errno)
                || cfg!(any(target_os = "linux", target_os = "android"))
                    && errno.raw_os_error() == ENOTSUPP
        }
        None => err.kind() == io::ErrorKind::Unsupported,
    }
}

pub(super) fn fsync(fd: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(fd) {
        // Some file systems (SMB, FUSE) have no fsync for folders: there is nothing to wait for.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::BADF) => Ok(()),
        Err(err) => Err(err.into()),
    }
}
