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

/// A program of this machine that has `path` open for writing, as far as the user who asks may see
/// that. Writers on other machines are never seen. Only Linux tells (proc(5): `/proc/PID/fd`,
/// `/proc/PID/fdinfo`).
#[cfg(target_os = "linux")]
pub fn writer_of(path: &Path) -> Option<String> {
    /// The part of `flags` that says how it is open, in octal; 0 is for reading only (open(2)).
    const ACCESS: u32 = 0o3;
    let path = std::fs::canonicalize(path).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let Some(pid) = process
            .file_name()
            .to_str()
            .filter(|name| is_number(name))
            .map(String::from)
        else {
            continue;
        };
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for fd in open.flatten() {
            if std::fs::read_link(fd.path()).is_ok_and(|target| target == path) {
                let info = process.path().join("fdinfo").join(fd.file_name());
                let info = std::fs::read_to_string(info).unwrap_or_default();
                let mut lines = info.lines();
                let flags = lines.find_map(|line| line.strip_prefix("flags:"));
                let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
                if flags.is_some_and(|flags| flags & ACCESS != 0) {
                    let name = std::fs::read_to_string(process.path().join("comm"));
                    return Some(format!("{} (pid {pid})", name.unwrap_or_default().trim()));
                }
            }
        }
    }
    None
}

/// Nothing is known of writers here.
#[cfg(not(target_os = "linux"))]
pub fn writer_of(_: &Path) -> Option<String> {
    None
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
