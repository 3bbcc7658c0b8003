//! Into an object store that checks signatures: s3s-fs of cargo's registry, which refuses what is unsigned,
//! wrongly signed or too old.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use super::page::config_of;
use super::service::{Service, certificates, find, free_port};
use crate::util::{BOUND, Daemon, Dir, check, config, once, skip, wait_until};

const SECRET: &str = "s3cret/+Key=";

struct Store {
    place: Dir,
    port: u16,
    _service: Service,
}

impl Store {
    /// With a bucket `drop`.
    fn start() -> Option<Store> {
        let (place, port) = (Dir::new(), free_port());
        place.mkdir("objects/drop");
        let objects = place.join("objects").display().to_string();
        let number = port.to_string();
        let args = [
            "--host",
            "127.0.0.1",
            "--port",
            &number,
            "--access-key",
            "AKPLANT7",
            "--secret-key",
            SECRET,
            &objects,
        ];
        let service = Service::start(&place, "s3s-fs", &args, port)?;
        place.write("keys", keys("plant", SECRET));
        Some(Store {
            place,
            port,
            _service: service,
        })
    }

    fn keys(&self) -> PathBuf {
        self.place.join("keys")
    }

    /// `url` and the keys of the store.
    fn config(&self, dir: &Dir, url: &str, more: &str) -> String {
        let extra = format!(
            "send.method = \"PUT\"\nsend.auth = {{ aws_region = \"us-east-1\", aws_credentials_file = \
             '{}', aws_profile = \"plant\" }}\n{more}",
            self.keys().display()
        );
        config(dir.path(), url, &extra)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/drop/{{path}}", self.port)
    }

    fn has(&self, sources: &[(&str, Vec<u8>)], below: &str) {
        for (name, bytes) in sources {
            let object = format!("objects/drop/{below}{name}");
            assert!(self.place.read(&object) == *bytes, "{name} differs");
        }
    }
}

fn keys(profile: &str, secret: &str) -> String {
    format!("[{profile}]\naws_access_key_id = AKPLANT7\naws_secret_access_key = {secret}\n")
}

/// Names with what URLs and signatures treat in a way of its own.
fn odd_files(dir: &Dir) -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "plain.csv",
        "two words.txt",
        "plus+equals=.txt",
        "ü ☃ é.json",
        "~tilde-dot._",
        "per%cent%20.bin",
        "sub/q?a=b&c#d;.xml",
        "'(quote)*!,$@:.txt",
        "[x]{y}^`|\\\"<>.txt",
        "large.bin",
    ];
    let size = |name: &str| if name == "large.bin" { 3 << 20 } else { 700 };
    names
        .map(|name| {
            let bytes = vec![name.len() as u8; size(name)];
            dir.write(name, &bytes);
            (name, bytes)
        })
        .into()
}

#[test]
fn an_object_store_takes_files_of_any_name_over_http_with_their_digests_signed() {
    let Some(store) = Store::start() else { return };
    let dir = Dir::new();
    let sources = odd_files(&dir);
    std::fs::write(store.keys(), keys("default", SECRET)).unwrap();
    let here = format!("http://127.0.0.1:{}/drop", store.port);
    let keys_file = store.keys().display().to_string();
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        ("https://bucket.s3.eu-central-1.amazonaws.com", &here),
        ("/etc/dirpost/aws", &keys_file),
    ];
    let config = config_of("S3, MinIO, Ceph, Garage", &names);
    assert_eq!(check(&config, &[]), [""; 0]);
    let _daemon = Daemon::start(&config);
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    store.has(&sources, "");
}

