//! DELIVER: the HTTP client that each worker thread owns.
//!
//! ureq speaks HTTP; here is what a delivery needs beyond it. A [`Client`] has one connection at
//! a time and sends one file at a time over it; what all workers have in common (the trusted
//! certificates, the way through a proxy, the budget of bytes per second) is in [`Shared`].
//!
//! What holds for every request:
//!
//! - A body that cannot be given whole is never ended: the connection is dropped with fewer bytes
//!   than promised, or without the last chunk.
//! - An answer is passed on whenever there is one, also when it came before the request was all
//!   out ([`Answer::early`]); redirects are answers.
//! - There is no limit to the time of an upload that moves. Connecting (resolving, connecting,
//!   TLS), standing still, waiting for the answer's head and reading its body each have one.
//! - A connection that had carried a request before and breaks before any byte of an answer is
//!   stale: the request is sent once more, on a fresh one, and only what comes of that counts.
//!   Timeouts are not retried.
//! - A server that knows no `Expect` (417) is asked again without it.
//! - Idle connections are not used after [`IDLE`], which is below the 5 s after which the quickest
//!   of common servers close them, and none is older than a minute, so that names that change are
//!   followed.
//!
//! The parts, from a file to the wire and back: `request` (with `template`, `media_types`,
//! `multipart`, `auth`, which has `signature` and `aws_keys`) makes the head, `body_reader` (with `rate`) the body; `connect`
//! (with `proxy`, `tls`, `tunnel`) makes a `connection` over a `stream`; `answer` reads
//! what comes back, and `failure_text` says what went wrong. `exchange` is what they tell each
//! other meanwhile. `probe` asks without sending a file.

mod answer;
mod auth;
mod aws_keys;
mod body_reader;
mod buffers;
mod certificate;
mod client;
mod connect;
mod connection;
mod exchange;
mod failure_text;
mod harmless;
mod media_types;
mod multipart;
mod probe;
mod proxy;
mod rate;
mod request;
mod secrets;
mod shared;
mod signature;
mod stream;
mod template;
mod tls;
mod tunnel;
mod verifier;

use std::fmt;
use std::io;

use crate::flow::endpoint::reply::Reply;
use crate::flow::time::Wall;

pub use self::client::{Client, IDLE};
pub use self::probe::Probe;
pub use self::shared::Shared;
#[cfg(doc)]
use crate::flow::endpoint::reply::Answer;

/// What a request says about its file.
#[derive(Clone, Copy, Debug)]
pub struct FileMeta<'a> {
    /// Relative, with `/` between its parts; any bytes.
    pub path: &'a [u8],
    /// Bytes.
    pub size: u64,
    /// As the file system shows it.
    pub mtime: Wall,
    /// The `Idempotency-Key`, without quotes.
    pub key: &'a str,
    /// The digest of the file's own bytes, where it is known before the body is sent.
    pub sha256: Option<[u8; 32]>,
}

/// The bytes of the file.
pub trait Body {
    /// Why the body was broken off. A body that ends before its size is broken off by the
    /// client itself, with an [`io::ErrorKind::UnexpectedEof`].
    type Broken: From<io::Error>;

    /// Reads the next bytes into `buf`; 0 is the end of the file.
    ///
    /// # Errors
    /// Says that the file must not be sent to its end: the request is broken off before its
    /// last byte, so that no server can take it for whole.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Broken>;

    /// Starts again from the first byte, for another attempt.
    ///
    /// # Errors
    /// Says that there can be no other attempt.
    fn rewind(&mut self) -> Result<(), Self::Broken>;
}

/// What came of one attempt.
#[derive(Debug)]
pub enum Outcome<B> {
    /// The network's part of the story.
    Reply(Reply),
    /// The body said no; the endpoint has no fault in it. See [`Body::Broken`].
    Broken(B),
    /// The request could not be made at all, as a file of credentials cannot be
    /// read: a sentence. It holds for every file.
    Local(String),
}

/// The configuration cannot be put to work; says what to do.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
