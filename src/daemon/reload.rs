//! SIGHUP: the configuration is read again, and taken over as far as it can change while dirpost runs
//! ([`crate::config::reload`]).
//!
//! It is read by a thread of its own, for its file, and the certificates and credentials that it names,
//! may lie on a share that hangs. What is wrong with it is said, and stands in the status; nothing of it
//! is taken over then. The service manager is told when that is decided.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Process;
use super::spawn::spawn;
use crate::config::reload::Reread;
use crate::config::{self, Config};
use crate::flow::status::{Fault, Part};
use crate::flow::time::Wall;
use crate::io::http::Shared;
use crate::io::logging;
use crate::io::logging::units::span;
use crate::io::os::{clock, lock, service};
use crate::io::send_fingerprint;

/// The configuration as its file says it now, and what is made of it where that may take time.
#[derive(Debug)]
pub(super) struct Loaded {
    config: Config,
    pub(super) http: Arc<Shared>,
    /// See [`send_fingerprint`].
    pub(super) send: String,
}

/// The configuration that was read again; else a sentence why it is refused.
pub(super) type Reloaded = Result<Box<Loaded>, String>;

/// What is wanted now, and what is wrong with the file that says it.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Arc<Config>,
    pub(super) read: Wall,
    fault: Option<(String, Wall)>,
}

impl Current {
    pub(super) fn new(config: Config, read: Wall) -> Current {
        Current {
            config: Arc::new(config),
            read,
            fault: None,
        }
    }

    /// What people should know of it, beside what the engine says.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.as_ref().map(|(why, since)| Fault {
            what: Part::Configuration,
            path: None,
            count: 1,
            why: why.clone(),
            since: *since,
        })
    }
}

/// What a signal calls: the file is read again by a thread, and `post` is given what comes of it.
pub(super) fn reader(
    file: Option<PathBuf>,
    post: impl Fn(Reloaded) + Send + Sync + 'static,
) -> impl Fn() + Send + 'static {
    let post = Arc::new(post);
    let (turn, is_waiting) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
    move || {
        service::reloading();
        // One that waits for its turn will see what the file says now.
        if is_waiting.swap(true, Ordering::SeqCst) {
            return;
        }
        let (file, turn) = (file.clone(), Arc::clone(&turn));
        let (of_thread, waits) = (Arc::clone(&post), Arc::clone(&is_waiting));
        let started = spawn("reload", move || {
            let _one_at_a_time = lock(&turn);
            waits.store(false, Ordering::SeqCst);
            of_thread(load(file.as_deref()));
        });
        if let Err(why) = started {
            is_waiting.store(false, Ordering::SeqCst);
            post(Err(why));
        }
    }
}

fn load(file: Option<&std::path::Path>) -> Reloaded {
    let file = file.ok_or("dirpost was started with a folder and a URL, not with a file")?;
    let config = config::load(file, &config::environment);
    let config = config.map_err(|err| err.to_string())?;
    let http = Shared::new(&config.send).map_err(|err| err.to_string())?;
    Ok(Box::new(Loaded {
        send: send_fingerprint::of(&config.send),
        config,
        http,
    }))
}

/// What was taken over.
pub(super) struct Taken {
    pub(super) config: Arc<Config>,
    pub(super) http: Arc<Shared>,
    pub(super) send: String,
    pub(super) rechecks: bool,
}

impl Process {
    /// Decides on a configuration that was read again: `follow` is asked to go by it. Says what comes
    /// of it, also to the service manager.
    pub(super) fn take_over(
        &self,
        reloaded: Reloaded,
        follow: impl FnOnce(Taken) -> Result<(), String>,
    ) {
        let result = reloaded.and_then(|loaded| {
            let Loaded { config, http, send } = *loaded;
            let reread = Reread::new(&self.config(), config);
            let rechecks = reread.rechecks();
            let config = Arc::new(reread.config);
            follow(Taken {
                config: Arc::clone(&config),
                http,
                send,
                rechecks,
            })?;
            Ok((config, reread.taken, reread.waiting))
        });
        match result {
            Ok((config, taken, waiting)) => self.go_by(config, &taken, &waiting),
            Err(why) => self.refuse(why),
        }
        let now = clock::wall();
        self.latest.configured(self.named(), self.fault(), now);
        self.reloads.fetch_add(1, Ordering::Relaxed);
        service::ready();
    }

    fn go_by(&self, config: Arc<Config>, taken: &[&str], waiting: &[&str]) {
        logging::set_level((self.level)(config.log.level));
        let now = clock::wall();
        let fault = (!waiting.is_empty()).then(|| {
            let why = format!(
                "{} differ in its file and need a restart",
                waiting.join(", ")
            );
            (why, now)
        });
        *lock(&self.current) = Current {
            config,
            read: now,
            fault,
        };
        if !taken.is_empty() {
            let keys = taken.join(", ");
            log::info!(
                target: "dirpost",
                "configuration: read again; from now on as it says: {keys}"
            );
        }
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            log::warn!(
                target: "dirpost",
                "configuration: read again; what cannot change while dirpost runs stays as it was \
                 until a restart: {keys}"
            );
        }
        if taken.is_empty() && waiting.is_empty() {
            log::info!(target: "dirpost", "configuration: read again; it says what it said before");
        }
    }

    fn refuse(&self, why: String) {
        let now = clock::wall();
        let mut current = lock(&self.current);
        let age: Duration = now.since(current.read);
        let age = span(age);
        log::error!(
            target: "dirpost",
            "configuration: read again and refused, so that all goes on as it was read {age} ago: {why}"
        );
        current.fault = Some((format!("its file is refused: {why}"), now));
    }
}
