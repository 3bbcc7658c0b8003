//! What is known of a file, gathered from the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::FileType;
use std::path::PathBuf;

use crate::cli::dead_letter;
use crate::cli::dead_letter::names::{below_really, plain};
use crate::config::Config;
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::journal::Event;
use crate::flow::memory;
use crate::flow::scan::filter::{Filter, Rule};
use crate::flow::status::Status;
use crate::flow::time::{Mono, Wall};
use crate::io::dir::{Dir, name_of};
use crate::io::journal::history_of;
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::os::files::writer_of;
use crate::io::scan::filter_of;
use crate::io::{memory_file, status};

/// All that was asked for.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) subjects: Vec<Subject>,
    pub(super) status: Option<Status>,
}

/// What one name of the command line comes to.
#[derive(Debug)]
pub(super) enum Subject {
    File(Box<File>),
    /// It names nothing that could be explained.
    Wrong {
        name: OsString,
        why: String,
    },
}

/// What is known of one file.
#[derive(Debug)]
pub(super) struct File {
    /// Below the watched folder.
    pub(super) path: Rel,
    /// The rule by which it, or a folder on its way, is left alone, and which of them that is.
    pub(super) rule: Option<(Rule, Rel)>,
    pub(super) there: There,
    /// Its marker, where one is wanted and there.
    pub(super) marker: Option<Look>,
    /// What the journal says of it, the oldest first.
    pub(super) history: Vec<Happened>,
    /// What a process had learned of this version.
    pub(super) learned: Option<memory::File>,
    /// Where it lies in dead-letter, and why.
    pub(super) dead: Vec<(Rel, String)>,
    /// A program that has it open for writing.
    pub(super) writer: Option<String>,
    /// The monotonic clock, on which what was learned counts.
    pub(super) mono: Mono,
}

/// What lies under the name.
#[derive(Debug)]
pub(super) enum There {
    Nothing,
    File {
        look: Look,
        /// Why it cannot be opened.
        unreadable: Option<String>,
    },
    /// A link, a FIFO, a socket or a device.
    Other(&'static str),
    /// It cannot be looked at.
    Unknown(String),
}

/// A line of the journal.
#[derive(Debug)]
pub(super) struct Happened {
    /// When, as the line says it.
    pub(super) at: String,
    pub(super) stamp: Stamp,
    pub(super) event: Event,
}

impl Gathered {
    /// Reads what is to be known of `names`. It may hang with a share.
    ///
    /// # Errors
    /// A sentence: the watched folder cannot be opened.
    pub(super) fn read(config: &Config, names: &[OsString]) -> Result<Gathered, String> {
        let root = Dir::at(&config.watch.dir).map_err(|err| explain(&err))?;
        let filter = filter_of(config).map_err(|err| err.to_string())?;
        let state = dead_letter::open(config, &config.state.dir).ok();
        let mut subjects = Vec::new();
        let mut paths = Vec::new();
        for name in names {
            match resolve(config, name) {
                Ok(path) => expand(&root, path, &mut paths),
                Err(why) => subjects.push(Subject::Wrong {
                    name: name.clone(),
                    why,
                }),
            }
        }
        let wanted: BTreeSet<Rel> = paths.iter().cloned().collect();
        let mut history = state
            .as_ref()
            .map_or_else(BTreeMap::new, |state| history_of(state, &wanted));
        let mut learned: BTreeMap<(Rel, Stamp), memory::File> = BTreeMap::new();
        if let Some(state) = &state {
            let files = memory_file::read(state).files;
            learned.extend(
                files
                    .into_iter()
                    .map(|file| ((file.path.clone(), file.stamp), file)),
            );
        }
        let mut dead = dead_letter::by_origin(config, &wanted);
        for path in paths {
            let history = history.remove(&path).unwrap_or_default();
            let history =
                history
                    .into_iter()
                    .map(|(at, stamp, event)| Happened { at, stamp, event });
            let mut file = look_at(config, &root, &filter, path);
            if let There::File { look, .. } = &file.there {
                file.learned = learned.remove(&(file.path.clone(), look.stamp));
            }
            file.history = history.collect();
            file.dead = dead.remove(&file.path).unwrap_or_default();
            subjects.push(Subject::File(Box::new(file)));
        }
        Ok(Gathered {
            subjects,
            status: state.as_ref().and_then(status::read),
        })
    }
}

/// The path below the watched folder that `name` means: relative to that folder, to the current one, or
/// absolute.
fn resolve(config: &Config, name: &OsString) -> Result<Rel, String> {
    let watch = &config.watch.dir;
    let path = PathBuf::from(name);
    let outside = || format!("it does not lie in {}, and is never sent", watch.display());
    if path.is_absolute() {
        return below_really(watch, &path).ok_or_else(outside);
    }
    let relative = plain(&path);
    if let Some(relative) = &relative
        && watch
            .join(name_of(relative.as_bytes()))
            .symlink_metadata()
            .is_ok()
    {
        return Ok(relative.clone());
    }
    // As a shell completes it.
    let here = std::env::current_dir().ok().map(|here| here.join(&path));
    let here = here.filter(|here| here.symlink_metadata().is_ok());
    match here.and_then(|here| below_really(watch, &here)) {
        Some(path) => Ok(path),
        None => relative.ok_or_else(outside),
    }
}

/// The files that `path` stands for: itself, or all in it.
fn expand(root: &Dir, path: Rel, paths: &mut Vec<Rel>) {
    let Ok(folder) = root.folder(&path) else {
        paths.push(path);
        return;
    };
    let own = crate::flow::scan::filter::OWN_FOLDER.as_bytes();
    for name in folder.names(&Rel::root()).unwrap_or_default() {
        if path != Rel::root() || name != own {
            expand(root, path.join(&name), paths);
        }
    }
}

fn look_at(config: &Config, root: &Dir, filter: &Filter, path: Rel) -> File {
    let whole = config.watch.dir.join(name_of(path.as_bytes()));
    let folder = root.folder(&path.parent());
    let there = match &folder {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => There::Nothing,
        Err(err) => There::Unknown(explain(err)),
        Ok(folder) => match (folder.look(path.name()), whole.symlink_metadata()) {
            (Ok(Some(look)), _) => There::File {
                look,
                unreadable: folder.file(path.name()).err().map(|err| explain(&err)),
            },
            (_, Err(err)) if err.kind() == std::io::ErrorKind::NotFound => There::Nothing,
            (Ok(None), Ok(meta)) => There::Other(kind(meta.file_type())),
            (Err(err), _) | (_, Err(err)) => There::Unknown(explain(&err)),
        },
    };
    let marker = config.ready.marker.as_ref().zip(folder.ok());
    let marker =
        marker.and_then(|(rule, folder)| folder.look(&rule.name_of(path.name())).ok().flatten());
    File {
        rule: filter.rule(&path),
        writer: matches!(there, There::File { .. })
            .then(|| writer_of(&whole))
            .flatten(),
        there,
        marker,
        history: Vec::new(),
        learned: None,
        dead: Vec::new(),
        path,
        mono: clock::mono(),
    }
}

fn kind(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "a FIFO, a socket or a device"
    }
}

/// The moment `mono` on the wall clock, of which `now` is a reading at `file.mono`.
pub(super) fn wall_of(file: &File, mono: Mono, now: Wall) -> Wall {
    let now = crate::flow::time::Now {
        mono: file.mono,
        wall: now,
        up: None,
    };
    now.wall_of(mono)
}
