//! The brake: an endpoint that rejects everything is the suspect, not the files.
//!
//! Invariants:
//! - When [`Brake::new`]'s limit of different files in a row were rejected, with none accepted in
//!   between, nothing more is condemned until something is accepted.
//! - A brake that holds is released by an acceptance and by nothing else: neither by a restart nor
//!   by another limit. Only a limit of 0 switches it off.

use std::collections::BTreeSet;

use crate::flow::file::FileNo;

/// Counts rejections in a row.
#[derive(Clone, Debug)]
pub struct Brake {
    limit: usize,
    /// The files of this process that were rejected.
    row: BTreeSet<FileNo>,
    /// How many were rejected before this process.
    earlier: usize,
    holds: bool,
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
    /// One that holds after `limit` rejections in a row; never with 0.
    pub fn new(limit: u32) -> Brake {
        Brake {
            limit: limit as usize,
            row: BTreeSet::new(),
            earlier: 0,
            holds: false,
        }
    }

    /// How many were rejected, and condemned, in a row.
    pub fn count(&self) -> usize {
        self.row.len() + self.earlier
    }

    /// Goes on where an earlier brake was, which had counted `count` and may have held.
    pub fn recall(&mut self, count: usize, held: bool) {
        self.earlier = count;
        self.holds = self.limit > 0 && (held || count >= self.limit);
    }

    /// Goes on with another limit. One that holds goes on holding, unless it is switched off; one that
    /// does not hold is not made to by a lower limit alone, but by the next rejection.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit as usize;
        self.holds &= self.limit > 0;
    }

    /// Begins to count again, unless it holds.
    pub fn forget(&mut self) {
        if !self.holds {
            self.recall(0, false);
            self.row.clear();
        }
    }

    /// Whether nothing more is condemned.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// A file was rejected.
    pub fn rejected(&mut self, file: FileNo) -> Rejection {
        if self.limit == 0 {
            return Rejection::Condemn;
        }
        if self.holds {
            return Rejection::Spare;
        }
        self.row.insert(file);
        self.holds = self.count() >= self.limit;
        if self.holds {
            Rejection::CondemnAndBrake
        } else {
            Rejection::Condemn
        }
    }

    /// A file was accepted. Gives how many had been condemned in the run if the brake held.
    pub fn accepted(&mut self) -> Option<usize> {
        let released = self.holds.then(|| self.count());
        *self = Brake::new(u32::try_from(self.limit).unwrap_or(u32::MAX));
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_the_limit_is_condemned_in_one_run() {
        let mut brake = Brake::new(3);
        let all: Vec<Rejection> = (0..6).map(|file| brake.rejected(FileNo(file))).collect();
        use Rejection::{Condemn, CondemnAndBrake, Spare};
        assert_eq!(
            all,
            [Condemn, Condemn, CondemnAndBrake, Spare, Spare, Spare]
        );
        assert_eq!(brake.accepted(), Some(3));
        assert_eq!(brake.rejected(FileNo(9)), Condemn);
    }

    #[test]
    fn another_limit_neither_releases_nor_brakes_but_none_at_all_does() {
        let mut brake = Brake::new(5);
        for file in 0..3 {
            assert_eq!(brake.rejected(FileNo(file)), Rejection::Condemn);
        }
        brake.set_limit(2);
        assert!(!brake.holds(), "nothing was rejected since");
        assert_eq!(brake.rejected(FileNo(3)), Rejection::CondemnAndBrake);
        brake.set_limit(50);
        brake.forget();
        assert!(brake.holds());
        assert_eq!(brake.rejected(FileNo(4)), Rejection::Spare);
        brake.set_limit(0);
        assert!(!brake.holds());
    }

    #[test]
    fn an_acceptance_in_between_starts_the_count_again() {
        let mut brake = Brake::new(2);
        for file in 0..100 {
            assert_eq!(brake.rejected(FileNo(file)), Rejection::Condemn);
            assert_eq!(brake.accepted(), None);
        }
    }

    #[test]
    fn zero_switches_it_off() {
        let mut brake = Brake::new(0);
        brake.recall(10, true);
        assert!((0..100).all(|file| brake.rejected(FileNo(file)) == Rejection::Condemn));
    }

    #[test]
    fn what_an_earlier_process_counted_counts_on() {
        let mut brake = Brake::new(3);
        brake.recall(2, false);
        assert_eq!(brake.rejected(FileNo(0)), Rejection::CondemnAndBrake);
        assert_eq!((brake.count(), brake.accepted()), (3, Some(3)));
        assert_eq!(brake.count(), 0);
    }

    #[test]
    fn one_that_holds_holds_under_another_limit_as_well() {
        for limit in [1, 3, 20] {
            let mut brake = Brake::new(limit);
            brake.recall(3, true);
            assert_eq!(brake.rejected(FileNo(0)), Rejection::Spare);
        }
    }
}
