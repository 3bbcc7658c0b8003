//! Failures in one sentence: what was tried, what went wrong, what to do.

use std::io;

use rustls::{AlertDescription, CertificateError};

use super::exchange::State;
use super::harmless::harmless;
use super::verifier::Refusal;
use crate::flow::endpoint::reply::{Failure, FailureKind};
use crate::flow::time::date_time;

/// Whom the sentences speak of.
#[derive(Debug)]
pub(super) struct PeerNames {
    /// `send.url` without its query.
    pub url: String,
    /// The endpoint's host and port.
    pub endpoint: String,
    /// The proxy's, where there is one.
    pub proxy: Option<String>,
    pub stall: String,
    pub connect: String,
    pub response: String,
}

impl PeerNames {
    /// Whom the connection is made to.
    fn peer(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}"),
            None => self.endpoint.clone(),
        }
    }
}

/// What went wrong. It may quote what a certificate or a proxy says, so nothing in it can forge a
/// line of the log.
pub(super) fn failure(err: &ureq::Error, state: &State, names: &PeerNames) -> Failure {
    let Failure { kind, detail } = described(err, state, names);
    Failure {
        kind,
        detail: harmless(detail.as_bytes()),
    }
}

fn described(err: &ureq::Error, state: &State, names: &PeerNames) -> Failure {
    let fail = |kind, detail| Failure { kind, detail };
    if let Some(tls) = tls_error(err) {
        return fail(FailureKind::Tls, tls_sentence(tls, &names.endpoint));
    }
    match err {
        ureq::Error::Timeout(reason) => timeout(*reason, state, names),
        ureq::Error::HostNotFound => fail(FailureKind::Resolve, unresolved(names, None)),
        ureq::Error::Io(err) if !state.was_reached() => connecting(err, state, names),
        ureq::Error::Io(err) => fail(FailureKind::Broken, broken(err, state, names)),
        ureq::Error::ConnectProxyFailed(why) => fail(FailureKind::Connect, proxied(why, names)),
        ureq::Error::Protocol(err) => fail(
            FailureKind::Broken,
            format!(
                "what {} answered is not HTTP ({err}): check scheme and port of send.url",
                names.endpoint
            ),
        ),
        ureq::Error::LargeResponseHeader(..) => fail(
            FailureKind::Broken,
            format!(
                "the head of {}'s answer is larger than 64 KiB",
                names.endpoint
            ),
        ),
        err if !state.was_reached() => fail(
            FailureKind::Connect,
            format!("no connection to {}: {err}", names.peer()),
        ),
        err => fail(
            FailureKind::Broken,
            format!("the exchange with {} failed: {err}", names.endpoint),
        ),
    }
}

fn timeout(reason: ureq::Timeout, state: &State, names: &PeerNames) -> Failure {
    let (kind, detail) = match reason {
        ureq::Timeout::Resolve => (
            FailureKind::Resolve,
            format!(
                "the name of {} was not resolved within send.connect_timeout ({}): check the \
                 name servers",
                names.peer(),
                names.connect
            ),
        ),
        ureq::Timeout::RecvResponse => (
            FailureKind::Timeout,
            format!(
                "{} took the file and gave no answer within send.response_timeout ({})",
                names.endpoint, names.response
            ),
        ),
        _ if !state.was_reached() => (
            FailureKind::Connect,
            format!(
                "no connection to {} within send.connect_timeout ({}): check host, port and \
                 firewalls",
                names.peer(),
                names.connect
            ),
        ),
        _ => (
            FailureKind::Timeout,
            format!(
                "{} took no byte of the file for send.stall_timeout ({})",
                names.endpoint, names.stall
            ),
        ),
    };
    Failure { kind, detail }
}

