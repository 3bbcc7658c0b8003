//! `dead-letter retry`: a file goes back to its place, to be sent under a new key.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::folder::DeadFile;
use super::{is_there, open, remove_reason, shown};
use crate::config::Config;
use crate::flow::file::{Look, Rel, Stamp};
use crate::io::dir::{Dir, Entry, GroupRights, Renamed, below, rename_is_unsupported};
use crate::io::retries_file;
use crate::io::share::state::{is_read_only, try_writing};

/// What became of the marker of a file that was put back.
enum Marker {
    /// There is none.
    None,
    Back,
    /// Another one is at its place by now.
    Taken,
}

/// Writes down that these are about to be put back, all at once: what the daemon must know before it
/// sees one of them.
///
/// # Errors
/// Those of the calls. Then nothing is written down, and each has to be announced for itself.
pub(super) fn announce(config: &Config, files: &[&DeadFile]) -> io::Result<()> {
    let state = open(config, &config.state.dir)?;
    let of_file = |file: &&DeadFile| {
        let origin = file.origin();
        let may = see_origin(config, &origin).is_ok();
        may.then_some((origin, file.look.stamp))
    };
    let versions: Vec<(Rel, Stamp)> = files.iter().filter_map(of_file).collect();
    retries_file::add(&state, &versions)
}

/// Puts files back, and their markers with them, in this order. What is at a place is never replaced.
/// `is_announced`: by [`announce`], as they were then.
///
/// A folder is brought onto the disk once for all files of a group: the places of all before the reason of
/// one is removed, so that a power cut leaves no file that is neither back nor explained. What is
/// said of a file is true of the disk.
///
/// # Errors
/// Of each file those of the calls, and sentences of what is in the way. The file is at one of its two
/// places, and the next try finds it there.
pub(super) fn put_back(
    config: &Config,
    folder: &Dir,
    files: &[&DeadFile],
    is_announced: bool,
) -> Vec<io::Result<String>> {
    let mut said = Vec::with_capacity(files.len());
    let mut left = files;
    while !left.is_empty() {
        let mut group = match Group::open(config, folder, is_announced) {
            Ok(group) => group,
            Err(err) => {
                said.extend(left.iter().map(|_| Err(again(&err))));
                return said;
            }
        };
        let mut moved = Vec::new();
        while let Some((file, others)) = left.split_first()
            && moved.len() < FILES
            && !group.is_full()
        {
            moved.push(group.put_back(file));
            left = others;
        }
        said.extend(group.finish(moved));
    }
    said
}

/// So many files are put back together. A kill leaves the reasons of so many behind, which name nothing then.
const FILES: usize = 64;
/// So many folders are open at a time at most, but for one file: macOS gives a process 256 handles.
const FOLDERS: usize = 64;

/// Files that are put back together.
struct Group<'a> {
    config: &'a Config,
    folder: &'a Dir,
    is_announced: bool,
    root: Dir,
    state: Dir,
    /// Folders that files came from.
    sources: BTreeMap<Rel, Rc<Dir>>,
    /// Folders that they went to.
    homes: BTreeMap<Rel, Rc<Dir>>,
}

/// A file that is back, or whose copy is gone, and not on the disk yet.
struct Moved {
    /// Where it lay in dead-letter.
    place: Rel,
    /// The folder that it is in now; `None` where only a copy was removed.
    home: Option<Rel>,
    said: String,
}

