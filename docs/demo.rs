//! The demo: `cargo run --release --example demo`, about 20 seconds, nothing else installed.
//!
//! It makes a temporary folder and a small HTTP receiver, starts the real dirpost on both, and
//! plays four scenes: a good file, one that is still being written, one that fails validation,
//! and an endpoint that goes away and comes back. The lines with a time are dirpost's own log.
//! At the end it compares what arrived with what was written, shows where everything lies, and
//! exits with 1 if anything is not as it should be.

#![allow(
    clippy::disallowed_methods,
    reason = "these walls stand around the core"
)]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long anything may take before the demo calls it a failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let Err(err) = play() else {
        return ExitCode::SUCCESS;
    };
    eprintln!("\n── demo: FAILED: {err}");
    ExitCode::FAILURE
}

/// A line of the demo, set apart from the log.
fn say(text: &str) {
    println!("\n── demo: {text}\n");
}

fn play() -> Result<()> {
    let program = find_dirpost()?;
    let inbox = Inbox::default();
    let receiver = Receiver::open((Ipv4Addr::LOCALHOST, 0).into(), &inbox)?;
    let stage = Stage::new(receiver.address)?;
    let mut written = Vec::new();

    say("the whole configuration:");
    print!("{}", fs::read_to_string(&stage.config)?);
    say("starting `dirpost run --config dirpost.toml`; the lines with a time are its log");
    let mut dirpost = Dirpost(
        Command::new(program)
            .args(["run", "--config"])
            .arg(&stage.config)
            .spawn()?,
    );
    dirpost.wait_for("dirpost to start", || {
        stage.drop.join(".dirpost/lock").exists()
    })?;

    say("1. a good file is dropped: order-1.json");
    written.push(stage.drop_file("order-1.json", r#"{"order": 1, "total": 129.90}"#)?);
    dirpost.wait_for("order-1.json in done", || {
        stage.done("order-1.json").exists()
    })?;

    say(
        "2. a slow writer: batch-2.json grows every 300 ms for 4 s, and is not sent before it is still",
    );
    written.push(stage.write_slowly("batch-2.json")?);
    if inbox.lock().unwrap().len() > 1 {
        return Err("batch-2.json was sent while it was still being written".into());
    }
    dirpost.wait_for("batch-2.json in done", || {
        stage.done("batch-2.json").exists()
    })?;

    say("3. a file that is not JSON: broken-3.json must not reach the endpoint");
    let broken = stage.drop_file("broken-3.json", r#"{"order": 3, "total": oops}"#)?;
    let both = ["broken-3.json", "broken-3.json.reason.json"].map(|name| stage.dead(name));
    dirpost.wait_for("broken-3.json in dead-letter", || {
        both.iter().all(|path| path.exists())
    })?;

    say("4. the endpoint goes away, and two files are dropped: order-4.json, order-5.json");
    let address = receiver.close()?;
    let both = drop_in_outage(&stage)?;
    say("   both still wait at their place; the endpoint comes back");
    let receiver = Receiver::open(address, &inbox)?;
    dirpost.wait_for("both in done", || {
        both.iter().all(|(name, _)| stage.done(name).exists())
    })?;
    written.extend(both);

    say("that was it: stopping dirpost");
    dirpost.stop()?;
    receiver.close()?;
    let faults =
        show_arrivals(&inbox.lock().unwrap(), &written) + show_folder(&stage, &written, &broken)?;
    if faults > 0 {
        return Err(format!("{faults} of the above is not as it should be").into());
    }
    say("all good: every good file arrived once and whole, and nothing is lost");
    Ok(())
}

/// Two files that are dropped while nobody answers, and wait where they are.
fn drop_in_outage(stage: &Stage) -> Result<[Written; 2]> {
    let both = [
        stage.drop_file("order-4.json", r#"{"order": 4, "total": 8.00}"#)?,
        stage.drop_file("order-5.json", r#"{"order": 5, "total": 15.50}"#)?,
    ];
    thread::sleep(Duration::from_secs(6)); // the outage
    let waits = |(name, _): &Written| stage.drop.join(name).exists();
    if !both.iter().all(waits) {
        return Err("a file left its place though nobody had accepted it".into());
    }
    Ok(both)
}

/// Lists what the receiver got, each compared with what was written. Returns the number of faults.
fn show_arrivals(arrivals: &[Arrival], written: &[Written]) -> usize {
    say("what arrived:");
    println!(
        "   {:<14} {:>5}  {:<10}  Idempotency-Key",
        "file", "bytes", ""
    );
    let mut faults = 0;
    for Arrival { path, key, body } in arrivals {
        let equal = written
            .iter()
            .any(|(name, bytes)| name == path && bytes == body);
        println!(
            "   {path:<14} {:>5}  {}  {key}",
            body.len(),
            if equal { "as written" } else { "DIFFERENT " }
        );
        faults += usize::from(!equal);
    }
    for (name, _) in written {
        let times = arrivals
            .iter()
            .filter(|arrival| arrival.path == *name)
            .count();
        faults += fault(times != 1, &format!("{name} ARRIVED {times} TIMES"));
    }
    let keys: HashSet<_> = arrivals.iter().map(|arrival| &arrival.key).collect();
    faults
        + fault(
            keys.len() != arrivals.len() || keys.contains(&String::new()),
            "A KEY IS MISSING OR NOT UNIQUE",
        )
}

/// Shows where everything lies, and why. Returns the number of faults.
fn show_folder(stage: &Stage, written: &[Written], broken: &Written) -> Result<usize> {
    say("where everything lies:");
    for entry in walkdir::WalkDir::new(&stage.drop).sort_by_file_name() {
        let entry = entry?;
        let (indent, name) = (
            " ".repeat(3 * (entry.depth() + 1)),
            entry.file_name().display(),
        );
        let bytes = format!(" ({} bytes)", entry.metadata()?.len());
        println!(
            "{indent}{name}{}",
            if entry.file_type().is_dir() {
                "/"
            } else {
                &bytes
            }
        );
    }
    say("why broken-3.json is in dead-letter: broken-3.json.reason.json says");
    println!(
        "{}",
        fs::read_to_string(stage.dead("broken-3.json.reason.json"))?.trim_end()
    );
    let differs = |path: &Path, bytes: &[u8]| {
        fault(
            fs::read(path).ok().as_deref() != Some(bytes),
            &format!("NOT AS WRITTEN: {}", path.display()),
        )
    };
    let done: usize = written
        .iter()
        .map(|(name, bytes)| differs(&stage.done(name), bytes))
        .sum();
    let left = fs::read_dir(&stage.drop)?.count() > 1; // beside .dirpost
    Ok(done + differs(&stage.dead(broken.0), &broken.1) + fault(left, "NOT ALL WAS FILED AWAY"))
}

fn fault(is_one: bool, text: &str) -> usize {
    print!(
        "{}",
        if is_one {
            format!("   {text}\n")
        } else {
            String::new()
        }
    );
    usize::from(is_one)
}

/// A file's name, and all that was written to it.
type Written = (&'static str, Vec<u8>);

/// The temporary folder: the configuration, and `drop/`, which is watched. Removed in the end.
struct Stage {
    root: PathBuf,
    config: PathBuf,
    drop: PathBuf,
}

impl Stage {
    fn new(endpoint: SocketAddr) -> Result<Self> {
        let root = std::env::temp_dir().join(format!("dirpost-demo-{}", std::process::id()));
        fs::create_dir(&root).map_err(|err| format!("cannot create {}: {err}", root.display()))?;
        let stage = Stage {
            drop: root.join("drop"),
            config: root.join("dirpost.toml"),
            root,
        };
        fs::create_dir(&stage.drop)?;
        let dir = stage.drop.display().to_string();
        let config = format!(
            r#"[watch]
dir = {dir:?}
interval = "500ms"    # how often the folder is looked at

[ready]
settle = "1s"         # a file is complete when it has held still for so long

[check]
format = "json"       # what is not valid JSON goes to dead-letter ...
grace = "2s"          # ... after this, if it only looks unfinished

[send]
url = "http://{endpoint}/inbox"
proxy = "none"        # whatever the environment says

[retry]
first = "500ms"       # while the endpoint is away: one try after at most so long,
max = "2s"            # then less and less often, up to this
"#
        );
        fs::write(&stage.config, config)?;
        Ok(stage)
    }

    fn drop_file(&self, name: &'static str, content: &str) -> io::Result<Written> {
        fs::write(self.drop.join(name), content)?;
        Ok((name, content.into()))
    }

    /// Appends pieces for about 4 s; only the last one makes the file whole.
    fn write_slowly(&self, name: &'static str) -> Result<Written> {
        let mut whole = String::new();
        let mut file = File::create_new(self.drop.join(name))?;
        for row in 1..=14 {
            let (open, close) = (
                if row == 1 { "[" } else { "," },
                if row == 14 { "]" } else { "" },
            );
            let piece = format!("{open}[{row}, \"{}\"]{close}", "x".repeat(100));
            file.write_all(piece.as_bytes())?;
            whole += &piece;
            if row % 4 == 2 {
                println!(
                    "   batch-2.json has {} bytes{}",
                    whole.len(),
                    if row < 14 { "" } else { ": finished" }
                );
            }
            thread::sleep(Duration::from_millis(if row < 14 { 300 } else { 0 }));
        }
        Ok((name, whole.into()))
    }

    fn done(&self, name: &str) -> PathBuf {
        self.drop.join(".dirpost/done").join(name)
    }

    fn dead(&self, name: &str) -> PathBuf {
        self.drop.join(".dirpost/dead-letter").join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// The dirpost of the same build: `cargo run --example` does not build it, so that is done here.
fn find_dirpost() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let [dir, target] = [2, 3].map(|up| exe.ancestors().nth(up).unwrap_or(&exe)); // target/release, target
    // Set by `cargo run`; without it, what lies there is taken as it is.
    if let Some(cargo) = std::env::var_os("CARGO") {
        let profile = dir
            .file_name()
            .filter(|name| *name != "debug")
            .unwrap_or("dev".as_ref());
        let mut build = Command::new(cargo);
        build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--bin", "dirpost"]);
        // What cargo tells the demo about its package would make the build scripts run again.
        let about_us =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| about_us(&name.to_string_lossy())) {
            build.env_remove(name);
        }
        if !build
            .arg("--profile")
            .arg(profile)
            .arg("--target-dir")
            .arg(target)
            .status()?
            .success()
        {
            return Err("`cargo build --bin dirpost` failed".into());
        }
    }
    let program = dir
        .join("dirpost")
        .with_extension(std::env::consts::EXE_EXTENSION);
    let missing = || {
        format!(
            "no {}: run `cargo build --release --bin dirpost` first",
            program.display()
        )
    };
    if program.exists() {
        Ok(program)
    } else {
        Err(missing().into())
    }
}

/// The real thing, a child process whose log goes to our stderr. Killed when dropped.
struct Dirpost(Child);

impl Dirpost {
    fn wait_for(&mut self, what: &str, is_so: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !is_so() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("dirpost ended ({status}); still waited for: {what}").into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("waited {PATIENCE:?} in vain for: {what}").into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(300)); // lets the log line come before the next words
        Ok(())
    }

    /// Asks it to finish, and waits until it has. Where there is no SIGTERM, it is killed.
    fn stop(&mut self) -> Result<()> {
        #[cfg(unix)]
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        )?;
        #[cfg(not(unix))]
        self.0.kill()?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.0.try_wait()? {
                Some(status) if status.success() || cfg!(not(unix)) => return Ok(()),
                Some(status) => return Err(format!("dirpost ended with {status}").into()),
                None => thread::sleep(Duration::from_millis(50)),
            }
        }
        Err("dirpost does not stop".into())
    }
}

impl Drop for Dirpost {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request that came in whole.
struct Arrival {
    path: String,
    key: String,
    body: Vec<u8>,
}

type Inbox = Arc<Mutex<Vec<Arrival>>>;

/// The endpoint: an HTTP server that keeps what it gets and answers 201.
struct Receiver {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Receiver {
    fn open(address: SocketAddr, inbox: &Inbox) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let closing = Arc::new(AtomicBool::new(false));
        let (inbox, is_closing) = (Arc::clone(inbox), Arc::clone(&closing));
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener
                .incoming()
                .flatten()
                .take_while(|_| !is_closing.load(Ordering::SeqCst))
            {
                connections.extend(stream.try_clone());
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || serve(stream, &inbox));
            }
            for connection in connections {
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
        Ok(Receiver {
            address,
            closing,
            thread,
        })
    }

    /// Closes the port and every connection.
    fn close(self) -> Result<SocketAddr> {
        self.closing.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address)?; // wakes the thread
        self.thread.join().map_err(|_| "the receiver panicked")?;
        Ok(self.address)
    }
}

/// Serves one connection until it ends. A request that breaks off has not arrived.
fn serve(stream: TcpStream, inbox: &Inbox) -> io::Result<()> {
    let mut answer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let (mut path, mut key, mut length) = (String::new(), String::new(), 0);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "x-file-path" => path = value.into(),
                "idempotency-key" => key = value.into(),
                "content-length" => length = value.parse().map_err(io::Error::other)?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        inbox.lock().unwrap().push(Arrival { path, key, body });
        answer.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}
