//! [`Dir`] by file descriptors (POSIX.1-2008 `openat` and its kin): opening and looking. What
//! changes names is in `names`, what keeps rights in `attributes` and `mirror`.

// The types of stat's fields differ from platform to platform.
#![allow(clippy::unnecessary_cast)]

mod access;
mod acl;
mod attributes;
mod fresh;
mod fs_kind;
mod identity;
mod listing;
mod mirror;
mod names;
mod nfs4_acl;
mod ownership;
mod xattr;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use self::fresh::ask_server;
use self::fs_kind::fs_kind;
use self::names::fsync;
use super::Entry;
use crate::flow::file::{FsKind, Look, Rel, Stamp};
use crate::flow::time::Wall;

pub use self::attributes::{copy_attributes, copy_mode};
pub use self::identity::{FileId, is_unlinked};
pub use self::names::{link_is_unsupported, rename_is_unsupported};
pub use self::ownership::Ownership;

/// A folder held open. It stays the same one, whatever is renamed or mounted at its path.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    dev: u64,
    ino: u64,
    kind: FsKind,
    /// Asked for once: see [`Dir::mount_id`].
    mount: OnceLock<Option<u64>>,
}

/// The bytes of a name, as they are on the disk.
pub fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// The name that these bytes are.
pub fn name_of(bytes: &[u8]) -> std::ffi::OsString {
    OsStr::from_bytes(bytes).to_os_string()
}

/// How folders are opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// How files are opened. Without `NONBLOCK` the open of a FIFO would wait for a writer.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

