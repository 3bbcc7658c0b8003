//! What the engine needs of the configuration.

use std::time::Duration;

use crate::config::{Action, Config, Empty, Settle};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::time::Mono;

/// The settings of a run; none of them changes while it lasts.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `watch.interval`: from the start of a scan to the start of the next.
    pub interval: Duration,
    /// `watch.max_share`: the part of the time that scans may take, 0 < x <= 1.
    pub max_share: f64,
    /// `ready.settle`.
    pub settle: Settle,
    /// Whether a file waits for its marker (`ready.marker`).
    pub marker: bool,
    /// `ready.empty`.
    pub empty: Empty,
    /// `check.min_size`, in bytes.
    pub min_size: Option<u64>,
    /// `check.max_size`, in bytes.
    pub max_size: Option<u64>,
    /// Whether a file's content is looked at before it is sent.
    pub inspects: bool,
    /// Whether that shows an end: then it can vouch for a file that looks unfinished.
    pub sees_end: bool,
    /// `check.grace`: how long a file may look unfinished to a check.
    pub grace: Duration,
    /// Upper bound on the files that are sent at a time.
    pub workers: usize,
    /// `send.in_order`: strictly by mtime and path.
    pub in_order: bool,
    /// `send.brake`: how many rejections in a row make the endpoint the suspect; 0 = off.
    pub brake: u32,
    /// `retry.first` and `retry.max`.
    pub backoff: Backoff,
    /// `retry.give_up_after`, on the clock that runs only while the gate is open.
    pub give_up_after: Option<Duration>,
    /// `delivered.action`.
    pub action: Action,
    /// `delivered.remember`.
    pub remember: Duration,
    /// What the keys are made of, beside the file.
    pub key_scope: String,
    /// When the run ends by itself.
    pub ending: Ending,
}

impl Policy {
    /// As it is configured. `share_id` stands in where no `send.key_scope` is set.
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
    Once {
        /// That moment.
        deadline: Mono,
        /// As soon as nothing is left to be done but to wait.
        no_wait: bool,
    },
}
