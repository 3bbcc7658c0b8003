//! The state folder: journal, memory and what else outlives a process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::flow::file::Rel;
use crate::io::dir::{DRAFT, Dir};
use crate::io::journal::Home;

use super::lock::Lock;

pub use crate::io::os::error::is_read_only;

/// The file that tells that it was said who may write to the folder.
pub(super) const SAID_OPEN: &[u8] = b"open-to-others";

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

/// Whether nothing of a former dirpost is in a folder, so that none can hold a lock there.
pub(super) fn is_blank(folder: &Dir) -> bool {
    const OWN: [&[u8]; 13] = [
        b"id",
        b"lock",
        b"holder",
        b"journal",
        b"memory.jsonl",
        b"status.json",
        b"retries.jsonl",
        b"retries.lock",
        b"done",
        b"dead-letter",
        b"staging",
        crate::io::filing::ledger::FOLDER,
        SAID_OPEN,
    ];
    folder
        .names(&Rel::root())
        .is_ok_and(|names| names.iter().all(|name| !OWN.contains(&name.as_slice())))
}

/// Makes a file of a name that nobody knows, and removes it.
///
/// # Errors
/// Of making or removing it.
pub fn try_writing(folder: &Dir) -> io::Result<()> {
    folder.try_making(|name| folder.create(name).map(drop))
}

/// Removes what a process left that was killed while it wrote a file or looked at a folder.
pub(super) fn clean(folder: &Dir) {
    for name in folder.names(&Rel::root()).unwrap_or_default() {
        if name.starts_with(DRAFT.as_bytes()) && folder.remove(&name).is_err() {
            let _ = folder.remove_folder(&name);
        }
    }
}
