//! How the program ends.

use std::process::ExitCode;

/// The exit codes, as `--help` lists them. Every ending is one of these; only a second signal
/// ends the process elsewhere ([`crate::io::os::signal`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was delivered, or there was nothing to do; `run` was stopped.
    Success,
    /// It failed at run time, or `check` found something wrong.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// `once`: something is left to be tried again.
    Left,
    /// `once`: a file went to dead-letter.
    DeadLetter,
    /// `once`: another dirpost works on the folder.
    Locked,
}

impl Exit {
    /// The number that the system is given.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Left => 3,
            Exit::DeadLetter => 4,
            Exit::Locked => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
