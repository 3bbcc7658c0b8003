//! [`Dir`] by file descriptors (POSIX.1-2008 `openat` and its kin).

// The types of stat's fields differ from platform to platform.
#![allow(clippy::unnecessary_cast)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Entry;
use crate::flow::file::{FsKind, Look, Rel, Stamp};
use crate::flow::time::Wall;

/// A folder held open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    dev: u64,
    ino: u64,
    kind: FsKind,
}

/// The bytes of a name.
pub fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// The name of these bytes.
pub fn name_of(bytes: &[u8]) -> std::ffi::OsString {
    OsStr::from_bytes(bytes).to_os_string()
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
// Without NONBLOCK the open of a FIFO waits for a writer.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

impl Dir {
    /// Opens the folder at `path`. Links in `path` itself are followed: it is the user's.
    ///
    /// # Errors
    /// Of `open`.
    pub fn at(path: &Path) -> io::Result<Dir> {
        Dir::new(rustix::fs::open(
            path,
            FOLDER.difference(OFlags::NOFOLLOW),
            Mode::empty(),
        )?)
    }

    fn new(fd: OwnedFd) -> io::Result<Dir> {
        let stat = rustix::fs::fstat(&fd)?;
        let kind = fs_kind(&fd);
        Ok(Dir {
            fd,
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            kind,
        })
    }

    /// Opens a folder below this one.
    ///
    /// # Errors
    /// Of `openat`; `NotADirectory` or `FilesystemLoop` where a link is in the way.
    pub fn folder(&self, path: &Rel) -> io::Result<Dir> {
        match self.descend(path.parts())? {
            Some(fd) => Dir::new(fd),
            None => Dir::new(self.fd.try_clone()?),
        }
    }

    /// The folder at the end of `parts`; `None` for this one.
    fn descend<'p>(&self, parts: impl Iterator<Item = &'p [u8]>) -> io::Result<Option<OwnedFd>> {
        let mut folder: Option<OwnedFd> = None;
        for part in parts {
            let at = folder.as_ref().unwrap_or(&self.fd);
            folder = Some(rustix::fs::openat(
                at,
                OsStr::from_bytes(part),
                FOLDER,
                Mode::empty(),
            )?);
        }
        Ok(folder)
    }

    /// Opens the regular file at `path` for reading, and looks at it through its handle,
    /// without following links and without blocking.
    ///
    /// # Errors
    /// Of `openat`; `InvalidInput` if it is there but no regular file.
    pub fn open(&self, path: &Rel) -> io::Result<(File, Look)> {
        let count = path.parts().count();
        let parent = self.descend(path.parts().take(count.saturating_sub(1)))?;
        let (fd, stat) = open_file(parent.as_ref().unwrap_or(&self.fd), path.name())?;
        // A folder on the way may be another file system's.
        let kind = if stat.st_dev as u64 == self.dev {
            self.kind
        } else {
            fs_kind(&fd)
        };
        Ok((File::from(fd), look_of(&stat, kind)))
    }

    /// The same, and makes what is missing, for everybody to read (less the umask).
    ///
    /// # Errors
    /// Of `mkdirat` and `openat`.
    pub fn make(&self, path: &Rel) -> io::Result<Dir> {
        let mut folder = self.fd.try_clone()?;
        for part in path.parts() {
            let name = OsStr::from_bytes(part);
            folder = match rustix::fs::openat(&folder, name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(err) => return Err(err.into()),
                    }
                    fsync(&folder)?;
                    rustix::fs::openat(&folder, name, FOLDER, Mode::empty())?
                }
                other => other?,
            };
        }
        Dir::new(folder)
    }

    /// Opens the regular file `name` for reading.
    ///
    /// # Errors
    /// Of `openat`; `InvalidInput` if it is there but no regular file.
    pub fn file(&self, name: &[u8]) -> io::Result<File> {
        Ok(File::from(open_file(&self.fd, name)?.0))
    }

    /// The names in the folder `path` below this one, in no order.
    ///
    /// # Errors
    /// Of the calls.
    pub fn names(&self, path: &Rel) -> io::Result<Vec<Vec<u8>>> {
        let folder = self.folder(path)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Looks at `name` without opening it. `None` if it is there but no regular file.
    ///
    /// # Errors
    /// Of `fstatat`.
    pub fn look(&self, name: &[u8]) -> io::Result<Option<Look>> {
        let stat =
            rustix::fs::statat(&self.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // Another file system may be mounted over a file; then nothing is known of it.
        let kind = if stat.st_dev as u64 == self.dev {
            self.kind
        } else {
            FsKind::Share
        };
        Ok(Some(look_of(&stat, kind)))
    }

    /// Looks at `name` without opening it. On NFS what this shows may be seconds old: where that
    /// matters, [`Dir::fresh_entry`] is to be asked.
    ///
    /// # Errors
    /// Whatever `fstatat` answers, but for `ENOENT`, which is [`Entry::Absent`].
    pub fn entry(&self, name: &[u8]) -> io::Result<Entry> {
        let name = OsStr::from_bytes(name);
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Entry::Absent),
            Err(err) => Err(err.into()),
            // Another file system may be mounted over a file; then nothing is known of it.
            Ok(stat) => Ok(self.entry_of(&stat, || FsKind::Share)),
        }
    }

    /// Looks at `name` through a handle that is opened for this look. NFS promises that an `open`
    /// shows what the server has now (close-to-open consistency, nfs(5)); a plain look need not.
    ///
    /// A file that dirpost may not read cannot be opened; [`Dir::entry`] is asked instead.
    ///
    /// # Errors
    /// Whatever `openat` and `fstat` answer, but for `ENOENT`, which is [`Entry::Absent`], and
    /// for what they answer to something that is no regular file.
    pub fn fresh_entry(&self, name: &[u8]) -> io::Result<Entry> {
        match rustix::fs::openat(&self.fd, OsStr::from_bytes(name), FILE, Mode::empty()) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                Ok(self.entry_of(&stat, || fs_kind(&fd)))
            }
            Err(Errno::NOENT) => Ok(Entry::Absent),
            Err(Errno::ACCESS | Errno::PERM) => self.entry(name),
            // Links, sockets and devices are refused with an errno that differs from system to
            // system; a look tells whether it is one of these.
            Err(err) => match self.entry(name) {
                Ok(Entry::NotAFile) => Ok(Entry::NotAFile),
                _ => Err(err.into()),
            },
        }
    }

    fn entry_of(&self, stat: &Stat, kind_elsewhere: impl FnOnce() -> FsKind) -> Entry {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Entry::NotAFile;
        }
        let kind = if stat.st_dev as u64 == self.dev {
            self.kind
        } else {
            kind_elsewhere()
        };
        Entry::File(look_of(stat, kind))
    }

    /// Opens `name` to append to it, made if it is missing; only this user may read it.
    ///
    /// # Errors
    /// Of `openat`.
    pub fn append(&self, name: &[u8]) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(
            &self.fd,
            OsStr::from_bytes(name),
            flags,
            Mode::from_raw_mode(0o600),
        )?;
        Ok(File::from(fd))
    }

    /// Opens `name` to lock it and to write to it, made if it is missing; only this user may read it.
    ///
    /// # Errors
    /// Of `openat`.
    pub fn to_lock(&self, name: &[u8]) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(
            &self.fd,
            OsStr::from_bytes(name),
            flags,
            Mode::from_raw_mode(0o600),
        )?;
        Ok(File::from(fd))
    }

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
    ///
    /// # Errors
    /// Whatever `linkat` answers: `AlreadyExists` if there is something at the target,
    /// `CrossesDevices` if that is on another file system or mount, and one for which
    /// [`link_is_unsupported`] holds where there are no links. Over NFS and SMB it may have been
    /// done all the same.
    pub fn link(&self, from: &[u8], target: &Dir, to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            &self.fd,
            OsStr::from_bytes(from),
            &target.fd,
            OsStr::from_bytes(to),
            AtFlags::empty(),
        )?)
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

    /// What it is on.
    pub fn kind(&self) -> FsKind {
        self.kind
    }

    /// Whether `other` is the same folder.
    pub fn is(&self, other: &Dir) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    /// A number for the folder, good for as long as it is held.
    pub fn number(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Whether it is on the same file system as `other`.
    pub fn same_fs(&self, other: &Dir) -> bool {
        self.dev == other.dev
    }

    /// Whether nobody but this process's user may write to it; `Err` says who can.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn is_private(&self) -> Result<(), String> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|err| err.to_string())?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(format!(
                "it belongs to user {}, and dirpost runs as user {user}",
                stat.st_uid
            ));
        }
        let mode = stat.st_mode & 0o7777;
        if mode & 0o022 != 0 {
            return Err(format!(
                "others may write to it (mode {mode:04o}): chmod go-w it"
            ));
        }
        Ok(())
    }
}

