//! A share whose faults a test chooses: a FUSE file system that passes a folder through.
//!
//! The test itself works in the folder behind it ([`Share::back`]) and never touches the mount, so
//! that it does not hang with it. Nothing is cached: each look of dirpost is a request, and locks
//! are the kernel's own. A request that hangs is let go when its process is being killed, as NFS
//! and SMB do it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{Dir, skip};

/// What is wrong with the share; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub hang: Option<Hang>,
    /// Every operation fails.
    pub all: Option<Errno>,
    /// The listing of this folder (relative, "" is the root) fails after so many names.
    pub listing: Option<(&'static str, usize, Errno)>,
    /// Nothing of this name can be looked at.
    pub look: Option<(&'static str, Errno)>,
    pub empty: Option<Empty>,
}

/// What waits until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    Everything,
    ReadsOf(&'static str),
}

/// How the share shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// Folders list no names; who knows one finds it.
    Listings,
    /// As if there were nothing in the root at all.
    Everything,
}

/// The share, mounted until it is dropped.
pub struct Share {
    dir: Dir,
    state: Arc<State>,
    session: Option<BackgroundSession>,
}

impl Share {
    /// `None`, and a line that says so, where nothing can be mounted.
    pub fn mount() -> Option<Share> {
        let dir = Dir::new();
        let (back, mount) = (dir.mkdir("back"), dir.mkdir("share"));
        let back = back.canonicalize().expect("its path");
        let state = Arc::new(State::default());
        let tree = Tree {
            nodes: Mutex::default(),
            handles: Mutex::default(),
            state: Arc::clone(&state),
            back,
        };
        let mut config = fuser::Config::default();
        // More than a well-behaved daemon can make wait.
        config.n_threads = Some(24);
        match fuser::spawn_mount(tree, &mount, &config) {
            Ok(session) => Some(Share {
                dir,
                state,
                session: Some(session),
            }),
            Err(err) => {
                skip(format!(
                    "a FUSE file system needs /dev/fuse and the right to mount: {err}"
                ));
                None
            }
        }
    }

    /// What dirpost watches.
    pub fn path(&self) -> PathBuf {
        self.dir.join("share")
    }

    /// What lies on the share, for the test: this never hangs.
    pub fn back(&self) -> Back<'_> {
        Back(&self.dir)
    }

    /// From now on these are its faults, and no others.
    pub fn set(&self, faults: Faults) {
        *self.state.faults.lock().unwrap() = faults;
    }

    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// How many requests hang.
    pub fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::SeqCst)
    }

    /// How many listings have begun.
    pub fn listings(&self) -> usize {
        self.state.listings.load(Ordering::SeqCst)
    }

    /// How many requests have met a fault.
    pub fn failed(&self) -> usize {
        self.state.failed.load(Ordering::SeqCst)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.heal();
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
        drop(self.session.take());
    }
}

/// The folder behind the share.
pub struct Back<'a>(&'a Dir);

