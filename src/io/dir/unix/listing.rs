//! Folders as a scan looks at them: their times, by which it tells whether to list them, and the
//! names in them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::{Dir, FOLDER, fs_kind, wall};
use crate::flow::file::{FsKind, Rel};
use crate::flow::scan::rounds::Times;
use crate::io::dir::NameKind;

impl Dir {
    /// Opens the folder `path` below this one, part by part and without following links, for a
    /// listing; for the root, itself through another handle. With its times as they are now: on NFS
    /// an open is what asks the server for them.
    ///
    /// # Errors
    /// Whatever `openat` and `fstat` answer; `NotADirectory` or `FilesystemLoop` where a link is in
    /// the way.
    pub fn to_list(&self, path: &Rel) -> io::Result<(Dir, Option<Times>)> {
        let fd = match self.descend(path.parts())? {
            Some(fd) => fd,
            None => rustix::fs::openat(&self.fd, ".", FOLDER, Mode::empty())?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        let kind = self.kind_of(&stat, || fs_kind(&fd));
        let times = times_of(&stat);
        Ok((Dir::held(fd, &stat, kind), Some(times)))
    }

    /// Whether [`Dir::times`] shows the times that a folder below this one has now, if it was on
    /// device `known`.
    pub fn shows_times(&self, known: Option<u64>) -> bool {
        let asks = cfg!(any(target_os = "linux", target_os = "android"));
        (asks || self.kind != FsKind::Share) && known == Some(self.dev)
    }

    /// The times of the folder `path` below this one, by its path and without opening it. A link on
    /// the way is followed: then the inode is not the one that was there before. `None` where they
    /// cannot be had so.
    ///
    /// A plain look at a share was up to 25 s behind on NFS. On Linux the server is asked, by one
    /// request; an open and a look through it take two.
    ///
    /// # Errors
    /// Whatever `fstatat` or `statx` answers; `NotADirectory` if no folder is there.
    pub fn times(&self, path: &Rel) -> io::Result<Option<Times>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.kind == FsKind::Share {
            return times_on_server(&self.fd, path);
        }
        let stat = if *path == Rel::root() {
            rustix::fs::fstat(&self.fd)?
        } else {
            let name = OsStr::from_bytes(path.as_bytes());
            rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            Ok(Some(times_of(&stat)))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// Hands each name in this folder to `each`, in no order; a share may show one twice while the
    /// folder changes. To be called once for a handle, which has then been read to its end.
    ///
    /// # Errors
    /// Whatever reading the folder answers: what was handed out is not all then.
    pub fn each_name(&self, each: &mut dyn FnMut(&[u8], NameKind)) -> io::Result<()> {
        read_names(&self.fd, &mut |name, kind| {
            let kind = match kind {
                FileType::Directory => NameKind::Folder,
                FileType::RegularFile => NameKind::File,
                FileType::Unknown => self.kind_of_name(name)?,
                _ => NameKind::Other,
            };
            each(name, kind);
            Ok(())
        })
    }

    /// What `name` is, where the file system does not say so as it is listed.
    fn kind_of_name(&self, name: &[u8]) -> io::Result<NameKind> {
        let name = OsStr::from_bytes(name);
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => NameKind::Folder,
                FileType::RegularFile => NameKind::File,
                _ => NameKind::Other,
            }),
            Err(Errno::NOENT) => Ok(NameKind::Other),
            // One that cannot be looked at is taken for a file: the look at it says what is wrong.
            Err(Errno::STALE) => Err(Errno::STALE.into()),
            Err(_) => Ok(NameKind::File),
        }
    }
}

/// Hands each name but `.` and `..` to `each`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_names(
    folder: &OwnedFd,
    each: &mut dyn FnMut(&[u8], FileType) -> io::Result<()>,
) -> io::Result<()> {
    // As large as the C library's: a call for some 800 names of ten bytes.
    let mut buffer = [std::mem::MaybeUninit::uninit(); 32 << 10];
    let mut entries = rustix::fs::RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// Hands each name but `.` and `..` to `each`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_names(
    folder: &OwnedFd,
    each: &mut dyn FnMut(&[u8], FileType) -> io::Result<()>,
) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// The times that the server of a share has of a folder; `None` where it cannot be asked (before Linux
/// 4.11).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn times_on_server(root: &OwnedFd, path: &Rel) -> io::Result<Option<Times>> {
    use rustix::fs::{StatxFlags, StatxTimestamp, makedev, statx};
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    let name = OsStr::from_bytes(path.as_bytes());
    let found = match statx(root, name, flags, StatxFlags::BASIC_STATS) {
        Ok(found) => found,
        Err(Errno::NOSYS) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let time = |time: StatxTimestamp| wall(time.tv_sec, time.tv_nsec.into());
    Ok(Some(Times {
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        dev: makedev(found.stx_dev_major, found.stx_dev_minor),
        ino: found.stx_ino,
    }))
}

fn times_of(stat: &Stat) -> Times {
    Times {
        mtime: wall(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: wall(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
    }
}
