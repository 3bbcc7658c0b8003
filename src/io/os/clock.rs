//! The clocks: read here, and nowhere in the core.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::flow::memory::Clocks;
use crate::flow::time::{Mono, Now, Wall};

/// Both clocks.
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Now {
        mono: Mono(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        wall: wall(),
    }
}

/// The wall clock.
pub fn wall() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// These, and the boot clock.
pub fn all() -> Clocks {
    let Now { mono, wall } = now();
    Clocks {
        mono,
        wall,
        boot: boot(),
        up: up(),
    }
}

/// Which boot it is (random(4)).
fn boot() -> Option<String> {
    let id = if cfg!(any(target_os = "linux", target_os = "android")) {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?
    } else {
        return None;
    };
    let id = id.trim();
    (!id.is_empty()).then(|| id.to_string())
}

/// How long the machine has been up (ms), sleep included: clock_gettime(2), `CLOCK_BOOTTIME`; macOS and
/// the other BSDs count it by `CLOCK_MONOTONIC`.
#[cfg(unix)]
fn up() -> Option<i64> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "openbsd"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "openbsd")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    Some(
        (time.tv_sec as i64)
            .saturating_mul(1000)
            .saturating_add(time.tv_nsec as i64 / 1_000_000),
    )
}

#[cfg(not(unix))]
fn up() -> Option<i64> {
    None
}

/// A monotonic clock that goes on while the machine is suspended, where the system has one.
pub fn with_sleep() -> Mono {
    up().map_or_else(|| now().mono, Mono)
}

/// Notices that the machine was suspended: then the boot clock goes on, and the monotonic one,
/// as [`now`] reads it, does not.
#[derive(Debug)]
pub struct Sleep {
    lead: Option<i64>,
}

/// Readings of two clocks are never at the very same moment.
const GAP: Duration = Duration::from_secs(1);

impl Sleep {
    pub fn new(now: Now) -> Sleep {
        Sleep {
            lead: up().map(|up| up - now.mono.0),
        }
    }

    /// For how long the machine slept since the last call, if it did.
    pub fn observe(&mut self, now: Now) -> Option<Duration> {
        let lead = up()? - now.mono.0;
        let slept = lead.saturating_sub(self.lead.replace(lead)?);
        let slept = Duration::from_millis(u64::try_from(slept).unwrap_or(0));
        (slept >= GAP).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_the_clocks_is_noticed_once() {
        if up().is_none() {
            return;
        }
        let mut sleep = Sleep::new(now());
        assert_eq!(sleep.observe(now()), None);
        // As after 5 s of sleep: the boot clock has gone on.
        sleep.lead = sleep.lead.map(|lead| lead - 5_000);
        let slept = sleep.observe(now()).expect("a gap");
        assert!(slept >= Duration::from_secs(4), "{slept:?}");
        assert_eq!(sleep.observe(now()), None);
    }
}
