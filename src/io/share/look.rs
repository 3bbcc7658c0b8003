//! The look that each scan begins with: whether the path still leads to the share and the lock is
//! still this process's, through fresh opens; and what is put right on that occasion.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::clock::LOCK_RECHECK_AFTER;
use crate::flow::file::Rel;
use crate::flow::messages::Closing;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::Dir;
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::os::lock as locked;
use crate::io::retries_file;

use super::keeper::into_io;
use super::lock::{HOLDER, LOCK, PutRight};
use super::mark::{ID, Misfit};
use super::site::Kind;
use super::{Identity, Mark, Share, Standing, Unusable};
use super::{is_mount, layout, lost_mark, mark, open_root, read_small, said_of};

/// How often the files are touched that a clean-up by age must leave.
const TOUCH_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A folder of dirpost's own as its path shows it now.
#[derive(Clone)]
struct Fresh {
    dir: Arc<Dir>,
    /// It is for certain the very folder whose handle is held.
    is_held: bool,
    /// It is for certain another one.
    is_another: bool,
}

/// What the mark says of a folder that may be the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is the share.
    Share,
    /// It is the share by its handles, and somebody has removed the mark.
    Unmarked,
}

impl Share {
    /// Opens the watched folder again, through no handle that was held, and sees that it is
    /// still the share and the lock is still this process's. Writes again what somebody has
    /// removed of dirpost's own.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn reopen(&self) -> Result<Arc<Dir>, Unusable> {
        let root = match self.look() {
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
        *locked(&self.looked) = clock::with_sleep();
        let root = Arc::new(root);
        *locked(&self.root) = Arc::clone(&root);
        Ok(root)
    }

