//! `dirpost dead-letter`: what lies there, why, and what becomes of it. Also while the daemon runs.

use std::io::{self, Read as _};

use serde_json::Value;

use super::exit::Exit;
use super::output::{Output, PrintError, Printed, complain};
use crate::config::Config;
use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Look, Rel};
use crate::io::dir::below;
use crate::io::dir::{Dir, Renamed};
use crate::io::fault::explain;
use crate::io::logging::words::bytes;
use crate::io::retries_file;
use crate::io::share::state::{is_read_only, try_writing};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    List,
    Show,
    /// Back to its place, to be sent again under a new key.
    Retry,
    /// Deleted.
    Discard,
}

const REASON: &str = ".reason.json";

/// One file that lies there.
struct DeadFile {
    /// Relative to the dead-letter folder.
    place: Rel,
    reason: Value,
}

impl DeadFile {
    fn text(&self, field: &str) -> &str {
        self.reason.get(field).and_then(Value::as_str).unwrap_or("")
    }

    /// Where it came from. The reason file is not believed when it leads outside.
    fn origin(&self) -> Rel {
        let path = Rel::new(&unescape(self.text("path")));
        if path.is_plain() {
            path
        } else {
            self.place.clone()
        }
    }
}

/// Why it could not be done.
enum Error {
    Print(PrintError),
    Other(String),
}

impl From<PrintError> for Error {
    fn from(err: PrintError) -> Error {
        Error::Print(err)
    }
}

/// What was asked for with one file, and with all.
struct Session<'a> {
    config: &'a Config,
    action: Action,
    out: &'a mut Output<'static>,
}

/// Does it for the named files, or for all.
pub fn dead_letter(
    config: &Config,
    action: Action,
    names: &[String],
    all: bool,
    out: &mut Output<'static>,
) -> Exit {
    let session = Session {
        config,
        action,
        out,
    };
    match session.run(names, all) {
        Ok(0) => Exit::Success,
        Ok(_) => Exit::Failed,
        Err(Error::Print(err)) => err.exit(match action {
            Action::List | Action::Show => Exit::Success,
            // What follows was not done.
            Action::Retry | Action::Discard => Exit::Failed,
        }),
        Err(Error::Other(why)) => {
            complain(&why);
            Exit::Failed
        }
    }
}

impl Session<'_> {
    /// The number of files that it failed for.
    fn run(self, names: &[String], all: bool) -> Result<usize, Error> {
        let (config, action, out) = (self.config, self.action, self.out);
        let dir = &config.dead_letter.dir;
        let folder = match open(config, dir) {
            Ok(folder) => folder,
            Err(err) if err.kind() == io::ErrorKind::NotFound && names.is_empty() => {
                out.line(&format!("nothing lies in {}", dir.display()))?;
                return Ok(0);
            }
            Err(err) => {
                return Err(Error::Other(format!(
                    "{}: {}",
                    dir.display(),
                    explain(&err)
                )));
            }
        };
        let mut letters = Vec::new();
        collect(&folder, &Rel::root(), &mut letters)
            .map_err(|err| Error::Other(format!("{}: {}", dir.display(), explain(&err))))?;
        letters.sort_by(|a, b| a.place.cmp(&b.place));
        let mut failed = 0;
        let chosen: Vec<&DeadFile> = if all || (names.is_empty() && action == Action::List) {
            letters.iter().collect()
        } else {
            let mut chosen = Vec::new();
            for name in names {
                let found: Vec<&DeadFile> = letters
                    .iter()
                    .filter(|letter| is_called(letter, config, name))
                    .collect();
                if found.is_empty() {
                    failed += 1;
                    complain(&format!("{name}: no such file in {}", dir.display()));
                }
                chosen.extend(found);
            }
            chosen
        };
        if action == Action::List && chosen.is_empty() && failed == 0 {
            out.line(&format!("nothing lies in {}", dir.display()))?;
        }
        for letter in chosen {
            let done = match action {
                Action::List => {
                    list(letter, out)?;
                    continue;
                }
                Action::Show => {
                    show(letter, out)?;
                    continue;
                }
                Action::Retry => retry(config, &folder, letter),
                Action::Discard => discard(&folder, letter),
            };
            match done {
                Ok(text) => out.line(&text)?,
                Err(err) => {
                    failed += 1;
                    complain(&format!("{}: {}", letter.place, explain(&err)));
                }
            }
        }
        Ok(failed)
    }
}

/// Opens a folder of the configuration; below the watched one without following links.
fn open(config: &Config, dir: &std::path::Path) -> io::Result<Dir> {
    match below(&config.watch.dir, dir) {
        Some(rel) => Dir::at(&config.watch.dir)?.folder(&rel),
        None => Dir::at(dir),
    }
}

