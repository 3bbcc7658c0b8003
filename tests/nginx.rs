//! A real server: Debian's nginx with WebDAV PUT.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use crate::util::{BOUND, Daemon, Dir, Rng, config, skip, wait_until};

/// nginx in the foreground, ended with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM; SIGKILL would leave them.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn start(dir: &Dir) -> Option<(Nginx, u16)> {
    let version = Command::new("nginx").arg("-V").output().ok()?;
    if !String::from_utf8_lossy(&version.stderr).contains("http_dav_module") {
        return None;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    dir.mkdir("www");
    dir.mkdir("tmp");
    let root = dir.path().display();
    // As root nginx drops to another user, who may not write here.
    let user = if rustix_is_root() { "user root;" } else { "" };
    let text = format!(
        "{user} daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;
         events {{ }}
         http {{
           access_log off; client_max_body_size 1g;
           client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
           uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
           server {{
             listen 127.0.0.1:{port}; root {root}/www;
             location / {{ dav_methods PUT; create_full_put_path on; }}
           }}
         }}"
    );
    let file = dir.write("nginx.conf", text);
    let child = Command::new("nginx")
        .arg("-c")
        .arg(file)
        .arg("-p")
        .arg(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut nginx = Nginx(child);
    wait_until("nginx to listen", BOUND, || {
        if nginx.0.try_wait().unwrap().is_some() {
            let mut said = String::new();
            nginx
                .0
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("nginx ended: {said}");
        }
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some((nginx, port))
}

#[cfg(unix)]
fn rustix_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn rustix_is_root() -> bool {
    false
}

#[test]
fn what_nginx_has_on_its_disk_is_byte_for_byte_what_was_dropped() {
    let (dir, place) = (Dir::new(), Dir::new());
    let Some((_nginx, port)) = start(&place) else {
        skip("nginx with its DAV module is not installed");
        return;
    };
    let mut rng = Rng::new(5);
    let mut sources = Vec::new();
    for number in 0..200 {
        let name = match number % 4 {
            0 => format!("plain{number}.csv"),
            1 => format!("sub folder/ü {number}.txt"),
            2 => format!("a/b/100% {number}.bin"),
            _ => format!("q?{number}&x#.json"),
        };
        let size = if number == 7 {
            20 << 20
        } else {
            1 + rng.below(100_000) as usize
        };
        let bytes = crate::util::draw_bytes(&mut rng, size);
        dir.write(&name, &bytes);
        sources.push((name, bytes));
    }
    let url = format!("http://127.0.0.1:{port}/up/{{path}}");
    let _daemon = Daemon::start(&config(dir.path(), &url, "send.method = \"PUT\""));
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    assert_eq!(place.list("www/up").len(), sources.len());
    for (name, bytes) in sources {
        assert!(
            place.read(format!("www/up/{name}")) == bytes,
            "{name} differs"
        );
    }
}
