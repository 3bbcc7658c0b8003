//! CHECK and DELIVER: what the engine makes of the jobs that come back.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::endpoint::{Accepted, Rejected, Waits};
use super::files::{ActiveFile, At, Checked, Queue, Seat};
use crate::config::Action;
use crate::flow::endpoint::brake::Rejection;
use crate::flow::endpoint::classify::retry_after;
use crate::flow::endpoint::gate::Failure;
use crate::flow::endpoint::reply::{Answer, Reply};
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::endpoint::words::{Account, account};
use crate::flow::events::Note;
use crate::flow::file::{FileNo, Look};
use crate::flow::filing::{Acceptance, Fate, Progress, Receipt};
use crate::flow::messages::{Delivered, Inspected};
use crate::flow::settle::{Seen, settle_time};
use crate::flow::status::{LastDelivered, Then};
use crate::flow::time::Now;
use crate::flow::troubles::{Kind, Trouble};

/// Who rejects, in the log.
const CHECKER: &str = "check.command";

impl Engine {
    // ---- check ----------------------------------------------------------------------

    pub(super) fn on_inspected(&mut self, file: FileNo, inspected: Inspected, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        if active.at() != At::Inspecting {
            return;
        }
        match inspected {
            Inspected::Good { sha256 } => {
                active.checked = Checked::Yes { sha256 };
                active.learned.unfinished = None;
                active.why = None;
                self.over(file, now);
                if let Some(condemned) = self.checker.accepted() {
                    let by = CHECKER;
                    self.note(Note::BrakeReleased { by, condemned });
                }
                self.advance(file, now);
            }
            Inspected::Unfinished(why) => self.unfinished(file, why, now),
            Inspected::Bad(why) => self.condemn(file, why, None, now),
            Inspected::CommandRejects(why) => self.command_rejects(file, why, now),
            Inspected::Undecided(why) => self.trouble(file, Kind::Check, why, now),
            Inspected::Changed(look) => self.changed(file, Kind::Check, look, now),
            Inspected::Missing(miss) => self.missing(file, miss, now),
        }
    }

    fn command_rejects(&mut self, file: FileNo, why: String, now: Now) {
        let rejection = self.checker.rejected(file);
        if rejection == Rejection::CondemnAndBrake {
            let note = Note::BrakeHolds {
                files: self.checker.count(),
                by: CHECKER,
                why: why.clone(),
            };
            self.note(note);
        }
        if rejection == Rejection::Spare {
            self.trouble(file, Kind::Check, why, now);
        } else {
            self.condemn(file, why, None, now);
        }
    }

    // ---- deliver --------------------------------------------------------------------

    pub(super) fn on_delivered(&mut self, file: FileNo, delivered: Delivered, now: Now) {
        self.out_before = self.out_before.min(self.begun());
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        if active.at() != At::Sending {
            return;
        }
        let is_outdated = std::mem::take(&mut active.is_outdated);
        match delivered {
            Delivered::NotBegun => self.ahead.called_back(),
            _ => self.ahead.came_back(&delivered, now.mono),
        }
        self.out.counters.attempts.count(&delivered);
        match delivered {
            Delivered::Replied {
                verdict,
                reply,
                took,
                journaled,
                sha256,
                look,
            } => {
                self.attempted(file, sha256, look, now);
                match (verdict, reply) {
                    (Verdict::Accepted, Reply::Answer(answer)) => {
                        self.accepted(file, &answer, took, journaled, now);
                    }
                    (Verdict::Rejected, Reply::Answer(answer)) => self.rejected(file, &answer, now),
                    (Verdict::Refused, _) if is_outdated => {
                        // It says nothing of the credentials as they are now.
                        self.endpoint.untried(file);
                        self.try_again(file, now);
                    }
                    (verdict, reply) => self.failed(file, verdict, &reply, now),
                }
            }
            Delivered::Changed(look) => {
                self.endpoint.untried(file);
                self.changed(file, Kind::Send, look, now);
            }
            Delivered::Unsettled(look) => {
                self.endpoint.untried(file);
                self.changed(file, Kind::Read, look, now);
            }
            Delivered::Missing(miss) => {
                self.endpoint.untried(file);
                self.missing(file, miss, now);
            }
            Delivered::NotSent(why) => {
                let (endpoint, scene) = self.report(now.mono);
                let note = endpoint.not_sent(file, why, scene);
                self.say(note);
                self.try_again(file, now);
            }
            Delivered::NotBegun => self.not_begun(file, now),
        }
    }

