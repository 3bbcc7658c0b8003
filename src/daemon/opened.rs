//! Opening everything that a session needs, once: the share, the state, the journal.

use crate::config::Config;
use crate::flow::engine::Handover;
use crate::flow::status::Counters;
use crate::io::journal::Journal;
use crate::io::memory_file;
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::retries_file;
use crate::io::send_fingerprint;
use crate::io::share::state::StateDir;
use crate::io::share::{self, OpenError, Share};
use crate::io::status;

/// Everything that had to be opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) share: Share,
    pub(super) state: StateDir,
    pub(super) journal: Journal,
    pub(super) past: Handover,
    /// Lines of the journal that could not be read.
    pub(super) unreadable: usize,
}

/// What came of opening it.
pub(super) type OpenResult = Result<Box<Opened>, OpenError>;

/// Opens everything, once.
pub(super) fn open_all(config: &Config, opening: &share::Opening) -> OpenResult {
    let (share, state) = Share::open_as(config, opening)?;
    let (journal, replay) = Journal::open(state.journal(), clock::wall())
        .map_err(|err| OpenError::of(&config.state.dir.join("journal"), &err))?;
    if let Err(err) = retries_file::prune(&state.folder, &share.folder(), clock::wall()) {
        log::debug!(target: "dirpost", "retries: {}", explain(&err));
    }
    let unreadable = replay.unreadable;
    let past = Handover {
        journal: replay,
        memory: memory_file::read(&state.folder),
        counters: status::read(&state.folder).map_or_else(Counters::default, |status| {
            Counters::of_earlier(status.work)
        }),
        send: send_fingerprint::of(&config.send),
        ..Handover::default()
    };
    Ok(Box::new(Opened {
        share,
        state,
        journal,
        past,
        unreadable,
    }))
}
