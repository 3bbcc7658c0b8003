//! What the kernel asks of [`Tree`], one request after the other.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Mode};

use super::tree::{Handle, Tree};
use super::{Hang, Modes, Operation};

const NO_TTL: Duration = Duration::ZERO;
/// Reads and writes come here one by one, past the page cache.
const DIRECT: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

/// Gives the answer, or the error.
macro_rules! reply {
    ($reply:ident, $result:expr, $value:pat => $answer:expr) => {
        match attempt(|| $result) {
            Ok($value) => $answer,
            Err(err) => $reply.error(err),
        }
    };
}

fn attempt<T>(operation: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    operation()
}

impl Filesystem for Tree {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Two looks into one folder need not wait for each other, as on NFS and SMB. An old kernel does without.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn forget(&self, _req: &Request, ino: INodeNo, _nlookup: u64) {
        self.drop_node(ino);
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply!(reply, {
            let faults = self.enter(req)?;
            self.entry(parent, name, &faults)
        }, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply!(reply, {
            let faults = self.enter(req)?;
            self.attr(ino, &faults)
        }, attr => reply.attr(&NO_TTL, &attr));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let time = |time: TimeOrNow| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        };
        reply!(reply, {
            let faults = self.begin(req, Operation::Setattr, &self.place(ino)?)?;
            let path = self.at(ino)?;
            let changes = mode.or(uid).or(gid).is_some();
            match self.traits.modes {
                Modes::Refused if changes => return Err(Errno::EPERM),
                Modes::Ignored | Modes::Refused => {}
                Modes::Kept => {
                    if uid.or(gid).is_some() {
                        chown(&path, uid, gid)?;
                    }
                    if let Some(mode) = mode {
                        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                    }
                }
            }
            if let Some(size) = size {
                OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            let mut times = fs::FileTimes::new();
            times = atime.map_or(times, |atime| times.set_accessed(time(atime)));
            times = mtime.map_or(times, |mtime| times.set_modified(time(mtime)));
            if atime.or(mtime).is_some() {
                File::open(&path)?.set_times(times)?;
            }
            self.refresh(ino)?;
            self.done(req, Operation::Setattr, &self.place(ino)?)?;
            self.attr(ino, &faults)
        }, attr => reply.attr(&NO_TTL, &attr));
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply!(reply, {
            let faults = self.begin(req, Operation::Mkdir, &self.place(parent)?.join(name))?;
            let path = self.at(parent)?.join(name);
            rustix::fs::mkdir(&path, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
            self.done(req, Operation::Mkdir, &self.place(parent)?.join(name))?;
            self.entry(parent, name, &faults)
        }, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(reply, {
            self.begin(req, Operation::Unlink, &self.place(parent)?.join(name))?;
            fs::remove_file(self.at(parent)?.join(name))?;
            self.done(req, Operation::Unlink, &self.place(parent)?.join(name))
        }, () => reply.ok());
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(reply, {
            self.enter(req)?;
            Ok(fs::remove_dir(self.at(parent)?.join(name))?)
        }, () => reply.ok());
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply!(reply, {
            self.begin(req, Operation::Rename, &self.place(newparent)?.join(newname))?;
            let (from, to) = (self.at(parent)?.join(name), self.at(newparent)?.join(newname));
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            if flags.contains(rustix::fs::RenameFlags::NOREPLACE) {
                self.traits.no_replace?;
            }
            rustix::fs::renameat_with(CWD, from, CWD, to, flags).map_err(io::Error::from)?;
            self.done(req, Operation::Rename, &self.place(newparent)?.join(newname))
        }, () => reply.ok());
    }

    fn link(
        &self,
        req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        reply!(reply, {
            let faults = self.begin(req, Operation::Link, &self.place(newparent)?.join(newname))?;
            self.traits.links?;
            let (from, to) = (self.at(ino)?, self.at(newparent)?.join(newname));
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)?;
            self.done(req, Operation::Link, &self.place(newparent)?.join(newname))?;
            self.entry(newparent, newname, &faults)
        }, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        reply!(reply, {
            self.enter(req)?;
            self.refresh(ino)?;
            self.open_file(&self.at(ino)?, flags.0, None)
        }, handle => reply.opened(handle, DIRECT));
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        reply!(reply, {
            let faults = self.begin(req, Operation::Create, &self.place(parent)?.join(name))?;
            let handle = self.open_file(&self.at(parent)?.join(name), flags, Some(mode))?;
            let place = self.place(parent)?.join(name);
            if let Err(errno) = self.done(req, Operation::Create, &place) {
                self.handles.lock().unwrap().remove(&handle);
                return Err(errno);
            }
            Ok((self.entry(parent, name, &faults)?, handle))
        }, (attr, handle) => reply.created(&NO_TTL, &attr, Generation(0), handle, DIRECT));
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply!(reply, {
            self.enter(req)?;
            let place = self.place(ino)?;
            self.wait(req, |hang| matches!(hang, Hang::ReadsOf(name) if place == Path::new(name)))?;
            let mut bytes = vec![0; size as usize];
            let got = self.file(fh)?.read_at(&mut bytes, offset)?;
            bytes.truncate(got);
            Ok(bytes)
        }, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply!(reply, {
            self.begin(req, Operation::Write, &self.place(ino)?)?;
            self.file(fh)?.write_all_at(data, offset)?;
            self.refresh(ino)?;
            self.done(req, Operation::Write, &self.place(ino)?)
        }, () => reply.written(data.len() as u32));
    }

    fn flush(
        &self,
        req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply!(reply, self.enter(req), _ => reply.ok());
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.handles.lock().unwrap().remove(&fh);
        reply.ok();
    }

    fn fsync(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply!(reply, {
            self.begin(req, Operation::Fsync, &self.place(ino)?)?;
            self.file(fh)?.sync_all()?;
            self.done(req, Operation::Fsync, &self.place(ino)?)
        }, () => reply.ok());
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply!(reply, {
            let faults = self.enter(req)?;
            Ok(self.hold(self.names(ino, &faults)?))
        }, handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = attempt(|| {
            let faults = self.enter(req)?;
            if offset == 0 {
                self.state.listings.fetch_add(1, Ordering::SeqCst);
            }
            let fails = match faults.listing {
                Some((folder, after, errno)) if self.place(ino)? == Path::new(folder) => {
                    Some((after as u64, errno))
                }
                _ => None,
            };
            match (fails, self.handles.lock().unwrap().get(&fh)) {
                (Some((after, errno)), _) if offset >= after => Err(self.fault(errno)),
                (fails, Some(Handle::Names(names))) => {
                    Ok((Arc::clone(names), fails.map(|(after, _)| after)))
                }
                _ => Err(Errno::EBADF),
            }
        });
        match names {
            Err(err) => reply.error(err),
            Ok((names, end)) => {
                let end = end.unwrap_or(u64::MAX);
                for (at, (ino, kind, name)) in (1..=end).zip(names.iter()).skip(offset as usize) {
                    if reply.add(*ino, at, *kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.handles.lock().unwrap().remove(&fh);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply!(reply, {
            self.begin(req, Operation::FsyncDir, &self.place(ino)?)?;
            File::open(self.at(ino)?)?.sync_all()?;
            self.done(req, Operation::FsyncDir, &self.place(ino)?)
        }, () => reply.ok());
    }

    fn statfs(&self, req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        const MANY: u64 = 1 << 20;
        reply!(reply, self.enter(req), _ => reply.statfs(MANY, MANY, MANY, MANY, MANY, 4096, 255, 4096));
    }
}