impl<'a> Group<'a> {
    fn open(config: &'a Config, folder: &'a Dir, is_announced: bool) -> io::Result<Group<'a>> {
        Ok(Group {
            config,
            folder,
            is_announced,
            root: Dir::at(&config.watch.dir)?,
            state: open(config, &config.state.dir)?,
            sources: BTreeMap::new(),
            homes: BTreeMap::new(),
        })
    }

    fn is_full(&self) -> bool {
        self.sources.len() + self.homes.len() >= FOLDERS
    }

    /// Puts one file back, as far as that goes without waiting for the disk.
    fn put_back(&mut self, file: &DeadFile) -> io::Result<Moved> {
        let origin = file.origin();
        see_origin(self.config, &origin)?;
        let place = &file.place;
        let from = held(&mut self.sources, &place.parent(), |path| {
            self.folder.folder(path)
        })?;
        let name = place.name();
        let look = from.look(name)?.ok_or(io::ErrorKind::NotFound)?;
        let announce = || match self.is_announced && look.stamp == file.look.stamp {
            true => Ok(()),
            false => retries_file::add(&self.state, &[(origin.clone(), look.stamp)]),
        };
        if is_only_a_copy(&self.root, &origin, &look) {
            // The daemon takes the file at its place for new once more.
            announce()?;
            from.remove(name)?;
            return Ok(Moved {
                place: place.clone(),
                home: None,
                said: format!(
                    "{}: to be sent from its place under a new key",
                    shown(&origin)
                ),
            });
        }
        // A folder that is gone is made again as its mirror is: no wider than it was.
        let home = held(&mut self.homes, &origin.parent(), |path| {
            let made = self.root.make_like(path, self.folder, GroupRights::Kept)?;
            Ok(made.folder)
        })?;
        // Before the file is back: the daemon must not see it without its new key.
        announce()?;
        if rename(&from, name, &home, origin.name())? == Renamed::Taken {
            return Err(io::Error::other(format!(
                "its old place is taken by another file: move {} away first",
                shown(&origin)
            )));
        }
        let marker = put_marker_back(self.config, &from, name, &home, origin.name())?;
        Ok(Moved {
            place: place.clone(),
            home: Some(origin.parent()),
            said: format!(
                "{}: back at its place, to be sent under a new key{}",
                shown(&origin),
                match marker {
                    Marker::None => "",
                    Marker::Back => ", with its marker",
                    Marker::Taken => "; its marker stays here, for there is another one",
                }
            ),
        })
    }

    /// Brings it all onto the disk; gives what is to be said of each file.
    fn finish(self, moved: Vec<io::Result<Moved>>) -> Vec<io::Result<String>> {
        let homes = synced(&self.homes);
        let unexplained = moved.into_iter().map(|moved| {
            let moved = moved?;
            if let Some(home) = &moved.home {
                outcome(&homes, home)?;
            }
            let from = &self.sources[&moved.place.parent()];
            remove_reason(from, moved.place.name())?;
            Ok(moved)
        });
        let unexplained: Vec<io::Result<Moved>> = unexplained.collect();
        let sources = synced(&self.sources);
        let said = unexplained.into_iter().map(|moved| {
            let moved = moved?;
            outcome(&sources, &moved.place.parent())?;
            Ok(moved.said)
        });
        said.collect()
    }
}

/// The folder at `path`, opened once.
fn held(
    folders: &mut BTreeMap<Rel, Rc<Dir>>,
    path: &Rel,
    open: impl FnOnce(&Rel) -> io::Result<Dir>,
) -> io::Result<Rc<Dir>> {
    if let Some(dir) = folders.get(path) {
        return Ok(Rc::clone(dir));
    }
    let dir = Rc::new(open(path)?);
    folders.insert(path.clone(), Rc::clone(&dir));
    Ok(dir)
}

/// Brings each of these folders onto the disk.
fn synced(folders: &BTreeMap<Rel, Rc<Dir>>) -> BTreeMap<&Rel, io::Result<()>> {
    folders
        .iter()
        .map(|(path, dir)| (path, dir.sync()))
        .collect()
}

/// What has come of bringing the folder at `path` onto the disk.
fn outcome(synced: &BTreeMap<&Rel, io::Result<()>>, path: &Rel) -> io::Result<()> {
    match synced.get(path) {
        Some(Err(err)) => Err(again(err)),
        _ => Ok(()),
    }
}

/// An error that concerns several files.
fn again(err: &io::Error) -> io::Error {
    match err.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(err.kind(), err.to_string()),
    }
}

/// Nothing goes back into dirpost's own folders, wherever one lies that somebody has made in
/// dead-letter by hand.
fn see_origin(config: &Config, origin: &Rel) -> io::Result<()> {
    let own = [
        &config.state.dir,
        &config.delivered.dir,
        &config.dead_letter.dir,
    ];
    for own in own {
        let is_own = below(&config.watch.dir, own).is_some_and(|own| {
            let mut parts = origin.parts();
            own.parts().all(|part| parts.next() == Some(part))
        });
        if is_own {
            return Err(io::Error::other(format!(
                "its old place would be in dirpost's own folder {}",
                own.display()
            )));
        }
    }
    Ok(())
}

/// Whether the file at `origin` was only copied to dead-letter, for dirpost may not write to its
/// folder.
fn is_only_a_copy(root: &Dir, origin: &Rel, copy: &Look) -> bool {
    let Ok(home) = root.folder(&origin.parent()) else {
        return false;
    };
    let equal = home
        .look(origin.name())
        .is_ok_and(|look| look.is_some_and(|look| look.stamp == copy.stamp));
    equal && matches!(try_writing(&home), Err(err) if is_read_only(&err))
}

fn put_marker_back(
    config: &Config,
    from: &Dir,
    name: &[u8],
    home: &Dir,
    to: &[u8],
) -> io::Result<Marker> {
    let Some(rule) = &config.ready.marker else {
        return Ok(Marker::None);
    };
    let name = rule.name_of(name);
    if !is_there(from, &name) {
        return Ok(Marker::None);
    }
    match rename(from, &name, home, &rule.name_of(to))? {
        Renamed::Done => Ok(Marker::Back),
        _ => Ok(Marker::Taken),
    }
}

