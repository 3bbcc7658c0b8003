//! Whether the certificate that the endpoint presents is taken, and why not.
//!
//! webpki decides by the authorities that are trusted. Two things it does not know: a certificate
//! that somebody has named by its fingerprint (`send.tls.fingerprint`), and one in `send.tls.ca` that
//! the endpoint itself presents. Plain `openssl req -x509` makes such a one (CA:TRUE, often without
//! alternative names, by old tools of version 1), which webpki refuses as the endpoint's own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::certificate::{self, Certificate};
use crate::flow::time::date_time;

/// Who is believed.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever presents one of these certificates, by their SHA-256; neither names nor dates count.
    Pinned(Vec<[u8; 32]>),
    /// What an authority vouches for, and the certificates of `send.tls.ca` themselves.
    Authorities {
        webpki: Arc<WebPkiServerVerifier>,
        own: Vec<CertificateDer<'static>>,
    },
}

/// Decides about certificates, and keeps the last one for `check`.
#[derive(Debug)]
pub(super) struct Verifier {
    pub trust: Trust,
    pub algorithms: WebPkiSupportedAlgorithms,
    presented: Mutex<Option<CertificateDer<'static>>>,
}

/// Why a certificate is not taken, where rustls has no word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotPinned {
        presented: String,
    },
    /// Nobody but itself vouches for it.
    SelfSigned {
        presented: String,
    },
    /// It is that of an authority, and stands for the endpoint.
    Authority {
        presented: String,
    },
    /// Of version 1.
    Old {
        presented: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = "set send.tls.ca to its PEM file (then its name and dates must fit), or";
        match self {
            Refusal::NotPinned { presented } => write!(
                f,
                "is none of those in send.tls.fingerprint: it is {presented}; if it was renewed and is \
                 the right one, put that there"
            ),
            Refusal::SelfSigned { presented } => write!(
                f,
                "is signed by itself and by no authority: {remedy} send.tls.fingerprint = \
                 \"{presented}\" if that is the right one"
            ),
            Refusal::Authority { presented } => write!(
                f,
                "is that of an authority (CA:TRUE) and not one for a server: let it be issued again \
                 with basicConstraints=CA:FALSE, {remedy} send.tls.fingerprint = \"{presented}\""
            ),
            Refusal::Old { presented } => write!(
                f,
                "is of version 1, which has no names of hosts: let it be issued again as version 3, \
                 {remedy} send.tls.fingerprint = \"{presented}\""
            ),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

impl Verifier {
    pub fn new(trust: Trust, algorithms: WebPkiSupportedAlgorithms) -> Verifier {
        Verifier {
            trust,
            algorithms,
            presented: Mutex::default(),
        }
    }

    /// The certificate that was presented last, in one line.
    pub fn presented(&self) -> Option<String> {
        let presented = self.presented.lock();
        let der = presented.unwrap_or_else(PoisonError::into_inner).clone()?;
        let print = certificate::fingerprint(&der);
        Some(match certificate::parse(&der) {
            Some(found) => format!(
                "certificate of {}, issued by {}, good until {}, {print}",
                found.subject,
                found.issuer,
                day(found.not_after)
            ),
            None => format!("certificate that cannot be read, {print}"),
        })
    }

    /// Whether it is taken for what it is, and not because an authority vouches for it.
    fn is_named(&self, der: &CertificateDer<'_>) -> bool {
        match &self.trust {
            Trust::Pinned(all) => all.contains(&certificate::digest(der)),
            Trust::Authorities { own, .. } => own.iter().any(|own| own == der),
        }
    }
}

fn day(seconds: i64) -> String {
    date_time(seconds)
        .split('T')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Whether one of `send.tls.ca` is good for the endpoint: its name and its dates.
fn is_for(
    der: &CertificateDer<'_>,
    found: &Certificate,
    host: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time = |seconds: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(seconds).unwrap_or(0),
        ))
    };
    if seconds > found.not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: time(found.not_after),
        }
        .into());
    }
    if seconds < found.not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: time(found.not_before),
        }
        .into());
    }
    if found.has_alternative_names {
        return rustls::client::verify_server_name(&ParsedCertificate::try_from(der)?, host);
    }
    if found.common_name_is(&host.to_str()) {
        return Ok(());
    }
    Err(CertificateError::NotValidForNameContext {
        expected: host.to_owned(),
        presented: vec![found.subject.clone()],
    }
    .into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self
            .presented
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        let taken = Ok(ServerCertVerified::assertion());
        let presented = || certificate::fingerprint(end_entity);
        let webpki = match &self.trust {
            Trust::Pinned(_) if self.is_named(end_entity) => return taken,
            Trust::Pinned(_) => {
                return Err(Refusal::NotPinned {
                    presented: presented(),
                }
                .into());
            }
            Trust::Authorities { webpki, .. } => webpki,
        };
        let refused = match webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            Err(Error::InvalidCertificate(refused)) => refused,
            other => return other,
        };
        let Some(found) = certificate::parse(end_entity) else {
            return Err(refused.into());
        };
        if self.is_named(end_entity) {
            return is_for(end_entity, &found, server_name, now).and(taken);
        }
        let presented = presented();
        Err(match refused {
            // The second and the third: an authority that is trusted has the same name.
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
                if found.is_self_issued =>
            {
                Refusal::SelfSigned { presented }.into()
            }
            CertificateError::Other(_) | CertificateError::BadEncoding if found.version == 1 => {
                Refusal::Old { presented }.into()
            }
            CertificateError::Other(_) if found.is_authority => {
                Refusal::Authority { presented }.into()
            }
            refused => refused.into(),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.is_named(cert) {
            return rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms);
        }
        // webpki may not read it, but its key is all that is needed.
        let found = certificate::parse(cert).ok_or(CertificateError::BadEncoding)?;
        let fitting = self.algorithms.mapping.iter();
        let is_good = fitting
            .filter(|(scheme, _)| *scheme == dss.scheme)
            .flat_map(|(_, algorithms)| *algorithms)
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == found.key_algorithm)
            .any(|algorithm| {
                algorithm
                    .verify_signature(&found.key, message, dss.signature())
                    .is_ok()
            });
        match is_good {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.is_named(cert) {
            return rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        let found = certificate::parse(cert).ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(found.key_info.as_slice());
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
