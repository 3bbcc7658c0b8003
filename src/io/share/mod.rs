//! The watched folder: opened, and opened again by each scan; whose it is, and who works on it.
//!
//! Invariants:
//! - The mark of the share is a random id in `.dirpost/id`. Once it is known, a watched
//!   folder that shows another one, or none, is not the share: nothing is done with it. A share
//!   that dirpost may not write to may have no mark; then a folder that has ceased to be a
//!   mount point is not the share.
//! - What somebody has removed of dirpost's own under the running process (mark, lock, journal) is
//!   written again, but only where a fresh open shows the very folder whose handle is held.
//! - A state folder elsewhere remembers the share that it belongs to. Where it does, no mark is
//!   made on a folder that has none: it may be the empty folder below a mount point.
//! - Who holds the lock works; everybody else waits. Lock and mark are in `.dirpost` in the
//!   watched folder; where dirpost may not write to that, the lock is in the state folder.
//! - A share that was away, one that was mounted over the folder, and a lock that is another's
//!   by now have all be opened again ([`Closing`]): the handles are of the share that was.
//! - With `watch.shard` each shard has its state, and its lock, in a folder of its own in `.dirpost`;
//!   how many shards there are is written down there (`layout`).
//! - The state folder is a real folder of this user's own that nobody else may write to, where the
//!   mount knows modes ([`access`]); it is opened without following links below the watched
//!   folder, and used by its handle.

pub mod access;
mod keeper;
mod layout;
mod lock;
mod look;
mod mark;
mod site;
pub mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use crate::config::Config;
use crate::flow::alarm::Alarm;
use crate::flow::messages::Closing;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::flow::time::Mono;
use crate::io::dir::Dir;
use crate::io::journal::Journal;
use crate::io::os::clock;
use crate::io::os::error::{explain, needs_a_person};
use crate::io::os::lock as locked;

pub use crate::io::os::random;

pub use self::keeper::AtWork;
use self::keeper::Work;
pub use self::lock::LOCK_GONE_WAIT;
use self::lock::Lock;
use self::mark::Misfit;
pub use self::mark::{Identity, Mark};
use self::site::{Kind, Paths, Site};
use self::state::StateDir;

/// Why the folders cannot be used; each is a sentence with the path.
#[derive(Debug)]
pub enum OpenError {
    /// To be waited for: the watched folder is not there (yet), or is not the share, or answers
    /// with an error that may be over by itself.
    Away(String),
    /// To be waited for as a standby: another process holds the lock; who, as far as is known.
    Locked(String),
    /// To be tried again, and to be made after [`LOCK_GONE_WAIT`] ([`Opening::make_lock`]): the
    /// lock file is missing or another one, and the process that had locked it may be alive.
    LockGone(String),
    /// A person has to change something first.
    Fault(String),
}

impl OpenError {
    /// What it means that `path` cannot be used.
    pub fn of(path: &Path, err: &io::Error) -> OpenError {
        let why = said_of(path, err);
        if needs_a_person(err) {
            OpenError::Fault(why)
        } else {
            OpenError::Away(why)
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Away(why)
            | OpenError::Locked(why)
            | OpenError::LockGone(why)
            | OpenError::Fault(why) => f.write_str(why),
        }
    }
}

/// How the folders are opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// This folder is meant, whatever share a state folder elsewhere remembers (`--adopt`).
    pub adopt: bool,
    /// What this process knows of it from before.
    pub before: Before,
    /// The lock file has been missing for [`LOCK_GONE_WAIT`]: it may be made.
    pub make_lock: bool,
}

impl Opening {
    /// When the lock file in the folder `place` may be made, if there is none.
    fn making(&self, place: &Dir) -> lock::Making {
        match self {
            Opening {
                make_lock: true, ..
            } => lock::Making::Waited,
            _ if self.before == Before::Nothing && state::is_blank(place) => lock::Making::New,
            _ => lock::Making::NotYet,
        }
    }
}

/// What a process knows of a share that it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it starts, or the share was mounted over the folder that it had open.
    #[default]
    Nothing,
    /// Another process was seen to hold the lock: there is a state, whatever is seen of it now.
    StoodBy,
    /// It has had the share with this id open: nothing is begun anew.
    Had(String),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unusable::Away(why) | Unusable::Anew(Closing::LockLost(why)) => f.write_str(why),
            Unusable::Anew(Closing::ShareBack) => f.write_str("the folder was away meanwhile"),
            Unusable::Anew(Closing::MountedOver) => {
                f.write_str("something has been mounted over the folder")
            }
        }
    }
}

