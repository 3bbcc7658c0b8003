//! Room that is set aside: a file that is removed when the disk is full, so that what was accepted
//! by then can still be written down. Until it is there again nothing more is sent.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::flow::rng::Rng;
use crate::io::dir::Dir;
use crate::io::os::error::is_full;

/// The name of the file, in the folder of the journal.
pub(super) const NAME: &[u8] = b"reserve";
/// Bytes: lines of the journal for far more files than can be in flight.
const SIZE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Reserve {
    there: AtomicBool,
}

impl Reserve {
    /// Sets the room aside, or finds it.
    ///
    /// # Errors
    /// Of looking for the file or making it; as long as the disk is full.
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
    ///
    /// # Errors
    /// Of looking for the file or making it. Then it counts as used up.
    pub fn restore(&self, folder: &Dir) -> io::Result<()> {
        let made = make(folder);
        self.there.store(made.is_ok(), Ordering::Relaxed);
        made
    }

    /// Whether it should be in `folder`, and somebody has removed it.
    pub fn is_gone(&self, folder: &Dir) -> bool {
        let gone = |err: &io::Error| err.kind() == io::ErrorKind::NotFound;
        self.is_there() && folder.look(NAME).as_ref().is_err_and(gone)
    }
}

fn make(folder: &Dir) -> io::Result<()> {
    match folder.look(NAME) {
        Ok(Some(look)) if look.stamp.size == SIZE as u64 => return Ok(()),
        Ok(_) => folder.remove(NAME)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    folder.write_new(NAME, &filling())
}

/// Sees that there is room for a reserve in `folder`, by writing one under a name that nobody knows, and removing
/// it.
///
/// # Errors
/// Of writing or removing it; nothing of it stays unless it cannot be removed.
pub fn try_room(folder: &Dir) -> io::Result<()> {
    folder.try_making(|name| folder.write_new(name, &filling()))
}

/// Bytes that no file system makes smaller.
fn filling() -> Vec<u8> {
    let mut rng = Rng::new(SIZE as u64);
    (0..SIZE / 8)
        .flat_map(|_| rng.draw().to_le_bytes())
        .collect()
}
