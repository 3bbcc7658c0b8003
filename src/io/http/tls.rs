//! TLS: whom to trust, who we are, and the stream that encrypts.
//!
//! Trusted are the system's certificates (as found by `rustls-native-certs`,
//! which also honours `SSL_CERT_FILE` and `SSL_CERT_DIR`) or the bundled ones,
//! and those of `send.tls.ca` *in addition*; or, with `send.tls.fingerprint`, one certificate and
//! nothing else (see `verifier`). The configuration is read once for
//! all workers.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Error;
use super::stream::Stream;
use super::verifier::{Trust, Verifier};
use crate::config::{Roots, Tls};

/// Bytes that are encrypted before they are passed on.
const PIECE: usize = 32 * 1024;

/// What all connections have in common.
///
/// # Errors
/// A certificate or a key cannot be read or used, or nobody is trusted.
pub(super) fn configure(tls: &Tls) -> Result<(Arc<ClientConfig>, Arc<Verifier>), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(
        trust(tls, &provider)?,
        provider.signature_verification_algorithms,
    ));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| Error(format!("TLS cannot be set up: {err}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>);
    let mut config = match (&tls.client_cert, &tls.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), key) => {
            // Many keep both in one file.
            let key = key.as_ref().unwrap_or(cert);
            let chain = certificates("send.tls.client_cert", cert)?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|err| unreadable("send.tls.client_key", key, "private key", err))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|err| match err {
                    rustls::Error::InconsistentKeys(_) => Error(format!(
                        "the key {} does not belong to the certificate {}: give the key that the \
                     certificate was issued for",
                        key.display(),
                        cert.display()
                    )),
                    err => Error(format!(
                        "the client certificate {} cannot be used: {err}",
                        cert.display()
                    )),
                })?
        }
        (None, Some(_)) => {
            return Err(Error(
                "send.tls.client_key is set and send.tls.client_cert is not: set both".into(),
            ));
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(8);
    Ok((Arc::new(config), verifier))
}

fn trust(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Trust, Error> {
    if !tls.fingerprint.is_empty() {
        return Ok(Trust::Pinned(tls.fingerprint.clone()));
    }
    let own = match &tls.ca {
        Some(path) => certificates("send.tls.ca", path)?,
        None => Vec::new(),
    };
    let roots = Arc::new(trusted(tls, &own)?);
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|err| Error(format!("TLS cannot be set up: {err}")))?;
    Ok(Trust::Authorities { webpki, own })
}

fn trusted(tls: &Tls, own: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let mut trouble = None;
    match tls.roots {
        Roots::Bundled => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            trouble = found.errors.into_iter().next();
        }
    }
    if let Some(path) = &tls.ca {
        let (added, ignored) = store.add_parsable_certificates(own.iter().cloned());
        if added == 0 || ignored > 0 {
            return Err(Error(format!(
                "{} (send.tls.ca) holds a certificate that cannot be read as one of an authority",
                path.display()
            )));
        }
    }
    if store.is_empty() {
        let why = trouble.map(|err| format!(" ({err})")).unwrap_or_default();
        return Err(Error(format!(
            "this system has no trusted certificates{why}: install ca-certificates, point \
             SSL_CERT_FILE to a bundle, set send.tls.ca, or set send.tls.roots = \"bundled\""
        )));
    }
    Ok(store)
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|err| unreadable(key, path, "certificate", err))?;
    if certs.is_empty() {
        return Err(Error(format!(
            "{} ({key}) holds no certificate: it must be a PEM file with BEGIN CERTIFICATE",
            path.display()
        )));
    }
    Ok(certs)
}

fn unreadable(key: &str, path: &Path, what: &str, err: impl Display + Into<PemError>) -> Error {
    let why = match err.into() {
        PemError::Io(err) => format!("cannot be read: {err}"),
        PemError::NoItemsFound => format!("holds no {what}: it must be an unencrypted PEM file"),
        err => format!("is not a PEM file with a {what}: {err}"),
    };
    Error(format!("{} ({key}) {why}", path.display()))
}

/// A stream that encrypts what goes into another.
#[derive(Debug)]
pub(super) struct TlsStream {
    session: ClientConnection,
    below: Box<dyn Stream>,
}

/// Makes the session over `below`.
///
/// # Errors
/// `TimedOut` if it is not made by `deadline`; errors of TLS itself have a [`rustls::Error`]
/// within; else those of the stream below.
pub(super) fn handshake(
    config: Arc<ClientConfig>,
    host: &str,
    below: Box<dyn Stream>,
    deadline: Instant,
) -> io::Result<TlsStream> {
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|_| io::Error::other(rustls::Error::UnsupportedNameType))?;
    let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = TlsStream { session, below };
    while stream.session.is_handshaking() || stream.session.wants_write() {
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let step = if stream.session.wants_write() {
            stream.flush(wait)
        } else {
            stream.take_in(wait).and_then(|amount| match amount {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            })
        };
        match step {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            step => step?,
        }
    }
    Ok(stream)
}

impl TlsStream {
    /// Reads from below and decrypts; 0 is the end.
    fn take_in(&mut self, wait: Duration) -> io::Result<usize> {
        let amount = self.session.read_tls(&mut Below {
            stream: &mut *self.below,
            wait,
        })?;
        if let Err(err) = self.session.process_new_packets() {
            // The peer may learn why; nothing depends on it.
            self.flush(Duration::ZERO).ok();
            return Err(io::Error::new(io::ErrorKind::InvalidData, err));
        }
        Ok(amount)
    }
}

impl Stream for TlsStream {
    fn write(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize> {
        self.flush(wait)?;
        let piece = &bytes[..bytes.len().min(PIECE)];
        let amount = self.session.writer().write(piece)?;
        match self.flush(wait) {
            // Taken, and passed on by the next call.
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(amount),
            flushed => flushed.map(|()| amount),
        }
    }

    fn flush(&mut self, wait: Duration) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Below {
                stream: &mut *self.below,
                wait,
            })?;
        }
        self.below.flush(wait)
    }

    fn read(&mut self, buf: &mut [u8], wait: Duration) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buf) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.take_in(wait)?;
        }
    }

    fn moved(&self) -> u64 {
        self.below.moved()
    }
}

/// The stream below, for as long as one wait lasts.
struct Below<'a> {
    stream: &'a mut dyn Stream,
    wait: Duration,
}

impl Read for Below<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf, self.wait)
    }
}

impl Write for Below<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf, self.wait)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
