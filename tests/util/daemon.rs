//! The real binary.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{BOUND, Dir, skip, wait_until};

/// A configuration with short times; `extra` are lines such as `send.workers = 2`.
pub fn config(dir: &Path, url: &str, extra: &str) -> String {
    let mut text = format!("watch.dir = '{}'\nsend.url = '{url}'\n", dir.display());
    for (key, value) in [
        ("watch.interval", "100ms"),
        ("ready.settle", "300ms"),
        ("retry.first", "100ms"),
        ("retry.max", "1s"),
        ("send.proxy", "none"),
    ] {
        if !extra.contains(key) {
            text += &format!("{key} = \"{value}\"\n");
        }
    }
    text + extra + "\n"
}

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Same,
    /// One without rights: nobody (65534 on Linux), and no group but its own.
    Nobody,
}

/// The user and the group of [`User::Nobody`].
pub const NOBODY: u32 = 65534;

impl User {
    /// [`User::Nobody`]; `None`, and a line that says why, where the tests cannot become that.
    #[cfg(unix)]
    pub fn nobody() -> Option<User> {
        if !rustix::process::geteuid().is_root() {
            skip("to run dirpost as nobody the tests must be run by root");
            return None;
        }
        let version = User::Nobody.command().arg("--version").output();
        if version.is_ok_and(|output| output.status.success()) {
            return Some(User::Nobody);
        }
        skip(format!("nobody may not run {PROGRAM}"));
        None
    }

    /// The program, run by this user.
    pub fn command(self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_remove("RUST_LOG");
        #[cfg(unix)]
        if self == User::Nobody {
            use std::os::unix::process::CommandExt as _;
            // Without a list of groups the user keeps none of root's.
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_dirpost");

/// One run of the program to its end.
pub fn dirpost(args: &[&str]) -> Output {
    dirpost_as(User::Same, args)
}

/// The same, by another user.
fn dirpost_as(user: User, args: &[&str]) -> Output {
    user.command().args(args).output().expect("it starts")
}

/// `once`, with a configuration. It says what it does (`-v`), as on a terminal.
pub fn once(config: &str, args: &[&str]) -> Output {
    once_as(User::Same, config, args)
}

/// The same, by another user.
pub fn once_as(user: User, config: &str, args: &[&str]) -> Output {
    let dir = Dir::new();
    let file = dir.write("dirpost.toml", config);
    let file = file.to_str().expect("a path that is text").to_string();
    dirpost_as(user, &[&["once", "-v", "--config", &file], args].concat())
}

/// What `check` says is wrong, with variables in its environment.
pub fn check(config: &str, env: &[(&str, &str)]) -> Vec<String> {
    let dir = Dir::new();
    let file = dir.write("dirpost.toml", config);
    let mut command = User::Same.command();
    command
        .arg("check")
        .arg("--config")
        .arg(file)
        .envs(env.iter().copied());
    let said = String::from_utf8(command.output().expect("it starts").stdout).expect("text");
    assert!(said.contains("the configuration is valid"), "{said}");
    said.lines()
        .filter(|line| line.starts_with("WRONG"))
        .map(str::to_string)
        .collect()
}

/// `run`, until it is dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    dir: Dir,
}

impl Daemon {
    pub fn start(config: &str) -> Daemon {
        Daemon::start_as(User::Same, config)
    }

    /// `run` by another user.
    pub fn start_as(user: User, config: &str) -> Daemon {
        Daemon::start_by(user.command(), config)
    }

    /// `run` with these variables in its environment.
    pub fn start_with(env: &[(&str, &str)], config: &str) -> Daemon {
        let mut command = User::Same.command();
        command.envs(env.iter().copied());
        Daemon::start_by(command, config)
    }

    fn start_by(mut command: Command, config: &str) -> Daemon {
        let dir = Dir::new();
        let file = dir.write("dirpost.toml", config);
        let mut child = command
            .arg("--config")
            .arg(file)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Daemon { child, log, dir }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn has_logged(&self, text: &str) -> bool {
        self.log
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(text))
    }

    pub fn wait_log(&self, text: &str) {
        wait_until(&format!("`{text}` in the log"), BOUND, || {
            self.has_logged(text)
        });
    }

    /// Where its configuration lies.
    pub fn config_file(&self) -> std::path::PathBuf {
        self.dir.join("dirpost.toml")
    }

    /// Writes another configuration, and has it read.
    #[cfg(unix)]
    pub fn reload(&self, config: &str) {
        self.dir.write("dirpost.toml", config);
        self.signal(rustix::process::Signal::HUP);
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn wait_exit(&mut self, bound: Duration) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code().unwrap_or(-1);
            }
            assert!(
                started.elapsed() < bound,
                "it is still running after {bound:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The most memory it ever had, in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("its status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("its peak");
        let number = line.split_whitespace().next().expect("a number");
        number.parse::<u64>().expect("KiB") * 1024
    }

    /// How many threads it has.
    #[cfg(target_os = "linux")]
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .expect("its threads")
            .count()
    }

    /// User and system time so far.
    #[cfg(target_os = "linux")]
    pub fn cpu_time(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        // Fields 14 and 15 of proc(5), in ticks of 10 ms.
        let ticks: u64 = [fields[11], fields[12]]
            .iter()
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(80);
            eprintln!(
                "--- the end of dirpost's log\n{}\n---",
                log[from..].join("\n")
            );
        }
    }
}
