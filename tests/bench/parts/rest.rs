//! What the program is and takes when it has next to nothing to do.

use std::time::{Duration, Instant};

use crate::common::config::Config;
use crate::common::folder::Folder;
use crate::common::options::Options;
use crate::common::process::Running;
use crate::common::receiver::Receiver;
use crate::common::table::{Table, mb};
use crate::common::{median, wait};
use crate::peers::sending;

const FILES: usize = 10;

pub fn measure(options: &Options) -> Table {
    let seconds = Duration::from_secs;
    let rest = options.size.pick(seconds(60), seconds(10), seconds(1));
    let mut table = Table {
        title: format!("At rest, {FILES} files"),
        method: format!(
            "After {FILES} deliveries that were moved, interval 2 s: resident memory, of which private what \
             belongs to the process alone (the rest is the program itself), and processor time over {} s, for \
             a minute. From complete to delivered: files renamed into place, interval 1 s and settle 1 s, the time \
             from the rename to the POST beyond the settle time, median and worst of {}.",
            rest.as_secs(),
            arrivals(options)
        ),
        head: vec!["what", "dirpost", "the plain Go daemon"],
        ..Table::default()
    };
    let size = |program: &std::path::Path| {
        let bytes = std::fs::metadata(program).expect("the binary").len();
        format!("{:.2} MB", bytes as f64 / 1e6)
    };
    let ours = at_rest(options, rest, None);
    let theirs = options
        .peer
        .as_deref()
        .map(|peer| at_rest(options, rest, Some(peer)));
    if theirs.is_none() {
        table.left_out("the plain Go daemon (give it by --peer)");
    }
    let their = |value: fn(&AtRest) -> String| theirs.as_ref().map(value).unwrap_or_default();
    table.row([
        "the binary".into(),
        size(&options.program),
        options.peer.as_deref().map(size).unwrap_or_default(),
    ]);
    for (what, value) in [
        (
            "memory",
            (|at: &AtRest| mb(at.resident)) as fn(&AtRest) -> String,
        ),
        ("memory, private", |at: &AtRest| mb(at.private)),
        ("CPU a minute", |at: &AtRest| {
            format!("{:.1} ms", at.cpu * 1e3)
        }),
        ("start to the first delivery", |at: &AtRest| {
            format!("{:.1} ms", at.first * 1e3)
        }),
    ] {
        table.row([what.into(), value(&ours), their(value)]);
    }
    let (median, worst) = from_complete_to_delivered(options);
    table.row([
        "from complete to delivered, beyond settle".into(),
        format!("{median:.1} ms, worst {worst:.1} ms"),
        String::new(),
    ]);
    table
}

fn arrivals(options: &Options) -> usize {
    options.size.pick(20, 5, 1)
}

struct AtRest {
    resident: f64,
    private: f64,
    /// Seconds a minute.
    cpu: f64,
    /// Seconds.
    first: f64,
}

/// dirpost, or the peer that is given.
fn at_rest(options: &Options, rest: Duration, peer: Option<&std::path::Path>) -> AtRest {
    let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
    let receiver = Receiver::start();
    watched.fill(FILES, 1_000);
    let program = match peer {
        Some(peer) => Running::start(&mut sending::go(peer, watched.path(), &receiver.url)),
        None => Config::new(watched.path(), &receiver.url)
            .text("watch.interval", "2s")
            .start(options, "run", &folder),
    };
    let started = Instant::now() - program.age();
    wait("a first delivery", || receiver.count() > 0);
    let first = (receiver.last() - started).as_secs_f64();
    wait("all deliveries", || receiver.count() == FILES);
    std::thread::sleep(options.size.pick(6, 3, 1) * Duration::from_secs(1));
    let (begun, before) = (Instant::now(), program.cpu());
    std::thread::sleep(rest);
    let cpu = (program.cpu() - before).as_secs_f64() * 60.0 / begun.elapsed().as_secs_f64();
    let memory = program.memory();
    AtRest {
        resident: memory.resident as f64,
        private: memory.private as f64,
        cpu,
        first,
    }
}

/// The median and the worst, in ms.
fn from_complete_to_delivered(options: &Options) -> (f64, f64) {
    let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
    let receiver = Receiver::start();
    let program = Config::new(watched.path(), &receiver.url).start(options, "run", &folder);
    wait("its state folder", || {
        watched.path().join(".dirpost/journal").exists()
    });
    let mut beyond = Vec::new();
    for number in 0..arrivals(options) {
        let draft = watched.path().join(".draft");
        std::fs::write(&draft, "x").expect("a file");
        std::fs::rename(&draft, watched.path().join(format!("f{number}"))).expect("renamed");
        let complete = Instant::now();
        wait("its delivery", || receiver.count() > number);
        beyond.push((receiver.last() - complete).as_secs_f64() * 1e3 - 1_000.0);
        // They come at different moments between two scans.
        std::thread::sleep(Duration::from_millis(37 * (number as u64 % 7)));
    }
    program.stop();
    let worst = beyond.iter().copied().fold(f64::MIN, f64::max);
    (median(beyond), worst)
}
