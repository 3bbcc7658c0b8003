//! dirpost's own small files: written whole under a draft's name, then given their own.
//!
//! Over NFS and SMB a rename, a link or an unlink may have been done and answer with an error all
//! the same. So nothing is undone on such an answer before a fresh look has shown what is there:
//! where the bytes have arrived under their name, the file is written. What is removed after an
//! error is a draft, or a placeholder that is shown to be empty and dirpost's own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Dir, Entry, file_look, link_is_unsupported, rename_is_unsupported};
use crate::flow::file::FsKind;

/// Whether a file must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The bytes and the name are on the disk when the call returns.
    Durable,
    /// After a power cut the former file, none, or an empty one is as good.
    Cached,
}

/// How the names of drafts begin.
pub const DRAFT: &str = ".draft-";

/// The permission bits of dirpost's own files (less the umask): for everybody to read.
const OWN_MODE: u32 = 0o644;

/// A name for a file that is not finished, in a folder of dirpost's own. Random, for in a
/// container each process has the same id, and one that was killed may have left a draft.
pub fn draft_name() -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: OnceLock<u64> = OnceLock::new();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let start = START.get_or_init(|| {
        let mut bytes = [0; 8];
        // Without randomness the id of the process has to do.
        getrandom::getrandom(&mut bytes)
            .map_or(std::process::id().into(), |()| u64::from_le_bytes(bytes))
    });
    format!("{DRAFT}{start:016x}-{count}").into_bytes()
}

impl Dir {
    /// Makes a file by `make` under a name that nobody knows, and removes it: whether that can be done.
    ///
    /// # Errors
    /// Of making or removing it; nothing stays unless it cannot be removed.
    pub fn try_making(&self, make: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let name = draft_name();
        let made = make(&name);
        match self.remove(&name) {
            // It was not even made, or the holder of the lock has tidied up meanwhile.
            Err(err) if err.kind() == io::ErrorKind::NotFound => made,
            removed => made.and(removed),
        }
    }

    /// Writes a whole file, in place of the one that has this name, if there is one.
    ///
    /// # Errors
    /// Whatever creating, writing, fsync or the rename answers. The former file is still there
    /// then, and no draft is left; only when nothing but the folder's fsync has failed, the new
    /// one is there, and may be gone after a power cut.
    pub fn replace(&self, name: &[u8], bytes: &[u8], durability: Durability) -> io::Result<()> {
        let draft = draft_name();
        let file = self.write_draft(&draft, bytes, durability)?;
        if durability == Durability::Cached
            && self.kind() == FsKind::Local
            && self.exchange(&draft, name).is_ok()
        {
            return self.remove_former(&draft, name);
        }
        if let Err(err) = self.rename_over(&draft, self, name) {
            let renamed = self.was_renamed(&draft, &file, name);
            self.remove_draft(&draft);
            if !renamed {
                return Err(err);
            }
        }
        match durability {
            Durability::Durable => self.fsync(),
            Durability::Cached => Ok(()),
        }
    }

    /// Removes what `name` was until it was exchanged for the draft. Where that fails, as for a folder,
    /// which no rename would have replaced, it gets its name back.
    ///
    /// ext4 brings the bytes of what is renamed over another file onto the disk at once
    /// (`auto_da_alloc`, ext4(5)), which costs a fifth of the time that a replacement takes, and a
    /// write to the disk for each. What is exchanged is left to the cache, and what is replaced before
    /// it was written never is.
    fn remove_former(&self, draft: &[u8], name: &[u8]) -> io::Result<()> {
        self.remove(draft).inspect_err(|_| {
            if self.exchange(draft, name).is_ok() {
                self.remove_draft(draft);
            }
        })
    }

    /// Writes a whole file under a name that is free, and brings its bytes onto the disk. The name
    /// is there after a power cut only once [`Dir::fsync`] has succeeded.
    ///
    /// # Errors
    /// Whatever creating, writing, fsync or the rename answers; `AlreadyExists` if the name is
    /// taken. No draft is left then. Where a look after the error cannot tell, the file may have
    /// its name all the same.
    pub fn write_new(&self, name: &[u8], bytes: &[u8]) -> io::Result<()> {
        self.write_new_by(&draft_name(), name, bytes)
    }

    /// Does what [`Dir::write_new`] does, by way of a draft of this name.
    ///
    /// # Errors
    /// Those of [`Dir::write_new`]; `AlreadyExists` also if there is such a draft.
    pub fn write_new_by(&self, draft: &[u8], name: &[u8], bytes: &[u8]) -> io::Result<()> {
        let file = self.write_draft(draft, bytes, Durability::Durable)?;
        self.place(draft, &file, name)
            .inspect_err(|_| self.remove_draft(draft))
    }

