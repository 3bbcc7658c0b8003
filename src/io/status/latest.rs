//! The newest status of the process, for whoever shows it: one for all of its sessions, and for the time
//! between them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::flow::status::{Fault, Part, Process, Status, VERSION, Work};
use crate::flow::time::{Mono, Wall};
use crate::io::os::lock;

/// The loop comes round at least so often, whatever it waits for.
pub const TURN_EVERY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Latest {
    status: Mutex<Arc<Status>>,
    /// When the loop last came round, in ms of the monotonic clock.
    turned: AtomicI64,
}

impl Latest {
    /// That of a process which opens its folder since `now`.
    pub fn new(process: Process, now: Wall) -> Latest {
        let status = Status {
            v: VERSION,
            process,
            work: Work::default().while_opening(now),
        };
        Latest {
            status: Mutex::new(Arc::new(status)),
            turned: AtomicI64::new(i64::MIN),
        }
    }

    /// What was set last.
    pub fn get(&self) -> Arc<Status> {
        Arc::clone(&lock(&self.status))
    }

    /// What the process is doing at `now`.
    pub fn set(&self, work: Work, now: Wall) -> Arc<Status> {
        let mut latest = lock(&self.status);
        let process = Process {
            written: now,
            ..latest.process.clone()
        };
        let status = Arc::new(Status {
            v: VERSION,
            process,
            work,
        });
        *latest = Arc::clone(&status);
        status
    }

    /// All is being opened since `now`.
    pub fn opens(&self, now: Wall) {
        let work = self.get().work.clone();
        self.set(work.while_opening(now), now);
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
        let work = Work {
            faults: vec![fault],
            ..self.get().work.clone().while_opening(now)
        };
        self.set(work, now);
    }

    /// `holder` works on the folder; this process stands by.
    pub fn stands_by(&self, holder: &str, now: Wall) {
        let work = Work {
            standby: Some(holder.into()),
            ..self.get().work.clone().while_opening(now)
        };
        self.set(work, now);
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
