//! What dirpost is measured against: the limit of what the system allows, and what others do.
//!
//! Peers written here run as processes of their own, so that their processor time and memory are theirs alone: the
//! benchmark starts itself with `--role`.

pub mod looking;
pub mod sending;

use std::path::Path;
use std::process::Command;

/// The word before a role.
const ROLE: &str = "--role";

/// This program again, in another role.
pub fn role(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(ROLE).arg(name).args(args);
    command
}

/// Plays a role if the command line asks for one; whether it did.
pub fn play(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [ROLE, "look", kind, dir] => looking::play(kind, Path::new(dir)),
        [ROLE, "send", kind, dir, url] => sending::play(kind, Path::new(dir), url),
        _ => return false,
    }
    true
}
