//! The brake: an endpoint that rejects everything is the suspect, not the files.
//!
//! When so many different files in a row were rejected, with none accepted in between,
//! nothing more is condemned until something is accepted again.

use std::collections::BTreeSet;

use crate::flow::file::FileNo;

/// Counts rejections in a row. `limit` 0 = off.
#[derive(Clone, Debug)]
pub struct Brake {
    limit: usize,
    row: BTreeSet<FileNo>,
}

/// What becomes of a rejected file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It is condemned.
    Condemn,
    /// It is condemned, and it is the last: the brake holds from now on.
    CondemnAndBrake,
    /// The brake holds: it stays.
    Spare,
}

impl Brake {
    pub fn new(limit: u32) -> Brake {
        Brake {
            limit: limit as usize,
            row: BTreeSet::new(),
        }
    }

    /// How many were rejected in a row.
    pub fn count(&self) -> usize {
        self.row.len()
    }

    /// Goes on where an earlier brake was: so many were rejected, none of them a file of now.
    pub fn recall(&mut self, count: usize) {
        self.row
            .extend((0..count.min(self.limit) as FileNo).map(|number| FileNo::MAX - number));
    }

    pub fn holds(&self) -> bool {
        self.limit > 0 && self.row.len() >= self.limit
    }

    /// A file was rejected.
    pub fn rejected(&mut self, file: FileNo) -> Rejection {
        if self.limit == 0 {
            return Rejection::Condemn;
        }
        if self.holds() {
            return Rejection::Spare;
        }
        self.row.insert(file);
        if self.holds() {
            Rejection::CondemnAndBrake
        } else {
            Rejection::Condemn
        }
    }

    /// A file was accepted: the brake is released. Says whether it held.
    pub fn accepted(&mut self) -> bool {
        let held = self.holds();
        self.row.clear();
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_the_limit_is_condemned_in_one_run() {
        let mut brake = Brake::new(3);
        let all: Vec<Rejection> = (0..6).map(|file| brake.rejected(file)).collect();
        use Rejection::{Condemn, CondemnAndBrake, Spare};
        assert_eq!(
            all,
            [Condemn, Condemn, CondemnAndBrake, Spare, Spare, Spare]
        );
        assert!(brake.accepted());
        assert_eq!(brake.rejected(9), Condemn);
    }

    #[test]
    fn an_acceptance_in_between_starts_the_count_again() {
        let mut brake = Brake::new(2);
        for file in 0..100 {
            assert_eq!(brake.rejected(file), Rejection::Condemn);
            assert!(!brake.accepted());
        }
    }

    #[test]
    fn zero_switches_it_off() {
        let mut brake = Brake::new(0);
        assert!((0..100).all(|file| brake.rejected(file) == Rejection::Condemn));
    }
}
