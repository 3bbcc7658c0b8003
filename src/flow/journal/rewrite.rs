//! A journal without the lines that are outdated: which they are is found out in one or more
//! readings, each for a part of the paths, so that the memory for it is bounded; then the lines
//! that are still of interest are copied as they stand.
//!
//! A line is of interest if it says what is live of a version that is live at the end. They are
//! read back to the same end, because a version ends others only by its first line, and that is kept
//! with all it depends on: the first `moving` of a version that was on its way by then.

use super::Replay;
use crate::flow::hash::fnv_1a;

/// Lines, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineSet {
    bits: Vec<u64>,
}

impl LineSet {
    /// Adds line `number`.
    pub fn insert(&mut self, number: u64) {
        let at = (number / 64) as usize;
        if at >= self.bits.len() {
            self.bits.resize(at + 1, 0);
        }
        self.bits[at] |= 1 << (number % 64);
    }

    /// Whether line `number` is in it.
    pub fn has(&self, number: u64) -> bool {
        let bits = self.bits.get((number / 64) as usize);
        bits.is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.bits
            .iter()
            .map(|bits| u64::from(bits.count_ones()))
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Some of all paths: all lines about one path are in the same part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    index: u64,
    count: u64,
}

/// All paths.
impl Default for Part {
    fn default() -> Part {
        Part { index: 0, count: 1 }
    }
}

impl Part {
    /// `count` parts, which have all paths.
    pub fn all(count: u64) -> impl Iterator<Item = Part> {
        (0..count).map(move |index| Part { index, count })
    }

    /// Whether `path` is in this one.
    pub fn has(self, path: &[u8]) -> bool {
        self.count == 1 || fnv_1a(path) % self.count == self.index
    }
}

/// The whole lines of `journal` that are still of interest, found out in `parts` readings.
pub fn rewritten(journal: &[u8], parts: u64) -> Vec<u8> {
    let mut live = LineSet::default();
    for part in Part::all(parts) {
        let mut replay = Replay::of(part);
        replay.add(journal);
        replay.mark_live(&mut live);
    }
    let lines = journal.split_inclusive(|&byte| byte == b'\n');
    let lines = (0..).zip(lines).filter(|(number, _)| live.has(*number));
    lines.flat_map(|(_, line)| line).copied().collect()
}
