//! `io::dir` on real file systems, and as other users: one module per subject.
//!
//! Much of it needs Linux and root; what a machine lacks is said by the test that skips it.
#![cfg(target_os = "linux")]

#[path = "../util/mod.rs"]
#[allow(unused_imports)]
mod util;

mod attributes;
mod flat;
mod folders;
mod looks;
mod own_files;
mod renames;
mod users;
