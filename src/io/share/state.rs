//! The state folder: whose it is, the lock, and the mark of the share.
//!
//! Invariants:
//! - It is a real folder of this user's own that nobody else may write to; it is opened without
//!   following links below the watched folder, and used by its handle.
//! - Who holds the lock on `lock` works; everybody else waits. `holder` beside it names the
//!   holder: a file of its own, for where locks are mandatory (Windows, SMB) nobody else can
//!   read `lock`. Whoever reads another's token there has lost the lock.
//! - Lock and mark are in `.dirpost` in the watched folder. Where dirpost may not write to that,
//!   the lock is in the state folder, and there may be no mark.
//! - A state folder elsewhere remembers the share that it belongs to. Where it does, no mark is made
//!   on a folder that has none: it may be the empty folder below a mount point.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Action, Config};
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::file::Rel;
use crate::flow::messages::Closing;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::below;
use crate::io::dir::{DRAFT, Dir, Durability, draft_name};
use crate::io::fault::{OpenError, Unusable, explain};

/// dirpost's own folder and what is in it.
#[derive(Debug)]
pub struct StateDir {
    pub folder: Arc<Dir>,
    /// The id of the share, marked or not.
    pub id: String,
    /// Made just now: nothing can be known yet.
    pub is_new: bool,
    /// Held for as long as this lives.
    _lock: File,
}

/// What was found on the share.
#[derive(Debug)]
pub struct Found {
    pub mark: Option<String>,
    pub read_only: bool,
    pub holder: Holder,
}

/// This process's name as the holder of the lock.
#[derive(Debug)]
pub struct Holder {
    /// Where the lock is, if not in `.dirpost` in the watched folder.
    place: Option<PathBuf>,
    token: String,
}

/// What a state folder elsewhere remembers of its share, in its file `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    id: String,
    /// The share has no mark; and whether it was a mount point.
    unmarked: Option<bool>,
}

/// Opens the state folder of the share `root`, takes the lock, and sees that they belong together.
///
/// # Errors
/// See [`OpenError`].
pub fn open(
    config: &Config,
    root: &Dir,
    is_mount: bool,
    adopt: bool,
) -> Result<(StateDir, Found), OpenError> {
    let own_path = config.watch.dir.join(OWN_FOLDER);
    let elsewhere = below(&config.watch.dir, &config.state.dir).is_none();
    let apart = if elsewhere {
        Some(open_apart(&config.state.dir)?)
    } else {
        None
    };
    let known = match &apart {
        Some(folder) => {
            Remembered::read(folder).map_err(|err| fault(&config.state.dir.join("id"), &err))?
        }
        None => None,
    };
    let own = open_own(config, root, &own_path, known.as_ref(), adopt)?;
    let (own, read_only) = match own {
        Own::Writable(own) => (Some(own), false),
        Own::ReadOnly(own) => (own, true),
    };
    let found = own
        .as_ref()
        .map(read_mark)
        .transpose()
        .map_err(|err| fault(&own_path.join("id"), &err))?
        .flatten();
    if let Some(known) = known.as_ref().filter(|_| !adopt) {
        known
            .fits(found.as_deref(), is_mount)
            .map_err(|why| away(config, &why))?;
    }

    let is_new = found.is_none() && known.is_none();
    // The lock comes before anything is made that another process may be at.
    let (place, lock_path) = match (&own, &apart) {
        (Some(own), _) if !read_only => (own, own_path.clone()),
        (_, Some(apart)) => (apart, config.state.dir.clone()),
        _ => unreachable!("what cannot be written to has its state elsewhere"),
    };
    let (lock, token) = take_lock(place, &lock_path)?;
    let mark = match (found, &own) {
        (Some(mark), _) => Some(mark),
        (None, Some(own)) if !read_only => {
            let id = known.as_ref().map(|known| known.id.clone());
            Some(make_mark(own, id).map_err(|err| fault(&own_path.join("id"), &err))?)
        }
        _ => None,
    };
    let id = match (&mark, &known) {
        (Some(mark), _) => mark.clone(),
        (None, Some(known)) => known.id.clone(),
        (None, None) => hex(&random().map_err(|err| fault(&config.state.dir, &err))?),
    };
    if let Some(apart) = &apart {
        let unmarked = mark.is_none().then_some(is_mount);
        let now = Remembered {
            id: id.clone(),
            unmarked,
        };
        now.write(apart, known.as_ref())
            .map_err(|err| fault(&config.state.dir.join("id"), &err))?;
    }
    let folder = match apart {
        Some(apart) => apart,
        None => open_below(config, root)?,
    };
    clean(&folder);
    let holder = Holder {
        place: read_only.then(|| config.state.dir.clone()),
        token,
    };
    Ok((
        StateDir {
            folder: Arc::new(folder),
            id,
            is_new,
            _lock: lock,
        },
        Found {
            mark,
            read_only,
            holder,
        },
    ))
}

