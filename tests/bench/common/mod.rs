//! What all measurements share.

pub mod config;
pub mod folder;
pub mod options;
pub mod process;
pub mod receiver;
pub mod table;

use std::time::{Duration, Instant};

/// How long something may take before a measurement is given up: a million files are slow to make.
const BOUND: Duration = Duration::from_secs(900);

/// Waits for a condition without taking much of the processor from those that are measured.
///
/// # Panics
/// If it does not come true.
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < BOUND, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The median; NaN of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// `0..count`, backwards in every second round: what gets slower or faster with time weighs on the
/// first as on the last.
pub fn alternating(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}
