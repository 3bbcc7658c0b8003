//! `dirpost dead-letter`: what lies there, why, and what becomes of it. Also while the daemon runs.
//!
//! `folder` reads what lies there, `names` finds what a PATH names, `filter` which of it are meant,
//! `print` shows them, `put_back` returns a file to its place, `presence` tells a folder that is empty
//! from one that is not there.

pub(super) mod filter;
mod folder;
pub(super) mod names;
mod presence;
mod print;
mod put_back;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;

use self::filter::Filter;
use self::folder::{DeadFile, Reason, with_reason};
use self::names::{Folders, Found};
use super::exit::Exit;
use super::output::{Output, PrintError, complain};
use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::filing::reason::ReasonFile;
use crate::flow::marker::MarkerRule;
use crate::flow::shell_words::quote;
use crate::io::dir::{Dir, below, bytes_of};
use crate::io::os::clock;
use crate::io::os::error::explain;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One line for each file.
    List,
    /// All that is known of it.
    Show,
    /// Back to its place, to be sent again under a new key.
    Retry,
    /// Deleted.
    Discard,
}

impl Action {
    /// Whether files are touched.
    pub fn changes(self) -> bool {
        matches!(self, Action::Retry | Action::Discard)
    }
}

/// What is asked for, of which files.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where the folders are.
    pub config: &'a Config,
    /// What is to be done.
    pub action: Action,
    /// The PATHs of the command line.
    pub names: &'a [OsString],
    /// All files; also meant by [`Action::List`] without names, and by a filter without names.
    pub all: bool,
    /// Which of them.
    pub filter: Filter,
    /// How they are listed, or what was done with them is said.
    pub form: Form,
    /// Of what is put back or deleted only what fails is said.
    pub quiet: bool,
}

/// For whom it is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// An object for each file, a line each.
    Json,
    /// A line for each reason.
    Summary,
    /// An object for each reason.
    SummaryJson,
    /// The names alone, as they are, each with a zero byte behind it.
    Names,
}

/// Why nothing can be done, or nothing more.
enum Stop {
    Print(PrintError),
    /// A sentence.
    Fault(String),
}

impl From<PrintError> for Stop {
    fn from(err: PrintError) -> Stop {
        Stop::Print(err)
    }
}

/// Does what is asked for, file by file: one that fails does not keep the others.
pub fn dead_letter(request: &Request<'_>, out: &mut Output<'_>) -> Exit {
    match answer(request, out) {
        Ok(0) => Exit::Success,
        Ok(_) => Exit::Failed,
        Err(Stop::Print(err)) => err.exit(if request.action.changes() {
            // Some of what follows was not done.
            Exit::Failed
        } else {
            Exit::Success
        }),
        Err(Stop::Fault(why)) => {
            complain(&why);
            Exit::Failed
        }
    }
}

/// How many things it failed for.
fn answer(request: &Request<'_>, out: &mut Output<'_>) -> Result<usize, Stop> {
    let config = request.config;
    let dir = config.dead_letter.dir.display();
    let nothing = format!("nothing lies in {dir}");
    let Some(folder) = presence::open_dead_letter(config).map_err(Stop::Fault)? else {
        if request.names.is_empty() {
            out.line(&nothing)?;
            return Ok(0);
        }
        return Err(Stop::Fault(nothing));
    };
    if request.action == Action::Retry {
        presence::see_share(config).map_err(Stop::Fault)?;
    }
    let marker = config.ready.marker.as_ref();
    let listing = folder::read(&folder, marker)
        .map_err(|err| Stop::Fault(format!("{dir}: {}", explain(&err))))?;
    for problem in &listing.problems {
        complain(problem);
    }
    let (mut chosen, unknown) = choose(request, &listing.files);
    let now = clock::wall();
    chosen.retain(|file| request.filter.lets_through(file, now));
    let failed = unknown + listing.problems.len();
    if chosen.is_empty() && failed == 0 && request.form == Form::Text {
        match request.filter.is_empty() {
            true => out.line(&nothing)?,
            false => out.line(&format!("nothing in {dir} is such a file"))?,
        }
    }
    if request.action.changes() {
        return Ok(failed + change(request, &folder, &chosen, out)?);
    }
    match request.form {
        Form::Summary => print::sum_up(&chosen, false, out)?,
        Form::SummaryJson => print::sum_up(&chosen, true, out)?,
        Form::Names => {
            for file in chosen {
                out.raw(&[file.place.as_bytes(), b"\0"].concat())?;
            }
        }
        Form::Json => {
            for file in chosen {
                print::json_line(&print::object(file), out)?;
            }
        }
        Form::Text if request.action == Action::Show => {
            for file in chosen {
                print::show(config, file, out)?;
            }
        }
        Form::Text => {
            for file in chosen {
                print::list(file, out)?;
            }
        }
    }
    Ok(failed)
}