/// Why a scan cannot begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The share is not there; why, as a sentence with the path.
    Away(String),
    /// All has to be opened again.
    Anew(Closing),
}

/// What may be done with what was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    InUse,
    /// The share could not be used when it was last opened: when it is back, all is opened again.
    Away,
    /// Nothing more is sent or moved: the lock is another's, or all has been opened again.
    Over,
}

/// The watched folder as it was last opened, for all threads. A scan opens it again, so
/// that a share which was mounted again is seen.
#[derive(Debug)]
pub struct Share {
    paths: Paths,
    require_mount: bool,
    /// Something was mounted on the folder when it was opened first.
    mount_at_first: bool,
    identity: Identity,
    site: Site,
    lock: Arc<Lock>,
    root: Mutex<Arc<Dir>>,
    standing: Mutex<Standing>,
    /// Looked after once it is known: see [`Share::watch_over`].
    journal: OnceLock<Arc<Journal>>,
    /// When the lock was last seen to be this process's.
    looked: Mutex<Mono>,
    /// When the files that a clean-up by age must leave were last touched.
    touched: Mutex<Mono>,
    /// How many files are being sent.
    at_work: Arc<Work>,
    /// What was said to have been put right, so that it is not said again and again.
    said: Mutex<BTreeMap<&'static str, Alarm>>,
}

impl Share {
    /// Opens both folders as at a start: see [`Share::open_as`]. `adopt`: a state folder that
    /// belongs to another share is to belong to this one.
    ///
    /// # Errors
    /// As those of [`Share::open_as`].
    pub fn open(config: &Config, adopt: bool) -> Result<(Share, StateDir), OpenError> {
        let opening = Opening {
            adopt,
            ..Opening::default()
        };
        Share::open_as(config, &opening)
    }

    /// Opens both folders, makes what is missing in the state folder, and takes the lock.
    ///
    /// # Errors
    /// See [`OpenError`]. What was made of folders stays; nothing is locked.
    pub fn open_as(config: &Config, opening: &Opening) -> Result<(Share, StateDir), OpenError> {
        let paths = Paths::of(config);
        let root =
            open_root(&paths.watched, config.watch.require_mount).map_err(OpenError::Away)?;
        let is_mount = is_mount(&paths.watched, &root);
        let (mut site, known) = Site::open(&paths, &root, opening)?;
        let found = site.mark(&paths)?;
        if let Some(known) = known
            .as_ref()
            .filter(|_| site.is_elsewhere() && !opening.adopt)
        {
            known
                .fits(found.as_deref(), is_mount)
                .map_err(|misfit| not_the_share(&paths, misfit))?;
        }
        if found.is_none() && known.is_none() && matches!(opening.before, Before::Had(_)) {
            return Err(OpenError::Away(lost_mark(&paths)));
        }
        let is_new = found.is_none() && known.is_none();

        // The lock comes before anything is written that another process may be at.
        let (place, path) = site.for_lock(&paths);
        let making = opening.making(place);
        let of_shards = paths
            .shard
            .map(|shard| layout::enter(&site, &paths, Some(shard)));
        let of_shards = of_shards.transpose()?;
        let lock = Arc::new(Lock::take(place, path, making)?);
        // Who works on all of the folder looks for shards with the lock in hand, and these look for it
        // before they work.
        let of_all = match paths.shard {
            None => Some(layout::enter(&site, &paths, None)?),
            Some(_) => None,
        };
        let identity = site.identify(&paths, known, is_mount)?;
        site.guard_below(&paths)?;
        state::clean(site.state());
        site.say_open(&paths);
        drop((of_shards, of_all));

        let state = StateDir {
            folder: Arc::clone(site.state()),
            path: paths.state.clone(),
            share: identity.to_string(),
            id: identity.id.clone(),
            is_new,
            lock: Arc::clone(&lock),
        };
        let share = Share {
            paths,
            require_mount: config.watch.require_mount,
            mount_at_first: is_mount,
            identity,
            site,
            lock,
            root: Mutex::new(Arc::new(root)),
            standing: Mutex::new(Standing::InUse),
            journal: OnceLock::new(),
            looked: Mutex::new(clock::with_sleep()),
            touched: Mutex::new(clock::with_sleep()),
            at_work: Arc::default(),
            said: Mutex::default(),
        };
        share.touch();
        Ok((share, state))
    }

