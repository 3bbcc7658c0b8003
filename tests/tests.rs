//! The real binary against a scriptable endpoint: one module per subject.

mod util;

mod acted;
mod away;
mod checks;
mod chmod;
mod cli;
mod copies;
mod dead;

#[cfg(unix)]
mod endpoints;
mod faults;
mod faulty;
mod full;
mod memory;
mod mended;
mod modes;
mod mounts;
mod nginx;
mod power;
mod rsync;
mod sending;
mod settle;
mod share;
mod signals;
mod takeover;
mod versions;
