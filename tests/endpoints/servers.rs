//! Files into nginx and Apache, and what `check` says of them.

use super::page::config_of;
use super::service::{Nginx, Service, certificates, find, free_port, is_root};
use crate::util::{BOUND, Daemon, Dir, Rng, check, config, wait_until};

/// Files of several sizes and names, written to `dir`.
pub fn drop_files(dir: &Dir, seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut rng = Rng::new(seed);
    let sizes = [1, 700, 70_000, 1 << 20, (1 << 20) + 1, 9_000_000];
    let names = [
        "one.csv",
        "two words.txt",
        "ü ☃.json",
        "100%.bin",
        "q?a=b&c#d;.xml",
        "large.dat",
    ];
    names
        .iter()
        .zip(sizes)
        .map(|(name, size)| {
            let bytes = crate::util::draw_bytes(&mut rng, size);
            dir.write(name, &bytes);
            ((*name).to_string(), bytes)
        })
        .collect()
}

/// Delivers `sources`, and looks at what the server has in `folder` of `place`.
pub fn delivers(config: &str, dir: &Dir, sources: &[(String, Vec<u8>)], place: &Dir, folder: &str) {
    let _daemon = Daemon::start(config);
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    for (name, bytes) in sources {
        assert!(
            place.read(format!("{folder}/{name}")) == *bytes,
            "{name} differs"
        );
    }
}

#[test]
fn nginx_takes_files_over_tls_from_an_authority_of_its_own() {
    let Some(nginx) = Nginx::start() else { return };
    let dir = Dir::new();
    let sources = drop_files(&dir, 1);
    let url = format!("https://localhost:{}/in/{{path}}", nginx.tls);
    let extra = format!(
        "send.method = \"PUT\"\nsend.tls.ca = '{}'",
        nginx.path("ca.pem")
    );
    delivers(
        &config(dir.path(), &url, &extra),
        &dir,
        &sources,
        &nginx.place,
        "www/in",
    );
}

#[test]
fn nginx_that_requires_client_certificates_gets_one_or_condemns_nothing() {
    let Some(nginx) = Nginx::start() else { return };
    let dir = Dir::new();
    let sources = drop_files(&dir, 2);
    let url = format!("https://localhost:{}/in/{{path}}", nginx.strict);
    let ca = format!(
        "send.method = \"PUT\"\nsend.tls.ca = '{}'\n",
        nginx.path("ca.pem")
    );
    {
        // nginx answers 400 to everybody without one, and its page says why.
        condemns_nothing(
            &config(dir.path(), &url, &ca),
            &dir,
            "wants a client certificate (status 400)",
        );
    }
    {
        // One of another authority is refused, with 400 as well.
        let place = Dir::new();
        certificates(&place, &["stranger"]);
        let mine = format!(
            "{ca}send.tls.client_cert = '{}'\nsend.tls.client_key = '{}'\n",
            place.join("stranger.pem").display(),
            place.join("stranger.key").display()
        );
        let config = config(dir.path(), &url, &mine);
        condemns_nothing(&config, &dir, "refuses the client certificate (status 400)");
        let wrong = check(&config, &[]);
        assert!(
            wrong.len() == 1 && wrong[0].contains("refuses the client certificate"),
            "{wrong:?}"
        );
    }
    {
        // Plain HTTP into a port that speaks TLS.
        let url = format!("http://localhost:{}/in/{{path}}", nginx.tls);
        condemns_nothing(
            &config(dir.path(), &url, "send.method = \"PUT\""),
            &dir,
            "speaks TLS on this port (status 400)",
        );
    }
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        ("files.example.org", &*format!("localhost:{}", nginx.strict)),
        ("/etc/dirpost/ca.pem", &nginx.path("ca.pem")),
        ("/etc/dirpost/client.pem", &nginx.path("me.pem")),
        ("/etc/dirpost/client.key", &nginx.path("me.key")),
    ];
    delivers(
        &config_of("nginx, WebDAV PUT", &names),
        &dir,
        &sources,
        &nginx.place,
        "www/in",
    );
}