/// What it means that `path` cannot be used: what somebody has to change is a fault; all else, such
/// as a full disk or a share that answers with an error, may be over by itself.
pub fn fault(path: &Path, err: &io::Error) -> OpenError {
    use io::ErrorKind::{
        InvalidData, InvalidInput, IsADirectory, NotADirectory, PermissionDenied,
        ReadOnlyFilesystem, Unsupported,
    };
    let why = format!("{}: {}", path.display(), explain(err));
    match err.kind() {
        InvalidData | InvalidInput | IsADirectory | NotADirectory | PermissionDenied
        | ReadOnlyFilesystem | Unsupported => OpenError::Fault(why),
        _ if is_link(err) => OpenError::Fault(why),
        _ => OpenError::Away(why),
    }
}

/// A link where a folder should be: ELOOP, on FreeBSD EMLINK (open(2)); Linux says `NotADirectory`.
fn is_link(err: &io::Error) -> bool {
    #[cfg(unix)]
    return [rustix::io::Errno::LOOP, rustix::io::Errno::MLINK]
        .iter()
        .any(|errno| err.raw_os_error() == Some(errno.raw_os_error()));
    #[cfg(not(unix))]
    {
        let _ = err;
        false
    }
}

fn away(config: &Config, why: &str) -> OpenError {
    OpenError::Away(format!(
        "{}: {why}, and the state in {} belongs to a share. Is it mounted? If this folder is meant, start once with --adopt",
        config.watch.dir.display(),
        config.state.dir.display()
    ))
}

fn private(folder: Dir, path: &Path) -> Result<Dir, OpenError> {
    match folder.is_private() {
        Ok(()) => Ok(folder),
        Err(why) => Err(OpenError::Fault(format!("{}: {why}", path.display()))),
    }
}

fn open_apart(path: &Path) -> Result<Dir, OpenError> {
    let folder = std::fs::create_dir_all(path)
        .and_then(|()| Dir::at(path))
        .map_err(|err| fault(path, &err))?;
    private(folder, path)
}

/// A state folder in the watched folder.
fn open_below(config: &Config, root: &Dir) -> Result<Dir, OpenError> {
    let path = &config.state.dir;
    let rel = below(&config.watch.dir, path).expect("it is below");
    private(root.make(&rel).map_err(|err| fault(path, &err))?, path)
}

/// `.dirpost` in the watched folder.
enum Own {
    Writable(Dir),
    ReadOnly(Option<Dir>),
}

fn open_own(
    config: &Config,
    root: &Dir,
    path: &Path,
    known: Option<&Remembered>,
    adopt: bool,
) -> Result<Own, OpenError> {
    let name = Rel::new(OWN_FOLDER.as_bytes());
    let may_read_only = below(&config.watch.dir, &config.state.dir).is_none()
        && config.delivered.action == Action::Keep;
    let own = match root.folder(&name) {
        Ok(own) => Some(own),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(fault(path, &err)),
    };
    let made = match own {
        Some(own) => match try_writing(&own) {
            Err(err) if may_read_only && is_read_only(&err) => return Ok(Own::ReadOnly(Some(own))),
            Ok(()) => return private(own, path).map(Own::Writable),
            Err(err) => private(own, path).and(Err(fault(path, &err))),
        },
        // The share was without a mark, and stays so.
        None if may_read_only && !adopt && known.is_some_and(|known| known.unmarked.is_some()) => {
            return Ok(Own::ReadOnly(None));
        }
        None if !adopt && known.is_some() => Err(away(config, "it has no mark (.dirpost/id)")),
        None => match root.make(&name) {
            Ok(own) => return private(own, path).map(Own::Writable),
            Err(err) if may_read_only && is_read_only(&err) => return Ok(Own::ReadOnly(None)),
            Err(err) => Err(fault(path, &err)),
        },
    };
    made.map_err(|err| match err {
        OpenError::Fault(why) if !may_read_only => OpenError::Fault(format!(
            "{why} (a share that dirpost may not write to needs delivered.action = \"keep\" and a state.dir elsewhere)"
        )),
        other => other,
    })
}

