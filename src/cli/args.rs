//! The command line, as clap reads it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use log::LevelFilter;

use super::dead_letter::filter::{Cause, Filter, glob};
use crate::flow::scan::glob::Glob;

/// Polls a folder and POSTs every complete file to an HTTP endpoint, exactly as whole as it
/// was written.
#[derive(Debug, Parser)]
#[command(name = "dirpost", version, after_help = AFTER_HELP, arg_required_else_help = true)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct Cli {
    /// The configuration; without a command the same as `dirpost run --config FILE`
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) verbosity: Verbosity,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

const AFTER_HELP: &str = "\
Without --config, ./dirpost.toml is read, or else /etc/dirpost.toml.

Exit codes:
  0  all delivered, or nothing to do; `once --no-wait`: or only settling
  1  failed at run time; `check` found something wrong
  2  wrong usage or configuration
  3  `once`: something is left to be tried again; `status --max-age`: stale
  4  `once`: a file went to dead-letter
  5  `once`: another dirpost works on this folder

Signals: SIGTERM and SIGINT finish what is in flight, up to 10 s, a second one leaves at once;
SIGUSR1 looks at the folder now, SIGHUP reads the configuration again.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Watch until stopped
    Run(RunArgs),
    /// Deliver what is there, and leave: for cron
    Once {
        #[command(flatten)]
        run: RunArgs,
        /// Leave after this time, whatever is left
        #[arg(long, value_name = "TIME", default_value = "10m")]
        #[arg(value_parser = humantime::parse_duration)]
        deadline: Duration,
        /// Wait for nothing: deliver what an earlier run saw unchanged, and leave
        #[arg(long)]
        no_wait: bool,
        /// Send nothing: what is there now counts as delivered, what comes from now on is sent
        /// (with delivered.action = "keep")
        #[arg(long, conflicts_with_all = ["no_wait", "deadline"])]
        skip_existing: bool,
    },
    /// Say what would happen, and what is wrong: the configuration, the folder, the endpoint
    Check {
        #[command(flatten)]
        of: CheckArgs,
        /// List each file as well, with what would become of it
        #[arg(long)]
        list: bool,
        /// Say only what is wrong, and what is warned of
        #[arg(short, long, conflicts_with = "list")]
        quiet: bool,
    },
    /// Say what dirpost is doing: what waits, the endpoint, the folder, what is wrong
    Status {
        #[command(flatten)]
        of: CheckArgs,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        /// Leave with 3 if dirpost has shown no sign of life for so long, or does not run
        #[arg(long, value_name = "TIME")]
        #[arg(value_parser = humantime::parse_duration)]
        max_age: Option<Duration>,
        /// Say nothing where all is well, else only what is worst, in one line
        #[arg(short, long, conflicts_with = "json")]
        quiet: bool,
    },
    /// Say why a file has not been sent yet, and what it waits for
    Explain {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Files, or folders with all in them. Without a configuration the first is DIR, the watched
        /// folder
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<OsString>,
        /// Say nothing of how old this is
        #[arg(short, long)]
        quiet: bool,
    },
    /// List, show, retry or delete rejected files; also while dirpost runs
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
pub(super) enum DeadLetter {
    /// One line for each file: when, which, why
    List {
        #[command(flatten)]
        of: DeadLetterArgs,
        /// One line for each reason: how many files, since when
        #[arg(long)]
        summary: bool,
        /// The names alone, each with a zero byte behind it: for `xargs -0`
        #[arg(short = '0', long, conflicts_with_all = ["json", "summary"])]
        null: bool,
    },
    /// All that is known, with the start of the endpoint's answer
    Show(DeadLetterArgs),
    /// Put it back to its place, to be sent again under a new key
    Retry(DeadLetterArgs),
    /// Delete it
    Discard(DeadLetterArgs),
}