    /// The endpoint was asked; what was sent has this digest, and showed this look at last.
    fn attempted(&mut self, file: FileNo, sha256: Option<[u8; 32]>, look: Look, now: Now) {
        if let Some(active) = self.files.get_mut(file) {
            active.learned.attempts += 1;
            active.sent = sha256;
        }
        self.end_changing(file, now);
        if let Some(active) = self.files.get_mut(file)
            && look.stamp == active.still.look.stamp
        {
            // A ctime may have moved while it was sent. The worker has seen to that; for what comes
            // next it is a suspicion.
            let settle = settle_time(self.policy.settle, look.fs);
            if active.still.observe(look, settle, &self.clock) != Seen::Still {
                active.checked = Checked::No;
            }
        }
        self.over(file, now);
    }

    /// It was handed out ahead and called back.
    fn not_begun(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get(file) else {
            return;
        };
        if self.is_ready(active, now) {
            self.files.take_back(file);
        } else {
            self.advance(file, now);
        }
    }

    fn accepted(
        &mut self,
        file: FileNo,
        answer: &Answer,
        took: Duration,
        journaled: Result<(), String>,
        now: Now,
    ) {
        let (endpoint, scene) = self.report(now.mono);
        let Accepted {
            own_faults,
            is_news,
            notes,
        } = endpoint.accepted(file, &scene);
        for other in own_faults {
            if let Some(active) = self.files.get_mut(other) {
                active.learned.own_fault = true;
            }
        }
        self.end_trouble(file, now);
        let Some(active) = self.files.get(file) else {
            return;
        };
        let attempts = active.learned.attempts;
        if is_news || attempts > 1 {
            self.known.learned(now.mono);
        }
        let (path, look, sent_marker) =
            (active.path.clone(), active.still.look, active.sent_marker);
        let marker = active.voucher.filter(|_| self.policy.marker.is_some());
        let delay = now.mono.since(active.ready_since.unwrap_or(now.mono));
        self.out.tally.delivered += 1;
        self.out.tally.delivered_bytes += look.stamp.size;
        let last = LastDelivered {
            path: path.clone(),
            at: now.wall,
            status: answer.status,
        };
        self.out.counters.delivered(last, look.stamp.size, delay);
        self.note(Note::Delivered {
            path: path.clone(),
            size: look.stamp.size,
            status: answer.status,
            took,
            attempts,
        });
        self.say(notes);
        let progress = match journaled {
            // The journal names the marker that vouched for it when it went out. The one that is
            // filed is written down before that, or a restart would leave it for the next version.
            Ok(()) if marker.map(|marker| marker.stamp) != sent_marker => Progress::Unwritten,
            Ok(()) => Progress::Written,
            Err(why) => {
                self.journal_down(why, now);
                Progress::Unwritten
            }
        };
        if self.policy.action == Action::Keep && progress == Progress::Written {
            // The journal has it, and it stays: nothing is left to be filed.
            self.drop_file(file);
            self.rest(&path, look.stamp, marker.map(|marker| marker.stamp));
            return;
        }
        let acceptance = Acceptance {
            key: self.key_of(&path, look.stamp),
            status: answer.status,
        };
        let receipt = self.receipt(answer, &acceptance.key, now);
        self.file_away_with(file, Fate::Accepted(acceptance), receipt, (progress, now));
    }

    /// What is written beside a file that was accepted under `key`, where answers are kept.
    fn receipt(&self, answer: &Answer, key: &str, now: Now) -> Option<Receipt> {
        let kept = answer.kept.as_ref()?;
        (self.policy.action == Action::Move).then(|| Receipt {
            status: answer.status,
            at: now.wall,
            key: key.into(),
            answer: Arc::clone(kept),
        })
    }