/// Makes a file of a name that nobody knows, and removes it.
///
/// # Errors
/// Of the calls.
pub fn try_writing(folder: &Dir) -> io::Result<()> {
    let name = draft_name();
    folder.create(&name)?;
    folder.remove(&name)
}

/// Whether an error says that this user may not write there.
pub fn is_read_only(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

fn read_mark(own: &Dir) -> io::Result<Option<String>> {
    match read_small(own, b"id") {
        Ok(bytes) => id_of(bytes.trim_ascii()).map(Some),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn id_of(bytes: &[u8]) -> io::Result<String> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        let why = "it is no id: restore it, or remove it to begin anew";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Makes the mark: `id`, or a new one.
fn make_mark(own: &Dir, id: Option<String>) -> io::Result<String> {
    let id = match id {
        Some(id) => id,
        None => hex(&random()?),
    };
    own.write_new(b"id", format!("{id}\n").as_bytes())?;
    own.sync()?;
    Ok(id)
}

impl Remembered {
    /// The word behind the id of a share without a mark.
    const UNMARKED: &str = "unmarked";
    const MOUNT: &str = "mount";

    fn read(state: &Dir) -> io::Result<Option<Remembered>> {
        let bytes = match read_small(state, b"id") {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut words = text.split_ascii_whitespace();
        let id = id_of(words.next().unwrap_or("").as_bytes())?;
        let unmarked = (words.next() == Some(Remembered::UNMARKED))
            .then(|| words.next() == Some(Remembered::MOUNT));
        Ok(Some(Remembered { id, unmarked }))
    }

    fn write(&self, state: &Dir, before: Option<&Remembered>) -> io::Result<()> {
        if before == Some(self) {
            return Ok(());
        }
        let words = match self.unmarked {
            None => String::new(),
            Some(false) => format!(" {}", Remembered::UNMARKED),
            Some(true) => format!(" {} {}", Remembered::UNMARKED, Remembered::MOUNT),
        };
        let line = format!("{}{words}\n", self.id);
        state.replace(b"id", line.as_bytes(), Durability::Durable)
    }

    /// Whether a folder with this mark, which is a mount point or not, may be the share; else
    /// what is wrong.
    fn fits(&self, mark: Option<&str>, is_mount: bool) -> Result<(), String> {
        match (self.unmarked, mark) {
            (None, Some(mark)) if mark == self.id => Ok(()),
            (None, None) => Err("it has no mark (.dirpost/id)".into()),
            (Some(was_mount), None) if was_mount && !is_mount => {
                Err("nothing is mounted on it any more".into())
            }
            (Some(_), None) => Ok(()),
            (_, Some(_)) => Err("it carries the mark of another share (.dirpost/id)".into()),
        }
    }
}

/// Takes the lock, and writes beside it who holds it.
fn take_lock(own: &Dir, path: &Path) -> Result<(File, String), OpenError> {
    let fault = |err: io::Error| fault(&path.join("lock"), &err);
    let mut file = own.to_lock(b"lock").map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        // fcntl(2) allows EACCES for a lock that is taken, and SMB mounts say so; the file could
        // be opened for writing.
        Err(TryLockError::Error(err)) if err.kind() != io::ErrorKind::PermissionDenied => {
            return Err(fault(err));
        }
        Err(_) => {
            let holder = read_small(own, b"holder").unwrap_or_default();
            return Err(OpenError::Locked(
                String::from_utf8_lossy(holder.trim_ascii()).into_owned(),
            ));
        }
    }
    let token = hex(&random().map_err(fault)?);
    let line = format!("{token} {} {}\n", host(), std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(line.as_bytes()))
        .map_err(fault)?;
    own.replace(b"holder", line.as_bytes(), Durability::Durable)
        .map_err(fault)?;
    Ok((file, token))
}

impl Holder {
    /// Sees through a fresh open that the lock is still ours. `own` is `.dirpost`, just opened.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn confirm(&self, own: io::Result<Dir>) -> Result<(), Unusable> {
        let place = match &self.place {
            Some(place) => Dir::at(place),
            None => own,
        };
        match place.and_then(|place| read_small(&place, b"holder")) {
            Ok(found)
                if found.split(u8::is_ascii_whitespace).next() == Some(self.token.as_bytes()) =>
            {
                Ok(())
            }
            Ok(found) if found.trim_ascii().is_empty() => Err(Unusable::Anew(Closing::LockLost(
                "the file that names its holder is empty".into(),
            ))),
            Ok(found) => {
                let who = String::from_utf8_lossy(found.trim_ascii()).into_owned();
                Err(Unusable::Anew(Closing::LockLost(format!(
                    "another dirpost has taken it (token, host, pid: {who})"
                ))))
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Err(Unusable::Anew(
                Closing::LockLost("the file that names its holder is gone".into()),
            )),
            Err(err) => Err(Unusable::Away(format!(
                "the lock cannot be looked at: {}",
                explain(&err)
            ))),
        }
    }
}

/// Removes what a process left that was killed while it wrote a file.
fn clean(state: &Dir) {
    for name in state.names(&Rel::root()).unwrap_or_default() {
        if name.starts_with(DRAFT.as_bytes()) {
            let _ = state.remove(&name);
        }
    }
}

fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() {
        "unknown".into()
    } else {
        name
    }
}

/// The start of a small file.
///
/// # Errors
/// Of the calls.
pub fn read_small(folder: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::share::Share;
    use crate::io::testing::TempDir;

    fn config(dir: &Path, state: Option<&Path>) -> Config {
        let mut config =
            crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").expect("a valid config");
        if let Some(state) = state {
            config.state.dir = state.to_path_buf();
        }
        config
    }

    #[test]
    fn one_works_and_the_other_hears_who_it_is() {
        let dir = TempDir::new();
        let first = Share::open(&config(dir.path(), None), false).unwrap();
        let OpenError::Locked(holder) = Share::open(&config(dir.path(), None), false).unwrap_err()
        else {
            panic!("not locked")
        };
        assert!(
            holder.ends_with(&std::process::id().to_string()),
            "{holder}"
        );
        drop(first);
        Share::open(&config(dir.path(), None), false).unwrap();
    }

    #[test]
    fn a_state_elsewhere_makes_no_mark_on_a_folder_that_has_none_until_it_is_adopted() {
        let (dir, state) = (TempDir::new(), TempDir::new());
        let config = config(dir.path(), Some(&state.path().join("s")));
        let (_, first) = Share::open(&config, false).unwrap();
        let id = first.id.clone();
        drop(first);
        // As where the share is not mounted.
        std::fs::remove_dir_all(dir.path().join(".dirpost")).unwrap();
        let OpenError::Away(why) = Share::open(&config, false).unwrap_err() else {
            panic!("it was taken")
        };
        assert!(why.contains("--adopt") && why.contains("no mark"), "{why}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let (_, adopted) = Share::open(&config, true).unwrap();
        assert_eq!(adopted.id, id, "its keys would change");
        drop(adopted);
        Share::open(&config, false).unwrap();
        // Another share.
        std::fs::write(dir.path().join(".dirpost/id"), "0123\n").unwrap();
        assert!(matches!(
            Share::open(&config, false).unwrap_err(),
            OpenError::Away(_)
        ));
        let (_, other) = Share::open(&config, true).unwrap();
        assert_eq!(other.id, "0123");
    }

    #[test]
    fn what_is_remembered_of_a_share_is_read_back() {
        let state = TempDir::new();
        let folder = Dir::at(state.path()).unwrap();
        assert_eq!(Remembered::read(&folder).unwrap(), None);
        for unmarked in [None, Some(false), Some(true)] {
            let known = Remembered {
                id: "0a1b".into(),
                unmarked,
            };
            known.write(&folder, None).unwrap();
            assert_eq!(Remembered::read(&folder).unwrap(), Some(known));
        }
        let mounted = Remembered {
            id: "0a1b".into(),
            unmarked: Some(true),
        };
        assert!(mounted.fits(None, true).is_ok() && mounted.fits(None, false).is_err());
        assert!(
            mounted.fits(Some("0a1b"), true).is_err(),
            "who has made this mark?"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_state_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join(".dirpost")).unwrap();
        std::fs::set_permissions(
            dir.path().join(".dirpost"),
            std::fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        let OpenError::Fault(why) = Share::open(&config(dir.path(), None), false).unwrap_err()
        else {
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
        assert!(matches!(
            Share::open(&config(dir.path(), None), false),
            Err(OpenError::Fault(_))
        ));
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
