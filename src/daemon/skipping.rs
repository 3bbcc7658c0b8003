//! `once --skip-existing`: what is there now counts as delivered, and nothing is sent.

use std::io::Write as _;

use super::fail;
use super::opened::{Opened, open_all};
use super::opening::Opening;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::journal::{Entry, Event};
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::scan;
use crate::io::share::OpenError;

/// How many lines are written at a time.
const LINES: usize = 4_096;

/// Takes all that one complete listing shows as delivered, and says how many files that are.
pub fn skip_existing(config: &Config, adopt: bool) -> Exit {
    let mut opening = Opening::default();
    opening.share.adopt = adopt;
    let opened = match open_all(config, &opening.share) {
        Ok(opened) => opened,
        Err(OpenError::Locked(_)) => {
            log::error!(target: "dirpost", "another dirpost works on this folder: stop it first");
            return Exit::Locked;
        }
        Err(OpenError::Fault(why)) => return fail(&why),
        Err(OpenError::Away(why) | OpenError::LockGone(why)) => {
            log::error!(target: "dirpost", "folder: {why}");
            return Exit::Left;
        }
    };
    if !opened.journal.is_new() {
        return fail(&format!(
            "--skip-existing is for a folder that dirpost has not worked on: there is a journal in \
             {}, which says what was delivered. To begin again, move that folder away first",
            config.state.dir.join("journal").display()
        ));
    }
    let files = match list_all(config, &opened) {
        Ok(files) => files,
        Err(why) => {
            log::error!(target: "dirpost", "{why}; nothing is taken as delivered: try again");
            return Exit::Left;
        }
    };
    if let Err(err) = write(&opened, &files) {
        return fail(&format!(
            "what is there could not be written down: {}; the journal in {} has a part of it: \
             remove that folder, and try again",
            explain(&err),
            config.state.dir.join("journal").display()
        ));
    }
    let word = if files.len() == 1 {
        "file counts"
    } else {
        "files count"
    };
    let said = writeln!(
        std::io::stdout(),
        "{} {word} as delivered: what is there now is not sent, what comes from now on is",
        files.len()
    );
    // A pipe that is closed is no fault: all is done.
    drop(said);
    Exit::Success
}

/// All files that are wanted, each with its stamp and its marker.
fn list_all(config: &Config, opened: &Opened) -> Result<Vec<Entry>, String> {
    let filter = scan::filter_of(config).map_err(|err| err.to_string())?;
    let root = opened.share.folder();
    let mut entries = Vec::new();
    let mut folders = vec![Rel::root()];
    while let Some(folder) = folders.pop() {
        let content = scan::list(&root, &config.watch.dir, &filter, &folder)
            .map_err(|err| format!("{folder}: cannot be listed: {}", explain(&err)))?;
        if let Some((name, why)) = content.unseen_why {
            return Err(format!(
                "{}: cannot be looked at: {why}",
                folder.join(&name)
            ));
        }
        for (name, look) in content.files.iter() {
            let marker = content.markers.get(name);
            entries.push(Entry {
                path: folder.join(name),
                stamp: look.stamp,
                event: Event::Skipped {
                    marker: marker.map(|marker| (marker.stamp.size, marker.stamp.mtime.0)),
                },
            });
        }
        folders.extend(content.folders.iter().map(|name| folder.join(name)));
    }
    Ok(entries)
}

fn write(opened: &Opened, files: &[Entry]) -> std::io::Result<()> {
    for lines in files.chunks(LINES) {
        opened.journal.append(lines)?;
    }
    opened.journal.sync(clock::wall())
}
