//! How long to wait before the next attempt: exponential, capped, with full jitter.
//!
//! Full jitter is a wait drawn evenly from nothing to the cap of the step
//! (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): of all
//! spreads it makes many clients that failed together come back least together.

use std::time::Duration;

use crate::flow::rng::Rng;

/// `retry.first` and `retry.max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The cap of the first step.
    pub first: Duration,
    /// No step has a higher cap.
    pub max: Duration,
}

impl Backoff {
    /// The longest wait of step `step` (0 for the first).
    pub fn cap(&self, step: u32) -> Duration {
        let factor = 1u32.checked_shl(step.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// A wait for step `step`: from 1 ms to its cap.
    pub fn draw(&self, step: u32, rng: &mut Rng) -> Duration {
        let cap = u64::try_from(self.cap(step).as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(1 + rng.below(cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_doubles_up_to_the_maximum_and_the_draw_stays_below_it() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(300),
        };
        let caps: Vec<u64> = (0..12).map(|step| backoff.cap(step).as_secs()).collect();
        assert_eq!(caps, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff.cap(u32::MAX).as_secs(), 300);
        let mut rng = Rng::new(7);
        for step in 0..40 {
            let cap = backoff.cap(step) + Duration::from_millis(1);
            assert!((0..200).all(|_| backoff.draw(step, &mut rng) <= cap));
        }
    }

    #[test]
    fn the_draw_covers_the_whole_range() {
        let backoff = Backoff {
            first: Duration::from_secs(10),
            max: Duration::from_secs(10),
        };
        let mut rng = Rng::new(1);
        let draws: Vec<u128> = (0..1000)
            .map(|_| backoff.draw(0, &mut rng).as_millis())
            .collect();
        let mean = draws.iter().sum::<u128>() / 1000;
        assert!((4_500..5_500).contains(&mean), "{mean}");
        assert!(draws.iter().any(|&draw| draw < 500) && draws.iter().any(|&draw| draw > 9_500));
    }
}
