//! A mount on which every call takes half a millisecond, from which files are moved away by one thread and by
//! several.

use std::time::{Duration, Instant};

use crate::common::config::Config;
use crate::common::folder::{Folder, name};
use crate::common::median;
use crate::common::options::Options;
use crate::common::receiver::Receiver;
use crate::common::table::{Table, ms, ratio, thousands};
use crate::util::fuse::{Faults, Share};

const DELAY: Duration = Duration::from_micros(500);
/// Those that send and those that file, and some for what else dirpost asks meanwhile.
const ANSWERING: usize = 28;

pub fn measure(options: &Options) -> Table {
    let files: usize = options.size.pick(2_000, 500, 20);
    let rounds = options.rounds(3, 1);
    let mut table = Table {
        title: format!(
            "{} files sent and moved away on a mount with 0.5 ms a call",
            thousands(files as f64)
        ),
        method: format!(
            "A FUSE file system without any cache, whose every answer takes {} µs longer; the state folder is on \
             a local disk. `dirpost once` with 16 workers, so that sending is no bottleneck: the time from its start to its \
             end, medians of {rounds}.",
            DELAY.as_micros()
        ),
        head: vec!["`watch.threads`", "`once`", "how many times as fast as 1"],
        ..Table::default()
    };
    let mut one = f64::NAN;
    for threads in ["1", "8"] {
        let times: Result<Vec<f64>, &str> =
            (0..rounds).map(|_| once(options, threads, files)).collect();
        match times {
            Ok(times) => {
                let took = median(times);
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

/// Seconds that one run takes with so many threads.
fn once(options: &Options, threads: &str, files: usize) -> Result<f64, &'static str> {
    let share = Share::mount_answering(ANSWERING).ok_or("a FUSE file system cannot be mounted")?;
    let (folder, state) = (Folder::new(&options.place), Folder::new(&options.place));
    let receiver = Receiver::start();
    for file in 0..files {
        share.back().write(&name(file), "x");
    }
    let config = Config::new(&share.path(), &receiver.url)
        .value("watch.threads", threads)
        .value("send.workers", "16")
        .text(
            "state.dir",
            &state.path().join("state").display().to_string(),
        );
    share.set(Faults {
        delay: Some(DELAY),
        ..Faults::default()
    });
    let begun = Instant::now();
    let mut program = config.start(options, "once", &folder);
    program.child.wait().expect("it ends");
    let took = begun.elapsed().as_secs_f64();
    share.heal();
    assert_eq!(receiver.count(), files, "all are sent");
    let left = std::fs::read_dir(share.back().path()).expect("the folder");
    let left = left.flatten().filter(|entry| entry.path().is_file());
    assert_eq!(left.count(), 0, "all are moved away");
    Ok(took)
}
