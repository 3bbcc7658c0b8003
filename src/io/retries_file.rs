//! Files that were taken out of dead-letter to be sent again, under a new key.
//!
//! `dirpost dead-letter retry` works beside a running daemon, which alone writes the journal.
//! It tells the daemon of the new key by a line in `retries.jsonl` in the state folder.
//!
//! Invariants:
//! - The line is on the disk before the file is back at its place, and the daemon reads the lines
//!   after it has listed a folder, or has met another version at the place of a file, and before it
//!   uses what it has seen. So no look that shows the file is used without its line.
//! - Each line stands for itself: one that was torn by a kill, or that cannot be read, spoils no
//!   other.
//! - The file is written by several processes. Who adds to it or replaces it holds the lock on
//!   `retries.lock`, where the file system has locks; without one nothing is ever replaced.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use crate::flow::alarm::Alarm;
use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::journal::parse_rfc3339;
use crate::flow::time::Wall;
use crate::io::dir::{Dir, Durability, FileId};
use crate::io::os::clock;
use crate::io::os::error::explain;

/// The name of the file.
pub const NAME: &[u8] = b"retries.jsonl";
const LOCK: &[u8] = b"retries.lock";

/// A line is kept that long at least. Endpoints remember keys for days; a version that is retried
/// after that may get a key that it had before.
const KEPT_FOR_DAYS: i64 = 90;

/// One version of a file and the number of its key: 1 for the first retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Relative to the watched folder.
    pub path: Rel,
    /// The version.
    pub stamp: Stamp,
    /// The number of its key.
    pub round: u32,
    /// When that was asked for, if the line tells.
    at: Option<Wall>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    size: u64,
    mtime: i64,
    round: u32,
    /// RFC 3339. Old versions have not written it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    at: String,
}

impl Retry {
    /// The retry that a line tells of; `None` if it is none.
    fn parse(line: &[u8]) -> Option<Retry> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let path = Rel::new(&unescape(&line.path));
        path.is_plain().then(|| Retry {
            path,
            stamp: Stamp {
                size: line.size,
                mtime: Wall(line.mtime),
            },
            round: line.round,
            at: parse_rfc3339(&line.at),
        })
    }

    /// Its line, with the newline.
    fn line(&self) -> Vec<u8> {
        let line = Line {
            path: escape(self.path.as_bytes()).into_owned(),
            size: self.stamp.size,
            mtime: self.stamp.mtime.0,
            round: self.round,
            at: self.at.map(Wall::rfc3339_millis).unwrap_or_default(),
        };
        let mut line = serde_json::to_vec(&line).expect("plain data becomes JSON");
        line.push(b'\n');
        line
    }
}

/// What a file says, and how many of its lines say nothing that can be read.
#[derive(Debug, Default)]
struct Content {
    retries: Vec<Retry>,
    unreadable: usize,
}

impl Content {
    fn parse(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        let lines = bytes.split(|&byte| byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            match Retry::parse(line) {
                Some(retry) => content.retries.push(retry),
                None => content.unreadable += 1,
            }
        }
        content
    }
}