#[test]
fn an_object_store_behind_tls_takes_files_whose_content_is_not_signed() {
    let Some(store) = Store::start() else { return };
    let (place, port) = (Dir::new(), free_port());
    let Some(()) = certificates(&place, &["localhost"]) else {
        return;
    };
    let root = place.path().display();
    let text = format!(
        "user root; daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log; events {{ }}
         http {{ access_log off; client_max_body_size 0; client_body_temp_path {root}/b;
           proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
           scgi_temp_path {root}/s;
           server {{ listen 127.0.0.1:{port} ssl; ssl_certificate localhost.pem;
             ssl_certificate_key localhost.key;
             location / {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host;
               proxy_request_buffering off; proxy_http_version 1.1; }} }} }}",
        store.port
    );
    let conf = place.write("nginx.conf", text);
    let args = [
        "-c",
        conf.to_str().unwrap(),
        "-p",
        place.path().to_str().unwrap(),
    ];
    let Some(_nginx) = Service::start(&place, "nginx", &args, port) else {
        return;
    };
    let dir = Dir::new();
    let sources = odd_files(&dir);
    // What stands in the URL is signed in its canonical form as well.
    let url = format!("https://localhost:{port}/drop/a%20b+c/{{path}}?x-id=PutObject");
    let ca = format!("send.tls.ca = '{}'", place.join("ca.pem").display());
    let _daemon = Daemon::start(&store.config(&dir, &url, &ca));
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    store.has(&sources, "a b+c/");
}

#[test]
fn wrong_keys_condemn_nothing_and_right_ones_are_taken_without_a_restart() {
    let Some(store) = Store::start() else { return };
    let dir = Dir::new();
    for number in 0..12 {
        dir.write(format!("{number}.csv"), "x");
    }
    let config = store.config(&dir, &store.url(), "log.level = \"trace\"");
    std::fs::write(store.keys(), keys("plant", "wr0ng-s3cret")).unwrap();
    let daemon = Daemon::start(&config);
    daemon.wait_log("SignatureDoesNotMatch");
    let wrong = check(&config, &[]);
    assert!(
        wrong.len() == 1 && wrong[0].contains("SignatureDoesNotMatch"),
        "{wrong:?}"
    );
    std::fs::write(store.keys(), keys("other", SECRET)).unwrap();
    daemon.wait_log("has no profile [plant]");
    assert_eq!(dir.dead(), [""; 0]);
    std::fs::write(store.keys(), keys("plant", SECRET)).unwrap();
    wait_until("all filed", BOUND, || dir.done().len() == 12);
    for secret in ["wr0ng-s3cret", SECRET, "Signature="] {
        assert!(!daemon.has_logged(secret), "{:?}", daemon.log());
    }
}

#[test]
fn the_store_of_these_tests_refuses_what_is_unsigned() {
    let Some(store) = Store::start() else { return };
    let mut stream = TcpStream::connect(("127.0.0.1", store.port)).unwrap();
    let request =
        "PUT /drop/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn a_clock_that_is_wrong_is_named_where_a_store_refuses_signatures_of_another_time() {
    let Some(store) = Store::start() else { return };
    let Some(faketime) = find("faketime") else {
        return;
    };
    let dir = Dir::new();
    dir.write("a.csv", "a");
    let text = store.config(&dir, &store.url(), "");
    let place = Dir::new();
    let file = place.write("dirpost.toml", &text);
    for (shift, says) in [("-20m", "20 min behind"), ("+20m", "20 min ahead of")] {
        // The library of faketime is preloaded: a static program is not reached by it.
        let output = Command::new(&faketime)
            .args(["-f", shift, env!("CARGO_BIN_EXE_dirpost"), "once"])
            .args(["--deadline", "3s", "--config", file.to_str().unwrap()])
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("RequestTimeTooSkewed"), "{said}");
        let named = format!("this machine's clock is {says} the endpoint's");
        assert!(said.contains(&named), "{said}");
    }
    assert_eq!((dir.waiting().len(), dir.dead().len()), (1, 0));
}

mod slow {
    use super::*;

    /// More than fits into 32 bits.
    const SIZE: u64 = (4 << 30) + (64 << 20);

    #[test]
    #[ignore = "slow: it signs and sends 4 GiB"]
    fn an_object_of_more_than_4_gib_is_stored() {
        let Some(store) = Store::start() else { return };
        let room = rustix::fs::statvfs(store.place.path()).unwrap();
        if room.f_bavail * room.f_frsize < 2 * SIZE {
            skip("there is not room enough for an object of 4 GiB");
            return;
        }
        let dir = Dir::new();
        let file = std::fs::File::create(dir.join("sparse.bin")).unwrap();
        file.set_len(SIZE).unwrap();
        let text = store.config(&dir, &store.url(), "send.response_timeout = \"5m\"");
        let run = once(&text, &["--deadline", "20m"]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(0), "{said}");
        let stored = store.place.join("objects/drop/sparse.bin");
        assert_eq!(stored.metadata().unwrap().len(), SIZE);
    }
}
