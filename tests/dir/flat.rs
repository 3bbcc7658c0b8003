//! A file system of one folder, in memory, that lacks what a test wants it to lack, and that does
//! what it was asked for and yet answers with an error, as NFS and SMB may.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::util;

/// The calls that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    RenameNoReplace,
    RenameOver,
    Link,
    Unlink,
    Create,
    Write,
    Fsync,
    FsyncFolder,
    Chmod,
    Chown,
}

/// What comes of a call, once or from now on.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It is not done, and this is the answer.
    Refused(Errno),
    /// It is done, and this is the answer.
    DoneYet(Errno),
    /// It is not done, and the answer is a success.
    Forgotten,
    /// It is not done, for another process is first to take the name, with the same bytes.
    Overtaken,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<OsString, u64>,
    nodes: HashMap<u64, Node>,
    last: u64,
    always: HashMap<Call, Outcome>,
    once: HashMap<Call, Outcome>,
    shown: Shown,
}

/// What is shown of every file and folder, whatever it was made with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    pub mode: Option<u16>,
    pub uid: Option<u32>,
}

#[derive(Clone, Debug)]
struct Node {
    kind: FileType,
    bytes: Vec<u8>,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: SystemTime,
}

/// The file system, mounted until it is dropped.
pub struct Flat {
    dir: util::Dir,
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

impl Flat {
    /// `None`, and a line that says so, where nothing can be mounted.
    pub fn mount(test: &str) -> Option<Flat> {
        let dir = util::Dir::new();
        let state = Arc::new(Mutex::new(State::default()));
        let tree = Tree(Arc::clone(&state));
        match fuser::spawn_mount(tree, dir.path(), &fuser::Config::default()) {
            Ok(session) => Some(Flat {
                dir,
                state,
                session: Some(session),
            }),
            Err(err) => {
                eprintln!("SKIPPED: {test} needs /dev/fuse and the right to mount: {err}");
                None
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// From now on this comes of every such call.
    pub fn always(&self, call: Call, outcome: Outcome) {
        self.lock().always.insert(call, outcome);
    }

    /// This comes of the next such call.
    pub fn once(&self, call: Call, outcome: Outcome) {
        self.lock().once.insert(call, outcome);
    }

    /// From now on every file and folder shows this.
    pub fn show(&self, shown: Shown) {
        self.lock().shown = shown;
    }

    /// Whether everything that was to happen once has happened.
    pub fn has_happened(&self) -> bool {
        self.lock().once.is_empty()
    }

    /// The names and what lies there, without a way through the kernel.
    pub fn files(&self) -> Vec<(String, String)> {
        let state = self.lock();
        let text = |node: &Node| String::from_utf8_lossy(&node.bytes).into_owned();
        let name = |name: &OsString| name.to_string_lossy().into_owned();
        state
            .names
            .iter()
            .map(|(key, ino)| (name(key), text(&state.nodes[ino])))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Flat {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .output();
        drop(self.session.take());
    }
}

struct Tree(Arc<Mutex<State>>);

const NO_TTL: Duration = Duration::ZERO;
const DIRECT: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

impl Tree {
    /// Does `act`, or not, and says so, or not: as the test wants it.
    fn call<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut State) -> Result<T, Errno>,
        otherwise: impl FnOnce(&mut State) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut state = self.0.lock().unwrap();
        let always = state.always.get(&call).copied();
        match state.once.remove(&call).or(always) {
            None => act(&mut state),
            Some(Outcome::Refused(errno)) => Err(errno),
            Some(Outcome::DoneYet(errno)) => act(&mut state).and(Err(errno)),
            Some(Outcome::Forgotten | Outcome::Overtaken) => otherwise(&mut state),
        }
    }

    fn simply<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, Errno> {
        act(&mut self.0.lock().unwrap())
    }
}

impl State {
    fn ino(&self, name: &OsStr) -> Result<u64, Errno> {
        self.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn node(&mut self, ino: INodeNo) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino.0).ok_or(Errno::ESTALE)
    }

    fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let node = self.nodes.get(&ino.0);
        if ino != INodeNo::ROOT && node.is_none() {
            return Err(Errno::ESTALE);
        }
        let mtime = node.map_or(SystemTime::UNIX_EPOCH, |node| node.mtime);
        Ok(FileAttr {
            ino,
            size: node.map_or(0, |node| node.bytes.len() as u64),
            blocks: 1,
            atime: mtime,
            mtime,
            ctime: mtime,
            crtime: mtime,
            kind: node.map_or(FileType::Directory, |node| node.kind),
            perm: self
                .shown
                .mode
                .unwrap_or(node.map_or(0o777, |node| node.mode)),
            nlink: 1,
            uid: self.shown.uid.unwrap_or(node.map_or(0, |node| node.uid)),
            gid: node.map_or(0, |node| node.gid),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn rename(&mut self, name: &OsStr, to: &OsStr) -> Result<(), Errno> {
        let ino = self.ino(name)?;
        self.names.insert(to.to_os_string(), ino);
        if name != to {
            self.names.remove(name);
        }
        Ok(())
    }

    fn make(
        &mut self,
        req: &Request,
        name: &OsStr,
        kind: FileType,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        self.must_be_free(name)?;
        let node = Node {
            kind,
            bytes: Vec::new(),
            mode: (mode & 0o7777) as u16,
            uid: req.uid(),
            gid: req.gid(),
            mtime: SystemTime::now(),
        };
        let ino = self.add(name, node);
        self.attr(ino)
    }

    fn add(&mut self, name: &OsStr, node: Node) -> INodeNo {
        self.last += 1;
        let ino = INodeNo(self.last + INodeNo::ROOT.0);
        self.nodes.insert(ino.0, node);
        self.names.insert(name.to_os_string(), ino.0);
        ino
    }

    fn must_be_free(&self, name: &OsStr) -> Result<(), Errno> {
        match self.names.contains_key(name) {
            true => Err(Errno::EEXIST),
            false => Ok(()),
        }
    }
}

/// Gives the answer, or the error.
macro_rules! reply {
    ($reply:ident, $result:expr, $value:pat => $answer:expr) => {
        match $result {
            Ok($value) => $answer,
            Err(err) => $reply.error(err),
        }
    };
}

impl Filesystem for Tree {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.simply(|state| state.ino(name).and_then(|ino| state.attr(INodeNo(ino))));
        reply!(reply, found, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply!(reply, self.simply(|state| state.attr(ino)), attr => reply.attr(&NO_TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let act = |state: &mut State| {
            let node = state.node(ino)?;
            if let Some(mode) = mode {
                node.mode = (mode & 0o7777) as u16;
            }
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
            if let Some(TimeOrNow::SpecificTime(time)) = mtime {
                node.mtime = time;
            }
            state.attr(ino)
        };
        let set = if uid.or(gid).is_some() {
            self.call(Call::Chown, act, |state| state.attr(ino))
        } else if mode.is_some() {
            self.call(Call::Chmod, act, |state| state.attr(ino))
        } else {
            self.simply(act)
        };
        reply!(reply, set, attr => reply.attr(&NO_TTL, &attr));
    }

    fn create(
        &self,
        req: &Request,
        _: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let act = |state: &mut State| state.make(req, name, FileType::RegularFile, mode);
        let made = self.call(Call::Create, act, |_| Err(Errno::EIO));
        reply!(reply, made, attr =>
            reply.created(&NO_TTL, &attr, Generation(0), FileHandle(0), DIRECT));
    }

    fn mkdir(
        &self,
        req: &Request,
        _: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.simply(|state| state.make(req, name, FileType::Directory, mode));
        reply!(reply, made, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), DIRECT);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.simply(|state| {
            let bytes = &state.node(ino)?.bytes;
            let from = bytes.len().min(offset as usize);
            let to = bytes.len().min(from + size as usize);
            Ok(bytes[from..to].to_vec())
        });
        reply!(reply, read, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let act = |state: &mut State| {
            let node = state.node(ino)?;
            node.bytes.truncate(offset as usize);
            node.bytes.extend_from_slice(data);
            node.mtime = SystemTime::now();
            Ok(())
        };
        let written = self.call(Call::Write, act, |_| Ok(()));
        reply!(reply, written, () => reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply!(reply, self.call(Call::Fsync, |_| Ok(()), |_| Ok(())), () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply!(reply, self.call(Call::FsyncFolder, |_| Ok(()), |_| Ok(())), () => reply.ok());
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let act = |state: &mut State| {
            state.ino(name)?;
            state.names.remove(name);
            Ok(())
        };
        reply!(reply, self.call(Call::Unlink, act, |_| Ok(())), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.simply(|state| {
            let ino = state.ino(name)?;
            if state.node(INodeNo(ino))?.kind != FileType::Directory {
                return Err(Errno::ENOTDIR);
            }
            state.names.remove(name);
            Ok(())
        });
        reply!(reply, removed, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replaces = flags.is_empty();
        let act = |state: &mut State| {
            if !replaces {
                state.must_be_free(to)?;
            }
            state.rename(name, to)
        };
        let call = match replaces {
            true => Call::RenameOver,
            false => Call::RenameNoReplace,
        };
        reply!(reply, self.call(call, act, |_| Ok(())), () => reply.ok());
    }

    fn link(&self, _: &Request, ino: INodeNo, _: INodeNo, to: &OsStr, reply: ReplyEntry) {
        let act = |state: &mut State| {
            state.must_be_free(to)?;
            state.names.insert(to.to_os_string(), ino.0);
            state.attr(ino)
        };
        let overtaken = |state: &mut State| {
            let node = state.node(ino)?.clone();
            state.add(to, node);
            Err(Errno::EEXIST)
        };
        let linked = self.call(Call::Link, act, overtaken);
        reply!(reply, linked, attr => reply.entry(&NO_TTL, &attr, Generation(0)));
    }
}
