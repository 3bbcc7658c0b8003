//! What the engine needs of the configuration.

use std::time::Duration;

use crate::config::{Action, Config, Empty, Settle};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::time::Mono;

/// The settings of a run; none of them changes while it lasts.
#[derive(Clone, Debug)]
pub struct Policy {
    pub interval: Duration,
    pub max_share: f64,
    pub settle: Settle,
    pub marker: bool,
    pub empty: Empty,
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    /// Whether a file's content is looked at before it is sent.
    pub inspects: bool,
    /// Whether that shows an end: then it can vouch for a file that looks unfinished.
    pub sees_end: bool,
    pub grace: Duration,
    pub workers: usize,
    pub in_order: bool,
    pub brake: u32,
    pub backoff: Backoff,
    pub give_up_after: Option<Duration>,
    pub action: Action,
    /// `delivered.remember`.
    pub remember: Duration,
    /// What the keys are made of, beside the file.
    pub key_scope: String,
    pub ending: Ending,
}

impl Policy {
    /// `share_id` stands in where no `send.key_scope` is set.
    pub fn new(config: &Config, share_id: &str, ending: Ending) -> Policy {
        Policy {
            interval: config.watch.interval,
            max_share: config.watch.max_share,
            settle: config.ready.settle,
            marker: config.ready.marker.is_some(),
            empty: config.ready.empty,
            min_size: config.check.min_size,
            max_size: config.check.max_size,
            inspects: config.check.reads_content(),
            sees_end: config.check.sees_end(),
            grace: config.check.grace,
            workers: if config.send.in_order {
                1
            } else {
                config.send.workers
            },
            in_order: config.send.in_order,
            brake: config.send.brake,
            backoff: Backoff {
                first: config.retry.first,
                max: config.retry.max,
            },
            give_up_after: config.retry.give_up_after,
            action: config.delivered.action,
            remember: config.delivered.remember,
            key_scope: config
                .send
                .key_scope
                .clone()
                .unwrap_or_else(|| share_id.to_string()),
            ending,
        }
    }
}

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Never: `run`.
    Never,
    /// When all that was there at the first look is dealt with, or at this moment: `once`.
    /// With `no_wait` as soon as nothing is left to be done but to wait.
    Once { deadline: Mono, no_wait: bool },
}
