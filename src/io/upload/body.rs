//! The content of a file on its way out, watched while it goes.
//!
//! Invariants:
//! - The last byte is given out only after a look has shown that the file is still the one
//!   that was looked at before: same size, mtime, ctime, inode and blocks.
//! - Before the last byte, and after a hang before any more, the lock is seen to be still ours.
//! - On a network file system each such look is a fresh open: a held handle may see nothing
//!   of what another client does.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::file::{FsKind, Look, Rel};
use crate::io::dir::{Dir, file_look};
use crate::io::fault::explain;
use crate::io::http::Body;
use crate::io::share::Share;

/// An open file, as it was when it was looked at.
#[derive(Debug)]
pub struct UploadBody {
    root: Arc<Dir>,
    path: Rel,
    file: File,
    look: Look,
    /// Bytes that are still to be given out.
    left: u64,
    /// A small file, read whole: it is given out from here.
    held: Option<Vec<u8>>,
    checked: Instant,
    /// Whose lock it is sent under.
    share: Option<Arc<Share>>,
}

/// Why a file is not sent to its end.
#[derive(Debug)]
pub enum Broken {
    /// It is not the version any more that was looked at. How it is now, if that is known.
    Changed(Option<Look>),
    /// Another process may hold the lock, or everything is being opened again: a sentence.
    LockLost(String),
    /// It is gone, is no regular file any more, or cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(err: io::Error) -> Broken {
        Broken::Io(err)
    }
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// It is not the one that was looked at. How it is now.
    Changed(Look),
    Failed(io::Error),
}

/// While a long file is sent it is looked at so often.
const EVERY: Duration = Duration::from_secs(1);

