//! The watched folder: opened, and opened again by each scan.
//!
//! Invariants:
//! - The mark of the share is a random id in `.dirpost/id`. Once it is known, a watched
//!   folder that shows another one, or none, is not the share: nothing is done with it. A share
//!   that dirpost may not write to may have no mark; then a folder that has ceased to be a
//!   mount point is not the share.
//! - A share that was away, one that was mounted over the folder, and a lock that is another's
//!   by now have all be opened anew ([`Closing`]): the handles are of the share that was.

pub mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::Config;
use crate::flow::clock::LOCK_RECHECK_AFTER;
use crate::flow::file::Rel;
use crate::flow::messages::Closing;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::Dir;
use crate::io::fault::{OpenError, Unusable, explain};
use crate::io::share::state::{Holder, StateDir};

/// The watched folder as it was last opened, for all threads. A scan opens it anew, so
/// that a share which was mounted again is seen.
#[derive(Debug)]
pub struct Share {
    path: PathBuf,
    require_mount: bool,
    current: Mutex<Arc<Dir>>,
    /// Something was mounted on the folder when it was opened first.
    mount_at_first: bool,
    /// It could not be used when it was last opened.
    away: AtomicBool,
    /// Nothing more is sent or moved: the lock is another's, or all has been opened anew.
    over: AtomicBool,
    /// What `.dirpost/id` must say; `None` on a share without a mark.
    mark: Option<String>,
    /// dirpost may not write to it.
    read_only: bool,
    holder: Holder,
}

impl Share {
    /// Opens both folders, makes what is missing in the state folder, and takes the lock.
    /// `adopt`: a state folder that belongs to another share is to belong to this one.
    ///
    /// # Errors
    /// See [`OpenError`]; each is a sentence with the path.
    pub fn open(config: &Config, adopt: bool) -> Result<(Share, StateDir), OpenError> {
        let path = config.watch.dir.clone();
        let root = open_root(&path, config.watch.require_mount).map_err(OpenError::Away)?;
        let is_mount = is_mount(&path, &root);
        let (state, found) = state::open(config, &root, is_mount, adopt)?;
        let share = Share {
            path,
            require_mount: config.watch.require_mount,
            mount_at_first: is_mount,
            away: AtomicBool::new(false),
            over: AtomicBool::new(false),
            current: Mutex::new(Arc::new(root)),
            mark: found.mark,
            read_only: found.read_only,
            holder: found.holder,
        };
        Ok((share, state))
    }

