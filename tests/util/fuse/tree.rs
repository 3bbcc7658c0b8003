//! The file system of [`super::Share`]: what it holds, and what it shows of the folder behind it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use fuser::{Errno, FileAttr, FileHandle, FileType, INodeNo, Request};
use rustix::fs::{Mode, OFlags};

use super::{Empty, Faults, Hang, Inodes, Modes, Of, Operation, State, Traits};

/// An inode is held by a handle, so that a rename changes nothing for it, and its number in the folder
/// behind the share goes to no other file.
pub(super) struct Tree {
    nodes: Mutex<HashMap<INodeNo, OwnedFd>>,
    /// With [`Inodes::OfNames`]: the number of a file under a name.
    numbers: Mutex<HashMap<(u64, PathBuf), INodeNo>>,
    /// With [`Traits::stale`]: what was last shown of a file, by its real number.
    shown: Mutex<HashMap<u64, (FileAttr, Instant)>>,
    pub(super) handles: Mutex<HashMap<FileHandle, Handle>>,
    pub(super) traits: Traits,
    pub(super) state: Arc<State>,
    back: PathBuf,
}

/// What a request holds open.
#[derive(Clone)]
pub(super) enum Handle {
    File(Arc<File>),
    Names(Arc<Vec<(INodeNo, FileType, std::ffi::OsString)>>),
}

/// Where the numbers begin that are not those of the folder behind the share.
const OWN_NUMBERS: u64 = 1 << 48;

impl Tree {
    pub(super) fn new(back: PathBuf, traits: Traits, state: Arc<State>) -> Tree {
        Tree {
            nodes: Mutex::default(),
            numbers: Mutex::default(),
            shown: Mutex::default(),
            handles: Mutex::default(),
            traits,
            state,
            back,
        }
    }

    /// Waits and fails as the test wants it; every operation begins with it.
    pub(super) fn enter(&self, req: &Request) -> Result<Faults, Errno> {
        self.state.requests.fetch_add(1, Ordering::SeqCst);
        self.wait(req, |hang| hang == Hang::Everything)?;
        let faults = self.state.faults.lock().unwrap().clone();
        if let Some(delay) = faults.delay {
            std::thread::sleep(delay);
        }
        match faults.all {
            Some(errno) => Err(self.fault(errno)),
            None => Ok(faults),
        }
    }

