//! What the engine makes of the jobs that come back.

use std::time::Duration;

use super::files::{Queue, State};
use super::{Alarm, Engine};
use crate::config::Action;
use crate::flow::endpoint::brake::Rejection;
use crate::flow::endpoint::classify::{Verdict, retry_after};
use crate::flow::endpoint::gate::Change;
use crate::flow::endpoint::reply::{Answer, Reply};
use crate::flow::events::Note;
use crate::flow::file::{Difference, FileNo, Look};
use crate::flow::journal::Acceptance;
use crate::flow::messages::{Delivered, Destination, Effect, Filed, Filing, Inspected, Miss};
use crate::flow::settle::Stability;
use crate::flow::time::Now;

impl Engine {
    // ---- check ----------------------------------------------------------------------

    pub(super) fn on_inspected(&mut self, file: FileNo, inspected: Inspected, now: Now) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        if motion.state != State::Inspecting {
            return;
        }
        match inspected {
            Inspected::Good { sha256 } => {
                motion.checked = Some(sha256);
                motion.unfinished = None;
                self.over(file);
                if self.command_brake.accepted() {
                    self.note(Note::BrakeReleased {
                        by: "check.command",
                    });
                }
                self.motions.put(file, State::Ready);
                self.advance(file, now);
            }
            Inspected::Unfinished(why) => self.unfinished(file, why, now),
            Inspected::Bad(why) => self.condemn(file, why, None, now),
            Inspected::CommandRejects(why) => match self.command_brake.rejected(file) {
                Rejection::Condemn => self.condemn(file, why, None, now),
                Rejection::CondemnAndBrake => {
                    let note = Note::BrakeHolds {
                        files: self.policy.brake,
                        by: "check.command",
                        why: why.clone(),
                    };
                    self.note(note);
                    self.condemn(file, why, None, now);
                }
                Rejection::Spare => self.trouble(file, "check", why, now),
            },
            Inspected::Undecided(why) => self.trouble(file, "check", why, now),
            Inspected::Changed(look) => self.changed(file, look, now),
            Inspected::Missing(miss) => self.missing(file, miss, now),
        }
    }

    /// A check says that `file` may only be unfinished: it is looked at once more when the
    /// grace is over, and sooner if it changes.
    pub(super) fn unfinished(&mut self, file: FileNo, why: String, now: Now) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        let first = motion.unfinished.is_none();
        let since = *motion.unfinished.get_or_insert(now.mono);
        let due = since + self.policy.grace;
        let path = motion.path.clone();
        if now.mono >= due {
            self.condemn(file, why, None, now);
            return;
        }
        if first {
            self.learned(now);
            self.note(Note::Unfinished {
                path,
                why,
                again_in: self.policy.grace,
            });
        }
        self.motions.put_until(file, State::Pausing, due);
    }

    // ---- deliver --------------------------------------------------------------------

    pub(super) fn on_delivered(&mut self, file: FileNo, delivered: Delivered, now: Now) {
        if self
            .motions
            .get(file)
            .is_none_or(|motion| motion.state != State::Sending)
        {
            return;
        }
        match delivered {
            Delivered::Replied {
                verdict,
                reply,
                took,
                journaled,
                sha256,
                look,
            } => {
                let motion = self.motions.get_mut(file).expect("it was just there");
                motion.attempts += 1;
                // What the worker knows by now of the version that it was given.
                if motion.still.look.compare(&look) != Difference::Change {
                    motion.still.look = look;
                    motion.checked = sha256.map(Some).or(motion.checked);
                }
                self.over(file);
                match (verdict, reply) {
                    (Verdict::Accepted, Reply::Answer(answer)) => {
                        self.accepted(file, &answer, took, journaled, now)
                    }
                    (Verdict::Rejected, Reply::Answer(answer)) => self.rejected(file, &answer, now),
                    (verdict, reply) => self.failed(file, verdict, &reply, now),
                }
            }
            Delivered::Changed(look) => {
                self.gate.untried(file);
                self.changed(file, look, now);
            }
            Delivered::Missing(miss) => {
                self.gate.untried(file);
                self.missing(file, miss, now);
            }
            Delivered::NotSent(why) => {
                self.gate.probe_failed(file, now.mono, &mut self.rng);
                if self.gate.suspect_endpoint(now.mono, &mut self.rng) == Change::Closed {
                    self.gate_closed(why, now);
                } else {
                    self.gate_still_closed(why, now);
                }
                self.motions
                    .enqueue(file, Queue::Again, self.policy.in_order);
            }
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
        if self.brake.count() > 0
            || self
                .motions
                .get(file)
                .is_some_and(|motion| motion.attempts > 1)
        {
            self.learned(now);
        }
        let (own, closed_for) = self.gate.accepted(file, now.mono);
        for other in own {
            if let Some(motion) = self.motions.get_mut(other) {
                motion.own = true;
            }
        }
        if self.brake.accepted() {
            self.note(Note::BrakeReleased { by: "the endpoint" });
        }
        let motion = self.motions.get(file).expect("it was just there");
        let (path, look) = (motion.path.clone(), motion.still.look);
        let marker = motion.marker.filter(|_| self.policy.marker);
        self.tally.delivered += 1;
        self.tally.delivered_bytes += look.stamp.size;
        let attempts = motion.attempts;
        let note = Note::Delivered {
            path: path.clone(),
            size: look.stamp.size,
            status: answer.status,
            took,
            attempts,
        };
        self.note(note);
        if let Some(since) = closed_for {
            self.learned(now);
            self.gate_trouble = None;
            let waiting = self.motions.count(State::Ready);
            self.note(Note::GateOpened { since, waiting });
        }
        let unwritten = journaled.err().map(|why| {
            self.journal_down(why, now);
            let key = self.key_of(&path, look.stamp);
            Acceptance {
                key,
                status: answer.status,
                marker: marker.map(|marker| marker.stamp),
            }
        });
        if self.policy.action == Action::Keep && unwritten.is_none() {
            // The journal has it, and it stays: nothing is left to be filed.
            self.drop_file(file);
            self.rest(&path, look.stamp, marker.map(|marker| marker.stamp));
            return;
        }
        let to = self.destination();
        self.file_away(
            file,
            Filing {
                file,
                path,
                look,
                to,
                marker,
                unwritten,
                resumed: None,
            },
            now,
        );
    }

    fn rejected(&mut self, file: FileNo, answer: &Answer, now: Now) {
        self.learned(now);
        let why = format!("the endpoint answered {}", answer.status);
        self.gate.probe_failed(file, now.mono, &mut self.rng);
        match self.brake.rejected(file) {
            Rejection::Condemn => self.condemn(file, why, Some(answer), now),
            Rejection::CondemnAndBrake => {
                self.note(Note::BrakeHolds {
                    files: self.policy.brake,
                    by: "the endpoint",
                    why: why.clone(),
                });
                self.condemn(file, why.clone(), Some(answer), now);
                if self.gate.suspect_endpoint(now.mono, &mut self.rng) == Change::Closed {
                    self.gate_closed(
                        format!("it rejects everything, the last with {}", answer.status),
                        now,
                    );
                }
            }
            Rejection::Spare => {
                self.gate.suspect_endpoint(now.mono, &mut self.rng);
                self.gate_still_closed(why, now);
                self.motions
                    .enqueue(file, Queue::Again, self.policy.in_order);
            }
        }
    }

    /// No acceptance and no rejection: it will be tried again.
    fn failed(&mut self, file: FileNo, verdict: Verdict, reply: &Reply, now: Now) {
        let (why, wait) = match reply {
            Reply::Answer(answer) => (
                sentence(answer),
                answer
                    .retry_after
                    .as_deref()
                    .and_then(|field| retry_after(field, now.wall)),
            ),
            Reply::Failed(failure) => (failure.detail.clone(), None),
        };
        self.learned(now);
        let clock = self.gate.open_clock(now.mono).as_millis();
        let motion = self.motions.get_mut(file).expect("it was just there");
        let own = motion.own;
        let first = *motion.first_failure.get_or_insert(clock);
        let change = self
            .gate
            .failed(file, verdict, own, wait, now.mono, &mut self.rng);
        if change == Change::Closed {
            self.gate_closed(why.clone(), now);
        }
        if self
            .policy
            .give_up_after
            .is_some_and(|limit| clock - first.min(clock) >= limit.as_millis())
        {
            let answer = if let Reply::Answer(answer) = reply {
                Some(answer)
            } else {
                None
            };
            let limit = humantime::format_duration(self.policy.give_up_after.unwrap_or_default());
            self.condemn(
                file,
                format!("not accepted within retry.give_up_after ({limit}): {why}"),
                answer,
                now,
            );
            return;
        }
        if own || self.gate.is_open() {
            self.pause(file, why, wait, now);
        } else {
            if change != Change::Closed {
                self.gate_still_closed(why, now);
            }
            self.motions
                .enqueue(file, Queue::Again, self.policy.in_order);
        }
    }

    /// Lets `file` wait by its own clock.
    fn pause(&mut self, file: FileNo, why: String, wait: Option<Duration>, now: Now) {
        let motion = self.motions.get_mut(file).expect("it was just there");
        let drawn = self.policy.backoff.draw(motion.own_failures, &mut self.rng);
        motion.own_failures = motion.own_failures.saturating_add(1);
        let (attempts, path) = (motion.attempts, motion.path.clone());
        let pause = drawn.max(wait.unwrap_or_default());
        // Each power of two: at growing intervals.
        if motion.own_failures.is_power_of_two() {
            self.note(Note::Failing {
                path,
                why,
                attempts,
                again_in: Some(pause),
            });
        }
        let until = now.mono + pause;
        self.motions
            .get_mut(file)
            .expect("it was just there")
            .not_before = Some(until);
        self.motions.put_until(file, State::Pausing, until);
    }

    fn gate_closed(&mut self, why: String, now: Now) {
        self.gate_trouble = Some((Alarm::new(now.mono), why.clone()));
        let again_in = self
            .gate
            .next_probe()
            .map_or(Duration::ZERO, |next| next.since(now.mono));
        let waiting = self.motions.count(State::Ready) + self.motions.count(State::Sending);
        self.note(Note::GateClosed {
            why,
            waiting,
            again_in,
        });
    }

    /// A probe failed: said again when it fails with something else, and at growing intervals.
    fn gate_still_closed(&mut self, why: String, now: Now) {
        let Some((trouble, said)) = &mut self.gate_trouble else {
            self.gate_closed(why, now);
            return;
        };
        if *said != why || trouble.remind(now.mono) {
            said.clone_from(&why);
            let since = now.mono.since(trouble.since);
            let waiting = self.motions.count(State::Ready) + self.motions.count(State::Sending);
            self.note(Note::GateStillClosed {
                why,
                waiting,
                since,
            });
        }
    }

    // ---- both -----------------------------------------------------------------------

    /// `file` is not what it was taken for: it settles again.
    fn changed(&mut self, file: FileNo, look: Option<Look>, now: Now) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        let mut still = Stability::new(look.unwrap_or(motion.still.look), now, &self.steps);
        if look.is_none_or(|look| look == motion.still.look) {
            // How it changed is not to be seen, so its stillness starts now.
            still.since = now.mono;
        }
        motion.still = still;
        motion.forget_version(now.wall);
        let path = motion.path.clone();
        self.gate.forget(file);
        self.release_line(file);
        self.note(Note::Changed { path });
        self.motions.put(file, State::Settling);
        self.advance(file, now);
    }

    fn missing(&mut self, file: FileNo, miss: Miss, now: Now) {
        match miss {
            Miss::Gone => {
                if let Some(motion) = self.drop_file(file) {
                    self.tree.forget(&motion.path);
                }
            }
            Miss::Unreadable(why) => self.trouble(file, "read", why, now),
        }
    }

    /// Something here, not at the endpoint, stands in the way of `file`.
    fn trouble(&mut self, file: FileNo, doing: &'static str, why: String, now: Now) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        motion.troubles = motion.troubles.saturating_add(1);
        let (count, path) = (motion.troubles, motion.path.clone());
        let state = if motion.filing.is_some() {
            State::Filing
        } else {
            State::Pausing
        };
        let pause = self.policy.backoff.draw(count - 1, &mut self.rng);
        if count.is_power_of_two() {
            self.note(Note::FileTrouble {
                path,
                doing,
                why,
                again_in: pause,
            });
        }
        self.release_line(file);
        self.motions.put_until(file, state, now.mono + pause);
    }

    fn over(&mut self, file: FileNo) {
        let Some(motion) = self.motions.get_mut(file) else {
            return;
        };
        if std::mem::take(&mut motion.troubles) > 0 {
            let path = motion.path.clone();
            self.note(Note::FileTroubleOver { path });
        }
    }

    // ---- file away ------------------------------------------------------------------

    pub(super) fn on_filed(&mut self, file: FileNo, filed: Filed, now: Now) {
        let Some(motion) = self.motions.get(file) else {
            return;
        };
        let Some(filing) = motion.filing.clone() else {
            return;
        };
        let path = motion.path.clone();
        // A failure says something of the journal only where a line was to be written first.
        let written = match filed {
            Filed::Unwritten(_) => false,
            Filed::Failed { .. } => filing.unwritten.is_some(),
            _ => true,
        };
        if written && !self.low {
            self.journal_back(now);
        }
        match filed {
            Filed::Away { to } => {
                self.over(file);
                self.filed_away(file, &filing, to);
            }
            Filed::Copied { to } => {
                self.over(file);
                self.copied_away(file, &filing, to);
            }
            Filed::PutBack(look) => {
                let motion = self.motions.get_mut(file).expect("it was just there");
                motion.used_marker = filing.marker.map(|marker| marker.stamp);
                motion.still = Stability::new(look, now, &self.steps);
                motion.forget_version(now.wall);
                self.note(Note::NewVersion {
                    path,
                    displaced: None,
                });
                self.motions.put(file, State::Settling);
                self.advance(file, now);
            }
            Filed::Displaced { to } => {
                self.note(Note::NewVersion {
                    path,
                    displaced: Some(to),
                });
                self.leave(file);
            }
            Filed::Gone => {
                self.note(Note::Filed { path, to: None });
                self.leave(file);
            }
            Filed::Failed { why, moved } => {
                if let Some(motion) = self.motions.get_mut(file)
                    && let Some(filing) = &mut motion.filing
                {
                    // The journal has the acceptance, or the condemnation, by now.
                    filing.unwritten = None;
                    filing.resumed = Some(moved.or(filing.resumed.take()).unwrap_or_default());
                }
                self.trouble(file, "file", why, now);
            }
            Filed::Unwritten(why) => {
                self.journal_down(why, now);
                self.motions
                    .put_until(file, State::Filing, now.mono + Duration::from_secs(1));
            }
        }
    }

    fn filed_away(&mut self, file: FileNo, filing: &Filing, to: Option<String>) {
        let path = filing.path.clone();
        match (&filing.to, to) {
            (Destination::Keep, _) => {
                self.drop_file(file);
                self.rest(
                    &path,
                    filing.look.stamp,
                    filing.marker.map(|marker| marker.stamp),
                );
                return;
            }
            (Destination::DeadLetter(reason), to) => {
                self.tally.condemned += 1;
                let to = to.unwrap_or_default();
                self.note(Note::Condemned {
                    path,
                    reason: reason.reason.clone(),
                    to,
                });
            }
            (_, to) => self.note(Note::Filed { path, to }),
        }
        self.leave(file);
    }

    /// `file` cannot be moved away: dead-letter has a copy, and it is known from now on.
    fn copied_away(&mut self, file: FileNo, filing: &Filing, to: String) {
        let Destination::DeadLetter(reason) = &filing.to else {
            return;
        };
        let (path, stamp) = (filing.path.clone(), filing.look.stamp);
        self.tally.condemned += 1;
        self.note(Note::Condemned {
            path: path.clone(),
            reason: reason.reason.clone(),
            to,
        });
        self.drop_file(file);
        self.rest(&path, stamp, filing.marker.map(|marker| marker.stamp));
        self.copied.insert(path, (stamp, reason.key.clone()));
    }

    /// `file` is not at its place any more.
    fn leave(&mut self, file: FileNo) {
        if let Some(motion) = self.drop_file(file) {
            self.tree
                .set_left(&motion.path, self.scan.running.map(|_| self.scan.number));
        }
    }

    pub(super) fn on_room(&mut self, room: Result<(), String>, now: Now) {
        self.low = room.is_err();
        match room {
            Ok(()) => self.journal_back(now),
            Err(why) => self.journal_down(why, now),
        }
    }

    fn journal_back(&mut self, now: Now) {
        if let Some(trouble) = self.journal_trouble.take() {
            self.note(Note::JournalBack {
                since: now.mono.since(trouble.since),
            });
        }
    }

    pub(super) fn journal_down(&mut self, why: String, now: Now) {
        if self.journal_trouble.is_none() {
            self.journal_trouble = Some(Alarm::new(now.mono));
            self.effects.push(Effect::Note(Note::JournalDown { why }));
        }
    }
}

/// What an answer that was no acceptance says, in a few words.
fn sentence(answer: &Answer) -> String {
    let mut text = match answer.status {
        // RFC 9110, 15.5.8: only a proxy says that.
        407 => "the proxy wants credentials (407): write them into its URL, in send.proxy or the environment".into(),
        status => format!("the endpoint answered {status}"),
    };
    if let Some(location) = &answer.location {
        text += &format!(", a redirect to {location}, which is never followed");
    }
    if answer.early {
        text += " before it had the whole file";
    } else if !answer.body_matches {
        text += ", but not with what send.accept_body asks for";
    }
    text
}
