//! DELIVER: the HTTP client that each worker thread owns.
//!
//! ureq speaks HTTP; here is what a delivery needs beyond it. A [`Client`] has
//! one connection at a time and sends one file at a time over it; what all
//! workers have in common (the trusted certificates, the way through a proxy,
//! the budget of bytes per second) is in [`Shared`].
//!
//! What holds for every request:
//!
//! - A body that cannot be given whole is never ended: the connection is
//!   dropped with fewer bytes than promised, or without the last chunk.
//! - An answer is passed on whenever there is one, also when it came before the
//!   request was all out ([`Answer::early`]); redirects are answers.
//! - There is no limit to the time of an upload that moves. Connecting
//!   (resolving, connecting, TLS), standing still, waiting for the answer's head
//!   and reading its body each have one.
//! - A connection that had carried a request before and breaks before any byte
//!   of an answer is stale: the request is sent once more, on a fresh one, and
//!   only what comes of that counts. Timeouts are not retried.
//! - A server that knows no `Expect` (417) is asked again without it.
//! - Idle connections are not used after [`IDLE`], which is below the 5 s after
//!   which the quickest of common servers close them, and none is older than a
//!   minute, so that names that change are followed.
//!
//! The parts: `request` (head), `feed` (body), `exchange` (what the two sides
//! tell each other), `line`, `pipe`, `tls`, `connect` (connection), `answer`.

mod answer;
mod auth;
mod body_reader;
mod buffers;
mod connect;
mod connection;
mod exchange;
mod failure_text;
mod media_types;
mod multipart;
mod probe;
mod proxy;
mod rate;
mod request;
mod stream;
mod template;
mod tls;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::{AutoHeaderValue, IpFamily, RedirectAuthHeaders};
use ureq::http::header::PROXY_AUTHORIZATION;
use ureq::http::{Method, Request, StatusCode, Uri};
use ureq::{Agent, SendBody};

use self::auth::Credentials;
use self::body_reader::BodyReader;
use self::connect::{Dialer, EndpointResolver};
use self::exchange::Exchange;
use self::proxy::ProxyRoute;
use self::rate::Rate;
use self::request::{Head, RequestTemplate};
use crate::config;
use crate::flow::endpoint::reply::Reply;
use crate::flow::time::Wall;

pub use self::probe::Probe;
#[cfg(doc)]
use crate::flow::endpoint::reply::Answer;

/// How long a connection may lie idle and still be used.
pub const IDLE: Duration = Duration::from_secs(4);

/// How long the endpoint is waited for to say that it wants the body.
const AWAIT_CONTINUE: Duration = Duration::from_secs(1);

/// What a request says about its file.
#[derive(Clone, Copy, Debug)]
pub struct FileMeta<'a> {
    /// Relative, with `/` between its parts; any bytes.
    pub path: &'a [u8],
    pub size: u64,
    pub mtime: Wall,
    /// The `Idempotency-Key`, without quotes.
    pub key: &'a str,
    /// Where it is known before the body is sent.
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

/// What the workers have in common.
pub struct Shared {
    /// Host and port as they stand in the URL.
    authority: String,
    way: ProxyRoute,
    tls: Option<Arc<rustls::ClientConfig>>,
    style: RequestTemplate,
    rate: Option<Rate>,
    names: failure_text::PeerNames,
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
    /// Reads the certificates and settles the way; for all workers once.
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
        let names_endpoint = format!("{host}:{port}");
        let way = proxy::way(&send.proxy, &endpoint)?;
        let tls = if https {
            Some(tls::configure(&send.tls)?)
        } else {
            None
        };
        let write = |time| humantime::format_duration(time).to_string();
        Ok(Arc::new(Shared {
            style: RequestTemplate::new(send, &way)?,
            names: failure_text::PeerNames {
                endpoint: names_endpoint,
                proxy: way.host(),
                stall: write(send.stall_timeout),
                connect: write(send.connect_timeout),
                response: write(send.response_timeout),
            },
            rate: send.max_rate.map(Rate::new),
            authority: endpoint.authority().map_or("", without_user).to_owned(),
            way,
            tls,
        }))
    }
}

