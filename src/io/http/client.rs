//! The client: sends files, one at a time, over one connection.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use ureq::config::{AutoHeaderValue, IpFamily, RedirectAuthHeaders};
use ureq::http::header::{HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, SendBody};

use super::auth::{Credentials, ToProve};
use super::body_reader::BodyReader;
use super::connect::{Dialer, EndpointResolver};
use super::exchange::{Exchange, Phase, Plan};
use super::proxy::ProxyRoute;
use super::request::Head;
use super::shared::Shared;
use super::signature::Unsigned;
use super::{Body, FileMeta, Outcome, answer, failure_text};
use crate::config;
use crate::flow::endpoint::reply::Reply;

/// How long a connection may lie idle and still be used.
pub const IDLE: Duration = Duration::from_secs(4);

/// How long the endpoint is waited for to say that it wants the body.
const AWAIT_CONTINUE: Duration = Duration::from_secs(1);

/// A connection that is broken off with more bytes of the file sent was not dropped for its `Expect`.
const TAKEN_BEFORE_DROP: u64 = 8 * 1024 * 1024;

/// Sends files, one at a time.
pub struct Client {
    pub(super) shared: Arc<Shared>,
    agent: Agent,
    pub(super) exchange: Exchange,
    pub(super) credentials: Option<Credentials>,
    timeouts: Timeouts,
    /// `send.accept`.
    pub(super) accept: config::Statuses,
    /// `send.accept_body`.
    accept_body: Option<String>,
    /// Bytes of the file that the last attempt has taken.
    taken: u64,
    /// `delivered.keep_answer`.
    keeps_answers: bool,
    /// What is secret in the request under way.
    secrets: Vec<HeaderValue>,
}

/// `send.connect_timeout`, `send.stall_timeout` and `send.response_timeout`.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    connect: Duration,
    stall: Duration,
    response: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// What one attempt came to; the exchange's state says the rest.
pub(super) enum Attempt<B> {
    Answered {
        response: Response<ureq::Body>,
        /// It came before the request was all out.
        is_early: bool,
    },
    Failed(ureq::Error),
    Broken(B),
}

/// A request without a body, and the secrets that it held.
pub(super) struct Asked {
    pub attempt: Attempt<Infallible>,
    pub secrets: Vec<HeaderValue>,
}

impl<B> Attempt<B> {
    pub fn has_status(&self, status: StatusCode) -> bool {
        matches!(self, Attempt::Answered { response, .. } if response.status() == status)
    }
}

impl Client {
    /// A client with no connection yet. `shared` is made of the same configuration.
    pub fn new(send: &config::Send, shared: &Arc<Shared>) -> Client {
        let exchange = Exchange::default();
        let timeouts = Timeouts {
            connect: send.connect_timeout,
            stall: send.stall_timeout,
            response: send.response_timeout,
        };
        Client {
            agent: agent(shared, &exchange, timeouts),
            shared: Arc::clone(shared),
            exchange,
            credentials: send
                .auth
                .clone()
                .map(|auth| Credentials::new(auth, &shared.command)),
            timeouts,
            accept: send.accept.clone(),
            accept_body: send.accept_body.clone(),
            taken: 0,
            keeps_answers: false,
            secrets: Vec::new(),
        }
    }

    /// The same client, which gives as much of answers as is kept beside files, if `keeps`.
    pub fn keeping_answers(self, keeps: bool) -> Client {
        Client {
            keeps_answers: keeps,
            ..self
        }
    }

    /// Whether requests are to carry the file's digest, so that a [`FileMeta`] must have it even
    /// where that costs a reading of its own.
    pub fn needs_sha256(send: &config::Send) -> bool {
        let is_bare = send.body == config::BodyKind::Raw && send.compress == config::Compress::None;
        let signs_it = match &send.auth {
            Some(config::Auth::Aws(aws)) => !(aws.is_s3() && is_https(&send.url)),
            _ => false,
        };
        send.digest == config::Digest::Always && is_bare
            || signs_it
            || send.url.contains("{sha256}")
            || send
                .headers
                .iter()
                .chain(&send.fields)
                .any(|(_, value)| value.contains("{sha256}"))
    }

    /// Closes the connection that is kept for the next file. For a worker that has had nothing to
    /// do for [`IDLE`]: the endpoint closes its side soon, too.
    pub fn close_idle(&mut self) {
        self.agent = agent(&self.shared, &self.exchange, self.timeouts);
    }

