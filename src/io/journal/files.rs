//! The files of a journal: their names, and how one is begun and read.

use std::fs::File;
use std::io::{self, Read, Seek};

use crate::flow::file::Rel;
use crate::flow::journal::{self, Replay};
use crate::io::dir::{DRAFT, Dir, FileId};

/// The folder in the state folder that they are in.
pub(super) const FOLDER: &[u8] = b"journal";

/// The name of the file `number`.
pub(super) fn name(number: u64) -> Vec<u8> {
    format!("{number:08}.jsonl").into_bytes()
}

/// The numbers of the files that are in `folder`, in order.
///
/// # Errors
/// Of listing it.
pub(super) fn numbers(folder: &Dir) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = folder
        .names(&Rel::root())?
        .iter()
        .filter_map(|name| {
            std::str::from_utf8(name)
                .ok()?
                .strip_suffix(".jsonl")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Adds up the files `numbers`; one that is gone by now adds nothing.
///
/// # Errors
/// Of opening or reading one of them.
pub(super) fn read(folder: &Dir, numbers: &[u64]) -> io::Result<Replay> {
    let mut replay = Replay::default();
    for &number in numbers {
        let mut bytes = Vec::new();
        match folder.file(&name(number)) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err),
        };
        replay.add(&bytes);
    }
    Ok(replay)
}

/// All that was written to a file that is held open, whether it still has a name or not.
///
/// # Errors
/// Of reading it.
pub(super) fn read_held(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The place to read from; what is written goes to the end all the same.
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the file `number` with `lines` in it, all of it on the disk, and gives it with its size.
///
/// # Errors
/// Of writing, syncing or opening it; `AlreadyExists` if the name is taken. After an error
/// there is no such file, unless there was one before.
pub(super) fn begin(folder: &Dir, number: u64, lines: &[u8]) -> io::Result<(File, u64)> {
    folder.write_new(&name(number), lines)?;
    Ok((begun(folder, number)?, lines.len() as u64))
}

/// Opens a file that has just got its name, and sees that the name is on the disk.
///
/// # Errors
/// Of syncing the folder or opening the file, which is removed then.
pub(super) fn begun(folder: &Dir, number: u64) -> io::Result<File> {
    let begun = folder.sync().and_then(|()| folder.append(&name(number)));
    // Left there it would be in the way of the next attempt, and read as newer than it is.
    begun.inspect_err(|_| drop(folder.remove(&name(number))))
}

/// Whether the name of the file `number` leads to the file `held`, through a fresh open.
///
/// # Errors
/// Of opening it, unless that says that nothing of the kind is there.
pub(super) fn is_there(folder: &Dir, number: u64, held: Option<FileId>) -> io::Result<bool> {
    match folder.file(&name(number)) {
        Ok(found) => Ok(FileId::of(&found)? == held),
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(false)
        }
        Err(err) => Err(err),
    }
}

/// Removes what a process left that was killed while it wrote a file.
pub(super) fn clean(folder: &Dir) -> io::Result<()> {
    for name in folder.names(&Rel::root())? {
        if name.starts_with(DRAFT.as_bytes()) {
            let _ = folder.remove(&name);
        }
    }
    Ok(())
}

/// The share that the journal in the state folder `state` names, by the newest of its files that
/// does. `None` where there is no journal, or only one of an old version.
///
/// # Errors
/// Of opening the folder, or of opening or reading one of the files.
pub fn share_of(state: &Dir) -> io::Result<Option<String>> {
    /// Longer than any first line.
    const HEAD: u64 = 4096;
    let folder = match state.folder(&Rel::new(FOLDER)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    for number in numbers(&folder)?.into_iter().rev() {
        let mut start = Vec::new();
        match folder.file(&name(number)) {
            Ok(file) => file.take(HEAD).read_to_end(&mut start)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err),
        };
        let first = start.split(|&byte| byte == b'\n').next();
        if let Some(share) = first.and_then(journal::share_of) {
            return Ok(Some(share));
        }
    }
    Ok(None)
}
