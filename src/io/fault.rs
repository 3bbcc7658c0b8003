//! Where these were before they went to where they belong.

pub use crate::io::os::error::explain;
pub use crate::io::share::{OpenError, Unusable};
