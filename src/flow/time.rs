//! Time as the core knows it: plain integers, handed in.
//!
//! The core never asks for the time. Each input comes with a [`Now`], read once
//! by the shell, and the core answers with the [`Mono`] at which it wants to be
//! woken.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds on a clock that never steps, from the start of the process.
/// Negative values are moments before the start.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Mono(pub i64);

/// Nanoseconds since 1970-01-01 UTC, as file systems and HTTP dates count.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Wall(pub i64);

/// One reading of all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock. It may stand still while the machine is suspended.
    pub mono: Mono,
    /// The wall clock. Anybody may set it.
    pub wall: Wall,
    /// The boot clock, where there is one: for how long (ms) the machine has been up, suspended or not.
    pub up: Option<i64>,
}

const NANOS_PER_MILLI: i64 = 1_000_000;

impl Mono {
    /// How long before `self` the moment `earlier` was; zero if it was not.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    /// Rounds up to whole milliseconds, so that nothing becomes due early.
    fn add(self, span: Duration) -> Mono {
        let millis = span.as_nanos().div_ceil(NANOS_PER_MILLI as u128);
        Mono(
            self.0
                .saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;

    fn sub(self, span: Duration) -> Mono {
        Mono(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Now {
    /// Where `wall` lies on the other clock, going by this one reading of both.
    /// Rounded up: never earlier than it was.
    pub fn mono_of(self, wall: Wall) -> Mono {
        let ago = self.wall.0.saturating_sub(wall.0);
        Mono(self.mono.0.saturating_sub(ago.div_euclid(NANOS_PER_MILLI)))
    }

    /// The wall clock's lead over the monotonic one, in milliseconds. It is constant
    /// unless somebody sets the clock or the machine sleeps.
    pub fn lead(self) -> i64 {
        (self.wall.0 / NANOS_PER_MILLI).saturating_sub(self.mono.0)
    }

    /// The boot clock's lead over the monotonic one, in milliseconds. It is constant unless the
    /// machine is suspended.
    pub fn up_lead(self) -> Option<i64> {
        self.up.map(|up| up.saturating_sub(self.mono.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_wall_clock_is_never_placed_too_early() {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(5_000_000_000),
            up: None,
        };
        assert_eq!(now.mono_of(Wall(4_999_000_001)), Mono(1_000));
        assert_eq!(now.mono_of(Wall(4_000_000_000)), Mono(0));
        assert_eq!(now.mono_of(Wall(6_000_000_000)), Mono(2_000));
    }

    #[test]
    fn adding_rounds_up_and_never_overflows() {
        assert_eq!(Mono(0) + Duration::from_micros(1), Mono(1));
        assert_eq!(Mono(5) + Duration::MAX, Mono(i64::MAX));
    }
}
