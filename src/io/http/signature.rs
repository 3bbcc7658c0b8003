//! Signature Version 4 of AWS, which S3, MinIO, Ceph and Garage ask for.
//!
//! By "Signature Version 4 for API requests" in the IAM User Guide of AWS, and for S3 by
//! "Authenticating Requests (AWS Signature Version 4)" in its API reference. Time is an argument here, and
//! nothing is read.
//!
//! The receiver makes the canonical form of a request once more from what arrives, and some do it from
//! the decoded path, others from the path as it stands. So the request itself is written in the
//! canonical form first: every byte but letters, digits and `-._~` is percent-encoded, in capitals,
//! and the query is sorted. Then all of them see what was signed.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, percent_decode_str, percent_encode};
use ring::hmac;
use sha2::{Digest as _, Sha256};
use ureq::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use ureq::http::uri::PathAndQuery;
use ureq::http::{Method, Uri};

use super::template::{NAME as VALUE, PATH};
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::time::{Wall, date_time};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Who signs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// `aws_access_key_id`, which goes out with each request and is no secret.
    pub id: String,
    /// `aws_secret_access_key`.
    pub secret: String,
    /// `aws_session_token`, of credentials that expire.
    pub token: Option<String>,
}

/// What a signature is good for, beside one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub region: String,
    pub service: String,
}

impl Scope {
    /// S3 takes the path as it is; all other services want it encoded twice, and say nothing of the
    /// content in a field of its own.
    pub fn is_s3(&self) -> bool {
        self.service == "s3"
    }
}

/// What is signed of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing: TLS keeps it whole on its way.
    Unsigned,
    /// Its SHA-256.
    Digest([u8; 32]),
}

impl Payload {
    fn text(self) -> Cow<'static, str> {
        match self {
            Payload::Unsigned => "UNSIGNED-PAYLOAD".into(),
            Payload::Digest(digest) => hex(&digest).into(),
        }
    }
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Unsigned<'a> {
    pub method: &'a Method,
    pub uri: &'a mut Uri,
    pub headers: &'a mut HeaderMap,
}

/// Signs `request` as sent at `now`: its URL becomes canonical, and the fields that belong to the
/// signature are set. Gives the signature, which is good for a quarter of an hour.
///
/// # Errors
/// A sentence: the URL has no host, or the keys have a control character in them.
pub(super) fn sign(
    request: Unsigned<'_>,
    payload: Payload,
    (keys, scope): (&Keys, &Scope),
    now: Wall,
) -> Result<String, String> {
    let Unsigned {
        method,
        uri,
        headers,
    } = request;
    *uri = canonical(uri)?;
    let time = basic_time(now);
    let content = payload.text();
    headers.insert(HOST, value(&host(uri)?, "send.url")?);
    headers.insert(DATE, value(&time, "the time")?);
    if scope.is_s3() {
        headers.insert(CONTENT, value(&content, "the digest")?);
    }
    headers.remove(TOKEN);
    if let Some(token) = &keys.token {
        let mut token = value(token, "aws_session_token")?;
        token.set_sensitive(true);
        headers.insert(TOKEN, token);
    }
    let (names, fields) = signed_fields(headers);
    let path = if scope.is_s3() {
        Cow::Borrowed(uri.path())
    } else {
        percent_encode(without_dots(uri.path()).as_bytes(), PATH)
            .to_string()
            .into()
    };
    let query = uri.query().unwrap_or_default();
    let mut canonical = format!("{method}\n{path}\n{query}\n").into_bytes();
    canonical.extend_from_slice(&fields);
    canonical.extend_from_slice(format!("\n{names}\n{content}").as_bytes());

    let (day, _) = time.split_at(8);
    let Scope { region, service } = scope;
    let within = format!("{day}/{region}/{service}/aws4_request");
    let digest = hex(&Sha256::digest(&canonical));
    let text = format!("{ALGORITHM}\n{time}\n{within}\n{digest}");
    let first = format!("AWS4{}", keys.secret);
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| {
            mac(&key, part.as_bytes()).as_ref().to_vec()
        });
    let signature = hex(mac(&key, text.as_bytes()).as_ref());
    let id = &keys.id;
    let mut authorization = value(
        &format!(
            "{ALGORITHM} Credential={id}/{within}, SignedHeaders={names}, Signature={signature}"
        ),
        "aws_access_key_id",
    )?;
    authorization.set_sensitive(true);
    headers.insert(AUTHORIZATION, authorization);
    Ok(signature)
}

fn mac(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

fn value(text: &str, what: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| format!("{what} cannot be in a header: it has a control character in it"))
}

/// `20150830T123600Z`, as ISO 8601 writes it without its marks.
fn basic_time(now: Wall) -> String {
    let mut text = date_time(now.0.div_euclid(1_000_000_000)).replace(['-', ':'], "");
    text.push('Z');
    text
}

/// The field `Host`: with the port if it is not the one of the scheme.
fn host(uri: &Uri) -> Result<String, String> {
    let host = uri.host().ok_or("send.url names no host")?;
    let usual = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    Ok(match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.into(),
    })
}

/// The names of the fields that are signed, and the fields, as both are signed: those that S3 asks
/// for, and no more, for something on the way may change others.
fn signed_fields(headers: &HeaderMap) -> (String, Vec<u8>) {
    let is_signed = |name: &&HeaderName| {
        let name = name.as_str();
        ["content-md5", "content-type", "date", "host"].contains(&name)
            || name.starts_with("x-amz-")
    };
    let mut names: Vec<&HeaderName> = headers.keys().filter(is_signed).collect();
    names.sort_by_key(|name| name.as_str());
    let mut fields = Vec::new();
    for name in &names {
        fields.extend_from_slice(name.as_str().as_bytes());
        fields.push(b':');
        for (index, value) in headers.get_all(*name).iter().enumerate() {
            if index > 0 {
                fields.push(b',');
            }
            let words: Vec<&[u8]> = value
                .as_bytes()
                .split(|byte| byte.is_ascii_whitespace())
                .filter(|word| !word.is_empty())
                .collect();
            fields.extend_from_slice(&words.join(&b' '));
        }
        fields.push(b'\n');
    }
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    (names.join(";"), fields)
}

/// The URL with its path and its query in their canonical form.
fn canonical(uri: &Uri) -> Result<Uri, String> {
    let mut text = once_encoded(uri.path(), PATH);
    if text.is_empty() {
        text.push('/');
    }
    if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
        let mut pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (once_encoded(name, VALUE), once_encoded(value, VALUE)))
            .collect();
        pairs.sort();
        for (index, (name, value)) in pairs.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            let _ = write!(text, "{mark}{name}={value}");
        }
    }
    let mut parts = uri.clone().into_parts();
    let path = PathAndQuery::try_from(text)
        .map_err(|err| format!("send.url makes no valid URL for this file: {err}"))?;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts)
        .map_err(|err| format!("send.url makes no valid URL for this file: {err}"))
}

/// A text of a URL, percent-encoded once however much of it was. (A `+` is a plus.)
fn once_encoded(text: &str, keep: &'static AsciiSet) -> String {
    let plain: Vec<u8> = percent_decode_str(text).collect();
    percent_encode(&plain, keep).to_string()
}

/// The path as services other than S3 sign it: without empty parts, `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let is_folder = !kept.is_empty() && path.ends_with(['/']);
    let end = if is_folder { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

#[cfg(test)]
#[path = "signature/tests.rs"]
mod tests;
