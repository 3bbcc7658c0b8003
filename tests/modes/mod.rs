//! Filing opens nothing to others: what is filed, and the folders it is filed in, are no wider open
//! than they were. Linux, as root, which the tests say where it is missing.
#![cfg(target_os = "linux")]

mod files;
mod folders;
mod world;
