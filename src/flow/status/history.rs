//! What was delivered in the last 24 hours, in parts of five minutes.
//!
//! Invariants:
//! - The parts are in order, and none of them twice; those in which nothing was delivered are left
//!   out. There are no more than [`PARTS`].
//! - A wall clock that is set back adds to the last part until it has caught up.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::flow::time::Wall;

/// The length of a part, in seconds.
pub const PART: i64 = 300;
/// How many parts a day has.
const PARTS: usize = 288;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(VecDeque<Bucket>);

/// When a part begins, in seconds since 1970; how many files were delivered in it, and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket(i64, u64, u64);

/// A number of files, and of their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl History {
    /// A file of `size` bytes was delivered.
    pub fn add(&mut self, now: Wall, size: u64) {
        let begin = seconds(now).div_euclid(PART) * PART;
        match self.0.back_mut() {
            Some(Bucket(last, files, bytes)) if *last >= begin => {
                *files += 1;
                *bytes = bytes.saturating_add(size);
            }
            _ => {
                self.0.push_back(Bucket(begin, 1, size));
                if self.0.len() > PARTS {
                    self.0.pop_front();
                }
            }
        }
    }

    /// In the last hour, to five minutes.
    pub fn last_hour(&self, now: Wall) -> Sum {
        self.since(seconds(now) - HOUR)
    }

    /// Since midnight UTC.
    pub fn today(&self, now: Wall) -> Sum {
        self.since(seconds(now).div_euclid(DAY) * DAY)
    }

    fn since(&self, seconds: i64) -> Sum {
        let parts = self.0.iter().filter(|part| part.0 >= seconds);
        parts.fold(Sum::default(), |sum, part| Sum {
            files: sum.files + part.1,
            bytes: sum.bytes.saturating_add(part.2),
        })
    }
}

fn seconds(wall: Wall) -> i64 {
    wall.0.div_euclid(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Wall {
        Wall(seconds * 1_000_000_000)
    }

    #[test]
    fn the_last_hour_and_the_day_are_told_apart_and_what_is_older_than_a_day_goes() {
        let noon = 20_000 * DAY + 12 * HOUR;
        let mut history = History::default();
        history.add(at(noon - DAY), 1);
        history.add(at(noon - 2 * HOUR), 10);
        history.add(at(noon), 100);
        history.add(at(noon + 1), 1_000);
        let sum = |files, bytes| Sum { files, bytes };
        assert_eq!(history.last_hour(at(noon + 2)), sum(2, 1_100));
        assert_eq!(history.today(at(noon + 2)), sum(3, 1_110));
        assert_eq!(history.today(at(noon + DAY)), sum(0, 0));
        for part in 0..1_000 {
            history.add(at(noon + part * PART), 0);
        }
        assert_eq!(history.0.len(), PARTS);
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let mut history = History::default();
        history.add(at(10 * HOUR), 1);
        history.add(at(HOUR), 1);
        assert_eq!(history.last_hour(at(10 * HOUR)).files, 2);
    }
}