#[derive(Args, Debug)]
pub(super) struct DeadLetterArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Files, or folders with all in them: as they are called in the dead-letter folder, or where
    /// they came from. Without a configuration the first is DIR, the watched folder
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<OsString>,
    /// Everything that lies there
    #[arg(long)]
    pub(super) all: bool,
    /// Only what has been there for so long at least
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older: Option<Duration>,
    /// Only what has been there for so long at most
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    newer: Option<Duration>,
    /// Only what was answered with this status, or one of this range (400-499), or did not pass a
    /// check (check); may be given several times
    #[arg(long = "status", value_name = "STATUS", value_parser = Cause::parse)]
    #[arg(value_delimiter = ',')]
    causes: Vec<Cause>,
    /// Only what this glob matches, as in watch.include; may be given several times
    #[arg(long = "glob", value_name = "GLOB", value_parser = glob)]
    globs: Vec<Glob>,
    /// As JSON, for programs: an object for each, a line each
    #[arg(long)]
    pub(super) json: bool,
    /// Of what is retried or deleted, say only what fails
    #[arg(short, long, conflicts_with = "json")]
    pub(super) quiet: bool,
}

impl DeadLetterArgs {
    /// Which of them.
    pub(super) fn filter(&mut self) -> Filter {
        Filter {
            older: self.older,
            newer: self.newer,
            causes: std::mem::take(&mut self.causes),
            globs: std::mem::take(&mut self.globs),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", conflicts_with = "place")]
    pub(super) config: Option<PathBuf>,
    /// Without a configuration: the folder, and the endpoint if it is to be asked as well
    #[arg(value_names = ["DIR", "URL"], num_args = 1..=2)]
    pub(super) place: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", conflicts_with = "place")]
    pub(super) config: Option<PathBuf>,
    /// Without a configuration: the folder and the endpoint, all else as by default
    #[arg(value_names = ["DIR", "URL"], num_args = 2)]
    pub(super) place: Vec<OsString>,
    /// Take this folder although the state belongs to another one
    #[arg(long)]
    pub(super) adopt: bool,
    #[command(flatten)]
    pub(super) verbosity: Verbosity,
}

impl RunArgs {
    /// With what was said before the command as well.
    pub(super) fn with(mut self, verbosity: Verbosity) -> RunArgs {
        self.verbosity = self.verbosity.and(verbosity);
        self
    }
}

/// How much the log says.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Verbosity {
    /// Say only what is wrong: warnings and errors; twice: errors
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
    /// Say more: one level for each
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

impl Verbosity {
    /// The level of the log, where it would be `otherwise` without a word of the command line.
    pub(super) fn level(self, otherwise: LevelFilter) -> LevelFilter {
        match self.quiet {
            0 => {}
            1 => return LevelFilter::Warn,
            2 => return LevelFilter::Error,
            _ => return LevelFilter::Off,
        }
        let more = LevelFilter::iter().filter(|&level| level > otherwise);
        more.take(self.verbose.into()).last().unwrap_or(otherwise)
    }

    /// Whether less is to be said than otherwise.
    pub(super) fn is_quiet(self) -> bool {
        self.quiet > 0
    }

    /// What is said before the command and behind it.
    pub(super) fn and(self, other: Verbosity) -> Verbosity {
        Verbosity {
            quiet: self.quiet.saturating_add(other.quiet),
            verbose: self.verbose.saturating_add(other.verbose),
        }
    }
}

/// Where the configuration comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file, or one of the usual ones.
    File(Option<PathBuf>),
    /// A folder, perhaps with its endpoint, and all else as by default.
    Folder { dir: PathBuf, url: Option<OsString> },
}

impl Source {
    /// Of `[DIR [URL]]`.
    pub(super) fn of_place(file: Option<PathBuf>, place: Vec<OsString>) -> Source {
        let mut place = place.into_iter();
        match place.next() {
            Some(dir) => Source::Folder {
                dir: dir.into(),
                url: place.next(),
            },
            None => Source::File(file),
        }
    }

