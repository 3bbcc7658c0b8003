//! `watch.shard`: how many shards work on a share, and what a start with another count takes over.
//!
//! `.dirpost/shards` says of how many shards the journals are: `8` where each of eight has one in its
//! folder `shard-1-of-8` …, nothing where all of the folder is one process's. A start that finds another
//! count there waits until none of these works, parts what their journals hold among the new ones, and
//! writes its own count down: from then on these are the journals. A crash before that leaves the old
//! ones as they were, and the next start parts them again.
//!
//! All of that is done with `.dirpost/shards.lock` locked, which a start holds for as long as it takes
//! to get the lock of its own. Invariant: nobody works whose count is not the one written down. A
//! process that was suspended meanwhile, and whose lock its server has forgotten, finds another's token
//! beside it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::lock::{HOLDER, LOCK, holder, try_lock, write_line};
use super::site::{Kind, Paths, Site};
use super::{OpenError, random, read_small};
use crate::config::Shard;
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::file::Rel;
use crate::io::dir::{Dir, Durability};
use crate::io::journal::parting;
use crate::io::os::{clock, host};
use crate::io::retries_file;

/// The count.
pub(super) const LAYOUT: &[u8] = b"shards";
/// What a start holds.
pub(super) const GATE: &[u8] = b"shards.lock";
/// How long a start waits for others that start: parting a journal of a million lines takes seconds.
const GATE_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// A start under way: dropped when it has its own lock.
#[derive(Debug, Default)]
pub(super) struct Entered {
    _gate: Option<File>,
    /// The locks of those whose journals were taken over.
    _before: Vec<File>,
}

/// Sees to it that the journals on the share are those of this many shards (`None`: of one process for
/// all).
///
/// # Errors
/// [`OpenError::Locked`] while a process of another count works, else of reading or writing. What the
/// journals held stands in one of them.
pub(super) fn enter(
    site: &Site,
    paths: &Paths,
    shard: Option<Shard>,
) -> Result<Entered, OpenError> {
    // Without a place on the share where they could meet there are no shards.
    let (Kind::OnShare { own, .. } | Kind::Elsewhere { own, .. }) = site.kind() else {
        return Ok(Entered::default());
    };
    let failed = |err: io::Error| OpenError::of(&paths.own.join("shards"), &err);
    if shard.is_none() && !is_there(own, GATE).map_err(failed)? {
        return Ok(Entered::default());
    }
    let gate = pass(own).map_err(failed)?;
    let Some(gate) = gate else {
        return Err(OpenError::Locked(holder(own)));
    };
    let mut entered = Entered {
        _gate: Some(gate),
        ..Entered::default()
    };
    let (before, now) = (
        count_in(own).map_err(failed)?,
        shard.map_or(0, |shard| shard.count),
    );
    if now > 0 && before != 0 && is_held(own).map_err(failed)? {
        // One for all begins, and has the lock already.
        return Err(OpenError::Locked(holder(own)));
    }
    if before == now {
        return Ok(entered);
    }
    let old = folders(own, before).map_err(failed)?;
    for folder in &old {
        // Who is to work on all of the folder holds the lock of that.
        match take(folder).map_err(failed)? {
            Taken::Held => return Err(OpenError::Locked(holder(folder))),
            Taken::Ours(file) => entered._before.push(file),
            Taken::None => {}
        }
    }
    take_over(own, &old, now).map_err(failed)?;
    Ok(entered)
}

/// Parts the journals in `old` among so many shards, and writes that count down.
fn take_over(own: &Arc<Dir>, old: &[Dir], count: u32) -> io::Result<()> {
    let now = clock::wall();
    let retries = retries(old)?;
    let mut parts = Vec::new();
    if count == 0 {
        parts.push((None, own.folder(&Rel::root())?));
    }
    for shard in Shard::all(count) {
        let folder = own.make(&Rel::new(name_of(shard).as_bytes()))?;
        parts.push((Some(shard), folder));
    }
    let mut is_any = false;
    for (shard, folder) in &parts {
        let is_its = |path: &Rel| shard.is_none_or(|shard| shard.has(path, None));
        is_any |= parting::take_over(old, folder, now, is_its)?;
        // What an earlier layout has learned there is of another time.
        forget(folder, b"memory.jsonl")?;
        forget(folder, retries_file::NAME)?;
        if !retries.is_empty() {
            folder.replace(retries_file::NAME, &retries, Durability::Durable)?;
        }
        if shard.is_some() {
            // A lock file that is missing where there is a journal would be waited for.
            let mut lock = folder.to_lock(LOCK)?;
            name_in(folder, &mut lock)?;
        }
    }
    let text = format!("{count}\n");
    own.replace(LAYOUT, text.as_bytes(), Durability::Durable)?;
    if is_any {
        let parted = match count {
            0 => "one process's again".to_string(),
            count => format!("parted among {count} shards"),
        };
        log::info!(target: "dirpost", "watch.shard: what was known of the folder is {parted} now");
    }
    for folder in old {
        parting::remove(folder)?;
        forget(folder, retries_file::NAME)?;
    }
    Ok(())
}

