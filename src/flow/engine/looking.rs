//! What a scan is asked to look at, beside what the rounds say ([`crate::flow::scan::rounds`]).
//!
//! The first scan of `run` expects the names of what the journal knows to be delivered and kept, and
//! need not look at each of these files: the second one does, at once.
//!
//! Invariants:
//! - The rounds are here, or with the thread that scans; what comes back takes the place of what is
//!   here. Should they not come back, the next scan begins with rounds that know nothing, and so
//!   looks at everything.
//! - What is looked at by its names alone are files at rest, of which nothing else is known: no earlier
//!   process had another version of them in hand, and no marker beside them means anything.
//! - A folder in which a name was let go of is looked at by a scan that begins later: what lies
//!   there by then is new, though the rounds may have seen its name. The tree knows these names
//!   ([`Tree::need_look`](crate::flow::scan::tree::Tree::need_look)) until they are listed.

use std::collections::BTreeSet;

use super::Engine;
use super::files::{ActiveFile, At};
use crate::config::Rewrites;
use crate::flow::file::Rel;
use crate::flow::messages::ScanOrder;
use crate::flow::policy::Ending;
use crate::flow::scan::rounds::{Rounds, Wanted};
use crate::flow::time::Mono;

/// See the module.
#[derive(Debug)]
pub(super) struct Looking {
    /// `None` while the thread that scans has them.
    rounds: Option<Box<Rounds>>,
    rewrites: Rewrites,
    /// Those that the thread has go by other settings: they are not taken back.
    is_outdated: bool,
    /// The next scan is to look at everything.
    everything: bool,
}

impl Looking {
    pub fn new(rewrites: Rewrites) -> Looking {
        Looking {
            rounds: None,
            rewrites,
            is_outdated: false,
            everything: false,
        }
    }

    /// Goes on with other settings. What is known of the folders goes with the ones before: where other
    /// names are wanted, a folder shows others though its times stand still, and a file system would be
    /// taken for one that does not move them. So the next scan looks at everything.
    pub fn begin_anew(&mut self, rewrites: Rewrites) {
        self.rewrites = rewrites;
        self.is_outdated = self.rounds.is_none();
        self.rounds = None;
        self.everything = true;
    }

    /// The next scan is to look at everything.
    pub fn want_everything(&mut self) {
        self.everything = true;
    }

    /// The thread that scans gives the rounds back. Gives whether the next scan is to follow at once.
    pub fn take_back(&mut self, mut rounds: Box<Rounds>) -> bool {
        let is_in_debt = rounds.take_debt();
        if !std::mem::take(&mut self.is_outdated) {
            self.rounds = Some(rounds);
        }
        is_in_debt
    }

    /// Whether nothing was looked at so far, and nobody has asked for a look at everything.
    fn may_expect(&self) -> bool {
        self.rounds.is_none() && !self.everything
    }

    fn order(&mut self, wanted: Wanted, is_lock_awaited: bool) -> ScanOrder {
        // Whatever the scans before had, nobody has it any more.
        self.is_outdated = false;
        let rounds = self.rounds.take();
        let Wanted { must, everything } = wanted;
        let everything = std::mem::take(&mut self.everything) || everything || rounds.is_none();
        ScanOrder {
            rounds: rounds.unwrap_or_else(|| Box::new(Rounds::new(self.rewrites))),
            wanted: Wanted { must, everything },
            is_lock_awaited,
        }
    }
}

impl Engine {
    /// What the scan that begins now is to look at. `once` looks at everything: there may be no
    /// later scan.
    pub(super) fn scan_order(&mut self, now: Mono) -> ScanOrder {
        let is_once = self.policy.ending != Ending::Never;
        let wanted = Wanted {
            must: self.folders_to_look_at(now),
            everything: is_once,
        };
        let is_first = self.scans.completed() == 0;
        if is_first && !is_once && self.policy.marker.is_none() && self.looking.may_expect() {
            self.looking.rounds = Some(Box::new(self.rounds_by_names()));
        }
        self.looking.order(wanted, !self.scans.is_lock_sure())
    }

    /// Rounds that expect what is at rest, where nothing else is known.
    fn rounds_by_names(&self) -> Rounds {
        let folders = self.tree.expected().map(|(path, names)| {
            let names = names.filter(|_| !self.known.recalls_in(path));
            (path.clone(), names)
        });
        Rounds::expecting(self.looking.rewrites, folders)
    }

    /// The folders in which something depends on a look at a file.
    fn folders_to_look_at(&self, now: Mono) -> BTreeSet<Rel> {
        let depends = |active: &ActiveFile| match active.at() {
            At::Settling | At::Waiting => true,
            // It may have been completed; what failed for another reason is opened at its turn.
            At::Pausing => active.learned.unfinished.is_some(),
            // Whoever opens it next sees what has become of it.
            At::ToInspect | At::Ready | At::Inspecting | At::Sending => false,
            At::Filing | At::RetryFiling => false,
        };
        self.files
            .iter()
            .filter(|(_, active)| depends(active))
            .map(|(_, active)| active.path.parent())
            .chain(self.tree.need_look(now).cloned())
            .collect()
    }
}
