//! A request: how it is read, and what is refused before anything is looked for.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::time::Instant;

use super::http_status::Status;
use super::socket::Stream;
use crate::config::Listen;

/// Upper bound on the head of a request, in bytes.
pub(super) const HEAD_MAX: usize = 8 * 1024;
/// Upper bound on its fields.
const FIELDS_MAX: usize = 64;

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    method: String,
    target: String,
    /// The fields `Host`; a request that is right has one, or none in HTTP/1.0.
    hosts: Vec<String>,
    /// The minor version of HTTP/1.
    minor: u8,
}

/// Why a request is not answered, as a status and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub Status, pub &'static str);

const CUT_OFF: Refusal = Refusal(Status::BadRequest, "the request ends in its head");
const LATE: Refusal = Refusal(Status::Late, "the request was not there within 10 s");
const TOO_LARGE: Refusal = Refusal(
    Status::TooLarge,
    "the head of a request may have 8 KiB and 64 fields",
);
const NOT_HTTP: Refusal = Refusal(Status::BadRequest, "this is not HTTP/1.1");

/// Reads the head of a request; `None` if the client has closed before it began.
///
/// # Errors
/// Those of the connection.
pub(super) fn read(
    stream: &mut Stream,
    until: Instant,
) -> io::Result<Option<Result<Request, Refusal>>> {
    let mut head = vec![0; HEAD_MAX];
    let mut filled = 0;
    loop {
        if stream.wait_until(until).is_err() {
            return Ok(Some(Err(LATE)));
        }
        match stream.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Ok(Some(Err(CUT_OFF))),
            Ok(count) => filled += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            // Windows has another name for it than Unix.
            Err(err) if is_timeout(&err) => return Ok(Some(Err(LATE))),
            Err(err) => return Err(err),
        }
        if let Some(parsed) = parse(&head[..filled]) {
            return Ok(Some(parsed));
        }
    }
}

fn is_timeout(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The request whose head is in `head`; `None` if it is not whole yet.
fn parse(head: &[u8]) -> Option<Result<Request, Refusal>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() >= HEAD_MAX => Some(Err(TOO_LARGE)),
        Ok(httparse::Status::Partial) => None,
        Err(httparse::Error::TooManyHeaders) => Some(Err(TOO_LARGE)),
        Err(_) => Some(Err(NOT_HTTP)),
        Ok(httparse::Status::Complete(_)) => {
            let hosts = request.headers.iter();
            let hosts = hosts.filter(|field| field.name.eq_ignore_ascii_case("host"));
            let text = |text: Option<&str>| text.unwrap_or_default().to_string();
            Some(Ok(Request {
                method: text(request.method),
                target: text(request.path),
                hosts: hosts
                    .map(|field| String::from_utf8_lossy(field.value).into_owned())
                    .collect(),
                minor: request.version.unwrap_or(1),
            }))
        }
    }
}

impl Request {
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The path and the query that are wanted, of whom a browser that was led here by another name than
    /// ours is not answered: its page would read what is meant for this network alone (DNS rebinding).
    pub fn wanted(&self, address: &Listen) -> Result<(&str, &str), Refusal> {
        let (authority, path) = self.split_target();
        let host = match (self.hosts.as_slice(), authority) {
            // RFC 9112, 3.2.2: what the target says goes before what the field says.
            (_, Some(authority)) => Some(authority),
            ([host], None) => Some(host.as_str()),
            ([], None) if self.minor == 0 => None,
            _ => {
                let why = "a request has one Host";
                return Err(Refusal(Status::BadRequest, why));
            }
        };
        if !host.is_none_or(|host| is_ours(host, address)) {
            return Err(Refusal(
                Status::Misdirected,
                "this is answered under an IP address, localhost and the name of report.listen only",
            ));
        }
        if !matches!(self.method.as_str(), "GET" | "HEAD") {
            let why = "there is nothing to do here but to read: GET and HEAD";
            return Err(Refusal(Status::NotAllowed, why));
        }
        Ok(path.split_once('?').unwrap_or((path, "")))
    }

    /// The host of a target in absolute form, and the rest.
    fn split_target(&self) -> (Option<&str>, &str) {
        let Some((scheme, rest)) = self.target.split_once("://") else {
            return (None, &self.target);
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return (None, &self.target);
        }
        match rest.find(['/', '?']) {
            Some(end) => (Some(&rest[..end]), &rest[end..]),
            None => (Some(rest), "/"),
        }
    }
}

