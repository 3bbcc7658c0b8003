//! A real server: nginx with WebDAV, limits, TLS and client certificates.
//!
//! Without the `nginx` program these tests say so and do nothing.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dirpost::config::Method;

use crate::tls::{Pki, trusting};
use crate::util::*;

struct Nginx {
    child: Child,
    plain: u16,
    secure: u16,
    pki: Pki,
}

impl Nginx {
    fn start(name: &str) -> Option<Nginx> {
        let Ok(_) = Command::new("nginx")
            .arg("-v")
            .stderr(Stdio::null())
            .status()
        else {
            crate::skip::skip("there is no nginx here");
            return None;
        };
        let pki = Pki::new(name)?;
        let port = || {
            TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let (plain, secure) = (port(), port());
        let dir = pki.dir.0.display();
        std::fs::create_dir_all(pki.path("data")).unwrap();
        let user = if cfg!(unix) { "user root;" } else { "" };
        pki.dir.file(
            "nginx.conf",
            &format!(
                "{user} daemon off; master_process off; pid {dir}/pid; error_log {dir}/log;\n\
                 events {{ }}\n\
                 http {{ access_log off; client_body_temp_path {dir}/tmp; root {dir}/data;\n\
                 proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;\n\
                 scgi_temp_path {dir}/s; keepalive_timeout 1s;\n\
                 server {{ listen 127.0.0.1:{plain};\n\
                 location / {{ dav_methods PUT; create_full_put_path on; client_max_body_size 0; }}\n\
                 location /small/ {{ dav_methods PUT; client_max_body_size 1m; }} }}\n\
                 server {{ listen 127.0.0.1:{secure} ssl; ssl_certificate {dir}/server.pem;\n\
                 ssl_certificate_key {dir}/server.key; ssl_client_certificate {dir}/ca.pem;\n\
                 ssl_verify_client on; client_max_body_size 5m;\n\
                 location / {{ dav_methods PUT; create_full_put_path on; }} }} }}\n"
            ),
        );
        let child = Command::new("nginx")
            .args([
                "-c",
                &pki.path("nginx.conf").to_string_lossy(),
                "-p",
                &dir.to_string(),
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", plain)).is_err() {
            assert!(begun.elapsed() < LONG, "nginx does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Nginx {
            child,
            plain,
            secure,
            pki,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn webdav_takes_files_of_any_name_and_size() {
    let Some(nginx) = Nginx::start("nginx-dav") else {
        return;
    };
    let mut config = config(&format!("http://localhost:{}/in/{{path}}", nginx.plain));
    config.method = Method::Put;
    let mut client = client(&config);
    for (path, size) in [("a b/ü%?.bin", 5), ("c.bin", 0), ("d.bin", 30_000_000)] {
        let data: Vec<u8> = (0..size).map(|n: u32| (n * 31) as u8).collect();
        let answer = answer(send(&mut client, path, &mut Bytes::new(data.clone())));
        assert!(answer.status == 201 && !answer.early, "{answer:?}");
        assert!(std::fs::read(nginx.pki.path("data/in").join(path)).unwrap() == data);
    }
    // nginx closes after a second; nobody sees it.
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(
        answer(send(&mut client, "e", &mut Bytes::new("x"))).status,
        201
    );
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_sent() {
    let Some(nginx) = Nginx::start("nginx-413") else {
        return;
    };
    let mut config = config(&format!("http://127.0.0.1:{}/small/{{path}}", nginx.plain));
    config.method = Method::Put;
    let mut client = client(&config);
    for _ in 0..3 {
        let answer = answer(send(&mut client, "a", &mut Bytes::new(vec![0; 20_000_000])));
        assert!(answer.status == 413 && answer.early, "{answer:?}");
    }
}

#[test]
fn client_certificates_open_the_door() {
    let Some(nginx) = Nginx::start("nginx-tls") else {
        return;
    };
    let url = format!("https://localhost:{}/{{path}}", nginx.secure);
    let mut config = trusting(&url, &nginx.pki);
    config.method = Method::Put;
    let refused = answer(send(&mut client(&config), "a", &mut Bytes::new("x")));
    assert_eq!(refused.status, 400);
    assert!(String::from_utf8_lossy(&refused.body).contains("No required SSL certificate"));
    config.tls.client_cert = Some(nginx.pki.path("client.pem"));
    config.tls.client_key = Some(nginx.pki.path("client.key"));
    let mut client = client(&config);
    for (size, status) in [(3, 201), (4_000_000, 204), (8_000_000, 413), (3, 204)] {
        let answer = answer(send(&mut client, "a", &mut Bytes::new(vec![0; size])));
        assert_eq!(answer.status, status);
    }
}
