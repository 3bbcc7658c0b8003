//! Credentials from files, read again when the files change.
//!
//! A file is looked at once per request and read only when its size, time or
//! inode differ from the last time, so a token that rotates needs no restart.
//! What was read is in no error and in no `Debug`.

use std::fmt;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::config::Auth;

/// A file of more bytes than this is no credential.
const MOST: u64 = 64 * 1024;

/// `send.auth`, and what was read of its file last.
pub(super) struct Credentials {
    auth: Auth,
    known: Option<(FileStamp, HeaderName, HeaderValue)>,
}

/// What tells one version of the file from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    size: u64,
    modified: Option<SystemTime>,
    /// 0 where there is none.
    inode: u64,
}

impl Credentials {
    /// Reads nothing yet.
    pub fn new(auth: Auth) -> Credentials {
        Credentials { auth, known: None }
    }

    /// The header to send.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or what is in it cannot be in a header.
    pub fn header(&mut self) -> Result<(HeaderName, HeaderValue), String> {
        let (Auth::Bearer { file }
        | Auth::Basic {
            password_file: file,
            ..
        }
        | Auth::Header {
            value_file: file, ..
        }) = &self.auth;
        let unreadable = |err| {
            format!(
                "the credentials in {} cannot be read: {err}",
                file.display()
            )
        };
        let meta = fs::metadata(file).map_err(unreadable)?;
        let stamp = FileStamp {
            size: meta.len(),
            modified: meta.modified().ok(),
            inode: inode(&meta),
        };
        if let Some((known, name, value)) = &self.known
            && *known == stamp
        {
            return Ok((name.clone(), value.clone()));
        }
        if !meta.is_file() || meta.len() > MOST {
            return Err(format!(
                "{} is not a file of credentials: it must be a regular file of at most 64 KiB",
                file.display()
            ));
        }
        let secret = fs::read(file).map_err(unreadable)?;
        let (name, mut value) = self.make(trim(&secret), file)?;
        value.set_sensitive(true);
        self.known = Some((stamp, name.clone(), value.clone()));
        Ok((name, value))
    }

    fn make(&self, secret: &[u8], file: &Path) -> Result<(HeaderName, HeaderValue), String> {
        if secret.is_empty() {
            return Err(format!(
                "the file of credentials {} is empty",
                file.display()
            ));
        }
        let (name, value) = match &self.auth {
            Auth::Bearer { .. } => (AUTHORIZATION, [b"Bearer ", secret].concat()),
            Auth::Basic { user, .. } => {
                let pair = [user.as_bytes(), b":", secret].concat();
                (
                    AUTHORIZATION,
                    format!("Basic {}", BASE64_STANDARD.encode(pair)).into_bytes(),
                )
            }
            Auth::Header { name, .. } => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("{name:?} cannot be the name of a header"))?;
                (name, secret.to_vec())
            }
        };
        let value = HeaderValue::from_bytes(&value).map_err(|_| {
            format!(
                "what {} holds cannot be in a header: it has a line break or a control character \
                 within",
                file.display()
            )
        })?;
        Ok((name, value))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// Without the line's end that editors and `echo` leave.
fn trim(secret: &[u8]) -> &[u8] {
    let end = secret
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &secret[..end.map_or(0, |last| last + 1)]
}

#[cfg(unix)]
fn inode(meta: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    meta.ino()
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
