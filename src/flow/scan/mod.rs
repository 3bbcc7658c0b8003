//! SCAN and TRACK: which folders are listed and which names are wanted, what a listing is, and what
//! is known of each folder.

pub mod filter;
pub mod glob;
pub mod listing;
pub mod names_hash;
pub mod rounds;
mod temporary;
pub mod tree;