/// Sends files, one at a time.
pub struct Client {
    shared: Arc<Shared>,
    agent: Agent,
    exchange: Exchange,
    credentials: Option<Credentials>,
    connect_timeout: Duration,
    stall_timeout: Duration,
    response_timeout: Duration,
    accept_body: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// What one try came to; the exchange's state says the rest.
enum Try<B> {
    Answered(ureq::http::Response<ureq::Body>, bool),
    Failed(ureq::Error),
    Broken(B),
}

impl Client {
    pub fn new(send: &config::Send, shared: &Arc<Shared>) -> Result<Client, Error> {
        let exchange = Exchange::default();
        let mut client = Client {
            agent: Agent::new_with_config(Agent::config_builder().proxy(None).build()),
            shared: Arc::clone(shared),
            exchange,
            credentials: send.auth.clone().map(Credentials::new),
            connect_timeout: send.connect_timeout,
            stall_timeout: send.stall_timeout,
            response_timeout: send.response_timeout,
            accept_body: send.accept_body.clone(),
        };
        client.rest();
        Ok(client)
    }

    /// Whether requests are to carry the file's digest, so that a [`FileMeta`] must
    /// have it even where that costs a reading of its own.
    pub fn needs_sha256(send: &config::Send) -> bool {
        let bare = send.body == config::BodyKind::Raw && send.compress == config::Compress::None;
        send.digest == config::Digest::Always && bare
            || send.url.contains("{sha256}")
            || send
                .headers
                .iter()
                .any(|(_, value)| value.contains("{sha256}"))
    }

    /// Closes the connection that is kept for the next file. For a worker that
    /// has had nothing to do for [`IDLE`]: the endpoint closes its side soon, too.
    pub fn rest(&mut self) {
        let shared = &self.shared;
        let dialer = Dialer {
            exchange: self.exchange.clone(),
            tls: shared.tls.clone(),
            stall: self.stall_timeout,
            absolute: match &shared.way {
                ProxyRoute::Forward { .. } => Some(format!("http://{}", shared.authority)),
                _ => None,
            },
            proxied: matches!(shared.way, ProxyRoute::ProxiedStream(_)),
        };
        let names = EndpointResolver {
            exchange: self.exchange.clone(),
            instead: match &shared.way {
                ProxyRoute::Forward { proxy, .. } => Some(proxy.clone()),
                _ => None,
            },
        };
        self.agent = Agent::with_parts(self.options(), dialer, names);
    }

    /// Every option of ureq. (TLS, sockets and buffers are ours: see `connect`.)
    fn options(&self) -> ureq::config::Config {
        Agent::config_builder()
            .http_status_as_error(false)
            .https_only(false)
            .ip_family(IpFamily::Any)
            .proxy(match &self.shared.way {
                ProxyRoute::ProxiedStream(proxy) => Some(proxy.clone()),
                _ => None,
            })
            .no_delay(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .save_redirect_history(false)
            .user_agent(AutoHeaderValue::from(concat!(
                "dirpost/",
                env!("CARGO_PKG_VERSION")
            )))
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .max_response_header_size(64 * 1024)
            .input_buffer_size(16 * 1024)
            .output_buffer_size(64 * 1024)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE)
            .allow_non_standard_methods(false)
            .timeout_global(None)
            .timeout_per_call(None)
            .timeout_per_read(None)
            .timeout_per_write(None)
            .timeout_resolve(Some(self.connect_timeout))
            .timeout_connect(Some(self.connect_timeout))
            .timeout_send_request(None)
            .timeout_await_100(Some(AWAIT_CONTINUE))
            .timeout_send_body(None)
            .timeout_recv_response(Some(self.response_timeout))
            .timeout_recv_body(Some(self.stall_timeout))
            .build()
    }

