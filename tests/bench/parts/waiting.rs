//! Files that wait for an endpoint that is away.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::common::config::Config;
use crate::common::folder::Folder;
use crate::common::options::Options;
use crate::common::receiver::Receiver;
use crate::common::table::{Table, mb, thousands};
use crate::common::wait;

pub fn measure(options: &Options) -> Table {
    let seconds = Duration::from_secs;
    let files = options.size.pick(100_000, 10_000, 40);
    let rest = options.size.pick(seconds(30), seconds(6), seconds(1));
    let trust = options.size.pick(seconds(15), seconds(6), seconds(1));
    let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
    let address = free_address();
    let config = Config::new(watched.path(), &format!("http://{address}/"))
        .text("watch.interval", "2s")
        .text("retry.max", "2s")
        .quiet();
    let program = config.start(options, "run", &folder);
    wait("its state folder", || {
        watched.path().join(".dirpost/journal").exists()
    });
    std::thread::sleep(seconds(1));
    let empty = program.memory().resident as f64;

    watched.fill(files, 64);
    std::thread::sleep(trust);
    let (begun, before) = (Instant::now(), program.cpu());
    std::thread::sleep(rest);
    let share = (program.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let waiting = program.memory();

    program.forget_peak();
    let receiver = Receiver::on(address).expect("the address is still free");
    wait("all deliveries", || receiver.count() >= files);
    wait("all to be moved", || watched.left() == 0);
    let delivering = program.memory();
    std::thread::sleep(trust);
    let after = program.memory();
    program.stop();

    let per_file = |bytes: f64| format!("{:.0}", (bytes - empty) / files as f64);
    let mut table = Table {
        title: format!(
            "{} files wait for an endpoint that is away",
            thousands(files as f64)
        ),
        method: format!(
            "`dirpost run` with an interval of 2 s; the files have names of 15 bytes and come into one folder while \
             nothing listens at the endpoint's address. Resident memory beyond that of the same process \
             before the files came ({}), for each file; processor time over {} s that begin {} s after the last file \
             has come. Then the endpoint comes back, all files are delivered and moved, and after {} s what is \
             left is read.",
            mb(empty),
            rest.as_secs(),
            trust.as_secs(),
            trust.as_secs()
        ),
        head: vec!["what", "dirpost", "in all"],
        ..Table::default()
    };
    for (what, bytes) in [
        ("bytes a file while they wait", waiting.resident),
        ("bytes a file at the peak of waiting", waiting.peak),
        ("bytes a file at the peak of delivering", delivering.peak),
        ("bytes a file left when they are delivered", after.resident),
    ] {
        let bytes = bytes as f64;
        table.row([what.into(), per_file(bytes), mb(bytes)]);
    }
    let cpu = format!("{:.2} % of a core", share * 100.0);
    table.row(["CPU while they wait".into(), cpu, String::new()]);
    table
}

/// An address on loopback at which nothing listens.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}