fn connecting(err: &io::Error, state: &State, names: &PeerNames) -> Failure {
    let peer = names.peer();
    if state.fault == Some(FailureKind::Resolve) {
        return Failure {
            kind: FailureKind::Resolve,
            detail: unresolved(names, Some(err)),
        };
    }
    if state.fault == Some(FailureKind::Tls) {
        let detail = format!(
            "{} ended the TLS handshake ({err}): check that the port of send.url speaks https \
             and whether it asks for a client certificate (send.tls.client_cert)",
            names.endpoint
        );
        return Failure {
            kind: FailureKind::Tls,
            detail,
        };
    }
    let detail = match err.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{peer} refuses connections: check the port and whether the server runs")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("there is no way to {peer} ({err}): check network and routes")
        }
        _ => format!("no connection to {peer}: {err}"),
    };
    Failure {
        kind: FailureKind::Connect,
        detail,
    }
}

fn unresolved(names: &PeerNames, err: Option<&io::Error>) -> String {
    let why = err.map(|err| format!(" ({err})")).unwrap_or_default();
    let key = if names.proxy.is_some() {
        "send.proxy"
    } else {
        "send.url"
    };
    format!(
        "the name of {} does not resolve{why}: check {key} and the name servers",
        names.peer()
    )
}

fn broken(err: &io::Error, state: &State, names: &PeerNames) -> String {
    let endpoint = &names.endpoint;
    match (err.kind(), state.has_answer) {
        (io::ErrorKind::UnexpectedEof, true) => {
            format!("{endpoint} closed the connection in the middle of its answer")
        }
        (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted, false) => {
            format!("{endpoint} closed the connection without an answer")
        }
        _ => format!("the connection to {endpoint} broke: {err}"),
    }
}

/// ureq says `proxy server responded 407/407`.
fn proxied(why: &str, names: &PeerNames) -> String {
    let proxy = names.peer();
    let endpoint = &names.endpoint;
    let status = why
        .rsplit(' ')
        .next()
        .and_then(|word| word.split('/').next());
    match status {
        Some("407") => format!(
            "{proxy} wants a user and password: write send.proxy = \
             \"http://user:${{PASSWORD}}@host:port\""
        ),
        Some("403") => format!("{proxy} does not allow connections to {endpoint} (status 403)"),
        Some(status) if status.parse::<u16>().is_ok() => {
            format!("{proxy} could not connect to {endpoint} (status {status})")
        }
        _ => format!("{proxy} did not connect to {endpoint}: {why}"),
    }
}

/// The error of TLS within, however deep.
fn tls_error(err: &ureq::Error) -> Option<&rustls::Error> {
    match err {
        ureq::Error::Rustls(err) => Some(err),
        ureq::Error::Io(err) => {
            let inner = err.get_ref()?;
            inner
                .downcast_ref::<rustls::Error>()
                .or_else(|| inner.source().and_then(|err| err.downcast_ref()))
                .or_else(|| inner.downcast_ref::<ureq::Error>().and_then(tls_error))
        }
        _ => None,
    }
}

fn tls_sentence(err: &rustls::Error, endpoint: &str) -> String {
    use rustls::Error as E;
    match err {
        E::InvalidCertificate(err) => certificate_sentence(err, endpoint),
        E::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => format!(
                "{endpoint} requires a client certificate: set send.tls.client_cert and \
                 send.tls.client_key"
            ),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => format!(
                "{endpoint} does not accept the client certificate of send.tls.client_cert \
                 (alert {alert:?}): it may be expired, or issued by another authority than the \
                 server trusts"
            ),
            AlertDescription::HandshakeFailure => format!(
                "{endpoint} refused the TLS handshake (alert {alert:?}): it may require a client \
                 certificate (send.tls.client_cert), or only ciphers older than TLS 1.2's"
            ),
            AlertDescription::ProtocolVersion => {
                format!("{endpoint} speaks no TLS that is still safe: it must offer TLS 1.2 or 1.3")
            }
            AlertDescription::UnrecognisedName => {
                format!(
                    "{endpoint} has no certificate for the host name of send.url: check the name"
                )
            }
            alert => format!("{endpoint} ended TLS with the alert {alert:?}"),
        },
        E::InvalidMessage(_) => format!(
            "{endpoint} does not speak TLS on this port: check whether send.url should be http:// \
             or have another port"
        ),
        E::PeerIncompatible(why) => format!(
            "{endpoint} and dirpost have no kind of TLS in common ({why:?}): it must offer TLS \
             1.2 or 1.3"
        ),
        err => format!("TLS with {endpoint} failed: {err}"),
    }
}

