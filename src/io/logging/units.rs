//! Numbers, sizes and times for people: in the log, and in what the commands print.

use std::time::Duration;

/// A number of files for people.
pub fn files<N: std::fmt::Display + PartialEq + From<u8>>(count: N) -> String {
    if count == N::from(1) {
        "1 file".into()
    } else {
        format!("{count} files")
    }
}

/// A size for people.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// For how long something has been wrong. When another cause of it comes at once, the milliseconds
/// since the first would read as if nothing had been wrong before.
pub fn lasting(since: Duration) -> String {
    if since < Duration::from_secs(1) {
        "less than 1 s".into()
    } else {
        span(since)
    }
}

/// A time for people: two units at most.
pub fn span(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        10_000..120_000 => format!("{} s", millis / 1000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        7_200_000..172_800_000 => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
        _ => format!("{} days", millis / 86_400_000),
    }
}