    /// The watched folder as it was last opened.
    pub fn folder(&self) -> Arc<Dir> {
        Arc::clone(&self.current.lock().expect("no thread panics with it"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether dirpost may not write to it.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Opens the watched folder again, through no handle that was held, and sees that it is
    /// still the share and the lock is still ours.
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
        if self.away.load(Ordering::Relaxed) {
            return Err(Unusable::Anew(Closing::ShareBack));
        }
        let root = Arc::new(root);
        *self.current.lock().expect("no thread panics with it") = Arc::clone(&root);
        Ok(root)
    }

    /// The share is away: when it is back, all is opened anew.
    pub fn lost(&self, why: String) -> Unusable {
        self.away.store(true, Ordering::Relaxed);
        Unusable::Away(why)
    }

    /// From now on nothing more is sent to its end or moved by what was opened here.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn try_reopen(&self) -> Result<Dir, Unusable> {
        let root = open_root(&self.path, self.require_mount).map_err(Unusable::Away)?;
        let own = root.folder(&Rel::new(OWN_FOLDER.as_bytes()));
        self.is_marked(own.as_ref()).map_err(|why| {
            let over = !self.mount_at_first && is_mount(&self.path, &root);
            if over {
                Unusable::Anew(Closing::MountedOver)
            } else {
                Unusable::Away(why)
            }
        })?;
        if self.mark.is_none() && is_mount(&self.path, &root) != self.mount_at_first {
            return Err(if self.mount_at_first {
                Unusable::Away(format!(
                    "{}: nothing is mounted on it any more",
                    self.path.display()
                ))
            } else {
                Unusable::Anew(Closing::MountedOver)
            });
        }
        self.holder.confirm(own)?;
        if self.away.load(Ordering::Relaxed) {
            // Before all is opened anew: whether it can be used at all.
            let names = root.names(&Rel::root());
            names.map_err(|err| {
                Unusable::Away(format!("{}: {}", self.path.display(), explain(&err)))
            })?;
        }
        Ok(root)
    }

    fn is_marked(&self, own: Result<&Dir, &io::Error>) -> Result<(), String> {
        let Some(mark) = &self.mark else {
            return Ok(());
        };
        let found = match own {
            Ok(own) => state::read_small(own, b"id"),
            Err(err) => Err(err.kind().into()),
        };
        match found {
            Ok(found) if found.trim_ascii() == mark.as_bytes() => Ok(()),
            Ok(_) => Err(format!(
                "{}: it carries the mark of another share (.dirpost/id)",
                self.path.display()
            )),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Err(format!(
                "{}: it has lost its mark (.dirpost/id): perhaps the share is not mounted (if somebody has removed \
                 it: restart dirpost, with --adopt where state.dir is elsewhere)",
                self.path.display()
            )),
            Err(err) => Err(format!(
                "{}/.dirpost/id: {}",
                self.path.display(),
                explain(&err)
            )),
        }
    }

    /// To be called before anything is sent or moved, with the moment at which the work on it
    /// began: after a hang another process may hold the lock.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn confirm_after(&self, began: Instant) -> io::Result<()> {
        if self.is_over() {
            return Err(io::Error::other("all is being opened anew"));
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
}

fn open_root(path: &Path, require_mount: bool) -> Result<Dir, String> {
    let root = Dir::at(path).map_err(|err| format!("{}: {}", path.display(), explain(&err)))?;
    if require_mount {
        let parent = Dir::at(&path.join(".."))
            .map_err(|err| format!("{}/..: {}", path.display(), explain(&err)))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    fn config(dir: &Path) -> Config {
        crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").expect("a valid config")
    }

    fn away(share: &Share) -> String {
        match share.reopen() {
            Err(Unusable::Away(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_without_its_mark_is_not_the_share_and_one_that_is_back_is_opened_anew() {
        let dir = TempDir::new();
        let (share, state) = Share::open(&config(dir.path()), false).unwrap();
        assert_eq!(state.id.len(), 32);
        share.reopen().unwrap();
        let mark = dir.path().join(".dirpost/id");
        std::fs::rename(&mark, dir.path().join("elsewhere")).unwrap();
        assert!(away(&share).contains("lost its mark"));
        std::fs::write(&mark, "0123").unwrap();
        assert!(away(&share).contains("another share"));
        std::fs::rename(dir.path().join("elsewhere"), &mark).unwrap();
        assert_eq!(
            share.reopen().unwrap_err(),
            Unusable::Anew(Closing::ShareBack)
        );
    }

    #[test]
    fn a_lock_that_another_has_taken_meanwhile_is_noticed_through_a_fresh_open() {
        let dir = TempDir::new();
        let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
        share.reopen().unwrap();
        // As an NFS server lets another client do that has forgotten this one's lock.
        std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
        let Err(Unusable::Anew(Closing::LockLost(why))) = share.reopen() else {
            panic!("not noticed")
        };
        assert!(why.contains("other 7"), "{why}");
        std::fs::remove_file(dir.path().join(".dirpost/holder")).unwrap();
        assert!(matches!(
            share.reopen(),
            Err(Unusable::Anew(Closing::LockLost(_)))
        ));
    }

    #[test]
    fn before_anything_is_sent_after_a_hang_the_lock_is_looked_at() {
        let dir = TempDir::new();
        let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
        std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
        share.confirm_after(Instant::now()).unwrap();
        let Some(long_ago) = Instant::now().checked_sub(LOCK_RECHECK_AFTER) else {
            return;
        };
        share.confirm_after(long_ago).unwrap_err();
        // What is known once is known to all.
        share.confirm_after(Instant::now()).unwrap_err();
    }
}
