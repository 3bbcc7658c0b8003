//! A server program in the foreground, ended with the test.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::util::{BOUND, Dir, skip, wait_until};

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where `.ci/run` puts the servers that come from npm and cargo's registry.
pub fn servers() -> PathBuf {
    std::env::var_os("DIRPOST_SERVERS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/servers"),
        PathBuf::from,
    )
}

/// Where a program is; servers are often in folders that are in root's PATH alone.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .chain(["bin", "node_modules/.bin"].map(|folder| servers().join(folder)));
    let found = all.map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(format!("{program} is not installed"));
    }
    found
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub struct Service {
    child: Child,
    said: PathBuf,
}

impl Service {
    /// `None` if the program is not installed. What it says is in `NAME.out` in `dir`.
    pub fn start(dir: &Dir, program: &str, args: &[&str], port: u16) -> Option<Service> {
        let path = find(program)?;
        let said = dir.join(format!("{program}.out"));
        let out = File::create(&said).unwrap();
        let child = Command::new(path)
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut service = Service { child, said };
        wait_until(&format!("{program} to listen"), BOUND, || {
            if let Some(status) = service.child.try_wait().unwrap() {
                panic!("{program} ended ({status}): {}", service.said());
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(service)
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id() as i32).expect("a pid");
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Makes an authority and what it issues, with the openssl program: `ca.pem`, and for each
/// name `NAME.pem` and `NAME.key`.
pub fn certificates(dir: &Dir, names: &[&str]) -> Option<()> {
    let openssl = find("openssl")?;
    const NEW: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    let run = |args: String| {
        let out = Command::new(&openssl)
            .args(args.split_whitespace())
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    run(format!(
        "req -x509 {NEW} -keyout ca.key -out ca.pem -subj /CN=Plant-CA"
    ));
    for name in names {
        run(format!(
            "req -x509 {NEW} -CA ca.pem -CAkey ca.key -keyout {name}.key -out {name}.pem -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -addext basicConstraints=CA:FALSE"
        ));
    }
    Some(())
}

/// nginx with WebDAV PUT into `www`: on a plain port, on one with TLS, and on one with TLS
/// that requires a client certificate.
pub struct Nginx {
    pub place: Dir,
    pub plain: u16,
    pub tls: u16,
    pub strict: u16,
    _service: Service,
}

impl Nginx {
    pub fn start() -> Option<Nginx> {
        let place = Dir::new();
        let nginx = find("nginx")?;
        let version = Command::new(nginx).arg("-V").output().ok()?;
        if !String::from_utf8_lossy(&version.stderr).contains("http_dav_module") {
            skip("nginx with its DAV module is not installed");
            return None;
        }
        certificates(&place, &["localhost", "other.example", "me"])?;
        let (plain, tls, strict) = (free_port(), free_port(), free_port());
        place.mkdir("www");
        place.mkdir("tmp");
        let root = place.path().display();
        // As root nginx drops to another user, who may not write here.
        let user = if is_root() { "user root;" } else { "" };
        let put =
            format!("root {root}/www; location / {{ dav_methods PUT; create_full_put_path on; }}");
        let secure = "ssl_certificate localhost.pem; ssl_certificate_key localhost.key;";
        let text = format!(
            "{user} daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;
             events {{ }}
             http {{
               access_log {root}/access.log; client_max_body_size 1g;
               client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
               uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
               server {{ listen 127.0.0.1:{plain}; {put} }}
               server {{ listen 127.0.0.1:{tls} ssl; {secure} {put} }}
               server {{
                 listen 127.0.0.1:{strict} ssl; {secure}
                 ssl_client_certificate ca.pem; ssl_verify_client on; {put}
               }}
             }}"
        );
        let conf = place.write("nginx.conf", text);
        let prefix = place.path().to_str().unwrap().to_string();
        let service = Service::start(
            &place,
            "nginx",
            &["-c", conf.to_str().unwrap(), "-p", &prefix],
            strict,
        )?;
        Some(Nginx {
            place,
            plain,
            tls,
            strict,
            _service: service,
        })
    }

    pub fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }
}
