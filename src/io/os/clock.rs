//! The clocks: read here, and nowhere in the core.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::flow::memory::Clocks;
use crate::flow::time::{Mono, Now, Wall};

/// All clocks.
pub fn now() -> Now {
    Now {
        mono: mono(),
        wall: wall(),
        up: up(),
    }
}

/// The monotonic clock alone.
pub fn mono() -> Mono {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Mono(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The CPU time that this thread has taken; the time that has passed, where the system does not
/// count it (clock_gettime(2), `CLOCK_THREAD_CPUTIME_ID`).
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub fn cpu_of_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The time that has passed, as the system does not count the CPU time of a thread.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub fn cpu_of_thread() -> Duration {
    Duration::from_millis(u64::try_from(mono().0).unwrap_or(0))
}

/// The wall clock.
pub fn wall() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// All clocks, and which boot it is.
pub fn all() -> Clocks {
    let Now { mono, wall, up } = now();
    Clocks {
        mono,
        wall,
        boot: boot(),
        up,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_machine_is_awake_the_boot_clock_runs_with_the_monotonic_one() {
        let (first, second) = (now(), now());
        let leads = first.up_lead().zip(second.up_lead());
        assert!(leads.is_none_or(|(first, second)| (second - first).abs() < 500));
        assert_eq!(first.up.is_some(), cfg!(unix));
    }
}
