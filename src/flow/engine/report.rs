//! What the engine shows of itself: see [`crate::flow::status`].

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use super::Engine;
use super::files::{ActiveFile, At};
use super::phase::Phase;
use crate::flow::alarm::Alarm;
use crate::flow::file::Rel;
use crate::flow::status::{
    Closed, Delivered, Doing, Endpoint, FAILING, Failing, Fault, Files, LastScan, Oldest, Part,
    Pulse, Scan, Sending, State, Sum, Work,
};
use crate::flow::time::{Mono, Now};

/// A fault of one kind: the first of them, and how many there are.
#[derive(Debug)]
struct Kind {
    what: Part,
    count: usize,
    first: Option<(Mono, Option<Rel>, String)>,
}

impl Kind {
    fn new(what: Part) -> Kind {
        Kind {
            what,
            count: 0,
            first: None,
        }
    }

    /// One more, if it is raised.
    fn add(&mut self, alarm: &Alarm, path: Option<&Rel>) {
        let Some(since) = alarm.since() else { return };
        self.count += 1;
        if self.first.as_ref().is_none_or(|(first, ..)| since < *first) {
            let why = alarm.why().unwrap_or_default().into();
            self.first = Some((since, path.cloned(), why));
        }
    }

    fn fault(self, now: Now) -> Option<Fault> {
        let (since, path, why) = self.first?;
        Some(Fault {
            what: self.what,
            path,
            count: self.count,
            why,
            since: now.wall_of(since),
        })
    }
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
        (since, next, self.endpoint.why()).hash(&mut hasher);
        (self.scans.folders().count(), self.phase.until()).hash(&mut hasher);
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
            files: self.count_files(now.mono),
            oldest: self.oldest(now),
            sending: self.sending(now),
            failing: self.failing(now),
            delivered: Delivered {
                since_start: Sum {
                    files: self.out.tally.delivered,
                    bytes: self.out.tally.delivered_bytes,
                },
                history: counters.history,
                last: counters.last,
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
        Files {
            settling: count(At::Settling) + settling,
            waiting_for_writer: count(At::Waiting) + tree.idle,
            ready: count(At::ToInspect) + count(At::Ready) + tree.waiting - settling,
            failing: count(At::Pausing),
            checking: count(At::Inspecting),
            sending: count(At::Sending),
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
        self.files
            .iter()
            .filter(|(_, active)| is_out(active))
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
            let (doing, why) = if let Some(why) = &active.unfinished_why {
                (Doing::Check, &**why)
            } else if let Some(why) = active.trouble.why() {
                (Doing::Read, why)
            } else {
                (Doing::Deliver, learned.failing.why().unwrap_or_default())
            };
            Some(Failing {
                path: active.path.clone(),
                stamp: active.still.look.stamp,
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
        let learned = self.endpoint.learned(now.mono);
        Endpoint {
            closed: gate.closed_since().map(|since| Closed {
                since: now.wall_of(since),
                why: learned.why,
                next_try: gate.next_probe().map(|next| now.wall_of(next)),
            }),
            brake_holds: learned.brake_holds,
            rejected_in_a_row: learned.brake,
            command_brake_holds: self.checker.holds(),
        }
    }

    fn faults(&self, now: Now) -> Vec<Fault> {
        let mut share = Kind::new(Part::Share);
        share.add(self.scans.share(), None);
        let mut scan = Kind::new(Part::Scan);
        scan.add(self.scans.hang(), None);
        let mut journal = Kind::new(Part::Journal);
        journal.add(self.health.down(), None);
        let mut folder = Kind::new(Part::Folder);
        for (path, alarm) in self.scans.folders() {
            folder.add(alarm, Some(path));
        }
        let (mut file, mut filing) = (Kind::new(Part::File), Kind::new(Part::Filing));
        for (_, active) in self.files.iter() {
            let kind = if active.filing.is_some() {
                &mut filing
            } else {
                &mut file
            };
            kind.add(&active.trouble, Some(&active.path));
        }
        let kinds = [share, scan, journal, folder, file, filing];
        let faults = kinds.into_iter().filter_map(|kind| kind.fault(now));
        faults.collect()
    }
}
