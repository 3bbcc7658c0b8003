//! What was put into `done`, and when, in the folder `filed` of the state folder: see
//! [`crate::flow::filing::keeping`].
//!
//! It is not brought onto the disk: after a power cut what its last lines told of stays in `done`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::flow::escape::escape;
use crate::flow::file::Rel;
use crate::flow::filing::Kept;
use crate::flow::filing::keeping::{
    Expired as Outcome, is_current, is_due, segment_begun, segment_name,
};
use crate::flow::filing::{Disk, Place};
use crate::flow::messages::Expired;
use crate::flow::time::Wall;
use crate::io::dir::{Dir, bytes_of};
use crate::io::os::error::explain;

/// The folder in the state folder.
pub const FOLDER: &[u8] = b"filed";
/// So many lines are looked at before other work has its turn.
const AT_A_TIME: usize = 256;
/// After so many errors in a round the others are left to the next.
const FAILURES: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    state: Arc<Dir>,
    keep_for: Duration,
    /// The first line that this process writes into a segment: where `done` is. A place says nothing of
    /// another folder.
    head: String,
    /// The segment that is added to.
    current: Option<(Wall, File)>,
    /// The round under way.
    round: Option<Round>,
}

/// One look at all that is due.
#[derive(Debug, Default)]
struct Round {
    segments: VecDeque<Vec<u8>>,
    reading: Option<Reading>,
    failures: usize,
}

/// A segment that is being read.
#[derive(Debug)]
struct Reading {
    name: Vec<u8>,
    lines: BufReader<File>,
    /// The lines are about `done` as it is now.
    is_here: bool,
    /// Something that it tells of is there still.
    is_needed: bool,
}

impl Ledger {
    /// The ledger in `state` of what lies in the folder `done`.
    pub fn new(state: Arc<Dir>, done: &Path, keep_for: Duration) -> Ledger {
        let done = escape(&bytes_of(done.as_os_str())).into_owned();
        Ledger {
            state,
            keep_for,
            head: format!("{}\n", json!({ "done": done })),
            current: None,
            round: None,
        }
    }

    /// Writes down what was put into `done`.
    ///
    /// # Errors
    /// It is not, or not wholly, written down.
    pub fn note(&mut self, kept: &[Kept], now: Wall) -> io::Result<()> {
        let is_current = |(begun, _): &(Wall, File)| is_current(*begun, now, self.keep_for);
        if !self.current.as_ref().is_some_and(is_current) {
            self.current = None;
            let folder = self.state.make(&Rel::new(FOLDER))?;
            let mut file = folder.append(segment_name(now).as_bytes())?;
            // What is there may end with a line that was cut off.
            file.write_all(format!("\n{}", self.head).as_bytes())?;
            self.current = Some((now, file));
        }
        let lines: String = kept.iter().map(Kept::line).collect();
        let Some((_, file)) = &mut self.current else {
            return Ok(());
        };
        let written = file.write_all(lines.as_bytes());
        if written.is_err() {
            // The next one begins with a new line.
            self.current = None;
        }
        written
    }

    /// Removes some of what is over.
    pub fn expire(
        &mut self,
        disk: &mut dyn Disk,
        now: Wall,
        is_promised: impl Fn(&Place) -> bool,
    ) -> Expired {
        let mut expired = Expired::default();
        if let Err(err) = self.go_on(disk, now, &is_promised, &mut expired) {
            expired.failed.get_or_insert(format!(
                "what was put into done cannot be read: {}",
                explain(&err)
            ));
            self.round = None;
        }
        expired.more = self.round.is_some();
        expired
    }

    fn go_on(
        &mut self,
        disk: &mut dyn Disk,
        now: Wall,
        is_promised: &dyn Fn(&Place) -> bool,
        expired: &mut Expired,
    ) -> io::Result<()> {
        let Some(folder) = self.folder()? else {
            return Ok(());
        };
        let mut round = match self.round.take() {
            Some(round) => round,
            None => self.begin(&folder, now)?,
        };
        for _ in 0..AT_A_TIME {
            if round.reading.is_none() {
                let Some(name) = round.segments.pop_front() else {
                    return Ok(());
                };
                round.reading = Some(Reading {
                    lines: BufReader::new(folder.file(&name)?),
                    name,
                    is_here: false,
                    is_needed: false,
                });
            }
            let Some(reading) = &mut round.reading else {
                return Ok(());
            };
            match reading.next(&self.head)? {
                Next::End => {
                    if !reading.is_needed {
                        folder.remove(&reading.name)?;
                    }
                    round.reading = None;
                }
                Next::Other => {}
                Next::Kept(kept) => {
                    let horizon = now - self.keep_for;
                    match kept.expire(disk, horizon, is_promised) {
                        Ok(Outcome::Removed) => expired.removed += 1,
                        Ok(Outcome::Over) => {}
                        Ok(Outcome::NotYet) => reading.is_needed = true,
                        Err(fault) => {
                            reading.is_needed = true;
                            round.failures += 1;
                            expired.failed.get_or_insert(fault.why);
                        }
                    }
                }
            }
            if round.failures >= FAILURES {
                return Ok(());
            }
        }
        self.round = Some(round);
        Ok(())
    }

    fn folder(&self) -> io::Result<Option<Dir>> {
        match self.state.folder(&Rel::new(FOLDER)) {
            Ok(folder) => Ok(Some(folder)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn begin(&self, folder: &Dir, now: Wall) -> io::Result<Round> {
        let mut due: Vec<_> = folder.names(&Rel::root())?;
        due.retain(|name| segment_begun(name).is_some_and(|at| is_due(at, now, self.keep_for)));
        due.sort_unstable();
        Ok(Round {
            segments: due.into(),
            ..Round::default()
        })
    }
}

/// What a line is.
enum Next {
    Kept(Kept),
    /// Nothing to go by.
    Other,
    /// There is none.
    End,
}

impl Reading {
    fn next(&mut self, head: &str) -> io::Result<Next> {
        let mut line = Vec::new();
        if self.lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(Next::End);
        }
        if line.starts_with(b"{\"done\"") {
            self.is_here = line == head.as_bytes();
            return Ok(Next::Other);
        }
        let Some(kept) = Kept::read(&line) else {
            return Ok(Next::Other);
        };
        if self.is_here {
            return Ok(Next::Kept(kept));
        }
        // `delivered.dir` may be what it was again.
        self.is_needed = true;
        Ok(Next::Other)
    }
}