/// Looks at a file through its handle.
///
/// # Errors
/// Of `fstat`.
pub fn file_look(file: &File, kind: FsKind) -> io::Result<Look> {
    Ok(look_of(&rustix::fs::fstat(file)?, kind))
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

fn open_file(folder: &OwnedFd, name: &[u8]) -> io::Result<(OwnedFd, Stat)> {
    let irregular = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    let fd = match rustix::fs::openat(folder, OsStr::from_bytes(name), FILE, Mode::empty()) {
        // A link (ELOOP, on FreeBSD EMLINK), or a socket (ENXIO).
        Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => {
            return Err(irregular());
        }
        other => other?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(irregular());
    }
    Ok((fd, stat))
}

fn fsync(fd: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(fd) {
        // Some file systems (SMB, FUSE) have no fsync for folders: there is nothing to wait for.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::BADF) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

fn look_of(stat: &Stat, kind: FsKind) -> Look {
    let wall =
        |secs: i64, nanos: i64| Wall(secs.saturating_mul(1_000_000_000).saturating_add(nanos));
    Look {
        stamp: Stamp {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: wall(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        },
        ctime: wall(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        fs: kind,
    }
}

/// Only what is known to be local counts as local.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn fs_kind(fd: impl AsFd) -> FsKind {
    let Ok(stat) = rustix::fs::fstatfs(fd) else {
        return FsKind::Share;
    };
    // statfs(2), linux/magic.h
    match stat.f_type as u64 & 0xffff_ffff {
        0xef53          // ext2, ext3, ext4
        | 0x5846_5342   // xfs
        | 0x9123_683e   // btrfs
        | 0x0102_1994   // tmpfs
        | 0x8584_58f6   // ramfs
        | 0xf2f5_2010   // f2fs
        | 0x2fc1_2fc1   // zfs
        | 0xca45_1a4e   // bcachefs
        | 0x794c_7630   // overlayfs
        | 0x3153_464a   // jfs
        | 0x5265_4973   // reiserfs
        | 0x2405_1905   // ubifs
        => FsKind::Local,
        0x4d44 | 0x2011_bab0 | 0x5346_544e | 0x7366_746e => FsKind::LocalNoCtime, // vfat, exfat, ntfs, ntfs3
        _ => FsKind::Share,
    }
}

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
fn fs_kind(fd: impl AsFd) -> FsKind {
    let Ok(stat) = rustix::fs::fstatfs(fd) else {
        return FsKind::Share;
    };
    let name: Vec<u8> = stat
        .f_fstypename
        .iter()
        .map(|&byte| byte as u8)
        .take_while(|&byte| byte != 0)
        .collect();
    match name.as_slice() {
        b"apfs" | b"hfs" | b"ufs" | b"ffs" | b"zfs" | b"tmpfs" | b"hammer2" => FsKind::Local,
        b"msdos" | b"msdosfs" | b"exfat" | b"ntfs" => FsKind::LocalNoCtime,
        _ => FsKind::Share,
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)))]
fn fs_kind(_: impl AsFd) -> FsKind {
    FsKind::Share
}