fn collect(folder: &Dir, path: &Rel, letters: &mut Vec<DeadFile>) -> io::Result<()> {
    let mut names = folder.names(path)?;
    names.sort();
    let here = folder.folder(path)?;
    for name in names {
        let place = path.join(&name);
        match here.look(&name) {
            Ok(Some(_)) => {
                if let Some(file) = name.strip_suffix(REASON.as_bytes()) {
                    let reason = read_reason(&here, &name).unwrap_or(Value::Null);
                    // A reason without its file is the rest of a move that was broken off.
                    if here.look(file).is_ok_and(|look| look.is_some()) {
                        letters.push(DeadFile {
                            place: path.join(file),
                            reason,
                        });
                    }
                }
            }
            Ok(None) if folder.folder(&place).is_ok() => collect(folder, &place, letters)?,
            _ => {}
        }
    }
    Ok(())
}

fn read_reason(folder: &Dir, name: &[u8]) -> Option<Value> {
    let mut text = Vec::new();
    folder
        .file(name)
        .ok()?
        .take(1 << 20)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}

/// By its place there, by where it came from, or by a whole path of either.
fn is_called(letter: &DeadFile, config: &Config, name: &str) -> bool {
    let origin = letter.origin();
    let whole =
        |dir: &std::path::Path, path: &Rel| dir.join(crate::io::dir::name_of(path.as_bytes()));
    escape(letter.place.as_bytes()) == name
        || escape(origin.as_bytes()) == name
        || whole(&config.dead_letter.dir, &letter.place) == std::path::Path::new(name)
        || whole(&config.watch.dir, &origin) == std::path::Path::new(name)
}

fn list(letter: &DeadFile, out: &mut Output) -> Printed {
    let size = letter
        .reason
        .get("size")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    out.line(&format!(
        "{}  {}  {}  {}",
        letter.text("dead_at"),
        letter.place,
        bytes(size),
        letter.text("reason")
    ))
}

fn show(letter: &DeadFile, out: &mut Output) -> Printed {
    out.line(&letter.place.to_string())?;
    let Some(fields) = letter.reason.as_object() else {
        return out.line("  its reason file cannot be read");
    };
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::String(text) => {
                let mut lines = text.lines();
                let first = lines.next().unwrap_or_default();
                out.line(&format!("  {name}: {first}"))?;
                for line in lines {
                    out.line(&format!("    {line}"))?;
                }
            }
            other => out.line(&format!("  {name}: {other}"))?,
        }
    }
    Ok(())
}

fn retry(config: &Config, folder: &Dir, letter: &DeadFile) -> io::Result<String> {
    let origin = letter.origin();
    let root = Dir::at(&config.watch.dir)?;
    let state = open(config, &config.state.dir)?;
    let from = folder.folder(&letter.place.parent())?;
    let look = from
        .look(letter.place.name())?
        .ok_or(io::ErrorKind::NotFound)?;
    if still_there(&root, &origin, &look) {
        // What lies here is a copy: the daemon takes the file at its place for new once more.
        retries_file::add(&state, &origin, look.stamp)?;
        from.remove(letter.place.name())?;
        remove_reason(&from, letter)?;
        return Ok(format!(
            "{origin}: to be sent from its place under a new key"
        ));
    }
    let home = root.make(&origin.parent())?;
    // Before the file is back: the daemon must not see it without its new key.
    retries_file::add(&state, &origin, look.stamp)?;
    bring_back(&from, letter.place.name(), &home, origin.name())?;
    if let Some(marker) = config.ready.marker.as_deref().map(str::as_bytes) {
        let name = [letter.place.name(), marker].concat();
        if from.look(&name).is_ok_and(|look| look.is_some()) {
            bring_back(&from, &name, &home, &[origin.name(), marker].concat())?;
        }
    }
    home.sync()?;
    remove_reason(&from, letter)?;
    Ok(format!(
        "{origin}: back at its place, to be sent under a new key"
    ))
}

/// Whether `origin` was only copied to dead-letter, for dirpost may not write to its folder.
fn still_there(root: &Dir, origin: &Rel, copy: &Look) -> bool {
    let Ok(home) = root.folder(&origin.parent()) else {
        return false;
    };
    let equal = home
        .look(origin.name())
        .is_ok_and(|look| look.is_some_and(|look| look.stamp == copy.stamp));
    equal && matches!(try_writing(&home), Err(err) if is_read_only(&err))
}

fn bring_back(from: &Dir, name: &[u8], home: &Dir, to: &[u8]) -> io::Result<()> {
    match from.rename(name, home, to, false)? {
        Renamed::Done => Ok(()),
        Renamed::Taken => Err(io::Error::other(
            "its old place is taken by another file: move that away first",
        )),
        Renamed::CrossesDevices => Err(io::Error::other(
            "dead_letter.dir is on another file system: copy it back by hand, under a temporary name, and rename it",
        )),
    }
}

fn discard(folder: &Dir, letter: &DeadFile) -> io::Result<String> {
    let from = folder.folder(&letter.place.parent())?;
    from.remove(letter.place.name())?;
    remove_reason(&from, letter)?;
    Ok(format!("{}: deleted", letter.place))
}

fn remove_reason(from: &Dir, letter: &DeadFile) -> io::Result<()> {
    from.remove(&[letter.place.name(), REASON.as_bytes()].concat())?;
    from.sync()
}