fn name_of(shard: Shard) -> String {
    format!("shard-{}-of-{}", shard.index, shard.count)
}

/// The state folders of so many shards, as far as they are there.
fn folders(own: &Dir, count: u32) -> io::Result<Vec<Dir>> {
    if count == 0 {
        return Ok(vec![own.folder(&Rel::root())?]);
    }
    let mut found = Vec::new();
    for shard in Shard::all(count) {
        match own.folder(&Rel::new(name_of(shard).as_bytes())) {
            Ok(folder) => found.push(folder),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(found)
}

/// The count that is written down. Where somebody has removed that, it is the one whose journals are
/// there; 0 where there are none of shards.
fn count_in(own: &Dir) -> io::Result<u32> {
    let text = match read_small(own, LAYOUT) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return count_of_journals(own),
        Err(err) => return Err(err),
    };
    let text = String::from_utf8_lossy(&text);
    let count = text.trim().parse().ok().filter(|count| *count <= 1024);
    count
        .ok_or_else(|| io::Error::other("it holds no count of shards: write the right one into it"))
}

fn count_of_journals(own: &Dir) -> io::Result<u32> {
    let mut counts = BTreeSet::new();
    for name in own.names(&Rel::root())? {
        let Some(count) = count_named(&name) else {
            continue;
        };
        if parting::is_there(&own.folder(&Rel::new(&name))?)? {
            counts.insert(count);
        }
    }
    match counts.len() {
        0 | 1 => Ok(counts.pop_first().unwrap_or(0)),
        _ => Err(io::Error::other(
            "somebody has removed it, and there are journals of more than one count of shards: write \
             the right count into it",
        )),
    }
}

/// The count in the name of a shard's folder.
fn count_named(name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?;
    let (index, count) = name.strip_prefix("shard-")?.split_once("-of-")?;
    index.parse::<u32>().ok()?;
    count.parse().ok().filter(|count| *count <= 1024)
}

/// All that was ever taken out of dead-letter: who has none of the files passes the lines over.
fn retries(old: &[Dir]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for folder in old {
        match parting::whole(folder, retries_file::NAME) {
            Ok(text) => {
                all.extend(text);
                all.push(b'\n');
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(all)
}

fn forget(folder: &Dir, name: &[u8]) -> io::Result<()> {
    match folder.remove(name) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Locks the gate, and waits for those that have it; `None` if that takes too long.
fn pass(own: &Dir) -> io::Result<Option<File>> {
    let began = Instant::now();
    let gate = own.to_lock(GATE)?;
    while !try_lock(&gate)? {
        if began.elapsed() >= GATE_WITHIN {
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
    Ok(Some(gate))
}

/// What came of a try to take the lock in a folder.
enum Taken {
    /// Somebody works there.
    Held,
    /// It is this process's, which is named beside it.
    Ours(File),
    /// There is none.
    None,
}

fn take(folder: &Dir) -> io::Result<Taken> {
    if !is_there(folder, LOCK)? {
        return Ok(Taken::None);
    }
    let mut file = folder.to_lock(LOCK)?;
    if !try_lock(&file)? {
        return Ok(Taken::Held);
    }
    name_in(folder, &mut file)?;
    Ok(Taken::Ours(file))
}

/// Names this process as the last one that has locked `file`, the lock file in `folder`.
fn name_in(folder: &Dir, file: &mut File) -> io::Result<()> {
    let line = format!("{} {} {}\n", hex(&random()?), host(), std::process::id());
    write_line(file, &line)?;
    folder.replace(HOLDER, line.as_bytes(), Durability::Durable)
}

fn is_held(folder: &Dir) -> io::Result<bool> {
    Ok(is_there(folder, LOCK)? && !try_lock(&folder.to_lock(LOCK)?)?)
}

fn is_there(folder: &Dir, name: &[u8]) -> io::Result<bool> {
    match folder.look(name) {
        Ok(_) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}