fn certificate_sentence(err: &CertificateError, endpoint: &str) -> String {
    use CertificateError as C;
    match err {
        C::UnknownIssuer => format!(
            "the certificate of {endpoint} is from an authority that is not trusted here: install \
             the authority's certificate in the system, or set send.tls.ca to its PEM file"
        ),
        C::NotValidForNameContext {
            expected,
            presented,
        } => {
            let presented = if presented.is_empty() {
                "no name at all".to_owned()
            } else {
                let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
                names.join(", ")
            };
            format!(
                "the certificate of {endpoint} is for {presented}, not for {}: use a name it is \
                 for in send.url, or have it issued again",
                expected.to_str()
            )
        }
        C::NotValidForName => {
            format!(
                "the certificate of {endpoint} is for another name: use a name it is for in \
                 send.url"
            )
        }
        C::ExpiredContext { not_after, .. } => format!(
            "the certificate of {endpoint} expired on {}: it must be renewed on the server (or \
             this machine's clock is wrong)",
            day(not_after.as_secs())
        ),
        C::Expired => format!(
            "the certificate of {endpoint} has expired: it must be renewed on the server (or this \
             machine's clock is wrong)"
        ),
        C::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {endpoint} is valid only from {}: check this machine's clock",
            day(not_before.as_secs())
        ),
        C::NotValidYet => {
            format!("the certificate of {endpoint} is not valid yet: check this machine's clock")
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => format!(
            "the certificate of {endpoint} is not for servers (its extended key usage lacks \
             serverAuth): let it be issued again for a server"
        ),
        C::BadSignature | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "the certificate of {endpoint} carries a signature that is not its issuer's: it was \
             changed, or send.tls.ca holds an authority of the same name with another key"
        ),
        C::BadEncoding | C::UnhandledCriticalExtension => {
            format!("the certificate of {endpoint} cannot be read ({err}): let it be issued again")
        }
        C::UnsupportedSignatureAlgorithmContext { .. } => format!(
            "the certificate of {endpoint} is signed in a way that is no longer safe (SHA-1, say): \
             let it be issued again"
        ),
        C::Other(other) if other.0.is::<Refusal>() => {
            format!("the certificate of {endpoint} {}", other.0)
        }
        C::Revoked => format!("the certificate of {endpoint} has been revoked"),
        err => format!("the certificate of {endpoint} cannot be accepted: {err}"),
    }
}

/// rustls writes a presented name as `DnsName("example.org")`.
fn plain_name(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

fn day(seconds: u64) -> String {
    let text = date_time(i64::try_from(seconds).unwrap_or(i64::MAX));
    text.split('T').next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_peer_says_can_forge_a_line() {
        let names = PeerNames {
            url: "https://h/in".into(),
            endpoint: "h:443".into(),
            proxy: None,
            stall: "30s".into(),
            connect: "10s".into(),
            response: "2m".into(),
        };
        let said = "x\nERROR [dirpost] forged\u{9b}31m\u{85}";
        for err in [
            ureq::Error::ConnectProxyFailed(said.into()),
            ureq::Error::Io(io::Error::other(said)),
            ureq::Error::BadUri(said.into()),
            ureq::Error::Rustls(rustls::Error::General(said.into())),
            ureq::Error::Rustls(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForNameContext {
                    expected: rustls::pki_types::ServerName::try_from("h").unwrap(),
                    presented: vec![format!("DnsName(\"{said}\")")],
                },
            )),
        ] {
            let failure = failure(&err, &State::default(), &names);
            assert!(failure.detail.contains("%0A"), "{failure:?}");
            assert!(!failure.detail.contains(char::is_control), "{failure:?}");
        }
    }
}
