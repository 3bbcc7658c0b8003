//! The files of a journal: their names, and how one is begun and read.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};

use crate::flow::file::Rel;
use crate::flow::journal::{Head, Replay};
use crate::io::dir::{DRAFT, Dir, FileId, draft_name};

use super::lines::each_line;

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

/// A file that was there when the journal was opened.
#[derive(Debug)]
pub(super) struct OldFile {
    pub number: u64,
    /// Open to read.
    pub file: File,
    /// The bytes of its whole lines.
    pub size: u64,
    /// The files whose lines stand in this one.
    replaces: Option<(u64, u64)>,
}

impl OldFile {
    /// The lowest number of what stands in it.
    pub fn first(&self) -> u64 {
        let (first, _) = self.replaces.unwrap_or((self.number, self.number));
        first.min(self.number)
    }
}

/// Opens all files in `folder`, the oldest first, and leaves out those whose lines stand in a newer
/// one: the numbers of these are given as well.
///
/// # Errors
/// Of listing, opening or reading.
pub(super) fn open_all(folder: &Dir) -> io::Result<(Vec<OldFile>, Vec<u64>)> {
    /// How often all are listed again because one of them was gone: rewritten by a process that has
    /// lost the lock and does not know it yet.
    const LISTINGS: u32 = 100;
    for _ in 1..LISTINGS {
        match open_listed(folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    open_listed(folder)
}

fn open_listed(folder: &Dir) -> io::Result<(Vec<OldFile>, Vec<u64>)> {
    let mut files = Vec::new();
    for number in numbers(folder)? {
        let file = folder.file(&name(number))?;
        let replaces = read_head(&file)?.and_then(|head| head.replaces);
        files.push(OldFile {
            number,
            file,
            size: 0,
            replaces,
        });
    }
    let stands_elsewhere = |file: &OldFile| {
        files.iter().any(|newer| {
            let replaces = newer.replaces.filter(|_| newer.number > file.number);
            replaces.is_some_and(|(first, last)| (first..=last).contains(&file.number))
        })
    };
    let replaced: Vec<u64> = files
        .iter()
        .filter(|file| stands_elsewhere(file))
        .map(|file| file.number)
        .collect();
    files.retain(|file| !replaced.contains(&file.number));
    Ok((files, replaced))
}

/// Adds up `files`, and sets their sizes.
///
/// # Errors
/// Of reading one of them.
pub(super) fn read(files: &mut [OldFile]) -> io::Result<Replay> {
    let mut replay = Replay::default();
    for old in files {
        old.size = each_line(&old.file, u64::MAX, |line| {
            replay.line(line.strip_suffix(b"\n").unwrap_or(line));
            Ok(())
        })?;
    }
    Ok(replay)
}

/// Makes the file `number` of the lines that `fill` writes, all of it on the disk, and gives it with
/// its size and what `fill` has given.
///
/// # Errors
/// Of `fill`, and of writing, syncing or opening it; `AlreadyExists` if the name is taken. After an
/// error there is no such file, unless there was one before.
pub(super) fn begin<T>(
    folder: &Dir,
    number: u64,
    fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<T>,
) -> io::Result<(File, u64, T)> {
    let draft = draft_name();
    let made = folder.create(&draft).and_then(|file| {
        let filled = filled(&file, fill)?;
        let size = file.metadata()?.len();
        folder.place(&draft, &file, &name(number))?;
        Ok((begun(folder, number)?, size, filled))
    });
    made.inspect_err(|_| drop(folder.remove(&draft)))
}

/// What `fill` writes is in `file`, and on the disk.
pub(super) fn filled<T>(
    file: &File,
    fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<T>,
) -> io::Result<T> {
    let mut writer = BufWriter::with_capacity(128 * 1024, file);
    let filled = fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    Ok(filled)
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

/// The first line of `file`, if it is one that names the share.
fn read_head(mut file: &File) -> io::Result<Option<Head>> {
    /// Longer than any first line.
    const HEAD: u64 = 4096;
    let mut start = Vec::new();
    file.rewind()?;
    file.take(HEAD).read_to_end(&mut start)?;
    let first = start.split(|&byte| byte == b'\n').next();
    Ok(first.and_then(Head::read))
}

/// The share that the journal in the state folder `state` names, by the newest of its files that
/// does. `None` where there is no journal, or only one of an old version.
///
/// # Errors
/// Of opening the folder, or of opening or reading one of the files.
pub fn share_of(state: &Dir) -> io::Result<Option<String>> {
    let folder = match state.folder(&Rel::new(FOLDER)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    for number in numbers(&folder)?.into_iter().rev() {
        let head = match folder.file(&name(number)) {
            Ok(file) => read_head(&file)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err),
        };
        if let Some(head) = head {
            return Ok(Some(head.share));
        }
    }
    Ok(None)
}
