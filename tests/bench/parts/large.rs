//! Large files, beside curl on one connection.

use crate::common::config::Config;
use crate::common::folder::Folder;
use crate::common::options::Options;
use crate::common::process::{Running, Taken};
use crate::common::receiver::Receiver;
use crate::common::table::{Table, mb, ratio};
use crate::common::{alternating, median};
use crate::peers::sending;

const MIB: usize = 1 << 20;

pub fn measure(options: &Options) -> Table {
    let rounds = options.rounds(5, 3);
    let sizes: [(usize, usize); 2] = options.size.pick(
        [(1, 2048 * MIB), (200, 5 * MIB)],
        [(1, 256 * MIB), (20, 5 * MIB)],
        [(1, 2 * MIB), (2, MIB)],
    );
    let mut table = Table {
        title: "Large files".into(),
        method: format!(
            "Wall and processor time from the start of the program to its end, medians of {rounds} rounds in \
             alternating order; the files are in the page cache, the receiver on loopback reads and counts. dirpost \
             hashes what it sends (SHA-256), looks at the file again before its last byte and moves it; curl only \
             sends."
        ),
        head: vec![
            "what",
            "how",
            "MB/s",
            "rate, ratio to curl",
            "CPU, ratio to curl",
            "peak memory",
        ],
        ..Table::default()
    };
    if !sending::is_installed("curl", "--version") {
        table.left_out("curl, and with it the ratios");
        return table;
    }
    for (files, size) in sizes {
        measure_size(options, files, size, rounds, &mut table);
    }
    table
}

fn measure_size(options: &Options, files: usize, size: usize, rounds: usize, table: &mut Table) {
    let ways = [
        ("`curl -T`, one connection", None),
        ("**dirpost once**, 1 worker", Some("1")),
        ("**dirpost once**, 4 workers", Some("4")),
    ];
    let ways = if files == 1 { &ways[..2] } else { &ways[..] };
    let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for at in alternating(round, ways.len()) {
            taken[at].push(send(options, files, size, ways[at].1));
        }
    }
    let wall = |at: usize| median(taken[at].iter().map(|taken| taken.wall.as_secs_f64()));
    let cpu = |at: usize| median(taken[at].iter().map(|taken| taken.cpu.as_secs_f64()));
    let rate = |at| (files * size) as f64 / 1e6 / wall(at);
    for (at, (label, _)) in ways.iter().enumerate() {
        table.row([
            format!("{files} × {} MiB", size / MIB),
            (*label).into(),
            format!("{:.0}", rate(at)),
            ratio(rate(at), rate(0)),
            ratio(cpu(at), cpu(0)),
            mb(median(taken[at].iter().map(|taken| taken.peak as f64))),
        ]);
    }
}

/// By dirpost with so many workers, or else by curl.
fn send(options: &Options, files: usize, size: usize, workers: Option<&str>) -> Taken {
    let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
    let receiver = Receiver::start();
    watched.fill(files, size);
    let program = match workers {
        Some(workers) => Config::new(watched.path(), &receiver.url)
            .value("send.workers", workers)
            .start(options, "once", &folder),
        None => {
            let mut command = sending::curl_upload(watched.path(), files, &receiver.url);
            Running::start(&mut command)
        }
    };
    let taken = program.finish();
    assert_eq!(receiver.count(), files, "each file is sent once");
    taken
}
