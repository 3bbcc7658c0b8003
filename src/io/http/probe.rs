//! `dirpost check` asks the endpoint, and harms nobody.
//!
//! It asks with `OPTIONS`, which changes nothing on any server and is answered
//! by most; what it cannot tell is whether a file would be accepted. The URL's
//! templates are filled in with a name that says whose question it is. Some
//! servers know of no address in a question with `OPTIONS` (404): those are
//! asked once more with `GET`, which changes nothing, either.

use std::sync::Arc;

use ureq::http::{Method, StatusCode, Uri};

use super::client::{Attempt, Client};
use super::{FileMeta, answer, failure_text, template};
use crate::flow::endpoint::server_page::wrong_way;
use crate::flow::endpoint::words::said_and_wanted;
use crate::flow::time::Wall;

/// What the endpoint said to `dirpost check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Nothing is known to stand in the way of sending.
    pub fine: bool,
    /// One sentence for a person.
    pub sentence: String,
    /// The certificate that the endpoint presented, in one line; nothing of it can forge a line.
    pub certificate: Option<String>,
}

/// Asks, and puts what came of it into a sentence.
pub(super) fn probe(client: &mut Client) -> Probe {
    let (fine, sentence) = ask(client);
    let presented = client
        .shared
        .verifier
        .as_ref()
        .and_then(|all| all.presented());
    Probe {
        fine,
        sentence,
        certificate: presented.map(|text| answer::harmless(text.as_bytes())),
    }
}

/// Whether nothing is known to stand in the way, and a sentence.
fn ask(client: &mut Client) -> (bool, String) {
    let wrong = |sentence| (false, sentence);
    let credentials = client.credentials.as_mut().map(|all| all.header());
    let secret = match credentials.transpose() {
        Ok(credentials) => credentials.map(|(_, value)| value),
        Err(sentence) => return wrong(sentence),
    };
    let meta = FileMeta {
        path: b"dirpost-check",
        size: 0,
        mtime: Wall(0),
        key: "check",
        sha256: None,
    };
    let shared = Arc::clone(&client.shared);
    let url = template::fill(shared.template.url(), &meta);
    let uri = match Uri::try_from(url) {
        Ok(uri) => uri,
        Err(err) => return wrong(format!("send.url is not a URL: {err}")),
    };
    client.close_idle();
    let mut attempt = client.ask(Method::OPTIONS, uri.clone());
    let endpoint = &shared.names.endpoint;
    let is_unknown = attempt.has_status(StatusCode::NOT_FOUND);
    if is_unknown {
        if shared.template.names_file() {
            return (true, not_there_yet(endpoint));
        }
        attempt = client.ask(Method::GET, uri);
    } else if matches!(attempt, Attempt::Failed(ref err) if !matches!(err, ureq::Error::Timeout(_)))
        && shared.tls.is_none()
    {
        // OpenSSL, and Apache with it, tells plain HTTP on a TLS port by GET, HEAD, POST and PUT alone.
        let again = client.ask(Method::GET, uri);
        if again.has_status(StatusCode::BAD_REQUEST) {
            attempt = again;
        }
    }
    match attempt {
        Attempt::Answered { response, .. } => {
            let answer = answer::read(response, None, false);
            let secrets = shared.secrets.with(secret.as_ref());
            let answer = answer::shown(answer, &shared.names, &secrets);
            let (fine, mut sentence) = match (answer.status, wrong_way(&answer)) {
                (status, Some(way)) => return (false, way.sentence(endpoint, status)),
                (status @ 300..=399, None) if client.accept.contains(status) => {
                    (true, format!("{endpoint} answers (OPTIONS: {status})"))
                }
                (200..=299, None) if is_unknown => (true, no_options(endpoint, 404)),
                (status, None) => meaning(endpoint, status, answer.location.as_deref()),
            };
            if !fine {
                sentence += &said_and_wanted(&answer);
            }
            (fine, sentence)
        }
        Attempt::Failed(err) => {
            wrong(failure_text::failure(&err, &client.exchange.state(), &shared.names).detail)
        }
        Attempt::Broken(never) => match never {},
    }
}

fn no_options(endpoint: &str, status: u16) -> String {
    format!(
        "{endpoint} answers; it does not take OPTIONS (status {status}), so nothing is known of \
         sending"
    )
}

fn not_there_yet(endpoint: &str) -> String {
    format!(
        "{endpoint} answers; it has no file of the name that was asked for (status 404), so \
         nothing is known of what it will say to a new one"
    )
}

fn meaning(endpoint: &str, status: u16, location: Option<&str>) -> (bool, String) {
    match status {
        200..=299 => (true, format!("{endpoint} answers (OPTIONS: {status})")),
        400 | 405 | 406 | 411 | 415 | 422 | 501 => (true, no_options(endpoint, status)),
        300..=399 => (
            false,
            format!(
                "{endpoint} redirects to {} (status {status}), and redirects are not followed: \
                 put the final address into send.url",
                location.unwrap_or("an address it does not name")
            ),
        ),
        401 => (
            false,
            format!("{endpoint} wants credentials or refuses these (status 401): check send.auth"),
        ),
        403 => (
            false,
            format!(
                "{endpoint} forbids OPTIONS here (status 403): check send.auth and the rights \
                 there (presigned URLs allow the sending alone, and answer so)"
            ),
        ),
        404 => (
            false,
            format!(
                "{endpoint} knows no such address (status 404 to OPTIONS and GET): check the path \
                 of send.url"
            ),
        ),
        407 => (
            false,
            format!(
                "the proxy on the way to {endpoint} wants a password (status 407): write it into its \
                 URL, in send.proxy or the environment"
            ),
        ),
        _ => (false, format!("{endpoint} answers with status {status}")),
    }
}
