//! What came back from one attempt to deliver a file.
//!
//! The shell fills a [`Reply`] in; [`crate::flow::endpoint::classify`] says what it means.

use std::sync::Arc;

/// One attempt, as the network showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The endpoint, or something before it, answered.
    Answer(Answer),
    /// No answer came.
    Failed(Failure),
}

/// A final HTTP answer (never 1xx).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, from 200 on.
    pub status: u16,
    /// Who was asked, and what they want of whoever asks.
    pub peer: Box<Peer>,
    /// The field `Retry-After` as it stands, unparsed.
    pub retry_after: Option<String>,
    /// The field `Location`, for the log: without control characters, and without its query,
    /// which may repeat a secret of `send.url`.
    pub location: Option<String>,
    /// The field `Content-Type`, without control characters.
    pub content_type: Option<String>,
    /// The start of the body, at most [`BODY_START`] bytes, as they came but for secrets of the
    /// configuration, which are blanked out: to be escaped by whoever shows them.
    pub body: Vec<u8>,
    /// `send.accept_body` was looked for in the whole body (up to a bound) and found.
    /// True where that is not set.
    pub body_matches: bool,
    /// The answer came before the last byte of the request was out: it can only refuse.
    pub early: bool,
    /// More of it, where answers are kept beside delivered files.
    pub kept: Option<Arc<KeptAnswer>>,
}

/// What is kept of an answer beside its file, without secrets of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The fields, with names in lower case, in the order in which they came.
    pub fields: Vec<(String, String)>,
    /// The start of the body, at most [`KEPT_BODY`] bytes.
    pub body: Vec<u8>,
    /// There was more of the body.
    pub is_cut: bool,
}

/// How much of an answer's body is kept beside its file.
pub const KEPT_BODY: usize = 64 * 1024;

/// Who was asked, and what they want of whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// `send.url` without its query; empty where that is not known.
    pub url: String,
    /// Host and port of the proxy on the way there, which may be the one that has answered.
    pub proxy: Option<String>,
    /// The fields `WWW-Authenticate`, or `Proxy-Authenticate`, without control characters.
    pub wants: Vec<String>,
    /// By how many seconds this machine's clock is ahead of the field `Date`; negative if it is behind.
    pub ahead: Option<i64>,
}

/// How much of an answer's body is kept for the log and the reason file.
pub const BODY_START: usize = 4096;

/// No answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// At what point the attempt failed.
    pub kind: FailureKind,
    /// One sentence for a person: what was tried, what went wrong, what to do where that is known.
    /// Without control characters, whatever the peer's certificate or a proxy has said.
    pub detail: String,
}

/// At what point an attempt failed, which says whether the file can be the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The name does not resolve.
    Resolve,
    /// No connection: refused, unreachable, or not within `send.connect_timeout`.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No byte moved for `send.stall_timeout`, or no answer within `send.response_timeout`.
    Timeout,
    /// The connection broke, or what came is not HTTP.
    Broken,
}

impl FailureKind {
    /// Whether the endpoint was not even reached, so that no file can be the cause.
    pub fn unreachable(self) -> bool {
        matches!(
            self,
            FailureKind::Resolve | FailureKind::Connect | FailureKind::Tls
        )
    }
}
