//! What the process is doing, for whoever asks: `status.json` in the state folder, the metrics, and what
//! [`crate::io::listen`] answers. All of them show one and the same [`Status`], the [`Latest`].
//!
//! Each of the files is written by a thread of its own, so that a share or a disk that hangs holds nothing up
//! but its own file. Both are replaced as a whole, by a rename, so that a reader never sees half of one.
//! Neither is brought onto the disk: after a power cut none is as good.

mod latest;
pub mod metrics;
mod metrics_file;
pub mod words;

pub use self::latest::{Latest, TURN_EVERY};
pub use self::metrics_file::MetricsFile;

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::flow::alarm::Alarm;
use crate::flow::status::{Process, State, Status, Work};
use crate::flow::time::Wall;
use crate::io::dir::{Dir, Durability};
use crate::io::os::error::explain;
use crate::io::os::{clock, host, lock};

/// The file in the state folder.
pub const NAME: &[u8] = b"status.json";
/// Upper bound on what is read of it, in bytes; one holds some 10 KiB.
const MAX: u64 = 4 << 20;

/// What was written last; `None` where there is none that can be read.
pub fn read(state: &Dir) -> Option<Status> {
    let mut bytes = Vec::new();
    let mut file = state.file(NAME).ok()?.take(MAX);
    file.read_to_end(&mut bytes).ok()?;
    Status::read(&bytes)
}

/// The text of a status, as it stands in the file.
pub fn json(status: &Status) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(status).expect("plain data becomes JSON");
    bytes.push(b'\n');
    bytes
}

/// This process, as a status names it. `once`: it is one that ends by itself; `started`: when it
/// started; `read`: when it read `config`.
pub fn process(config: &Config, once: bool, started: Wall, read: Wall) -> Process {
    Process {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        host: host(),
        once,
        started,
        written: started,
        config: config.file.as_ref().map(|file| file.display().to_string()),
        config_read: read,
        dir: config.watch.dir.display().to_string(),
        url: config.send.url.shown().to_string(),
    }
}

/// Where the loop leaves what is to be written.
#[derive(Debug, Clone)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    latest: Arc<Latest>,
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    status: Option<Arc<Status>>,
    /// Nothing more comes.
    is_closed: bool,
    /// What was left last has been dealt with.
    is_written: bool,
}

/// Writes what is left on the board.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    state: Arc<Dir>,
    failing: Alarm,
}

/// A board, and who writes what is left there. The writer is to be run by a thread of its own.
pub fn board(latest: Arc<Latest>, state: Arc<Dir>) -> (Board, Writer) {
    let shared = Arc::new(Shared {
        latest,
        slot: Mutex::default(),
        changed: Condvar::default(),
    });
    let writer = Writer {
        shared: Arc::clone(&shared),
        state,
        failing: Alarm::default(),
    };
    (Board { shared }, writer)
}

impl Board {
    /// Leaves `work`, as it is at `now`, to be shown and written, in place of what was left before;
    /// gives what is shown of it. It never waits.
    pub fn leave(&self, work: Work, now: Wall) -> Arc<Status> {
        let status = self.shared.latest.set(work, now);
        let mut slot = lock(&self.shared.slot);
        slot.status = Some(Arc::clone(&status));
        slot.is_written = false;
        drop(slot);
        self.shared.changed.notify_all();
        status
    }

    /// Nothing more is written; what was left is waited for, so long at most.
    pub fn close(&self, bound: Duration) {
        let until = Instant::now() + bound;
        let mut slot = lock(&self.shared.slot);
        slot.is_closed = true;
        self.shared.changed.notify_all();
        while slot.status.is_some() || !slot.is_written {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.changed.wait_timeout(slot, left);
            slot = waited.expect("a thread that panics ends the process").0;
        }
    }
}

impl Drop for Board {
    /// So that the thread ends with the session.
    fn drop(&mut self) {
        lock(&self.shared.slot).is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Writer {
    /// Writes what comes, until the board is closed.
    pub fn run(mut self) {
        while let Some(status) = self.next() {
            self.write(&status);
            lock(&self.shared.slot).is_written = true;
            self.shared.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Arc<Status>> {
        let mut slot = lock(&self.shared.slot);
        loop {
            if let Some(status) = slot.status.take() {
                return Some(status);
            }
            if slot.is_closed {
                return None;
            }
            let waited = self.shared.changed.wait(slot);
            slot = waited.expect("a thread that panics ends the process");
        }
    }

    fn write(&mut self, status: &Status) {
        match self.write_status(status) {
            Ok(()) => {
                self.failing.clear(clock::mono());
            }
            Err(why) => {
                if self.failing.raise(&why, clock::mono()).is_some() {
                    log::warn!(target: "dirpost", "status: {why}; deliveries go on without it");
                }
            }
        }
    }

    fn write_status(&self, status: &Status) -> Result<(), String> {
        let bytes = json(status);
        let written = self.state.replace(NAME, &bytes, Durability::Cached);
        written.map_err(|err| format!("status.json cannot be written: {}", explain(&err)))
    }
}

/// How a reader finds the process that a status is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The status is of a moment ago.
    Working,
    /// The process is there, and has not written for longer than it should have: its loop stands
    /// still, or its state folder cannot be written to.
    Silent,
    /// It has ended as it should.
    Ended,
    /// There is no such process on this machine any more: it was killed, or the machine restarted.
    Killed,
    /// It is another machine's, and has not written for longer than it should have.
    SilentElsewhere,
}

/// A status is written at least every 20 s while the loop turns; so much later it is late.
const LATE: Duration = Duration::from_secs(60);

/// What has become of the process that wrote `status`, seen at `now`.
pub fn life(status: &Status, now: Wall) -> Life {
    let age = now.since(status.process.written);
    let is_here = status.process.host == host();
    if status.work.state == State::Ended {
        Life::Ended
    } else if is_here && !crate::io::os::is_alive(status.process.pid) {
        Life::Killed
    } else if age < LATE {
        Life::Working
    } else if is_here {
        Life::Silent
    } else {
        Life::SilentElsewhere
    }
}
