//! The watched folder: opened, and opened again by each scan; whose it is, and who works on it.
//!
//! Invariants:
//! - The mark of the share is a random id in `.dirpost/id`. Once it is known, a watched
//!   folder that shows another one, or none, is not the share: nothing is done with it. A share
//!   that dirpost may not write to may have no mark; then a folder that has ceased to be a
//!   mount point is not the share.
//! - A state folder elsewhere remembers the share that it belongs to. Where it does, no mark is
//!   made on a folder that has none: it may be the empty folder below a mount point.
//! - Who holds the lock works; everybody else waits. Lock and mark are in `.dirpost` in the
//!   watched folder; where dirpost may not write to that, the lock is in the state folder.
//! - A share that was away, one that was mounted over the folder, and a lock that is another's
//!   by now have all be opened again ([`Closing`]): the handles are of the share that was.
//! - The state folder is a real folder of this user's own that nobody else may write to; it is
//!   opened without following links below the watched folder, and used by its handle.

mod lock;
mod mark;
pub mod state;

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::Config;
use crate::flow::alarm::LOCK_RECHECK_AFTER;
use crate::flow::file::Rel;
use crate::flow::messages::Closing;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::Dir;
use crate::io::os::error::{explain, needs_a_person};
use crate::io::os::lock as locked;

pub use crate::io::os::random;

use self::lock::Lock;
use self::mark::Misfit;
pub use self::mark::{Identity, Mark};
use self::state::{Paths, Site, StateDir};

/// Why the folders cannot be used; each is a sentence with the path.
#[derive(Debug)]
pub enum OpenError {
    /// To be waited for: the watched folder is not there (yet), or is not the share, or answers
    /// with an error that may be over by itself.
    Away(String),
    /// To be waited for as a standby: another process holds the lock; who, as far as is known.
    Locked(String),
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
}

