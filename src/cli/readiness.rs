//! What one look at a file in the folder shows of what it waits for, without the process that works: for
//! `check` and `explain`.

use crate::config::{Config, Empty};
use crate::flow::file::{FsKind, Look};
use crate::flow::partial::Vouching;
use crate::flow::time::Wall;

/// What only its writer can give to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is empty.
    Content,
    /// rsync has not finished it.
    Rsync,
}

/// What a file that looks so lacks, whether it has a marker or not. `timeless`: it lies where mtimes say
/// nothing.
pub(super) fn lack(config: &Config, look: &Look, timeless: bool) -> Option<Lack> {
    if look.stamp.size == 0 && config.ready.empty == Empty::Wait {
        Some(Lack::Content)
    } else if Vouching::new(config).waits(look.stamp, timeless) {
        Some(Lack::Rsync)
    } else {
        None
    }
}

/// Since when it may have been still. On another machine's clock an mtime says little, and nothing
/// better is known.
pub(super) fn last_changed(look: &Look) -> Wall {
    match look.fs {
        FsKind::Local if look.ctime.0 > 0 => look.ctime,
        _ => look.stamp.mtime,
    }
}

/// The globs of `watch.include`, for people.
pub(super) fn include_globs(config: &Config) -> String {
    let globs = config.watch.include.iter();
    let globs: Vec<String> = globs.map(|glob| format!("{glob:?}")).collect();
    globs.join(", ")
}
