//! Where dirpost keeps what is its own: `.dirpost` in the watched folder, and the state folder there
//! or elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Action, Config, Shard};
use crate::flow::file::Rel;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{Dir, Durability, below, name_of};
use crate::io::os::error::is_read_only;

use super::access::{self, Guard};
use super::mark::{Identity, Mark};
use super::state::{SAID_OPEN, try_writing};
use super::{Before, OpenError, Opening, mark};

/// Where dirpost keeps what is its own.
#[derive(Debug)]
pub(super) struct Site {
    kind: Kind,
    /// Whether a folder that is opened again shows that it is the one that is held. A file system
    /// that gives another inode number each time says nothing.
    lasts: bool,
    /// Folders that show a mode or an owner that no call can change, and what they show.
    open: Vec<(PathBuf, String)>,
}

/// What dirpost may do on the share, and which folders it holds.
#[derive(Debug)]
pub(super) enum Kind {
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
    pub state_below: Option<Rel>,
    /// The dead-letter folder relative to the state folder, if it is in it.
    dead_below: Option<Rel>,
    /// Nothing has to be written to the share.
    may_be_read_only: bool,
    /// `watch.shard`: the lock is in the state folder, which is the shard's own.
    pub shard: Option<Shard>,
}

impl Paths {
    pub(super) fn of(config: &Config) -> Paths {
        let state_below = below(&config.watch.dir, &config.state.dir);
        Paths {
            watched: config.watch.dir.clone(),
            own: config.watch.dir.join(OWN_FOLDER),
            state: config.state.dir.clone(),
            may_be_read_only: state_below.is_none() && config.delivered.action == Action::Keep,
            shard: config.watch.shard,
            state_below,
            dead_below: below(&config.state.dir, &config.dead_letter.dir),
        }
    }

    /// Opens the state folder by its path.
    ///
    /// # Errors
    /// Of opening it.
    pub(super) fn open_state(&self, root: &Dir) -> io::Result<Dir> {
        match &self.state_below {
            Some(state) => root.folder(state),
            None => Dir::at(&self.state),
        }
    }
}

impl Site {
    /// Opens the folders, and makes what is missing, unless this process has had them open. Gives
    /// as well what is remembered of the share, in a state folder elsewhere or in the journal.
    ///
    /// # Errors
    /// [`OpenError::Away`] where a state folder elsewhere belongs to a share, and the watched
    /// folder has nothing of dirpost's, or where something is missing that this process has had
    /// open; else of opening and making. A state folder elsewhere that was made stays.
    pub(super) fn open(
        paths: &Paths,
        root: &Dir,
        opening: &Opening,
    ) -> Result<(Site, Option<Identity>), OpenError> {
        let kind = match &paths.state_below {
            Some(state) => {
                let own = Arc::new(make_own(paths, root, opening)?);
                let state = if paths.state == paths.own {
                    Arc::clone(&own)
                } else {
                    Arc::new(make_state(paths, opening, || root.make(state), root)?)
                };
                Kind::OnShare { own, state }
            }
            None => {
                let make = || Dir::make_at(&paths.state);
                let state = Arc::new(make_state(paths, opening, make, root)?);
                match open_own(paths, root, &state, opening)? {
                    Own::Writable(own) => Kind::Elsewhere {
                        own: Arc::new(own),
                        state,
                    },
                    Own::ReadOnly(own) => Kind::ReadOnly {
                        own: own.map(Arc::new),
                        state,
                    },
                }
            }
        };
        let mut site = Site {
            kind,
            lasts: false,
            open: Vec::new(),
        };
        site.guard(paths)?;
        let known = recorded(paths, site.state())?;
        let (held, again) = match site.own() {
            Some(own) => (own, root.folder(&Rel::new(OWN_FOLDER.as_bytes()))),
            None => (site.state(), paths.open_state(root)),
        };
        site.lasts = again.is_ok_and(|again| held.is_still(&again));
        Ok((site, known))
    }

