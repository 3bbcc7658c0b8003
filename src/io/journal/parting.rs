//! Journals of one layout of shards become those of another (`watch.shard`): see
//! [`crate::io::share`].

use std::io::{self, Read, Write};

use super::files::{self, FOLDER, begin, name, numbers, open_all};
use super::lines::each_line;
use crate::flow::file::Rel;
use crate::flow::journal::{Entry, Head};
use crate::flow::time::Wall;
use crate::io::dir::Dir;

/// Makes the journal in the state folder `new` of the lines in those in `old` whose paths `is_its`,
/// in place of what is there. Each path stands in one of the old ones, so that its lines stay in order.
/// It is on the disk when this returns. Gives whether there was anything to take over; where there was
/// not it is empty, so that its first reader does not take it for one that is gone.
///
/// # Errors
/// Of reading or writing. The old ones are as they were.
pub fn take_over(
    old: &[Dir],
    new: &Dir,
    now: Wall,
    is_its: impl Fn(&Rel) -> bool,
) -> io::Result<bool> {
    let mut sources = Vec::new();
    let mut share = None;
    for state in old {
        share = share.or(files::share_of(state)?);
        match state.folder(&Rel::new(FOLDER)) {
            Ok(folder) => sources.extend(open_all(&folder)?.0),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    remove(new)?;
    let folder = new.make(&Rel::new(FOLDER))?;
    let head = share.map(|share| Head::new(&share, now).line());
    begin(&folder, 1, |to| {
        to.write_all(&head.unwrap_or_default())?;
        for source in &sources {
            each_line(&source.file, u64::MAX, |line| {
                match Entry::path_of(line.strip_suffix(b"\n").unwrap_or(line)) {
                    Some(path) if is_its(&path) => to.write_all(line),
                    _ => Ok(()),
                }
            })?;
        }
        Ok(())
    })?;
    Ok(!sources.is_empty())
}

/// Whether there is a journal in the state folder `state`.
///
/// # Errors
/// Of opening or listing its folder.
pub fn is_there(state: &Dir) -> io::Result<bool> {
    match state.folder(&Rel::new(FOLDER)) {
        Ok(folder) => Ok(!numbers(&folder)?.is_empty()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

/// Removes the journal in the state folder `state`.
///
/// # Errors
/// Of listing or removing.
pub fn remove(state: &Dir) -> io::Result<()> {
    let folder = match state.folder(&Rel::new(FOLDER)) {
        Ok(folder) => folder,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    for number in numbers(&folder)? {
        folder.remove(&name(number))?;
    }
    folder.sync()
}

/// The whole of a file of a state folder.
///
/// # Errors
/// Of opening or reading it.
pub fn whole(state: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    state.file(name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