    /// Sends a file, and says what came of it.
    pub fn send<B: Body>(&mut self, meta: &FileMeta, body: &mut B) -> Outcome<B::Broken> {
        self.secrets.clear();
        let made = self.shared.template.head(meta);
        let made = made.and_then(|mut head| self.prove(meta, &mut head).map(|()| head));
        let mut head = match made {
            Ok(head) => head,
            Err(sentence) => return Outcome::Local(sentence),
        };
        if self.shared.expectations.are_dropped() {
            head.expect_nothing();
        }
        let mut attempt = self.attempt_as_expected(meta, &mut head, body);
        // A file of credentials is read before each request; a command is asked once more.
        if attempt.has_status(StatusCode::UNAUTHORIZED)
            && let Some((name, value)) = self.credentials.as_mut().and_then(Credentials::renewed)
        {
            self.secrets.push(value.clone());
            head.headers.insert(name, value);
            attempt = match body.rewind() {
                Ok(()) => self.attempt_as_expected(meta, &mut head, body),
                Err(broken) => Attempt::Broken(broken),
            };
        }
        match attempt {
            Attempt::Broken(broken) => Outcome::Broken(broken),
            Attempt::Failed(err) => Outcome::Reply(Reply::Failed(failure_text::failure(
                &err,
                &self.exchange.state(),
                &self.shared.names,
            ))),
            Attempt::Answered { response, is_early } => {
                let reading = answer::Reading {
                    wanted: self.accept_body.as_deref(),
                    early: is_early,
                    keeps: self.keeps_answers,
                };
                let answer = answer::read(response, reading);
                let secrets = self.shared.secrets.with(&self.secrets);
                Outcome::Reply(Reply::Answer(answer::shown(
                    answer,
                    &self.shared.names,
                    &secrets,
                )))
            }
        }
    }

    /// Adds to the head of a request for one file what proves who sends it.
    fn prove(&mut self, meta: &FileMeta, head: &mut Head) -> Result<(), String> {
        if let Some(credentials) = &mut self.credentials {
            let secrets = credentials.prove(ToProve {
                request: Unsigned {
                    method: &head.method,
                    uri: &mut head.uri,
                    headers: &mut head.headers,
                },
                digest: meta.sha256,
            })?;
            self.secrets.extend(secrets);
        }
        Ok(())
    }

    /// For another attempt: a signature is good for a quarter of an hour, and the one before may have
    /// taken longer.
    fn sign_again(&mut self, meta: &FileMeta, head: &mut Head) {
        if self.signs()
            && let Err(why) = self.prove(meta, head)
        {
            log::debug!("another attempt goes with the signature of the one before: {why}");
        }
    }

    /// An attempt, and another one without `Expect` where that was not understood or is dropped.
    fn attempt_as_expected<B: Body>(
        &mut self,
        meta: &FileMeta,
        head: &mut Head,
        body: &mut B,
    ) -> Attempt<B::Broken> {
        let mut attempt = self.attempt_on_live(meta, head, body);
        let is_unknown = attempt.has_status(StatusCode::EXPECTATION_FAILED);
        let is_dropped = matches!(attempt, Attempt::Failed(ref err) if self.may_be_dropped(err));
        if head.expects && (is_unknown || is_dropped) {
            head.expect_nothing();
            self.sign_again(meta, head);
            attempt = match body.rewind() {
                Ok(()) => self.attempt_on_live(meta, head, body),
                Err(broken) => Attempt::Broken(broken),
            };
            if is_dropped && matches!(attempt, Attempt::Answered { .. }) {
                self.shared
                    .expectations
                    .found_dropped(&self.shared.names.endpoint);
            }
        }
        attempt
    }

    /// An attempt, and another one where the connection was stale.
    fn attempt_on_live<B: Body>(
        &mut self,
        meta: &FileMeta,
        head: &mut Head,
        body: &mut B,
    ) -> Attempt<B::Broken> {
        let attempt = self.attempt(meta, head, body);
        if !matches!(attempt, Attempt::Failed(ref err) if self.was_stale(err)) {
            return attempt;
        }
        log::debug!(
            "a kept connection to {} was stale",
            self.shared.names.endpoint
        );
        self.sign_again(meta, head);
        match body.rewind() {
            Ok(()) => self.attempt(meta, head, body),
            Err(broken) => Attempt::Broken(broken),
        }
    }

    /// Whether something on the way may not bear `Expect`: the connection was broken off without a
    /// word, and little of the body was sent. (A body that was on its way for long is not sent again
    /// for that, and what was silent until a timeout is not waited for twice.)
    fn may_be_dropped(&self, err: &ureq::Error) -> bool {
        let state = self.exchange.state();
        let is_silence = matches!(err, ureq::Error::Timeout(_));
        state.was_reached() && !state.has_answer && !is_silence && self.taken <= TAKEN_BEFORE_DROP
    }

