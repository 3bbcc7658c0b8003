//! The lock of a share: one process works on it, everybody else waits.
//!
//! `lock` is locked; `holder` beside it names the holder by a random token, host and process id.
//! It is a file of its own because locks are mandatory on Windows and over SMB: nobody else can
//! read a locked file there. Whoever reads another's token in `holder` has lost the lock, as an
//! NFS client does that was cut off from its server.
//!
//! Somebody may remove or replace either file under the holder, and a lock on a file without a
//! name keeps nobody out. So the holder looks at both through fresh opens, at least every
//! [`LOCK_RECHECK_AFTER`] while it sends; it makes and locks again what is missing, or becomes the
//! standby if another was faster. Who finds no lock file, or not the one that its last holder
//! has locked, leaves the holder [`LOCK_GONE_WAIT`] to do so.
//!
//! [`LOCK_RECHECK_AFTER`]: crate::flow::clock::LOCK_RECHECK_AFTER

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::escape::escape;
use crate::flow::file::Rel;
use crate::flow::messages::Closing;
use crate::io::dir::{Dir, Durability, FileId};
use crate::io::os::error::explain;
use crate::io::os::{host, lock as locked};

use super::{OpenError, Unusable, random, read_small};

pub(super) const LOCK: &[u8] = b"lock";
pub(super) const HOLDER: &[u8] = b"holder";

/// Who finds the lock file missing waits that long before it makes one: three times as long as a
/// holder that is alive may take to notice it.
pub const LOCK_GONE_WAIT: Duration = Duration::from_secs(15);

/// The lock, held from [`Lock::take`] to [`Lock::release`].
#[derive(Debug)]
pub(super) struct Lock {
    /// What this process has written into both files: the token, the host, the process id.
    line: String,
    held: Mutex<Option<Held>>,
}

/// The file that is locked.
#[derive(Debug)]
struct Held {
    file: File,
    /// Which one it is, where the platform can tell.
    id: Option<FileId>,
}

/// Whether the lock file may be made, or taken from a holder that may be alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// The folder is new: nobody can hold a lock in it.
    New,
    /// A holder that is alive has to be given time first.
    NotYet,
    /// It was given that time.
    Waited,
}

/// What somebody had removed, and is there again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PutRight {
    pub lock: bool,
    pub holder: bool,
}

impl Lock {
    /// Takes the lock in the folder `place`, which lies at `path`, and writes down who holds it.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process holds it, [`OpenError::LockGone`] if a holder
    /// has to be given time, else of making, locking or writing the two files. After an error
    /// nothing is locked.
    pub(super) fn take(place: &Dir, path: &Path, making: Making) -> Result<Lock, OpenError> {
        let path = path.join("lock");
        let failed = |err: io::Error| OpenError::of(&path, &err);
        let gone = |what: &str| OpenError::LockGone(format!("{}: {what}", path.display()));
        if making == Making::NotYet && is_missing(place).map_err(failed)? {
            return Err(gone("somebody has removed it"));
        }
        let Some((mut file, id)) = open_and_lock(place, || ()).map_err(failed)? else {
            return Err(OpenError::Locked(holder(place)));
        };
        if making == Making::NotYet && !is_the_holders(&mut file, place).map_err(failed)? {
            return Err(gone("it is not the file that its last holder has locked"));
        }

        let token = hex(&random().map_err(failed)?);
        let line = format!("{token} {} {}\n", host(), std::process::id());
        write_line(&mut file, &line).map_err(failed)?;
        place
            .replace(HOLDER, line.as_bytes(), Durability::Durable)
            .map_err(failed)?;
        Ok(Lock {
            line,
            held: Mutex::new(Some(Held { file, id })),
        })
    }

    /// Gives the lock up. The threads of a share that hangs may keep the rest for as long as
    /// they hang.
    pub(super) fn release(&self) {
        drop(locked(&self.held).take());
    }

