//! The folders of dirpost's own: `.dirpost` in the watched folder, and the state folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Action, Config};
use crate::flow::file::Rel;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{DRAFT, Dir, below, draft_name};
use crate::io::journal::Home;

use super::lock::Lock;
use super::mark::{Identity, Mark};
use super::{OpenError, mark};

pub use crate::io::os::error::is_read_only;

/// dirpost's own folder and what is in it.
#[derive(Debug)]
pub struct StateDir {
    /// Journal, memory and status.
    pub folder: Arc<Dir>,
    /// Its path, for messages.
    pub path: PathBuf,
    /// The id of the share, marked or not.
    pub id: String,
    /// The share, as the first line of a journal names it.
    pub(super) share: String,
    /// Made just now: nothing can be known yet.
    pub is_new: bool,
    /// Held for as long as this lives.
    pub(super) lock: Arc<Lock>,
}

impl StateDir {
    /// Where the journal lies, and whose it is.
    pub fn journal(&self) -> Home {
        Home {
            folder: Arc::clone(&self.folder),
            path: self.path.clone(),
            share: self.share.clone(),
        }
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        self.lock.release();
    }
}

/// Where dirpost keeps what is its own, by what it may do on the share.
#[derive(Debug)]
pub(super) enum Site {
    /// The state folder is in the watched folder: `.dirpost` itself or another.
    OnShare { own: Arc<Dir>, state: Arc<Dir> },
    /// The state folder is elsewhere; mark and lock are in `.dirpost`.
    Elsewhere { own: Arc<Dir>, state: Arc<Dir> },
    /// The state folder is elsewhere, and the lock in it: dirpost may not write to the share,
    /// where `.dirpost` may be missing.
    ReadOnly {
        own: Option<Arc<Dir>>,
        state: Arc<Dir>,
    },
}

/// Where they are, for messages and to open them again.
#[derive(Debug)]
pub(super) struct Paths {
    pub watched: PathBuf,
    /// `.dirpost` in it.
    pub own: PathBuf,
    pub state: PathBuf,
    /// The state folder relative to the watched one, if it is in it.
    state_below: Option<Rel>,
    /// Nothing has to be written to the share.
    may_be_read_only: bool,
}

impl Paths {
    pub(super) fn of(config: &Config) -> Paths {
        let state_below = below(&config.watch.dir, &config.state.dir);
        Paths {
            watched: config.watch.dir.clone(),
            own: config.watch.dir.join(OWN_FOLDER),
            state: config.state.dir.clone(),
            may_be_read_only: state_below.is_none() && config.delivered.action == Action::Keep,
            state_below,
        }
    }
}

impl Site {
    /// Opens the folders, and makes what is missing. Gives as well what a state folder elsewhere
    /// remembers. `adopt`: it is to belong to this share, whatever it remembers.
    ///
    /// # Errors
    /// [`OpenError::Away`] where a state folder elsewhere belongs to a share, and the watched
    /// folder has nothing of dirpost's; else of opening and making. A state folder elsewhere that
    /// was made stays.
    pub(super) fn open(
        paths: &Paths,
        root: &Dir,
        adopt: bool,
    ) -> Result<(Site, Option<Identity>), OpenError> {
        if let Some(state) = &paths.state_below {
            let own = Arc::new(make_own(paths, root)?);
            let state = if paths.state == paths.own {
                Arc::clone(&own)
            } else {
                let state = root
                    .make(state)
                    .map_err(|err| OpenError::of(&paths.state, &err))?;
                Arc::new(private(state, &paths.state)?)
            };
            return Ok((Site::OnShare { own, state }, None));
        }
        let state = Dir::make_at(&paths.state).map_err(|err| OpenError::of(&paths.state, &err))?;
        let state = Arc::new(private(state, &paths.state)?);
        let known =
            Identity::read(&state).map_err(|err| OpenError::of(&paths.state.join("id"), &err))?;
        let site = match open_own(paths, root, known.as_ref().filter(|_| !adopt))? {
            Own::Writable(own) => Site::Elsewhere {
                own: Arc::new(own),
                state,
            },
            Own::ReadOnly(own) => Site::ReadOnly {
                own: own.map(Arc::new),
                state,
            },
        };
        Ok((site, known))
    }

    /// `.dirpost` in the watched folder, if it is there.
    pub(super) fn own(&self) -> Option<&Arc<Dir>> {
        match self {
            Site::OnShare { own, .. } | Site::Elsewhere { own, .. } => Some(own),
            Site::ReadOnly { own, .. } => own.as_ref(),
        }
    }

    pub(super) fn state(&self) -> &Arc<Dir> {
        match self {
            Site::OnShare { state, .. }
            | Site::Elsewhere { state, .. }
            | Site::ReadOnly { state, .. } => state,
        }
    }

    /// Where the mark may be written; `None` on a share that dirpost may not write to.
    pub(super) fn for_mark(&self) -> Option<&Arc<Dir>> {
        match self {
            Site::OnShare { own, .. } | Site::Elsewhere { own, .. } => Some(own),
            Site::ReadOnly { .. } => None,
        }
    }