    /// Of `[DIR [URL]] [PATH ...]`, with the PATHs. Where a configuration is named all are PATHs.
    /// Where there is a usual one (`has_usual`) the first is DIR only if dirpost's folder is in it,
    /// for the name of a dead letter may be that of some folder here as well.
    pub(super) fn of_paths(
        file: Option<PathBuf>,
        mut paths: Vec<OsString>,
        has_usual: bool,
    ) -> (Source, Vec<OsString>) {
        let is_folder = |dir: &OsString| match has_usual {
            true => Path::new(dir)
                .join(crate::flow::scan::filter::OWN_FOLDER)
                .is_dir(),
            false => true,
        };
        if file.is_some() || !paths.first().is_some_and(is_folder) {
            return (Source::File(file), paths);
        }
        let dir = paths.remove(0).into();
        let url = paths.first().is_some_and(is_url);
        let url = url.then(|| paths.remove(0));
        (Source::Folder { dir, url }, paths)
    }
}

/// Whether an argument is meant as an endpoint.
pub(super) fn is_url(arg: &OsString) -> bool {
    arg.to_str().is_some_and(|text| {
        ["http://", "https://"].iter().any(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn verbosity(args: &[&str]) -> Option<Verbosity> {
        let cli = Cli::try_parse_from([&["dirpost"], args].concat()).ok()?;
        Some(match cli.command {
            Some(Command::Run(run) | Command::Once { run, .. }) => cli.verbosity.and(run.verbosity),
            _ => cli.verbosity,
        })
    }

    #[test]
    fn quiet_and_verbose_change_the_level() {
        use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};
        for (args, of_warn, of_info) in [
            (&["run"][..], Warn, Info),
            (&["run", "-v"], Info, Debug),
            (&["once", "-vv"], Debug, Trace),
            (&["-v", "once", "--verbose"], Debug, Trace),
            (&["once", "-vvvvvvvv"], Trace, Trace),
            (&["-v", "--config", "c.toml"], Info, Debug),
            (&["once", "-q"], Warn, Warn),
            (&["once", "--quiet", "-q"], Error, Error),
            (&["run", "-qqq"], Off, Off),
        ] {
            let verbosity = verbosity(args).unwrap();
            assert_eq!(verbosity.level(Warn), of_warn, "{args:?}");
            assert_eq!(verbosity.level(Info), of_info, "{args:?}");
        }
        assert!(verbosity(&["run", "-q", "-v"]).is_none());
        assert_eq!(Verbosity::default().level(Off), Off);
    }

    fn split(file: Option<&str>, paths: &[&str], has_usual: bool) -> (Source, Vec<OsString>) {
        let paths = paths.iter().map(OsString::from).collect();
        Source::of_paths(file.map(PathBuf::from), paths, has_usual)
    }

    fn folder(dir: &str, url: Option<&str>) -> Source {
        Source::Folder {
            dir: dir.into(),
            url: url.map(OsString::from),
        }
    }

    #[test]
    fn the_first_path_is_the_folder_only_where_no_configuration_says_it() {
        let dir = TempDir::new();
        std::fs::create_dir_all(dir.path().join("in/.dirpost")).unwrap();
        std::fs::create_dir_all(dir.path().join("sub")).unwrap();
        let watched = dir.path().join("in").to_str().unwrap().to_string();
        let sub = dir.path().join("sub").to_str().unwrap().to_string();

        let (source, paths) = split(None, &[&watched, "x.csv"], false);
        assert_eq!(
            (source, paths),
            (folder(&watched, None), vec!["x.csv".into()])
        );
        let (source, paths) = split(None, &[&watched, "HTTP://h/", "x"], false);
        assert_eq!(
            (source, paths),
            (folder(&watched, Some("HTTP://h/")), vec!["x".into()])
        );
        // A folder where dirpost has never worked is named all the same.
        assert_eq!(split(None, &[&sub], false).0, folder(&sub, None));

        let (source, paths) = split(Some("c.toml"), &[&watched, "x"], false);
        assert_eq!(source, Source::File(Some("c.toml".into())));
        assert_eq!(paths, [watched.as_str(), "x"]);

        assert_eq!(split(None, &[&watched], true).0, folder(&watched, None));
        for path in [sub.as_str(), "x.csv", "http://h/"] {
            let (source, paths) = split(None, &[path], true);
            assert_eq!((source, paths), (Source::File(None), vec![path.into()]));
        }
        assert_eq!(split(None, &[], false).0, Source::File(None));
    }
}
