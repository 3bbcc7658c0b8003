//! The content of a file on its way out, watched while it goes.
//!
//! Invariants:
//! - The last byte is given out only after a look has shown that the file is still the version
//!   that was looked at before: same size, mtime and inode.
//! - What is given out to its end was, as a whole, the content of the file at one moment, and
//!   has the digest that a check or an earlier attempt has found, or that a header promised.
//!   As long as ctime and blocks stand still, the looks show that. After a suspicion
//!   ([`Difference::Suspicion`]) a second reading that begins behind it shows it, if it finds
//!   the same digest: either nothing has moved since that reading began, so that it is the
//!   content as it is now; or it began when all had been read, so that each byte was the same
//!   before and after one and the same moment.
//! - Before the last byte, and after a hang before any more, the lock is seen to be still ours.

use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hashing::Hashing;
use super::place::{InFolder, Place};
use super::reread::Reread;
use crate::flow::file::{Difference, Look};
use crate::io::http::Body;
use crate::io::os::error::explain;
use crate::io::share::Share;

/// Interval between looks at a file while it is sent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a file is read again at most while it is sent. The last of these begins only when
/// all that is to be sent has been read.
const REREADS: u32 = 3;

/// Bytes a second at which a second reading is taken to go where nothing is known of that: a
/// busy disk, or a file server behind a slow network. Most are quicker.
const REREAD_RATE: u64 = 32 * 1024 * 1024;

/// What is to be sent, and what must hold of it.
#[derive(Debug)]
pub struct Source<P = InFolder> {
    /// Where it lies.
    pub place: P,
    /// The look at which it was found to be ready.
    pub look: Look,
    /// What a check has made of it.
    pub checked: Checked,
    /// Whether it is opened although its ctime has moved since `look`
    /// ([`crate::flow::messages::Delivery::beyond_suspicion`]).
    pub beyond_suspicion: bool,
    /// How long a second reading may take once all but the last bytes have been given out.
    pub patience: Duration,
}

/// What a check knows of the content that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing: there is no check that reads it.
    No,
    /// A check, or an earlier attempt, has read it to its end, and this was its digest.
    Digest([u8; 32]),
    /// A check has passed it and left no digest. Only for as long as no look shows anything else
    /// is it known to be what was checked, so here a suspicion is a change.
    Undigested,
}

/// Why a file is not sent, or not to its end.
#[derive(Debug)]
pub enum Broken {
    /// It is not the version any more that was looked at. How it is now, if that is known.
    Changed(Option<Look>),
    /// Another process may hold the lock, or everything is being opened again: a sentence.
    LockLost(String),
    /// It is gone, is no regular file any more, or cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(err: io::Error) -> Broken {
        Broken::Io(err)
    }
}

/// An open file that is read once from its start to its end, and again after
/// [`rewind`](Body::rewind).
#[derive(Debug)]
pub struct UploadBody<P: Place = InFolder> {
    source: Source<P>,
    file: P::File,
    /// The last look at which the file was known to hold what is sent.
    known: Look,
    /// Bytes that are still to be given out.
    left: u64,
    /// What a small file is read into.
    memory: Vec<u8>,
    /// It was read whole, and is given out from there.
    is_held: bool,
    /// Of what has been read so far.
    hash: Hashing,
    /// What the digest of the whole must be: a check, a header or an earlier attempt says so.
    promised: Option<[u8; 32]>,
    /// The digest of the whole, once all of it has been given out.
    sent: Option<[u8; 32]>,
    /// When it was begun to be given out.
    began: Instant,
    /// When it was looked at last.
    looked: Instant,
    /// A second reading beside the sending.
    reread: Option<Reread>,
    /// How many second readings have begun since `began`.
    rereads: u32,
    /// Whose lock it is sent under.
    share: Option<Arc<Share>>,
}