    /// Where the lock is, and its path.
    pub(super) fn for_lock<'a>(&'a self, paths: &'a Paths) -> (&'a Arc<Dir>, &'a Path) {
        match self {
            Site::OnShare { own, .. } | Site::Elsewhere { own, .. } => (own, &paths.own),
            Site::ReadOnly { state, .. } => (state, &paths.state),
        }
    }

    /// The mark that the share carries, if it does.
    ///
    /// # Errors
    /// Of reading it.
    pub(super) fn mark(&self, paths: &Paths) -> Result<Option<String>, OpenError> {
        let Some(own) = self.own() else {
            return Ok(None);
        };
        mark::read_mark(own).map_err(|err| OpenError::of(&paths.own.join("id"), &err))
    }

    /// Sees to it that the share carries a mark, where dirpost may write to it, and that a state
    /// folder elsewhere remembers it. To be called with the lock held. `known`: what the state
    /// folder remembered.
    ///
    /// # Errors
    /// Of writing either.
    pub(super) fn identify(
        &self,
        paths: &Paths,
        known: Option<Identity>,
        is_mount: bool,
    ) -> Result<Identity, OpenError> {
        let found = self.mark(paths)?;
        let id = match (&found, &known) {
            (Some(found), _) => found.clone(),
            (None, Some(known)) => known.id.clone(),
            (None, None) => mark::new_id().map_err(|err| OpenError::of(&paths.state, &err))?,
        };
        let mark = match (found, self.for_mark()) {
            (Some(_), _) => Mark::Written,
            (None, Some(own)) => {
                mark::make_mark(own, &id)
                    .map_err(|err| OpenError::of(&paths.own.join("id"), &err))?;
                Mark::Written
            }
            (None, None) => Mark::None { mount: is_mount },
        };
        let now = Identity { id, mark };
        match self {
            Site::OnShare { .. } => {}
            Site::Elsewhere { state, .. } | Site::ReadOnly { state, .. } => {
                if known.as_ref() != Some(&now) {
                    now.write(state)
                        .map_err(|err| OpenError::of(&paths.state.join("id"), &err))?;
                }
            }
        }
        Ok(now)
    }
}

/// `.dirpost` in the watched folder, where the state is elsewhere.
enum Own {
    Writable(Dir),
    ReadOnly(Option<Dir>),
}

fn open_own(paths: &Paths, root: &Dir, known: Option<&Identity>) -> Result<Own, OpenError> {
    let name = Rel::new(OWN_FOLDER.as_bytes());
    match root.folder(&name) {
        Ok(own) => match try_writing(&own) {
            Err(err) if paths.may_be_read_only && is_read_only(&err) => {
                Ok(Own::ReadOnly(Some(own)))
            }
            tried => writable(paths, own, tried).map(Own::Writable),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound => match known {
            // The share was without a mark, and stays so.
            Some(Identity {
                mark: Mark::None { .. },
                ..
            }) if paths.may_be_read_only => Ok(Own::ReadOnly(None)),
            Some(_) => Err(super::not_the_share(paths, mark::Misfit::NoMark)),
            None => match root.make(&name) {
                Ok(own) => writable(paths, own, Ok(())).map(Own::Writable),
                Err(err) if paths.may_be_read_only && is_read_only(&err) => Ok(Own::ReadOnly(None)),
                Err(err) => Err(unwritable(paths, OpenError::of(&paths.own, &err))),
            },
        },
        Err(err) => Err(OpenError::of(&paths.own, &err)),
    }
}

/// `.dirpost`, made if it is missing, where the state is in the watched folder.
fn make_own(paths: &Paths, root: &Dir) -> Result<Dir, OpenError> {
    match root.make(&Rel::new(OWN_FOLDER.as_bytes())) {
        Ok(own) => {
            let tried = try_writing(&own);
            writable(paths, own, tried)
        }
        Err(err) => Err(unwritable(paths, OpenError::of(&paths.own, &err))),
    }
}

/// `own`, if it is private and what was `tried` went well. Whose it is comes first: that says
/// what has to be done.
fn writable(paths: &Paths, own: Dir, tried: io::Result<()>) -> Result<Dir, OpenError> {
    let own = private(own, &paths.own)?;
    match tried {
        Ok(()) => Ok(own),
        Err(err) => Err(unwritable(paths, OpenError::of(&paths.own, &err))),
    }
}

fn unwritable(paths: &Paths, err: OpenError) -> OpenError {
    match err {
        OpenError::Fault(why) if !paths.may_be_read_only => OpenError::Fault(format!(
            "{why} (a share that dirpost may not write to needs delivered.action = \"keep\" and a state.dir elsewhere)"
        )),
        other => other,
    }
}

fn private(folder: Dir, path: &Path) -> Result<Dir, OpenError> {
    match folder.is_private() {
        Ok(()) => Ok(folder),
        Err(why) => Err(OpenError::Fault(format!("{}: {why}", path.display()))),
    }
}

/// Makes a file of a name that nobody knows, and removes it.
///
/// # Errors
/// Of making or removing it.
pub fn try_writing(folder: &Dir) -> io::Result<()> {
    let name = draft_name();
    folder.create(&name)?;
    folder.remove(&name)
}

/// Removes what a process left that was killed while it wrote a file.
pub(super) fn clean(state: &Dir) {
    for name in state.names(&Rel::root()).unwrap_or_default() {
        if name.starts_with(DRAFT.as_bytes()) {
            let _ = state.remove(&name);
        }
    }
}
