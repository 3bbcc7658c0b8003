//! The command line: what was typed, and what it calls.

mod args;
pub mod check;
pub mod dead_letter;
pub mod exit;
pub mod explain;
pub mod output;
pub mod progress;
mod readiness;
pub mod status;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use log::LevelFilter;

use self::args::{Cli, Command, DeadLetter, DeadLetterArgs, RunArgs, Source, Verbosity, is_url};
use self::dead_letter::{Action, Form, Request};
use self::exit::Exit;
use self::output::{Output, complain};
use crate::config::{self, Action as Delivered, Config};
use crate::daemon::{Mode, Start, run, skip_existing};
use crate::io::logging;
use crate::io::os::memory;

/// Where the configuration is looked for if none is named.
const USUAL: [&str; 2] = ["dirpost.toml", "/etc/dirpost.toml"];

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    memory::begin();
    match Cli::try_parse() {
        Ok(cli) => obey(cli).into(),
        Err(err) => explain_usage(&err).into(),
    }
}

/// What clap has to say: what is wrong with the arguments, or the help that was asked for.
fn explain_usage(err: &clap::Error) -> Exit {
    let text = err.render().to_string();
    if err.use_stderr() {
        output::print_error(&text);
        return Exit::Usage;
    }
    print_all(text.as_bytes())
}

fn print_all(text: &[u8]) -> Exit {
    match Output::stdout().raw(text) {
        Ok(()) => Exit::Success,
        Err(err) => err.exit(Exit::Success),
    }
}

fn obey(cli: Cli) -> Exit {
    let outer = cli.config;
    let command = cli.command.unwrap_or_else(|| {
        Command::Run(RunArgs {
            config: None,
            place: Vec::new(),
            adopt: false,
            verbosity: Verbosity::default(),
        })
    });
    let done = match command {
        Command::Run(args) => start(outer, args.with(cli.verbosity), Work::Deliver(Mode::Run)),
        Command::Once {
            run,
            deadline,
            no_wait,
            skip_existing,
        } => {
            let work = if skip_existing {
                Work::SkipExisting
            } else {
                Work::Deliver(Mode::Once { deadline, no_wait })
            };
            start(outer, run.with(cli.verbosity), work)
        }
        Command::Check { of, list, quiet } => {
            let quiet = quiet || cli.verbosity.is_quiet();
            check(
                &Source::of_place(of.config.or(outer), of.place),
                list,
                quiet,
            )
        }
        Command::Status {
            of,
            json,
            max_age,
            quiet,
        } => {
            let source = Source::of_place(of.config.or(outer), of.place);
            load(&source).map(|config| {
                let request = status::Request {
                    config: &config,
                    json,
                    max_age,
                    quiet: quiet || cli.verbosity.is_quiet(),
                };
                status::status(&request, &mut Output::stdout())
            })
        }
        Command::Explain {
            config,
            paths,
            quiet,
        } => explain(config.or(outer), paths, quiet || cli.verbosity.is_quiet()),
        Command::DeadLetter { action } => dead_letter(outer, action),
        Command::Completions { shell } => {
            // Not straight to stdout: clap_complete panics where that cannot be written to.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dirpost", &mut script);
            Ok(print_all(&script))
        }
    };
    done.unwrap_or_else(|why| {
        complain(&why);
        Exit::Usage
    })
}

/// # Errors
/// A sentence: no file is named, or there is no configuration, or it is wrong.
fn explain(config: Option<PathBuf>, paths: Vec<OsString>, quiet: bool) -> Result<Exit, String> {
    let (source, paths) = Source::of_paths(config, paths, usual().is_some());
    if paths.is_empty() {
        return Err("name a file, or a folder".into());
    }
    load(&source).map(|config| {
        let request = explain::Request {
            config: &config,
            paths: &paths,
            quiet,
        };
        explain::explain(&request, &mut Output::stdout())
    })
}

/// What `run` and `once` do with the folder.
#[derive(Clone, Copy, Debug)]
enum Work {
    Deliver(Mode),
    SkipExisting,
}

