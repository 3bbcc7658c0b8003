//! How long files take from the moment at which they are ready to their acceptance, as a histogram.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bounds of the classes in milliseconds, each inclusive; one class more has none. A file that
/// goes at once takes as long as its request; one that waits for an outage takes minutes to days.
pub const BOUNDS_MS: [u64; 12] = [
    50,
    250,
    1_000,
    5_000,
    15_000,
    60_000,
    5 * 60_000,
    15 * 60_000,
    3_600_000,
    4 * 3_600_000,
    24 * 3_600_000,
    7 * 24 * 3_600_000,
];

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// How many files each class has; a class does not hold those of the ones before it.
    classes: [u64; BOUNDS_MS.len() + 1],
    /// The sum of all delays.
    sum_ms: u64,
}

impl Delays {
    /// One more file was accepted, so long after it was ready.
    pub fn add(&mut self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.classes[BOUNDS_MS.partition_point(|bound| *bound < delay)] += 1;
        self.sum_ms = self.sum_ms.saturating_add(delay);
    }

    /// Each bound in milliseconds, with the number of files that took no longer.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.classes.iter().scan(0, |sum, class| {
            *sum += class;
            Some(*sum)
        });
        BOUNDS_MS.into_iter().zip(sums)
    }

    /// How many files there were.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// The sum of all delays, in milliseconds.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_counts_for_its_class_and_all_above_it() {
        let mut delays = Delays::default();
        for ms in [0, 50, 51, 8 * 24 * 3_600_000] {
            delays.add(Duration::from_millis(ms));
        }
        let up_to: Vec<u64> = delays.up_to().map(|(_, count)| count).collect();
        assert_eq!(up_to, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(delays.count(), 4);
        assert_eq!(delays.sum_ms(), 101 + 8 * 24 * 3_600_000);
    }
}
