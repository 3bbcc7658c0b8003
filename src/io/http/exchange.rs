//! What one exchange with the endpoint knows of itself.
//!
//! ureq runs the protocol and calls in two places: the body (`feed`), when it
//! wants bytes, and the connection (`line`), when it has bytes for the wire or
//! waits for some. Both note here what they see, and the client reads it after
//! the exchange. One worker has one exchange at a time, so the lock is never
//! contended; it is here because ureq asks connections to be `Sync`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::flow::endpoint::reply::FailureKind;

#[derive(Clone, Debug, Default)]
pub(super) struct Exchange(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Counts the exchanges, so that a connection can tell a new one from the last.
    pub number: u64,
    /// When resolving, connecting and the handshake must be done.
    pub connect_by: Option<Instant>,
    /// The head waits for the first piece of the body, to leave in one write with it.
    pub hold_head: bool,
    /// The body is sent in chunks of unknown number.
    pub chunked: bool,
    /// The body has been asked for its first bytes.
    pub in_body: bool,
    /// Nothing more is written: an answer is there, or writing failed.
    pub stopped: bool,
    /// A connection was there to write the request to.
    pub reached: bool,
    /// That connection had carried an earlier exchange.
    pub reused: bool,
    /// At least one byte of an answer came.
    pub heard: bool,
    /// What kind of failure the last step that failed knows itself to be.
    pub fault: Option<FailureKind>,
}

impl Exchange {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew, for the next request.
    pub fn begin(&self, connect_by: Instant, hold_head: bool, chunked: bool) {
        let mut state = self.state();
        *state = State {
            number: state.number + 1,
            connect_by: Some(connect_by),
            hold_head,
            chunked,
            ..State::default()
        };
    }

    pub fn fault(&self, kind: FailureKind) {
        self.state().fault = Some(kind);
    }
}
