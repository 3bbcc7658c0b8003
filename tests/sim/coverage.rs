//! Which kinds of faults the runs of one test have met: one that is never met proves nothing.

use std::collections::BTreeMap;

/// How often each kind of fault has occurred.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub fn meet(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// Fails if one of `kinds` was not met, unless only one seed was asked for. Shows all counts.
    pub fn assert_met(&self, kinds: &[&[&str]]) {
        for (kind, count) in &self.0 {
            println!("{count:>8} {kind}");
        }
        if std::env::var("DIRPOST_SIM_SEED").is_ok() {
            return;
        }
        for kind in kinds.iter().copied().flatten() {
            assert!(self.0.contains_key(kind), "no run has met: {kind}");
        }
    }
}
