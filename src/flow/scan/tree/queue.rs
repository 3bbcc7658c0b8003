//! Those that have waited for the longest in one folder.
//!
//! A folder keeps the first of those that wait in it in order, and sorts again when these are used up
//! or it is listed. They are a part of all: so the order costs half a byte a file, and a folder with a
//! million files is gone through a few dozen times until the last of them is taken.

use super::mark::Mark;

/// How many of those that wait in a folder are kept in order: at least so many, and of more than that
/// the part.
const RUN: (usize, usize) = (64, 16);

/// The first of those that wait in a folder, in order: the longest waiting is last, so that it is
/// taken without moving the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Since which step each has been still, and which entry it is.
    run: Vec<(u32, u32)>,
    /// How many may be in it.
    upper: usize,
    /// Whether more wait than are in the run, none of them for longer.
    has_more: bool,
}

impl Queue {
    /// The entry that has waited for the longest.
    pub fn first(&self) -> Option<usize> {
        self.run.last().map(|&(_, at)| at as usize)
    }

    /// The entries have other numbers now.
    pub fn clear(&mut self) {
        self.run = Vec::new();
        self.has_more = true;
    }

    /// Entry `at` waited since step `old`, and waits since `new`.
    pub fn moved(&mut self, at: usize, old: Option<u32>, new: Option<u32>) {
        let at = at as u32;
        let place =
            |run: &[(u32, u32)], key: (u32, u32)| run.binary_search_by(|other| key.cmp(other));
        if let Some(step) = old
            && let Ok(place) = place(&self.run, (step, at))
        {
            self.run.remove(place);
        }
        if let Some(step) = new {
            let is_behind = self.run.first().is_none_or(|&last| (step, at) > last);
            if is_behind && self.has_more {
                return;
            }
            if let Err(place) = place(&self.run, (step, at)) {
                self.run.insert(place, (step, at));
            }
            if self.run.len() > self.upper {
                self.run.remove(0);
                self.has_more = true;
            }
        }
    }

    /// Sorts the first of those that wait by `marks`, of which there are `waiting`.
    pub fn refill(&mut self, marks: &[Mark], waiting: usize) {
        let (least, part) = RUN;
        let upper = least.max(waiting / part);
        let mut run = Vec::with_capacity(waiting.min(2 * upper));
        for (at, mark) in marks.iter().enumerate() {
            let Some(step) = mark.waiting_step() else {
                continue;
            };
            run.push((step, at as u32));
            if run.len() == 2 * upper {
                run.select_nth_unstable(upper);
                run.truncate(upper);
            }
        }
        run.sort_unstable_by(|a, b| b.cmp(a));
        if run.len() > upper {
            run.drain(..run.len() - upper);
        }
        run.shrink_to_fit();
        self.has_more = run.len() < waiting;
        (self.run, self.upper) = (run, upper);
    }

    pub fn check(&self, marks: &[Mark], waiting: usize) {
        let mut all: Vec<(u32, u32)> = (0..)
            .zip(marks)
            .filter_map(|(at, mark)| Some((mark.waiting_step()?, at)))
            .collect();
        assert_eq!(all.len(), waiting);
        assert!(waiting == 0 || !self.run.is_empty(), "one is the first");
        all.sort_unstable();
        all.truncate(self.run.len());
        all.reverse();
        assert_eq!(all, self.run, "the run holds those that waited longest");
    }
}
