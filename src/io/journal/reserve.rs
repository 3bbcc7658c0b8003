//! Room that is set aside: a file that is removed when the disk is full, so that what was accepted
//! by then can still be written down. Until it is there again nothing more is sent.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io::dir::Dir;

const NAME: &[u8] = b"reserve";
/// Bytes: lines of the journal for far more files than can be in flight.
const SIZE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Reserve {
    there: AtomicBool,
}

impl Reserve {
    /// Sets the room aside, or finds it.
    pub fn new(folder: &Dir) -> io::Result<Reserve> {
        make(folder)?;
        Ok(Reserve {
            there: AtomicBool::new(true),
        })
    }

    pub fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    /// After `err`: gives the room up, if that may help. True if it was there.
    pub fn give_up(&self, folder: &Dir, err: &io::Error) -> bool {
        is_full(err) && self.there.swap(false, Ordering::Relaxed) && folder.remove(NAME).is_ok()
    }

    /// Sets it aside again.
    pub fn restore(&self, folder: &Dir) -> io::Result<()> {
        make(folder)?;
        self.there.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn is_full(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn make(folder: &Dir) -> io::Result<()> {
    match folder.look(NAME) {
        Ok(Some(look)) if look.stamp.size == SIZE as u64 => return Ok(()),
        Ok(_) => folder.remove(NAME)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    // Bytes that no file system makes smaller (an xorshift, Marsaglia 2003).
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let bytes: Vec<u8> = (0..SIZE / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    folder.write_new(NAME, &bytes)
}
