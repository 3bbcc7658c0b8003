//! What is wrong with a configuration: every problem that was found, in the
//! order of the file, one per line.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; `None` when it is about something that is not there.
    pub(crate) line: Option<usize>,
    /// `send.workers`; empty for a TOML syntax error or an unreadable file.
    pub(crate) key: String,
    /// What is wrong and what to write instead.
    pub(crate) text: String,
}

/// A configuration that cannot be used, with all the reasons.
///
/// `Display` gives one line for each: `FILE:LINE: KEY: WHAT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// `None` when the configuration came from the command line.
    path: Option<PathBuf>,
    problems: Vec<Problem>,
}

impl Error {
    /// Sorts by line; what has no line comes last.
    pub(crate) fn new(path: Option<&Path>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Error {
            path: path.map(Path::to_path_buf),
            problems,
        }
    }

    /// One problem that is about no key: a file that cannot be read or is no TOML.
    pub(crate) fn whole(path: Option<&Path>, line: Option<usize>, text: String) -> Self {
        Error::new(
            path,
            vec![Problem {
                line,
                key: String::new(),
                text,
            }],
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some(path) = &self.path {
                write!(f, "{}:", path.display())?;
                if let Some(line) = problem.line {
                    write!(f, "{line}:")?;
                }
                write!(f, " ")?;
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            write!(f, "{}", problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
