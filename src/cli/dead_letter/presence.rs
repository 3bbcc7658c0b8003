//! Whether the folders are there at all: a share that is not mounted looks like one on which
//! nothing ever happened.

use std::io;

use super::open;
use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{Dir, below};
use crate::io::os::error::explain;
use crate::io::share::read_small;

/// Opens the dead-letter folder; `None` if it is known that nothing was ever put there.
///
/// # Errors
/// A sentence: it cannot be opened, or it is not known whether it should be there.
pub(super) fn open_dead_letter(config: &Config) -> Result<Option<Dir>, String> {
    let dir = &config.dead_letter.dir;
    match open(config, dir) {
        Ok(folder) => return Ok(Some(folder)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(format!("{}: {}", dir.display(), explain(&err))),
    }
    let state = &config.state.dir;
    if below(&config.watch.dir, state).is_some() {
        see_share(config)?;
    }
    match open(config, state) {
        Ok(_) if below(state, dir).is_some() => Ok(None),
        Ok(_) => Err(format!(
            "{} is not there: no file has gone to dead-letter yet, or what it lies on is not \
             mounted",
            dir.display()
        )),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Err(format!(
            "{} is not there: dirpost has not worked on {} yet, or what it lies on is not mounted",
            state.display(),
            config.watch.dir.display()
        )),
        Err(err) => Err(format!("{}: {}", state.display(), explain(&err))),
    }
}

/// Sees that the watched folder is there and is the share that the state belongs to, as far as that can
/// be told without the lock.
///
/// # Errors
/// A sentence that says what is missing.
pub(super) fn see_share(config: &Config) -> Result<(), String> {
    let watch = config.watch.dir.display();
    let root = Dir::at(&config.watch.dir).map_err(|err| format!("{watch}: {}", explain(&err)))?;
    let is_mount = Dir::at(&config.watch.dir.join("..")).is_ok_and(|parent| !parent.same_fs(&root));
    if config.watch.require_mount && !is_mount {
        return Err(format!(
            "{watch}: it is not a mount point (watch.require_mount = true): nothing is mounted there"
        ));
    }
    if below(&config.watch.dir, &config.state.dir).is_some() {
        return Ok(());
    }
    // The id of the share, and, where the share has no mark, that it has none and was a mount point.
    let known = open(config, &config.state.dir).and_then(|state| read_small(&state, b"id"));
    let known = known.unwrap_or_default();
    let mut known = known.split(u8::is_ascii_whitespace);
    let (id, word, mount) = (known.next(), known.next(), known.next());
    let mark = root
        .folder(&Rel::new(OWN_FOLDER.as_bytes()))
        .and_then(|own| read_small(&own, b"id"))
        .unwrap_or_default();
    let is_the_share = match (id, word) {
        (None | Some(b""), _) => true,
        (Some(id), None | Some(b"")) => mark.trim_ascii() == id,
        (Some(_), Some(_)) => mark.is_empty() && (mount != Some(b"mount") || is_mount),
    };
    if is_the_share {
        return Ok(());
    }
    Err(format!(
        "{watch}: it is not the folder that the state in {} belongs to (.dirpost/id): is it mounted?",
        config.state.dir.display()
    ))
}