impl<P: Place> UploadBody<P> {
    /// Opens the file and sees that it is what the look showed.
    ///
    /// # Errors
    /// [`Broken::Changed`] if it is not, [`Broken::Io`] if it cannot be opened.
    pub fn open(source: Source<P>) -> Result<UploadBody<P>, Broken> {
        let (mut file, mut known) = source.place.open()?;
        let may_differ = source.beyond_suspicion && source.checked != Checked::Undigested;
        match known.difference(&source.look) {
            Difference::None => {}
            Difference::Suspicion if may_differ => {
                (file, known) = open_still(&source.place, known)?;
                if known.difference(&source.look).is_change() {
                    return Err(Broken::Changed(Some(known)));
                }
            }
            Difference::Suspicion | Difference::Replaced | Difference::Version => {
                return Err(Broken::Changed(Some(known)));
            }
        }
        known.fs = source.look.fs;
        let promised = match source.checked {
            Checked::Digest(digest) => Some(digest),
            Checked::No | Checked::Undigested => None,
        };
        Ok(UploadBody {
            left: source.look.stamp.size,
            source,
            file,
            known,
            memory: Vec::new(),
            is_held: false,
            hash: Hashing::default(),
            promised,
            sent: None,
            began: Instant::now(),
            looked: Instant::now(),
            reread: None,
            rereads: 0,
            share: None,
        })
    }

    /// From now on it is sent only for as long as the lock of `share` is ours.
    #[must_use]
    pub fn guarded_by(self, share: Arc<Share>) -> UploadBody<P> {
        UploadBody {
            share: Some(share),
            ..self
        }
    }

    /// A small file is read into this memory.
    #[must_use]
    pub fn read_into(self, memory: Vec<u8>) -> UploadBody<P> {
        UploadBody { memory, ..self }
    }

    /// The memory that it was read into, for another file.
    pub fn into_memory(self) -> Vec<u8> {
        self.memory
    }