    pub(super) fn wait(&self, req: &Request, hangs: impl Fn(Hang) -> bool) -> Result<(), Errno> {
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

    pub(super) fn fault(&self, errno: Errno) -> Errno {
        self.state.failed.fetch_add(1, Ordering::SeqCst);
        errno
    }

    /// Begins an operation that may be held up.
    pub(super) fn begin(
        &self,
        req: &Request,
        operation: Operation,
        of: &Path,
    ) -> Result<Faults, Errno> {
        let faults = self.enter(req)?;
        self.wait_for_turn(req, of, |hang| match hang {
            Hang::Before(held, turn) if held == operation => Some(turn),
            _ => None,
        })?;
        Ok(faults)
    }

    /// Waits if it is the turn of this operation to hang.
    fn wait_for_turn(
        &self,
        req: &Request,
        of: &Path,
        turn: impl Fn(Hang) -> Option<usize>,
    ) -> Result<(), Errno> {
        let held = self.state.faults.lock().unwrap().hang;
        let Some(turn) = held.and_then(turn).filter(|_| is_filed_or_to_be(of)) else {
            return Ok(());
        };
        if self.state.counted.fetch_add(1, Ordering::SeqCst) == turn {
            return self.wait(req, |hang| Some(hang) == held);
        }
        Ok(())
    }

    /// The operation is carried out: what it answers. `of` is what it made, changed or removed.
    pub(super) fn done(&self, req: &Request, operation: Operation, of: &Path) -> Result<(), Errno> {
        self.wait_for_turn(req, of, |hang| match hang {
            Hang::After(held, turn) if held == operation => Some(turn),
            _ => None,
        })?;
        let errno = match &mut self.state.faults.lock().unwrap().acted {
            Some(acted)
                if acted.operation == operation
                    && acted.times > 0
                    && (acted.of == Of::Everything || is_filed_or_to_be(of)) =>
            {
                if acted.times < usize::MAX {
                    acted.times -= 1;
                }
                acted.errno
            }
            _ => return Ok(()),
        };
        Err(self.fault(errno))
    }

    /// A path that leads to the inode wherever it lies by now.
    pub(super) fn at(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        if ino == INodeNo::ROOT {
            return Ok(self.back.clone());
        }
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.get(&ino).ok_or(Errno::ESTALE)?;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", node.as_raw_fd())))
    }

    /// Where it lies, below the share.
    pub(super) fn place(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        let path = if ino == INodeNo::ROOT {
            self.back.clone()
        } else {
            fs::read_link(self.at(ino)?)?
        };
        Ok(path.strip_prefix(&self.back).unwrap_or(&path).to_path_buf())
    }

    pub(super) fn attr(&self, ino: INodeNo, faults: &Faults) -> Result<FileAttr, Errno> {
        let place = self.place(ino)?;
        self.may_look(faults, place.file_name().unwrap_or_default())?;
        Ok(self.shown(ino, &fs::metadata(self.at(ino)?)?))
    }

    pub(super) fn may_look(&self, faults: &Faults, name: &OsStr) -> Result<(), Errno> {
        match faults.look {
            Some((bad, errno)) if name == bad => Err(self.fault(errno)),
            _ => Ok(()),
        }
    }

    /// Looks `name` up, and holds what it finds.
    pub(super) fn entry(
        &self,
        parent: INodeNo,
        name: &OsStr,
        faults: &Faults,
    ) -> Result<FileAttr, Errno> {
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
        let ino = self.number(parent, name, &meta)?;
        self.nodes.lock().unwrap().entry(ino).or_insert(node);
        Ok(self.shown(ino, &meta))
    }

    /// The number that a file has under this name.
    pub(super) fn number(
        &self,
        parent: INodeNo,
        name: &OsStr,
        meta: &fs::Metadata,
    ) -> Result<INodeNo, Errno> {
        static NEXT: AtomicU64 = AtomicU64::new(OWN_NUMBERS);
        let fresh = || INodeNo(NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(match self.traits.inodes {
            Inodes::OfLookups if meta.is_file() => fresh(),
            Inodes::OfNames if meta.is_file() => {
                let key = (meta.ino(), self.place(parent)?.join(name));
                *self
                    .numbers
                    .lock()
                    .unwrap()
                    .entry(key)
                    .or_insert_with(fresh)
            }
            _ => INodeNo(meta.ino()),
        })
    }

    /// What a look shows.
    pub(super) fn shown(&self, ino: INodeNo, meta: &fs::Metadata) -> FileAttr {
        let mut fresh = attr_of(ino, meta, self.traits.times);
        if self.traits.modes != Modes::Kept {
            (fresh.perm, fresh.uid, fresh.gid) = (0o777, 0, 0);
        }
        if self.traits.folders_stand && meta.is_dir() {
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            (fresh.mtime, fresh.ctime) = (long_ago, long_ago);
        }
        if self.traits.stale.is_zero() || !meta.is_file() {
            return fresh;
        }
        let mut shown = self.shown.lock().unwrap();
        match shown.get(&meta.ino()) {
            Some((attr, at)) if at.elapsed() < self.traits.stale => FileAttr { ino, ..*attr },
            _ => {
                shown.insert(meta.ino(), (fresh, Instant::now()));
                fresh
            }
        }
    }

    /// The next look at the file shows it as it is.
    pub(super) fn refresh(&self, ino: INodeNo) -> Result<(), Errno> {
        if !self.traits.stale.is_zero() {
            let number = fs::metadata(self.at(ino)?)?.ino();
            self.shown.lock().unwrap().remove(&number);
        }
        Ok(())
    }

    /// The kernel does not know this number any more.
    pub(super) fn drop_node(&self, ino: INodeNo) {
        // Others are given again for the same file, and those files are few.
        if self.traits.inodes == Inodes::OfLookups && ino.0 >= OWN_NUMBERS {
            self.nodes.lock().unwrap().remove(&ino);
        }
    }

    pub(super) fn hold(&self, handle: Handle) -> FileHandle {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = FileHandle(NEXT.fetch_add(1, Ordering::Relaxed));
        self.handles.lock().unwrap().insert(number, handle);
        number
    }

    pub(super) fn open_file(
        &self,
        path: &Path,
        flags: i32,
        create: Option<u32>,
    ) -> Result<FileHandle, Errno> {
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

    pub(super) fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        match self.handles.lock().unwrap().get(&handle) {
            Some(Handle::File(file)) => Ok(Arc::clone(file)),
            _ => Err(Errno::EBADF),
        }
    }

    pub(super) fn names(&self, ino: INodeNo, faults: &Faults) -> Result<Handle, Errno> {
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

/// Whether it is a file, or where files go, by its path below the share.
fn is_filed_or_to_be(path: &Path) -> bool {
    let Ok(own) = path.strip_prefix(".dirpost") else {
        return true;
    };
    ["done", "dead-letter", "staging"]
        .iter()
        .any(|area| own.starts_with(area))
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

fn attr_of(ino: INodeNo, meta: &fs::Metadata, multiple: Duration) -> FileAttr {
    let time = |secs: i64, nanos: i64| {
        let since = Duration::new(
            u64::try_from(secs).unwrap_or(0),
            u32::try_from(nanos).unwrap_or(0),
        );
        let over = since
            .as_nanos()
            .checked_rem(multiple.as_nanos())
            .unwrap_or(0);
        SystemTime::UNIX_EPOCH + since.saturating_sub(Duration::from_nanos(over as u64))
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