/// Whether a Host is an IP address, `localhost`, or the one of `address`.
fn is_ours(host: &str, address: &Listen) -> bool {
    let host = host.trim();
    let name = if let Some(rest) = host.strip_prefix('[') {
        let Some((literal, port)) = rest.split_once(']') else {
            return false;
        };
        return is_port(port) && literal.parse::<std::net::Ipv6Addr>().is_ok();
    } else if let Some((name, port)) = host.split_once(':') {
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        name
    } else {
        host
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let configured = match address {
        Listen::Tcp { host, .. } => host.strip_suffix('.').unwrap_or(host),
        Listen::Unix(_) => "localhost",
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || name.eq_ignore_ascii_case(configured)
}

/// Whether what stands behind an address in brackets is a port, or nothing.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    text.is_empty() || digits.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> Listen {
        Listen::Tcp {
            host: host.into(),
            port: 9470,
        }
    }

    #[test]
    fn a_host_is_an_ip_address_localhost_or_the_configured_name() {
        let named = at("Drop.example");
        for host in [
            "127.0.0.1",
            "127.0.0.1:9470",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:9470",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "drop.example:9470",
            "drop.example.",
        ] {
            assert!(is_ours(host, &named), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "drop.example.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:x",
            "127.0.0.1:",
            "[::1",
            "[::1]x",
            "[evil]",
            "::1",
            "a@localhost",
        ] {
            assert!(!is_ours(host, &named), "{host}");
        }
        assert!(!is_ours("drop.example", &at("127.0.0.1")));
        assert!(is_ours("localhost", &Listen::Unix("/run/x".into())));
    }

    fn of(text: &str) -> Option<Result<Request, Refusal>> {
        parse(text.replace('\n', "\r\n").as_bytes())
    }

    fn refused(text: &str) -> Option<Status> {
        let refusal = match of(text)? {
            Err(refusal) => refusal,
            Ok(request) => request.wanted(&at("127.0.0.1")).err()?,
        };
        Some(refusal.0)
    }

    #[test]
    fn what_is_no_request_for_reading_is_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\nHost: localhost\n\n", None),
            ("HEAD /x?y HTTP/1.1\nhost:localhost\n\n", None),
            ("GET / HTTP/1.0\n\n", None),
            ("GET / HTTP/1.1\n\n", Some(Status::BadRequest)),
            (
                "GET / HTTP/1.1\nHost: localhost\nHost: localhost\n\n",
                Some(Status::BadRequest),
            ),
            (
                "GET / HTTP/1.1\nHost: evil.example\n\n",
                Some(Status::Misdirected),
            ),
            (
                "GET http://evil.example/ HTTP/1.1\nHost: localhost\n\n",
                Some(Status::Misdirected),
            ),
            (
                "POST / HTTP/1.1\nHost: localhost\n\n",
                Some(Status::NotAllowed),
            ),
            (
                "get / HTTP/1.1\nHost: localhost\n\n",
                Some(Status::NotAllowed),
            ),
            ("nonsense\n\n", Some(Status::BadRequest)),
            ("GET / HTTP/2.0\n\n", Some(Status::BadRequest)),
        ] {
            assert_eq!(refused(text), status, "{text}");
        }
        let fields: String = (0..65).map(|number| format!("A{number}: x\n")).collect();
        let many = format!("GET / HTTP/1.1\n{fields}\n");
        assert_eq!(refused(&many), Some(Status::TooLarge));
        let long = format!("GET /{}", "x".repeat(HEAD_MAX));
        assert_eq!(refused(&long), Some(Status::TooLarge));
        assert_eq!(of("GET / HTTP/1.1\nHost: loc"), None, "it is not whole");
    }

    #[test]
    fn a_target_is_a_path_with_a_query_also_in_absolute_form() {
        for (target, path, query) in [
            ("/metrics", "/metrics", ""),
            ("/?refresh=off", "/", "refresh=off"),
            ("http://127.0.0.1:1/healthz?x", "/healthz", "x"),
            ("http://127.0.0.1", "/", ""),
        ] {
            let text = format!("GET {target} HTTP/1.1\nHost: localhost\n\n");
            let request = of(&text).unwrap().unwrap();
            assert_eq!(request.wanted(&at("h")), Ok((path, query)), "{target}");
        }
    }
}
