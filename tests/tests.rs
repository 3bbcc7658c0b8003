//! The real binary against a scriptable endpoint: one module per subject.

mod util;

mod acted;
mod asked;
mod away;
mod captures;
mod checks;
mod chmod;
mod cli;
mod copies;
mod dead;
mod dead_names;
mod emptied;
#[cfg(unix)]
mod endpoints;
#[cfg(unix)]
mod faq;
mod faults;
mod faulty;
mod full;
mod housekeeping;
mod kept_answers;
mod kept_for;
mod listen;
mod logging;
mod memory;
mod mended;
mod modes;
mod mounts;
mod nginx;
mod operations;
mod power;
mod reload;
mod rsync;
mod scanning;
mod sending;
mod service;
mod settle;
mod shards;
mod share;
mod shown_modes;
mod signals;
mod signed;
mod status;
mod stems;
mod suspicions;
mod takeover;
mod versions;
mod words;
