//! Whether the watched folder is there and is the share, for commands that take no lock.

use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::scan::filter::OWN_FOLDER;

use super::mark::{Identity, read_mark};
use super::site::Paths;
use super::{is_mount, not_the_share, open_root, said_of};

/// Sees that the watched folder is there and is the share that the state belongs to, as far as that
/// can be told without the lock. Where nothing is remembered of a share nothing speaks against it.
///
/// # Errors
/// A sentence with the path that says what is missing.
pub fn see_share(config: &Config) -> Result<(), String> {
    let paths = Paths::of(config);
    let root = open_root(&config.watch.dir, config.watch.require_mount)?;
    if paths.state_below.is_some() {
        return Ok(());
    }
    let state = match paths.open_state(&root) {
        Ok(state) => state,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(said_of(&paths.state, &err)),
    };
    let known = Identity::recorded(&state).map_err(|err| said_of(&paths.state, &err))?;
    let Some(known) = known else { return Ok(()) };
    let mark = match root.folder(&Rel::new(OWN_FOLDER.as_bytes())) {
        Ok(own) => read_mark(&own),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    };
    let mark = mark.map_err(|err| said_of(&paths.own, &err))?;
    known
        .fits(mark.as_deref(), is_mount(&config.watch.dir, &root))
        .map_err(|misfit| not_the_share(&paths, misfit).to_string())
}