/// So many retries are written down at once, before the first of their files is put back.
const ANNOUNCED: usize = 256;

/// Puts them back, or deletes them, and says so of each. How many it failed for.
fn change(
    request: &Request<'_>,
    folder: &Dir,
    chosen: &[&DeadFile],
    out: &mut Output<'_>,
) -> Result<usize, Stop> {
    let config = request.config;
    let marker = config.ready.marker.as_ref();
    let mut failed = 0;
    for part in chosen.chunks(ANNOUNCED) {
        let is_announced =
            request.action == Action::Retry && put_back::announce(config, part).is_ok();
        let put_back = match request.action {
            Action::Retry => put_back::put_back(config, folder, part, is_announced),
            _ => Vec::new(),
        };
        let mut put_back = put_back.into_iter();
        for file in part {
            // What was put back is on the disk, the whole part of it; the rest is deleted one by one.
            let done = put_back
                .next()
                .unwrap_or_else(|| discard(folder, file, marker));
            let is_done = done.is_ok();
            failed += usize::from(!is_done);
            let said = done.unwrap_or_else(|err| explain(&err));
            if request.form == Form::Json {
                let mut object = print::object(file);
                object[if is_done { "done" } else { "error" }] = said.into();
                print::json_line(&object, out)?;
            } else if is_done && !request.quiet {
                out.line(&said)?;
            } else if !is_done {
                complain(&format!("{}: {said}", shown(&file.place)));
            }
        }
    }
    Ok(failed)
}

/// The files that are meant, each once, in the order in which they are named; and how many names
/// name nothing, which has been said.
fn choose<'a>(request: &Request<'_>, files: &'a [DeadFile]) -> (Vec<&'a DeadFile>, usize) {
    if request.all || request.names.is_empty() {
        return (files.iter().collect(), 0);
    }
    let config = request.config;
    let folders = Folders {
        watch: config.watch.dir.clone(),
        dead_letter: config.dead_letter.dir.clone(),
        current: std::env::current_dir().ok(),
    };
    let (mut chosen, mut unknown) = (Vec::new(), 0);
    let mut places = BTreeSet::new();
    for name in request.names {
        let why = match folders.find(name, request.action, files) {
            Found::Files(found) => {
                for file in found {
                    if places.insert(&file.place) {
                        chosen.push(file);
                    }
                }
                continue;
            }
            Found::Everything => "that is all that lies there: say --all if you mean it".into(),
            Found::Nothing { perhaps } => {
                let dir = config.dead_letter.dir.display();
                let perhaps: Vec<String> = perhaps
                    .iter()
                    .take(5)
                    .map(|file| shown(&file.place))
                    .collect();
                let hint = match perhaps.is_empty() {
                    true => String::new(),
                    false => format!("; by its name there: {}", perhaps.join(" or ")),
                };
                format!("no such file in {dir}{hint}")
            }
        };
        unknown += 1;
        complain(&format!("{}: {why}", quote(&bytes_of(name))));
    }
    (chosen, unknown)
}

/// A path as a shell reads it back.
fn shown(path: &Rel) -> String {
    quote(path.as_bytes())
}