    fn was_stale(&self, err: &ureq::Error) -> bool {
        let state = self.exchange.state();
        state.is_reused && !state.has_answer && !matches!(err, ureq::Error::Timeout(_))
    }

    fn attempt<B: Body>(
        &mut self,
        meta: &FileMeta,
        head: &Head,
        body: &mut B,
    ) -> Attempt<B::Broken> {
        let is_gzip = self.shared.template.gzip;
        let is_empty = meta.size == 0 && head.form.is_none() && !is_gzip;
        self.exchange.begin(Plan {
            connect_by: Some(Instant::now() + self.timeouts.connect),
            holds_head: !head.expects && !is_empty,
            is_chunked: is_gzip,
        });
        let mut reader = BodyReader::new(body, meta.size, &self.exchange);
        if let Some(form) = &head.form {
            reader = reader.within(&form.before, &form.after);
        }
        if let Some(rate) = &self.shared.rate {
            reader = reader.limited(rate);
        }
        if is_gzip {
            reader = reader.gzipped();
        }
        let mut request = Request::new(SendBody::from_reader(&mut reader));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let result = self.agent.run(request);
        self.taken = reader.taken();
        let is_all_out = reader.is_done && self.exchange.state().phase != Phase::Stopped;
        match (result, reader.broken) {
            (Ok(response), _) => Attempt::Answered {
                response,
                is_early: !is_empty && !is_all_out,
            },
            (Err(_), Some(broken)) => Attempt::Broken(broken),
            (Err(err), None) => Attempt::Failed(err),
        }
    }

    /// Waits no longer than this for an answer from now on.
    pub(super) fn answer_within(&mut self, limit: Duration) {
        self.timeouts.response = self.timeouts.response.min(limit);
    }

    /// How long an answer is waited for.
    pub(super) fn response_timeout(&self) -> Duration {
        self.timeouts.response
    }

    /// Whether requests are signed for what they ask.
    pub(super) fn signs(&self) -> bool {
        self.credentials.as_ref().is_some_and(Credentials::signs)
    }

    /// A request without a body.
    pub(super) fn ask(&mut self, method: Method, mut uri: Uri) -> Result<Asked, String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = self.shared.template.proxy_authorization() {
            headers.insert(PROXY_AUTHORIZATION, value.clone());
        }
        let secrets = match &mut self.credentials {
            Some(credentials) => credentials.prove(ToProve {
                request: Unsigned {
                    method: &method,
                    uri: &mut uri,
                    headers: &mut headers,
                },
                digest: Some(Sha256::digest(b"").into()),
            })?,
            None => Vec::new(),
        };
        self.exchange.begin(Plan {
            connect_by: Some(Instant::now() + self.timeouts.connect),
            holds_head: false,
            is_chunked: false,
        });
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let attempt = match self.agent.run(request) {
            Ok(response) => Attempt::Answered {
                response,
                is_early: false,
            },
            Err(err) => Attempt::Failed(err),
        };
        Ok(Asked { attempt, secrets })
    }
}

fn is_https(url: &str) -> bool {
    url.get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// ureq, put together from our parts; it has no connection yet.
fn agent(shared: &Shared, exchange: &Exchange, timeouts: Timeouts) -> Agent {
    let dialer = Dialer {
        exchange: exchange.clone(),
        tls: shared.tls.clone(),
        stall: timeouts.stall,
        absolute: match &shared.route {
            ProxyRoute::Forward { .. } => Some(format!("http://{}", shared.authority)),
            _ => None,
        },
        is_proxied: matches!(shared.route, ProxyRoute::ByUreq(_)),
    };
    let resolver = EndpointResolver {
        exchange: exchange.clone(),
        instead: match &shared.route {
            ProxyRoute::Forward { proxy, .. } => Some(proxy.clone()),
            _ => None,
        },
    };
    Agent::with_parts(options(shared, timeouts), dialer, resolver)
}

/// Every option of ureq. (TLS, sockets and buffers are ours: see `connect`.)
fn options(shared: &Shared, timeouts: Timeouts) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .https_only(false)
        .ip_family(IpFamily::Any)
        .proxy(match &shared.route {
            ProxyRoute::ByUreq(proxy) => Some(proxy.clone()),
            _ => None,
        })
        .no_delay(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .save_redirect_history(false)
        .user_agent(match shared.template.is_anonymous() {
            true => AutoHeaderValue::None,
            false => AutoHeaderValue::from(concat!("dirpost/", env!("CARGO_PKG_VERSION"))),
        })
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
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_send_request(None)
        .timeout_await_100(Some(AWAIT_CONTINUE))
        .timeout_send_body(None)
        .timeout_recv_response(Some(timeouts.response))
        .timeout_recv_body(Some(timeouts.stall))
        .build()
}