impl Back<'_> {
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.write(format!("back/{name}"), bytes);
    }

    pub fn mkdir(&self, name: &str) {
        self.0.mkdir(format!("back/{name}"));
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        self.0.list(format!("back/{name}"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.0.exists(format!("back/{name}"))
    }

    pub fn text(&self, name: &str) -> String {
        self.0.text(format!("back/{name}"))
    }
}

#[derive(Default)]
struct State {
    faults: Mutex<Faults>,
    waiting: AtomicUsize,
    listings: AtomicUsize,
    failed: AtomicUsize,
}

/// The file system. An inode is held by a handle, so that a rename changes nothing for it.
struct Tree {
    nodes: Mutex<HashMap<INodeNo, OwnedFd>>,
    handles: Mutex<HashMap<FileHandle, Handle>>,
    state: Arc<State>,
    back: PathBuf,
}

#[derive(Clone)]
enum Handle {
    File(Arc<File>),
    Names(Arc<Vec<(INodeNo, FileType, std::ffi::OsString)>>),
}

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

impl Tree {
    /// Waits and fails as the test wants it; every operation begins with it.
    fn enter(&self, req: &Request) -> Result<Faults, Errno> {
        self.wait(req, |hang| hang == Hang::Everything)?;
        let faults = self.state.faults.lock().unwrap().clone();
        match faults.all {
            Some(errno) => Err(self.fault(errno)),
            None => Ok(faults),
        }
    }

    fn wait(&self, req: &Request, hangs: impl Fn(Hang) -> bool) -> Result<(), Errno> {
        let hangs = || self.state.faults.lock().unwrap().hang.is_some_and(&hangs);
        if !hangs() {
            return Ok(());
        }
        self.state.waiting.fetch_add(1, Ordering::SeqCst);
        while hangs() && !is_dying(req.pid()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.state.waiting.fetch_sub(1, Ordering::SeqCst);
        if hangs() { Err(Errno::EINTR) } else { Ok(()) }
    }

    fn fault(&self, errno: Errno) -> Errno {
        self.state.failed.fetch_add(1, Ordering::SeqCst);
        errno
    }

    /// A path that leads to the inode wherever it lies by now.
    fn at(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        if ino == INodeNo::ROOT {
            return Ok(self.back.clone());
        }
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.get(&ino).ok_or(Errno::ESTALE)?;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", node.as_raw_fd())))
    }

    /// Where it lies, below the share.
    fn place(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        let path = if ino == INodeNo::ROOT {
            self.back.clone()
        } else {
            fs::read_link(self.at(ino)?)?
        };
        Ok(path.strip_prefix(&self.back).unwrap_or(&path).to_path_buf())
    }

    fn attr(&self, ino: INodeNo, faults: &Faults) -> Result<FileAttr, Errno> {
        let place = self.place(ino)?;
        self.may_look(faults, place.file_name().unwrap_or_default())?;
        Ok(attr_of(ino, &fs::metadata(self.at(ino)?)?))
    }

    fn may_look(&self, faults: &Faults, name: &OsStr) -> Result<(), Errno> {
        match faults.look {
            Some((bad, errno)) if name == bad => Err(self.fault(errno)),
            _ => Ok(()),
        }
    }

    /// Looks `name` up, and holds what it finds.
    fn entry(&self, parent: INodeNo, name: &OsStr, faults: &Faults) -> Result<FileAttr, Errno> {
        self.may_look(faults, name)?;
        if parent == INodeNo::ROOT && faults.empty == Some(Empty::Everything) {
            return Err(self.fault(Errno::ENOENT));
        }
        let path = self.at(parent)?.join(name);
        let node = rustix::fs::open(
            &path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let node = node.map_err(io::Error::from)?;
        let meta = fs::metadata(format!("/proc/self/fd/{}", node.as_raw_fd()))?;
        let ino = INodeNo(meta.ino());
        self.nodes.lock().unwrap().entry(ino).or_insert(node);
        Ok(attr_of(ino, &meta))
    }

    fn hold(&self, handle: Handle) -> FileHandle {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = FileHandle(NEXT.fetch_add(1, Ordering::Relaxed));
        self.handles.lock().unwrap().insert(number, handle);
        number
    }

    fn open_file(&self, path: &Path, flags: i32, create: Option<u32>) -> Result<FileHandle, Errno> {
        let flags = OFlags::from_bits_retain(flags.cast_unsigned());
        let mut options = OpenOptions::new();
        options
            .read(!flags.contains(OFlags::WRONLY))
            .write(flags.intersects(OFlags::WRONLY | OFlags::RDWR));
        if let Some(mode) = create {
            options
                .create_new(flags.contains(OFlags::EXCL))
                .create(true)
                .mode(mode);
        }
        Ok(self.hold(Handle::File(Arc::new(options.open(path)?))))
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        match self.handles.lock().unwrap().get(&handle) {
            Some(Handle::File(file)) => Ok(Arc::clone(file)),
            _ => Err(Errno::EBADF),
        }
    }

    fn names(&self, ino: INodeNo, faults: &Faults) -> Result<Handle, Errno> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(ino)?)? {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).ok_or(Errno::EIO)?;
            names.push((
                INodeNo(std::os::unix::fs::DirEntryExt::ino(&entry)),
                kind,
                entry.file_name(),
            ));
        }
        names.sort_by(|a, b| a.2.cmp(&b.2));
        let own = self.place(ino)?.starts_with(".dirpost");
        if faults.empty.is_some() && !own {
            names.clear();
        }
        Ok(Handle::Names(Arc::new(names)))
    }
}

