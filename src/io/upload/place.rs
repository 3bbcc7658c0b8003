//! Where the bytes of an upload come from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;
use std::time::Duration;

use crate::flow::file::{FsKind, Look, Rel};
use crate::io::dir::{Dir, file_look};

/// A name under which a file can be opened again and again. The tests have one whose file
/// changes between any two calls.
pub trait Place: fmt::Display + Send + 'static {
    /// A handle to read from.
    type File: Read + Seek + Send + 'static;

    /// Opens what lies there now, and looks at it through the new handle.
    ///
    /// # Errors
    /// Of the open: it is gone, is no regular file, or may not be read.
    fn open(&self) -> io::Result<(Self::File, Look)>;

    /// Looks at the file once more. On a network file system that is a fresh open, for a held
    /// handle may see nothing of what another client does (on NFS it was blind for 24 s).
    ///
    /// # Errors
    /// Of the look, or of the open.
    fn look(&self, file: &Self::File, fs: FsKind) -> io::Result<Look>;

    /// Lets so much time pass that a change after it cannot have the ctime of one before it.
    fn next_tick(&self);
}

/// A file below the watched folder.
#[derive(Debug)]
pub struct InFolder {
    /// The watched folder.
    pub root: Arc<Dir>,
    /// The file's path, relative to it.
    pub path: Rel,
}

/// The path, as in the log.
impl fmt::Display for InFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// Kernels stamp changes with the time of their last timer tick, which is up to 10 ms old
/// (`CONFIG_HZ` = 100; Linux from 6.13 on is finer where it matters).
const TICK: Duration = Duration::from_millis(20);

impl Place for InFolder {
    type File = File;

    fn open(&self) -> io::Result<(File, Look)> {
        self.root.open(&self.path)
    }

    fn look(&self, file: &File, fs: FsKind) -> io::Result<Look> {
        match fs {
            FsKind::Share => Ok(self.root.open(&self.path)?.1),
            FsKind::Local | FsKind::LocalNoCtime => file_look(file, fs),
        }
    }

    fn next_tick(&self) {
        std::thread::sleep(TICK);
    }
}
