//! One more look at a folder in which nothing has happened.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::config::Config;
use crate::common::folder::{Folder, name};
use crate::common::options::Options;
use crate::common::process::Running;
use crate::common::receiver::Receiver;
use crate::common::table::{Table, ms, ratio, thousands};
use crate::common::{alternating, median, wait};
use crate::peers::looking::{KINDS, Looking};

struct Sizes {
    folders: usize,
    files: usize,
    rounds: usize,
    /// How long nothing happens before folders are trusted, and how long that is measured.
    trust: Duration,
    rest: Duration,
}

impl Sizes {
    fn of(options: &Options) -> Sizes {
        let seconds = Duration::from_secs;
        Sizes {
            folders: options.size.pick(1_000, 100, 4),
            files: options.size.pick(100_000, 10_000, 40),
            rounds: options.rounds(7, 3),
            trust: options.size.pick(seconds(15), seconds(8), seconds(0)),
            rest: options.size.pick(seconds(20), seconds(5), seconds(1)),
        }
    }
}

pub fn measure(options: &Options) -> Table {
    let sizes = Sizes::of(options);
    let (folder, receiver) = (Folder::new(&options.place), Receiver::start());
    let watched = Folder::new(&options.place);
    watched.fill_folders(sizes.folders, sizes.files, 64);
    let config = Config::new(watched.path(), &receiver.url)
        .text("delivered.action", "keep")
        .value("watch.max_share", "1.0");
    let empty = at_rest_with_nothing(options, &receiver);

    let start = || {
        let config = config.clone().text("watch.interval", "1h");
        config.start(options, "run", &folder)
    };
    let program = start();
    wait("all deliveries", || receiver.count() == sizes.files);
    program.rest();
    program.stop();
    let program = start();
    wait("its state folder", || {
        watched.path().join(".dirpost/journal").exists()
    });
    program.rest();
    let memory = program.memory().resident as f64;
    let mut peers: Vec<Looking> = KINDS
        .iter()
        .map(|(kind, _)| Looking::start(kind, watched.path()))
        .collect();
    let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); peers.len()]);
    for round in 0..sizes.rounds {
        for at in alternating(round, peers.len() + 1) {
            match at.checked_sub(1) {
                None => ours.push(looked_at_all(&program, &watched, sizes.folders)),
                Some(peer) => theirs[peer].push(peers[peer].look()),
            }
        }
    }
    program.stop();
    let memories: Vec<f64> = peers.iter().map(|peer| peer.memory).collect();
    drop(peers);
    let resting = nothing_moved(options, &config, &watched, &receiver, &sizes);

    let mut table = empty_table(&sizes);
    let limit = median(theirs[0].iter().copied());
    let per_file = |bytes: f64| format!("{:.0} B", bytes / sizes.files as f64);
    for (((_, label), times), memory) in KINDS.iter().zip(theirs).zip(memories) {
        let cpu = median(times);
        table.row([
            (*label).into(),
            ms(cpu),
            ratio(cpu, limit),
            per_file(memory),
        ]);
    }
    let ours = median(ours);
    table.row([
        "**dirpost**, all looked at".into(),
        ms(ours),
        ratio(ours, limit),
        per_file(memory - empty),
    ]);
    table.row([
        "**dirpost**, nothing moved".into(),
        ms(resting),
        ratio(resting, limit),
        String::new(),
    ]);
    table
}

/// What is measured, and how; the rows are still to come.
fn empty_table(sizes: &Sizes) -> Table {
    Table {
        title: format!(
            "One look at {} files at rest in {} folders",
            thousands(sizes.files as f64),
            thousands(sizes.folders as f64)
        ),
        method: format!(
            "Processor time, user and system, of one look at size and mtime of every file and its comparison \
             with the look before: the medians of {} rounds in alternating order, warm cache. Each is a \
             process of its own. dirpost is the program itself, with `delivered.action = \"keep\"`: it is told \
             to look by SIGUSR1 after a file has come and gone in every folder, so that all is looked at. \
             Where nothing has moved, it is what the program takes in {} s at an interval of 1 s, for each \
             of these looks. Memory is what the first look leaves resident, for each file; for dirpost the \
             difference to the same program over an empty folder.",
            sizes.rounds,
            sizes.rest.as_secs()
        ),
        head: vec!["how", "CPU", "ratio to the limit", "memory a file"],
        ..Table::default()
    }
}

/// What the program takes in memory where there is nothing to look at.
pub fn at_rest_with_nothing(options: &Options, receiver: &Receiver) -> f64 {
    let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
    let program = Config::new(watched.path(), &receiver.url)
        .text("delivered.action", "keep")
        .start(options, "run", &folder);
    wait("its state folder", || {
        watched.path().join(".dirpost/journal").exists()
    });
    program.rest();
    let resident = program.memory().resident as f64;
    program.stop();
    resident
}

/// The processor time of one look that passes nothing over, in seconds.
fn looked_at_all(program: &Running, watched: &Folder, folders: usize) -> f64 {
    watched.touch_folders(folders);
    program.rest();
    let before = program.cpu();
    program.signal(Signal::USR1);
    wait("a look", || program.cpu() > before);
    program.rest();
    (program.cpu() - before).as_secs_f64()
}

/// The processor time of one look at an interval of 1 s where nothing moves, in seconds.
fn nothing_moved(
    options: &Options,
    config: &Config,
    watched: &Folder,
    receiver: &Receiver,
    sizes: &Sizes,
) -> f64 {
    let folder = Folder::new(&options.place);
    let program = config.start(options, "run", &folder);
    // So that it sees that a folder's times move when its listing changes.
    let before = receiver.count();
    std::fs::write(watched.subfolder(0).join(name(9_999_999)), "new").expect("a file");
    wait("one more delivery", || receiver.count() > before);
    std::thread::sleep(sizes.trust);
    let (begun, before) = (Instant::now(), program.cpu());
    std::thread::sleep(sizes.rest);
    let taken = program.cpu() - before;
    let looks = begun.elapsed().as_secs_f64();
    program.stop();
    taken.as_secs_f64() / looks
}
