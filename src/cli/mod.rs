//! The command line: what was typed, and what it calls.

pub mod check;
pub mod dead_letter;
pub mod exit;
pub mod output;
pub mod progress;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::exit::Exit;
use self::output::{Output, complain};
use crate::config::{self, Config};
use crate::daemon::{Mode, run};

/// Polls a folder and POSTs every complete file to an HTTP endpoint, exactly as whole as it
/// was written.
#[derive(Debug, Parser)]
#[command(name = "dirpost", version, after_help = AFTER_HELP, arg_required_else_help = true)]
#[command(subcommand_negates_reqs = true)]
struct Cli {
    /// The configuration; without a command the same as `dirpost run --config FILE`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Without --config, ./dirpost.toml is read, or else /etc/dirpost.toml.

Exit codes:
  0  all delivered, or nothing to do; `once --no-wait`: or only settling
  1  failed at run time; `check` found something wrong
  2  wrong usage or configuration
  3  `once`: something is left to be tried again
  4  `once`: a file went to dead-letter
  5  `once`: another dirpost works on this folder

Signals: SIGTERM and SIGINT finish what is in flight, up to 10 s, a second one leaves at once;
SIGUSR1 looks at the folder now.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch until stopped
    Run(RunArgs),
    /// Deliver what is there, and leave: for cron
    Once {
        #[command(flatten)]
        run: RunArgs,
        /// Leave after this time, whatever is left
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
        deadline: Duration,
        /// Wait for nothing: deliver what an earlier run saw unchanged, and leave
        #[arg(long)]
        no_wait: bool,
    },
    /// Say what would happen, and what is wrong: the configuration, the folder, the endpoint
    Check(ConfigArg),
    /// What lies in dead-letter, and what becomes of it; also while dirpost runs
    DeadLetter {
        #[command(subcommand)]
        action: DeadLetter,
    },
    /// Print a completion script
    Completions {
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum DeadLetter {
    /// One line for each file: when, which, why
    List(DeadLetterArgs),
    /// All that is known, with the start of the endpoint's answer
    Show(DeadLetterArgs),
    /// Put it back to its place, to be sent again under a new key
    Retry(DeadLetterArgs),
    /// Delete it
    Discard(DeadLetterArgs),
}

#[derive(Args, Debug)]
struct DeadLetterArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Paths in the dead-letter folder, or where the files came from
    #[arg(value_name = "PATH", conflicts_with = "all")]
    paths: Vec<String>,
    /// Everything that lies there
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
struct ConfigArg {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", conflicts_with = "place")]
    config: Option<PathBuf>,
    /// Without a configuration: the folder and the endpoint, all else as by default
    #[arg(value_names = ["DIR", "URL"], num_args = 2)]
    place: Vec<String>,
    /// A state folder that belongs to another share is to belong to this one
    #[arg(long)]
    adopt: bool,
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
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
    match Output::stdout().raw(text.as_bytes()) {
        Ok(()) => Exit::Success,
        Err(err) => err.exit(Exit::Success),
    }
}

fn obey(cli: Cli) -> Exit {
    let outer = cli.config;
    match cli.command {
        None => start(load(outer, None), Mode::Run, false),
        Some(Command::Run(args)) => start(
            load(args.config.or(outer), Some(&args.place)),
            Mode::Run,
            args.adopt,
        ),
        Some(Command::Once {
            run,
            deadline,
            no_wait,
        }) => start(
            load(run.config.or(outer), Some(&run.place)),
            Mode::Once { deadline, no_wait },
            run.adopt,
        ),
        Some(Command::Check(args)) => match load(args.config.or(outer), None) {
            Ok(config) => check::check(&config, &mut Output::stdout()),
            Err(why) => usage(&why),
        },
        Some(Command::DeadLetter { action }) => dead_letter(outer, action),
        Some(Command::Completions { shell }) => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Exit {
    // Not straight to stdout: clap_complete panics where that cannot be written to.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dirpost", &mut script);
    match Output::stdout().raw(&script) {
        Ok(()) => Exit::Success,
        Err(err) => err.exit(Exit::Success),
    }
}

fn dead_letter(outer: Option<PathBuf>, action: DeadLetter) -> Exit {
    let (action, letters) = match action {
        DeadLetter::List(letters) => (dead_letter::Action::List, letters),
        DeadLetter::Show(letters) => (dead_letter::Action::Show, letters),
        DeadLetter::Retry(letters) => (dead_letter::Action::Retry, letters),
        DeadLetter::Discard(letters) => (dead_letter::Action::Discard, letters),
    };
    if letters.paths.is_empty() && !letters.all && action != dead_letter::Action::List {
        return usage("name the files, or say --all");
    }
    match load(letters.config.or(outer), None) {
        Ok(config) => {
            let out = &mut Output::stdout();
            dead_letter::dead_letter(&config, action, &letters.paths, letters.all, out)
        }
        Err(why) => usage(&why),
    }
}

fn start(config: Result<Config, String>, mode: Mode, adopt: bool) -> Exit {
    let config = match config {
        Ok(config) => config,
        Err(why) => return usage(&why),
    };
    let log = match crate::io::logging::start(config.log.level) {
        Ok(log) => log,
        Err(why) => {
            complain(&why);
            return Exit::Failed;
        }
    };
    let exit = run(&config, mode, adopt, &log);
    log::logger().flush();
    exit
}

fn usage(why: &str) -> Exit {
    complain(why);
    Exit::Usage
}

fn load(path: Option<PathBuf>, place: Option<&[String]>) -> Result<Config, String> {
    if let Some([dir, url]) = place {
        return config::from_dir_and_url(Path::new(dir), url).map_err(|err| err.to_string());
    }
    let usual = ["dirpost.toml", "/etc/dirpost.toml"].map(PathBuf::from);
    let path = match path.or_else(|| usual.into_iter().find(|path| path.exists())) {
        Some(path) => path,
        None => return Err(
            "no configuration: name one with --config FILE, or the folder and the endpoint as `dirpost run DIR URL`"
                .into(),
        ),
    };
    config::load(&path, &|name| std::env::var(name).ok()).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
