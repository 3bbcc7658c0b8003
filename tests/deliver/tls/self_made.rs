//! Certificates that nobody else has signed, and pins.

use super::*;

/// A server with any certificate, also one that rustls itself would not take, and one version of TLS.
fn serving_any(
    pki: &Pki,
    who: &str,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(pki.path(&format!("{who}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{who}.key"))).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let key = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap();
    Arc::new(
        builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(key)),
    )
}

/// The certificates that people make by themselves, and what plain OpenSSL makes of each.
fn self_made(pki: &Pki) {
    for (who, name, key) in [
        // CA:TRUE, and no alternative names.
        ("plain", "localhost", NEW),
        ("rsa", "localhost", "-newkey rsa:2048 -nodes -days 30"),
        ("wrong", "nas.example", NEW),
        ("twin", "localhost", NEW),
    ] {
        pki.openssl(&format!(
            "req -x509 {key} -keyout {who}.key -out {who}.pem -subj /CN={name}"
        ));
    }
    pki.openssl(&format!(
        "req -x509 {NEW} -keyout named.key -out named.pem -subj /CN=x -addext subjectAltName=DNS:localhost"
    ));
    // Version 1.
    pki.openssl("req -new -newkey rsa:2048 -nodes -keyout v1.key -out v1.csr -subj /CN=localhost");
    pki.openssl("x509 -req -in v1.csr -signkey v1.key -out v1.pem -days 30");
}

fn fingerprint(pki: &Pki, who: &str) -> [u8; 32] {
    use sha2::Digest as _;
    let der = CertificateDer::from_pem_file(pki.path(&format!("{who}.pem"))).unwrap();
    sha2::Sha256::digest(&der).into()
}

#[test]
fn a_certificate_of_send_tls_ca_that_the_endpoint_presents_is_taken_if_its_name_fits() {
    let Some(pki) = Pki::new("tls-own") else {
        return;
    };
    self_made(&pki);
    for version in [&TLS12, &TLS13] {
        for who in ["plain", "rsa", "named", "v1"] {
            let (url, server) = serve_tls(serving_any(&pki, who, version), shaking);
            let mut config = config(&url);
            config.tls.roots = config::Roots::Bundled;
            config.tls.ca = Some(pki.path(&format!("{who}.pem")));
            let answer = answer(send(&mut client(&config), "a", &mut Bytes::new("x")));
            assert_eq!(answer.status, 200, "{who}");
            server.join().unwrap();
        }
        // Another name, and another key under the same name.
        for (who, ca, says) in [
            ("wrong", "wrong", "is for nas.example, not for localhost"),
            ("twin", "plain", "(CA:TRUE)"),
        ] {
            let (url, server) = serve_tls(serving_any(&pki, who, version), shaking);
            let mut config = config(&url);
            config.tls.roots = config::Roots::Bundled;
            config.tls.ca = Some(pki.path(&format!("{ca}.pem")));
            let detail = tls_failure(&config, server);
            assert!(detail.contains(says), "{who}: {detail}");
        }
    }
}

#[test]
fn a_pinned_certificate_is_taken_whoever_signed_it_and_no_other() {
    let Some(pki) = Pki::new("tls-pin") else {
        return;
    };
    self_made(&pki);
    for version in [&TLS12, &TLS13] {
        // Of a stranger's authority, with another name, of version 1.
        for who in ["server", "other", "plain", "wrong", "v1"] {
            let (url, server) = serve_tls(serving_any(&pki, who, version), shaking);
            let mut config = config(&url);
            // The next one is there already.
            config.tls.fingerprint = vec![[7; 32], fingerprint(&pki, who)];
            let answer = answer(send(&mut client(&config), "a", &mut Bytes::new("x")));
            assert_eq!(answer.status, 200, "{who}");
            server.join().unwrap();
        }
        // Neither a twin nor what an authority vouches for.
        for (who, pinned) in [("twin", "plain"), ("server", "other")] {
            let (url, server) = serve_tls(serving_any(&pki, who, version), shaking);
            let mut config = trusting(&url, &pki);
            config.tls.fingerprint = vec![fingerprint(&pki, pinned)];
            let detail = tls_failure(&config, server);
            let print: Vec<String> = fingerprint(&pki, who)
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect();
            let says = format!(
                "none of those in send.tls.fingerprint: it is SHA256:{}",
                print.join(":")
            );
            assert!(detail.contains(&says), "{detail}");
        }
    }
}

