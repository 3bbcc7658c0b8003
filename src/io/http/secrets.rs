//! The secrets of a request: what a server sends back of them is in no log and no reason file.
//!
//! Some servers repeat in an error what they were sent: the URL with its query, the field that did not
//! please them, the whole request. Invariant: none of the configured secrets is in what [`Secrets::blank`]
//! gives, neither as it is nor as JSON, HTML and URLs write it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ureq::http::header::HeaderValue;

use super::proxy::ProxyRoute;
use crate::config;

/// Stands where a secret was.
const BLANK: &[u8] = b"***";
/// Shorter values of a query or of `send.headers` are no secrets, but numbers and flags that stand in
/// any text.
const SHORTEST: usize = 4;
/// The beginning of a secret at the end of what was kept is one from so many bytes on.
const SHORTEST_START: usize = 3;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// The longest first, so that no part of one is left beside the blank of another.
    all: Vec<Vec<u8>>,
}

impl Secrets {
    /// Those that stand in the configuration itself.
    pub fn new(send: &config::Send, route: &ProxyRoute) -> Secrets {
        let mut secrets = Secrets::default();
        if let Some((_, query)) = send.url.split_once('?') {
            secrets.add_query(query);
        }
        for (name, value) in &send.headers {
            if !is_public(name) {
                for literal in literals(value) {
                    secrets.add_long(literal);
                    secrets.add_long(after_scheme(literal));
                }
            }
        }
        match route {
            ProxyRoute::Straight => {}
            ProxyRoute::Forward { authorization, .. } => {
                if let Some(value) = authorization {
                    secrets.add_credentials(value);
                }
            }
            ProxyRoute::ByUreq(proxy) => {
                let (user, password) = (proxy.username(), proxy.password());
                if let Some(password) = password {
                    let user = user.unwrap_or_default();
                    secrets.add(password);
                    secrets.add(&BASE64_STANDARD.encode(format!("{user}:{password}")));
                }
            }
        }
        secrets.sort();
        secrets
    }

    /// With the credentials that go with a request.
    pub fn with(&self, credentials: &[HeaderValue]) -> Secrets {
        let mut secrets = self.clone();
        for value in credentials {
            secrets.add_credentials(value);
        }
        secrets.sort();
        secrets
    }

    /// `text` with each secret blanked out. `is_cut`: it went on, and may end within one.
    pub fn blank(&self, text: &[u8], is_cut: bool) -> Vec<u8> {
        if self.all.is_empty() {
            return text.into();
        }
        let mut blanked = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(&byte) = rest.first() {
            let whole = self.all.iter().find(|secret| rest.starts_with(secret));
            if let Some(secret) = whole {
                blanked.extend_from_slice(BLANK);
                rest = &rest[secret.len()..];
            } else if is_cut && self.begins_one(rest) {
                blanked.extend_from_slice(BLANK);
                break;
            } else {
                blanked.push(byte);
                rest = &rest[1..];
            }
        }
        blanked
    }

