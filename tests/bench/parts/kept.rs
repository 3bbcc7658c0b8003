//! A great many small files that stay where they are: their delivery, their rest, and the next start.

use std::time::{Duration, Instant};

use crate::common::config::Config;
use crate::common::folder::{Folder, name};
use crate::common::options::Options;
use crate::common::receiver::Receiver;
use crate::common::table::{Table, mb, thousands};
use crate::common::wait;

/// `folder000000000/file0000000.csv`
const PATH: usize = 31;

struct Sizes {
    folders: usize,
    files: usize,
    trust: Duration,
    rest: Duration,
}

pub fn measure(options: &Options) -> Table {
    let seconds = Duration::from_secs;
    let sizes = Sizes {
        folders: options.size.pick(2_000, 100, 4),
        files: options.size.pick(1_000_000, 50_000, 40),
        trust: options.size.pick(seconds(20), seconds(12), seconds(1)),
        rest: options.size.pick(seconds(120), seconds(10), seconds(1)),
    };
    let (folder, watched) = (Folder::new(&options.place), Folder::new(&options.place));
    let receiver = Receiver::start();
    watched.fill_folders(sizes.folders, sizes.files, 64);
    let config = Config::new(watched.path(), &receiver.url)
        .text("delivered.action", "keep")
        .text("watch.interval", "5s");
    let mut table = Table {
        title: format!(
            "{} small files in {} folders, kept",
            thousands(sizes.files as f64),
            thousands(sizes.folders as f64)
        ),
        method: format!(
            "`dirpost run` with `delivered.action = \"keep\"` and an interval of 5 s, over files of 64 bytes that are \
             there at its start. The rate is that from the start to the last answer. At rest: resident memory \
             {} s after it, and processor time over the {} s that follow. Then the program is stopped, one \
             more file is put into the last folder, and it is started again: the first look is over when this \
             file arrives. The journal's size is that at rest, without the path of each file \
             ({PATH} bytes). No peer keeps a journal.",
            sizes.trust.as_secs(),
            sizes.rest.as_secs()
        ),
        head: vec!["what", "dirpost"],
        ..Table::default()
    };
    deliver_and_rest(
        options,
        &config,
        (&folder, &watched),
        &receiver,
        &sizes,
        &mut table,
    );
    start_again(options, &config, (&folder, &watched), &receiver, &mut table);
    table
}

fn deliver_and_rest(
    options: &Options,
    config: &Config,
    (folder, watched): (&Folder, &Folder),
    receiver: &Receiver,
    sizes: &Sizes,
    table: &mut Table,
) {
    let begun = Instant::now();
    let program = config.start(options, "run", folder);
    let mut memory = Vec::new();
    for quarter in 1..=4 {
        wait("a quarter of all deliveries", || {
            receiver.count() >= sizes.files * quarter / 4
        });
        memory.push(mb(program.memory().resident as f64));
    }
    let rate = sizes.files as f64 / (receiver.last() - begun).as_secs_f64();
    table.row(["delivered, files/s".into(), thousands(rate)]);
    let label = "memory with a quarter, a half, three quarters and all delivered";
    table.row([label.into(), memory.join(", ")]);
    let peak = mb(program.memory().peak as f64);
    table.row(["memory at the peak of delivering".into(), peak]);

    std::thread::sleep(sizes.trust);
    let (begun, before) = (Instant::now(), program.cpu());
    std::thread::sleep(sizes.rest);
    let share = (program.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let cpu = format!("{:.2} % of a core", share * 100.0);
    table.row(["CPU at rest".into(), cpu]);
    let resident = mb(program.memory().resident as f64);
    table.row(["memory at rest".into(), resident]);
    program.stop();
    let journal = journal_size(watched) / sizes.files as f64 - PATH as f64;
    let label = "journal, bytes a file beside its path";
    table.row([label.into(), format!("{journal:.0}")]);
}

fn start_again(
    options: &Options,
    config: &Config,
    (folder, watched): (&Folder, &Folder),
    receiver: &Receiver,
    table: &mut Table,
) {
    let sizes = options.size.pick(2_000, 100, 4);
    let last = watched.subfolder(sizes - 1);
    std::fs::write(last.join(name(9_999_999)), "new").expect("a file");
    std::thread::sleep(Duration::from_millis(1_100));
    let before = receiver.count();
    let started = Instant::now();
    let program = config.start(options, "run", folder);
    wait("the new file", || receiver.count() > before);
    let first_look = (receiver.last() - started).as_secs_f64();
    let at_rest = (program.rest() - started).as_secs_f64();
    let memory = program.memory();
    program.stop();
    let label = "start with their journal until the first look is over";
    table.row([label.into(), format!("{first_look:.2} s")]);
    let label = "the same, until it is at rest";
    table.row([label.into(), format!("{at_rest:.2} s")]);
    let peak = mb(memory.peak as f64);
    table.row(["memory at the peak of that start".into(), peak]);
    let resident = mb(memory.resident as f64);
    table.row(["memory after that start".into(), resident]);
}

/// All journal files together, in bytes.
fn journal_size(watched: &Folder) -> f64 {
    let files = std::fs::read_dir(watched.path().join(".dirpost/journal")).expect("the journal");
    let sizes = files.flatten().filter_map(|file| file.metadata().ok());
    sizes.map(|metadata| metadata.len() as f64).sum()
}
