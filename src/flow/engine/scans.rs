//! When the folder is scanned, and what the scans show of the share itself.
//!
//! A look at the lock alone ([`Order::Confirm`]) counts as a scan that lists nothing.
//!
//! Invariants ([`Scans::check`]):
//! - No more than one scan is under way.
//! - While the share is away, or the lock is in doubt, nothing is written to the share.
//! - A doubt about the lock is dispelled only by a scan that began after it arose.
//! - A share that was away is back only when everything is opened again, by another engine.
//! - Scans take no more than `watch.max_share` of the time. Time in which a scan hung does not
//!   count, nor does most of one that took far longer than the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::alarm::{Alarm, Said};
use crate::flow::clock::LOCK_RECHECK_AFTER;
use crate::flow::events::Note;
use crate::flow::file::Rel;
use crate::flow::scan::filter::Ignored;
use crate::flow::time::Mono;
use crate::flow::troubles::{Group, Kind, Trouble, Troubles};

/// A scan that is silent for longer is said to hang.
const HANG_LOGGED_AFTER: Duration = Duration::from_secs(30);
/// A look at the lock that took longer says nothing of it any more: between what the server saw and
/// its answer another process may have got the lock. The answer itself has renewed it (RFC 8881,
/// 8.3), so that a slow share does not stop everything.
const CONFIRMED_WITHIN: Duration = LOCK_RECHECK_AFTER.saturating_mul(2);
/// What a scan may take beyond four times the one before and count in full.
const UNUSUAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Scans {
    pace: Pace,
    /// Counts the scans that were started.
    number: u64,
    running: Option<Running>,
    /// When the next one begins.
    next: Mono,
    /// Somebody wants one that begins after the one under way, at once.
    wanted: bool,
    /// The next one finishes what the one under way has begun: the interval is not waited for.
    goes_on: bool,
    /// How long the last one took, as far as that counts.
    usual: Duration,
    /// How many were complete.
    completed: u64,
    /// What the first one has left alone.
    ignored: Ignored,
    /// How many folders the scan under way has looked at in full.
    looked_at: u64,
    /// The last one that was complete.
    last: Option<Last>,
    /// The scan under way hangs.
    hang: Alarm,
    /// The share is away.
    share: Alarm,
    /// Folders that cannot be listed, or not wholly, with the number of the last scan that met the
    /// fault.
    folders: BTreeMap<Rel, (Kind, u64)>,
    /// When they are mentioned.
    troubles: Troubles,
    /// Another process may hold the lock by now: a scan after this one has to see that it
    /// is still ours.
    doubt: Option<u64>,
}

/// A scan that was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// When it was over.
    pub ended: Mono,
    /// How long it took.
    pub took: Duration,
    /// How many folders it has looked at in full.
    pub looked_at: u64,
}

/// How often the folder is scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From the start of a scan to the start of the next.
    pub interval: Duration,
    /// The part of the time that scans may take, 0 < x <= 1.
    pub max_share: f64,
}

/// What the thread that scans is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To look at everything.
    Scan,
    /// To look whether the lock is still this process's.
    Confirm,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    order: Order,
    since: Mono,
    /// It was silent for so long that its time does not count.
    hung: bool,
    /// When it was last heard of.
    heard: Mono,
    /// It has told that the lock is still this process's.
    confirmed: bool,
}

/// What is wrong with a folder.
#[derive(Clone, Debug)]
pub(super) struct FolderTrouble {
    /// It cannot be listed, or something in it cannot be looked at.
    pub kind: Kind,
    /// The folder, or what is in it.
    pub path: Rel,
    /// The error, as a sentence for a person.
    pub why: String,
}

/// What the end of a scan shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing: none was under way, or the share is away.
    Nothing,
    /// All that is there was listed, but for what could not be.
    Complete {
        /// It is the first one.
        first: bool,
        /// Every folder could be listed.
        whole: bool,
    },
}

impl Scans {
    /// The first scan begins at once.
    pub fn new(pace: Pace, now: Mono) -> Scans {
        Scans {
            pace,
            number: 0,
            running: None,
            next: now,
            wanted: false,
            goes_on: false,
            usual: Duration::ZERO,
            completed: 0,
            ignored: Ignored::default(),
            looked_at: 0,
            last: None,
            hang: Alarm::default(),
            share: Alarm::default(),
            folders: BTreeMap::new(),
            troubles: Troubles::default(),
            doubt: None,
        }
    }

