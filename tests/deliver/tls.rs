//! TLS: whom we trust, who we are, and what is said when it fails.
//!
//! The certificates are made by the `openssl` program; without it these tests
//! say so and do nothing.

mod self_made;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dirpost::config;
use dirpost::flow::endpoint::reply::FailureKind;
use dirpost::io::http::Shared;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use crate::util::*;

pub type Secured = StreamOwned<ServerConnection, std::net::TcpStream>;

/// An authority and what it issued.
pub struct Pki {
    pub dir: Dir,
}

impl Pki {
    pub fn new(name: &str) -> Option<Pki> {
        let dir = Dir::new(name);
        let pki = Pki { dir };
        if Command::new("openssl")
            .arg("version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            crate::skip::skip("there is no openssl program to make certificates with");
            return None;
        }
        pki.openssl(&format!(
            "req -x509 {NEW} -keyout ca.key -out ca.pem -subj /CN=Test-CA"
        ));
        for (who, name) in [
            ("server", "localhost"),
            ("other", "other.example"),
            ("client", "me"),
        ] {
            let ext = format!("subjectAltName=DNS:{name}");
            pki.openssl(&format!(
                "req -x509 {NEW} -CA ca.pem -CAkey ca.key -keyout {who}.key -out {who}.pem \
                 -subj /CN={name} -addext {ext} -addext basicConstraints=CA:FALSE"
            ));
        }
        Some(pki)
    }

    pub fn openssl(&self, args: &str) -> bool {
        let out = Command::new("openssl")
            .args(args.split_whitespace())
            .current_dir(&self.dir.0)
            .output()
            .unwrap();
        if !out.status.success() {
            eprintln!("openssl {args}: {}", String::from_utf8_lossy(&out.stderr));
        }
        out.status.success()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    pub fn server(&self, who: &str, clients: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_file_iter(self.path(&format!("{who}.pem")))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{who}.key"))).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap())
            .unwrap();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

const CA_CONF: &str = "[ca]\ndefault_ca = it\n[it]\ndatabase = index.txt\nserial = serial\n\
    new_certs_dir = .\ncertificate = ca.pem\nprivate_key = ca.key\ndefault_md = sha256\n\
    policy = any\nx509_extensions = ext\n[any]\ncommonName = supplied\n[ext]\n\
    basicConstraints = CA:FALSE\nsubjectAltName = DNS:localhost\n";

const NEW: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";

pub fn serve_tls<T: Send + 'static>(
    config: Arc<ServerConfig>,
    script: impl FnOnce(TcpListener, Arc<ServerConfig>) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    (url, thread::spawn(move || script(listener, config)))
}

pub fn secure(listener: &TcpListener, config: &Arc<ServerConfig>) -> Secured {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(LONG)).unwrap();
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
}

/// The head and as much of the body as came with it.
pub fn head(stream: &mut Secured) -> Option<(String, usize)> {
    let mut got = Vec::new();
    let mut buf = [0; 4096];
    loop {
        if let Some(at) = got.windows(4).position(|end| end == b"\r\n\r\n") {
            return Some((
                String::from_utf8_lossy(&got[..at]).into_owned(),
                got.len() - at - 4,
            ));
        }
        match stream.read(&mut buf) {
            Ok(0) | Err(_) => return None,
            Ok(amount) => got.extend_from_slice(&buf[..amount]),
        }
    }
}

pub fn request(stream: &mut Secured) -> Option<usize> {
    let (head, early) = head(stream)?;
    let len: usize = field(&head, "content-length").map_or(0, |len| len.parse().unwrap());
    let mut rest = Vec::new();
    Read::take(&mut *stream, (len - early) as u64)
        .read_to_end(&mut rest)
        .ok()?;
    Some(len)
}

pub fn trusting(url: &str, pki: &Pki) -> config::Send {
    let mut send = config(url);
    send.tls.ca = Some(pki.path("ca.pem"));
    send
}

#[test]
fn files_of_any_size_go_over_tls_on_one_connection() {
    let Some(pki) = Pki::new("tls-any") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("server", false), |listener, config| {
        let mut stream = secure(&listener, &config);
        let mut seen = Vec::new();
        while let Some(len) = request(&mut stream) {
            seen.push(len);
            stream.write_all(OK.as_bytes()).unwrap();
        }
        seen
    });
    let mut client = client(&trusting(&url, &pki));
    for size in [10, 100_000, 3_000_000, 0, 10] {
        let answer = answer(send(&mut client, "a", &mut Bytes::new(vec![3; size])));
        assert!(answer.status == 200 && !answer.early);
    }
    drop(client);
    assert_eq!(server.join().unwrap(), [10, 100_000, 3_000_000, 0, 10]);
}

#[test]
fn early_answers_are_heard_through_tls() {
    let Some(pki) = Pki::new("tls-early") else {
        return;
    };
    for close in [true, false] {
        let (url, server) = serve_tls(pki.server("server", false), move |listener, config| {
            let mut stream = secure(&listener, &config);
            head(&mut stream);
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 100_000]).unwrap();
            stream
                .write_all(b"HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
            if !close {
                listener.accept().unwrap();
            }
        });
        let mut client = client(&trusting(&url, &pki));
        let mut body = Bytes::new(vec![1; 40_000_000]);
        let answer = answer(send(&mut client, "a", &mut body));
        assert!(answer.status == 413 && answer.early, "{answer:?}");
        drop(std::net::TcpStream::connect(url[8..].trim_end_matches('/')));
        server.join().unwrap();
    }
}