    /// Sends a file, and says what came of it.
    pub fn send<B: Body>(&mut self, letter: &FileMeta, body: &mut B) -> Outcome<B::Broken> {
        let credentials = match self
            .credentials
            .as_mut()
            .map(Credentials::header)
            .transpose()
        {
            Ok(credentials) => credentials,
            Err(sentence) => return Outcome::Local(sentence),
        };
        let mut head = match self.shared.style.head(letter, credentials) {
            Ok(head) => head,
            Err(sentence) => return Outcome::Local(sentence),
        };
        let mut outcome = self.attempt_on_live(letter, &head, body);
        let unexpected = |response: &ureq::http::Response<_>| {
            response.status() == StatusCode::EXPECTATION_FAILED
        };
        if head.expects && matches!(&outcome, Try::Answered(response, _) if unexpected(response)) {
            head.expect_nothing();
            outcome = match body.rewind() {
                Ok(()) => self.attempt_on_live(letter, &head, body),
                Err(err) => Try::Broken(err),
            };
        }
        match outcome {
            Try::Broken(err) => Outcome::Broken(err),
            Try::Failed(err) => Outcome::Reply(Reply::Failed(failure_text::failure(
                &err,
                &self.exchange.state(),
                &self.shared.names,
            ))),
            Try::Answered(response, early) => {
                let wanted = self.accept_body.as_deref();
                Outcome::Reply(Reply::Answer(answer::read(response, wanted, early)))
            }
        }
    }

    /// An attempt, and another one where the connection was stale.
    fn attempt_on_live<B: Body>(
        &mut self,
        letter: &FileMeta,
        head: &Head,
        body: &mut B,
    ) -> Try<B::Broken> {
        let outcome = self.attempt(letter, head, body);
        if !matches!(outcome, Try::Failed(ref err) if self.was_stale(err)) {
            return outcome;
        }
        log::debug!(
            "a kept connection to {} was stale",
            self.shared.names.endpoint
        );
        match body.rewind() {
            Ok(()) => self.attempt(letter, head, body),
            Err(err) => Try::Broken(err),
        }
    }

    fn was_stale(&self, err: &ureq::Error) -> bool {
        let state = self.exchange.state();
        state.reused && !state.heard && !matches!(err, ureq::Error::Timeout(_))
    }

    fn attempt<B: Body>(&mut self, letter: &FileMeta, head: &Head, body: &mut B) -> Try<B::Broken> {
        let gzip = self.shared.style.gzip;
        let around = match &head.form {
            Some(form) => (&form.before[..], &form.after[..]),
            None => (&[][..], &[][..]),
        };
        let empty = letter.size == 0 && around.0.is_empty() && !gzip;
        let hold = !head.expects && !empty;
        self.exchange
            .begin(Instant::now() + self.connect_timeout, hold, gzip);
        let rate = self.shared.rate.as_ref();
        let mut feed = BodyReader::new(body, letter.size, around, &self.exchange, rate);
        if gzip {
            feed = feed.gzipped();
        }
        let mut request = Request::new(SendBody::from_reader(&mut feed));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let result = self.agent.run(request);
        match (result, feed.broken) {
            (Ok(response), _) => {
                let early = !empty && (!feed.done || self.exchange.state().stopped);
                Try::Answered(response, early)
            }
            (Err(_), Some(err)) => Try::Broken(err),
            (Err(err), None) => Try::Failed(err),
        }
    }

    /// Asks the endpoint how it is, sending no file: `dirpost check` does.
    pub fn probe(&mut self) -> Probe {
        probe::probe(self)
    }

    /// A request without a body.
    fn ask(&mut self, method: Method, uri: Uri) -> Try<Infallible> {
        let credentials = self.credentials.as_mut().and_then(|all| all.header().ok());
        self.exchange
            .begin(Instant::now() + self.connect_timeout, false, false);
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        if let Some((name, value)) = credentials {
            request.headers_mut().insert(name, value);
        }
        if let Some(value) = self.shared.style.proxy_authorization() {
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, value.clone());
        }
        match self.agent.run(request) {
            Ok(response) => Try::Answered(response, false),
            Err(err) => Try::Failed(err),
        }
    }
}

fn without_user(authority: &ureq::http::uri::Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}
