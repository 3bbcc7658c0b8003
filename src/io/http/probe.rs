//! `dirpost check` asks the endpoint, and harms nobody.
//!
//! It asks with `OPTIONS`, which changes nothing on any server and is answered
//! by most; what it cannot tell is whether a file would be accepted. The URL's
//! templates are filled in with a name that says whose question it is. Some
//! servers know of no address in a question with `OPTIONS` (404): those are
//! asked once more with `GET`, which changes nothing, either. Object stores are asked with a signed
//! `GET` at once: to `OPTIONS` they answer without looking at the signature.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::{Method, StatusCode, Uri};

use super::client::{Attempt, Client};
use super::harmless::harmless;
use super::{FileMeta, answer, failure_text, template};
use crate::flow::endpoint::object_store;
use crate::flow::endpoint::reply::Answer;
use crate::flow::endpoint::server_page::wrong_way;
use crate::flow::endpoint::words::said_and_wanted;
use crate::flow::time::Wall;

/// How long the answer is waited for, at most: a person waits for it, and nothing was sent that an
/// endpoint could have to work on.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

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

impl Client {
    /// Asks the endpoint how it is, sending no file, and puts what came of it into a sentence:
    /// `dirpost check` does.
    pub fn probe(&mut self) -> Probe {
        self.answer_within(ANSWER_WITHIN);
        let (fine, sentence) = ask(self);
        let verifier = self.shared.verifier.as_ref();
        let presented = verifier.and_then(|all| all.presented());
        Probe {
            fine,
            sentence,
            certificate: presented.map(|text| harmless(text.as_bytes())),
        }
    }
}

/// Whether nothing is known to stand in the way, and a sentence.
fn ask(client: &mut Client) -> (bool, String) {
    let wrong = |sentence| (false, sentence);
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
    let is_signed = client.signs();
    let first = if is_signed {
        Method::GET
    } else {
        Method::OPTIONS
    };
    let mut asked = match client.ask(first, uri.clone()) {
        Ok(asked) => asked,
        Err(sentence) => return wrong(sentence),
    };
    let endpoint = &shared.names.endpoint;
    let is_unknown = !is_signed && asked.attempt.has_status(StatusCode::NOT_FOUND);
    if is_unknown && shared.template.names_file() {
        return (true, not_there_yet(endpoint));
    }
    // OpenSSL, and Apache with it, tells plain HTTP on a TLS port by GET, HEAD, POST and PUT alone.
    let is_broken =
        matches!(&asked.attempt, Attempt::Failed(err) if !matches!(err, ureq::Error::Timeout(_)));
    if is_unknown || is_broken && shared.tls.is_none() {
        match client.ask(Method::GET, uri) {
            Ok(again) if is_unknown || again.attempt.has_status(StatusCode::BAD_REQUEST) => {
                asked = again;
            }
            Ok(_) => {}
            Err(sentence) => return wrong(sentence),
        }
    }
    match asked.attempt {
        Attempt::Answered { response, .. } => {
            let answer = answer::read(response, answer::Reading::default());
            let secrets = shared.secrets.with(&asked.secrets);
            let answer = answer::shown(answer, &shared.names, &secrets);
            judged(client, &answer, is_unknown)
        }
        Attempt::Failed(ureq::Error::Timeout(ureq::Timeout::RecvResponse)) => wrong(format!(
            "{endpoint} takes connections, and gave no answer to a question (not a file) within {}: \
             does the server behind it hang?",
            humantime::format_duration(client.response_timeout())
        )),
        Attempt::Failed(err) => {
            wrong(failure_text::failure(&err, &client.exchange.state(), &shared.names).detail)
        }
        Attempt::Broken(never) => match never {},
    }
}

/// What an answer says. `is_unknown`: the endpoint knew of no such address when it was asked with
/// `OPTIONS`.
fn judged(client: &Client, answer: &Answer, is_unknown: bool) -> (bool, String) {
    let endpoint = &client.shared.names.endpoint;
    let (fine, mut sentence) = match (answer.status, wrong_way(answer)) {
        (status, Some(way)) => return (false, way.sentence(endpoint, status)),
        (status, None) if client.signs() => of_signed(endpoint, status, answer),
        (status @ 300..=399, None) if client.accept.contains(status) => {
            (true, format!("{endpoint} answers (OPTIONS: {status})"))
        }
        (200..=299, None) if is_unknown => (true, no_options(endpoint, 404)),
        (status, None) => meaning(endpoint, status, answer.location.as_deref()),
    };
    if !fine {
        sentence += &said_and_wanted(answer);
    }
    (fine, sentence)
}

/// What the answer to a signed GET says. Who may only write is refused with a code of its own, which
/// comes after the signature was found right.
fn of_signed(endpoint: &str, status: u16, answer: &Answer) -> (bool, String) {
    let code = object_store::code(&answer.body);
    match (status, code) {
        (200..=299, _) | (404, Some("NoSuchKey")) => (
            true,
            format!("{endpoint} accepts the signature; whether it takes files is not known yet"),
        ),
        (403, Some("AccessDenied")) => (
            true,
            format!(
                "{endpoint} does not let these credentials read (AccessDenied); whether they may write \
                 is not known yet"
            ),
        ),
        (404, Some("NoSuchBucket")) => (
            false,
            format!("{endpoint} has no such bucket (status 404): check send.url"),
        ),
        (_, Some(_)) => (
            false,
            format!("{endpoint} answers with status {status}: check send.auth"),
        ),
        (_, None) => {
            let (fine, sentence) = meaning(endpoint, status, answer.location.as_deref());
            (fine, sentence.replace("OPTIONS", "GET"))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_to_a_signed_question_is_judged_by_its_code() {
        for (status, code, fine, says) in [
            (200, "", true, "accepts the signature"),
            (404, "NoSuchKey", true, "accepts the signature"),
            (
                403,
                "AccessDenied",
                true,
                "does not let these credentials read",
            ),
            (404, "NoSuchBucket", false, "no such bucket"),
            (403, "SignatureDoesNotMatch", false, "check send.auth"),
            (
                400,
                "AuthorizationHeaderMalformed",
                false,
                "check send.auth",
            ),
            (403, "", false, "forbids GET here"),
        ] {
            let mut answer = Answer::default();
            if !code.is_empty() {
                answer.body = format!("<Error><Code>{code}</Code></Error>").into_bytes();
            }
            let (found, sentence) = of_signed("h:443", status, &answer);
            assert_eq!(found, fine, "{sentence}");
            assert!(sentence.contains(says), "{sentence}");
        }
    }
}
