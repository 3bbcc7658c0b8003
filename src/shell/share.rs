//! The watched folder and the state folder: opened, marked, locked.
//!
//! Invariants:
//! - The mark of the share is a random id in `.dirpost/id`. Once it is known, a watched
//!   folder that shows another one, or none, is not the share: nothing is done with it.
//! - The state folder is a real folder of this user's own that nobody else may write to;
//!   it is opened without following links below the watched folder, and used by its handle.
//! - Who holds the lock on `lock` works; everybody else waits.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::filter::OWN_FOLDER;
use crate::flow::key::hex;
use crate::shell::folder::Folder;

/// The watched folder as it was last opened, for all threads. A scan opens it anew, so
/// that a share which was mounted again is seen.
#[derive(Debug)]
pub struct Share {
    path: PathBuf,
    require_mount: bool,
    current: Mutex<Arc<Folder>>,
    /// Something was mounted on the folder when it was opened first.
    mount_at_first: bool,
    /// Nothing was mounted on it then, and something is now.
    mounted_over: AtomicBool,
    /// What `.dirpost/id` must say; `None` on a share that dirpost may not write to.
    id: Option<String>,
}

/// dirpost's own folder and what is in it.
#[derive(Debug)]
pub struct StateDir {
    pub folder: Arc<Folder>,
    pub id: String,
    /// Held for as long as this lives.
    _lock: File,
}

/// Why the folders cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// The watched folder is not there (yet).
    Away(String),
    /// Another process holds the lock; who, as far as the lock file says.
    Locked(String),
    /// It must not or cannot be used.
    Fault(String),
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
        let fault = |what: &Path, err: &dyn std::fmt::Display| OpenError::Fault(format!("{}: {err}", what.display()));
        let own_path = path.join(OWN_FOLDER);
        let own = root.make(&Rel::new(OWN_FOLDER.as_bytes())).map_err(|err| fault(&own_path, &explain(&err)))?;
        own.is_private().map_err(|err| fault(&own_path, &err))?;

        let state_path = &config.state.dir;
        let folder = if let Some(below) = below(&path, state_path) {
            root.make(&below)
        } else {
            std::fs::create_dir_all(state_path).and_then(|()| Folder::at(state_path))
        }
        .map_err(|err| fault(state_path, &explain(&err)))?;
        folder.is_private().map_err(|err| fault(state_path, &err))?;

        let lock = take_lock(&own, &own_path)?;
        let id = mark(&own).map_err(|err| fault(&own_path.join("id"), &explain(&err)))?;
        remember(&folder, &id, adopt).map_err(|err| fault(state_path, &err))?;
        let share = Share {
            path,
            require_mount: config.watch.require_mount,
            mount_at_first: is_mount(&config.watch.dir, &root),
            mounted_over: AtomicBool::new(false),
            current: Mutex::new(Arc::new(root)),
            id: Some(id.clone()),
        };
        Ok((share, StateDir { folder: Arc::new(folder), id, _lock: lock }))
    }

    /// The watched folder as it was last opened.
    pub fn folder(&self) -> Arc<Folder> {
        Arc::clone(&self.current.lock().expect("no thread panics with it"))
    }

    /// A share was mounted over the folder that was opened first: all is to be opened anew, and
    /// the state that is found there is the one that counts.
    pub fn is_mounted_over(&self) -> bool {
        self.mounted_over.load(Ordering::Relaxed)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the watched folder again and sees that it is still the share.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn reopen(&self) -> Result<Arc<Folder>, String> {
        let root = open_root(&self.path, self.require_mount)?;
        if let Some(id) = &self.id {
            let own = root.folder(&Rel::new(OWN_FOLDER.as_bytes()));
            let found = own.and_then(|own| read_small(&own, b"id"));
            let is_ours = found.as_ref().is_ok_and(|found| found.trim_ascii() == id.as_bytes());
            if !is_ours && !self.mount_at_first && is_mount(&self.path, &root) {
                self.mounted_over.store(true, Ordering::Relaxed);
                return Err(format!("{}: the share has been mounted on it", self.path.display()));
            }
            match found {
                Ok(found) if found.trim_ascii() == id.as_bytes() => {}
                Ok(_) => {
                    return Err(format!("{}: it carries the mark of another share (.dirpost/id)", self.path.display()));
                }
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    return Err(format!(
                        "{}: it has lost its mark (.dirpost/id): perhaps the share is not mounted",
                        self.path.display()
                    ));
                }
                Err(err) => return Err(format!("{}/.dirpost/id: {}", self.path.display(), explain(&err))),
            }
        }
        let root = Arc::new(root);
        *self.current.lock().expect("no thread panics with it") = Arc::clone(&root);
        Ok(root)
    }
}

/// The relative path of `path` in `folder`, if it is below it.
pub fn below(folder: &Path, path: &Path) -> Option<Rel> {
    let rest = path.strip_prefix(folder).ok()?;
    let parts: Vec<Vec<u8>> = rest.iter().map(super::folder::bytes_of).collect();
    Some(Rel::new(&parts.join(&b'/')))
}

fn open_root(path: &Path, require_mount: bool) -> Result<Folder, String> {
    let root = Folder::at(path).map_err(|err| format!("{}: {}", path.display(), explain(&err)))?;
    if require_mount {
        let parent = Folder::at(&path.join("..")).map_err(|err| format!("{}/..: {}", path.display(), explain(&err)))?;
        if parent.same_fs(&root) && !parent.is(&root) {
            return Err(format!("{}: it is not a mount point (watch.require_mount = true)", path.display()));
        }
    }
    Ok(root)
}