    /// The watched folder as it was last opened.
    pub fn folder(&self) -> Arc<Dir> {
        Arc::clone(&locked(&self.root))
    }

    /// `.dirpost` in the watched folder, on the same file system as a rule wherever the state folder
    /// is; `None` on a share that dirpost may not write to.
    pub fn own(&self) -> Option<&Dir> {
        self.site.for_mark().map(|own| &**own)
    }

    /// The path of the watched folder.
    pub fn path(&self) -> &Path {
        &self.paths.watched
    }

    /// Whether dirpost may not write to it.
    pub fn is_read_only(&self) -> bool {
        matches!(self.site.kind(), Kind::ReadOnly { .. })
    }

    /// The share is away: when it is back, all is opened again.
    pub fn lost(&self, why: String) -> Unusable {
        let mut standing = locked(&self.standing);
        if *standing == Standing::InUse {
            *standing = Standing::Away;
        }
        Unusable::Away(why)
    }

    /// From now on nothing more is sent to its end or moved by what was opened here.
    pub fn end(&self) {
        *locked(&self.standing) = Standing::Over;
    }

    /// The file that is locked, to be closed: nothing more is sent or moved ([`Share::end`]). `None` where
    /// an operation on it hangs.
    pub fn hand_over(&self) -> Option<File> {
        self.end();
        self.lock.hand_over()
    }

    /// Whether nothing more may be sent or moved.
    pub fn is_over(&self) -> bool {
        *locked(&self.standing) == Standing::Over
    }
}

impl Drop for Share {
    /// So that the thread which looks at the lock ends.
    fn drop(&mut self) {
        self.at_work.end();
    }
}

fn said_of(path: &Path, err: &io::Error) -> String {
    format!("{}: {}", path.display(), explain(err))
}

fn lost_mark(paths: &Paths) -> String {
    format!(
        "{}: it has lost its mark (.dirpost/id): perhaps it is not mounted (if somebody has removed \
         it: restart dirpost, with --adopt where state.dir is elsewhere)",
        paths.watched.display()
    )
}

/// The watched folder is not the share that the state folder belongs to.
fn not_the_share(paths: &Paths, misfit: Misfit) -> OpenError {
    OpenError::Away(format!(
        "{}: {misfit}, and the state in {} belongs to another folder. Is it mounted? If this folder is meant, start once with --adopt",
        paths.watched.display(),
        paths.state.display()
    ))
}

fn open_root(path: &Path, require_mount: bool) -> Result<Dir, String> {
    let root = Dir::at(path).map_err(|err| said_of(path, &err))?;
    if require_mount {
        let parent = path.join("..");
        let parent = Dir::at(&parent).map_err(|err| said_of(&parent, &err))?;
        if parent.same_fs(&root) && !parent.is(&root) {
            return Err(format!(
                "{}: it is not a mount point (watch.require_mount = true)",
                path.display()
            ));
        }
    }
    Ok(root)
}

/// Whether something is mounted on `path`. A bind mount of the same file system is not seen.
fn is_mount(path: &Path, root: &Dir) -> bool {
    Dir::at(&path.join("..")).is_ok_and(|parent| !parent.same_fs(root))
}

/// What the last holder of the lock has written down: a token, its host and its process id. `None` if
/// there is nothing.
pub fn holder_of(config: &Config) -> Option<String> {
    let own = config.watch.dir.join(OWN_FOLDER);
    let read = |path: &Path| Dir::at(path).and_then(|dir| read_small(&dir, lock::HOLDER));
    let bytes = match config.watch.shard {
        Some(_) => read(&config.state.dir),
        None => read(&own).or_else(|_| read(&config.state.dir)),
    };
    let bytes = bytes.ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_string()).filter(|line| !line.is_empty())
}

/// The start of a small file, through a fresh open.
pub fn read_small(folder: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    // With room for what such a file holds, one read brings it and one more shows its end.
    let mut bytes = Vec::with_capacity(128);
    folder.file(name)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
