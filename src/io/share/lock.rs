//! The lock of a share: one process works on it, everybody else waits.
//!
//! `lock` is locked; `holder` beside it names the holder by a random token, host and process id.
//! It is a file of its own because locks are mandatory on Windows and over SMB: nobody else can
//! read a locked file there. Whoever reads another's token in `holder` has lost the lock, as an
//! NFS client does that was cut off from its server.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::escape::escape;
use crate::flow::messages::Closing;
use crate::io::dir::{Dir, Durability};
use crate::io::os::error::explain;
use crate::io::os::lock as locked;

use super::{OpenError, Unusable, random, read_small};

const LOCK: &[u8] = b"lock";
const HOLDER: &[u8] = b"holder";

/// The lock, held from [`Lock::take`] to [`Lock::release`].
#[derive(Debug)]
pub(super) struct Lock {
    /// What this process has written into `holder`: the token, the host, the process id.
    line: String,
    file: Mutex<Option<File>>,
}

impl Lock {
    /// Takes the lock in the folder `place`, which lies at `path`, and writes down who holds it.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process holds it, else of making, locking or writing the
    /// two files. After an error nothing is locked.
    pub(super) fn take(place: &Dir, path: &Path) -> Result<Lock, OpenError> {
        let failed = |err: io::Error| OpenError::of(&path.join("lock"), &err);
        let mut file = place.to_lock(LOCK).map_err(failed)?;
        if !try_lock(&file).map_err(failed)? {
            return Err(OpenError::Locked(holder(place)));
        }

        let token = hex(&random().map_err(failed)?);
        let line = format!("{token} {} {}\n", host(), std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all(line.as_bytes()))
            .and_then(|()| place.replace(HOLDER, line.as_bytes(), Durability::Durable))
            .map_err(failed)?;
        Ok(Lock {
            line,
            file: Mutex::new(Some(file)),
        })
    }

    /// Gives the lock up. The threads of a share that hangs may keep the rest for as long as
    /// they hang.
    pub(super) fn release(&self) {
        drop(locked(&self.file).take());
    }

    /// Sees that the lock is still this process's. `place` was just opened by its path.
    ///
    /// # Errors
    /// [`Closing::LockLost`] if it is another's, [`Unusable::Away`] if that cannot be seen.
    pub(super) fn confirm(&self, place: &Dir) -> Result<(), Unusable> {
        match read_small(place, HOLDER) {
            Ok(found) if token(&found) == token(self.line.as_bytes()) => Ok(()),
            Ok(found) if found.trim_ascii().is_empty() => {
                Err(lost("the file that names its holder is empty".into()))
            }
            Ok(found) => Err(lost(format!(
                "another dirpost has taken it (token, host, pid: {})",
                for_the_log(&found)
            ))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                Err(lost("the file that names its holder is gone".into()))
            }
            Err(err) => Err(Unusable::Away(format!(
                "the lock cannot be looked at: {}",
                explain(&err)
            ))),
        }
    }
}

fn lost(why: String) -> Unusable {
    Unusable::Anew(Closing::LockLost(why))
}

/// Tries to lock `file`; false if another holds it.
///
/// # Errors
/// If the file system cannot lock.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        // fcntl(2) allows EACCES for a lock that is taken, and SMB mounts say so; the file could
        // be opened for writing.
        Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(TryLockError::Error(err)) => Err(err),
    }
}

/// Who holds the lock, as far as is known.
fn holder(place: &Dir) -> String {
    for_the_log(&read_small(place, HOLDER).unwrap_or_default())
}

/// The first word of a holder's line.
fn token(line: &[u8]) -> &[u8] {
    line.split(u8::is_ascii_whitespace).next().unwrap_or(line)
}

/// What stands in `holder`, for the log. On a share others may have written it: it is
/// escaped, so that it forges no line, and cut, so that it floods none.
fn for_the_log(line: &[u8]) -> String {
    const LONGEST: usize = 200;
    let line = line.trim_ascii();
    escape(&line[..line.len().min(LONGEST)])
}

fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    // A word of its own.
    let name: String = name.split_ascii_whitespace().collect();
    if name.is_empty() {
        "unknown".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_into_holder_forges_no_line_of_the_log() {
        let forged = b"0123 host 7\nERROR all is lost\x1b[2J\xff";
        let said = for_the_log(forged);
        assert_eq!(said, "0123 host 7%0AERROR all is lost%1B[2J%FF");
        assert!(for_the_log(&[b'x'; 4096]).len() <= 200);
    }
}
