//! Through real proxies: http:// forwarded, https:// tunnelled, SOCKS.

use super::servers::{delivers, drop_files};
use super::service::{Nginx, Service, free_port, is_root};
use crate::util::{Daemon, Dir, check, config};

/// Both kinds of URL through the proxy.
fn goes_through(nginx: &Nginx, proxy: &str) {
    for (number, url) in [
        format!("http://localhost:{}/a/{{path}}", nginx.plain),
        format!("https://localhost:{}/b/{{path}}", nginx.tls),
    ]
    .iter()
    .enumerate()
    {
        let dir = Dir::new();
        let sources = drop_files(&dir, 10 + number as u64);
        let extra = format!(
            "send.method = \"PUT\"\nsend.proxy = \"{proxy}\"\nsend.tls.ca = '{}'\nsend.response_timeout = \"20s\"",
            nginx.path("ca.pem")
        );
        delivers(
            &config(dir.path(), url, &extra),
            &dir,
            &sources,
            &nginx.place,
            ["www/a", "www/b"][number],
        );
    }
}

/// Without the password nothing is sent, and `check` says who wants one.
fn is_asked_for_a_password(nginx: &Nginx, proxy: &str) {
    for url in [
        format!("http://localhost:{}/c/x", nginx.plain),
        format!("https://localhost:{}/c/x", nginx.tls),
    ] {
        let dir = Dir::new();
        dir.write("a", "a");
        let extra = format!(
            "send.proxy = \"{proxy}\"\nsend.tls.ca = '{}'",
            nginx.path("ca.pem")
        );
        let text = config(dir.path(), &url, &extra);
        let daemon = Daemon::start(&text);
        daemon.wait_log("nothing is lost");
        assert!(dir.done().is_empty() && dir.dead().is_empty());
        let wrong = check(&text, &[]);
        assert!(wrong.len() == 1 && wrong[0].contains("proxy"), "{wrong:?}");
    }
}

#[test]
fn tinyproxy_forwards_and_tunnels() {
    let Some(nginx) = Nginx::start() else { return };
    let (place, port) = (Dir::new(), free_port());
    let log = place.join("log");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nLogFile \"{}\"\nLogLevel Connect\n\
         BasicAuth me s3cret\n",
        log.display()
    );
    let conf = place.write("tinyproxy.conf", text);
    let Some(_proxy) = Service::start(
        &place,
        "tinyproxy",
        &["-d", "-c", conf.to_str().unwrap()],
        port,
    ) else {
        return;
    };
    goes_through(&nginx, &format!("http://me:s3cret@127.0.0.1:{port}"));
    let log = place.text("log");
    assert!(
        log.contains(&format!("CONNECT localhost:{}", nginx.tls)),
        "{log}"
    );
    assert!(
        log.contains(&format!("PUT http://localhost:{}/a/", nginx.plain)),
        "{log}"
    );
    is_asked_for_a_password(&nginx, &format!("http://127.0.0.1:{port}"));
}

#[test]
fn squid_forwards_and_tunnels() {
    let Some(nginx) = Nginx::start() else { return };
    let (place, port) = (Dir::new(), free_port());
    let root = place.path().display();
    if is_root() {
        // Squid as root works as somebody else, who writes its logs here.
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let text = format!(
        "http_port 127.0.0.1:{port}\nhttp_access allow all\ncache deny all\npid_filename {root}/pid\n\
         access_log stdio:{root}/access.log\ncache_log {root}/cache.log\ncoredump_dir {root}\n\
         netdb_filename none\npinger_enable off\nshutdown_lifetime 0 seconds\n"
    );
    let conf = place.write("squid.conf", text);
    // Its own name, so that it shares no memory segments with another one.
    let name = format!("dp{port}");
    let args = ["-N", "-n", &name, "-f", conf.to_str().unwrap()];
    let Some(_proxy) = Service::start(&place, "squid", &args, port) else {
        return;
    };
    goes_through(&nginx, &format!("http://127.0.0.1:{port}"));
    let log = place.text("access.log");
    assert!(
        log.contains(&format!("CONNECT localhost:{}", nginx.tls)),
        "{log}"
    );
    assert!(
        log.contains(&format!("PUT http://localhost:{}/a/", nginx.plain)),
        "{log}"
    );
}

#[test]
fn socks_with_a_password_carries_both() {
    let Some(nginx) = Nginx::start() else { return };
    let (place, port) = (Dir::new(), free_port());
    let number = port.to_string();
    let args = ["-i", "127.0.0.1", "-p", &number, "-u", "me", "-P", "s3cret"];
    let Some(proxy) = Service::start(&place, "microsocks", &args, port) else {
        return;
    };
    goes_through(&nginx, &format!("socks5://me:s3cret@127.0.0.1:{port}"));
    for port in [nginx.plain, nginx.tls] {
        assert!(
            proxy.said().contains(&format!(":{port}")),
            "{}",
            proxy.said()
        );
    }
    is_asked_for_a_password(&nginx, &format!("socks5://127.0.0.1:{port}"));
}
