//! Files of the configuration: the user's own, so links are followed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a regular file of at most `max` bytes, and waits for nobody: the open of a FIFO in its
/// place waits for no writer.
///
/// # Errors
/// `InvalidInput` if it is no regular file or longer; else those of opening and reading it.
pub fn read_regular(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > max {
        let why = format!("it must be a regular file of at most {max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    // Without NOCTTY the open of a terminal could make it this process's.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Windows has no FIFOs among its files.
#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    #[test]
    fn a_regular_file_is_read_if_it_is_not_too_long() {
        let dir = TempDir::new();
        let path = dir.path().join("token");
        std::fs::write(&path, "0123").unwrap();
        assert_eq!(read_regular(&path, 4).unwrap(), b"0123");
        assert_eq!(
            read_regular(&path, 3).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            read_regular(&dir.path().join("none"), 3)
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let dir = TempDir::new();
        let path = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert_eq!(
            read_regular(&path, 100).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