impl Dir {
    /// Opens the folder at `path`. Links in `path` itself are followed: it is the user's.
    ///
    /// # Errors
    /// Whatever `open` answers; `NotADirectory` if it is there but no folder.
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
        Ok(Dir::held(fd, &stat, kind))
    }

    /// A folder somewhere below this one, which is on the same file system as a rule.
    fn below(&self, fd: OwnedFd) -> io::Result<Dir> {
        let stat = rustix::fs::fstat(&fd)?;
        let kind = self.kind_of(&stat, || fs_kind(&fd));
        Ok(Dir::held(fd, &stat, kind))
    }

    fn held(fd: OwnedFd, stat: &Stat, kind: FsKind) -> Dir {
        Dir {
            fd,
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            kind,
            mount: OnceLock::new(),
        }
    }

    /// Opens the folder `path` below this one, part by part and without following links; for the
    /// root, this one again.
    ///
    /// # Errors
    /// Whatever `openat` answers; `NotADirectory` or `FilesystemLoop` where a link is in the way.
    pub fn folder(&self, path: &Rel) -> io::Result<Dir> {
        match self.descend(path.parts())? {
            Some(fd) => self.below(fd),
            None => self.below(self.fd.try_clone()?),
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
    /// without following links and without blocking. It is the one that the server of a share has
    /// by this name now, as with [`Dir::fresh_entry`].
    ///
    /// # Errors
    /// Whatever `openat` answers; `InvalidInput` if it is there but no regular file.
    pub fn open(&self, path: &Rel) -> io::Result<(File, Look)> {
        let count = path.parts().count();
        let parent = self.descend(path.parts().take(count.saturating_sub(1)))?;
        let parent = parent.as_ref().unwrap_or(&self.fd);
        if self.kind == FsKind::Share {
            ask_server(parent, OsStr::new(""))?;
        }
        let (fd, stat) = open_file(parent, path.name())?;
        // A folder on the way may be another file system's.
        let kind = self.kind_of(&stat, || fs_kind(&fd));
        Ok((File::from(fd), look_of(&stat, kind)))
    }

    /// Opens the folder `path` below this one, made where it is missing, for everybody to read and
    /// nobody else to write (less the umask), and brings what was made onto the disk.
    ///
    /// # Errors
    /// Whatever `mkdirat`, `openat` and `fsync` answer; some of the folders may have been made.
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
        self.below(folder)
    }

    /// Opens the regular file `name` for reading.
    ///
    /// # Errors
    /// Whatever `openat` answers; `InvalidInput` if it is there but no regular file.
    pub fn file(&self, name: &[u8]) -> io::Result<File> {
        Ok(File::from(open_file(&self.fd, name)?.0))
    }

    /// The names in the folder `path` below this one, in no order.
    ///
    /// # Errors
    /// Whatever opening and reading the folder answers: after an error none are returned, for
    /// some would look like all.
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

    /// What [`Dir::entry`] finds, with `NotFound` for [`Entry::Absent`] and `None` for
    /// [`Entry::NotAFile`].
    ///
    /// # Errors
    /// Whatever `fstatat` answers.
    pub fn look(&self, name: &[u8]) -> io::Result<Option<Look>> {
        match self.entry(name)? {
            Entry::Absent => Err(Errno::NOENT.into()),
            entry => Ok(entry.file()),
        }
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

    fn entry_of(&self, stat: &Stat, kind_elsewhere: impl FnOnce() -> FsKind) -> Entry {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Entry::NotAFile;
        }
        Entry::File(look_of(stat, self.kind_of(stat, kind_elsewhere)))
    }

    /// What kind of file system something in this folder lies on: the folder's own, unless another
    /// one is mounted there.
    fn kind_of(&self, stat: &Stat, kind_elsewhere: impl FnOnce() -> FsKind) -> FsKind {
        if stat.st_dev as u64 == self.dev {
            self.kind
        } else {
            kind_elsewhere()
        }
    }

    /// Opens `name` to append to it and to read it, made if it is missing; only this user may
    /// read it.
    ///
    /// # Errors
    /// Whatever `openat` answers; `FilesystemLoop` if it is a link.
    pub fn append(&self, name: &[u8]) -> io::Result<File> {
        self.open_or_make(name, OFlags::RDWR | OFlags::APPEND)
    }

    /// Opens `name` to lock it and to write to it, made if it is missing; only this user may read
    /// it.
    ///
    /// # Errors
    /// Whatever `openat` answers; `FilesystemLoop` if it is a link.
    pub fn to_lock(&self, name: &[u8]) -> io::Result<File> {
        self.open_or_make(name, OFlags::RDWR | OFlags::NONBLOCK)
    }

    fn open_or_make(&self, name: &[u8], flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let fd = rustix::fs::openat(&self.fd, OsStr::from_bytes(name), flags, mode)?;
        Ok(File::from(fd))
    }

    /// What kind of file system it is on.
    pub fn kind(&self) -> FsKind {
        self.kind
    }

    /// Whether `other` is the same folder, reached over the same mount: by device, inode and,
    /// where there is one, mount id. A share that was unmounted and mounted again is not the same,
    /// nor is a bind mount of the folder elsewhere.
    pub fn is(&self, other: &Dir) -> bool {
        self.id() == other.id() && self.mount_id() == other.mount_id()
    }

    /// Device and inode: no other folder has the same, for as long as this one is held.
    pub fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// An older name of [`Dir::id`].
    pub fn number(&self) -> (u64, u64) {
        self.id()
    }

    /// The number of the mount that the handle was opened over: as in /proc/self/mountinfo, and no
    /// other mount's for as long as this handle is held. `None` where there is no Linux, or no /proc.
    /// Nothing is asked of a file server.
    pub fn mount_id(&self) -> Option<u64> {
        *self.mount.get_or_init(|| mount_id(&self.fd))
    }

    /// Whether it is on the same file system as `other`, by the device. A rename from one to the
    /// other may be refused all the same, where these are two mounts of it.
    pub fn same_fs(&self, other: &Dir) -> bool {
        self.dev == other.dev
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn mount_id(fd: impl AsFd) -> Option<u64> {
    use rustix::fs::StatxFlags;
    use std::os::fd::AsRawFd;

    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(&fd, "", flags, StatxFlags::MNT_ID).ok();
    let has_id = |mask| mask & StatxFlags::MNT_ID.bits() != 0;
    match found.filter(|found| has_id(found.stx_mask)) {
        Some(found) => Some(found.stx_mnt_id),
        None => mount_id_of_old(fd.as_fd().as_raw_fd()),
    }
}

/// Before Linux 5.8, and where a sandbox knows no statx: see proc_pid_fdinfo(5).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn mount_id_of_old(fd: std::os::fd::RawFd) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    id.trim().parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn mount_id(_fd: impl AsFd) -> Option<u64> {
    None
}

/// Looks at a file through its handle. `kind` says what it lies on: [`Dir::kind`] of its folder.
///
/// # Errors
/// Whatever `fstat` answers.
pub fn file_look(file: &File, kind: FsKind) -> io::Result<Look> {
    Ok(look_of(&rustix::fs::fstat(file)?, kind))
}

fn open_file(folder: &OwnedFd, name: &[u8]) -> io::Result<(OwnedFd, Stat)> {
    let name = OsStr::from_bytes(name);
    let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let irregular = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    let fd = match rustix::fs::openat(folder, name, FILE, Mode::empty()) {
        Err(Errno::NOENT) => return Err(Errno::NOENT.into()),
        // Links, sockets and devices are refused with an errno that differs from system to system.
        Err(err) => {
            let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
            return Err(match there {
                Ok(stat) if !is_file(&stat) => irregular(),
                _ => err.into(),
            });
        }
        Ok(fd) => fd,
    };
    let stat = rustix::fs::fstat(&fd)?;
    if is_file(&stat) {
        Ok((fd, stat))
    } else {
        Err(irregular())
    }
}

/// A time as `stat` shows it.
fn wall(secs: i64, nanos: i64) -> Wall {
    Wall(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// What `stat` shows. Of the blocks POSIX leaves the unit open; it is 512 bytes everywhere
/// (inode(7)).
fn look_of(stat: &Stat, kind: FsKind) -> Look {
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
        faded: None,
    }
}