/// `run` and `once`. The error is one of usage.
fn start(outer: Option<PathBuf>, args: RunArgs, work: Work) -> Result<Exit, String> {
    let source = Source::of_place(args.config.or(outer), args.place);
    let config = load(&source)?;
    if matches!(work, Work::SkipExisting) && config.delivered.action != Delivered::Keep {
        return Err(
            "--skip-existing needs delivered.action = \"keep\": what is to be moved or deleted once \
             it is delivered cannot be skipped"
                .into(),
        );
    }
    let verbosity = args.verbosity;
    let level = move |configured: Option<LevelFilter>| {
        let level = configured.unwrap_or_else(|| match work {
            Work::Deliver(mode) => usual_level(mode),
            Work::SkipExisting => LevelFilter::Info,
        });
        verbosity.level(logging::level_of_environment().unwrap_or(level))
    };
    let log = match logging::start(level(config.log.level)) {
        Ok(log) => log,
        Err(why) => {
            complain(&why);
            return Ok(Exit::Failed);
        }
    };
    let exit = match work {
        Work::Deliver(mode) => run(Start {
            config,
            mode,
            adopt: args.adopt,
            log,
            level: Box::new(level),
        }),
        Work::SkipExisting => skip_existing(&config, args.adopt),
    };
    log::logger().flush();
    Ok(exit)
}

/// What is said where nobody has said how much. cron mails what is printed: away from a terminal
/// `once` says only what is wrong.
fn usual_level(mode: Mode) -> LevelFilter {
    match mode {
        Mode::Once { .. } if !std::io::stderr().is_terminal() => LevelFilter::Warn,
        _ => LevelFilter::Info,
    }
}

fn check(source: &Source, lists: bool, quiet: bool) -> Result<Exit, String> {
    let config = load(source)?;
    let request = check::Request {
        config: &config,
        asks_endpoint: !matches!(source, Source::Folder { url: None, .. }),
        lists,
        quiet,
    };
    Ok(check::check(&request, &mut Output::stdout()))
}

fn dead_letter(outer: Option<PathBuf>, action: DeadLetter) -> Result<Exit, String> {
    let (action, mut args, form) = match action {
        DeadLetter::List { of, summary, null } => {
            let form = match (summary, of.json) {
                (false, false) if null => Form::Names,
                (false, false) => Form::Text,
                (false, true) => Form::Json,
                (true, false) => Form::Summary,
                (true, true) => Form::SummaryJson,
            };
            (Action::List, of, form)
        }
        DeadLetter::Show(args) => with_form(Action::Show, args),
        DeadLetter::Retry(args) => with_form(Action::Retry, args),
        DeadLetter::Discard(args) => with_form(Action::Discard, args),
    };
    let filter = args.filter();
    let has_usual = usual().is_some();
    let (source, names) = Source::of_paths(args.config.or(outer), args.paths, has_usual);
    if args.all && !names.is_empty() {
        return Err("--all is everything that lies there: name files, or say --all".into());
    }
    if names.is_empty() && !args.all && filter.is_empty() && action != Action::List {
        return Err(
            "name the files, say which by --older, --newer, --status or --glob, or say --all"
                .into(),
        );
    }
    let config = load(&source)?;
    let request = Request {
        config: &config,
        action,
        names: &names,
        all: args.all,
        filter,
        form,
        quiet: args.quiet,
    };
    Ok(dead_letter::dead_letter(&request, &mut Output::stdout()))
}

fn with_form(action: Action, args: DeadLetterArgs) -> (Action, DeadLetterArgs, Form) {
    let form = if args.json { Form::Json } else { Form::Text };
    (action, args, form)
}

/// The first of the usual configurations that is there.
fn usual() -> Option<PathBuf> {
    USUAL
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

fn load(source: &Source) -> Result<Config, String> {
    match source {
        Source::Folder { dir, url } => {
            // What asks no endpoint needs none; the configuration must have one.
            const NONE: &str = "http://localhost/";
            let url = match url {
                None => NONE,
                Some(url) => url
                    .to_str()
                    .ok_or("the endpoint is no URL: it is not UTF-8")?,
            };
            if is_url(&dir.clone().into_os_string()) {
                return Err("the folder comes first, then the endpoint: DIR URL".into());
            }
            config::from_dir_and_url(dir, url).map_err(|err| err.to_string())
        }
        Source::File(path) => {
            let path = path.clone().or_else(usual).ok_or(
                "no configuration: name one with --config FILE, or the folder (and for run and \
                 once the endpoint) as in `dirpost run DIR URL`",
            )?;
            load_file(&path)
        }
    }
}

fn load_file(path: &Path) -> Result<Config, String> {
    config::load(path, &config::environment).map_err(|err| err.to_string())
}
