//! A thread that looks at the lock while files are being sent, however long the scans are apart.
//!
//! A standby that finds the lock file removed takes over after [`LOCK_GONE_WAIT`]. The holder
//! must have noticed by then, also when all that it does is to wait for the answer of an
//! endpoint.
//!
//! [`LOCK_GONE_WAIT`]: super::LOCK_GONE_WAIT

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crate::flow::clock::LOCK_RECHECK_AFTER;
use crate::flow::messages::Closing;
use crate::io::journal::Journal;

use super::{Share, Unusable};

/// A file that is being sent, until this is dropped.
#[derive(Debug)]
pub struct AtWork<'a>(&'a Share);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share {
    /// From now on a file is being sent: the lock is looked at meanwhile.
    pub fn at_work(&self) -> AtWork<'_> {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self)
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

        let share = Arc::downgrade(self);
        let look = move || {
            loop {
                thread::sleep(LOCK_RECHECK_AFTER);
                let Some(share) = share.upgrade().filter(|share| !share.is_over()) else {
                    return;
                };
                let at_work = share.at_work.load(Ordering::Relaxed) > 0;
                if at_work && share.is_look_due() && share.reopen().is_err() {
                    scan_now();
                }
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
