//! What the engine shows of itself: see [`crate::flow::status`].

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use super::Engine;
use super::files::{ActiveFile, At};
use super::phase::Phase;
use crate::flow::alarm::Alarm;
use crate::flow::file::{FileNo, Rel};
use crate::flow::scan::tree::Restless;
use crate::flow::status::{
    Closed, Delivered, Doing, Endpoint, FAILING, Failing, Fault, Files, LastScan, Oldest, Part,
    Pulse, Scan, Sending, State, Sum, Then, Work,
};
use crate::flow::time::{Mono, Now};
use crate::flow::troubles::{Group, Kind};

/// A fault of the whole, if there is one.
fn whole(what: Part, alarm: &Alarm, now: Now) -> Option<Fault> {
    Some(Fault {
        what,
        path: None,
        count: 1,
        why: alarm.why().unwrap_or_default().into(),
        since: now.wall_of(alarm.since()?),
    })
}

/// A fault that several files or folders have. What the endpoint does not take of single files is in
/// [`Work::failing`].
fn of_group(group: Group<'_>, path: Option<&Rel>, now: Now) -> Option<Fault> {
    let what = match group.kind {
        Kind::Deliver => return None,
        Kind::Check | Kind::Read | Kind::Send => Part::File,
        Kind::Done | Kind::DeadLetter => Part::Filing,
        Kind::Settle => Part::Restless,
        Kind::List | Kind::Look => Part::Folder,
    };
    Some(Fault {
        what,
        path: path.cloned(),
        count: group.files,
        why: group.cause.into(),
        since: now.wall_of(group.since),
    })
}

impl Engine {
    /// Changes whenever something has happened that people look for in a status; that a scan has come
    /// by is no such thing. It costs the same however many files there are.
    pub fn pulse(&self) -> Pulse {
        let mut hasher = DefaultHasher::new();
        let tree = self.tree.count();
        let gate = self.endpoint.gate();
        let counters = &self.out.counters;
        (
            tree.at_rest,
            tree.waiting,
            tree.idle,
            self.out.tally,
            counters.attempts,
        )
            .hash(&mut hasher);
        for at in At::ALL {
            self.files.count(at).hash(&mut hasher);
        }
        let faults = [self.scans.share(), self.scans.hang(), self.health.down()];
        for alarm in faults {
            (alarm.since(), alarm.why()).hash(&mut hasher);
        }
        let (since, next) = (gate.closed_since(), gate.next_probe());
        (since, next, self.endpoint.why_closed()).hash(&mut hasher);
        for group in self.troubles.groups() {
            (group.kind, group.files).hash(&mut hasher);
        }
        for (group, _) in self.scans.troubles() {
            (group.kind, group.files).hash(&mut hasher);
        }
        self.phase.until().hash(&mut hasher);
        (self.scans.completed() == 0).hash(&mut hasher);
        Pulse(hasher.finish())
    }