    /// As [`Secrets::blank`], of whole text.
    pub fn blank_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.blank(text.as_bytes(), false)).into_owned()
    }

    fn begins_one(&self, end: &[u8]) -> bool {
        end.len() >= SHORTEST_START && self.all.iter().any(|secret| secret.starts_with(end))
    }

    /// The query of the URL, each part of it, and each value; written in the URL or plainly.
    fn add_query(&mut self, query: &str) {
        self.add_long(query);
        for part in query.split('&') {
            let value = part.split_once('=').map_or(part, |(_, value)| value);
            for literal in literals(value) {
                self.add_long(literal);
                self.add_long(&percent_decode_str(literal).decode_utf8_lossy());
            }
        }
    }

    /// The value of a field with credentials; what `Basic` holds as well (RFC 7617).
    fn add_credentials(&mut self, value: &HeaderValue) {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let secret = after_scheme(&text);
        self.add(&text);
        self.add(secret);
        if text.starts_with("Basic ")
            && let Ok(pair) = BASE64_STANDARD.decode(secret)
        {
            let pair = String::from_utf8_lossy(&pair).into_owned();
            self.add(&pair);
            self.add(pair.split_once(':').map_or("", |(_, password)| password));
        }
    }

    fn add_long(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.add(secret);
        }
    }

    fn add(&mut self, secret: &str) {
        let json = secret.replace('\\', "\\\\").replace('"', "\\\"");
        let slashes = json.replace('/', "\\/");
        let html = secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let html_quotes = html.replace('"', "&quot;");
        let url = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let lower = url.to_ascii_lowercase();
        let kept: [&[u8]; 4] = [b"%2D", b"%2E", b"%5F", b"%7E"];
        let mut usual = url.clone();
        for (code, char) in kept.iter().zip(["-", ".", "_", "~"]) {
            usual = usual.replace(&*String::from_utf8_lossy(code), char);
        }
        let forms = [
            secret.into(),
            json,
            slashes,
            html,
            html_quotes,
            url,
            lower,
            usual,
        ];
        self.all.extend(
            forms
                .into_iter()
                .map(String::into_bytes)
                .filter(|form| !form.is_empty()),
        );
    }

    fn sort(&mut self) {
        self.all
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.all.dedup();
    }
}

/// `Bearer x` is the secret `x`.
fn after_scheme(value: &str) -> &str {
    value.split_once(' ').map_or(value, |(_, rest)| rest.trim())
}

/// Fields whose values are no secrets, and stand in many an answer.
fn is_public(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["user-agent", "prefer", "cache-control", "idempotency-key"];
    name.starts_with("accept") || name.starts_with("content-") || words.contains(&name.as_str())
}

/// What stands between the placeholders of a template.
fn literals(template: &str) -> impl Iterator<Item = &str> {
    let is_placeholder =
        |text: &&str| !["path", "name", "stem", "size", "mtime", "key", "sha256"].contains(text);
    template
        .split(['{', '}'])
        .map(str::trim)
        .filter(is_placeholder)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn secrets(config: &str) -> Secrets {
        let text = format!("watch.dir = '/in'\n{config}");
        let config = config::parse(&text, Path::new("x.toml"), &|_| None).unwrap();
        let straight = ProxyRoute::Straight;
        Secrets::new(&config.send, &straight)
    }

    #[test]
    fn what_a_server_repeats_of_the_configuration_is_blanked_out() {
        let config = "send.url = 'https://h/in?sig=s3%2Fcret&v=1'\n\
                      send.headers = { X-Key = 'k3y\"/<1>', X-Id = 'pre-{path}-post' }";
        let header = HeaderValue::from_static("Basic bWU6cGFzcw==");
        let secrets = secrets(config).with(&[header]);
        for repeated in [
            "sig=s3%2Fcret&v=1",
            "the signature s3/cret is wrong",
            "{\"sig\":\"s3\\/cret\"}",
            "key k3y\"/<1>",
            "{\"key\":\"k3y\\\"/<1>\"}",
            "<p>k3y&quot;/&lt;1&gt;</p>",
            "Authorization: Basic bWU6cGFzcw==",
            "bWU6cGFzcw==",
            "user me:pass",
            "password pass",
            "id pre-/a-post",
        ] {
            let said = secrets.blank_text(repeated);
            assert!(said.contains("***"), "{said}");
            for secret in [
                "s3", "k3y", "bWU6", "pass==", "me:pass", "d pass", "pre-", "post",
            ] {
                assert!(!said.contains(secret), "{said}: {secret}");
            }
        }
        let plain = "version 1 of the file is too old";
        assert_eq!(secrets.blank_text(plain), plain);
    }

    #[test]
    fn a_secret_that_is_cut_off_at_the_end_is_blanked_out_as_well() {
        let secrets = secrets("send.url = 'https://h/in?token=abcdefgh'");
        assert_eq!(secrets.blank(b"it is abcde", true), b"it is ***");
        assert_eq!(secrets.blank(b"it is abcde", false), b"it is abcde");
        assert_eq!(secrets.blank(b"abcdefghabcdefgh", true), b"******");
    }
}
