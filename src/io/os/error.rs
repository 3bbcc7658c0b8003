//! What the errors of the file system mean, and how they are told to a person.

use std::io;

/// An error of the file system in words, with what to do about it where that is known.
pub fn explain(err: &io::Error) -> String {
    let kind = match (err.kind(), err.raw_os_error()) {
        // Without "No such file or directory": it may be either, and the path says which is meant.
        (io::ErrorKind::NotFound, Some(number)) => {
            return format!("does not exist (os error {number})");
        }
        (io::ErrorKind::PermissionDenied, _) => {
            return format!(
                "{err}: {} may not do that: check the owner and the mode",
                this_user()
            );
        }
        (kind, _) => kind,
    };
    let hint = match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no room is left there",
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only",
        io::ErrorKind::StaleNetworkFileHandle => "the file server no longer knows it",
        io::ErrorKind::NotADirectory => "it is not a real folder (links are not followed)",
        _ => return err.to_string(),
    };
    format!("{err}: {hint}")
}

/// Who this process is. By the number: looking its name up may wait for a directory service, and
/// anybody may ask for this.
fn this_user() -> String {
    #[cfg(unix)]
    return match rustix::process::geteuid() {
        root if root.is_root() => "root".into(),
        other => format!("user {other}"),
    };
    #[cfg(not(unix))]
    "dirpost's user".into()
}

/// Whether an error says that this user may not write there.
pub fn is_read_only(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

/// Whether an error says that there is no room.
pub fn is_full(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether somebody has to change something before the call can succeed. All else, such as a
/// full disk or a share that answers with an error, may be over by itself.
pub fn needs_a_person(err: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidData, InvalidInput, IsADirectory, NotADirectory, PermissionDenied,
        ReadOnlyFilesystem, Unsupported,
    };
    matches!(
        err.kind(),
        InvalidData
            | InvalidInput
            | IsADirectory
            | NotADirectory
            | PermissionDenied
            | ReadOnlyFilesystem
            | Unsupported
    ) || is_link(err)
}

/// A link where a folder should be: ELOOP, on FreeBSD EMLINK (open(2)); Linux says `NotADirectory`.
fn is_link(err: &io::Error) -> bool {
    #[cfg(unix)]
    return [rustix::io::Errno::LOOP, rustix::io::Errno::MLINK]
        .iter()
        .any(|errno| err.raw_os_error() == Some(errno.raw_os_error()));
    #[cfg(not(unix))]
    {
        let _ = err;
        false
    }
}
