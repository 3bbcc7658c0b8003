//! Other ways to send the files of a folder: the floor, a bare loop, and programs that people use.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::common::folder::name;

const THREADS: usize = 4;

/// Sends what lies in `dir` in the role `kind`, and moves it into `dir/.done`.
pub fn play(kind: &str, dir: &Path, url: &str) {
    match kind {
        "floor" => side_by_side(dir, |files| raw_sockets(files, url)),
        "ureq" => side_by_side(dir, |files| bare_ureq(files, url)),
        _ => panic!("{kind} sends nothing"),
    }
}

/// The names that are left, for all threads.
struct Files<'a> {
    dir: &'a Path,
    done: PathBuf,
    names: Vec<std::ffi::OsString>,
    next: AtomicUsize,
}

impl Files<'_> {
    fn next(&self) -> Option<PathBuf> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.names.get(at).map(|name| self.dir.join(name))
    }

    fn file_away(&self, path: &Path) {
        let name = path.file_name().expect("a name");
        std::fs::rename(path, self.done.join(name)).expect("moved");
    }
}

fn side_by_side(dir: &Path, send: impl Fn(&Files<'_>) + Sync) {
    let done = dir.join(".done");
    std::fs::create_dir_all(&done).expect("a folder");
    let names = walkdir::WalkDir::new(dir).min_depth(1).max_depth(1);
    let names = names
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| name.as_encoded_bytes().starts_with(b"file"))
        .collect();
    let files = Files {
        dir,
        done,
        names,
        next: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| send(&files));
        }
    });
}

/// The floor: one write and one read for each file, and nothing else but open, read and rename.
fn raw_sockets(files: &Files<'_>, url: &str) {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("a connection");
    stream.set_nodelay(true).expect("nodelay");
    let (mut request, mut answer) = (Vec::new(), [0; 1024]);
    while let Some(path) = files.next() {
        let mut file = File::open(&path).expect("the file");
        let size = file.metadata().expect("its size").len();
        request.clear();
        write!(
            request,
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {size}\r\n\r\n"
        )
        .expect("a head");
        file.read_to_end(&mut request).expect("its bytes");
        stream.write_all(&request).expect("sent");
        assert!(stream.read(&mut answer).expect("an answer") > 0);
        files.file_away(&path);
    }
}

/// What dirpost sends with, and nothing around it.
fn bare_ureq(files: &Files<'_>, url: &str) {
    let agent = ureq::Agent::new_with_defaults();
    while let Some(path) = files.next() {
        let file = File::open(&path).expect("the file");
        let mut answer = agent.post(url).send(file).expect("an answer");
        answer.body_mut().read_to_vec().expect("its body");
        files.file_away(&path);
    }
}

/// The plain Go daemon, or anything with its flags.
pub fn go(program: &Path, dir: &Path, url: &str) -> Command {
    let beside = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        path
    };
    let mut command = Command::new(program);
    command
        .arg("-dir")
        .arg(dir)
        .arg("-done")
        .arg(beside(".done"))
        .arg("-dead")
        .arg(beside(".dead"))
        .args(["-url", url, "-workers", "4", "-settle", "1s"])
        .stderr(Stdio::null());
    command
}

/// Four at a time, one curl for each file, moved when curl says so.
pub fn curl(dir: &Path, url: &str) -> Command {
    std::fs::create_dir_all(dir.join(".done")).expect("a folder");
    let mut command = Command::new("sh");
    let script = "find . -maxdepth 1 -name 'file*' -print0 | xargs -0 -n1 -P4 sh -c \
                  'curl -sf -o /dev/null --data-binary @\"$1\" \"$0\" && mv \"$1\" .done/' \"$0\"";
    command.args(["-c", script, url]).current_dir(dir);
    command
}

/// Into a WebDAV server, which is the nearest that it has to an endpoint.
pub fn rclone(dir: &Path, url: &str) -> Command {
    let mut command = Command::new("rclone");
    command
        .args(["move", "--config", "/dev/null", "--transfers", "4"])
        .args(["--include", "file*", "--webdav-url", url])
        .args(["--webdav-vendor", "other"])
        .arg(dir)
        .arg(":webdav:")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// `curl -T` of all files of [`super::super::common::folder::Folder::fill`], one after the other on one connection.
pub fn curl_upload(dir: &Path, files: usize, url: &str) -> Command {
    let list = dir.join(".curl");
    let lines: String = (0..files)
        .map(|number| {
            let path = dir.join(name(number));
            format!(
                "upload-file = \"{}\"\nurl = \"{url}\"\noutput = \"/dev/null\"\n",
                path.display()
            )
        })
        .collect();
    std::fs::write(&list, lines).expect("a list");
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "--config"]).arg(list);
    command
}

/// Whether this program is installed.
pub fn is_installed(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
