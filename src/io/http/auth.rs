//! Credentials from files, read again when the files change, and from a command; and signatures.
//!
//! A file is looked at once per request and read only when its size, time or
//! inode differ from the last time, so a token that rotates needs no restart.
//! A command (`send.auth.value_command`) is run once for all workers, one call at a time; what it has
//! printed is kept for `refresh`, and asked for once more when the endpoint refuses it (401). One that
//! fails says nothing of any file. What was read or printed is in no error and in no `Debug`.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::aws_keys;
use super::signature::{Keys, Payload, Scope, Unsigned, sign};
use crate::config::{Auth, Aws};
use crate::flow::escape::escape;
use crate::io::check::command;
use crate::io::os::clock;

/// A file of more bytes than this is no credential.
const MOST: u64 = 64 * 1024;

/// How long a command may take to print a value.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the value of before is used after a command has failed to print the next.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// `send.auth`, and what was read of its file last.
pub(super) struct Credentials {
    auth: Auth,
    known: Option<(FileStamp, Known)>,
    command: Arc<CommandValue>,
    /// Which of the command's values was used last.
    used: u64,
}

/// What was read of a file.
#[derive(Clone)]
enum Known {
    /// The field that is sent.
    Field(HeaderName, HeaderValue),
    /// What requests are signed with.
    Keys(Keys),
}

/// The parts of a request that say who sends it, before its body is known to be sent.
pub(super) struct ToProve<'a> {
    pub request: Unsigned<'a>,
    /// The digest of its body, where that is known.
    pub digest: Option<[u8; 32]>,
}

/// What a command has printed, for all workers.
#[derive(Default)]
pub(super) struct CommandValue(Mutex<Printed>);

#[derive(Default)]
struct Printed {
    value: Option<HeaderValue>,
    /// Counts the values.
    number: u64,
    /// When it is asked for the next one.
    due: Option<Instant>,
    failed: Option<(Instant, String)>,
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
    pub fn new(auth: Auth, command: &Arc<CommandValue>) -> Credentials {
        Credentials {
            auth,
            known: None,
            command: Arc::clone(command),
            used: 0,
        }
    }

    /// After the endpoint has refused what was sent: another value, if a command has one.
    pub fn renewed(&mut self) -> Option<(HeaderName, HeaderValue)> {
        let Auth::Command { .. } = &self.auth else {
            return None;
        };
        let mut printed = self.command.lock();
        let refused = printed.value.clone();
        // Another worker may have asked meanwhile.
        let is_newest = printed.number == self.used;
        if is_newest {
            printed.due = None;
            printed.value = None;
        }
        drop(printed);
        let (name, value) = self.field().ok()?;
        (!is_newest || Some(&value) != refused.as_ref()).then_some((name, value))
    }

    /// Whether each request is signed for itself.
    pub fn signs(&self) -> bool {
        matches!(self.auth, Auth::Aws(_))
    }

    /// Adds to a request what proves who sends it. Gives the secrets that it holds then.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or what is in it is no credential.
    pub fn prove(&mut self, to_prove: ToProve<'_>) -> Result<Vec<HeaderValue>, String> {
        let Auth::Aws(aws) = &self.auth else {
            let (name, value) = self.field()?;
            to_prove.request.headers.insert(name, value.clone());
            return Ok(vec![value]);
        };
        let scope = Scope {
            region: aws.region.clone(),
            service: aws.service.clone(),
        };
        let Known::Keys(keys) = self.read_file()? else {
            return Err("the credentials are no keys".into());
        };
        let is_safe = to_prove.request.uri.scheme_str() == Some("https") && scope.is_s3();
        let payload = match to_prove.digest {
            _ if is_safe => Payload::Unsigned,
            Some(digest) => Payload::Digest(digest),
            None => {
                return Err("the digest of the file is not known, so nothing can be signed".into());
            }
        };
        let signature = sign(to_prove.request, payload, (&keys, &scope), clock::wall())?;
        let secrets = [Some(signature), Some(keys.secret), keys.token];
        Ok(secrets
            .into_iter()
            .flatten()
            .filter_map(|secret| HeaderValue::try_from(secret).ok())
            .collect())
    }

