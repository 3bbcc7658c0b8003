//! What the engine needs of the configuration.

use std::time::Duration;

use crate::config::{Action, Config, Empty, Rewrites, SendOrder, Settle};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::file::{Look, Stamp};
use crate::flow::marker::MarkerRule;
use crate::flow::partial::Vouching;
use crate::flow::time::Mono;

/// So many files keep a few workers busy until more are taken in, and so few cost next to nothing.
const IN_HAND: usize = 256;

/// Why a file beyond [`Policy::request_limit`] is not sent.
pub const TOO_LARGE: &str = "it is larger than 5 GiB, which is the most that an object store takes \
    in one request: take it away, or let check.max_size = \"5 GiB\" move such files to dead-letter";

/// The settings of a run. They change only as a whole ([`Policy::taking_over`]).
#[derive(Clone, Debug)]
pub struct Policy {
    /// `watch.interval`: the time from the start of a scan to the start of the next.
    pub interval: Duration,
    /// `watch.max_share`: the part of the time that scanning may take, over 0 and up to 1.
    pub max_share: f64,
    /// `watch.rewrites`: how soon a change to a file at rest must be noticed.
    pub rewrites: Rewrites,
    /// `ready.settle`: how long a file must not have changed before it is taken for complete.
    pub settle: Settle,
    /// `ready.marker`: a file waits for a marker that is called so.
    pub marker: Option<MarkerRule>,
    /// `ready.empty`: what a file of zero bytes means.
    pub empty: Empty,
    /// `check.min_size`, in bytes; `None` if there is no lower bound.
    pub min_size: Option<u64>,
    /// `check.max_size`, in bytes; `None` if there is no upper bound.
    pub max_size: Option<u64>,
    /// The most bytes that the endpoint takes in one request; `None` where that is not known. A larger
    /// file is neither sent nor condemned.
    pub request_limit: Option<u64>,
    /// Whether a file's content is looked at before it is sent.
    pub inspects: bool,
    /// Whether that shows an end: then it can vouch for a file that looks unfinished.
    pub sees_end: bool,
    /// `check.grace`: how long a file that fails a check may still turn out to be unfinished.
    pub grace: Duration,
    /// How many files are sent side by side: `send.workers`, but 1 with `send.in_order`.
    pub workers: usize,
    /// Upper bound on the files that settle in hand, and on those that wait there for CHECK or for
    /// their first DELIVER: at least 1.
    pub in_hand: usize,
    /// `send.order`: which file goes first.
    pub order: SendOrder,
    /// `send.in_order`: strictly in that order, and one that fails holds up the others.
    pub in_order: bool,
    /// `send.brake`: after how many rejected files in a row nothing more is condemned; 0 = never.
    pub brake: u32,
    /// The bounds of the pause after a failed attempt.
    pub backoff: Backoff,
    /// `retry.give_up_after`: when a file that keeps failing goes to dead-letter; `None` = never.
    pub give_up_after: Option<Duration>,
    /// `delivered.action`: what is done with an accepted file.
    pub action: Action,
    /// `delivered.remove_emptied`.
    pub remove_emptied: bool,
    /// `delivered.keep_for`: how long `done` keeps a file; `None` = for ever.
    pub keep_for: Option<Duration>,
    /// `delivered.remember`.
    pub remember: Duration,
    /// What the keys are made of, beside the file.
    pub key_scope: String,
    /// When the run ends by itself.
    pub ending: Ending,
}

impl Policy {
    /// `share_id` stands in where no `send.key_scope` is set.
    pub fn new(config: &Config, share_id: &str, ending: Ending) -> Policy {
        Policy {
            interval: config.watch.interval,
            max_share: config.watch.max_share,
            rewrites: config.watch.rewrites,
            settle: config.ready.settle,
            marker: config.ready.marker.clone(),
            empty: config.ready.empty,
            min_size: config.check.min_size,
            max_size: config.check.max_size,
            request_limit: config.send.request_limit(),
            inspects: config.check.reads_content(),
            sees_end: config.check.sees_end(),
            grace: config.check.grace,
            workers: if config.send.in_order {
                1
            } else {
                config.send.workers
            },
            in_hand: IN_HAND.max(4 * config.send.workers),
            order: config.send.order,
            in_order: config.send.in_order,
            brake: config.send.brake,
            backoff: Backoff {
                first: config.retry.first,
                max: config.retry.max,
            },
            give_up_after: config.retry.give_up_after,
            action: config.delivered.action,
            remove_emptied: config.delivered.remove_emptied,
            keep_for: config.delivered.keep_for,
            remember: config.delivered.remember,
            key_scope: config
                .send
                .key_scope
                .clone()
                .unwrap_or_else(|| share_id.to_string()),
            ending,
        }
    }

    /// This one, as a run goes on with it that began with `before`. What each record and each line of
    /// the journal was made by stays as it was: the keys, the order, whether there are markers, and what
    /// becomes of an accepted file.
    pub fn taking_over(self, before: &Policy) -> Policy {
        Policy {
            marker: before.marker.clone(),
            workers: if before.in_order { 1 } else { self.workers },
            order: before.order,
            in_order: before.in_order,
            action: before.action,
            keep_for: before.keep_for,
            key_scope: before.key_scope.clone(),
            ending: before.ending,
            ..self
        }
    }

    /// What vouches for files that look as if rsync had not finished them.
    pub fn vouching(&self) -> Vouching {
        Vouching {
            marker: self.marker.is_some(),
            sees_end: self.sees_end,
        }
    }
}

impl Policy {
    /// Whether a file with this marker, if it has one, need not wait for another: one that vouched
    /// for an earlier version vouches for none.
    pub(super) fn is_vouched_for(
        &self,
        marker: Option<Stamp>,
        was_used: impl FnOnce(Stamp) -> bool,
    ) -> bool {
        self.marker.is_none() || marker.is_some_and(|marker| !was_used(marker))
    }

    /// Whether a file that looks so waits for its writer to put something into it.
    pub(super) fn awaits_content(&self, look: &Look) -> bool {
        look.stamp.size == 0 && self.empty == Empty::Wait
    }
}

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Never: `run`.
    Never,
    /// When all that was there at the first look is dealt with, or at this moment: `once`.
    /// With `no_wait` as soon as nothing is left to be done but to wait.
    Once {
        /// From this moment nothing new is started; what is on its way may still end.
        deadline: Mono,
        /// Whether it ends without waiting for files that settle or are to be tried again.
        no_wait: bool,
    },
}
