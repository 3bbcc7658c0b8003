//! `dirpost explain PATH`: why a file has not been sent yet, and what it waits for.
//!
//! What is known comes from dirpost's own files (`status.json`, `memory.jsonl`, the journal, the
//! dead-letter folder) and from a look at the file; `verdict` makes one sentence of it. Nothing is
//! taken, changed or asked of the process that works.

mod facts;
mod verdict;

use std::ffi::OsString;
use std::path::Path;

use self::facts::{Gathered, Subject};
use self::verdict::verdict;
use super::exit::Exit;
use super::output::{Output, Printed, complain};
use super::status::within;
use crate::config::Config;
use crate::flow::shell_words::quote;
use crate::io::dir::bytes_of;
use crate::io::logging::units::span;
use crate::io::os::clock;

/// So many files of a folder are explained; of the others only the number is said.
const FILES: usize = 1_000;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// By which configuration.
    pub config: &'a Config,
    /// Files, or folders with all in them.
    pub paths: &'a [OsString],
    /// It is not said how old what is known is.
    pub quiet: bool,
}

/// Explains every path, one line for each file. 1 if a path cannot be explained.
pub fn explain(request: &Request<'_>, out: &mut Output<'_>) -> Exit {
    let config = request.config;
    let (of, names) = (config.clone(), request.paths.to_vec());
    let gathered = within(move || Gathered::read(&of, &names)).and_then(|gathered| gathered);
    let gathered = match gathered {
        Ok(gathered) => gathered,
        Err(why) => {
            complain(&format!("{}: {why}", config.watch.dir.display()));
            return Exit::Failed;
        }
    };
    match print(request, &gathered, out) {
        Ok(()) if gathered.subjects.iter().all(is_explained) => Exit::Success,
        Ok(()) => Exit::Failed,
        Err(err) => err.exit(Exit::Success),
    }
}

fn is_explained(subject: &Subject) -> bool {
    !matches!(subject, Subject::Wrong { .. })
}

fn print(request: &Request<'_>, gathered: &Gathered, out: &mut Output<'_>) -> Printed {
    let now = clock::wall();
    let has_one = gathered.subjects.len() == 1;
    for subject in gathered.subjects.iter().take(FILES) {
        match subject {
            Subject::Wrong { name, why } => complain(&format!("{}: {why}", shown(name.as_ref()))),
            Subject::File(file) => {
                let said = verdict(request.config, file, gathered.status.as_ref(), now);
                out.line(&format!("{}: {said}", quote(file.path.as_bytes())))?;
            }
        }
    }
    if let Some(more) = gathered
        .subjects
        .len()
        .checked_sub(FILES)
        .filter(|&more| more > 0)
    {
        out.line(&format!("and {more} more: name one of them, or a folder"))?;
    }
    if request.quiet {
        return Ok(());
    }
    let Some(status) = &gathered.status else {
        return out.line("(no status.json: what a running dirpost is doing is not known)");
    };
    let age = span(now.since(status.process.written));
    let what = if has_one { "this" } else { "all of this" };
    out.line(&format!(
        "({what} as of {age} ago, as far as dirpost's own files tell)"
    ))
}

fn shown(name: &Path) -> String {
    quote(&bytes_of(name.as_os_str()))
}
