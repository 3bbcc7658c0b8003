//! A share whose faults a test chooses: a FUSE file system that passes a folder through.
//!
//! The test itself works in the folder behind it ([`Share::back`]) and never touches the mount, so
//! that it does not hang with it. Nothing is cached: each look of dirpost is a request, and locks
//! are the kernel's own. A request that hangs is let go when its process is being killed, as NFS
//! and SMB do it.
//!
//! [`Traits`] are what the share is for as long as it is mounted, [`Faults`] what is wrong with it
//! for the moment. `tree` and `calls` are the
//! file system itself.

mod calls;
mod tree;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuser::{BackgroundSession, Errno};

use self::tree::Tree;
use super::{Dir, skip};

/// What kind of file system it is; by default one that can do all that Linux asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// What a rename that must not replace anything answers, if there is none: NFS answers EINVAL.
    pub no_replace: Result<(), Errno>,
    /// What a hard link answers, if there are none: EPERM or ENOTSUP.
    pub links: Result<(), Errno>,
    pub inodes: Inodes,
    /// Times are shown as multiples of this: FAT keeps 2 s.
    pub times: Duration,
    /// For how long a look may show the attributes of a file as they were, unless the file was
    /// opened since: NFS keeps them in its cache so long.
    pub stale: Duration,
    pub modes: Modes,
    /// The times of folders never move: some object-store mounts.
    pub folders_stand: bool,
}

impl Default for Traits {
    fn default() -> Traits {
        Traits {
            no_replace: Ok(()),
            links: Ok(()),
            inodes: Inodes::Last,
            times: Duration::ZERO,
            stale: Duration::ZERO,
            modes: Modes::Kept,
            folders_stand: false,
        }
    }
}

/// What becomes of owners and modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    Kept,
    /// Everything shows 0777 and root, and what would change that is passed over: CIFS with
    /// `dir_mode`, Azure Files.
    Ignored,
    /// Everything shows 0777 and root, and what would change that answers EPERM: FAT.
    Refused,
}

/// How long a file keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// For as long as it lives.
    Last,
    /// As long as its name: a rename gives it another one, and two names of one file have two.
    OfNames,
    /// Each lookup gives it another one. (Folders keep theirs.)
    OfLookups,
}

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
    pub acted: Option<Acted>,
    /// Every operation takes that much longer, each for itself: a share far away.
    pub delay: Option<Duration>,
}

/// What waits until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    Everything,
    ReadsOf(&'static str),
    /// This operation on a file or on a folder for files ([`Of::Files`]), the how-manyeth from now
    /// on, from 0: before it is carried out.
    Before(Operation, usize),
    /// The same, once it is carried out and before it answers.
    After(Operation, usize),
}

/// How the share shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// Folders list no names; who knows one finds it.
    Listings,
    /// As if there were nothing in the root at all.
    Everything,
}

/// An operation that is carried out and answers with an error all the same: the answer was lost on
/// the way (EIO, ETIMEDOUT on a soft mount), or the server did it twice (ENOENT, EEXIST).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acted {
    pub operation: Operation,
    pub errno: Errno,
    /// So many times; `usize::MAX` is for ever.
    pub times: usize,
    pub of: Of,
}

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Everything,
    /// Files and where they are filed: not what dirpost keeps for itself.
    Files,
}

/// What can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Unlink,
    Rename,
    Link,
    Create,
    /// Times, mode, owner, size.
    Setattr,
    Write,
    /// Of a file.
    Fsync,
    /// Of a folder.
    FsyncDir,
    Mkdir,
}

/// The share, mounted until it is dropped.
pub struct Share {
    dir: Dir,
    state: Arc<State>,
    session: Option<BackgroundSession>,
}

impl Share {
    /// A share that can be hung on by more requests than a well-behaved daemon makes. `None`, and a
    /// line that says so, where nothing can be mounted.
    pub fn mount() -> Option<Share> {
        Share::mount_with(Traits::default(), 24)
    }

    /// A share of this kind, on which a few requests may hang. `None` as for [`Share::mount`].
    pub fn mount_as(traits: Traits) -> Option<Share> {
        Share::mount_with(traits, 6)
    }

    /// A share of the usual kind that answers so many requests side by side. `None` as for [`Share::mount`].
    pub fn mount_answering(threads: usize) -> Option<Share> {
        Share::mount_with(Traits::default(), threads)
    }

    /// Each of the threads that answer has a buffer of 16 MiB.
    fn mount_with(traits: Traits, threads: usize) -> Option<Share> {
        let dir = Dir::new();
        let (back, mount) = (dir.mkdir("back"), dir.mkdir("share"));
        let back = back.canonicalize().expect("its path");
        let state = Arc::new(State::default());
        let mut config = fuser::Config::default();
        config.n_threads = Some(threads);
        match fuser::spawn_mount(Tree::new(back, traits, Arc::clone(&state)), &mount, &config) {
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
        let mut held = self.state.faults.lock().unwrap();
        self.state.counted.store(0, Ordering::SeqCst);
        *held = faults;
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

    /// How many requests there were that may fail or take long.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
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

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.0.join("back")
    }
}

#[derive(Default)]
struct State {
    faults: Mutex<Faults>,
    waiting: AtomicUsize,
    listings: AtomicUsize,
    failed: AtomicUsize,
    requests: AtomicUsize,
    /// How often an operation came that hangs at its turn.
    counted: AtomicUsize,
}
