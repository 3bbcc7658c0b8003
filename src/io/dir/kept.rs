//! What is said of rights that were to be kept, on any platform.

use std::fmt;

use super::Dir;
use crate::flow::file::Rel;

/// What a copy could not take over from its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The copy belongs to dirpost's own user.
    Owner,
    /// The copy belongs to another group, which may do no more than everybody.
    Group,
    /// The mode is another one: narrower, or what the file system shows for every file.
    Mode,
    /// The named entries of the access list; who was named may do no more than everybody.
    AccessList,
    /// Some of the user attributes (`user.*`).
    Attributes,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Owner => "its owner",
            Lost::Group => "its group",
            Lost::Mode => "its mode",
            Lost::AccessList => "its access list",
            Lost::Attributes => "its extended attributes",
        })
    }
}

/// What the group of a folder may do with one that is made like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupRights {
    /// As much as with the folder itself, also write (`done`: its members clean it).
    Kept,
    /// No more than everybody, and never write (`dead-letter`).
    Dropped,
}

/// A folder that was made like another, or was there before.
#[derive(Debug)]
pub struct Made {
    /// The folder, open.
    pub folder: Dir,
    /// Those on the way to it, and itself, that give somebody more than the folder that they are
    /// made like. Empty in the usual case.
    pub wider: Vec<Wider>,
}

/// A folder that gives somebody more rights than it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wider {
    /// Relative to the folder that it was opened or made from.
    pub path: Rel,
    /// How that came about.
    pub why: Why,
}

/// Why a folder is wider than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was there before, and is left as it is.
    WasThere,
    /// It was made just now, and the file system keeps no modes.
    CannotBeKept,
}
