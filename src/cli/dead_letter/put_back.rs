//! `dead-letter retry`: a file goes back to its place, to be sent under a new key.

use std::io;

use super::folder::DeadFile;
use super::{is_there, open, remove_reason, shown};
use crate::config::Config;
use crate::flow::file::{Look, Rel};
use crate::io::dir::{Dir, Renamed, below};
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

/// Puts a file back, and its marker with it. What is at its place is never replaced.
///
/// # Errors
/// Those of the calls, and sentences of what is in the way. The file is at one of its two places, and
/// the next try finds it there.
pub(super) fn put_back(config: &Config, folder: &Dir, file: &DeadFile) -> io::Result<String> {
    let origin = file.origin();
    see_origin(config, &origin)?;
    let root = Dir::at(&config.watch.dir)?;
    let state = open(config, &config.state.dir)?;
    let from = folder.folder(&file.place.parent())?;
    let name = file.place.name();
    let look = from.look(name)?.ok_or(io::ErrorKind::NotFound)?;
    if is_only_a_copy(&root, &origin, &look) {
        // The daemon takes the file at its place for new once more.
        retries_file::add(&state, &origin, look.stamp)?;
        from.remove(name)?;
        remove_reason(&from, name)?;
        from.sync()?;
        return Ok(format!(
            "{}: to be sent from its place under a new key",
            shown(&origin)
        ));
    }
    let home = root.make(&origin.parent())?;
    // Before the file is back: the daemon must not see it without its new key.
    retries_file::add(&state, &origin, look.stamp)?;
    match rename(&from, name, &home, origin.name())? {
        Renamed::Done => {}
        _ => {
            return Err(io::Error::other(format!(
                "its old place is taken by another file: move {} away first",
                shown(&origin)
            )));
        }
    }
    let marker = put_marker_back(config, &from, name, &home, origin.name())?;
    home.sync()?;
    remove_reason(&from, name)?;
    from.sync()?;
    Ok(format!(
        "{}: back at its place, to be sent under a new key{}",
        shown(&origin),
        match marker {
            Marker::None => "",
            Marker::Back => ", with its marker",
            Marker::Taken => "; its marker stays here, for there is another one",
        }
    ))
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
    let Some(marker) = config.ready.marker.as_deref().map(str::as_bytes) else {
        return Ok(Marker::None);
    };
    let name = [name, marker].concat();
    if !is_there(from, &name) {
        return Ok(Marker::None);
    }
    match rename(from, &name, home, &[to, marker].concat())? {
        Renamed::Done => Ok(Marker::Back),
        _ => Ok(Marker::Taken),
    }
}

/// Renames and replaces nothing.
fn rename(from: &Dir, name: &[u8], home: &Dir, to: &[u8]) -> io::Result<Renamed> {
    match from.rename(name, home, to, false)? {
        Renamed::CrossesDevices => Err(io::Error::other(
            "dead_letter.dir is on another file system: copy it back by hand, under a temporary \
             name, and rename it",
        )),
        renamed => Ok(renamed),
    }
}
