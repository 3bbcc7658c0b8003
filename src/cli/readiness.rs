//! What one look at a file in the folder shows of what it waits for, without the process that works: for
//! `check` and `explain`.

use crate::config::{Config, Empty};
use crate::flow::file::{FsKind, Look};
use crate::flow::partial::Vouching;
use crate::flow::time::Wall;

/// What stands in the way of a file that shows in its size and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is empty.
    Content,
    /// rsync has not finished it.
    Rsync,
    /// It is larger than one request may be.
    Room,
}

/// What a file that looks so lacks, whether it has a marker or not. `timeless`: it lies where mtimes say
/// nothing.
pub(super) fn lack(config: &Config, look: &Look, timeless: bool) -> Option<Lack> {
    if look.stamp.size == 0 && config.ready.empty == Empty::Wait {
        Some(Lack::Content)
    } else if Vouching::new(config).waits(look.stamp, timeless) {
        Some(Lack::Rsync)
    } else if is_too_large(config, look.stamp.size) {
        Some(Lack::Room)
    } else {
        None
    }
}

/// Whether a file of this size is neither sent nor condemned: [`crate::config::Send::request_limit`].
fn is_too_large(config: &Config, size: u64) -> bool {
    let is_condemned = config.check.max_size.is_some_and(|max| size > max);
    let limit = config.send.request_limit();
    !is_condemned && limit.is_some_and(|limit| size > limit)
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
