//! What the endpoint said, read as far as it is worth it.
//!
//! The status decides; a body that ends too soon or takes too long takes
//! nothing away from it. Of the body the start is kept for people, `send.accept_body`
//! is looked for in the first MiB, and up to 64 KiB more are read so that the
//! connection can be used again; beyond that a new one is cheaper.

use std::io::Read;

use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{self, HeaderName};

use crate::flow::endpoint::reply::{Answer, BODY_START};

const DRAIN: usize = 64 * 1024;
const SEARCH: usize = 1024 * 1024;
const PIECE: usize = 16 * 1024;

pub(super) fn read(response: Response<Body>, wanted: Option<&str>, early: bool) -> Answer {
    let (parts, body) = response.into_parts();
    let field = |name: HeaderName| {
        let value = parts.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut answer = Answer {
        status: parts.status.as_u16(),
        retry_after: field(header::RETRY_AFTER),
        location: field(header::LOCATION),
        content_type: field(header::CONTENT_TYPE),
        body: Vec::new(),
        body_matches: wanted.is_none_or(str::is_empty),
        early,
    };
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut search = Search {
        wanted: wanted.unwrap_or_default().as_bytes(),
        kept: Vec::new(),
    };
    let mut piece = [0; PIECE];
    let mut read = 0;
    loop {
        let limit = if answer.body_matches { DRAIN } else { SEARCH };
        if read >= limit {
            break;
        }
        let most = PIECE.min(limit - read);
        match reader.read(&mut piece[..most]) {
            Ok(0) | Err(_) => break,
            Ok(amount) => {
                let piece = &piece[..amount];
                read += amount;
                let room = BODY_START - answer.body.len();
                answer.body.extend_from_slice(&piece[..amount.min(room)]);
                answer.body_matches = answer.body_matches || search.found(piece);
            }
        }
    }
    answer
}

/// Looks for bytes that may lie across two pieces.
struct Search<'a> {
    wanted: &'a [u8],
    kept: Vec<u8>,
}

impl Search<'_> {
    fn found(&mut self, piece: &[u8]) -> bool {
        self.kept.extend_from_slice(piece);
        let found = self
            .kept
            .windows(self.wanted.len().max(1))
            .any(|bytes| bytes == self.wanted);
        let keep = self.wanted.len().saturating_sub(1).min(self.kept.len());
        self.kept.drain(..self.kept.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_across_pieces() {
        let mut search = Search {
            wanted: b"accepted",
            kept: Vec::new(),
        };
        assert!(!search.found(b"xxacc"));
        assert!(!search.found(b"ep"));
        assert!(search.found(b"ted."));
        let mut search = Search {
            wanted: b"accepted",
            kept: Vec::new(),
        };
        assert!(!search.found(b"accept"));
        assert!(!search.found(b"able"));
    }
}
