//! The last listing of `once`: what has become of names while it worked.
//!
//! `once` deals with what its first scan shows. A file whose name is another one since then, or that
//! was replaced after it had been dealt with, would lie there unsent though the run says that all is
//! done. So before it leaves it lists once more. What was renamed or replaced is taken in: it has one
//! settle time to come to rest and be delivered, and is left to the next run after that. What is new
//! is the next run's.
//!
//! What is renamed keeps its size and mtime, and what is replaced its path: so no more is kept of
//! what the run has seen than stamps of what has vanished, and hashes of the paths of what was dealt
//! with. Where a stamp or a hash is another file's as well, that is sent by this run, not the next.
//!
//! Invariants:
//! - It is made by a scan that begins after all that was to be done is done, and no more than once.
//! - Where nothing was delivered, condemned or has vanished, the first scan was the last listing.

use std::collections::BTreeSet;

use super::Engine;
use super::files::{ActiveFiles, At};
use crate::flow::file::{FileNo, Rel, Stamp};
use crate::flow::hash::fnv_1a;
use crate::flow::policy::Ending;
use crate::flow::scan::tree::Waiting;
use crate::flow::time::{Mono, Now};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LastListing {
    stage: Stage,
    /// Hashes of the paths of what was delivered, condemned, or had been delivered and is gone.
    dealt: BTreeSet<u64>,
    /// What was seen and not delivered, and is not where it was.
    vanished: BTreeSet<Stamp>,
    /// What the listing shows that the run does not know.
    found: Vec<Waiting>,
    /// What was taken in.
    taken: BTreeSet<FileNo>,
    /// How many were not.
    new: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// There is something else to do.
    #[default]
    Before,
    /// A scan after the one of this number makes it.
    Wanted { after: u64 },
    /// What was taken in has time until then.
    Over { until: Mono },
}

impl LastListing {
    /// Whether it is waited for.
    pub fn is_wanted(&self) -> bool {
        matches!(self.stage, Stage::Wanted { .. })
    }

    /// Whether the scan of this number makes it.
    pub fn is_under_way(&self, scan: u64) -> bool {
        matches!(self.stage, Stage::Wanted { after } if scan > after)
    }

    /// Whether what it has shown has had its time.
    pub fn is_over(&self, now: Mono) -> bool {
        matches!(self.stage, Stage::Over { until } if now >= until)
    }

    /// When that is.
    pub fn next_turn(&self, now: Mono) -> Option<Mono> {
        match self.stage {
            Stage::Over { until } if now < until => Some(until),
            _ => None,
        }
    }

    /// A file of this stamp was seen, was not delivered, and is not where it was.
    pub fn vanished(&mut self, stamp: Stamp) {
        self.vanished.insert(stamp);
    }

    /// It shows a file that the run does not know.
    pub fn found(&mut self, waiting: Waiting) {
        self.found.push(waiting);
    }

    /// How many files have come since the first look.
    pub fn new_files(&self) -> usize {
        self.new
    }

    /// Whether anything that was taken in is neither delivered nor waiting for its writer.
    pub fn is_left(&self, files: &ActiveFiles) -> bool {
        let mut taken = self.taken.iter().filter_map(|&file| files.get(file));
        taken.any(|active| active.at() != At::Waiting)
    }

    fn is_known(&self, found: &Waiting) -> bool {
        self.vanished.contains(&found.look.stamp)
            || self.dealt.contains(&fnv_1a(found.path.as_bytes()))
    }
}

impl Engine {
    fn is_once(&self) -> bool {
        self.policy.ending != Ending::Never
    }

    /// What lay at `path` is delivered, condemned or gone: what comes there next is another version.
    pub(super) fn dealt_with(&mut self, path: &Rel) {
        if self.is_once() && self.scans.number() > 0 {
            self.last_listing.dealt.insert(fnv_1a(path.as_bytes()));
        }
    }

    /// A file of this stamp was seen, was not delivered, and is not where it was.
    pub(super) fn vanished(&mut self, stamp: Stamp) {
        if self.is_once() {
            self.last_listing.vanished(stamp);
        }
    }

    /// Whether there is anything to list once more for.
    pub(super) fn wants_last_listing(&self) -> bool {
        let listing = &self.last_listing;
        listing.stage == Stage::Before && !(listing.dealt.is_empty() && listing.vanished.is_empty())
    }

    /// All that was to be done is done.
    pub(super) fn begin_last_listing(&mut self, now: Now) {
        let after = self.scans.number();
        self.last_listing.stage = Stage::Wanted { after };
        self.scans.hasten(now.mono);
        self.hand_out(now);
    }

    /// A scan is complete: if it was the last listing, what was renamed or replaced is taken in.
    pub(super) fn end_last_listing(&mut self, now: Now) {
        if !self.last_listing.is_under_way(self.scans.number()) {
            return;
        }
        let found = std::mem::take(&mut self.last_listing.found);
        let mut until = now.mono;
        for waiting in found {
            if !self.last_listing.is_known(&waiting) {
                self.last_listing.new += 1;
                continue;
            }
            until = until.max(now.mono + self.settle_time(&waiting.look));
            let file = self.admit(waiting, now);
            self.last_listing.taken.insert(file);
        }
        self.last_listing.stage = Stage::Over { until };
    }
}
