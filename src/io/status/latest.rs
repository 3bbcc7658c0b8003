//! The newest status of the process, for whoever shows it: one for all of its sessions, and for the time
//! between them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::flow::status::{Fault, Part, Process, State, Status, VERSION, Work};
use crate::flow::time::{Mono, Wall};
use crate::io::os::{clock, lock};

/// The loop comes round at least so often, whatever it waits for.
pub const TURN_EVERY: Duration = Duration::from_secs(10);
/// What has not changed while the folder is waited for is said again so often, as a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Latest {
    slot: Mutex<Slot>,
    changed: Condvar,
    /// When the loop last came round, in ms of the monotonic clock.
    turned: AtomicI64,
}

#[derive(Debug)]
struct Slot {
    status: Arc<Status>,
    /// What is wrong with the configuration: the same whatever the folder is like.
    configuration: Option<Fault>,
    /// How often it was set.
    number: u64,
    /// Which of them was given to whoever writes it down.
    given: u64,
    /// Which of them is written down; `None` where nobody does that.
    done: Option<u64>,
}

impl Latest {
    /// That of a process which opens its folder since `now`.
    pub fn new(process: Process, now: Wall) -> Latest {
        let status = Arc::new(Status {
            v: VERSION,
            process,
            work: Work::default().while_opening(now),
        });
        Latest {
            slot: Mutex::new(Slot {
                status,
                configuration: None,
                number: 0,
                given: 0,
                done: None,
            }),
            changed: Condvar::new(),
            turned: AtomicI64::new(clock::mono().0),
        }
    }

    /// What was set last.
    pub fn get(&self) -> Arc<Status> {
        Arc::clone(&lock(&self.slot).status)
    }

    /// The configuration was read again: `process` says by which one it goes, and `fault` what is wrong
    /// with it.
    pub fn configured(&self, process: Process, fault: Option<Fault>, now: Wall) {
        let mut slot = lock(&self.slot);
        slot.configuration = fault;
        let mut work = slot.status.work.clone();
        work.faults
            .retain(|fault| fault.what != Part::Configuration);
        slot.status = Arc::new(Status {
            v: VERSION,
            process,
            work: work.clone(),
        });
        self.put(slot, work, now);
    }

    /// What the process is doing at `now`. It never waits.
    pub fn set(&self, work: Work, now: Wall) -> Arc<Status> {
        self.put(lock(&self.slot), work, now)
    }

    fn put(&self, mut slot: MutexGuard<'_, Slot>, mut work: Work, now: Wall) -> Arc<Status> {
        work.faults.extend(slot.configuration.clone());
        let process = Process {
            written: now,
            ..slot.status.process.clone()
        };
        let status = Arc::new(Status {
            v: VERSION,
            process,
            work,
        });
        slot.status = Arc::clone(&status);
        slot.number += 1;
        drop(slot);
        self.changed.notify_all();
        status
    }

    /// All is being opened since `now`.
    pub fn opens(&self, now: Wall) {
        let slot = lock(&self.slot);
        let work = slot.status.work.clone().while_opening(now);
        self.put(slot, work, now);
    }

    /// The folder is waited for, because of `why`, since `since`.
    pub fn is_away(&self, why: &str, since: Wall, now: Wall) {
        let fault = Fault {
            what: Part::Share,
            path: None,
            count: 1,
            why: why.into(),
            since,
        };
        self.waits(None, vec![fault], now);
    }

    /// `holder` works on the folder; this process stands by.
    pub fn stands_by(&self, holder: &str, now: Wall) {
        self.waits(Some(holder.into()), Vec::new(), now);
    }

    /// This is looked at every second or two, so that nothing is done where nothing has changed.
    fn waits(&self, standby: Option<String>, faults: Vec<Fault>, now: Wall) {
        let slot = lock(&self.slot);
        let known = &slot.status.work;
        let of_folder = known.faults.iter();
        let of_folder = of_folder.filter(|fault| fault.what != Part::Configuration);
        let is_known = known.state == State::Opening
            && known.standby == standby
            && of_folder.eq(&faults)
            && now.since(slot.status.process.written) < SIGN_OF_LIFE;
        if !is_known {
            let work = Work {
                standby,
                faults,
                ..known.clone().while_opening(now)
            };
            self.put(slot, work, now);
        }
    }

    /// Somebody writes down each status that is set: [`Latest::flush`] waits for that.
    pub fn is_written_down(&self) {
        lock(&self.slot).done.get_or_insert(0);
    }