/// Whether the thread is on its way out: killed, or in an exit.
fn is_dying(thread: u32) -> bool {
    const KILL_IS_PENDING: u64 = 1 << (9 - 1);
    const IS_EXITING: u64 = 4;
    let read = |name| fs::read_to_string(format!("/proc/{thread}/{name}")).unwrap_or_default();
    let (status, stat) = (read("status"), read("stat"));
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The ninth field; the second, a name, ends with the last bracket.
    let flags = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(6))
        .and_then(|flags| flags.parse().ok());
    pending.is_none_or(|mask| mask & KILL_IS_PENDING != 0)
        || flags.is_none_or(|flags: u64| flags & IS_EXITING != 0)
}

fn attr_of(ino: INodeNo, meta: &fs::Metadata) -> FileAttr {
    let time = |secs: i64, nanos: i64| {
        SystemTime::UNIX_EPOCH
            + Duration::new(
                u64::try_from(secs).unwrap_or(0),
                u32::try_from(nanos).unwrap_or(0),
            )
    };
    FileAttr {
        ino,
        size: meta.size(),
        blocks: meta.blocks(),
        atime: time(meta.atime(), meta.atime_nsec()),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        ctime: time(meta.ctime(), meta.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::from_std(meta.file_type()).unwrap_or(FileType::Socket),
        perm: (meta.mode() & 0o7777) as u16,
        nlink: meta.nlink() as u32,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: meta.rdev() as u32,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Tree {
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
        _uid: Option<u32>,
        _gid: Option<u32>,
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
            let faults = self.enter(req)?;
            let path = self.at(ino)?;
            if let Some(mode) = mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
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
            let faults = self.enter(req)?;
            let path = self.at(parent)?.join(name);
            rustix::fs::mkdir(&path, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
            self.entry(parent, name, &faults)
        }, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(reply, {
            self.enter(req)?;
            Ok(fs::remove_file(self.at(parent)?.join(name))?)
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
            self.enter(req)?;
            let (from, to) = (self.at(parent)?.join(name), self.at(newparent)?.join(newname));
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags).map_err(io::Error::from)?)
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
            let faults = self.enter(req)?;
            let (from, to) = (self.at(ino)?, self.at(newparent)?.join(newname));
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)?;
            self.entry(newparent, newname, &faults)
        }, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        reply!(reply, {
            self.enter(req)?;
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
            let faults = self.enter(req)?;
            let handle = self.open_file(&self.at(parent)?.join(name), flags, Some(mode))?;
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
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply!(reply, {
            self.enter(req)?;
            Ok(self.file(fh)?.write_all_at(data, offset)?)
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
        _ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply!(reply, {
            self.enter(req)?;
            Ok(self.file(fh)?.sync_all()?)
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
            self.enter(req)?;
            Ok(File::open(self.at(ino)?)?.sync_all()?)
        }, () => reply.ok());
    }

    fn statfs(&self, req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        const MANY: u64 = 1 << 20;
        reply!(reply, self.enter(req), _ => reply.statfs(MANY, MANY, MANY, MANY, MANY, 4096, 255, 4096));
    }
}
