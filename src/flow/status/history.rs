//! What was delivered in the last 24 hours, and how many files waited, in parts of five minutes.
//!
//! Invariants:
//! - The parts are in order, and none of them twice; those in which nothing was delivered and nothing
//!   waited are left out. There are no more than [`PARTS`].
//! - A wall clock that is set back adds to the last part until it has caught up.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::flow::time::Wall;

/// The length of a part, in seconds.
pub const PART: i64 = 300;
/// How many parts a day has.
pub const PARTS: usize = 288;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(VecDeque<Bucket>);

/// When a part begins, in seconds since 1970; how many files were delivered in it, and their bytes; the
/// most files that waited at any moment of it (a status of an earlier version does not have that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket(i64, u64, u64, #[serde(default)] u64);

/// One of the [`PARTS`] of the last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// What was delivered in it.
    pub delivered: Sum,
    /// The most files that waited at any moment of it.
    pub waiting: u64,
}

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
            Some(Bucket(last, files, bytes, _)) if *last >= begin => {
                *files += 1;
                *bytes = bytes.saturating_add(size);
            }
            _ => {
                self.begin(Bucket(begin, 1, size, 0));
            }
        }
    }

    /// So many files wait now.
    pub fn waits(&mut self, now: Wall, count: usize) {
        let begin = seconds(now).div_euclid(PART) * PART;
        let count = count as u64;
        match self.0.back_mut() {
            Some(Bucket(last, .., waiting)) if *last >= begin => *waiting = count.max(*waiting),
            _ if count == 0 => {}
            _ => self.begin(Bucket(begin, 0, 0, count)),
        }
    }

    fn begin(&mut self, bucket: Bucket) {
        self.0.push_back(bucket);
        if self.0.len() > PARTS {
            self.0.pop_front();
        }
    }

    /// All parts of the last 24 hours, the oldest first; the last one is not over yet.
    pub fn points(&self, now: Wall) -> Vec<Point> {
        let mut points = vec![Point::default(); PARTS];
        let last = seconds(now).div_euclid(PART);
        for &Bucket(begin, files, bytes, waiting) in &self.0 {
            // What a clock that was set back has left behind counts for the last one.
            let ago = (last - begin.div_euclid(PART)).max(0);
            let ago = usize::try_from(ago).unwrap_or(PARTS);
            if let Some(at) = (PARTS - 1).checked_sub(ago) {
                let point = &mut points[at];
                point.delivered.files += files;
                point.delivered.bytes = point.delivered.bytes.saturating_add(bytes);
                point.waiting = point.waiting.max(waiting);
            }
        }
        points
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
        history.waits(at(HOUR), 3);
        let points = history.points(at(HOUR));
        assert_eq!(
            (points[PARTS - 1].delivered.files, points[PARTS - 1].waiting),
            (2, 3)
        );
    }

    #[test]
    fn the_points_are_those_of_the_last_day_and_hold_the_most_that_waited() {
        let noon = 20_000 * DAY + 12 * HOUR;
        let mut history = History::default();
        history.waits(at(noon - DAY), 9);
        history.waits(at(noon - HOUR), 0);
        for (count, second) in [(2, 0), (7, 1), (0, 299)] {
            history.waits(at(noon + second), count);
        }
        history.add(at(noon + PART), 5);
        let points = history.points(at(noon + PART + 1));
        assert_eq!(points.len(), PARTS);
        let told: Vec<(usize, u64, u64)> = points
            .iter()
            .enumerate()
            .filter(|(_, point)| **point != Point::default())
            .map(|(at, point)| (at, point.delivered.files, point.waiting))
            .collect();
        assert_eq!(told, [(PARTS - 2, 0, 7), (PARTS - 1, 1, 0)]);
    }

    #[test]
    fn a_history_of_an_earlier_version_is_read() {
        let history: History = serde_json::from_str("[[300,1,2],[600,3,4,5]]").unwrap();
        assert_eq!(history.0, [Bucket(300, 1, 2, 0), Bucket(600, 3, 4, 5)]);
    }
}