/// Renames and replaces nothing; where there is no such rename (NFS, the BSDs), by a link and an
/// unlink.
///
/// # Errors
/// Those of the calls, when a fresh look has shown that the file is still where it was, or has both
/// names. Of two names the last is never removed.
fn rename(from: &Dir, name: &[u8], home: &Dir, to: &[u8]) -> io::Result<Renamed> {
    let Entry::File(look) = from.fresh_entry(name)? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let renamed = match from.rename_no_replace(name, home, to) {
        Err(err) if rename_is_unsupported(&err) => {
            from.link(name, home, to).and_then(|()| from.remove(name))
        }
        other => other,
    };
    match renamed {
        Ok(()) => Ok(Renamed::Done),
        Err(err) if err.kind() == io::ErrorKind::CrossesDevices => Err(io::Error::other(
            "dead_letter.dir is on another file system: copy it back by hand, under a temporary \
             name, and rename it",
        )),
        Err(err) => after_error(err, (from, name), (home, to), &look),
    }
}

/// What came of a rename that answered with an error, which it may have been done in spite of.
fn after_error(
    err: io::Error,
    (from, name): (&Dir, &[u8]),
    (home, to): (&Dir, &[u8]),
    look: &Look,
) -> io::Result<Renamed> {
    match (from.fresh_entry(name)?, home.fresh_entry(to)?) {
        // Inode numbers do not last on some file systems.
        (Entry::Absent, Entry::File(there)) if there.stamp == look.stamp => Ok(Renamed::Done),
        // One file by two names: an earlier try, or this one, has come so far.
        (Entry::File(here), Entry::File(there))
            if here.ino != 0 && (here.dev, here.ino) == (there.dev, there.ino) =>
        {
            from.remove(name)?;
            Ok(Renamed::Done)
        }
        (_, Entry::Absent) => Err(err),
        _ if err.kind() == io::ErrorKind::AlreadyExists => Ok(Renamed::Taken),
        _ => Err(err),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    /// A file `x` in one folder, what `arrange` makes of it and the other, and what is made of an
    /// error then. Gives as well which of the two names are there.
    fn after(
        kind: io::ErrorKind,
        arrange: impl FnOnce(&std::path::Path, &std::path::Path),
    ) -> (Option<Renamed>, bool, bool) {
        let dir = TempDir::new();
        let (here, there) = (dir.path().join("dead"), dir.path().join("in"));
        for folder in [&here, &there] {
            std::fs::create_dir(folder).unwrap();
        }
        let (from, to) = (here.join("x"), there.join("x"));
        std::fs::write(&from, "x").unwrap();
        let (here, there) = (Dir::at(&here).unwrap(), Dir::at(&there).unwrap());
        let look = here.look(b"x").unwrap().unwrap();
        arrange(&from, &to);
        let renamed = after_error(kind.into(), (&here, b"x"), (&there, b"x"), &look);
        (renamed.ok(), from.exists(), to.exists())
    }

    #[test]
    fn a_rename_that_was_done_and_answers_with_an_error_is_done() {
        for kind in [
            io::ErrorKind::NotFound,
            io::ErrorKind::TimedOut,
            io::ErrorKind::Other,
        ] {
            let done = after(kind, |from, to| std::fs::rename(from, to).unwrap());
            assert_eq!(done, (Some(Renamed::Done), false, true));
        }
    }

    #[test]
    fn of_a_file_with_two_names_the_one_in_dead_letter_goes() {
        for kind in [io::ErrorKind::AlreadyExists, io::ErrorKind::Other] {
            let done = after(kind, |from, to| std::fs::hard_link(from, to).unwrap());
            assert_eq!(done, (Some(Renamed::Done), false, true));
        }
    }

    #[test]
    fn what_was_not_done_is_an_error_and_another_file_at_the_place_stays() {
        let failed = after(io::ErrorKind::Other, |_, _| {});
        assert_eq!(failed, (None, true, false));
        let taken = after(io::ErrorKind::AlreadyExists, |_, to| {
            std::fs::write(to, "other").unwrap();
        });
        assert_eq!(taken, (Some(Renamed::Taken), true, true));
        let gone = after(io::ErrorKind::NotFound, |from, _| {
            std::fs::remove_file(from).unwrap()
        });
        assert_eq!(gone, (None, false, false));
        // Somebody else's file of the same size: not taken for it.
        let other = after(io::ErrorKind::NotFound, |from, to| {
            std::fs::remove_file(from).unwrap();
            std::fs::write(to, "longer").unwrap();
        });
        assert_eq!(other, (None, false, true));
    }
}
