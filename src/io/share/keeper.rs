//! A thread that looks at the lock while files are being sent, however long the scans are apart.
//!
//! A standby that finds the lock file removed takes over after [`LOCK_GONE_WAIT`]. The holder
//! must have noticed by then, also when all that it does is to wait for the answer of an
//! endpoint.
//!
//! [`LOCK_GONE_WAIT`]: super::LOCK_GONE_WAIT

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::flow::clock::LOCK_RECHECK_AFTER;
use crate::flow::messages::Closing;
use crate::io::journal::Journal;
use crate::io::os::lock;

use super::{Share, Unusable};

/// How many files are being sent, and whether all that is over.
#[derive(Debug, Default)]
pub(super) struct Work {
    state: Mutex<State>,
    begun: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: usize,
    /// The keeper waits for a file: at rest it need not wake up.
    keeper_waits: bool,
    /// The share is let go of.
    is_over: bool,
}

impl Work {
    fn begin(&self) {
        let mut state = lock(&self.state);
        state.files += 1;
        let wakes = std::mem::take(&mut state.keeper_waits);
        drop(state);
        if wakes {
            self.begun.notify_one();
        }
    }

    /// Waits until a file is being sent. Gives whether there is one: false at the end.
    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while state.files == 0 && !state.is_over {
            state.keeper_waits = true;
            let waited = self.begun.wait(state);
            state = waited.expect("a thread that panics ends the process");
        }
        !state.is_over
    }

    /// Nothing more is sent.
    pub(super) fn end(&self) {
        lock(&self.state).is_over = true;
        self.begun.notify_one();
    }
}

/// A file that is being sent, until this is dropped.
#[derive(Debug)]
pub struct AtWork<'a>(&'a Work);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).files -= 1;
    }
}

impl Share {
    /// From now on a file is being sent: the lock is looked at meanwhile.
    pub fn at_work(&self) -> AtWork<'_> {
        self.at_work.begin();
        AtWork(&self.at_work)
    }

    /// Looks after `journal` from now on, too, and at the lock while files are being sent.
    /// `scan_now` is called when that look finds something wrong, for a scan says what.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn watch_over(
        self: &Arc<Share>,
        journal: &Arc<Journal>,
        scan_now: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        // Only the first one counts: there is one journal to a share.
        let _ = self.journal.set(Arc::clone(journal));
        let share = Arc::downgrade(self);
        journal.guard_by(move || match share.upgrade() {
            Some(share) => share.reopen().map(drop).map_err(into_io),
            None => Err(io::Error::other("all is being opened again")),
        });
        journal.touch();

        let (share, work) = (Arc::downgrade(self), Arc::clone(&self.at_work));
        let look = move || {
            while work.wait() {
                let Some(share) = share.upgrade().filter(|share| !share.is_over()) else {
                    return;
                };
                if share.is_look_due() && share.reopen().is_err() {
                    scan_now();
                }
                drop(share);
                // Not for each file: between two looks there may be thousands.
                thread::sleep(LOCK_RECHECK_AFTER);
            }
        };
        let builder = thread::Builder::new()
            .name("lock".into())
            .stack_size(256 * 1024);
        builder.spawn(look).map(drop)
    }
}

/// An error of a look, for who waits for a write.
pub(super) fn into_io(unusable: Unusable) -> io::Error {
    io::Error::other(match unusable {
        Unusable::Away(why) | Unusable::Anew(Closing::LockLost(why)) => why,
        Unusable::Anew(_) => "the folder was away meanwhile".into(),
    })
}
