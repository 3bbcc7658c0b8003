//! What systemd is told: READY, STATUS, WATCHDOG and STOPPING (sd_notify(3)), where it has given the
//! process a socket for that. Elsewhere nothing is done.
//!
//! Ready means that the process watches over its folder, not that the folder is there: a share that is
//! missing at the start is waited for, and a unit that were not ready by then would be killed and
//! started in a circle. For the same reason the watchdog is fed by the loop, which waits for no share.

use std::time::{Duration, Instant};

/// The process as its service manager sees it.
#[derive(Debug)]
pub struct Service {
    /// The interval at which the watchdog is fed; `None` where there is none.
    feed_every: Option<Duration>,
    fed: Instant,
    told: Option<String>,
}

impl Service {
    /// Reads what the service manager wants.
    pub fn new() -> Service {
        Service {
            // Half of it is what sd_watchdog_enabled(3) advises; a third leaves room for a late turn.
            feed_every: notify::watchdog().map(|all| all / 3),
            fed: Instant::now(),
            told: None,
        }
    }

    /// Feeds the watchdog if it is time.
    pub fn feed(&mut self) {
        if self.until_feeding().is_some_and(|left| left.is_zero()) {
            self.fed = Instant::now();
            notify::watchdog_fed();
        }
    }

    /// How long until the watchdog has to be fed.
    pub fn until_feeding(&self) -> Option<Duration> {
        let every = self.feed_every?;
        Some(every.saturating_sub(self.fed.elapsed()))
    }

    /// Tells how things stand, in a sentence, if that has changed.
    pub fn status(&mut self, sentence: impl FnOnce() -> String) {
        if !notify::is_wanted() {
            return;
        }
        let sentence = sentence();
        if self.told.as_ref() != Some(&sentence) {
            notify::status(&sentence);
            self.told = Some(sentence);
        }
    }
}

impl Default for Service {
    fn default() -> Service {
        Service::new()
    }
}

/// The process is up.
pub fn ready() {
    notify::ready();
}

/// The process ends.
pub fn stopping() {
    notify::stopping();
}

/// The configuration is being read again; [`ready`] has to follow.
pub fn reloading() {
    notify::reloading();
}

#[cfg(target_os = "linux")]
mod notify {
    use std::time::Duration;

    use sd_notify::NotifyState;

    use crate::flow::escape::printable;

    pub(super) fn is_wanted() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    pub(super) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|_| is_wanted())
    }

    pub(super) fn watchdog_fed() {
        send(&[NotifyState::Watchdog]);
    }

    pub(super) fn ready() {
        send(&[NotifyState::Ready]);
    }

    pub(super) fn stopping() {
        send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    pub(super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn status(sentence: &str) {
        // A line end would begin another assignment.
        send(&[NotifyState::Status(&printable(sentence))]);
    }

    fn send(state: &[NotifyState<'_>]) {
        if let Err(err) = sd_notify::notify(state) {
            log::debug!(target: "dirpost", "systemd cannot be told: {err}");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod notify {
    use std::time::Duration;

    pub(super) fn is_wanted() -> bool {
        false
    }

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }

    pub(super) fn watchdog_fed() {}

    pub(super) fn ready() {}

    pub(super) fn stopping() {}

    pub(super) fn reloading() {}

    pub(super) fn status(_: &str) {}
}
