//! dirpost polls a folder and POSTs every complete file to an HTTP endpoint.
//!
//! This file is the map. The way of a file, in the order of the data:
//!
//! | stage | decided in the pure core | done in the shell |
//! |---|---|---|
//! | SCAN: list a folder | [`flow::filter`], [`flow::listing`] | [`shell::scan`] |
//! | TRACK: new? changed? still? | [`flow::tree`], [`flow::still`] | |
//! | CHECK: open, confirm, validate | | [`shell::inspect`], [`shell::format`] |
//! | DELIVER: send, classify the answer | [`flow::classify`], [`flow::gate`], [`flow::brake`], [`flow::backoff`], [`flow::key`] | [`shell::send`], [`shell::body`], [`shell::deliver`] |
//! | FILE AWAY: journal, move, verify | [`flow::record`] | [`shell::journal`], [`shell::place`] |
//!
//! [`flow::engine`] holds it together: it owns all state, takes observations and the time,
//! and gives back what is to be done. What it has learned outlives the process in
//! [`flow::memory`]. [`shell::share`] and [`shell::state`] say whose the folder is. [`run`] is the loop between the two, and the only
//! module that knows both. [`config`] is what the user wants, [`cli`] how it is asked for.

#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod check;
pub mod cli;
pub mod config;
pub mod dead;
pub mod flow;
pub mod progress;
pub mod run;
pub mod shell;
