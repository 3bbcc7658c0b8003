//! SCAN: lists the watched folder, one folder at a time.
//!
//! walkdir gives the names of one folder, and what each of them is; the stamps come by the
//! folder's own handle, so that no path is walked again for each file. Only one scan is ever
//! under way: the thread that does it may hang in a call as long as a share hangs.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use walkdir::WalkDir;

use crate::config::Config;
use crate::flow::file::{Rel, Stamp};
use crate::flow::messages::{Content, Input, ListedFolder};
use crate::flow::partial;
use crate::flow::scan::filter::{Class, Filter};
use crate::flow::scan::glob::GlobError;
use crate::flow::time::Wall;
use crate::io::Gone;
use crate::io::dir::{Dir, Entry, below, bytes_of, name_of};
use crate::io::os::error::explain;
use crate::io::share::{Share, Unusable};

/// How often a scan that takes long says that it goes on.
const GOES_ON: Duration = Duration::from_secs(1);

/// Looks only whether the lock is still this process's: answers as [`scan`] does, but for the listings.
///
/// # Errors
/// What `send` gives: nobody listens any more.
pub fn confirm(share: &Share, send: &dyn Fn(Input) -> Result<(), Gone>) -> Result<(), Gone> {
    match share.reopen() {
        Ok(_) => send(Input::Confirmed).and_then(|()| send(Input::Scanned(Ok(())))),
        Err(Unusable::Away(why)) => send(Input::Scanned(Err(why))),
        Err(Unusable::Anew(why)) => send(Input::Closing(why)),
    }
}

/// Looks at everything once: sends [`Input::Confirmed`], a [`Input::Listed`] for each folder, then
/// [`Input::Scanned`], and [`Input::Looking`] while that takes long; or [`Input::Closing`] where all is to be opened anew.
/// `before_use` is called between a listing and its use.
///
/// # Errors
/// What `send` gives: nobody listens any more.
pub fn scan(
    share: &Share,
    filter: &Filter,
    before_use: &dyn Fn() -> Result<(), Gone>,
    send: &dyn Fn(Input) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let root = match share.reopen() {
        Ok(root) => root,
        Err(Unusable::Away(why)) => return send(Input::Scanned(Err(why))),
        Err(Unusable::Anew(why)) => return send(Input::Closing(why)),
    };
    send(Input::Confirmed)?;
    let mut said = Instant::now();
    let mut goes_on = || {
        if said.elapsed() >= GOES_ON {
            said = Instant::now();
            // Whether anybody listens is seen when the folder is listed.
            let _ = send(Input::Looking);
        }
    };
    let mut folders = VecDeque::from([Rel::root()]);
    while let Some(path) = folders.pop_front() {
        let content = match list(share, &root, filter, &path, &mut goes_on) {
            Ok(content) => content,
            // It went since its own folder was listed: the next scan sees that as well.
            Err(err) if path != Rel::root() && err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) if path == Rel::root() => {
                let why = format!("{}: {}", share.path().display(), explain(&err));
                share.lost(why.clone());
                return send(Input::Scanned(Err(why)));
            }
            Err(err) => {
                send(Input::Listed(ListedFolder {
                    path,
                    content: Err(explain(&err)),
                }))?;
                continue;
            }
        };
        folders.extend(content.folders.iter().map(|name| path.join(name)));
        before_use()?;
        send(Input::Listed(ListedFolder {
            path,
            content: Ok(content),
        }))?;
    }
    send(Input::Scanned(Ok(())))
}

/// Lists one folder. Any error makes the listing incomplete, and is returned.
fn list(
    share: &Share,
    root: &Arc<Dir>,
    filter: &Filter,
    path: &Rel,
    goes_on: &mut dyn FnMut(),
) -> io::Result<Content> {
    let folder = root.folder(path)?;
    let names = names(share, filter, path, goes_on)?;
    // walkdir goes by the path: had another folder been put in its place, or the share been
    // unmounted, the names would be those of something else.
    if !Dir::at(share.path())?.folder(path)?.is(&folder) {
        return Err(io::Error::other("it was replaced while it was listed"));
    }
    let mut content = look_at(&folder, names, filter.marker(), goes_on)?;
    let stamps = content.files.iter().map(|(_, look)| look.stamp);
    content.timeless = is_timeless(stamps, &share.path().join(name_of(path.as_bytes())));
    Ok(content)
}

/// The names in a folder that are wanted, sorted, each of them once.
#[derive(Default)]
struct Names {
    files: Vec<Vec<u8>>,
    /// With the suffix.
    markers: Vec<Vec<u8>>,
    folders: Vec<Vec<u8>>,
}

/// Reads the names in the folder that `path` leads to now, and what each of them is.
fn names(
    share: &Share,
    filter: &Filter,
    path: &Rel,
    goes_on: &mut dyn FnMut(),
) -> io::Result<Names> {
    let mut names = Names::default();
    let walk = WalkDir::new(share.path().join(name_of(path.as_bytes())))
        .min_depth(1)
        .max_depth(1)
        .follow_links(false)
        .follow_root_links(path == &Rel::root());
    for entry in walk {
        goes_on();
        let entry = entry.map_err(into_io)?;
        let name = bytes_of(entry.file_name());
        if entry.file_type().is_dir() {
            if filter.enters(path, &name) {
                names.folders.push(name);
            }
        } else if entry.file_type().is_file() {
            match filter.class(path, &name) {
                Class::File => names.files.push(name),
                Class::Marker => names.markers.push(name),
                Class::Ignored => {}
            }
        }
    }
    for names in [&mut names.files, &mut names.markers, &mut names.folders] {
        names.sort_unstable();
        // A share may show a name twice while its folder changes.
        names.dedup();
    }
    Ok(names)
}

