//! A configuration that has changed while the run goes on ([`Input::Settings`]).
//!
//! What is out when it comes (a check, an upload, a filing) ends by the settings that it began with, and
//! what comes of it is taken as always. All else goes by the new ones at once: each file in hand is judged
//! again, and one that is not wanted any more is let go of, also if a listing that began before shows it
//! again.
//!
//! [`Input::Settings`]: crate::flow::messages::Input::Settings

use super::Engine;
use super::scans::Pace;
use crate::flow::file::Rel;
use crate::flow::messages::Settings;
use crate::flow::time::Now;

impl Engine {
    /// Takes the settings over.
    pub(super) fn on_settings(&mut self, settings: Settings, now: Now) {
        let Settings {
            policy,
            filter,
            send,
            rechecks,
        } = settings;
        self.out_before = self.begun();
        self.ahead.end();
        self.policy = policy.taking_over(&self.policy);
        let policy = &self.policy;
        self.scans.set_pace(Pace {
            interval: policy.interval,
            max_share: policy.max_share,
        });
        self.looking.begin_anew(policy.rewrites);
        self.tree.set_settle(policy.settle);
        self.endpoint.set_bounds(policy.backoff, policy.brake);
        self.checker.set_limit(policy.brake);
        self.wanted = Some(filter);
        self.scans.hasten(now.mono);
        self.judge_again(rechecks, now);
        if self.endpoint.change_send(send) {
            self.files.outdate_attempts();
            self.probe_now(now);
        }
        self.admission.due_otherwise(self.tree.next_due());
    }

    /// Finds for each file that nobody is at where it waits by the settings as they are now.
    fn judge_again(&mut self, rechecks: bool, now: Now) {
        if rechecks {
            self.checker.forget();
        }
        let all = self.files.iter();
        let at_hand: Vec<_> = all
            .filter(|(_, active)| !active.is_busy())
            .map(|(file, _)| file)
            .collect();
        if rechecks {
            // Also what is being sent: it may come back, and be tried again.
            self.files.recheck_all();
        }
        for file in at_hand {
            self.advance(file, now);
        }
    }

    /// Whether `path` is wanted. What scans show is; but one may have begun before the configuration was
    /// changed, and what was being filed then may have left a new version behind.
    pub(super) fn is_wanted(&self, path: &Rel) -> bool {
        let wanted = self.wanted.as_ref();
        wanted.is_none_or(|wanted| wanted.rule(path).is_none())
    }
}