    /// The field to send.
    fn field(&mut self) -> Result<(HeaderName, HeaderValue), String> {
        if let Auth::Command {
            name,
            argv,
            refresh,
        } = &self.auth
        {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{name:?} cannot be the name of a header"))?;
            let (number, value) = self.command.get(argv, *refresh)?;
            self.used = number;
            return Ok((name, value));
        }
        match self.read_file()? {
            Known::Field(name, value) => Ok((name, value)),
            Known::Keys(_) => Err("the credentials are no header".into()),
        }
    }

    fn read_file(&mut self) -> Result<Known, String> {
        let (Auth::Bearer { file }
        | Auth::Basic {
            password_file: file,
            ..
        }
        | Auth::Header {
            value_file: file, ..
        }
        | Auth::Aws(Aws {
            credentials_file: file,
            ..
        })) = &self.auth
        else {
            return Err("the credentials are in no file".into());
        };
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
        if let Some((known, what)) = &self.known
            && *known == stamp
        {
            return Ok(what.clone());
        }
        if !meta.is_file() || meta.len() > MOST {
            return Err(format!(
                "{} is not a file of credentials: it must be a regular file of at most 64 KiB",
                file.display()
            ));
        }
        let secret = fs::read(file).map_err(unreadable)?;
        let known = match &self.auth {
            Auth::Aws(aws) => {
                let text = String::from_utf8_lossy(&secret);
                let keys = aws_keys::read(&text, &aws.profile);
                let keys = keys.map_err(|why| format!("{} {why}", file.display()))?;
                Known::Keys(keys)
            }
            _ => {
                let (name, mut value) = self.make(trim(&secret), file)?;
                value.set_sensitive(true);
                Known::Field(name, value)
            }
        };
        self.known = Some((stamp, known.clone()));
        Ok(known)
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
            Auth::Command { .. } | Auth::Aws(_) => {
                return Err("the credentials are in no file of their own".into());
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

impl CommandValue {
    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value and its number. Who waits for another's call takes what comes of it.
    fn get(&self, argv: &[String], refresh: Duration) -> Result<(u64, HeaderValue), String> {
        let asked = Instant::now();
        let mut printed = self.lock();
        if let (Some(value), Some(due)) = (&printed.value, printed.due)
            && Instant::now() < due
        {
            return Ok((printed.number, value.clone()));
        }
        if let Some((at, why)) = &printed.failed
            && *at >= asked
        {
            return Err(why.clone());
        }
        match print(argv) {
            Ok(value) => {
                printed.number += 1;
                printed.due = Instant::now().checked_add(refresh);
                printed.value = Some(value);
                printed.failed = None;
            }
            Err(why) if printed.value.is_some() => {
                log::warn!(target: "dirpost", "{why}; what it printed before is used for now");
                printed.due = Some(Instant::now() + AGAIN_AFTER);
            }
            Err(why) => {
                printed.failed = Some((Instant::now(), why.clone()));
                return Err(why);
            }
        }
        let value = printed.value.clone().ok_or("there is no value")?;
        Ok((printed.number, value))
    }
}

/// Runs the command.
fn print(argv: &[String]) -> Result<HeaderValue, String> {
    let named = format!("send.auth.value_command `{}`", argv[0]);
    let said = command::ask(argv, MOST + 1, COMMAND_TIMEOUT).map_err(|err| match err.kind() {
        io::ErrorKind::TimedOut => format!("{named} was not done within 60 s, and was stopped"),
        _ => format!("{named} cannot be run: {err}"),
    })?;
    if !said.status.success() {
        let complaint = escape(said.complaint.trim_ascii()).replace("%0A", " ");
        return Err(format!("{named} ended with {}: {complaint}", said.status));
    }
    let secret = trim(&said.output);
    if secret.is_empty() || said.output.len() as u64 > MOST {
        return Err(format!(
            "{named} printed no credential: it must print the value of the header, 64 KiB at most"
        ));
    }
    let mut value = HeaderValue::from_bytes(secret).map_err(|_| {
        format!(
            "what {named} printed cannot be in a header: it has a line break or a control character \
             within"
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
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
