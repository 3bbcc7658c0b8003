//! What a request says: its URL and its headers.
//!
//! `Content-Digest` is sent where the bytes of the file are the bytes of the
//! body. With gzip or a form they are not, and by RFC 9530 neither it nor
//! `Repr-Digest` could then be the digest of the file, so there is none.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Method, Uri};

use super::multipart::Form;
use super::proxy::ProxyRoute;
use super::{Error, FileMeta, media_types, template};
use crate::config::{self, BodyKind, Compress, Digest, Expect};
use crate::flow::file::last_part;

/// Bodies of more bytes than this are sent only when the endpoint has said that it wants them.
const EXPECT_BEYOND: u64 = 1024 * 1024;

const USER_AGENT: &str = concat!("dirpost/", env!("CARGO_PKG_VERSION"));

/// The parts of the configuration that requests are made of, looked at once.
pub(super) struct RequestTemplate {
    url: String,
    /// The same, where it is one for all files.
    uri: Option<Uri>,
    method: Method,
    body: BodyKind,
    /// `None`: by the extension of each file.
    content_type: Option<String>,
    /// `send.headers`, with their templates.
    headers: Vec<(HeaderName, String)>,
    /// dirpost's own headers that are left out.
    left_out: Vec<HeaderName>,
    /// `send.fields`, with their templates.
    fields: Vec<(String, String)>,
    /// `send.expect`.
    expect: Expect,
    /// `Content-Digest` is sent where it is known.
    digest: bool,
    /// The body is compressed.
    pub gzip: bool,
    /// For a proxy that is asked to forward.
    proxy_authorization: Option<HeaderValue>,
}

/// The values of several headers in one piece of memory, which is also that of their copies: a request
/// is copied for each attempt.
struct Values {
    text: String,
    /// Each with where its value ends.
    ends: Vec<(HeaderName, usize)>,
}

impl Default for Values {
    fn default() -> Values {
        Values {
            text: String::with_capacity(256),
            ends: Vec::with_capacity(6),
        }
    }
}

impl Values {
    /// Another header, whose value `write` writes to the end of what it is given.
    fn add(&mut self, name: HeaderName, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push((name, self.text.len()));
    }

    /// # Errors
    /// A sentence: a value holds a control character.
    fn into_headers(self) -> Result<HeaderMap, String> {
        let text = Bytes::from(self.text);
        // With room for what the others add.
        let mut headers = HeaderMap::with_capacity(self.ends.len() + 4);
        let mut start = 0;
        for (name, end) in self.ends {
            let value = HeaderValue::from_maybe_shared(text.slice(start..end))
                .map_err(|_| format!("the value of the header {name} holds a control character"))?;
            headers.insert(name, value);
            start = end;
        }
        Ok(headers)
    }
}

/// A request but for its body.
pub(super) struct Head {
    pub uri: Uri,
    pub method: Method,
    pub headers: HeaderMap,
    /// What goes around the file's bytes.
    pub form: Option<Form>,
    /// It asks whether the body is wanted.
    pub expects: bool,
}

impl Head {
    /// Takes the question back whether the body is wanted.
    pub fn expect_nothing(&mut self) {
        self.expects = false;
        self.headers.remove(header::EXPECT);
    }
}

