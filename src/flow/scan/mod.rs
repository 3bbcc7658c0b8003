//! SCAN and TRACK: which names are wanted, what a listing is, and what is known of each folder.

pub mod filter;
pub mod glob;
pub mod listing;
pub mod tree;
