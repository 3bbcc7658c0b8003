//! Why folders cannot be used, in words.

use std::io;

use crate::flow::messages::Closing;

/// Why the folders cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// The watched folder is not there (yet), or is not the share.
    Away(String),
    /// Another process holds the lock; who, as far as is known.
    Locked(String),
    /// It must not or cannot be used.
    Fault(String),
}

/// Why a scan cannot begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The share is not there.
    Away(String),
    /// All has to be opened anew.
    Anew(Closing),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unusable::Away(why) | Unusable::Anew(Closing::LockLost(why)) => f.write_str(why),
            Unusable::Anew(Closing::ShareBack) => f.write_str("the share was away meanwhile"),
            Unusable::Anew(Closing::MountedOver) => {
                f.write_str("something has been mounted over the folder")
            }
        }
    }
}

/// An error of the file system, with what to do about it where that is known.
pub fn explain(err: &io::Error) -> String {
    let hint = match err.kind() {
        io::ErrorKind::NotFound => "it is not there",
        io::ErrorKind::PermissionDenied => {
            "dirpost's user may not do that: check the owner and the mode"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no room is left there",
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only",
        io::ErrorKind::StaleNetworkFileHandle => "the file server no longer knows it",
        io::ErrorKind::NotADirectory => "it is not a real folder (links are not followed)",
        _ => return err.to_string(),
    };
    format!("{err}: {hint}")
}
