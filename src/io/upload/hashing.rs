//! The digest of what is sent.
//!
//! It is made of the bytes as they are read. Of a large file a thread of its own makes it beside the
//! sending, where the machine has a core for it: alone, SHA-256 takes about as long as a quick network.
//! That thread gets copies of the pieces, no more than [`AHEAD`] of them before it is waited for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use sha2::{Digest as _, Sha256};

/// After so many bytes a file is a large one. Of files of 5 MiB the thread took 20 % more processor time and
/// saved next to none; of one of 2 GiB a third of the time.
const LARGE: u64 = 16 * 1024 * 1024;
/// Pieces that wait to be hashed.
const AHEAD: usize = 8;
/// Bytes of stack for the thread, which only hashes.
const STACK: usize = 128 * 1024;

/// How many threads of this process send large files or hash them.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// The digest of all that it was given.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    /// Of what was given before a thread has begun, or after it has ended.
    here: Sha256,
    /// How many bytes it was given.
    given: u64,
    /// As soon as it is a large file.
    busy: Option<Busy>,
    beside: Option<Beside>,
}

/// One thread that is busy.
#[derive(Debug)]
struct Busy;

/// The thread that hashes.
#[derive(Debug)]
struct Beside {
    pieces: SyncSender<Vec<u8>>,
    /// The memory of pieces that are hashed.
    spare: Receiver<Vec<u8>>,
    thread: JoinHandle<Sha256>,
}

impl Hashing {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.given += bytes.len() as u64;
        if self.given >= LARGE && self.busy.is_none() {
            self.busy = Some(Busy::begin());
            self.beside = Beside::begin(&self.here);
        }
        match &self.beside {
            Some(beside) => beside.take(bytes),
            None => self.here.update(bytes),
        }
    }

    /// Of all that was given so far.
    pub fn digest(&mut self) -> [u8; 32] {
        if let Some(beside) = self.beside.take() {
            self.here = beside.end();
        }
        self.here.clone().finalize().into()
    }
}

impl Busy {
    fn begin() -> Busy {
        BUSY.fetch_add(1, Ordering::Relaxed);
        Busy
    }

    /// Unless all cores are busy.
    fn begin_if_free() -> Option<Busy> {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from));
        (BUSY.load(Ordering::Relaxed) < cores).then(Busy::begin)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Beside {
    /// Goes on from `hash`. `None`: no core is free, or the system gives no thread.
    fn begin(hash: &Sha256) -> Option<Beside> {
        let busy = Busy::begin_if_free()?;
        let mut hash = hash.clone();
        let (pieces, to_hash) = sync_channel::<Vec<u8>>(AHEAD);
        // As many as there can ever be: nobody waits to give one back.
        let (give_back, spare) = sync_channel(AHEAD + 2);
        let thread = thread::Builder::new().name("hash".into()).stack_size(STACK);
        let thread = thread.spawn(move || {
            let _busy = busy;
            for piece in to_hash {
                hash.update(&piece);
                // An upload that was broken off takes nothing back.
                let _ = give_back.try_send(piece);
            }
            hash
        });
        Some(Beside {
            pieces,
            spare,
            thread: thread.ok()?,
        })
    }

    fn take(&self, bytes: &[u8]) {
        let mut piece = self.spare.try_recv().unwrap_or_default();
        piece.clear();
        piece.extend_from_slice(bytes);
        self.pieces
            .send(piece)
            .expect("the thread takes pieces for as long as there are any");
    }

    fn end(self) -> Sha256 {
        drop(self.pieces);
        self.thread.join().expect("a hash does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::rng::Rng;

    #[test]
    fn the_digest_is_that_of_all_bytes_in_their_order_wherever_it_is_made() {
        let mut rng = Rng::new(1);
        let bytes: Vec<u8> = (0..200_000).map(|_| rng.draw() as u8).collect();
        for (seed, mut left) in [0, 1_000, LARGE - 1, LARGE + 9, LARGE * 3 / 2]
            .into_iter()
            .enumerate()
        {
            let (mut hashing, mut alone) = (Hashing::default(), Sha256::new());
            while left > 0 {
                let size = (1 + rng.below(100_000)).min(left) as usize;
                let from = rng.below(100_000) as usize;
                let bytes = &bytes[from..from + size];
                hashing.update(bytes);
                alone.update(bytes);
                left -= size as u64;
                if left < 1_000_000 && rng.below(5) == 0 {
                    let so_far: [u8; 32] = alone.clone().finalize().into();
                    assert_eq!(hashing.digest(), so_far, "seed {seed}");
                }
            }
            let all: [u8; 32] = alone.finalize().into();
            assert_eq!(hashing.digest(), all, "seed {seed}");
            assert_eq!(hashing.digest(), all, "seed {seed}: asked once more");
        }
    }
}
