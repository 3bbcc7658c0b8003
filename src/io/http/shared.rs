//! What the clients of all workers have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::Uri;
use ureq::http::uri::Authority;

use super::auth::CommandValue;
use super::failure_text::PeerNames;
use super::proxy::{self, ProxyRoute};
use super::rate::Rate;
use super::request::RequestTemplate;
use super::secrets::Secrets;
use super::verifier::Verifier;
use super::{Error, tls};
use crate::config;

/// What the workers have in common.
pub struct Shared {
    /// Host and port as they stand in the URL.
    pub(super) authority: String,
    pub(super) route: ProxyRoute,
    /// For `https:` URLs.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// Beside it: what it was shown.
    pub(super) verifier: Option<Arc<Verifier>>,
    pub(super) template: RequestTemplate,
    /// `send.max_rate`.
    pub(super) rate: Option<Rate>,
    pub(super) names: PeerNames,
    /// What is not to be shown of answers.
    pub(super) secrets: Secrets,
    pub(super) expectations: Expectations,
    pub(super) command: Arc<CommandValue>,
}

/// Whether something on the way drops requests with `Expect`, as was found out by the first that was.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    dropped: AtomicBool,
}

impl Expectations {
    pub fn are_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A request was broken off, and was answered without `Expect`.
    pub fn found_dropped(&self, endpoint: &str) {
        if !self.dropped.swap(true, Ordering::Relaxed) {
            log::info!(
                target: "dirpost",
                "something on the way to {endpoint} drops requests with Expect: 100-continue; they \
                 go without it from now on (send.expect = \"never\" does so from the start)"
            );
        }
    }
}

/// URLs and headers may hold secrets.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Reads the certificates and settles the way to the endpoint; for all workers once.
    ///
    /// # Errors
    /// The certificates or keys cannot be read or used, or the environment names a proxy that
    /// cannot be used.
    pub fn new(send: &config::Send) -> Result<Arc<Shared>, Error> {
        // Only scheme and host matter here, and no template can be in those.
        let url = send.url.replace(['{', '}'], "");
        let endpoint: Uri = url
            .parse()
            .map_err(|err| Error(format!("send.url is not a URL: {err}")))?;
        let https = match endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error("send.url must begin with http:// or https://".into())),
        };
        let host = endpoint
            .host()
            .ok_or_else(|| Error("send.url names no host".into()))?;
        let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
        let route = proxy::route(&send.proxy, &endpoint)?;
        let (tls, verifier) = if https {
            Some(tls::configure(&send.tls)?).unzip()
        } else {
            (None, None)
        };
        let write = |time| humantime::format_duration(time).to_string();
        let names = PeerNames {
            url: send.url.shown().into(),
            endpoint: format!("{host}:{port}"),
            proxy: route.host(),
            stall: write(send.stall_timeout),
            connect: write(send.connect_timeout),
            response: write(send.response_timeout),
        };
        Ok(Arc::new(Shared {
            template: RequestTemplate::new(send, &route)?,
            names,
            secrets: Secrets::new(send, &route),
            expectations: Expectations::default(),
            command: Arc::default(),
            rate: send.max_rate.map(Rate::new),
            authority: endpoint.authority().map_or("", without_user).to_owned(),
            route,
            tls,
            verifier,
        }))
    }
}

fn without_user(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}
