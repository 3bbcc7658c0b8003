//! What a scan is asked to look at, beside what the rounds say ([`crate::flow::scan::rounds`]).
//!
//! Invariants:
//! - The rounds are here, or with the thread that scans; what comes back takes the place of what is
//!   here. Should they not come back, the next scan begins with rounds that know nothing, and so
//!   looks at everything.
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
    /// Those that the thread has go by another `rewrites`: they are not taken back.
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
            everything: true,
        }
    }

    /// Goes on with another interval between looks at what is at rest. What is known of the folders goes
    /// with the one before, so that the next scan looks at everything.
    pub fn set_rewrites(&mut self, rewrites: Rewrites) {
        if self.rewrites != rewrites {
            self.rewrites = rewrites;
            self.is_outdated = self.rounds.is_none();
            self.rounds = None;
        }
        self.everything = true;
    }

    /// The next scan is to look at everything.
    pub fn want_everything(&mut self) {
        self.everything = true;
    }

    /// The thread that scans gives the rounds back.
    pub fn take_back(&mut self, rounds: Box<Rounds>) {
        if !std::mem::take(&mut self.is_outdated) {
            self.rounds = Some(rounds);
        }
    }

    fn order(&mut self, wanted: Wanted, is_lock_awaited: bool) -> ScanOrder {
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
        let wanted = Wanted {
            must: self.folders_to_look_at(now),
            everything: self.policy.ending != Ending::Never,
        };
        self.looking.order(wanted, !self.scans.is_lock_sure())
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
