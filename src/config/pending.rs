//! Keys of the contract that this version does not serve yet.
//!
//! They are accepted and checked like all others, and refused when they are set to anything
//! but their default: a key that is ignored in silence would be worse than none.

use super::{Config, Rewrites};

/// A dotted key, and whether a configuration asks for more of it than the default.
type Pending = (&'static str, fn(&Config) -> bool);

/// All of them.
pub const PENDING: [Pending; 5] = [
    ("watch.threads", |config| config.watch.threads > 1),
    ("watch.rewrites", |config| config.watch.rewrites != Rewrites::Auto),
    ("watch.shard", |config| config.watch.shard.is_some()),
    ("delivered.keep_for", |config| config.delivered.keep_for.is_some()),
    ("report.metrics_file", |config| config.report.metrics_file.is_some()),
];