/// The file through a fresh open, which shows what a file server has of it; `None` if there is
/// none.
fn open(state: &Dir) -> io::Result<Option<(File, Look)>> {
    match state.open(&Rel::new(NAME)) {
        Ok(opened) => Ok(Some(opened)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn read(state: &Dir) -> io::Result<Content> {
    let mut bytes = Vec::new();
    if let Some((mut file, _)) = open(state)? {
        file.read_to_end(&mut bytes)?;
    }
    Ok(Content::parse(&bytes))
}

/// Adds a line for each, with the number after the last for its version, all at once; brings them onto the
/// disk.
///
/// # Errors
/// Of reading or writing the file. A part of the lines may have been written then; one that is half written
/// is closed by the next one.
pub fn add(state: &Dir, versions: &[(Rel, Stamp)]) -> io::Result<()> {
    let _lock = lock(state);
    loop {
        let mut rounds: HashMap<(Rel, Stamp), u32> = HashMap::new();
        for retry in read(state)?.retries {
            let round = rounds.entry((retry.path, retry.stamp)).or_default();
            *round = retry.round.max(*round);
        }
        let mut line = Vec::new();
        for version in versions {
            let round = rounds.entry(version.clone()).or_default();
            *round += 1;
            let (path, stamp) = version.clone();
            let retry = Retry {
                path,
                stamp,
                round: *round,
                at: Some(clock::wall()),
            };
            line.extend(retry.line());
        }
        let mut file = state.append(NAME)?;
        if !ends_a_line(&mut file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        file.sync_all()?;
        state.sync()?;
        // Without locks somebody may have removed or replaced it meanwhile.
        let there = match open(state)? {
            Some((there, _)) => FileId::of(&there)? == FileId::of(&file)?,
            None => false,
        };
        if there {
            return Ok(());
        }
    }
}

/// Whether the next line may follow what stands in the file.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Waits for the lock; `None` where there are no locks.
fn lock(state: &Dir) -> Option<File> {
    let file = state.to_lock(LOCK).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// Leaves out of the file what cannot matter any more: all but the last number of a version, lines
/// that cannot be read, and versions that were asked for long ago and do not lie at their place
/// in `root`. To be called by the holder of the share's lock. Nothing is done while another process
/// adds to it, or without locks.
///
/// # Errors
/// Of reading or replacing the file. Then it stays as it was.
pub fn prune(state: &Dir, root: &Dir, now: Wall) -> io::Result<()> {
    if open(state)?.is_none() {
        return Ok(());
    }
    let lock = state.to_lock(LOCK)?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let content = read(state)?;
    let retries = &content.retries;
    let horizon = Wall(now.0.saturating_sub(KEPT_FOR_DAYS * 86_400_000_000_000));
    let mut last: HashMap<(&Rel, Stamp), u32> = HashMap::new();
    for retry in retries {
        let round = last.entry((&retry.path, retry.stamp)).or_default();
        *round = retry.round.max(*round);
    }
    let is_last = |retry: &&Retry| last[&(&retry.path, retry.stamp)] == retry.round;
    let kept: Vec<Retry> = retries
        .iter()
        .filter(is_last)
        .filter(|retry| {
            retry.at.is_none_or(|at| at >= horizon) || may_lie_at_its_place(root, retry)
        })
        // What an old version has written counts from now on.
        .map(|retry| Retry {
            at: retry.at.or(Some(now)),
            ..retry.clone()
        })
        .collect();
    if kept == *retries && content.unreadable == 0 {
        return Ok(());
    }
    let lines: Vec<u8> = kept.iter().flat_map(Retry::line).collect();
    state.replace(NAME, &lines, Durability::Durable)
}

/// Whether the version lies where it was put back, as far as can be seen.
fn may_lie_at_its_place(root: &Dir, retry: &Retry) -> bool {
    let look = root
        .folder(&retry.path.parent())
        .and_then(|folder| folder.look(retry.path.name()));
    match look {
        Ok(look) => look.is_some_and(|look| look.stamp == retry.stamp),
        Err(err) => err.kind() != io::ErrorKind::NotFound,
    }
}

/// Reads them again when the file has changed.
#[derive(Debug, Default)]
pub struct Watcher {
    seen: Option<Look>,
    known: Vec<Retry>,
    trouble: Alarm,
}

impl Watcher {
    /// All of them, if there may be new ones. What cannot be read is said, and tried again by the
    /// next call.
    pub fn changed(&mut self, state: &Dir) -> Option<Vec<Retry>> {
        match self.read(state) {
            Ok(changed) => {
                if self.trouble.clear(clock::now().mono).is_some() {
                    log::info!(target: "dirpost", "retries: they can be read again");
                }
                changed
            }
            Err(err) => {
                let now = clock::now().mono;
                let why = explain(&err);
                if self.trouble.raise(&why, now).is_some() {
                    log::warn!(
                        target: "dirpost",
                        "retries: retries.jsonl in the state folder cannot be read: {}; what `dirpost dead-letter \
                         retry` puts back is sent under its old key until it can be",
                        why
                    );
                }
                None
            }
        }
    }

    fn read(&mut self, state: &Dir) -> io::Result<Option<Vec<Retry>>> {
        let Some((mut file, look)) = open(state)? else {
            return self.write_again(state).map(|()| None);
        };
        if self.seen == Some(look) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.known = Content::parse(&bytes).retries;
        self.seen = Some(look);
        Ok(Some(self.known.clone()))
    }

    /// Writes what is known again after somebody has removed the file: the numbers must go on.
    fn write_again(&mut self, state: &Dir) -> io::Result<()> {
        if self.known.is_empty() {
            return Ok(());
        }
        let _lock = lock(state);
        let lines: Vec<u8> = self.known.iter().flat_map(Retry::line).collect();
        match state.write_new(NAME, &lines) {
            Ok(()) => {
                log::warn!(target: "dirpost", "retries: somebody has removed retries.jsonl from the state folder: it is written again");
                Ok(())
            }
            // Somebody has added one at this moment: what was known before is said no more.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(err) => Err(err),
        }
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
        add(&state, &[(path.clone(), stamp)]).unwrap();
        add(&state, &[(Rel::new(b"other"), stamp)]).unwrap();
        add(&state, &[(path.clone(), stamp)]).unwrap();
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

    const NOW: Wall = Wall(1_700_000_000_000_000_000);
    const DAY: i64 = 86_400_000_000_000;

    fn stamp(size: u64) -> Stamp {
        Stamp {
            size,
            mtime: Wall(5),
        }
    }

    fn rounds(state: &Dir) -> Vec<(String, u32)> {
        let content = read(state).unwrap();
        let retries = content.retries.into_iter();
        retries
            .map(|retry| (retry.path.to_string(), retry.round))
            .collect()
    }

    #[test]
    fn a_line_that_a_kill_has_torn_swallows_no_other_and_one_bad_byte_spoils_none() {
        let dir = TempDir::new();
        let state = Dir::at(dir.path()).unwrap();
        let mut watcher = Watcher::default();
        let path = Rel::new(b"a.csv");
        add(&state, &[(path.clone(), stamp(1))]).unwrap();
        for torn in [&b"{\"path\":\"x"[..], b"\xff\xfe\n", b"{\"path\":\"\xff"] {
            let mut file = state.append(NAME).unwrap();
            file.write_all(torn).unwrap();
            drop(file);
            add(&state, &[(path.clone(), stamp(1))]).unwrap();
        }
        let seen: Vec<u32> = watcher
            .changed(&state)
            .unwrap()
            .into_iter()
            .map(|retry| retry.round)
            .collect();
        assert_eq!(seen, [1, 2, 3, 4]);
    }

    #[test]
    fn what_cannot_be_read_now_is_read_when_it_can_be() {
        let dir = TempDir::new();
        let state = Dir::at(dir.path()).unwrap();
        let mut watcher = Watcher::default();
        std::fs::create_dir(dir.path().join("retries.jsonl")).unwrap();
        assert_eq!(watcher.changed(&state), None);
        assert!(watcher.trouble.is_raised());
        std::fs::remove_dir(dir.path().join("retries.jsonl")).unwrap();
        add(&state, &[(Rel::new(b"a"), stamp(1))]).unwrap();
        assert_eq!(watcher.changed(&state).unwrap().len(), 1);
        assert!(!watcher.trouble.is_raised());
    }

    #[test]
    fn the_file_holds_the_last_number_of_a_version_and_what_may_still_be_sent() {
        let (dir, share) = (TempDir::new(), TempDir::new());
        let (state, root) = (Dir::at(dir.path()).unwrap(), Dir::at(share.path()).unwrap());
        std::fs::create_dir(share.path().join("sub")).unwrap();
        std::fs::write(share.path().join("sub/waits"), "x").unwrap();
        std::fs::write(share.path().join("changed"), "another").unwrap();
        let waits = root.folder(&Rel::new(b"sub")).unwrap().look(b"waits");
        let line = |path: &str, stamp: Stamp, round: u32, days: i64| {
            let retry = Retry {
                path: Rel::new(path.as_bytes()),
                stamp,
                round,
                at: Some(Wall(NOW.0 - days * DAY)),
            };
            retry.line()
        };
        let old = [
            line("new", stamp(1), 1, 1),
            line("new", stamp(1), 2, 1),
            line("new", stamp(2), 1, 1),
            line("sent", stamp(1), 3, 91),
            line("changed", stamp(1), 1, 91),
            line("sub/waits", waits.unwrap().unwrap().stamp, 1, 91),
            b"{torn".to_vec(),
        ];
        let without_time = b"\n{\"path\":\"old\",\"size\":1,\"mtime\":5,\"round\":1}\n";
        std::fs::write(
            dir.path().join("retries.jsonl"),
            [&old.concat()[..], without_time].concat(),
        )
        .unwrap();
        prune(&state, &root, NOW).unwrap();
        let wanted = [("new", 2), ("new", 1), ("sub/waits", 1), ("old", 1)];
        assert_eq!(
            rounds(&state),
            wanted.map(|(path, round)| (path.to_string(), round))
        );
        // The time of an old line counts from its first pruning.
        prune(&state, &root, Wall(NOW.0 + 91 * DAY)).unwrap();
        assert_eq!(rounds(&state), [("sub/waits".to_string(), 1)]);
        // Nothing to do: the file is left as it is.
        let before = root_id(&state);
        prune(&state, &root, Wall(NOW.0 + 91 * DAY)).unwrap();
        assert_eq!(root_id(&state), before);
    }

    fn root_id(state: &Dir) -> Option<FileId> {
        FileId::of(&open(state).unwrap().unwrap().0).unwrap()
    }

    #[test]
    fn no_retry_is_lost_that_is_added_while_the_file_is_pruned() {
        let (dir, share) = (TempDir::new(), TempDir::new());
        let (state, root) = (Dir::at(dir.path()).unwrap(), Dir::at(share.path()).unwrap());
        std::thread::scope(|scope| {
            let adds: Vec<_> = ["a", "b"]
                .into_iter()
                .map(|name| {
                    let state = &state;
                    scope.spawn(move || {
                        for _ in 0..50 {
                            add(state, &[(Rel::new(name.as_bytes()), stamp(1))]).unwrap();
                        }
                    })
                })
                .collect();
            while !adds.iter().all(|add| add.is_finished()) {
                prune(&state, &root, clock::wall()).unwrap();
            }
        });
        prune(&state, &root, clock::wall()).unwrap();
        let mut left = rounds(&state);
        left.sort();
        assert_eq!(left, [("a".to_string(), 50), ("b".to_string(), 50)]);
    }

    #[test]
    fn what_is_removed_under_the_watcher_is_written_again_and_the_numbers_go_on() {
        let dir = TempDir::new();
        let state = Dir::at(dir.path()).unwrap();
        let mut watcher = Watcher::default();
        let path = Rel::new(b"a");
        add(&state, &[(path.clone(), stamp(1))]).unwrap();
        assert_eq!(watcher.changed(&state).unwrap().len(), 1);
        state.remove(NAME).unwrap();
        assert_eq!(
            watcher.changed(&state),
            None,
            "a key that was used would be used again"
        );
        add(&state, &[(path.clone(), stamp(1))]).unwrap();
        let last = watcher.changed(&state).unwrap().pop().unwrap();
        assert_eq!(last.round, 2);
    }
}
