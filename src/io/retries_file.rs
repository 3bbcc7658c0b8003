//! Files that were taken out of dead-letter to be sent again, under a new key.
//!
//! `dirpost dead-letter retry` works beside a running daemon, which alone writes the journal.
//! It tells the daemon of the new key by a line in `retries.jsonl` in the state folder.
//!
//! Invariant: the line is on the disk before the file is back at its place, and the daemon reads
//! the lines after it has listed a folder and before it uses the listing. So no listing that
//! shows the file is used without its line.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Rel, Stamp};
use crate::flow::time::Wall;
use crate::io::dir::Dir;

const NAME: &[u8] = b"retries.jsonl";

/// One version of a file and the number of its key: 1 for the first retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    pub path: Rel,
    pub stamp: Stamp,
    pub round: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    size: u64,
    mtime: i64,
    round: u32,
}

/// All of them. Nothing if there is no such file; what cannot be read as a line is passed over.
///
/// # Errors
/// Of reading.
pub fn read(state: &Dir) -> io::Result<Vec<Retry>> {
    let mut text = String::new();
    match state.file(NAME) {
        Ok(mut file) => file.read_to_string(&mut text)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let retries = lines.map(|line| Retry {
        path: Rel::new(&unescape(&line.path)),
        stamp: Stamp {
            size: line.size,
            mtime: Wall(line.mtime),
        },
        round: line.round,
    });
    Ok(retries.filter(|retry| retry.path.is_plain()).collect())
}

/// Adds one, with the number after the last for this version; brings it onto the disk.
///
/// # Errors
/// Of the calls.
pub fn add(state: &Dir, path: &Rel, stamp: Stamp) -> io::Result<()> {
    let earlier = read(state)?
        .into_iter()
        .filter(|retry| retry.path == *path && retry.stamp == stamp);
    let round = 1 + earlier.map(|retry| retry.round).max().unwrap_or(0);
    let line = Line {
        path: escape(path.as_bytes()),
        size: stamp.size,
        mtime: stamp.mtime.0,
        round,
    };
    let mut line = serde_json::to_vec(&line).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut file = state.append(NAME)?;
    file.write_all(&line)?;
    file.sync_all()?;
    state.sync()
}

/// Reads them again when the file has changed.
#[derive(Debug, Default)]
pub struct Watcher {
    seen: Option<Stamp>,
}

impl Watcher {
    /// All of them, if there may be new ones.
    pub fn changed(&mut self, state: &Dir) -> Option<Vec<Retry>> {
        let stamp = state.look(NAME).ok().flatten().map(|look| look.stamp);
        if stamp == self.seen {
            return None;
        }
        let retries = read(state).ok()?;
        self.seen = stamp;
        Some(retries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    #[test]
    fn each_retry_of_a_version_has_a_number_of_its_own() {
        let dir = TempDir::new();
        let state = Dir::at(dir.path()).unwrap();
        let mut watcher = Watcher::default();
        assert_eq!(watcher.changed(&state), None);
        let (path, stamp) = (
            Rel::new(b"d/odd\n\xff"),
            Stamp {
                size: 3,
                mtime: Wall(5),
            },
        );
        add(&state, &path, stamp).unwrap();
        add(&state, &Rel::new(b"other"), stamp).unwrap();
        add(&state, &path, stamp).unwrap();
        let rounds: Vec<(Rel, u32)> = watcher
            .changed(&state)
            .unwrap()
            .into_iter()
            .map(|retry| (retry.path, retry.round))
            .collect();
        assert_eq!(
            rounds,
            [(path.clone(), 1), (Rel::new(b"other"), 1), (path, 2)]
        );
        assert_eq!(watcher.changed(&state), None);
    }
}
