//! The real binary, measured as a whole: `cargo bench --bench daemon`.
//!
//! Prints its size, its memory at rest, the time from its start to the first delivery, the time
//! from a file's completion to its POST, and how long 20,000 files of 4 KiB take. With
//! `-- --peer PROGRAM` the plain Go daemon (or anything with its flags `-dir -done -dead -url
//! -workers -settle`) does the last one in turn with it, and the ratio is printed: machines are
//! noisy, ratios less so.
//!
//! Linux only: it reads `/proc`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// An endpoint that is never the bottleneck: reads, counts, answers.
struct Receiver {
    url: String,
    count: Arc<AtomicUsize>,
    /// When the last request was answered.
    last: Arc<Mutex<Instant>>,
}

fn receiver() -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (count, last) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(Instant::now())),
    );
    let (counter, clock) = (Arc::clone(&count), Arc::clone(&last));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (counter, clock) = (Arc::clone(&counter), Arc::clone(&clock));
            thread::spawn(move || receive(stream, &counter, &clock));
        }
    });
    Receiver { url, count, last }
}

fn receive(mut stream: TcpStream, count: &AtomicUsize, last: &Mutex<Instant>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone().ok()?);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        *last.lock().ok()? = Instant::now();
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("dirpost-bench-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

fn fill(folder: &Path, count: usize, size: usize) {
    let content = vec![b'x'; size];
    for number in 0..count {
        std::fs::write(folder.join(format!("file{number:06}.bin")), &content).expect("a file");
    }
    // They are to be older than the settle time.
    thread::sleep(Duration::from_millis(1_100));
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what}");
        thread::sleep(Duration::from_micros(200));
    }
}

fn dirpost(folder: &Path, url: &str, extra: &str) -> Child {
    let config = folder.with_extension("toml");
    let text = format!(
        "watch.dir = '{}'\nwatch.interval = \"1s\"\nready.settle = \"1s\"\nsend.url = '{url}'\nsend.proxy = \"none\"\nlog.level = \"warn\"\n{extra}",
        folder.display()
    );
    std::fs::write(&config, text).expect("a configuration");
    Command::new(env!("CARGO_BIN_EXE_dirpost"))
        .arg("--config")
        .arg(config)
        .spawn()
        .expect("dirpost")
}

/// User and system time, in ms; resident and anonymous memory, in KiB.
fn usage(child: &Child) -> (u64, u64, u64) {
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).expect("Linux' /proc")
    };
    let stat = read("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: u64 = [fields[11], fields[12]]
        .iter()
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    let rollup = read("smaps_rollup");
    let field = |name: &str| -> u64 {
        rollup
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    (ticks * 10, field("Rss:"), field("Anonymous:"))
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
    let _ = std::fs::remove_file(folder.with_extension("toml"));
}

fn at_rest() {
    let (folder, receiver) = (folder("rest"), receiver());
    fill(&folder, 10, 1_000);
    let started = Instant::now();
    let child = dirpost(&folder, &receiver.url, "");
    wait("a first delivery", || {
        receiver.count.load(Ordering::SeqCst) > 0
    });
    println!(
        "from the start to the first delivery: {:.1} ms",
        (*receiver.last.lock().unwrap() - started).as_secs_f64() * 1e3
    );
    wait("ten deliveries", || {
        receiver.count.load(Ordering::SeqCst) == 10
    });
    thread::sleep(Duration::from_secs(6));
    let (cpu, rss, private) = usage(&child);
    thread::sleep(Duration::from_secs(20));
    let (later, ..) = usage(&child);
    println!(
        "at rest after 10 deliveries: {rss} KiB resident, {private} KiB of its own; {} ms of CPU in 20 s at an interval of 1 s",
        later - cpu
    );
    end(child);
    remove(&folder);
}

fn latency() {
    let (folder, receiver) = (folder("latency"), receiver());
    let child = dirpost(&folder, &receiver.url, "");
    wait("its state folder", || {
        folder.join(".dirpost/journal").exists()
    });
    let mut beyond = Vec::new();
    for number in 0..20 {
        let draft = folder.join(".draft");
        std::fs::write(&draft, "x").expect("a file");
        std::fs::rename(&draft, folder.join(format!("f{number}"))).expect("renamed");
        let complete = Instant::now();
        wait("its delivery", || {
            receiver.count.load(Ordering::SeqCst) > number
        });
        beyond.push((*receiver.last.lock().unwrap() - complete).as_secs_f64() * 1e3 - 1_000.0);
        thread::sleep(Duration::from_millis(37 * (number as u64 % 7)));
    }
    beyond.sort_by(f64::total_cmp);
    println!(
        "from complete to delivered, beyond settle 1 s, interval 1 s: median {:.1} ms, worst {:.1} ms",
        beyond[10], beyond[19]
    );
    end(child);
    remove(&folder);
}

const COUNT: usize = 20_000;

/// Wall time from the start to the last answer and the last rename, and CPU time, in ms.
fn many(start: impl Fn(&Path, &str) -> Child) -> (f64, u64) {
    let (folder, receiver) = (folder("many"), receiver());
    fill(&folder, COUNT, 4096);
    let started = Instant::now();
    let child = start(&folder, &receiver.url);
    wait("all deliveries", || {
        receiver.count.load(Ordering::SeqCst) >= COUNT
    });
    let left = || {
        std::fs::read_dir(&folder)
            .expect("the folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("file"))
            .count()
    };
    wait("all renames", || left() == 0);
    let wall = started.elapsed().as_secs_f64() * 1e3;
    let (cpu, ..) = usage(&child);
    end(child);
    remove(&folder);
    (wall, cpu)
}

fn peer(program: &str) -> impl Fn(&Path, &str) -> Child + '_ {
    move |folder, url| {
        let beside = |name: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            path
        };
        Command::new(program)
            .arg("-dir")
            .arg(folder)
            .arg("-done")
            .arg(beside(".done"))
            .arg("-dead")
            .arg(beside(".dead"))
            .args(["-url", url, "-workers", "4", "-settle", "1s"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the peer")
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let other = args
        .iter()
        .position(|arg| arg == "--peer")
        .and_then(|at| args.get(at + 1));
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_dirpost"))
        .expect("the binary")
        .len();
    println!("the binary: {:.2} MB", size as f64 / 1e6);
    at_rest();
    latency();
    let (mut ours, mut theirs, mut ratios, mut cpu) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let (wall, used) = many(|folder, url| dirpost(folder, url, ""));
        ours.push(wall);
        println!(
            "{COUNT} files of 4 KiB, 4 workers, moved, journal on: {wall:.0} ms, {used} ms of CPU"
        );
        if let Some(other) = other {
            let (wall, peer_cpu) = many(peer(other));
            println!("  the peer: {wall:.0} ms, {peer_cpu} ms of CPU");
            theirs.push(wall);
            ratios.push(ours[ours.len() - 1] / wall);
            cpu.push(used as f64 / peer_cpu as f64);
        }
    }
    println!(
        "median {:.0} ms: {:.0} files a second",
        median(ours.clone()),
        COUNT as f64 / median(ours) * 1e3
    );
    if !ratios.is_empty() {
        println!(
            "ratio to the peer, medians: wall {:.2}, CPU {:.2}",
            median(ratios),
            median(cpu)
        );
    }
}