    /// The file that is locked: who closes it gives the lock up. `None` if it was given up, and where an
    /// operation on it hangs.
    pub(super) fn hand_over(&self) -> Option<File> {
        let held = self.held.try_lock().ok()?.take();
        held.map(|held| held.file)
    }

    /// Sees that the lock is still this process's. `place` was just opened by its path.
    /// `put_right`: it is the very folder that the lock was taken in, and what somebody has
    /// removed there is written again.
    ///
    /// # Errors
    /// [`Closing::LockLost`] if it is another's, [`Unusable::Away`] if that cannot be seen or the
    /// files cannot be written.
    pub(super) fn confirm(&self, place: &Dir, put_right: bool) -> Result<PutRight, Unusable> {
        let mut done = PutRight::default();
        let named = self.named(place)?;
        if !self.is_in(place)? {
            if !put_right {
                return Err(lost("the lock file is gone".into()));
            }
            done.lock = self.lock_again(place)?;
        }
        if named {
            return Ok(done);
        }
        if !put_right {
            return Err(lost("the file that names its holder is gone".into()));
        }
        done.holder = self.name_again(place)?;
        Ok(done)
    }

    /// Whether `holder` names this process; false if it names nobody.
    fn named(&self, place: &Dir) -> Result<bool, Unusable> {
        match read_small(place, HOLDER) {
            Ok(found) if token(&found) == token(self.line.as_bytes()) => Ok(true),
            Ok(found) if found.trim_ascii().is_empty() => Ok(false),
            Ok(found) => Err(lost(format!(
                "another dirpost has taken it (token, host, pid: {})",
                for_the_log(&found)
            ))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(unseen(&err)),
        }
    }

    /// Whether the lock file in `place` is the one that is held.
    fn is_in(&self, place: &Dir) -> Result<bool, Unusable> {
        let id = match &*locked(&self.held) {
            Some(held) => held.id,
            None => return Err(lost("it was given up".into())),
        };
        match place.open(&Rel::new(LOCK)) {
            Ok(_) if id.is_none() => Ok(true),
            Ok((found, _)) => Ok(FileId::of(&found).map_err(|err| unseen(&err))? == id),
            // Something that is no file, or nothing at all.
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(false)
            }
            Err(err) => Err(unseen(&err)),
        }
    }

    /// Makes the lock file again, or takes the one that lies there, and locks it. False if
    /// another thread has done so meanwhile.
    fn lock_again(&self, place: &Dir) -> Result<bool, Unusable> {
        let mut held = locked(&self.held);
        let Some(before) = held.as_ref() else {
            return Err(lost("it was given up".into()));
        };
        if before.id.is_none() && !is_missing(place).map_err(|err| unseen(&err))? {
            return Ok(false);
        }
        if before.id.is_some() && shown(place).map_err(|err| unseen(&err))? == before.id {
            return Ok(false);
        }
        let Some((mut file, id)) = open_and_lock(place, || ()).map_err(|err| unseen(&err))? else {
            return Err(lost(format!(
                "somebody has removed the lock file, and another dirpost has made and locked it (token, host, pid: {})",
                holder(place)
            )));
        };
        write_line(&mut file, &self.line).map_err(|err| unseen(&err))?;
        *held = Some(Held { file, id });
        Ok(true)
    }

    /// Writes `holder` again. False if another thread has done so meanwhile.
    pub(super) fn name_again(&self, place: &Dir) -> Result<bool, Unusable> {
        let line = self.line.as_bytes();
        if let Some(held) = &*locked(&self.held) {
            // A client that its NFS server has forgotten meanwhile fails here (EIO): the lock may
            // be another's, which has not written its name yet.
            (&held.file)
                .rewind()
                .and_then(|()| (&held.file).write_all(line))
                .map_err(|err| {
                    lost(format!(
                        "the lock file cannot be written: {}",
                        explain(&err)
                    ))
                })?;
        }
        // One that is empty names nobody; what another has written meanwhile is not replaced.
        match place.look(HOLDER) {
            Ok(Some(look)) if look.stamp.size == 0 => {
                place.remove(HOLDER).map_err(|err| unseen(&err))?;
            }
            _ => {}
        }
        match place.write_new(HOLDER, line) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                if self.named(place)? {
                    Ok(false)
                } else {
                    Err(unseen(&err))
                }
            }
            Err(err) => Err(unseen(&err)),
        }
    }
}

