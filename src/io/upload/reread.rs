//! The second reading of a file whose ctime moved while it was sent.
//!
//! It is made beside the sending, by a thread of its own through a handle of its own, so that
//! the connection does not stall for as long as the file can be read in time. A thread that
//! hangs with its share holds nothing but that handle, and ends when it is let go.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::flow::file::Look;

/// Bytes that are read and hashed at once.
const PIECE: usize = 128 * 1024;

/// Bytes of stack for the thread, which only reads and hashes.
const STACK: usize = 256 * 1024;

/// A second reading under way. Dropping it ends its thread with the next piece.
#[derive(Debug)]
pub(super) struct Reread {
    /// How the file looked through the handle that is read from, before the first byte.
    pub look: Look,
    digest: Receiver<io::Result<[u8; 32]>>,
    stop: Arc<AtomicBool>,
}

impl Reread {
    /// Begins to read `file`, which `look` was made through, as far as its size.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn begin(file: impl Read + Send + 'static, look: Look) -> io::Result<Reread> {
        let (tell, digest) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new()
            .name("reread".into())
            .stack_size(STACK)
            .spawn(move || read(file.take(look.stamp.size), &stopped, &tell))?;
        Ok(Reread { look, digest, stop })
    }

    /// Waits for the digest of what was read; `None` if it is not there by `until`.
    pub fn wait(&self, until: Instant) -> Option<io::Result<[u8; 32]>> {
        let left = until.saturating_duration_since(Instant::now());
        match self.digest.recv_timeout(left) {
            Ok(digest) => Some(digest),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(io::Error::other(
                "the thread that read it again has ended",
            ))),
        }
    }
}

impl Drop for Reread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read(mut file: impl Read, stop: &AtomicBool, tell: &SyncSender<io::Result<[u8; 32]>>) {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    let digest = loop {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match file.read(&mut piece) {
            Ok(0) => break Ok(hash.finalize().into()),
            Ok(amount) => hash.update(&piece[..amount]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => break Err(err),
        }
    };
    // Nobody may be waiting any more.
    let _ = tell.send(digest);
}
