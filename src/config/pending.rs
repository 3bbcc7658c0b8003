//! Keys that are understood and checked, but that dirpost does not act on yet.
//!
//! A key that does nothing would be worse than one that is refused. To release
//! one, remove its line.

use super::Config;
use super::read::Source;

/// A dotted key, and whether the configuration sets it to other than its default.
type Pending = (&'static str, fn(&Config) -> bool);

pub const PENDING: &[Pending] = &[("watch.shard", |config| config.watch.shard.is_some())];

/// Records every pending key that is in use.
pub fn refuse(config: &Config, pending: &[Pending], source: &Source<'_>) {
    for (key, in_use) in pending {
        if in_use(config) {
            let version = env!("CARGO_PKG_VERSION");
            source.problem(
                key,
                format!("`{key}` is not yet supported by dirpost {version}; leave it out"),
            );
        }
    }
}