/// Looks at each of the files and markers. What is gone by now, or no regular file any more, is
/// left out; what cannot be looked at is noted, for a fault of one file is none of the others.
fn look_at(
    folder: &Dir,
    names: Names,
    marker: Option<&[u8]>,
    goes_on: &mut dyn FnMut(),
) -> io::Result<Content> {
    let mut content = Content {
        folders: names.folders,
        ..Content::default()
    };
    for name in names.files {
        goes_on();
        match folder.entry(&name) {
            Ok(Entry::File(look)) => {
                content.files.push(&name, look);
            }
            Ok(Entry::Absent | Entry::NotAFile) => {}
            Err(err) => note_unseen(&mut content, &name, &name, err)?,
        }
    }
    let mut markers = Vec::new();
    let suffix = marker.map_or(0, <[u8]>::len);
    for name in names.markers {
        goes_on();
        let file = &name[..name.len() - suffix];
        match folder.entry(&name) {
            Ok(Entry::File(look)) => markers.push((file.to_vec(), look)),
            Ok(Entry::Absent | Entry::NotAFile) => {}
            Err(err) => note_unseen(&mut content, file, &name, err)?,
        }
    }
    content.unseen.sort_unstable();
    // Without the suffix they may sort in another way.
    markers.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (file, look) in markers {
        content.markers.push(&file, look);
    }
    Ok(content)
}

/// Whether the folder at `place`, whose files have these `stamps`, lies on a file system that keeps no
/// times: see [`partial::is_timeless`]. Not if the folder cannot be looked at.
pub fn is_timeless(stamps: impl Iterator<Item = Stamp>, place: &Path) -> bool {
    let mut stamps = stamps.peekable();
    // One that has times shows it with its first file, nearly always: then no more is asked.
    if !stamps
        .peek()
        .is_some_and(|stamp| partial::is_marked(stamp.mtime))
    {
        return false;
    }
    let folder = std::fs::metadata(place).and_then(|folder| folder.modified());
    let since = folder.map(|mtime| mtime.duration_since(UNIX_EPOCH));
    match since {
        Ok(Ok(since)) => {
            let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
            partial::is_timeless(Wall(nanos), stamps)
        }
        // It cannot be looked at, or has an mtime before 1970.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The names that are looked at, by the configuration: never those of dirpost's own folders.
///
/// # Errors
/// A glob of `watch.include` or `watch.exclude` that does not compile.
pub fn filter_of(config: &Config) -> Result<Filter, GlobError> {
    let own = [
        &config.state.dir,
        &config.delivered.dir,
        &config.dead_letter.dir,
    ];
    let own = own.into_iter();
    let own = own.filter_map(|path| below(&config.watch.dir, path));
    Filter::new(&config.watch, config.ready.marker.as_deref(), own.collect())
}

/// Notes that nothing is known of `file`, because its entry `name` cannot be looked at.
///
/// # Errors
/// `err` itself, if it says that the folder is not what the server has by that name any more.
fn note_unseen(content: &mut Content, file: &[u8], name: &[u8], err: io::Error) -> io::Result<()> {
    if err.kind() == io::ErrorKind::StaleNetworkFileHandle {
        return Err(err);
    }
    content
        .unseen_why
        .get_or_insert_with(|| (name.to_vec(), explain(&err)));
    content.unseen.push(file.to_vec());
    Ok(())
}

fn into_io(err: walkdir::Error) -> io::Error {
    let kind = err.io_error().map_or(io::ErrorKind::Other, io::Error::kind);
    match err.into_io_error() {
        Some(err) => err,
        None => kind.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::share::OpenError;
    use crate::io::testing::TempDir;
    use std::cell::RefCell;

    fn listed(dir: &Path, tune: impl Fn(&mut crate::config::Config)) -> Vec<String> {
        let mut config = crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").unwrap();
        tune(&mut config);
        // A process that another test is about to start may hold the lock of the last call.
        let (share, _state) = loop {
            match Share::open(&config, false) {
                Err(OpenError::Locked(_)) => std::thread::yield_now(),
                other => break other.expect("it opens"),
            }
        };
        let filter =
            Filter::new(&config.watch, config.ready.marker.as_deref(), Vec::new()).unwrap();
        let found = RefCell::new(Vec::new());
        scan(&share, &filter, &|| Ok(()), &|input| {
            if let Input::Listed(ListedFolder {
                path,
                content: Ok(content),
            }) = input
            {
                found.borrow_mut().extend(
                    content
                        .files
                        .iter()
                        .map(|(name, _)| path.join(name).to_string()),
                );
            }
            Ok(())
        })
        .unwrap();
        let mut found = found.into_inner();
        found.sort();
        found
    }

    #[test]
    fn only_regular_files_that_are_wanted_are_listed() {
        let dir = TempDir::new();
        for name in [
            "a.csv",
            "b.tmp",
            "sub/c.csv",
            "sub/deep/d.csv",
            ".hidden/e.csv",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        assert_eq!(
            listed(dir.path(), |_| {}),
            ["a.csv", "sub/c.csv", "sub/deep/d.csv"]
        );
        assert_eq!(
            listed(dir.path(), |config| config.watch.max_depth = Some(2)),
            ["a.csv", "sub/c.csv"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn any_name_is_listed() {
        use std::os::unix::ffi::OsStrExt;
        let dir = TempDir::new();
        let odd: [&[u8]; 4] = [b"new\nline", b"\xff\xfe", b"100%", &[b'n'; 255]];
        for name in odd {
            std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        }
        assert_eq!(listed(dir.path(), |_| {}).len(), odd.len());
    }
}