    fn rejected(&mut self, file: FileNo, answer: &Answer, now: Now) {
        self.known.learned(now.mono);
        let (endpoint, scene) = self.report(now.mono);
        let Rejected { condemns, notes } = endpoint.rejected(file, answer, scene);
        self.say(notes);
        let why = account(answer).text;
        if condemns {
            self.condemn(file, why, Some(answer), now);
        } else {
            self.note_failure(file, Then::Again, &why, now);
            self.try_again(file, now);
        }
    }

    /// No acceptance and no rejection: it will be tried again.
    fn failed(&mut self, file: FileNo, verdict: Verdict, reply: &Reply, now: Now) {
        let (why, answer) = match reply {
            Reply::Answer(answer) => (account(answer), Some(answer)),
            Reply::Failed(failure) => (Account::from(failure.detail.clone()), None),
        };
        let wait = answer
            .and_then(|answer| answer.retry_after.as_deref())
            .and_then(|field| retry_after(field, now.wall));
        self.known.learned(now.mono);
        let clock = self.endpoint.gate().open_clock(now.mono);
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let first = *active.learned.first_failure.get_or_insert(clock);
        let failure = Failure {
            file,
            verdict,
            own_fault: active.learned.own_fault,
            wait,
        };
        let (endpoint, scene) = self.report(now.mono);
        let (waits, notes) = endpoint.failed(failure, &why, scene);
        self.say(notes);
        let limit = self.policy.give_up_after;
        if let Some(limit) = limit.filter(|&limit| clock.since(first) >= limit) {
            let limit = humantime::format_duration(limit);
            let why = why.text;
            let why = format!("not accepted within retry.give_up_after ({limit}): {why}");
            self.condemn(file, why, answer, now);
            return;
        }
        self.note_failure(file, Then::Again, &why.text, now);
        match waits {
            Waits::Alone => self.pause(file, why, wait, now),
            Waits::AtGate => self.try_again(file, now),
        }
    }

    /// `file` waits for the endpoint, unless something was seen of it meanwhile that comes first.
    fn try_again(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get(file) else {
            return;
        };
        if self.is_ready(active, now) {
            self.files.enqueue(file, Queue::Again);
        } else {
            self.advance(file, now);
        }
    }

    /// Whether it may be sent as it is, as far as is known.
    fn is_ready(&self, active: &ActiveFile, now: Now) -> bool {
        let is_due = now.mono >= active.still.due(self.settle_time(&active.still.look));
        let is_checked = !self.policy.inspects || active.checked != Checked::No;
        is_due && is_checked && self.is_wanted(&active.path) && self.is_vouched_for(active)
    }

    /// Lets `file` wait by its own clock.
    fn pause(&mut self, file: FileNo, why: Account, wait: Option<Duration>, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let learned = &mut active.learned;
        let backoff = self.policy.backoff;
        let drawn = backoff.draw(learned.own_failures, &mut self.rng);
        let pause = drawn.max(wait.unwrap_or_default());
        let until = now.mono + pause;
        learned.own_failures = learned.own_failures.saturating_add(1);
        learned.not_before = Some(until);
        active.why = Some(why.text.as_str().into());
        let is_said = learned.failing.raise(&why.cause, now.mono).is_some();
        let (path, attempts) = (active.path.clone(), learned.attempts);
        self.files.put(file, Seat::Pausing(until));
        let trouble = Trouble {
            kind: Kind::Deliver,
            cause: &why.cause,
            is_new: self.begin_trouble(file, Kind::Deliver, now),
            is_known: !is_said,
        };
        if let Some(extent) = self.troubles.raise(trouble, now.mono) {
            self.note(Note::Failing {
                path,
                why: why.text,
                extent,
                attempts,
                again_in: pause,
            });
        }
    }

    // ---- the journal ----------------------------------------------------------------

    /// A line was written for something that was begun when so many had failed.
    pub(super) fn journal_back(&mut self, failures: u64, now: Now) {
        let note = self.health.written(failures, now.mono);
        self.say(note);
    }

    /// A line could not be written.
    pub(super) fn journal_down(&mut self, why: String, now: Now) {
        let note = self.health.failed(why, now.mono);
        self.say(note);
    }
}
