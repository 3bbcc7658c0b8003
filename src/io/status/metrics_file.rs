//! `report.metrics_file`: the metrics, written by a thread of its own, so that they say what is wrong also
//! while the state folder hangs with its share, or the folder is waited for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Latest, metrics};
use crate::flow::alarm::Alarm;
use crate::flow::status::{State, Status};
use crate::io::dir::{Dir, Durability};
use crate::io::os::clock;
use crate::io::os::error::explain;

/// Writes the metrics of each status that is set.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    latest: Arc<Latest>,
    failing: Alarm,
}

impl MetricsFile {
    /// To be run by a thread of its own.
    pub fn new(path: &Path, latest: &Arc<Latest>) -> MetricsFile {
        latest.is_written_down();
        MetricsFile {
            path: path.into(),
            latest: Arc::clone(latest),
            failing: Alarm::default(),
        }
    }

    /// Writes what comes, for as long as the process lives.
    pub fn run(mut self) {
        loop {
            let status = self.latest.next();
            if !is_ours(&status) {
                continue;
            }
            match write(&self.path, &status) {
                Ok(()) => {
                    self.failing.clear(clock::mono());
                }
                Err(why) => {
                    if self.failing.raise(&why, clock::mono()).is_some() {
                        log::warn!(target: "dirpost", "status: {why}; deliveries go on without it");
                    }
                }
            }
        }
    }
}

/// Whether the file is this process's. While the folder is opened another one on this machine may work on
/// it, of the same configuration, and write there: a run of cron beside a daemon, or the holder whom a
/// standby waits for. A folder that is away is nobody's.
fn is_ours(status: &Status) -> bool {
    status.work.state != State::Opening || !status.work.faults.is_empty()
}

fn write(path: &Path, status: &Status) -> Result<(), String> {
    let failed = |err: io::Error| format!("{}: {}", path.display(), explain(&err));
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(format!("{}: it is no path of a file", path.display()));
    };
    let folder = Dir::at(folder).map_err(failed)?;
    let text = metrics::text(status);
    let name = crate::io::dir::bytes_of(name);
    let written = folder.replace(&name, text.as_bytes(), Durability::Cached);
    written.map_err(failed)
}