/// The endpoint answers everybody with a status that means a bad file, and says why.
fn condemns_nothing(config: &str, dir: &Dir, says: &str) {
    let before = dir.waiting();
    let daemon = Daemon::start(config);
    daemon.wait_log(says);
    // The gate is closed, and probes go on: four of them, one by one.
    wait_until("some probes", BOUND, || {
        daemon.has_logged("ERROR") || daemon.has_logged("next try")
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(dir.dead(), [""; 0]);
    assert_eq!(dir.waiting(), before);
}

#[test]
fn check_tells_of_certificates_and_ports_in_one_sentence() {
    let Some(nginx) = Nginx::start() else { return };
    let dir = Dir::new();
    let ca = format!("send.tls.ca = '{}'", nginx.path("ca.pem"));
    let (tls, strict, plain, closed) = (nginx.tls, nginx.strict, nginx.plain, free_port());
    let cases = [
        (
            format!("https://localhost:{tls}/"),
            "",
            "from an authority that is not trusted here",
        ),
        (
            format!("https://127.0.0.1:{tls}/"),
            &ca,
            "is for localhost, not for 127.0.0.1",
        ),
        (
            format!("https://localhost:{plain}/"),
            &ca,
            "does not speak TLS on this port",
        ),
        (
            format!("https://localhost:{strict}/"),
            &ca,
            "wants a client certificate",
        ),
        (
            format!("http://localhost:{tls}/"),
            "",
            "speaks TLS on this port",
        ),
        (
            format!("http://localhost:{closed}/"),
            "",
            "refuses connections",
        ),
        ("http://nowhere.invalid/".into(), "", "does not resolve"),
    ];
    for (url, extra, sentence) in cases {
        let wrong = check(&config(dir.path(), &url, extra), &[]);
        assert!(
            wrong.len() == 1 && wrong[0].contains(sentence),
            "{url}: wanted `{sentence}`: {wrong:?}"
        );
        println!("{}", wrong[0]);
    }
    let url = format!("https://localhost:{tls}/");
    assert_eq!(check(&config(dir.path(), &url, &ca), &[]), [""; 0]);
}

#[test]
fn what_check_shows_of_a_certificate_can_be_pinned() {
    let Some(nginx) = Nginx::start() else { return };
    let dir = Dir::new();
    // The name does not fit, and nobody here knows the authority.
    let url = format!("https://127.0.0.1:{}/in/{{path}}", nginx.tls);
    let place = Dir::new();
    let file = place.write("dirpost.toml", config(dir.path(), &url, ""));
    let output = crate::util::dirpost(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said
        .lines()
        .find(|line| line.contains("the endpoint presents a certificate of localhost"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("issued by Plant-CA, good until 20"), "{line}");
    let print = line.rsplit(' ').next().unwrap();
    let extra = format!("send.method = \"PUT\"\nsend.tls.fingerprint = \"{print}\"");
    let sources = drop_files(&dir, 6);
    delivers(
        &config(dir.path(), &url, &extra),
        &dir,
        &sources,
        &nginx.place,
        "www/in",
    );
}

#[test]
fn an_authority_that_the_system_trusts_is_trusted_and_not_with_the_bundled_roots() {
    let Some(nginx) = Nginx::start() else { return };
    let dir = Dir::new();
    let url = format!("https://localhost:{}/", nginx.tls);
    // The system's store is where OpenSSL's variable says it is.
    let store = nginx.path("ca.pem");
    let env = [("SSL_CERT_FILE", &*store)];
    assert_eq!(check(&config(dir.path(), &url, ""), &env), [""; 0]);
    let wrong = check(
        &config(dir.path(), &url, "send.tls.roots = \"bundled\""),
        &env,
    );
    assert!(
        wrong.len() == 1 && wrong[0].contains("not trusted here"),
        "{wrong:?}"
    );
}

/// Apache with mod_dav, where the user `plant` has the password `s3cret`.
struct Apache {
    place: Dir,
    port: u16,
    _service: Service,
}

impl Apache {
    fn start() -> Option<Apache> {
        let openssl = find("openssl")?;
        let (place, port) = (Dir::new(), free_port());
        let hash = std::process::Command::new(openssl)
            .args(["passwd", "-apr1", "s3cret"])
            .output()
            .unwrap();
        let hash = String::from_utf8(hash.stdout).unwrap();
        place.write("users", format!("plant:{hash}"));
        place.mkdir("www/dav");
        place.mkdir("locks");
        // Apache as root serves as somebody else, who must be able to write.
        for name in ["", "www", "www/dav", "locks"] {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(place.join(name), std::fs::Permissions::from_mode(0o777))
                .unwrap();
        }
        let user = if is_root() {
            "User www-data\nGroup www-data"
        } else {
            ""
        };
        let root = place.path().display();
        let modules = "/usr/lib/apache2/modules";
        let mut text = format!(
            "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\n\
             ErrorLog {root}/error.log\nDefaultRuntimeDir {root}\nMutex file:{root} default\n"
        );
        for name in [
            "mpm_event",
            "authn_core",
            "authn_file",
            "authz_core",
            "authz_user",
            "auth_basic",
            "dav",
            "dav_fs",
        ] {
            text += &format!("LoadModule {name}_module {modules}/mod_{name}.so\n");
        }
        text += &format!(
            "{user}\nDavLockDB {root}/locks/db\nDocumentRoot {root}/www\n\
             <Directory {root}/www>\nDav On\nAuthType Basic\nAuthName in\nAuthUserFile {root}/users\n\
             Require valid-user\n</Directory>\n"
        );
        let conf = place.write("apache.conf", text);
        let service = Service::start(
            &place,
            "apache2",
            &["-D", "FOREGROUND", "-f", conf.to_str().unwrap()],
            port,
        )?;
        Some(Apache {
            place,
            port,
            _service: service,
        })
    }
}

#[test]
fn apache_takes_files_with_a_password_that_is_put_right_while_running() {
    let Some(apache) = Apache::start() else {
        return;
    };
    let (dir, keys) = (Dir::new(), Dir::new());
    let sources = drop_files(&dir, 3);
    let password = keys.write("password", "wrong\n");
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        (
            "https://files.example.org",
            &*format!("http://127.0.0.1:{}", apache.port),
        ),
        ("/etc/dirpost/password", password.to_str().unwrap()),
    ];
    let config = config_of("Apache, WebDAV PUT", &names);
    let wrong = check(&config, &[]);
    assert!(wrong.len() == 1 && wrong[0].contains("401"), "{wrong:?}");
    let daemon = Daemon::start(&config);
    daemon.wait_log("401");
    assert!(dir.done().is_empty() && dir.dead().is_empty());
    keys.write("password", "s3cret\n");
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    for (name, bytes) in &sources {
        assert!(
            apache.place.read(format!("www/dav/{name}")) == *bytes,
            "{name} differs"
        );
    }
    assert!(!daemon.has_logged("s3cret"));
    // A collection that does not exist is a 409 in WebDAV: later, not never.
    dir.write("missing/late.csv", "late");
    daemon.wait_log("409");
    assert!(dir.dead().is_empty());
    let made = apache.place.mkdir("www/dav/missing");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o777)).unwrap();
    wait_until("the late one", BOUND, || {
        dir.done().len() == sources.len() + 1
    });
    assert_eq!(apache.place.text("www/dav/missing/late.csv"), "late");
    assert_eq!(check(&config, &[]), [""; 0]);
}

/// Apache with TLS, which asks for a client certificate in `/late` alone.
fn apache_tls() -> Option<(Dir, u16, Service)> {
    let (place, port) = (Dir::new(), free_port());
    certificates(&place, &["localhost", "me"])?;
    place.mkdir("www/late");
    let root = place.path().display();
    let modules = "/usr/lib/apache2/modules";
    let mut text = format!(
        "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\n\
         ErrorLog {root}/error.log\nDefaultRuntimeDir {root}\nMutex file:{root} default\n"
    );
    for name in ["mpm_event", "authz_core", "socache_shmcb", "ssl"] {
        text += &format!("LoadModule {name}_module {modules}/mod_{name}.so\n");
    }
    if is_root() {
        text += "User www-data\nGroup www-data\n";
    }
    text += &format!(
        "DocumentRoot {root}/www\nSSLEngine on\nSSLCertificateFile {root}/localhost.pem\n\
         SSLCertificateKeyFile {root}/localhost.key\nSSLCACertificateFile {root}/ca.pem\n\
         <Location /late>\nSSLVerifyClient require\n</Location>\n"
    );
    let conf = place.write("apache.conf", text);
    let args = ["-D", "FOREGROUND", "-f", conf.to_str().unwrap()];
    let service = Service::start(&place, "apache2", &args, port)?;
    Some((place, port, service))
}

#[test]
fn apache_that_says_that_the_way_is_wrong_condemns_nothing() {
    let Some((place, port, _apache)) = apache_tls() else {
        return;
    };
    let dir = Dir::new();
    for number in 0..12 {
        dir.write(format!("{number}.csv"), "x");
    }
    let extra = |more: &str| {
        let path = |name: &str| place.join(name).display().to_string();
        format!(
            "send.reject = [400, 403]\nsend.tls = {{ ca = '{}', client_cert = '{}', client_key = '{}' }}\n{more}",
            path("ca.pem"),
            path("me.pem"),
            path("me.key")
        )
    };
    for (url, says) in [
        (
            format!("http://localhost:{port}/"),
            "speaks TLS on this port (status 400)",
        ),
        (
            format!("https://localhost:{port}/late/x"),
            "wants a client certificate for this path alone",
        ),
    ] {
        let config = config(dir.path(), &url, &extra(""));
        condemns_nothing(&config, &dir, says);
        let wrong = check(&config, &[]);
        assert!(wrong.len() == 1 && wrong[0].contains(says), "{wrong:?}");
    }
}

/// The smallest DICOM file: an image without pixels, of the study `number`.
fn dicom(number: u32) -> Vec<u8> {
    fn element(group: u16, element: u16, kind: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(if kind == b"LO" { b' ' } else { 0 });
        }
        let mut out = [group.to_le_bytes(), element.to_le_bytes(), *kind].concat();
        if kind == b"OB" {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        }
        out.extend_from_slice(&value);
        out
    }
    const CAPTURE: &[u8] = b"1.2.840.10008.5.1.4.1.1.7";
    const EXPLICIT: &[u8] = b"1.2.840.10008.1.2.1";
    let id = |kind: u32| format!("1.2.3.{kind}.{number}").into_bytes();
    let meta = [
        element(2, 1, b"OB", &[0, 1]),
        element(2, 2, b"UI", CAPTURE),
        element(2, 3, b"UI", &id(1)),
        element(2, 0x10, b"UI", EXPLICIT),
        element(2, 0x12, b"UI", b"1.2.3"),
    ]
    .concat();
    let data = [
        element(8, 0x16, b"UI", CAPTURE),
        element(8, 0x18, b"UI", &id(1)),
        element(0x10, 0x20, b"LO", b"P1"),
        element(0x20, 0xd, b"UI", &id(2)),
        element(0x20, 0xe, b"UI", &id(3)),
    ]
    .concat();
    let length = element(2, 0, b"UL", &(meta.len() as u32).to_le_bytes());
    [&[0; 128][..], b"DICM", &length, &meta, &data].concat()
}

