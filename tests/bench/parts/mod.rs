//! What is measured: one module for each part of docs/performance.md.

pub mod deliver;
pub mod kept;
pub mod large;
pub mod rescan;
pub mod rest;
pub mod slow_filing;
pub mod slow_mount;
pub mod waiting;

use super::common::options::Options;
use super::common::table::Table;

/// A measurement.
pub struct Part {
    /// What it is called on the command line, and in the page.
    pub name: &'static str,
    pub measure: fn(&Options) -> Table,
}

pub const PARTS: [Part; 8] = [
    Part {
        name: "rest",
        measure: rest::measure,
    },
    Part {
        name: "rescan",
        measure: rescan::measure,
    },
    Part {
        name: "deliver",
        measure: deliver::measure,
    },
    Part {
        name: "large",
        measure: large::measure,
    },
    Part {
        name: "waiting",
        measure: waiting::measure,
    },
    Part {
        name: "kept",
        measure: kept::measure,
    },
    Part {
        name: "slow-mount",
        measure: slow_mount::measure,
    },
    Part {
        name: "slow-filing",
        measure: slow_filing::measure,
    },
];