    /// What it is doing. It goes through all files that wait or are in hand.
    pub fn work(&self, now: Now) -> Work {
        let counters = self.out.counters.clone();
        Work {
            state: match self.phase {
                Phase::Working | Phase::Closing => State::Working,
                Phase::Stopping { .. } => State::Stopping,
                Phase::Finished => State::Ended,
            },
            standby: None,
            files: self.count_files(now.mono),
            oldest: self.oldest(now),
            sending: self.sending(now),
            failing: self.failing(now),
            failures: counters.failures,
            delivered: Delivered {
                since_start: Sum {
                    files: self.out.tally.delivered,
                    bytes: self.out.tally.delivered_bytes,
                },
                history: counters.history,
                last: counters.last,
                delays: counters.delays,
            },
            dead_lettered: counters.dead_lettered,
            attempts: counters.attempts,
            endpoint: self.endpoint_shown(now),
            scan: Scan {
                last: self.scans.last().map(|last| LastScan {
                    ended: now.wall_of(last.ended),
                    took_ms: u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX),
                    folders_looked_at: last.looked_at,
                }),
                running_since: self.scans.running_since().map(|since| now.wall_of(since)),
                completed: self.scans.completed(),
            },
            faults: self.faults(now),
        }
    }

    /// Keeps what is shown of the last day.
    pub(super) fn observe(&mut self, now: Now) {
        self.out.counters.history.waits(now.wall, self.waiting());
    }

    /// Something failed with `file`.
    pub(super) fn note_failure(&mut self, file: FileNo, then: Then, why: &str, now: Now) {
        if let Some(active) = self.files.get(file) {
            let failures = &mut self.out.counters.failures;
            failures.add(now.wall, &active.path, then, why);
        }
    }

    /// A file has gone to dead-letter, by this status of the endpoint if by any.
    pub(super) fn count_condemned(&mut self, status: Option<u16>) {
        self.out.tally.condemned += 1;
        let cause = status.map_or("check".into(), |status| status.to_string());
        *self.out.counters.dead_lettered.entry(cause).or_default() += 1;
    }

    fn count_files(&self, now: Mono) -> Files {
        let count = |at| self.files.count(at);
        let tree = self.tree.count();
        let (settling, _) = self.tree.tally(now);
        let ahead = self.ahead.waiting();
        Files {
            settling: count(At::Settling) + settling,
            waiting_for_writer: count(At::Waiting) + tree.idle,
            ready: count(At::ToInspect) + count(At::Ready) + ahead + tree.waiting - settling,
            failing: count(At::Pausing),
            checking: count(At::Inspecting),
            sending: self.begun(),
            filing: count(At::Filing),
            unfiled: count(At::RetryFiling),
            at_rest: tree.at_rest,
        }
    }

    /// The file that has been waiting to be accepted for the longest.
    fn oldest(&self, now: Now) -> Option<Oldest> {
        let is_waiting = |active: &ActiveFile| {
            !matches!(active.at(), At::Waiting | At::Filing | At::RetryFiling)
        };
        let in_hand = self
            .files
            .iter()
            .filter(|(_, active)| is_waiting(active))
            .map(|(_, active)| (active.learned.first_seen, &active.path))
            .min();
        let in_folders = self.tree.longest_waiting();
        let in_folders = in_folders.map(|(path, since)| (now.wall_of(since), path));
        let in_hand = in_hand.map(|(since, path)| (since, path.clone()));
        let (since, path) = in_hand.into_iter().chain(in_folders).min()?;
        // The clock may have been set back since then.
        let since = since.min(now.wall);
        Some(Oldest { path, since })
    }

    fn sending(&self, now: Now) -> Vec<Sending> {
        let is_out = |active: &ActiveFile| active.at() == At::Sending;
        let mut out: Vec<_> = self
            .files
            .iter()
            .filter(|(_, active)| is_out(active))
            .collect();
        // Workers begin in the order in which the files were handed out.
        if self.ahead.waiting() > 0 {
            out.sort_by_key(|(_, active)| active.sent_at);
            out.truncate(self.begun());
        }
        out.into_iter()
            .map(|(_, active)| Sending {
                path: active.path.clone(),
                size: active.still.look.stamp.size,
                since: now.wall_of(active.sent_at),
                attempt: active.learned.attempts + 1,
            })
            .collect()
    }

    fn failing(&self, now: Now) -> Vec<Failing> {
        let failing = self.files.iter().filter_map(|(_, active)| {
            let until = active.paused_until()?;
            let learned = &active.learned;
            let doing = match active.trouble {
                None if learned.unfinished.is_some() => Doing::Check,
                Some(Kind::Check | Kind::Read | Kind::Send) => Doing::Read,
                _ => Doing::Deliver,
            };
            // What an earlier process has learned is remembered by its cause alone.
            let known = learned.failing.why().unwrap_or_default();
            let why = active.why.as_deref().unwrap_or(known);
            Some(Failing {
                path: active.path.clone(),
                size: active.still.look.stamp.size,
                mtime: active.still.look.stamp.mtime,
                doing,
                why: why.into(),
                attempts: learned.attempts,
                next_try: now.wall_of(until),
            })
        });
        failing.take(FAILING).collect()
    }

    fn endpoint_shown(&self, now: Now) -> Endpoint {
        let gate = self.endpoint.gate();
        let brake = self.endpoint.brake();
        Endpoint {
            closed: gate.closed_since().map(|since| Closed {
                since: now.wall_of(since),
                why: self.endpoint.why_closed().unwrap_or_default().into(),
                next_try: gate.next_probe().map(|next| now.wall_of(next)),
            }),
            brake_holds: brake.holds(),
            rejected_in_a_row: brake.count(),
            command_brake_holds: self.checker.holds(),
        }
    }

    fn faults(&self, now: Now) -> Vec<Fault> {
        let whole = [
            whole(Part::Share, self.scans.share(), now),
            whole(Part::Scan, self.scans.hang(), now),
            whole(Part::Journal, self.health.down(), now),
        ];
        let folders = self.scans.troubles();
        let folders = folders.map(|(group, path)| of_group(group, path, now));
        let files = self.troubles.groups().map(|group| {
            let has_it = |active: &ActiveFile| match group.kind {
                Kind::Settle => active.changing.is_some_and(|it| it.is_restless),
                kind => active.trouble == Some(kind),
            };
            let first = self.files.iter().find(|(_, active)| has_it(active));
            of_group(group, first.map(|(_, active)| &active.path), now)
        });
        let mut faults: Vec<Fault> = whole
            .into_iter()
            .chain(folders)
            .chain(files)
            .flatten()
            .collect();
        self.add_restless(&mut faults, now);
        faults
    }

    /// Adds the files that never come to rest and wait in their folders, without a record.
    fn add_restless(&self, faults: &mut Vec<Fault>, now: Now) {
        let Some(Restless {
            files,
            first,
            since,
        }) = self.tree.restless(now.mono)
        else {
            return;
        };
        let since = now.wall_of(since);
        let mut known = faults.iter_mut();
        if let Some(fault) = known.find(|fault| fault.what == Part::Restless) {
            fault.count += files;
            fault.since = fault.since.min(since);
        } else {
            faults.push(Fault {
                what: Part::Restless,
                path: Some(first),
                count: files,
                why: String::new(),
                since,
            });
        }
    }
}