    /// Waits for the next status to write down. What was given before is written by then.
    pub fn next(&self) -> Arc<Status> {
        let mut slot = lock(&self.slot);
        slot.done = Some(slot.given);
        self.changed.notify_all();
        while slot.number == slot.given {
            let waited = self.changed.wait(slot);
            slot = waited.expect("a thread that panics ends the process");
        }
        slot.given = slot.number;
        Arc::clone(&slot.status)
    }

    /// Waits until all is written down, so long at most.
    pub fn flush(&self, bound: Duration) {
        let until = Instant::now() + bound;
        let mut slot = lock(&self.slot);
        while slot.done.is_some_and(|done| done < slot.number) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(slot, left);
            slot = waited.expect("a thread that panics ends the process").0;
        }
    }

    /// The loop comes round.
    pub fn turn(&self, now: Mono) {
        self.turned.store(now.0, Ordering::Relaxed);
    }

    /// For how long the loop has not come round.
    pub fn stood_still(&self, now: Mono) -> Duration {
        now.since(Mono(self.turned.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn latest() -> Arc<Latest> {
        let process = Process::example();
        Arc::new(Latest::new(process, Wall(0)))
    }

    #[test]
    fn what_was_counted_stays_while_the_folder_is_opened_again() {
        let latest = latest();
        let mut work = Work::default();
        work.attempts.accepted = 3;
        work.files.ready = 5;
        latest.set(work, Wall(SECOND));
        latest.is_away("gone", Wall(0), Wall(2 * SECOND));
        let work = latest.get().work.clone();
        assert_eq!((work.state, work.attempts.accepted), (State::Opening, 3));
        assert_eq!((work.files.ready, work.faults.len()), (0, 1));
        // Nothing is done where nothing has changed, but for a sign of life.
        latest.is_away("gone", Wall(0), Wall(4 * SECOND));
        assert_eq!(latest.get().process.written, Wall(2 * SECOND));
        latest.is_away("gone", Wall(0), Wall(22 * SECOND));
        assert_eq!(latest.get().process.written, Wall(22 * SECOND));
        latest.stands_by("pid 8", Wall(23 * SECOND));
        assert_eq!(latest.get().work.standby.as_deref(), Some("pid 8"));
        assert!(latest.get().work.faults.is_empty());
    }

    #[test]
    fn what_is_wrong_with_the_configuration_is_shown_whatever_the_folder_is_like() {
        let latest = latest();
        let fault = Fault {
            what: Part::Configuration,
            path: None,
            count: 1,
            why: "its file is refused".into(),
            since: Wall(SECOND),
        };
        let shown = || -> Vec<Part> {
            let faults = latest.get().work.faults.clone();
            faults.into_iter().map(|fault| fault.what).collect()
        };
        latest.configured(Process::example(), Some(fault), Wall(SECOND));
        assert_eq!(shown(), [Part::Configuration], "at once");
        latest.is_away("gone", Wall(0), Wall(2 * SECOND));
        assert_eq!(shown(), [Part::Share, Part::Configuration]);
        latest.is_away("gone", Wall(0), Wall(3 * SECOND));
        assert_eq!(latest.get().process.written, Wall(2 * SECOND));
        latest.opens(Wall(4 * SECOND));
        assert_eq!(shown(), [Part::Configuration]);
        latest.set(Work::default(), Wall(5 * SECOND));
        assert_eq!(shown(), [Part::Configuration]);
        latest.configured(Process::example(), None, Wall(6 * SECOND));
        assert_eq!(shown(), []);
    }

    #[test]
    fn who_writes_it_down_gets_the_newest_and_is_waited_for() {
        let latest = latest();
        latest.set(Work::default(), Wall(1));
        latest.flush(Duration::from_secs(60));
        latest.is_written_down();
        latest.set(Work::default(), Wall(2));
        let writer = {
            let latest = Arc::clone(&latest);
            std::thread::spawn(move || {
                assert_eq!(latest.next().process.written, Wall(2));
                assert_eq!(latest.next().process.written, Wall(3));
            })
        };
        // Nobody has asked for another one after the last: that one is not written yet.
        latest.flush(Duration::from_millis(1));
        while lock(&latest.slot).given < 2 {
            std::thread::yield_now();
        }
        latest.set(Work::default(), Wall(3));
        writer.join().unwrap();
        assert_eq!(lock(&latest.slot).done, Some(2));
        latest.flush(Duration::from_millis(1));
    }
}