    /// Reads the whole of a small file into memory and gives its digest; it is sent from there.
    ///
    /// # Errors
    /// [`Broken::Changed`] if it ends before its size, [`Broken::Io`] if it cannot be read.
    pub fn read_whole(&mut self) -> Result<[u8; 32], Broken> {
        let size = usize::try_from(self.source.look.stamp.size).map_err(io::Error::other)?;
        self.memory.resize(size, 0);
        match self.file.read_exact(&mut self.memory) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Broken::Changed(None));
            }
            Err(err) => return Err(err.into()),
        }
        self.hash.update(&self.memory);
        self.is_held = true;
        Ok(self.hash.digest())
    }

    /// Sees that an empty file is still the same. It has no last byte before which that would
    /// be done.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn confirm_empty(&mut self) -> Result<(), Broken> {
        self.prove_whole()
    }

    /// The digest of what was given out; `None` unless that was all of it.
    pub fn sent(&self) -> Option<[u8; 32]> {
        self.sent
    }

    /// The last look at which the file was known to hold what is sent.
    pub fn known(&self) -> Look {
        self.known
    }

    /// Looks at the file; sees that it is still the version that is sent, and that the lock is
    /// still ours.
    fn look(&mut self) -> Result<Look, Broken> {
        let before = std::mem::replace(&mut self.looked, Instant::now());
        let now = self.source.place.look(&self.file, self.known.fs)?;
        self.see_that_it_may_go(&now)?;
        if let Some(share) = &self.share {
            share
                .confirm_after(before)
                .map_err(|err| Broken::LockLost(explain(&err)))?;
        }
        Ok(now)
    }

    fn see_that_it_may_go(&self, now: &Look) -> Result<(), Broken> {
        let is_changed = match now.difference(&self.known) {
            Difference::None => false,
            Difference::Suspicion => self.source.checked == Checked::Undigested,
            Difference::Replaced | Difference::Version => true,
        };
        if is_changed {
            return Err(Broken::Changed(Some(*now)));
        }
        Ok(())
    }

    /// A look in the middle. After a suspicion the second reading begins where it will be over
    /// about when the sending is; what moves while it lasts makes it worth nothing.
    fn watch(&mut self) -> Result<(), Broken> {
        let now = self.look()?;
        let is_known = |look: &Look| now.difference(look) == Difference::None;
        if is_known(&self.known) || self.reread.as_ref().is_some_and(|all| is_known(&all.look)) {
            return Ok(());
        }
        self.reread = None;
        if self.rereads + 1 < REREADS && self.ends_soon() {
            self.reread = Some(self.read_again(now)?);
        }
        Ok(())
    }

    /// Whether what is left to be sent may take no longer than twice a second reading of it all.
    fn ends_soon(&self) -> bool {
        let size = self.source.look.stamp.size;
        let sent = (size - self.left).max(1);
        let left = self.began.elapsed().as_secs_f64() * self.left as f64 / sent as f64;
        left <= 2.0 * size as f64 / REREAD_RATE as f64
    }

    fn read_again(&mut self, now: Look) -> Result<Reread, Broken> {
        self.rereads += 1;
        let (file, look) = open_still(&self.source.place, now)?;
        self.see_that_it_may_go(&look)?;
        Ok(Reread::begin(file, look)?)
    }

    /// All has been read, and its last bytes are about to be given out: sees that the file is
    /// still the same version, and that what was read is its content.
    fn prove_whole(&mut self) -> Result<(), Broken> {
        let digest = self.hash.digest();
        let until = Instant::now() + self.source.patience;
        let mut is_proven = false;
        loop {
            let now = self.look()?;
            if self.promised.is_some_and(|promised| promised != digest) {
                return Err(self.rewritten(now));
            }
            if is_proven || now.difference(&self.known) == Difference::None {
                self.sent = Some(digest);
                return Ok(());
            }
            let valid = |reread: &Reread| now.difference(&reread.look) == Difference::None;
            let reread = match self.reread.take().filter(valid) {
                Some(reread) => reread,
                None => self.read_again(now)?,
            };
            match reread.wait(until).transpose()? {
                Some(again) if again == digest => {
                    self.known = Look {
                        fs: self.known.fs,
                        ..reread.look
                    };
                }
                Some(_) => return Err(self.rewritten(reread.look)),
                None => return Err(self.late(now)),
            }
            is_proven = self.rereads == REREADS;
        }
    }

    /// The content is another than it was, and nothing but the ctime shows it.
    fn rewritten(&self, now: Look) -> Broken {
        log::info!(
            target: "dirpost",
            "{}: its content changed while its size and mtime stood still: what was sent of it is \
             broken off",
            self.source.place
        );
        Broken::Changed(Some(now))
    }

    /// The second reading takes too long.
    fn late(&self, now: Look) -> Broken {
        log::info!(
            target: "dirpost",
            "{}: its ctime moved while it was sent, and it could not be read again within {} to \
             see whether its content is still the same: what was sent of it is broken off",
            self.source.place,
            humantime::format_duration(self.source.patience)
        );
        Broken::Changed(Some(now))
    }

    /// Reads from the file, or from memory where it is held.
    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.is_held {
            let start = self.memory.len() - usize::try_from(self.left).unwrap_or(0);
            buf.copy_from_slice(&self.memory[start..start + buf.len()]);
            return Ok(buf.len());
        }
        loop {
            match self.file.read(buf) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(got) => {
                    self.hash.update(&buf[..got]);
                    return Ok(got);
                }
                Err(err) => return Err(err),
            }
        }
    }
}

/// Opens a file whose look was just `last`, so that a change from now on shows another ctime
/// than the look that is given here: where its ctime stands still for a tick, one of before it.
/// A file whose ctime does not even stand still for that long shows another one anyway.
fn open_still<P: Place>(place: &P, mut last: Look) -> io::Result<(P::File, Look)> {
    let mut tries = 3;
    loop {
        place.next_tick();
        let (file, now) = place.open()?;
        tries -= 1;
        if tries == 0 || now.difference(&last) == Difference::None {
            return Ok((file, now));
        }
        last = now;
    }
}

impl<P: Place> Body for UploadBody<P> {
    type Broken = Broken;

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let got = self.take(&mut buf[..want])?;
        if got == 0 {
            return Err(Broken::Changed(None));
        }
        self.left -= got as u64;
        if self.left == 0 {
            self.prove_whole()?;
        } else if self.looked.elapsed() >= LOOK_EVERY {
            self.watch()?;
        }
        Ok(got)
    }

    fn rewind(&mut self) -> Result<(), Broken> {
        if !self.is_held {
            self.file.rewind()?;
            self.hash = Hashing::default();
        }
        self.left = self.source.look.stamp.size;
        // A header may have said so by now, and an endpoint may have had all of it: it is the
        // same the next time, or is not sent.
        self.promised = self.sent.take().or(self.promised);
        self.began = Instant::now();
        self.rereads = 0;
        Ok(())
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
