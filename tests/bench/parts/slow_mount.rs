//! A mount on which every call takes half a millisecond, looked at by one thread and by sixteen.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::config::Config;
use crate::common::folder::Folder;
use crate::common::options::Options;
use crate::common::process::Running;
use crate::common::table::{Table, ms, ratio, thousands};
use crate::common::{median, wait};
use crate::util::fuse::{Faults, Share};

const DELAY: Duration = Duration::from_micros(500);
/// As many as look, and some for what else dirpost asks meanwhile.
const ANSWERING: usize = 20;

pub fn measure(options: &Options) -> Table {
    let folders: usize = options.size.pick(100, 20, 4);
    let files: usize = options.size.pick(10_000, 2_000, 40);
    let rounds = options.rounds(3, 2);
    let mut table = Table {
        title: format!(
            "{} files in {} folders on a mount with 0.5 ms a call",
            thousands(files as f64),
            thousands(folders as f64)
        ),
        method: format!(
            "A FUSE file system without any cache, whose every answer takes {} µs longer. The time from SIGUSR1 to the last \
             request of a look at everything (a file has come and gone in every folder; the files wait for an \
             endpoint that is away), medians of {rounds}.",
            DELAY.as_micros()
        ),
        head: vec!["`watch.threads`", "one look", "how many times as fast as 1"],
        ..Table::default()
    };
    let mut one = f64::NAN;
    for threads in ["1", "4", "16"] {
        match look(options, threads, (folders, files), rounds) {
            Ok(took) => {
                if threads == "1" {
                    one = took;
                }
                table.row([threads.into(), ms(took), ratio(one, took)]);
            }
            Err(why) => table.left_out(format!("{threads} threads: {why}")),
        }
    }
    table
}

/// Seconds of one look with so many threads.
fn look(
    options: &Options,
    threads: &str,
    (folders, files): (usize, usize),
    rounds: usize,
) -> Result<f64, &'static str> {
    let share = Share::mount_answering(ANSWERING).ok_or("a FUSE file system cannot be mounted")?;
    let (folder, state) = (Folder::new(&options.place), Folder::new(&options.place));
    // Nothing listens at the port "discard".
    let config = Config::new(&share.path(), "http://127.0.0.1:9/")
        .value("watch.threads", threads)
        .value("watch.max_share", "1.0")
        .text("watch.interval", "1h")
        .text("retry.first", "1h")
        .text("retry.max", "1h")
        .text(
            "state.dir",
            &state.path().join("state").display().to_string(),
        )
        .quiet();
    if !config.is_accepted(options, &folder) {
        return Err("this dirpost does not know it");
    }
    let folder_name = |number: usize| format!("folder{number:09}");
    for number in 0..folders {
        for file in 0..files / folders {
            let name = crate::common::folder::name(file);
            share
                .back()
                .write(&format!("{}/{name}", folder_name(number)), "x");
        }
    }
    std::thread::sleep(Duration::from_millis(1_100));
    let program = config.start(options, "run", &folder);
    quiet(&share, &program);
    let mut times = Vec::new();
    for _ in 0..rounds {
        for number in 0..folders {
            let passing = share
                .back()
                .path()
                .join(folder_name(number))
                .join("passing.tmp");
            std::fs::write(&passing, "").expect("a file");
            std::fs::remove_file(&passing).expect("removed");
        }
        share.set(Faults {
            delay: Some(DELAY),
            ..Faults::default()
        });
        let (begun, before) = (Instant::now(), share.requests());
        program.signal(Signal::USR1);
        wait("a look", || share.requests() > before);
        let end = quiet(&share, &program);
        assert!(share.requests() - before >= files, "all is looked at");
        times.push((end - begun).as_secs_f64());
        share.heal();
    }
    drop(program);
    Ok(median(times))
}

/// The moment since which nothing was asked of the share, when that is half a second ago.
fn quiet(share: &Share, program: &Running) -> Instant {
    const QUIET: Duration = Duration::from_millis(500);
    let (mut since, mut before) = (Instant::now(), share.requests());
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(1));
        let now = share.requests();
        if now != before {
            (since, before) = (Instant::now(), now);
        }
        assert!(
            program.age() < Duration::from_secs(600),
            "the share is never left alone"
        );
    }
    since
}