    /// Takes the right to write to `.dirpost` and the state folder from everybody else.
    ///
    /// # Errors
    /// [`OpenError::Fault`] if one is another user's, or stays open to others.
    fn guard(&mut self, paths: &Paths) -> Result<(), OpenError> {
        let state = Arc::clone(self.state());
        self.guard_one(&state, paths.state.clone())?;
        match self.for_mark().map(Arc::clone) {
            Some(own) if paths.own != paths.state => self.guard_one(&own, paths.own.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the right to write to the folders in them from everybody else; others may clean
    /// `done`. To be called with the lock held.
    ///
    /// # Errors
    /// [`OpenError::Fault`] if one is another user's, or stays open to others.
    pub(super) fn guard_below(&mut self, paths: &Paths) -> Result<(), OpenError> {
        let state = Arc::clone(self.state());
        let in_state = |name| (Arc::clone(&state), paths.state.join(name), name);
        let mut below = vec![in_state("journal"), in_state("filed")];
        if let Some(own) = self.for_mark() {
            below.push((Arc::clone(own), paths.own.join("staging"), "staging"));
        }
        for (folder, path, name) in below {
            if let Some(found) = found(&folder, &Rel::new(name.as_bytes()), &path)? {
                self.guard_one(&found, path)?;
            }
        }
        let Some(dead) = &paths.dead_below else {
            return Ok(());
        };
        let path = paths.state.join(name_of(dead.as_bytes()));
        match found(&state, dead, &path)? {
            // Who owns it was given it: dead letters may be somebody's task.
            Some(dead) if !matches!(access::look_at(&dead, &path)?, Guard::Foreign(_)) => {
                self.guard_one(&dead, path)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn guard_one(&mut self, folder: &Dir, path: PathBuf) -> Result<(), OpenError> {
        if let Some(shown) = access::guard(folder, &path)? {
            self.open.push((path, shown));
        }
        Ok(())
    }

    /// Says once what it means that anybody may have the right to write to dirpost's own folders:
    /// a file in the state folder tells the next start that it was said.
    pub(super) fn say_open(&self, paths: &Paths) {
        let Some((path, shown)) = self.open.first() else {
            return;
        };
        if self.state().look(SAID_OPEN).is_ok() {
            return;
        }
        let holds_state = path.starts_with(&paths.state) || paths.state.starts_with(path);
        let text = access::meaning(path, shown, holds_state);
        if holds_state {
            log::warn!(target: "dirpost", "folder: {text}");
        } else {
            // What can be done against it has been done.
            log::info!(target: "dirpost", "folder: {text}");
        }
        let written = self.state().replace(
            SAID_OPEN,
            format!("{text}\n").as_bytes(),
            Durability::Cached,
        );
        if let Err(err) = written {
            log::debug!(target: "dirpost", "{}", OpenError::of(&paths.state, &err));
        }
    }

    /// What may be done on the share.
    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// `.dirpost` in the watched folder, if it was there.
    pub(super) fn own(&self) -> Option<&Arc<Dir>> {
        match &self.kind {
            Kind::OnShare { own, .. } | Kind::Elsewhere { own, .. } => Some(own),
            Kind::ReadOnly { own, .. } => own.as_ref(),
        }
    }

    pub(super) fn state(&self) -> &Arc<Dir> {
        match &self.kind {
            Kind::OnShare { state, .. }
            | Kind::Elsewhere { state, .. }
            | Kind::ReadOnly { state, .. } => state,
        }
    }

    /// Whether the state folder is not in the watched one, and remembers the share by itself.
    pub(super) fn is_elsewhere(&self) -> bool {
        !matches!(self.kind, Kind::OnShare { .. })
    }

    /// Where the mark may be written; `None` on a share that dirpost may not write to.
    pub(super) fn for_mark(&self) -> Option<&Arc<Dir>> {
        match &self.kind {
            Kind::OnShare { own, .. } | Kind::Elsewhere { own, .. } => Some(own),
            Kind::ReadOnly { .. } => None,
        }
    }

    /// Where the lock is, and its path.
    pub(super) fn for_lock<'a>(&'a self, paths: &'a Paths) -> (&'a Arc<Dir>, &'a Path) {
        match &self.kind {
            Kind::OnShare { state, .. } if paths.shard.is_some() => (state, &paths.state),
            Kind::OnShare { own, .. } | Kind::Elsewhere { own, .. } => (own, &paths.own),
            Kind::ReadOnly { state, .. } => (state, &paths.state),
        }
    }

    /// Whether `fresh`, just opened by its path, is for certain the folder that is `held`.
    pub(super) fn is_still(&self, held: &Dir, fresh: &Dir) -> bool {
        self.lasts && held.is_still(fresh)
    }

    /// Whether `fresh`, just opened by its path, is for certain another folder than is `held`.
    pub(super) fn is_another(&self, held: &Dir, fresh: &Dir) -> bool {
        self.lasts && !held.is_still(fresh)
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
    /// folder elsewhere remembers it. To be called with the lock held. `known`: what was
    /// remembered of the share.
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
                let path = paths.own.join("id");
                mark::make_mark(own, &id).map_err(|err| OpenError::of(&path, &err))?;
                if known.is_some() && !self.is_elsewhere() {
                    log::warn!(
                        target: "dirpost",
                        "folder: somebody has removed its mark, {}: it is made again from the journal",
                        path.display()
                    );
                }
                Mark::Written
            }
            (None, None) => Mark::None { mount: is_mount },
        };
        let now = Identity { id, mark };
        if self.is_elsewhere() {
            let path = paths.state.join("id");
            let failed = |err: io::Error| OpenError::of(&path, &err);
            if Identity::read(self.state()).map_err(failed)?.as_ref() != Some(&now) {
                now.write(self.state()).map_err(failed)?;
            }
        }
        Ok(now)
    }
}

/// The folder `name` in `folder`, if it is there.
fn found(folder: &Dir, name: &Rel, path: &Path) -> Result<Option<Dir>, OpenError> {
    match folder.folder(name) {
        Ok(found) => Ok(Some(found)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(OpenError::of(path, &err)),
    }
}

fn recorded(paths: &Paths, state: &Dir) -> Result<Option<Identity>, OpenError> {
    Identity::recorded(state).map_err(|err| OpenError::of(&paths.state.join("id"), &err))
}

/// The state folder where it is not `.dirpost`. What this process has had open is not made.
fn make_state(
    paths: &Paths,
    opening: &Opening,
    make: impl FnOnce() -> io::Result<Dir>,
    root: &Dir,
) -> Result<Dir, OpenError> {
    let opened = match opening.before {
        Before::Had(_) => paths.open_state(root),
        Before::Nothing | Before::StoodBy => make(),
    };
    match opened {
        Ok(state) => Ok(state),
        Err(err) => Err(OpenError::of(&paths.state, &err)),
    }
}

/// `.dirpost` in the watched folder, where the state is elsewhere.
enum Own {
    Writable(Dir),
    ReadOnly(Option<Dir>),
}

fn open_own(paths: &Paths, root: &Dir, state: &Dir, opening: &Opening) -> Result<Own, OpenError> {
    let name = Rel::new(OWN_FOLDER.as_bytes());
    match root.folder(&name) {
        Ok(own) => match try_writing(&own) {
            Err(err) if paths.may_be_read_only && is_read_only(&err) => {
                Ok(Own::ReadOnly(Some(own)))
            }
            tried => writable(paths, own, tried).map(Own::Writable),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            match recorded(paths, state)?.filter(|_| !opening.adopt) {
                // The share was without a mark, and stays so.
                Some(Identity {
                    mark: Mark::None { .. },
                    ..
                }) if paths.may_be_read_only => Ok(Own::ReadOnly(None)),
                Some(_) => Err(super::not_the_share(paths, mark::Misfit::NoMark)),
                None => match root.make(&name) {
                    Ok(own) => writable(paths, own, Ok(())).map(Own::Writable),
                    Err(err) if paths.may_be_read_only && is_read_only(&err) => {
                        Ok(Own::ReadOnly(None))
                    }
                    Err(err) => Err(unwritable(paths, OpenError::of(&paths.own, &err))),
                },
            }
        }
        Err(err) => Err(OpenError::of(&paths.own, &err)),
    }
}

/// `.dirpost`, made if it is missing, where the state is in the watched folder.
fn make_own(paths: &Paths, root: &Dir, opening: &Opening) -> Result<Dir, OpenError> {
    let name = Rel::new(OWN_FOLDER.as_bytes());
    let opened = match opening.before {
        Before::Had(_) => root.folder(&name),
        Before::Nothing | Before::StoodBy => root.make(&name),
    };
    match opened {
        Ok(own) => {
            let tried = try_writing(&own);
            writable(paths, own, tried)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Away(super::lost_mark(paths)))
        }
        Err(err) => Err(unwritable(paths, OpenError::of(&paths.own, &err))),
    }
}

/// `own`, if what was `tried` went well. Else whose it is says best what has to be done.
fn writable(paths: &Paths, own: Dir, tried: io::Result<()>) -> Result<Dir, OpenError> {
    let Err(err) = tried else {
        return Ok(own);
    };
    match access::look_at(&own, &paths.own)? {
        Guard::Foreign(why) => Err(OpenError::Fault(why)),
        Guard::Private | Guard::Wide { .. } | Guard::Unknown(_) => {
            Err(unwritable(paths, OpenError::of(&paths.own, &err)))
        }
    }
}

fn unwritable(paths: &Paths, err: OpenError) -> OpenError {
    match err {
        OpenError::Fault(why) if !paths.may_be_read_only => OpenError::Fault(format!(
            "{why} (a folder that dirpost may not write to needs delivered.action = \"keep\" and a state.dir elsewhere)"
        )),
        other => other,
    }
}