impl RequestTemplate {
    /// # Errors
    /// A header that dirpost sets itself, or that has no valid name.
    pub fn new(send: &config::Send, route: &ProxyRoute) -> Result<RequestTemplate, Error> {
        let mut headers = Vec::new();
        let mut left_out = Vec::new();
        for (name, value) in &send.headers {
            let field = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error(format!("send.headers: {name:?} is not a header's name")))?;
            let ours = [
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::CONNECTION,
                header::EXPECT,
            ];
            if ours.contains(&field) {
                return Err(Error(format!(
                    "send.headers: {name} is set by dirpost itself, take it out"
                )));
            }
            if value.is_empty() && config::may_be_left_out(name) {
                left_out.push(field);
            } else {
                headers.push((field, value.to_string()));
            }
        }
        let fields = send.fields.iter();
        let fields = fields.map(|(name, value)| (name.clone(), value.to_string()));
        Ok(RequestTemplate {
            url: send.url.to_string(),
            uri: Some(&*send.url)
                .filter(|url| !config::differs_by_file(url))
                .and_then(|url| Uri::try_from(url).ok()),
            method: match send.method {
                config::Method::Post => Method::POST,
                config::Method::Put => Method::PUT,
            },
            body: send.body.clone(),
            content_type: send.content_type.clone(),
            headers,
            left_out,
            fields: fields.collect(),
            expect: send.expect,
            digest: send.digest != Digest::Never,
            gzip: send.compress == Compress::Gzip,
            proxy_authorization: match route {
                ProxyRoute::Forward { authorization, .. } => authorization.clone(),
                _ => None,
            },
        })
    }

    /// `send.url`, with its templates.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether each file has an address of its own.
    pub fn names_file(&self) -> bool {
        config::differs_by_file(&self.url)
    }

    /// Whether no `User-Agent` is sent.
    pub fn is_anonymous(&self) -> bool {
        self.left_out.contains(&header::USER_AGENT)
    }

    /// For a proxy that is asked to forward.
    pub fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.proxy_authorization.as_ref()
    }

    /// The head of the request for one file.
    ///
    /// # Errors
    /// A sentence: the URL or a header cannot be made of the configuration and this file's name,
    /// size, time or digest. (Names are percent-encoded, so that no name of a file can be why.)
    pub fn head(&self, meta: &FileMeta) -> Result<Head, String> {
        let uri = match &self.uri {
            Some(uri) => uri.clone(),
            None => Uri::try_from(template::fill(&self.url, meta))
                .map_err(|err| format!("send.url makes no valid URL for this file: {err}"))?,
        };
        let media_type = match &self.content_type {
            Some(fixed) => fixed.as_str(),
            None => media_types::of(last_part(meta.path)),
        };
        let form = match &self.body {
            BodyKind::Raw => None,
            BodyKind::Multipart(field) => Some(Form::new(field, &self.fields, meta, media_type)),
        };
        let content_type = form.as_ref().map_or(media_type, |form| &form.content_type);
        let mut headers = self.dirposts_headers(meta, content_type)?;
        for name in &self.left_out {
            headers.remove(name);
        }
        if let Some(value) = &self.proxy_authorization {
            headers.insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        self.add_configured_headers(meta, &mut headers)?;
        let length = meta.size + form.as_ref().map_or(0, Form::len);
        if self.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        } else {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let expects = length > EXPECT_BEYOND && self.expect == Expect::Auto;
        if expects {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        Ok(Head {
            uri,
            method: self.method.clone(),
            headers,
            form,
            expects,
        })
    }

    /// Those that say what the file is, whatever the configuration adds or replaces.
    fn dirposts_headers(&self, meta: &FileMeta, content_type: &str) -> Result<HeaderMap, String> {
        let mut values = Values::default();
        values.add(header::CONTENT_TYPE, |text| text.push_str(content_type));
        values.add(HeaderName::from_static("idempotency-key"), |text| {
            text.extend(["\"", meta.key, "\""]);
        });
        let is_bare = self.body == BodyKind::Raw && !self.gzip;
        if let (Some(digest), true, true) = (&meta.sha256, self.digest, is_bare) {
            values.add(HeaderName::from_static("content-digest"), |text| {
                text.push_str("sha-256=:");
                BASE64_STANDARD.encode_string(digest, text);
                text.push(':');
            });
        }
        values.add(HeaderName::from_static("x-file-path"), |text| {
            text.extend(template::path(meta));
        });
        values.add(HeaderName::from_static("x-file-mtime"), |text| {
            meta.mtime.push_rfc3339(text);
        });
        let mut headers = values.into_headers()?;
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        Ok(headers)
    }

    /// Those of `send.headers`: the first of a name takes the place of dirpost's.
    fn add_configured_headers(
        &self,
        meta: &FileMeta,
        headers: &mut HeaderMap,
    ) -> Result<(), String> {
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let value = HeaderValue::from_str(&template::fill(value, meta)).map_err(|_| {
                format!("send.headers: the value of {name} holds a control character")
            })?;
            if self.headers[..index]
                .iter()
                .any(|(earlier, _)| earlier == name)
            {
                headers.append(name.clone(), value);
            } else {
                headers.insert(name.clone(), value);
            }
        }
        Ok(())
    }
}