#[test]
fn orthanc_takes_images_and_refuses_what_is_none() {
    let (place, dir, keys, port) = (Dir::new(), Dir::new(), Dir::new(), free_port());
    let text = serde_json::json!({
        "HttpPort": port, "DicomServerEnabled": false, "Plugins": [], "AuthenticationEnabled": true,
        "StorageDirectory": place.join("store"), "IndexDirectory": place.join("store"),
        "RemoteAccessAllowed": false, "RegisteredUsers": { "plant": "s3cret" },
    });
    let conf = place.write("orthanc.json", text.to_string());
    let Some(_orthanc) = Service::start(&place, "Orthanc", &[conf.to_str().unwrap()], port) else {
        return;
    };
    for number in 1..=20 {
        dir.write(format!("{number}.dcm"), dicom(number));
    }
    dir.write("none.dcm", "this is no image");
    let password = keys.write("password", "s3cret");
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        ("orthanc.example.org:8042", &*format!("127.0.0.1:{port}")),
        ("/etc/dirpost/password", password.to_str().unwrap()),
    ];
    let config = config_of("Orthanc, `/instances`", &names);
    assert_eq!(check(&config, &[]), [""; 0]);
    let daemon = Daemon::start(&config);
    wait_until("all filed", BOUND, || dir.waiting().is_empty());
    assert_eq!(
        (dir.done().len(), dir.dead()),
        (20, vec!["none.dcm".to_string()])
    );
    assert!(
        dir.reason("none.dcm")
            .to_string()
            .contains("Bad file format")
    );
    // Orthanc closes idle connections after one second: no failure.
    for number in 21..=23 {
        std::thread::sleep(std::time::Duration::from_millis(900));
        dir.write(format!("{number}.dcm"), dicom(number));
    }
    wait_until("all filed", BOUND, || dir.done().len() == 23);
    assert!(!daemon.has_logged("ERROR"));
    let stored = place.list("store").len();
    assert!(stored >= 23, "{stored}");
}