/// Whether something is mounted on `path`. A bind mount of the same file system is not seen.
fn is_mount(path: &Path, root: &Folder) -> bool {
    Folder::at(&path.join("..")).is_ok_and(|parent| !parent.same_fs(root))
}

/// Reads the mark, or makes it.
fn mark(own: &Folder) -> io::Result<String> {
    match read_small(own, b"id") {
        Ok(bytes) => {
            let id = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is no id: restore it, or remove it to begin anew",
                ));
            }
            Ok(id)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let id = hex(&random()?);
            own.write_new(b"id", format!("{id}\n").as_bytes())?;
            own.sync()?;
            Ok(id)
        }
        Err(err) => Err(err),
    }
}

/// A state folder that lies elsewhere remembers the share that it belongs to.
fn remember(state: &Folder, id: &str, adopt: bool) -> Result<(), String> {
    match read_small(state, b"id") {
        Ok(bytes) if bytes.trim_ascii() == id.as_bytes() => Ok(()),
        Ok(_) if adopt => state
            .remove(b"id")
            .and_then(|()| state.write_new(b"id", format!("{id}\n").as_bytes()))
            .map_err(|err| explain(&err)),
        Ok(_) => Err("it belongs to another share (its file `id` differs from .dirpost/id in the watched folder): \
                      is the share mounted? If this folder is meant, start once with --adopt"
            .into()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            state.write_new(b"id", format!("{id}\n").as_bytes()).map_err(|err| explain(&err))
        }
        Err(err) => Err(explain(&err)),
    }
}

/// Takes the lock, and writes into it who holds it.
fn take_lock(own: &Folder, path: &Path) -> Result<File, OpenError> {
    let fault = |err: io::Error| OpenError::Fault(format!("{}: {}", path.join("lock").display(), explain(&err)));
    let mut file = own.append(b"lock").map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = read_small(own, b"lock").unwrap_or_default();
            return Err(OpenError::Locked(String::from_utf8_lossy(holder.trim_ascii()).into_owned()));
        }
        Err(TryLockError::Error(err)) => return Err(fault(err)),
    }
    let token = hex(&random().map_err(fault)?);
    let line = format!("{token} {} {}\n", host(), std::process::id());
    file.set_len(0).and_then(|()| file.write_all(line.as_bytes())).map_err(fault)?;
    Ok(file)
}

fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() { "unknown".into() } else { name }
}

/// The start of a small file.
fn read_small(folder: &Folder, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    folder.file(name)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// 16 bytes from the system's source of randomness.
///
/// # Errors
/// If the system has none.
pub fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::getrandom(&mut bytes).map_err(|err| io::Error::other(err.to_string()))?;
    Ok(bytes)
}

/// An error of the file system, with what to do about it where that is known.
pub fn explain(err: &io::Error) -> String {
    let hint = match err.kind() {
        io::ErrorKind::NotFound => "it is not there",
        io::ErrorKind::PermissionDenied => "dirpost's user may not do that: check the owner and the mode",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no room is left there",
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only",
        io::ErrorKind::StaleNetworkFileHandle => "the file server no longer knows it",
        io::ErrorKind::NotADirectory => "it is not a real folder (links are not followed)",
        _ => return err.to_string(),
    };
    format!("{err}: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::testing::TempDir;

    fn config(dir: &Path) -> Config {
        crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").expect("a valid config")
    }

    #[test]
    fn one_works_and_the_other_hears_who_it_is() {
        let dir = TempDir::new();
        let first = Share::open(&config(dir.path()), false).unwrap();
        let OpenError::Locked(holder) = Share::open(&config(dir.path()), false).unwrap_err() else {
            panic!("not locked")
        };
        assert!(holder.ends_with(&std::process::id().to_string()), "{holder}");
        drop(first);
        Share::open(&config(dir.path()), false).unwrap();
    }

    #[test]
    fn the_mark_is_made_once_and_a_folder_without_it_is_not_the_share() {
        let dir = TempDir::new();
        let (share, state) = Share::open(&config(dir.path()), false).unwrap();
        assert_eq!(state.id.len(), 32);
        share.reopen().unwrap();
        let mark = dir.path().join(".dirpost/id");
        std::fs::rename(&mark, dir.path().join("elsewhere")).unwrap();
        assert!(share.reopen().unwrap_err().contains("lost its mark"));
        std::fs::write(&mark, "0123").unwrap();
        assert!(share.reopen().unwrap_err().contains("another share"));
        std::fs::rename(dir.path().join("elsewhere"), &mark).unwrap();
        share.reopen().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_state_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join(".dirpost")).unwrap();
        std::fs::set_permissions(dir.path().join(".dirpost"), std::fs::Permissions::from_mode(0o777)).unwrap();
        let OpenError::Fault(why) = Share::open(&config(dir.path()), false).unwrap_err() else {
            panic!("it was taken")
        };
        assert!(why.contains("0777") && why.contains(".dirpost"), "{why}");
    }

    #[cfg(unix)]
    #[test]
    fn a_state_folder_that_is_a_link_is_refused() {
        let dir = TempDir::new();
        let other = TempDir::new();
        std::os::unix::fs::symlink(other.path(), dir.path().join(".dirpost")).unwrap();
        assert!(matches!(Share::open(&config(dir.path()), false), Err(OpenError::Fault(_))));
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
