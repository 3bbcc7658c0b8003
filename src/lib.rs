//! dirpost polls a folder and POSTs every complete file to an HTTP endpoint.
//!
//! This file is the map. The way of a file, in the order of the data:
//!
//! | stage | decided in the pure core | done by the shell (`io`) |
//! |---|---|---|
//! | SCAN: list a folder | [`flow::scan::filter`], [`flow::scan::listing`] | [`io::scan`] |
//! | TRACK: new? changed? still? | [`flow::scan::tree`], [`flow::settle`] | |
//! | CHECK: open, confirm, validate | | [`io::check`], [`io::check::formats`] |
//! | DELIVER: send, classify the answer | [`flow::endpoint::classify`], [`flow::endpoint::gate`], [`flow::endpoint::brake`], [`flow::endpoint::backoff`], [`flow::endpoint::idempotency_key`] | [`io::upload`], [`io::upload::body`], [`io::http`] |
//! | FILE AWAY: journal, move, verify | [`flow::filing`] (its machine decides each operation), [`flow::journal`] (the lines) | [`io::filing`], [`io::journal`] |
//!
//! [`flow::engine`] holds it together: it owns all state, takes observations and the time,
//! and gives back what is to be done. What it has learned outlives the process in
//! [`flow::memory`]. [`io::share`] and [`io::share::state`] say whose the folder is. [`daemon`] is
//! the loop between the two, and the only module that knows both. [`config`] is what the user
//! wants, [`cli`] how it is asked for. The rules between them are in `docs/architecture.md`.

// But for two calls of the C library, in `io::os::memory`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations, missing_docs)]
// Both panic where nobody reads: `cli::output` and the log are the ways to print.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod flow;
pub mod io;