/// Opens the lock file, makes it if it is missing, and locks it; `None` if another holds it.
/// Gives which file it is, unless the file system does not keep to that. `opened` is called between
/// the two.
///
/// Between the two somebody may remove the file, and the one that had it locked make another one
/// and let go of this: a lock on it would keep nobody out. So the path must still show it.
fn open_and_lock(
    place: &Dir,
    mut opened: impl FnMut(),
) -> io::Result<Option<(File, Option<FileId>)>> {
    const TRIES: usize = 3;
    let mut tries = 0;
    loop {
        let file = place.to_lock(LOCK)?;
        opened();
        if !try_lock(&file)? {
            return Ok(None);
        }
        let id = FileId::of(&file)?;
        if shown(place)? == id {
            return Ok(Some((file, id)));
        }
        tries += 1;
        if tries == TRIES {
            // Each time it could be locked: it is the same file under ever another number.
            return Ok(Some((file, None)));
        }
    }
}

/// Which file the path of the lock file shows now; `None` if there is none, or the platform cannot
/// tell.
fn shown(place: &Dir) -> io::Result<Option<FileId>> {
    match place.open(&Rel::new(LOCK)) {
        Ok((file, _)) => FileId::of(&file),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

pub(super) fn write_line(file: &mut File, line: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(line.as_bytes())
}

/// Whether there is no lock file.
fn is_missing(place: &Dir) -> io::Result<bool> {
    match place.open(&Rel::new(LOCK)) {
        Ok(_) => Ok(false),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(err) => Err(err),
    }
}

/// Whether the lock file, which was just locked, is the one that its last holder has locked: then
/// both files say the same, unless that holder was killed between the two. A `holder` that
/// somebody has removed says nothing.
fn is_the_holders(file: &mut File, place: &Dir) -> io::Result<bool> {
    let mut line = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut line)?;
    if line.trim_ascii().is_empty() {
        return Ok(false);
    }
    match read_small(place, HOLDER) {
        Ok(named) => Ok(named.trim_ascii().is_empty() || token(&named) == token(&line)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(err) => Err(err),
    }
}

fn unseen(err: &io::Error) -> Unusable {
    Unusable::Away(format!("the lock cannot be looked at: {}", explain(err)))
}

fn lost(why: String) -> Unusable {
    Unusable::Anew(Closing::LockLost(why))
}

/// Tries to lock `file`; false if another holds it.
///
/// # Errors
/// If the file system cannot lock.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
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
pub(super) fn holder(place: &Dir) -> String {
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
    escape(&line[..line.len().min(LONGEST)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    #[cfg(unix)]
    #[test]
    fn a_lock_on_a_file_that_has_lost_its_name_meanwhile_is_none() {
        let dir = TempDir::new();
        let place = Dir::at(dir.path()).unwrap();
        let path = dir.path().join("lock");
        let mut times = 0;
        let locked = open_and_lock(&place, || {
            times += 1;
            if times == 1 {
                // The holder makes another one, locks that, and lets go of this one.
                std::fs::remove_file(&path).unwrap();
                let other = place.to_lock(LOCK).unwrap();
                other.lock().unwrap();
                std::mem::forget(other);
            }
        });
        assert!(locked.unwrap().is_none(), "two would hold it");
        assert_eq!(times, 2);
    }

    #[test]
    fn what_others_write_into_holder_forges_no_line_of_the_log() {
        let forged = b"0123 host 7\nERROR all is lost\x1b[2J\xff";
        let said = for_the_log(forged);
        assert_eq!(said, "0123 host 7%0AERROR all is lost%1B[2J%FF");
        assert!(for_the_log(&[b'x'; 4096]).len() <= 200);
    }
}