impl Share {
    /// Opens both folders, makes what is missing in the state folder, and takes the lock.
    /// `adopt`: a state folder that belongs to another share is to belong to this one.
    ///
    /// # Errors
    /// See [`OpenError`]. What was made of folders stays; nothing is locked.
    pub fn open(config: &Config, adopt: bool) -> Result<(Share, StateDir), OpenError> {
        let paths = Paths::of(config);
        let root =
            open_root(&paths.watched, config.watch.require_mount).map_err(OpenError::Away)?;
        let is_mount = is_mount(&paths.watched, &root);
        let (site, known) = Site::open(&paths, &root, adopt)?;
        let found = site.mark(&paths)?;
        if let Some(known) = known.as_ref().filter(|_| !adopt) {
            known
                .fits(found.as_deref(), is_mount)
                .map_err(|misfit| not_the_share(&paths, misfit))?;
        }
        let is_new = found.is_none() && known.is_none();

        // The lock comes before anything is written that another process may be at.
        let (place, path) = site.for_lock(&paths);
        let lock = Arc::new(Lock::take(place, path)?);
        let identity = site.identify(&paths, known, is_mount)?;
        state::clean(site.state());

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
        };
        Ok((share, state))
    }

    /// The watched folder as it was last opened.
    pub fn folder(&self) -> Arc<Dir> {
        Arc::clone(&locked(&self.root))
    }

    /// The path of the watched folder.
    pub fn path(&self) -> &Path {
        &self.paths.watched
    }

    /// Whether dirpost may not write to it.
    pub fn is_read_only(&self) -> bool {
        matches!(self.site, Site::ReadOnly { .. })
    }

    /// Opens the watched folder again, through no handle that was held, and sees that it is
    /// still the share and the lock is still this process's.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn reopen(&self) -> Result<Arc<Dir>, Unusable> {
        let root = match self.try_reopen() {
            Ok(root) => root,
            Err(Unusable::Away(why)) => return Err(self.lost(why)),
            Err(anew) => {
                if let Unusable::Anew(Closing::LockLost(_)) = anew {
                    self.end();
                }
                return Err(anew);
            }
        };
        if *locked(&self.standing) == Standing::Away {
            return Err(Unusable::Anew(Closing::ShareBack));
        }
        let root = Arc::new(root);
        *locked(&self.root) = Arc::clone(&root);
        Ok(root)
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

    /// Whether nothing more may be sent or moved.
    pub fn is_over(&self) -> bool {
        *locked(&self.standing) == Standing::Over
    }

    /// To be called before anything is sent or moved, with the moment at which the work on it
    /// began: after a hang another process may hold the lock.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn confirm_after(&self, began: Instant) -> io::Result<()> {
        if self.is_over() {
            return Err(io::Error::other("all is being opened again"));
        }
        if began.elapsed() < LOCK_RECHECK_AFTER {
            return Ok(());
        }
        self.reopen().map(drop).map_err(|unusable| {
            io::Error::other(match unusable {
                Unusable::Away(why) | Unusable::Anew(Closing::LockLost(why)) => why,
                Unusable::Anew(_) => "the share was away meanwhile".into(),
            })
        })
    }

    fn try_reopen(&self) -> Result<Dir, Unusable> {
        let path = &self.paths.watched;
        let root = open_root(path, self.require_mount).map_err(Unusable::Away)?;
        let own = self.fresh_own(&root)?;
        self.see_mark(&root, own.as_ref())?;
        match (&self.site, own) {
            (Site::ReadOnly { .. }, _) => {
                let state =
                    Dir::at(&self.paths.state).map_err(|err| away(&self.paths.state, &err))?;
                self.lock.confirm(&state)?;
            }
            (Site::OnShare { .. } | Site::Elsewhere { .. }, Some(own)) => {
                self.lock.confirm(&own)?;
            }
            (Site::OnShare { .. } | Site::Elsewhere { .. }, None) => {
                return Err(self.unmarked(&root));
            }
        }
        if *locked(&self.standing) == Standing::Away {
            // Before all is opened again: whether it can be used at all.
            root.names(&Rel::root()).map_err(|err| away(path, &err))?;
        }
        Ok(root)
    }

    /// `.dirpost` as the path shows it now; `None` if it is not there.
    fn fresh_own(&self, root: &Dir) -> Result<Option<Dir>, Unusable> {
        match root.folder(&Rel::new(OWN_FOLDER.as_bytes())) {
            Ok(own) => Ok(Some(own)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            // Nothing is expected there.
            Err(_) if matches!(self.identity.mark, Mark::None { .. }) => Ok(None),
            Err(err) => Err(self.mounted_over_or(root, said_of(&self.paths.own, &err))),
        }
    }

    /// Sees that the folder `root` with the `.dirpost` in it is the share.
    fn see_mark(&self, root: &Dir, own: Option<&Dir>) -> Result<(), Unusable> {
        let watched = self.paths.watched.display();
        match self.identity.mark {
            Mark::None { .. } if is_mount(&self.paths.watched, root) == self.mount_at_first => {
                Ok(())
            }
            Mark::None { .. } => {
                Err(self.mounted_over_or(root, format!("{watched}: {}", Misfit::NotMounted)))
            }
            Mark::Written => match own.map(|own| read_small(own, mark::ID)) {
                Some(Ok(found)) if found.trim_ascii() == self.identity.id.as_bytes() => Ok(()),
                Some(Ok(_)) => {
                    Err(self.mounted_over_or(root, format!("{watched}: {}", Misfit::OtherMark)))
                }
                Some(Err(err)) if err.kind() != io::ErrorKind::NotFound => {
                    Err(self.mounted_over_or(root, said_of(&self.paths.own.join("id"), &err)))
                }
                Some(Err(_)) | None => Err(self.unmarked(root)),
            },
        }
    }

    fn unmarked(&self, root: &Dir) -> Unusable {
        let why = format!(
            "{}: it has lost its mark (.dirpost/id): perhaps the share is not mounted (if somebody has removed \
             it: restart dirpost, with --adopt where state.dir is elsewhere)",
            self.paths.watched.display()
        );
        self.mounted_over_or(root, why)
    }

    /// A share that was mounted over the folder since it was opened, or what is wrong with it.
    fn mounted_over_or(&self, root: &Dir, why: String) -> Unusable {
        if !self.mount_at_first && is_mount(&self.paths.watched, root) {
            Unusable::Anew(Closing::MountedOver)
        } else {
            Unusable::Away(why)
        }
    }
}

fn away(path: &Path, err: &io::Error) -> Unusable {
    Unusable::Away(said_of(path, err))
}

fn said_of(path: &Path, err: &io::Error) -> String {
    format!("{}: {}", path.display(), explain(err))
}

/// The watched folder is not the share that the state folder belongs to.
fn not_the_share(paths: &Paths, misfit: Misfit) -> OpenError {
    OpenError::Away(format!(
        "{}: {misfit}, and the state in {} belongs to a share. Is it mounted? If this folder is meant, start once with --adopt",
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

/// The start of a small file, through a fresh open.
fn read_small(folder: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    folder.file(name)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