/// Who copies a certificate has not its key.
#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let Some(pki) = Pki::new("tls-copied") else {
        return;
    };
    self_made(&pki);
    for version in [&TLS12, &TLS13] {
        for (copied, keys) in [("v1", "rsa"), ("plain", "twin")] {
            std::fs::copy(pki.path(&format!("{copied}.pem")), pki.path("copy.pem")).unwrap();
            std::fs::copy(pki.path(&format!("{keys}.key")), pki.path("copy.key")).unwrap();
            let (url, server) = serve_tls(serving_any(&pki, "copy", version), shaking);
            let mut config = config(&url);
            config.tls.fingerprint = vec![fingerprint(&pki, copied)];
            let detail = tls_failure(&config, server);
            assert!(detail.contains("signature"), "{detail}");
        }
    }
}

#[test]
fn each_kind_of_self_made_certificate_is_named_with_what_to_do() {
    let Some(pki) = Pki::new("tls-kinds") else {
        return;
    };
    self_made(&pki);
    pki.openssl(&format!(
        "req -x509 {NEW} -keyout leaf.key -out leaf.pem -subj /CN=localhost -addext \
         subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE"
    ));
    pki.openssl(&format!(
        "req -x509 {NEW} -CA ca.pem -CAkey ca.key -keyout purpose.key -out purpose.pem -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE -addext \
         extendedKeyUsage=clientAuth"
    ));
    for (who, says) in [
        ("plain", "is that of an authority (CA:TRUE)"),
        ("leaf", "is signed by itself and by no authority"),
        ("v1", "is of version 1"),
        ("purpose", "is not for servers"),
    ] {
        let (url, server) = serve_tls(serving_any(&pki, who, &TLS13), shaking);
        let detail = tls_failure(&trusting(&url, &pki), server);
        assert!(detail.contains(says), "{who}: {detail}");
        assert!(detail.contains("SHA256:") || who == "purpose", "{detail}");
    }
}

#[test]
fn one_of_send_tls_ca_that_has_expired_is_named_with_its_date_and_can_be_pinned() {
    let Some(pki) = Pki::new("tls-own-old") else {
        return;
    };
    pki.dir
        .file("ca.conf", &CA_CONF.replace("CA:FALSE", "CA:TRUE"));
    pki.dir.file("index.txt", "");
    pki.dir.file("serial", "01");
    pki.openssl(
        "req -new -newkey rsa:2048 -nodes -keyout old.key -out old.csr -subj /CN=localhost",
    );
    let expired = "ca -batch -notext -selfsign -keyfile old.key -config ca.conf -in old.csr -out \
        old.pem -startdate 20200101000000Z -enddate 20200201000000Z";
    if !pki.openssl(expired) {
        crate::skip::skip("this openssl cannot make an expired certificate");
        return;
    }
    let (url, server) = serve_tls(serving_any(&pki, "old", &TLS13), shaking);
    let mut config = config(&url);
    config.tls.roots = config::Roots::Bundled;
    config.tls.ca = Some(pki.path("old.pem"));
    let detail = tls_failure(&config, server);
    assert!(detail.contains("expired on 2020-02-01"), "{detail}");

    let (url, server) = serve_tls(serving_any(&pki, "old", &TLS13), shaking);
    config.url = url.as_str().into();
    config.tls.fingerprint = vec![fingerprint(&pki, "old")];
    let answer = answer(send(&mut client(&config), "a", &mut Bytes::new("x")));
    assert_eq!(answer.status, 200);
    server.join().unwrap();
}

#[test]
fn check_shows_the_certificate_that_is_presented() {
    let Some(pki) = Pki::new("tls-shown") else {
        return;
    };
    self_made(&pki);
    for (who, issuer) in [("plain", "localhost"), ("server", "Test-CA")] {
        let (url, server) = serve_tls(serving_any(&pki, who, &TLS13), shaking);
        let mut config = config(&url);
        config.tls.roots = config::Roots::Bundled;
        let probe = client(&config).probe();
        assert!(!probe.fine);
        let shown = probe.certificate.unwrap();
        let says = format!("certificate of localhost, issued by {issuer}, good until 20");
        assert!(
            shown.contains(&says) && shown.contains("SHA256:"),
            "{shown}"
        );
        drop(server.join());
    }
}
