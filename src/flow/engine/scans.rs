//! When the folder is scanned, and what the scans show of the share itself.
//!
//! Invariants ([`Scans::check`]):
//! - No more than one scan is under way.
//! - While the share is away, or the lock is in doubt, nothing is written to the share.
//! - A doubt about the lock is dispelled only by a scan that began after it arose.
//! - Scans take no more than `watch.max_share` of the time. Time in which a scan hung does not
//!   count, nor does most of one that took far longer than the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::alarm::{Alarm, HANG, Said};
use crate::flow::events::Note;
use crate::flow::file::Rel;
use crate::flow::time::Mono;

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
    /// How long the last one took, as far as that counts.
    usual: Duration,
    /// How many were complete.
    completed: u64,
    /// The scan under way hangs.
    hang: Alarm,
    /// The share is away.
    share: Alarm,
    /// Folders that cannot be listed, with the number of the last scan that met the fault.
    folders: BTreeMap<Rel, (Alarm, u64)>,
    /// Another process may hold the lock by now: a scan after this one has to see that it
    /// is still ours.
    doubt: Option<u64>,
}

/// How often the folder is scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From the start of a scan to the start of the next.
    pub interval: Duration,
    /// The part of the time that scans may take, 0 < x <= 1.
    pub max_share: f64,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    since: Mono,
    /// When it was last heard of.
    heard: Mono,
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
            usual: Duration::ZERO,
            completed: 0,
            hang: Alarm::default(),
            share: Alarm::default(),
            folders: BTreeMap::new(),
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

    pub fn is_share_away(&self) -> bool {
        self.share.is_raised()
    }

    /// Whether the lock is certainly still this process's.
    pub fn is_lock_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// Begins the next scan if it is time. Gives whether it did.
    pub fn begin_if_due(&mut self, now: Mono) -> bool {
        if self.running.is_some() || now < self.next {
            return false;
        }
        self.number += 1;
        self.running = Some(Running {
            since: now,
            heard: now,
        });
        true
    }

    /// The next one begins now, or as soon as the one under way is over.
    pub fn hasten(&mut self, now: Mono) {
        self.next = now;
        self.wanted = self.running.is_some();
    }

    /// Another process may hold the lock by now.
    pub fn doubt_lock(&mut self, now: Mono) {
        self.doubt = Some(self.number);
        self.hasten(now);
    }

    /// The scan under way has found, as it began, that the lock is still this process's.
    pub fn confirmed(&mut self) {
        self.doubt = self.doubt.filter(|&scan| self.number <= scan);
    }

    /// The scan under way goes on. What takes long hangs only while nothing is heard of it.
    pub fn heard(&mut self, now: Mono) -> Option<Note> {
        let running = self.running.as_mut()?;
        let silence = now.since(running.heard);
        running.heard = now;
        if silence >= HANG {
            self.doubt = Some(self.number);
        }
        let since = self.hang.clear(now)?;
        Some(Note::ScanBack { since })
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Mono) -> Option<Note> {
        let running = self.running?;
        let since = now.since(running.heard);
        if since < HANG {
            return None;
        }
        self.doubt.get_or_insert(self.number);
        self.hang.raise_since("", running.heard, now)?;
        Some(Note::ScanHangs { since })
    }

    /// When something is due. `scans`: whether new ones are begun.
    pub fn wake_at(&self, scans: bool) -> Option<Mono> {
        match self.running {
            Some(running) => Some(self.hang.next().unwrap_or(running.heard + HANG)),
            None => scans.then_some(self.next),
        }
    }

    /// A scan is over.
    pub fn ended(&mut self, result: Result<(), String>, now: Mono) -> (Ended, Vec<Note>) {
        let Some(running) = self.running.take() else {
            return (Ended::Nothing, Vec::new());
        };
        self.plan_next(running.since, result.is_ok(), now);
        match result {
            Ok(()) => {
                // A folder that is gone has no trouble any more.
                let number = self.number;
                self.folders.retain(|_, (_, scan)| *scan == number);
                self.completed += 1;
                let ended = Ended::Complete {
                    first: self.completed == 1,
                    whole: self.folders.is_empty(),
                };
                let back = self.share.clear(now);
                let note = back.map(|since| Note::ShareBack { since });
                (ended, note.into_iter().collect())
            }
            Err(why) => {
                let note = match self.share.raise(&why, now) {
                    Some(Said::Began) => Some(Note::ShareAway { why }),
                    Some(Said::Still { since }) => Some(Note::ShareStillAway { why, since }),
                    None => None,
                };
                (Ended::Nothing, note.into_iter().collect())
            }
        }
    }

    fn plan_next(&mut self, started: Mono, is_complete: bool, now: Mono) {
        let took = now.since(started);
        let hung = self.doubt == Some(self.number);
        let counted = took.min(self.usual * 4 + UNUSUAL);
        let rest = counted.mul_f64((1.0 / self.pace.max_share - 1.0).clamp(0.0, 1e6));
        let rest = if is_complete && !hung {
            rest
        } else {
            Duration::ZERO
        };
        if is_complete {
            self.usual = counted;
        }
        self.next = (started + self.pace.interval).max(now + rest);
        if std::mem::take(&mut self.wanted) {
            self.next = now;
        }
    }

    /// Everything is about to be opened again, because the share is back: for how long it was away.
    pub fn away_for(&self, now: Mono) -> Option<Duration> {
        self.share.since().map(|since| now.since(since))
    }

    /// Something in `path` could not be listed or looked at (`trouble`), or all could.
    pub fn listed(&mut self, path: &Rel, trouble: Option<Note>, now: Mono) -> Option<Note> {
        let Some(note) = trouble else {
            self.folders.remove(path)?;
            return Some(Note::FolderTroubleOver { path: path.clone() });
        };
        let (Note::FolderTrouble { why, .. } | Note::NameTrouble { why, .. }) = &note else {
            return Some(note);
        };
        let (alarm, scan) = self.folders.entry(path.clone()).or_default();
        *scan = self.number;
        alarm.raise(why, now)?;
        Some(note)
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
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        interval: Duration::from_secs(5),
        max_share: 0.25,
    };

    fn begun(at: i64) -> Scans {
        let mut scans = Scans::new(PACE, Mono(at));
        assert!(scans.begin_if_due(Mono(at)));
        scans
    }

    fn complete(scans: &mut Scans, at: i64) {
        scans.ended(Ok(()), Mono(at));
        scans.check();
    }

    #[test]
    fn one_scan_is_under_way_at_a_time_and_the_next_begins_an_interval_after_it_began() {
        let mut scans = begun(0);
        assert!(!scans.begin_if_due(Mono(9_000)));
        complete(&mut scans, 100);
        assert_eq!(scans.wake_at(true), Some(Mono(5_000)));
        assert!(!scans.begin_if_due(Mono(4_999)) && scans.begin_if_due(Mono(5_000)));
        assert_eq!((scans.number(), scans.under_way()), (2, Some(2)));
    }

    #[test]
    fn scans_that_take_long_take_a_quarter_of_the_time() {
        let (mut scans, mut now) = (begun(0), 0);
        for _ in 0..5 {
            now += 10_000;
            scans.heard(Mono(now));
            complete(&mut scans, now);
            now = scans.wake_at(true).unwrap().0;
            assert!(scans.begin_if_due(Mono(now)));
        }
        scans.heard(Mono(now + 10_000));
        complete(&mut scans, now + 10_000);
        assert_eq!(scans.wake_at(true), Some(Mono(now + 40_000)));
    }

    #[test]
    fn a_scan_that_is_wanted_while_one_is_under_way_begins_right_after_it() {
        let mut scans = begun(0);
        scans.hasten(Mono(10));
        assert!(!scans.begin_if_due(Mono(10)));
        complete(&mut scans, 300);
        assert!(scans.begin_if_due(Mono(300)));
        complete(&mut scans, 600);
        assert!(!scans.begin_if_due(Mono(600)), "once");
    }

    #[test]
    fn a_doubt_is_dispelled_by_a_scan_that_began_after_it_arose() {
        let mut scans = begun(0);
        scans.doubt_lock(Mono(10));
        scans.confirmed();
        assert!(!scans.is_lock_sure(), "it began before");
        complete(&mut scans, 20);
        assert!(scans.begin_if_due(Mono(20)));
        scans.confirmed();
        assert!(scans.is_lock_sure());
        scans.check();
    }

    #[test]
    fn a_share_that_is_away_is_said_once_and_is_back_once() {
        let mut scans = begun(0);
        let away = |scans: &mut Scans, at| {
            scans.begin_if_due(Mono(at));
            scans.ended(Err("not mounted".into()), Mono(at + 1)).1
        };
        assert!(matches!(away(&mut scans, 0)[..], [Note::ShareAway { .. }]));
        assert!(scans.is_share_away());
        assert_eq!(away(&mut scans, 5_000), []);
        assert_eq!(scans.away_for(Mono(10_001)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn the_fault_of_a_folder_that_is_gone_is_forgotten() {
        let mut scans = begun(0);
        let (path, why) = (Rel::new(b"d"), String::from("EACCES"));
        let trouble = || Note::FolderTrouble {
            path: path.clone(),
            why: why.clone(),
        };
        let said = |scans: &mut Scans, at| scans.listed(&path, Some(trouble()), Mono(at)).is_some();
        assert!(said(&mut scans, 1) && !said(&mut scans, 2));
        let (ended, _) = scans.ended(Ok(()), Mono(3));
        let whole = |first, whole| Ended::Complete { first, whole };
        assert_eq!(ended, whole(true, false));
        scans.begin_if_due(Mono(5_000));
        assert_eq!(scans.ended(Ok(()), Mono(5_001)).0, whole(false, true));
        scans.begin_if_due(Mono(10_000));
        assert!(said(&mut scans, 10_001), "it is another fault");
    }
}