    /// The number of the scan under way, or of the last one.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The number of the scan under way.
    pub fn under_way(&self) -> Option<u64> {
        self.running.map(|_| self.number)
    }

    /// How many were complete.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// A folder was listed in which so much is left alone.
    pub fn count_ignored(&mut self, ignored: Ignored) {
        if self.completed == 0 {
            self.ignored.add(ignored);
        }
    }

    /// What the first scan has left alone.
    pub fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// The last one that was complete.
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// Whether the last one could list every folder, and look at every name.
    pub fn is_whole(&self) -> bool {
        self.folders.is_empty()
    }

    /// Since when the one under way has been under way.
    pub fn running_since(&self) -> Option<Mono> {
        self.running.map(|running| running.since)
    }

    /// What is wrong with the share.
    pub fn share(&self) -> &Alarm {
        &self.share
    }

    /// What is wrong with the scan under way.
    pub fn hang(&self) -> &Alarm {
        &self.hang
    }

    /// What is wrong with folders: each kind of trouble with the first folder that has it.
    pub fn troubles(&self) -> impl Iterator<Item = (Group<'_>, Option<&Rel>)> {
        self.troubles.groups().map(|group| {
            let mut folders = self.folders.iter();
            let first = folders.find(|(_, (kind, _))| *kind == group.kind);
            (group, first.map(|(path, _)| path))
        })
    }

    pub fn is_share_away(&self) -> bool {
        self.share.is_raised()
    }

    /// Whether the lock is certainly still this process's.
    pub fn is_lock_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// Begins the next scan if it is time. While the lock is in doubt that is at once; but a share
    /// that is away says nothing of a lock.
    pub fn begin_if_due(&mut self, now: Mono) -> Option<Order> {
        if self.running.is_some() {
            return None;
        }
        let order = if now >= self.next {
            Order::Scan
        } else if !self.is_lock_sure() && !self.is_share_away() {
            Order::Confirm
        } else {
            return None;
        };
        self.number += 1;
        self.looked_at = 0;
        self.running = Some(Running {
            order,
            since: now,
            hung: false,
            heard: now,
            confirmed: false,
        });
        Some(order)
    }

    /// Goes on with another interval.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The next one begins now, or as soon as the one under way is over.
    pub fn hasten(&mut self, now: Mono) {
        self.next = now;
        self.wanted = self.running.is_some();
    }

    /// The next one finishes what the one under way has begun: it begins as soon as scans may take time
    /// again.
    pub fn go_on(&mut self) {
        self.goes_on = self.running.is_some();
    }

    /// Another process may hold the lock by now.
    pub fn doubt_lock(&mut self) {
        self.doubt = Some(self.number);
    }

    /// The scan under way has found, as it began, that the lock is still this process's.
    pub fn confirmed(&mut self, now: Mono) {
        if let Some(running) = &mut self.running {
            running.confirmed = true;
            if now.since(running.since) < CONFIRMED_WITHIN {
                self.doubt = self.doubt.filter(|&scan| self.number <= scan);
            }
        }
    }

    /// The scan under way goes on. What takes long hangs only while nothing is heard of it.
    pub fn heard(&mut self, now: Mono) -> Option<Note> {
        let running = self.running.as_mut()?;
        let silence = now.since(running.heard);
        running.heard = now;
        running.hung |= silence >= HANG_LOGGED_AFTER;
        self.doubt_after(silence);
        let since = self.hang.clear(now)?;
        Some(Note::ScanBack { since })
    }