#[test]
fn a_stale_connection_under_tls_is_not_seen() {
    let Some(pki) = Pki::new("tls-stale") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("server", false), |listener, config| {
        for _ in 0..2 {
            let mut stream = secure(&listener, &config);
            request(&mut stream).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
            request(&mut stream);
        }
    });
    let mut client = client(&trusting(&url, &pki));
    let mut body = Bytes::new("x");
    for _ in 0..2 {
        body.at = 0;
        answer(send(&mut client, "a", &mut body));
    }
    drop(client);
    assert_eq!(body.rewinds, 1);
    server.join().unwrap();
}

#[test]
fn a_stalled_server_is_given_up_through_tls() {
    let Some(pki) = Pki::new("tls-stall") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("server", false), |listener, config| {
        let mut stream = secure(&listener, &config);
        head(&mut stream);
        listener.accept().unwrap();
    });
    let mut config = trusting(&url, &pki);
    config.stall_timeout = Duration::from_millis(300);
    let failure = failure(send(
        &mut client(&config),
        "a",
        &mut Bytes::new(vec![1; 40_000_000]),
    ));
    assert_eq!(failure.kind, FailureKind::Timeout, "{}", failure.detail);
    drop(std::net::TcpStream::connect(url[8..].trim_end_matches('/')));
    server.join().unwrap();
}

fn tls_failure(config: &config::Send, server: JoinHandle<()>) -> String {
    let failure = failure(send(&mut client(config), "a", &mut Bytes::new("x")));
    assert_eq!(failure.kind, FailureKind::Tls, "{}", failure.detail);
    server.join().unwrap();
    failure.detail
}

fn shaking(listener: TcpListener, config: Arc<ServerConfig>) {
    let mut stream = secure(&listener, &config);
    if request(&mut stream).is_some() {
        stream.write_all(OK.as_bytes()).unwrap();
    }
}

#[test]
fn certificates_that_are_not_good_are_named_with_what_to_do() {
    let Some(pki) = Pki::new("tls-bad") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("other", false), shaking);
    let detail = tls_failure(&trusting(&url, &pki), server);
    assert!(
        detail.contains("is for other.example, not for localhost"),
        "{detail}"
    );

    let (url, server) = serve_tls(pki.server("server", false), shaking);
    let mut stranger = config(&url);
    stranger.tls.roots = config::Roots::Bundled;
    let detail = tls_failure(&stranger, server);
    assert!(
        detail.contains("not trusted here") && detail.contains("send.tls.ca"),
        "{detail}"
    );

    pki.dir.file("ca.conf", CA_CONF);
    pki.dir.file("index.txt", "");
    pki.dir.file("serial", "01");
    pki.openssl(
        "req -new -newkey rsa:2048 -nodes -keyout old.key -out old.csr -subj /CN=localhost",
    );
    let expired = "ca -batch -notext -config ca.conf -in old.csr -out old.pem \
        -startdate 20200101000000Z -enddate 20200201000000Z";
    if pki.openssl(expired) {
        let (url, server) = serve_tls(pki.server("old", false), shaking);
        let detail = tls_failure(&trusting(&url, &pki), server);
        assert!(detail.contains("expired on 2020-02-01"), "{detail}");
    } else {
        crate::skip::skip("this openssl cannot make an expired certificate");
    }
}

#[test]
fn client_certificates_are_shown_and_missed() {
    let Some(pki) = Pki::new("tls-client") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("server", true), shaking);
    let detail = tls_failure(&trusting(&url, &pki), server);
    assert!(detail.contains("requires a client certificate"), "{detail}");

    let (url, server) = serve_tls(pki.server("server", true), shaking);
    let mut config = trusting(&url, &pki);
    config.tls.client_cert = Some(pki.path("client.pem"));
    config.tls.client_key = Some(pki.path("client.key"));
    assert_eq!(
        answer(send(&mut client(&config), "a", &mut Bytes::new("x"))).status,
        200
    );
    server.join().unwrap();

    config.tls.client_key = Some(pki.path("server.key"));
    let err = Shared::new(&config).unwrap_err().to_string();
    assert!(err.contains("does not belong to the certificate"), "{err}");
    config.tls.client_key = Some(pki.path("server.pem"));
    let err = Shared::new(&config).unwrap_err().to_string();
    assert!(err.contains("holds no private key"), "{err}");
}

#[test]
fn a_ca_file_that_is_none_is_an_error_that_names_it() {
    let dir = Dir::new("tls-ca");
    for (path, word) in [
        (dir.0.join("missing.pem"), "cannot be read"),
        (dir.file("text.pem", "hello"), "holds no certificate"),
    ] {
        let mut config = config("https://localhost/");
        config.tls.ca = Some(path.clone());
        let err = Shared::new(&config).unwrap_err().to_string();
        assert!(
            err.contains(word) && err.contains(&*path.to_string_lossy()),
            "{err}"
        );
        // Nobody reads it for a plain URL.
        config.url = "http://localhost/".into();
        Shared::new(&config).unwrap();
    }
}

#[test]
fn a_port_without_tls_is_said_so() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n");
        drop(peer.rest());
    });
    let mut config = config(&url.replace("http:", "https:"));
    config.tls.roots = config::Roots::Bundled;
    let detail = tls_failure(&config, server);
    assert!(detail.contains("does not speak TLS"), "{detail}");
}
