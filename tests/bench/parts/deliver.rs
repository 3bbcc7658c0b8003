//! Many small files, from the start of a program until all are accepted and moved.

use std::path::Path;
use std::process::Command;

use crate::common::config::Config;
use crate::common::folder::Folder;
use crate::common::options::Options;
use crate::common::process::{Running, Taken};
use crate::common::receiver::Receiver;
use crate::common::table::{Table, mb, ratio, thousands};
use crate::common::{alternating, median, wait};
use crate::peers::{role, sending};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Floor,
    Ureq,
    Go,
    Curl,
    Rclone,
    Once,
    Run,
    /// `once` of the dirpost of `--before`.
    OnceBefore,
    RunBefore,
}

impl Sender {
    const ALL: [Sender; 9] = [
        Sender::Floor,
        Sender::Ureq,
        Sender::Go,
        Sender::Once,
        Sender::Run,
        Sender::OnceBefore,
        Sender::RunBefore,
        Sender::Curl,
        Sender::Rclone,
    ];

    fn label(self) -> &'static str {
        match self {
            Sender::Floor => "raw sockets, 4 threads: the floor",
            Sender::Ureq => "bare walkdir + ureq loop, 4 threads",
            Sender::Go => "the plain Go daemon, 4 workers",
            Sender::Curl => "`find \\| xargs -P4 curl`, then `mv`",
            Sender::Rclone => "`rclone move --transfers 4`, to WebDAV",
            Sender::Once => "**dirpost once**, 4 workers, journal and folders synced",
            Sender::Run => "**dirpost run**, 4 workers, journal and folders synced",
            Sender::OnceBefore => "dirpost once, the other one",
            Sender::RunBefore => "dirpost run, the other one",
        }
    }

    /// Why it cannot be measured here.
    fn missing(self, options: &Options) -> Option<&'static str> {
        match self {
            Sender::Go if options.peer.is_none() => Some("the plain Go daemon (give it by --peer)"),
            Sender::OnceBefore | Sender::RunBefore if options.before.is_none() => Some(""),
            Sender::Curl if !sending::is_installed("curl", "--version") => Some("curl"),
            Sender::Rclone if !sending::is_installed("rclone", "version") => Some("rclone"),
            _ => None,
        }
    }

    /// How many files it gets: those that take a process or many requests for each file get fewer.
    fn files(self, files: usize) -> usize {
        match self {
            Sender::Curl => (files / 20).max(4),
            Sender::Rclone => (files / 100).max(4),
            _ => files,
        }
    }

    fn start(self, options: &Options, folder: &Folder, watched: &Path, url: &str) -> Running {
        let dir = watched.to_str().expect("a path of this benchmark");
        let config = || Config::new(watched, url);
        let before = || {
            let program = options.before.clone().expect("it is not missing");
            Options {
                program,
                ..options.clone()
            }
        };
        let command = |mut command: Command| Running::start(&mut command);
        match self {
            Sender::Floor => command(role("send", &["floor", dir, url])),
            Sender::Ureq => command(role("send", &["ureq", dir, url])),
            Sender::Go => {
                let program = options.peer.as_deref().expect("it is not missing");
                command(sending::go(program, watched, url))
            }
            Sender::Curl => command(sending::curl(watched, url)),
            Sender::Rclone => command(sending::rclone(watched, url)),
            Sender::Once => config().start(options, "once", folder),
            Sender::Run => config().start(options, "run", folder),
            Sender::OnceBefore => config().start(&before(), "once", folder),
            Sender::RunBefore => config().start(&before(), "run", folder),
        }
    }

    /// Whether it goes on when all is done.
    fn stays(self) -> bool {
        matches!(self, Sender::Go | Sender::Run | Sender::RunBefore)
    }

    /// Sends so many files of 4 KiB.
    pub fn send(self, options: &Options, files: usize) -> Taken {
        const SIZE: usize = 4096;
        let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
        let receiver = Receiver::start();
        watched.fill(files, SIZE);
        let program = self.start(options, &folder, watched.path(), &receiver.url);
        let taken = if self.stays() {
            wait("all deliveries", || receiver.count() >= files);
            wait("all to be moved", || watched.left() == 0);
            program.taken()
        } else {
            program.finish()
        };
        assert_eq!(receiver.count(), files, "{self:?} sends each file once");
        assert_eq!(watched.left(), 0, "{self:?} moves each file");
        taken
    }
}

pub fn measure(options: &Options) -> Table {
    let files = options.size.pick(20_000, 2_000, 40);
    let rounds = options.rounds(7, 3);
    let mut table = Table {
        title: format!("{} files of 4 KiB", thousands(files as f64)),
        method: format!(
            "Wall and processor time from the start of the program until all files are accepted and moved \
             (for what ends by itself: until its end), and its peak memory; medians of {rounds} rounds in \
             alternating order, a receiver on loopback that only reads and counts. `curl` gets a twentieth \
             of the files and rclone a hundredth, and their times are scaled up. Only dirpost keeps a \
             journal, syncs it and the folders, hashes what it sends and looks at each file again before it is moved."
        ),
        head: vec![
            "how",
            "files/s",
            "wall, ratio to Go",
            "CPU, ratio to Go",
            "wall, ratio to the floor",
            "CPU, ratio to the floor",
            "peak memory",
        ],
        ..Table::default()
    };
    let (present, missing): (Vec<Sender>, Vec<Sender>) = Sender::ALL
        .into_iter()
        .partition(|sender| sender.missing(options).is_none());
    // Of another dirpost nothing is said where none was given.
    let missing = missing
        .into_iter()
        .filter_map(|sender| sender.missing(options));
    for what in missing.filter(|what| !what.is_empty()) {
        table.left_out(what);
    }
    let mut taken = vec![Vec::new(); present.len()];
    for round in 0..rounds {
        for at in alternating(round, present.len()) {
            let files = present[at].files(files);
            taken[at].push(present[at].send(options, files));
        }
    }
    // For each file, so that those with fewer files can be compared.
    let of = |at: usize, value: fn(&Taken) -> f64| {
        median(taken[at].iter().map(value)) / present[at].files(files) as f64
    };
    let wall = |at| of(at, |taken| taken.wall.as_secs_f64());
    let cpu = |at| of(at, |taken| taken.cpu.as_secs_f64());
    let position = |wanted| present.iter().position(|sender| *sender == wanted);
    let to = |wanted, value: &dyn Fn(usize) -> f64| position(wanted).map_or(f64::NAN, value);
    for (at, sender) in present.iter().enumerate() {
        table.row([
            sender.label().into(),
            thousands(1.0 / wall(at)),
            ratio(wall(at), to(Sender::Go, &wall)),
            ratio(cpu(at), to(Sender::Go, &cpu)),
            ratio(wall(at), to(Sender::Floor, &wall)),
            ratio(cpu(at), to(Sender::Floor, &cpu)),
            mb(median(taken[at].iter().map(|taken| taken.peak as f64))),
        ]);
    }
    table
}
