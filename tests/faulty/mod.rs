//! Shares that hang, fail half-way, or show nothing: nothing is forgotten, and nothing sent twice.
//! Needs root and /dev/fuse on Linux, and says so where they are missing.
#![cfg(target_os = "linux")]

mod errors;
mod hangs;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fuser::Errno;
use rustix::process::Signal;

use crate::util::fuse::{Empty, Faults, Hang, Share};
use crate::util::{
    BOUND, Daemon, Dir, Gate, Reaction, Server, config, get, listens_at, wait_until,
};

const KEEP: &str = "delivered.action = \"keep\"";
const HANG: Faults = Faults {
    hang: Some(Hang::Everything),
    ..NONE
};
const NONE: Faults = Faults {
    hang: None,
    all: None,
    listing: None,
    look: None,
    empty: None,
    acted: None,
    delay: None,
};
/// A fault of a disk, of NFS, and one that nobody expects.
const ERRORS: [Errno; 3] = [Errno::EIO, Errno::ESTALE, Errno::EREMOTE];

/// Where the state is.
#[derive(Clone, Copy, Debug)]
enum State {
    OnTheShare,
    Elsewhere,
}

const BOTH: [State; 2] = [State::OnTheShare, State::Elsewhere];

/// A share, a folder on a local disk, and what dirpost needs to run on them.
struct World {
    share: Share,
    elsewhere: Dir,
    state: State,
}

impl World {
    /// `None` where nothing can be mounted.
    fn new(state: State) -> Option<World> {
        Some(World {
            share: Share::mount()?,
            elsewhere: Dir::new(),
            state,
        })
    }

    fn config(&self, server: &Server, extra: &str) -> String {
        let mut extra = extra.to_string();
        if let State::Elsewhere = self.state {
            extra += &format!("\nstate.dir = '{}'", self.elsewhere.path().display());
        }
        config(&self.share.path(), &server.url(), &extra)
    }

    fn start(&self, server: &Server, extra: &str) -> Daemon {
        Daemon::start(&self.config(server, extra))
    }

    fn write(&self, name: &str) {
        self.share.back().write(name, format!("this is {name}"));
    }

    /// What lies in a folder of the state folder.
    fn list(&self, name: &str) -> Vec<String> {
        match self.state {
            State::OnTheShare => self.share.back().list(&format!(".dirpost/{name}")),
            State::Elsewhere => self.elsewhere.list(name),
        }
    }

    /// All lines of the journal.
    fn journal(&self) -> String {
        self.elsewhere.journal("")
    }

    /// Waits until exactly these are in done.
    fn wait_done(&self, names: &[&str]) {
        wait_until(&format!("{names:?} in done"), BOUND, || {
            self.list("done") == names
        });
    }

    /// Waits for so many listings more, each of which may have been the one under way.
    fn wait_listings(&self, count: usize) {
        let seen = self.share.listings();
        wait_until("more looks", BOUND, || self.share.listings() > seen + count);
    }

    /// Waits until the fault has been met so many times more.
    fn wait_failed(&self, count: usize) {
        self.wait_failed_since(self.share.failed(), count);
    }

    fn wait_failed_since(&self, seen: usize, count: usize) {
        wait_until("the fault to be met", BOUND, || {
            self.share.failed() >= seen + count
        });
    }
}

/// The paths of all requests, sorted.
fn sent(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    paths
}

/// How often each of them was accepted.
fn accepted(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = server
        .accepted()
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    paths
}

fn wait_accepted(server: &Server, path: &str) {
    wait_until(&format!("{path} to be accepted"), BOUND, || {
        accepted(server).contains(&path.into())
    });
}

/// Accepts everything, `a.csv` only when the gate is opened.
fn holding(gate: &Gate) -> Server {
    let gate = gate.clone();
    Server::start(move |head| {
        if head.path == "a.csv" {
            Reaction::Hold(gate.clone(), 200)
        } else {
            Reaction::Answer(200)
        }
    })
}

/// Accepts everything, `own.csv` (in whichever folder) only when it is told to: else that is its own failure.
fn choosy(accept: &Arc<AtomicBool>) -> Server {
    let accept = Arc::clone(accept);
    Server::start(move |head| {
        let refused = head.path.ends_with("own.csv") && !accept.load(Ordering::SeqCst);
        Reaction::Answer(if refused { 500 } else { 200 })
    })
}

fn lines_with(daemon: &Daemon, parts: &[&str]) -> usize {
    daemon
        .log()
        .iter()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .count()
}

fn text_of(error: Errno) -> String {
    std::io::Error::from_raw_os_error(error.code()).to_string()
}