    /// To be called before anything is sent or moved, with the moment at which the work on it
    /// began. Looks again if that work, or the time since the last look, has taken longer than
    /// [`LOCK_RECHECK_AFTER`], a suspension of the machine included: another process may hold
    /// the lock by now.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn confirm_after(&self, began: Instant) -> io::Result<()> {
        if self.is_over() {
            return Err(io::Error::other("all is being opened again"));
        }
        if began.elapsed() < LOCK_RECHECK_AFTER && !self.is_look_due() {
            return Ok(());
        }
        self.reopen().map(drop).map_err(into_io)
    }

    /// Whether the last look was so long ago that another process may hold the lock.
    pub(super) fn is_look_due(&self) -> bool {
        let looked = *locked(&self.looked);
        clock::with_sleep().since(looked) >= LOCK_RECHECK_AFTER
    }

    fn look(&self) -> Result<Dir, Unusable> {
        let watched = &self.paths.watched;
        let root = open_root(watched, self.require_mount).map_err(Unusable::Away)?;
        let own = self.fresh_own(&root)?;
        let seen = self.see_mark(&root, own.as_ref())?;
        let state = self.fresh_state(&root, own.as_ref())?;
        let is_another = state.is_another || own.as_ref().is_some_and(|own| own.is_another);
        if is_another && seen == Seen::Share {
            // It was mounted again between two looks: what is held is of the mount that was.
            return Err(Unusable::Anew(Closing::ShareBack));
        }

        let place = match (self.site.kind(), &own) {
            (Kind::ReadOnly { .. }, _) => &state,
            (Kind::OnShare { .. }, Some(_)) if self.paths.shard.is_some() => &state,
            (Kind::OnShare { .. } | Kind::Elsewhere { .. }, Some(own)) => own,
            (Kind::OnShare { .. } | Kind::Elsewhere { .. }, None) => {
                return Err(self.mounted_over_or(&root, lost_mark(&self.paths)));
            }
        };
        let done = self.lock.confirm(&place.dir, place.is_held)?;
        self.say_lock(done);
        if let (Seen::Unmarked, Some(own)) = (seen, &own) {
            self.mark_again(&own.dir)?;
        }
        self.look_after_state(&state);
        if clock::with_sleep().since(*locked(&self.touched)) >= TOUCH_EVERY {
            self.touch();
        }

        if *locked(&self.standing) == Standing::Away {
            // Before all is opened again: whether it can be used at all.
            root.names(&Rel::root())
                .map_err(|err| Unusable::Away(said_of(watched, &err)))?;
        }
        Ok(root)
    }

    /// `.dirpost` as the path shows it now; `None` if it is not there.
    fn fresh_own(&self, root: &Dir) -> Result<Option<Fresh>, Unusable> {
        match root.folder(&Rel::new(OWN_FOLDER.as_bytes())) {
            Ok(own) => {
                let held = self.site.own();
                Ok(Some(Fresh {
                    is_held: held.is_some_and(|held| self.site.is_still(held, &own)),
                    is_another: held.is_some_and(|held| self.site.is_another(held, &own)),
                    dir: Arc::new(own),
                }))
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            // Nothing is expected there.
            Err(_) if matches!(self.identity.mark, Mark::None { .. }) => Ok(None),
            Err(err) => Err(self.mounted_over_or(root, said_of(&self.paths.own, &err))),
        }
    }

    /// The state folder as its path shows it now.
    ///
    /// # Errors
    /// [`Unusable::Away`] if it is not there, or is another's.
    fn fresh_state(&self, root: &Dir, own: Option<&Fresh>) -> Result<Fresh, Unusable> {
        let path = &self.paths.state;
        if let Some(own) = own.filter(|_| *path == self.paths.own) {
            return Ok(own.clone());
        }
        let state = match self.paths.open_state(root) {
            Ok(state) => state,
            Err(err) => {
                let why = format!("{} (the state folder)", said_of(path, &err));
                return Err(self.mounted_over_or(root, why));
            }
        };
        let held = self.site.state();
        let is_another = self.site.is_another(held, &state);
        if is_another && !self.is_ours(&state) {
            return Err(Unusable::Away(format!(
                "{}: another folder has taken the place of the state folder",
                path.display()
            )));
        }
        Ok(Fresh {
            is_held: self.site.is_still(held, &state),
            is_another,
            dir: Arc::new(state),
        })
    }

    /// Whether another folder at the place of the state folder holds a state of this share.
    fn is_ours(&self, state: &Dir) -> bool {
        let named = |known: &Identity| known.id == self.identity.id;
        Identity::recorded(state).is_ok_and(|known| known.as_ref().is_some_and(named))
    }

    /// Sees that the folder `root` with the `.dirpost` in it is the share.
    fn see_mark(&self, root: &Dir, own: Option<&Fresh>) -> Result<Seen, Unusable> {
        let watched = self.paths.watched.display();
        let misfit = |misfit| self.mounted_over_or(root, format!("{watched}: {misfit}"));
        match self.identity.mark {
            Mark::None { .. } if is_mount(&self.paths.watched, root) == self.mount_at_first => {
                Ok(Seen::Share)
            }
            Mark::None { .. } => Err(misfit(Misfit::NotMounted)),
            Mark::Written => match own.map(|own| (own, read_small(&own.dir, ID))) {
                Some((_, Ok(found))) if found.trim_ascii() == self.identity.id.as_bytes() => {
                    Ok(Seen::Share)
                }
                Some((_, Ok(_))) => Err(misfit(Misfit::OtherMark)),
                Some((_, Err(err))) if err.kind() != io::ErrorKind::NotFound => {
                    let why = said_of(&self.paths.own.join("id"), &err);
                    Err(self.mounted_over_or(root, why))
                }
                Some((own, Err(_))) if own.is_held && self.site.for_mark().is_some() => {
                    Ok(Seen::Unmarked)
                }
                Some(_) | None => Err(self.mounted_over_or(root, lost_mark(&self.paths))),
            },
        }
    }

    /// A share that was mounted over the folder since it was opened, or what is wrong with it.
    fn mounted_over_or(&self, root: &Dir, why: String) -> Unusable {
        if !self.mount_at_first && is_mount(&self.paths.watched, root) {
            Unusable::Anew(Closing::MountedOver)
        } else {
            Unusable::Away(why)
        }
    }

    /// Writes the mark again, which somebody has removed.
    fn mark_again(&self, own: &Dir) -> Result<(), Unusable> {
        let path = self.paths.own.join("id");
        match mark::make_mark(own, &self.identity.id) {
            Ok(()) => {
                let text = format!(
                    "folder: somebody has removed its mark, {}: it is written again",
                    path.display()
                );
                self.say("mark", text);
                Ok(())
            }
            // Another thread was faster.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(err) => Err(Unusable::Away(said_of(&path, &err))),
        }
    }

    fn say_lock(&self, done: PutRight) {
        let (_, place) = self.site.for_lock(&self.paths);
        if done.lock {
            let path = place.join("lock");
            let text = format!(
                "folder: somebody has removed {}: it is made and locked again",
                path.display()
            );
            self.say("lock", text);
        }
        if done.holder {
            let path = place.join("holder");
            let text = format!(
                "folder: somebody has removed {}: it is written again",
                path.display()
            );
            self.say("holder", text);
        }
    }

    /// Puts right what somebody has removed in the state folder. What cannot be is tried again by
    /// the next look.
    fn look_after_state(&self, state: &Fresh) {
        if !state.is_held {
            return;
        }
        if self.site.is_elsewhere()
            && let Ok(None) = Identity::read(&state.dir)
        {
            let path = self.paths.state.join("id");
            let text = match self.identity.write(&state.dir) {
                Ok(()) => format!(
                    "state: somebody has removed {}: it is written again",
                    path.display()
                ),
                Err(err) => format!(
                    "state: somebody has removed {}, and writing it again failed: {}",
                    path.display(),
                    explain(&err)
                ),
            };
            self.say("state", text);
        }
        if let Some(journal) = self.journal.get()
            && let Err(err) = journal.look_after(&state.dir, clock::wall())
        {
            let text = format!(
                "journal: it cannot be seen whether it is whole in {}: {}",
                self.paths.state.join("journal").display(),
                explain(&err)
            );
            self.say("journal", text);
        }
    }

    /// Sets the mtime of what is seldom written to the present, so that a clean-up by age leaves
    /// it.
    pub(super) fn touch(&self) {
        *locked(&self.touched) = clock::with_sleep();
        let (place, path) = self.site.for_lock(&self.paths);
        let mut files = vec![(place, path, LOCK), (place, path, HOLDER)];
        if let Some(own) = self.site.for_mark() {
            files.push((own, &self.paths.own, ID));
            if self.paths.shard.is_some() {
                files.push((own, &self.paths.own, layout::LAYOUT));
                files.push((own, &self.paths.own, layout::GATE));
            }
        }
        let (state, path) = (self.site.state(), &self.paths.state);
        if self.site.is_elsewhere() {
            files.push((state, path, ID));
        }
        files.push((state, path, retries_file::NAME));
        for (folder, path, name) in files {
            if let Err(err) = folder.touch(name)
                && err.kind() != io::ErrorKind::NotFound
            {
                let name = String::from_utf8_lossy(name);
                log::debug!(target: "dirpost", "{}", said_of(&path.join(&*name), &err));
            }
        }
        if let Some(journal) = self.journal.get() {
            journal.touch();
        }
    }

    /// Warns of `text`, of the kind `what`: at once, and while it goes on at growing intervals.
    fn say(&self, what: &'static str, text: String) {
        let now = clock::now().mono;
        let is_due = locked(&self.said)
            .entry(what)
            .or_default()
            .raise(&text, now)
            .is_some();
        if is_due {
            log::warn!(target: "dirpost", "{text}");
        } else {
            log::debug!(target: "dirpost", "{text}");
        }
    }
}