impl UploadBody {
    /// Opens `path` and sees that it is what `look` showed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(root: Arc<Dir>, path: &Rel, look: &Look) -> Result<UploadBody, OpenError> {
        let (file, now) = root.open(path).map_err(OpenError::Failed)?;
        if now != *look {
            return Err(OpenError::Changed(now));
        }
        Ok(UploadBody {
            root,
            path: path.clone(),
            file,
            look: *look,
            left: look.stamp.size,
            held: None,
            checked: Instant::now(),
            share: None,
        })
    }

    /// It is sent only for as long as the lock of `share` is ours.
    #[must_use]
    pub fn under(self, share: Arc<Share>) -> UploadBody {
        UploadBody {
            share: Some(share),
            ..self
        }
    }

    /// Reads the whole of a small file into memory, for its digest; it is sent from there.
    ///
    /// # Errors
    /// The file ends before its size, or cannot be read.
    pub fn hold(&mut self) -> Result<&[u8], Broken> {
        let mut bytes = vec![0; usize::try_from(self.look.stamp.size).map_err(io::Error::other)?];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Broken::Changed(None));
            }
            Err(err) => return Err(err.into()),
        }
        Ok(self.held.insert(bytes))
    }

    /// Sees that the file is still the same, and that the lock is still ours.
    ///
    /// # Errors
    /// If it is not, or the file cannot be looked at.
    pub fn confirm(&mut self) -> Result<(), Broken> {
        let before = std::mem::replace(&mut self.checked, Instant::now());
        let now = if self.look.fs == FsKind::Share {
            self.root.open(&self.path)?.1
        } else {
            file_look(&self.file, self.look.fs)?
        };
        if now != self.look {
            return Err(Broken::Changed(Some(now)));
        }
        match &self.share {
            Some(share) => share
                .confirm_after(before)
                .map_err(|err| Broken::LockLost(explain(&err))),
            None => Ok(()),
        }
    }

    /// Reads from the file, or from memory where it is held.
    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(held) = &self.held {
            let start = held.len() - usize::try_from(self.left).unwrap_or(0);
            buf.copy_from_slice(&held[start..start + buf.len()]);
            return Ok(buf.len());
        }
        loop {
            match self.file.read(buf) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Body for UploadBody {
    type Broken = Broken;

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let got = self.take(&mut buf[..want])?;
        if got == 0 {
            return Err(Broken::Changed(None));
        }
        self.left -= got as u64;
        if self.left == 0 || self.checked.elapsed() >= EVERY {
            self.confirm()?;
        }
        Ok(got)
    }

    fn rewind(&mut self) -> Result<(), Broken> {
        self.file.rewind()?;
        self.left = self.look.stamp.size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::flow::messages::{Delivered, Miss};
    use crate::io::testing::TempDir;
    #[cfg(unix)]
    use crate::io::upload::broken_off;

    fn watched(dir: &TempDir, content: &[u8]) -> (UploadBody, std::path::PathBuf) {
        let path = dir.path().join("f");
        std::fs::write(&path, content).unwrap();
        let root = Arc::new(Dir::at(dir.path()).unwrap());
        let look = root.look(b"f").unwrap().unwrap();
        (
            UploadBody::open(root, &Rel::new(b"f"), &look).unwrap(),
            path,
        )
    }

    fn drain(body: &mut UploadBody, step: usize) -> (Vec<u8>, Result<(), Broken>) {
        let mut all = Vec::new();
        let mut buf = vec![0; step];
        loop {
            match body.read(&mut buf) {
                Ok(0) => return (all, Ok(())),
                Ok(got) => all.extend_from_slice(&buf[..got]),
                Err(err) => return (all, Err(err)),
            }
        }
    }

    #[test]
    fn a_file_that_stays_is_given_out_whole_again_and_again() {
        let dir = TempDir::new();
        let (mut body, _) = watched(&dir, &[7; 1000]);
        for step in [1, 64, 1000, 5000] {
            let (all, end) = drain(&mut body, step);
            end.unwrap();
            assert_eq!(all, [7; 1000]);
            body.rewind().unwrap();
        }
        body.hold().unwrap();
        assert_eq!(drain(&mut body, 64).0, [7; 1000]);
    }

    #[test]
    fn the_last_byte_of_a_file_that_changed_is_never_given_out() {
        type Change = fn(&std::path::Path);
        let changes: [(&str, Change); 4] = [
            ("appended", |path| {
                use std::io::Write;
                std::fs::OpenOptions::new()
                    .append(true)
                    .open(path)
                    .unwrap()
                    .write_all(b"x")
                    .unwrap();
            }),
            ("rewritten", |path| std::fs::write(path, [8; 1000]).unwrap()),
            ("truncated", |path| std::fs::write(path, [7; 400]).unwrap()),
            ("touched", |path| {
                let file = std::fs::File::options().write(true).open(path).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                    .unwrap();
            }),
        ];
        for (what, change) in changes {
            let dir = TempDir::new();
            let (mut body, path) = watched(&dir, &[7; 1000]);
            let mut buf = [0; 500];
            assert_eq!(body.read(&mut buf).unwrap(), 500);
            change(&path);
            let (rest, end) = drain(&mut body, 500);
            assert!(end.is_err() && rest.len() < 500, "{what}");
        }
    }

    /// The look of a share makes each look a fresh open, whatever the folder is on.
    #[cfg(unix)]
    #[test]
    fn a_file_that_a_link_or_a_fifo_has_replaced_is_gone_and_not_changed() {
        type Replace = fn(&std::path::Path);
        let replacements: [(&str, Replace); 3] = [
            ("nothing", |path| std::fs::remove_file(path).unwrap()),
            ("a link", |path| {
                std::fs::rename(path, path.with_extension("moved")).unwrap();
                std::os::unix::fs::symlink(path.with_extension("moved"), path).unwrap();
            }),
            ("a FIFO", |path| {
                std::fs::remove_file(path).unwrap();
                let made = std::process::Command::new("mkfifo").arg(path).status();
                assert!(made.unwrap().success());
            }),
        ];
        for (what, replace) in replacements {
            let dir = TempDir::new();
            let (mut body, path) = watched(&dir, &[7; 1000]);
            body.look.fs = FsKind::Share;
            assert_eq!(body.read(&mut [0; 500]).unwrap(), 500);
            replace(&path);
            let (rest, end) = drain(&mut body, 500);
            let missing = broken_off(end.unwrap_err());
            assert!(rest.len() < 500, "{what}");
            assert!(
                matches!(missing, Delivered::Missing(Miss::Gone)),
                "{what}: {missing:?}"
            );
        }
    }

    #[test]
    fn a_file_that_was_replaced_is_not_opened() {
        let dir = TempDir::new();
        let (body, path) = watched(&dir, b"one");
        let mtime = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(dir.path().join("g"), b"two").unwrap();
        std::fs::File::options()
            .write(true)
            .open(dir.path().join("g"))
            .unwrap()
            .set_modified(mtime)
            .unwrap();
        std::fs::rename(dir.path().join("g"), &path).unwrap();
        let reopened = UploadBody::open(Arc::clone(&body.root), &Rel::new(b"f"), &body.look);
        #[cfg(unix)]
        assert!(matches!(reopened, Err(OpenError::Changed(_))));
        #[cfg(not(unix))]
        drop(reopened);
    }
}