    /// The scan under way was silent for so long. As long as it is the look at the lock that is waited
    /// for, that look itself may dispel the doubt.
    fn doubt_after(&mut self, silence: Duration) {
        let Some(running) = self.running else { return };
        if silence < LOCK_RECHECK_AFTER {
            return;
        }
        if running.confirmed {
            self.doubt_lock();
        } else {
            self.doubt.get_or_insert(self.number - 1);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Mono) -> Option<Note> {
        let running = self.running?;
        let since = now.since(running.heard);
        self.doubt_after(since);
        if since < HANG_LOGGED_AFTER {
            return None;
        }
        self.hang.raise_since("", running.heard, now)?;
        Some(Note::ScanHangs { since })
    }

    /// When something is due. `scans`: whether new ones are begun.
    pub fn wake_at(&self, scans: bool) -> Option<Mono> {
        let Some(running) = self.running else {
            return scans.then_some(self.next);
        };
        // What was doubted before is doubted anew when a scan that had seen the lock falls silent.
        let is_doubted = match self.doubt {
            Some(scan) => scan == self.number || !running.confirmed,
            None => false,
        };
        if is_doubted {
            let hang = running.heard + HANG_LOGGED_AFTER;
            Some(self.hang.next().unwrap_or(hang))
        } else {
            Some(running.heard + LOCK_RECHECK_AFTER)
        }
    }

    /// A scan is over.
    pub fn ended(&mut self, result: Result<(), String>, now: Mono) -> (Ended, Option<Note>) {
        let Some(running) = self.running.take() else {
            return (Ended::Nothing, None);
        };
        if let Err(why) = result {
            self.plan_next(running, false, now);
            let note = self.share.raise(&why, now).map(|said| match said {
                Said::Began => Note::ShareAway { why },
                Said::Still { since } => Note::ShareStillAway { why, since },
            });
            return (Ended::Nothing, note);
        }
        if running.order == Order::Confirm {
            return (Ended::Nothing, None);
        }
        self.plan_next(running, true, now);
        // A folder that is gone has no trouble any more.
        let number = self.number;
        let troubles = &mut self.troubles;
        self.folders.retain(|_, (kind, scan)| {
            let stays = *scan == number;
            if !stays {
                let _ = troubles.leave(*kind, now);
            }
            stays
        });
        self.completed += 1;
        self.last = Some(Last {
            ended: now,
            took: now.since(running.since),
            looked_at: self.looked_at,
        });
        let ended = Ended::Complete {
            first: self.completed == 1,
            whole: self.folders.is_empty(),
        };
        (ended, None)
    }

    fn plan_next(&mut self, running: Running, is_complete: bool, now: Mono) {
        let took = now.since(running.since);
        let counted = took.min(self.usual * 4 + UNUSUAL);
        let rest = if is_complete && !running.hung {
            counted.mul_f64((1.0 / self.pace.max_share - 1.0).clamp(0.0, 1e6))
        } else {
            Duration::ZERO
        };
        if is_complete {
            self.usual = counted;
        }
        let interval = match std::mem::take(&mut self.goes_on) {
            true => Duration::ZERO,
            false => self.pace.interval,
        };
        self.next = (running.since + interval).max(now + rest);
        if std::mem::take(&mut self.wanted) {
            self.next = now;
        }
    }

    /// Everything is about to be opened again: no scan is under way any more. Gives how long the
    /// share was away, if it was.
    pub fn close(&mut self, now: Mono) -> Option<Duration> {
        self.running = None;
        self.share.since().map(|since| now.since(since))
    }

    /// Something in `path` could not be listed or looked at (`trouble`), or all could.
    pub fn listed(
        &mut self,
        path: &Rel,
        trouble: Option<FolderTrouble>,
        now: Mono,
    ) -> Option<Note> {
        self.looked_at += 1;
        let Some(FolderTrouble {
            kind,
            path: of,
            why,
        }) = trouble
        else {
            let (kind, _) = self.folders.remove(path)?;
            let extent = self.troubles.leave(kind, now)?;
            let path = path.clone();
            return Some(Note::FolderTroubleOver { path, extent });
        };
        let before = self.folders.insert(path.clone(), (kind, self.number));
        if let Some((other, _)) = before.filter(|(before, _)| *before != kind) {
            let _ = self.troubles.leave(other, now);
        }
        let trouble = Trouble {
            kind,
            cause: &why,
            is_new: before.is_none_or(|(before, _)| before != kind),
            is_known: false,
        };
        let extent = self.troubles.raise(trouble, now)?;
        let path = of;
        Some(match kind {
            Kind::List => Note::FolderTrouble { path, why, extent },
            _ => Note::NameTrouble { path, why, extent },
        })
    }

    /// Sees that the invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&self) {
        assert!(
            self.running.is_some() || !self.hang.is_raised(),
            "no scan hangs when none is under way"
        );
        assert!(
            self.doubt.is_none_or(|scan| scan <= self.number),
            "a doubt is about what has been seen so far"
        );
        assert!(
            self.folders.values().all(|(_, scan)| *scan <= self.number),
            "a fault was met by a scan"
        );
    }
}

#[cfg(test)]
mod tests;
