//! What one exchange with the endpoint knows of itself.
//!
//! ureq runs the protocol and calls in two places: the body ([`BodyReader`]), when it wants
//! bytes, and the [`Connection`], when it has bytes for the wire or waits for some. Both note
//! here what they see, and the client reads it after the exchange. One worker has one exchange
//! at a time, so the lock is never contended; it is here because ureq asks connections to be
//! `Sync`.
//!
//! [`BodyReader`]: super::body_reader::BodyReader
//! [`Connection`]: super::connection::Connection

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::flow::endpoint::reply::FailureKind;

/// The exchange of one client, shared with its connection and the body that it sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange(Arc<Mutex<State>>);

/// How a request is to be sent. Settled before it begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// When resolving, connecting and the handshake must be done.
    pub connect_by: Option<Instant>,
    /// The head waits for the first piece of the body, to leave in one write with it.
    pub holds_head: bool,
    /// The body is sent in chunks of unknown number.
    pub is_chunked: bool,
}

/// How far the sending of a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// There is no connection yet to write it to.
    #[default]
    Connecting,
    /// Its head is on its way.
    Head,
    /// Its body has been asked for the first bytes.
    Body,
    /// Nothing more of it is written: an answer is there, or writing has failed.
    Stopped,
}

/// What is known of the exchange under way, or of the last one.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Counts the exchanges, so that a connection can tell a new one from the last.
    pub number: u64,
    pub plan: Plan,
    pub phase: Phase,
    /// The connection had carried an earlier exchange.
    pub is_reused: bool,
    /// At least one byte of an answer has come.
    pub has_answer: bool,
    /// What kind of failure the last step that failed knows itself to be.
    pub fault: Option<FailureKind>,
}

impl State {
    /// Whether there was a connection to write the request to.
    pub fn was_reached(&self) -> bool {
        self.phase > Phase::Connecting
    }

    /// The sending has come as far as `phase`, or was further already.
    pub fn advance(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }
}

impl Exchange {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next exchange; nothing is known of it yet.
    pub fn begin(&self, plan: Plan) {
        let mut state = self.state();
        *state = State {
            number: state.number + 1,
            plan,
            ..State::default()
        };
    }

    /// The step under way fails, and knows what kind of failure that is.
    pub fn fails_with(&self, kind: FailureKind) {
        self.state().fault = Some(kind);
    }
}
