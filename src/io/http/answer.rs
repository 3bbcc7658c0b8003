//! What the endpoint said, read as far as it is worth it.
//!
//! The status decides; a body that ends too soon or takes too long takes
//! nothing away from it. Of the body the start is kept for people, `send.accept_body`
//! is looked for in the first MiB, and up to 64 KiB more are read so that the
//! connection can be used again; beyond that a new one is cheaper.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use ureq::Body;
use ureq::http::header::{self, HeaderName, HeaderValue};
use ureq::http::{Response, StatusCode};

use super::failure_text::PeerNames;
use super::harmless::harmless;
use super::secrets::Secrets;
use crate::flow::endpoint::reply::{Answer, BODY_START, KEPT_BODY, KeptAnswer, Peer};
use crate::io::os::clock;

/// One byte more than is kept, so that it shows whether there was more.
const DRAIN: usize = KEPT_BODY + 1;
const SEARCH: usize = 1024 * 1024;
const PIECE: usize = 4 * 1024;

/// What is looked for in an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading<'a> {
    /// `send.accept_body`.
    pub wanted: Option<&'a str>,
    /// It came before the request was all out.
    pub early: bool,
    /// All of it that is kept beside a file is read.
    pub keeps: bool,
}

pub(super) fn read(response: Response<Body>, reading: Reading<'_>) -> Answer {
    let Reading {
        wanted,
        early,
        keeps,
    } = reading;
    let (parts, body) = response.into_parts();
    let field = |name: HeaderName| Some(harmless(parts.headers.get(name)?.as_bytes()));
    let wants = match parts.status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => header::PROXY_AUTHENTICATE,
        _ => header::WWW_AUTHENTICATE,
    };
    let wants = parts.headers.get_all(wants).iter();
    let mut answer = Answer {
        status: parts.status.as_u16(),
        peer: Box::new(Peer {
            wants: wants.map(|value| harmless(value.as_bytes())).collect(),
            ahead: ahead(parts.headers.get(header::DATE)),
            ..Peer::default()
        }),
        retry_after: field(header::RETRY_AFTER),
        location: field(header::LOCATION).as_deref().map(without_query),
        content_type: field(header::CONTENT_TYPE),
        body: Vec::new(),
        body_matches: wanted.is_none_or(str::is_empty),
        early,
        kept: None,
    };
    let mut kept = KeptAnswer::default();
    if keeps {
        let fields = parts.headers.iter();
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), harmless(value.as_bytes()))
        };
        kept.fields = fields.map(field).collect();
    }
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
                if keeps {
                    let room = KEPT_BODY - kept.body.len();
                    kept.body.extend_from_slice(&piece[..amount.min(room)]);
                    kept.is_cut |= amount > room;
                }
                answer.body_matches = answer.body_matches || search.found(piece);
            }
        }
    }
    answer.kept = keeps.then(|| Arc::new(kept));
    answer
}

/// How far this machine's clock is ahead of the one that wrote a field `Date`.
fn ahead(date: Option<&HeaderValue>) -> Option<i64> {
    let theirs = httpdate::parse_http_date(date?.to_str().ok()?).ok()?;
    let theirs = theirs.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let ours = clock::wall().0.div_euclid(1_000_000_000);
    Some(ours - i64::try_from(theirs.as_secs()).ok()?)
}

/// `answer` as it may be shown: with who was asked, and without what is secret.
pub(super) fn shown(mut answer: Answer, names: &PeerNames, secrets: &Secrets) -> Answer {
    answer.peer.url.clone_from(&names.url);
    answer.peer.proxy.clone_from(&names.proxy);
    let is_cut = answer.body.len() == BODY_START;
    answer.body = secrets.blank(&answer.body, is_cut);
    answer.location = answer.location.map(|text| secrets.blank_text(&text));
    for text in &mut answer.peer.wants {
        *text = secrets.blank_text(text);
    }
    if let Some(kept) = answer.kept.as_mut().map(Arc::make_mut) {
        kept.body = secrets.blank(&kept.body, kept.is_cut);
        for (_, value) in &mut kept.fields {
            *value = secrets.blank_text(value);
        }
    }
    answer
}

/// A redirect often repeats the query of `send.url`, which may hold a secret; others hold one of
/// their own.
fn without_query(address: &str) -> String {
    match address.find(['?', '#']) {
        Some(at) => format!("{}***", &address[..=at]),
        None => address.into(),
    }
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

    fn answer(name: HeaderName, value: &[u8]) -> Answer {
        let body = Body::builder().data("");
        let response = Response::builder().header(name, value).body(body).unwrap();
        read(response, Reading::default())
    }

    #[test]
    fn no_field_of_an_answer_can_forge_a_line_or_steer_a_terminal() {
        for (value, shown) in [
            (&b"/a%20b"[..], "/a%20b"),
            ("/gr\u{f6}\u{df}e".as_bytes(), "/gr\u{f6}\u{df}e"),
            (b"/\ta", "/%09a"),
            // NEL and CSI of ISO 6429, as UTF-8 and as a single byte.
            ("/\u{85}\u{9b}31m".as_bytes(), "/%C2%85%C2%9B31m"),
            (b"/\x9b31m", "/%9B31m"),
            (
                "/\u{2028}\u{202e}x\u{2066}".as_bytes(),
                "/%E2%80%A8%E2%80%AEx%E2%81%A6",
            ),
        ] {
            let answer = answer(header::LOCATION, value);
            assert_eq!(answer.location.as_deref(), Some(shown));
        }
        let kind = answer(header::CONTENT_TYPE, "text/\u{85}csv".as_bytes());
        assert_eq!(kind.content_type.as_deref(), Some("text/%C2%85csv"));
    }

    #[test]
    fn where_a_redirect_leads_is_shown_without_what_may_be_secret() {
        for (value, shown) in [
            ("https://h/in?sig=s3cret&x=1", "https://h/in?***"),
            ("https://h/in#access_token=s3cret", "https://h/in#***"),
            ("https://h/in", "https://h/in"),
        ] {
            let answer = answer(header::LOCATION, value.as_bytes());
            assert_eq!(answer.location.as_deref(), Some(shown));
        }
    }

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