/// What a reason says, field by field; what it does not know is left out.
fn fields_of(reason: &ReasonFile) -> Vec<(&'static str, String)> {
    let status = reason.status.map(|status| status.to_string());
    [
        ("path", quote(&reason.path_bytes())),
        ("reason", reason.reason.clone()),
        ("status", status.unwrap_or_default()),
        ("body", reason.body.clone()),
        ("attempts", reason.attempts.to_string()),
        ("first_seen", reason.first_seen.clone()),
        ("dead_at", reason.dead_at.clone()),
        ("size", reason.size.to_string()),
        ("mtime", reason.mtime.clone()),
        ("key", reason.key.clone()),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
    .collect()
}

/// Deletes the file, its reason, and the marker that vouched for it, which is good for nothing
/// else.
///
/// # Errors
/// Those of the calls. The file goes first: where it is gone and the call for its reason fails,
/// what is left is a reason that belongs to nothing, and is not listed.
fn discard(folder: &Dir, file: &DeadFile, marker: Option<&MarkerRule>) -> io::Result<String> {
    let here = folder.folder(&file.place.parent())?;
    let name = file.place.name();
    here.remove(name)?;
    let mut with_it = "";
    if let Some(marker) = marker {
        let is_needed = folder::vouches_for_others(&here, marker, name)?;
        let marker = marker.name_of(name);
        // One that was condemned itself is a dead letter of its own.
        let is_own = is_there(&here, &with_reason(&marker));
        if !is_needed && !is_own && is_there(&here, &marker) {
            here.remove(&marker)?;
            with_it = ", with its marker";
        }
    }
    remove_reason(&here, name)?;
    here.sync()?;
    Ok(format!("{}: deleted{with_it}", shown(&file.place)))
}

/// Whether a regular file has this name.
fn is_there(folder: &Dir, name: &[u8]) -> bool {
    folder.look(name).is_ok_and(|look| look.is_some())
}

/// Removes the reason of `name`, if there is one.
fn remove_reason(folder: &Dir, name: &[u8]) -> io::Result<()> {
    match folder.remove(&with_reason(name)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// How many files lie in dead-letter, by the status that the endpoint gave, or else by what.
///
/// # Errors
/// A sentence: the folder cannot be read.
pub(super) fn by_reason(config: &Config) -> Result<BTreeMap<String, usize>, String> {
    let mut counts = BTreeMap::new();
    for file in listed(config)? {
        let by = match &file.reason {
            Reason::Known(reason) => match reason.status {
                Some(status) => format!("status {status}"),
                None => "a check".into(),
            },
            Reason::Missing | Reason::Unreadable => "a reason that is lost".into(),
        };
        *counts.entry(by).or_default() += 1;
    }
    Ok(counts)
}

/// Where in dead-letter the files lie that came from `paths`, and why. What cannot be read is left
/// out.
pub(super) fn by_origin(
    config: &Config,
    paths: &BTreeSet<Rel>,
) -> BTreeMap<Rel, Vec<(Rel, String)>> {
    let mut found: BTreeMap<Rel, Vec<(Rel, String)>> = BTreeMap::new();
    for file in listed(config).unwrap_or_default() {
        let origin = file.origin();
        if paths.contains(&origin) {
            let why = match &file.reason {
                Reason::Known(reason) => format!("since {}, {}", reason.dead_at, reason.reason),
                Reason::Missing => print::NO_REASON.into(),
                Reason::Unreadable => print::UNREADABLE_REASON.into(),
            };
            found.entry(origin).or_default().push((file.place, why));
        }
    }
    found
}

fn listed(config: &Config) -> Result<Vec<DeadFile>, String> {
    let Some(folder) = presence::open_dead_letter(config)? else {
        return Ok(Vec::new());
    };
    let marker = config.ready.marker.as_ref();
    let listing = folder::read(&folder, marker).map_err(|err| explain(&err))?;
    Ok(listing.files)
}

/// Opens a folder of the configuration; below the watched one without following links.
///
/// # Errors
/// Of opening it.
pub(super) fn open(config: &Config, dir: &std::path::Path) -> io::Result<Dir> {
    match below(&config.watch.dir, dir) {
        Some(rel) => Dir::at(&config.watch.dir)?.folder(&rel),
        None => Dir::at(dir),
    }
}
