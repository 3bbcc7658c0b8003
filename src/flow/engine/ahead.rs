//! Files that are handed out while all workers are busy, so that one that comes free goes on at once
//! and does not wait until the loop has come round.
//!
//! Only while the endpoint takes one file after the other, and quickly: then what is handed out ahead
//! waits for a few milliseconds, and what is decided of it is as fresh as of one that is sent at once.
//! With anything else that happens it is called back ([`crate::flow::messages::Effect::Recall`]).

use std::time::Duration;

use crate::flow::messages::Delivered;
use crate::flow::time::Mono;

/// After so many quick acceptances in a row the next files are handed out ahead.
const RUN: u32 = 4;
/// An attempt that takes longer is not quick. Then the loop has the next file ready by the time that it
/// is over, as far as that matters.
const QUICK: Duration = Duration::from_millis(20);
/// Where nothing has come back for so long, the workers hang.
const HANGS: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// How many acceptances in a row were quick.
    quick: u32,
    /// When the last of them came back.
    last: Mono,
    /// How many files are out that no worker is known to have begun with.
    waiting: usize,
}

impl Ahead {
    /// How many files are out that no worker is known to have begun with.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// A file was handed out while all workers were busy.
    pub fn handed_out(&mut self) {
        self.waiting += 1;
    }

    /// One of them was called back in time.
    pub fn called_back(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// An attempt is over.
    pub fn came_back(&mut self, delivered: &Delivered, now: Mono) {
        if delivered.lets_go_on() {
            // Its worker has gone on with the first of them.
            self.waiting = self.waiting.saturating_sub(1);
        }
        let is_quick = match delivered {
            Delivered::Replied { took, .. } => delivered.lets_go_on() && *took <= QUICK,
            _ => false,
        };
        self.quick = if is_quick {
            self.quick.saturating_add(1)
        } else {
            0
        };
        self.last = now;
    }

    /// What an attempt is judged by is another thing from now on.
    pub fn end(&mut self) {
        self.quick = 0;
    }

    /// Whether files are handed out ahead.
    pub fn is_on(&self, now: Mono) -> bool {
        self.quick >= RUN && now < self.ends_at()
    }

    /// When it ends if nothing comes back.
    pub fn ends_at(&self) -> Mono {
        self.last + HANGS
    }
}