    /// Gives the finished file `draft` its name, if that is free: by a rename that replaces
    /// nothing; where there is no such rename, by a link and an unlink; where there are no links
    /// either, by an exclusive create, which reserves the name, and a rename over that. `file` is
    /// the draft's handle, open to read; where it stands in the file is moved.
    ///
    /// # Errors
    /// Whatever these calls answer; `AlreadyExists` if the name is taken. The draft is left as it
    /// is, unless it was moved. Where a look after the error cannot tell, the file may have its
    /// name all the same.
    pub fn place(&self, draft: &[u8], file: &File, name: &[u8]) -> io::Result<()> {
        let renamed = self.rename_no_replace(draft, self, name);
        let placed = match renamed {
            Err(err) if rename_is_unsupported(&err) => self.place_by_link(draft, file, name),
            other => other,
        };
        match placed {
            Err(_) if self.was_renamed(draft, file, name) => Ok(()),
            other => other,
        }
    }

    fn place_by_link(&self, draft: &[u8], file: &File, name: &[u8]) -> io::Result<()> {
        match self.link(draft, self, name) {
            Err(err) if link_is_unsupported(&err) => self.place_by_reserving(draft, name),
            Err(err) if !self.was_linked(draft, file, name, &err) => Err(err),
            Ok(()) | Err(_) => {
                // A draft that stays is one name too many of a file that is where it belongs.
                self.remove_draft(draft);
                Ok(())
            }
        }
    }

    fn place_by_reserving(&self, draft: &[u8], name: &[u8]) -> io::Result<()> {
        let reserved = self.create_new(name, OWN_MODE)?;
        let placed = self.rename_over(draft, self, name);
        if placed.is_err() && self.is_placeholder(&reserved, name) {
            // Left there it would be in the way of the next attempt.
            let _ = self.remove(name);
        }
        placed
    }

    /// Whether `name` is still the empty file that `reserved` was opened with, and not what was
    /// to be renamed over it.
    fn is_placeholder(&self, reserved: &File, name: &[u8]) -> bool {
        match (file_look(reserved, self.kind()), self.fresh_entry(name)) {
            (Ok(made), Ok(Entry::File(found))) => found.stamp.size == 0 && made.ino == found.ino,
            _ => false,
        }
    }

    fn write_draft(&self, draft: &[u8], bytes: &[u8], durability: Durability) -> io::Result<File> {
        let mut file = self.create_new(draft, OWN_MODE).inspect_err(|err| {
            // Any other error may be the answer to a create that was done.
            if err.kind() != io::ErrorKind::AlreadyExists {
                self.remove_draft(draft);
            }
        })?;
        let written = file.write_all(bytes).and_then(|()| match durability {
            Durability::Durable => file.sync_all(),
            Durability::Cached => Ok(()),
        });
        match written {
            Ok(()) => Ok(file),
            Err(err) => {
                self.remove_draft(draft);
                Err(err)
            }
        }
    }

    /// Drafts that stay are removed by the next start.
    fn remove_draft(&self, draft: &[u8]) {
        let _ = self.remove(draft);
    }

    /// Whether fresh looks show that `draft`, of which `file` is the handle, has become `name`.
    fn was_renamed(&self, draft: &[u8], file: &File, name: &[u8]) -> bool {
        matches!(self.fresh_entry(draft), Ok(Entry::Absent))
            && self.holds_the_same(name, file).unwrap_or(false)
    }

    /// Whether fresh looks show that `draft`, of which `file` is the handle, has got a second name
    /// `name`, though the answer was `err`. Where inodes are not known, or not the same for each
    /// name (SMB with noserverino), the bytes tell, unless the name was taken: they may be another
    /// process's then.
    fn was_linked(&self, draft: &[u8], file: &File, name: &[u8], err: &io::Error) -> bool {
        match (self.fresh_entry(draft), self.fresh_entry(name)) {
            (Ok(Entry::File(one)), Ok(Entry::File(other))) => {
                one.ino != 0 && (one.dev, one.ino) == (other.dev, other.ino)
                    || err.kind() != io::ErrorKind::AlreadyExists
                        && self.holds_the_same(name, file).unwrap_or(false)
            }
            _ => false,
        }
    }

    /// Whether the bytes under `name` are those of `file`.
    fn holds_the_same(&self, name: &[u8], mut file: &File) -> io::Result<bool> {
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut wanted)?;
        self.file(name)?.read_to_end(&mut found)?;
        Ok(wanted == found)
    }
}
