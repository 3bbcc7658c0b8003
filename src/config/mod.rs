//! The configuration, resolved: every value is valid, every default is filled in.
//!
//! [`load`] reads the file key by key, fills in the environment, validates, and
//! returns a [`Config`] or an [`Error`] that names the file, the line, the key
//! and what to write instead. Nothing behind this module looks at TOML or
//! checks a value again.

mod env;
mod error;
mod pending;
mod places;
mod read;
mod resolve;
mod secret;
mod send;
mod suggest;
mod units;
mod unknown;
mod values;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use resolve::{from_dir_and_url, load, parse};
pub use secret::{Argv, Hidden, Url};

use std::path::PathBuf;
use std::time::Duration;

/// Everything a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub watch: Watch,
    pub ready: Ready,
    pub check: Check,
    pub send: Send,
    pub retry: Retry,
    pub delivered: Delivered,
    pub dead_letter: DeadLetter,
    pub state: State,
    pub report: Report,
    pub log: Log,
}

/// `[watch]`: the folder, and how it is looked at.
#[derive(Clone, Debug)]
pub struct Watch {
    pub dir: PathBuf,
    /// From the start of a scan to the start of the next.
    pub interval: Duration,
    /// The part of the time that scanning may take, 0 < x <= 1.
    pub max_share: f64,
    /// 1 = this folder only; `None` = no limit.
    pub max_depth: Option<u32>,
    /// Globs on the relative path; empty = all.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub ignore_temporary: bool,
    pub require_mount: bool,
    pub threads: usize,
    pub rewrites: Rewrites,
    pub shard: Option<Shard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrites {
    Auto,
    Every(Duration),
}

/// `"2/8"`: part `index` (from 1) of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: u32,
    pub count: u32,
}

/// `[ready]`: when a file counts as complete.
#[derive(Clone, Debug)]
pub struct Ready {
    pub settle: Settle,
    /// Appended to a file's name, gives the name of its marker: ".done".
    pub marker: Option<String>,
    pub empty: Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// 5 s on a file system known to be local, else 60 s.
    Auto,
    For(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    Wait,
    Send,
    Reject,
}

/// `[check]`: what a file must be to be sent.
#[derive(Clone, Debug)]
pub struct Check {
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    pub format: Format,
    /// argv; `{file}` stands for the absolute path.
    pub command: Option<Argv>,
    pub command_timeout: Duration,
    pub grace: Duration,
}

impl Check {
    /// Whether a file's content is looked at before it is sent.
    pub fn reads_content(&self) -> bool {
        self.format != Format::Any || self.command.is_some()
    }

    /// Whether a file that lacks its end is told from a whole one.
    pub fn sees_end(&self) -> bool {
        match self.format {
            Format::Json | Format::Xml | Format::Gzip | Format::Zip => true,
            Format::Any | Format::Utf8 | Format::Jsonl | Format::Csv => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Any,
    Utf8,
    Json,
    Jsonl,
    Xml,
    Csv,
    Gzip,
    Zip,
}

/// `[send]`: the endpoint and the request.
#[derive(Clone, Debug)]
pub struct Send {
    /// With `{path}` and `{name}` still in it; the rest is a valid http(s) URL.
    pub url: Url,
    pub method: Method,
    pub body: BodyKind,
    /// `None` = by the file's extension.
    pub content_type: Option<String>,
    /// Names are valid field names; values may hold `{path} {name} {size} {mtime} {key} {sha256}`.
    pub headers: Vec<(String, Hidden)>,
    pub workers: usize,
    pub connect_timeout: Duration,
    pub stall_timeout: Duration,
    pub response_timeout: Duration,
    pub digest: Digest,
    pub compress: Compress,
    pub accept: Statuses,
    pub reject: Statuses,
    /// 0 = off.
    pub brake: u32,
    /// `None` = the share's id.
    pub key_scope: Option<String>,
    pub accept_content_type: Option<String>,
    pub accept_body: Option<String>,
    pub in_order: bool,
    /// Bytes per second, for all workers together.
    pub max_rate: Option<u64>,
    pub auth: Option<Auth>,
    pub tls: Tls,
    pub proxy: Proxy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Post,
    Put,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Raw,
    /// The name of the form field.
    Multipart(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    None,
    Gzip,
}

/// A set of HTTP statuses: inclusive ranges within 100..=599.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<(u16, u16)>);

impl Statuses {
    /// Whether `status` is in one of the ranges.
    pub fn contains(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|&(low, high)| (low..=high).contains(&status))
    }
}

/// Where the credentials come from; the files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    Bearer {
        file: PathBuf,
    },
    Basic {
        user: String,
        password_file: PathBuf,
    },
    Header {
        name: String,
        value_file: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    pub ca: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub roots: Roots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Roots {
    #[default]
    System,
    Bundled,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    Environment,
    None,
    /// May hold a password: masked in `Debug`.
    Url(String),
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Proxy::Environment => "Environment",
            Proxy::None => "None",
            Proxy::Url(_) => "Url(***)",
        })
    }
}

/// `[retry]`: bounds of the backoff.
#[derive(Clone, Debug)]
pub struct Retry {
    pub first: Duration,
    pub max: Duration,
    /// `None` = never.
    pub give_up_after: Option<Duration>,
}

/// `[delivered]`: what becomes of a file that was accepted.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub action: Action,
    pub dir: PathBuf,
    /// `None` = for ever.
    pub keep_for: Option<Duration>,
    pub remember: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Move,
    Delete,
    Keep,
}

/// `[dead_letter]`: where files go that cannot be sent.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub dir: PathBuf,
}

/// `[state]`: journal, lock, status.
#[derive(Clone, Debug)]
pub struct State {
    pub dir: PathBuf,
}

/// `[report]`.
#[derive(Clone, Debug)]
pub struct Report {
    pub metrics_file: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `None` = info; for `once` away from a terminal warn.
    pub level: Option<log::LevelFilter>,
}
