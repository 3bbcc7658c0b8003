//! What is answered: which path is what, and how an answer looks on the wire.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::http_status::Status;
use super::page;
use super::public::public;
use super::request::{Refusal, Request};
use crate::config::Listen;
use crate::flow::time::Wall;
use crate::io::logging::units::span;
use crate::io::os::clock;
use crate::io::status::{self, Latest, Life, metrics, words};

/// A loop that has not come round for so long stands still; it does so at least every 10 s.
const STANDS_STILL: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: Status,
    /// The media type.
    kind: &'static str,
    /// Fields of this answer alone, each with its line end.
    fields: String,
    body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// A line of text.
    pub fn plain(status: Status, text: impl Into<String>) -> Answer {
        Answer {
            status,
            kind: TEXT,
            fields: String::new(),
            body: text.into().into_bytes(),
        }
    }

    fn of(kind: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status: Status::Fine,
            kind,
            fields: String::new(),
            body: body.into(),
        }
    }

    /// As it goes out. A HEAD is answered without the body, whose length it is told (RFC 9110, 9.3.2).
    pub fn bytes(&self, has_body: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n",
            self.status.line(),
            httpdate::fmt_http_date(SystemTime::now()),
            self.kind,
            self.body.len(),
        );
        head += self.status.fields();
        head += &self.fields;
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if has_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        Answer::plain(refusal.0, format!("{}\n", refusal.1))
    }
}

/// Answers `request`, which came to `address`.
pub(super) fn to(request: &Request, address: &Listen, latest: &Arc<Latest>) -> Answer {
    let (path, query) = match request.wanted(address) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.into(),
    };
    let now = clock::wall();
    match path {
        "/" => {
            let shown = page::Shown {
                status: &public(&latest.get()),
                life: life(latest),
                now,
                refreshes: query != "refresh=off",
            };
            Answer {
                fields: format!("Content-Security-Policy: {}\r\n", page::policy()),
                ..Answer::of("text/html; charset=utf-8", page::html(&shown))
            }
        }
        "/metrics" => {
            let text = metrics::text(&latest.get());
            Answer::of("text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/status.json" => Answer::of("application/json", status::json(&public(&latest.get()))),
        "/healthz" => health(latest, now),
        _ => Answer::plain(
            Status::NotFound,
            "there are / (for people), /metrics, /status.json and /healthz\n",
        ),
    }
}

/// Whether the loop comes round.
fn life(latest: &Latest) -> Life {
    if latest.stood_still(clock::mono()) >= STANDS_STILL {
        Life::Silent
    } else {
        Life::Working
    }
}

/// Whether the process is well. That an endpoint or a share is away is no reason to restart it, and
/// stands in the body alone.
fn health(latest: &Latest, now: Wall) -> Answer {
    let shown = public(&latest.get());
    let work = &shown.work;
    let life = life(latest);
    let (status, verdict) = match life {
        Life::Working => (Status::Fine, "ok"),
        _ => (Status::Unwell, "the loop stands still"),
    };
    let turned = span(latest.stood_still(clock::mono()));
    let endpoint = match &work.endpoint.closed {
        None => "accepts, as far as is known".into(),
        Some(closed) => words::of_closed(closed, now),
    };
    let folder = match work.standstill() {
        None => "no fault is known".into(),
        Some(fault) => words::of_fault(fault, now),
    };
    let standby = work.standby.as_deref().unwrap_or("no");
    let mut text = format!("{verdict}\nloop: it came round {turned} ago\n");
    for (heading, line) in [
        ("status", words::headline(&shown, life, now)),
        ("endpoint", endpoint),
        ("folder", folder),
        ("standby", standby.into()),
    ] {
        let line = crate::flow::escape::printable(&line);
        let _ = writeln!(text, "{heading}: {line}");
    }
    Answer::plain(status, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::status::Process;
    use crate::flow::time::Mono;

    fn latest() -> Arc<Latest> {
        let now = clock::wall();
        let process = Process {
            version: "1".into(),
            pid: 7,
            host: "h".into(),
            once: false,
            started: now,
            written: now,
            config: None,
            config_read: now,
            dir: "/d".into(),
            url: "http://x/".into(),
        };
        Arc::new(Latest::new(process, now))
    }

    #[test]
    fn a_loop_that_stands_still_is_unwell_and_one_that_waits_for_its_folder_is_not() {
        let latest = latest();
        latest.is_away("it is not there", Wall(0), clock::wall());
        assert_eq!(health(&latest, clock::wall()).status, Status::Fine);
        let now = clock::mono();
        latest.turn(Mono(now.0 - 31_000));
        let answer = health(&latest, clock::wall());
        assert_eq!(answer.status, Status::Unwell);
        let body = String::from_utf8(answer.body).unwrap();
        assert!(body.starts_with("the loop stands still\n"), "{body}");
        assert!(body.contains("\nstatus: standing still: "), "{body}");
        latest.turn(now);
        assert_eq!(health(&latest, clock::wall()).status, Status::Fine);
    }
}
