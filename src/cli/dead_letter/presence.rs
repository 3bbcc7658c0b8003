//! Whether the folders are there at all: a share that is not mounted looks like one on which
//! nothing ever happened.

use std::io;

use super::open;
use crate::config::Config;
use crate::io::dir::{Dir, below};
use crate::io::fault::explain;
use crate::io::share::see_share;

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
