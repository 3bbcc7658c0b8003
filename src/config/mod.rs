//! The configuration, resolved: every value is valid, every default is filled in.
//!
//! [`load`] reads the file key by key, fills in the environment, validates, and
//! returns a [`Config`] or an [`Error`] that names the file, the line, the key
//! and what to write instead. Nothing behind this module looks at TOML or
//! checks a value again.

mod auth;
mod duplicate;
mod env;
mod error;
mod places;
mod read;
pub mod reload;
mod resolve;
mod secret;
mod send;
mod suggest;
mod units;
mod unknown;
mod values;

#[cfg(test)]
mod tests;

pub use env::of_process as environment;
pub use error::Error;
pub use resolve::{from_dir_and_url, load, parse};
pub use secret::{Argv, Hidden, Url};
pub(crate) use values::{differs_by_file, may_be_left_out};

use crate::flow::marker::MarkerRule;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from, as an absolute path; `None` where the folder and the endpoint
    /// were named instead.
    pub file: Option<PathBuf>,
    /// `[watch]`: which folder is read, and how often.
    pub watch: Watch,
    /// `[ready]`: when a file is taken for complete.
    pub ready: Ready,
    /// `[check]`: what a complete file must be before it is sent.
    pub check: Check,
    /// `[send]`: where files go, and how a request is made.
    pub send: Send,
    /// `[retry]`: the pauses between attempts, and when to give up.
    pub retry: Retry,
    /// `[delivered]`: what is done with an accepted file.
    pub delivered: Delivered,
    /// `[dead_letter]`: where rejected files are put.
    pub dead_letter: DeadLetter,
    /// `[state]`: where the journal, the lock and the status are kept.
    pub state: State,
    /// `[report]`: what is written for the monitoring.
    pub report: Report,
    /// `[log]`: how much is logged.
    pub log: Log,
}

/// `[watch]`: the folder, and how it is looked at.
#[derive(Clone, Debug)]
pub struct Watch {
    /// `watch.dir`, required: the folder whose files are sent, as an absolute path.
    pub dir: PathBuf,
    /// From the start of a scan to the start of the next.
    pub interval: Duration,
    /// The part of the time that scanning may take, 0 < x <= 1.
    pub max_share: f64,
    /// 1 = this folder only; `None` = no limit.
    pub max_depth: Option<u32>,
    /// Globs on the relative path; empty = all.
    pub include: Vec<String>,
    /// `watch.exclude`: globs of what is left alone even if it is included. Empty by default. A
    /// folder that matches is not entered.
    pub exclude: Vec<String>,
    /// `watch.ignore_case`, false by default: whether `include` and `exclude` match names in upper and
    /// lower case alike.
    pub ignore_case: bool,
    /// `watch.ignore_temporary`, true by default: hidden and temporary names (`.*`, `*.tmp`,
    /// `*.part` and their like) are left alone, as most programs name unfinished files so, and so are
    /// recycle bins, snapshots and system folders.
    pub ignore_temporary: bool,
    /// `watch.require_mount`, false by default: the folder counts as the share only while something
    /// is mounted there, so that an empty mount point is never taken for it.
    pub require_mount: bool,
    /// `watch.threads`, 1 by default, 64 at most: how many files a scan looks at side by side, and how
    /// many are filed away side by side on a share. More of them hide the round trips to a distant one.
    pub threads: usize,
    /// `watch.rewrites`, "auto" by default: how soon a change to a file at rest must be noticed.
    pub rewrites: Rewrites,
    /// `watch.shard`: the part of the files that this process sends, where several share a folder.
    /// `None` by default: all of them.
    pub shard: Option<Shard>,
}

/// How often files that are at rest are looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrites {
    /// "auto": on every scan as long as that is cheap, else every few minutes.
    Auto,
    /// At least once in this time, whatever it costs.
    Every(Duration),
}

/// `"2/8"`: part `index` (from 1) of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part this process sends, from 1 to `count`.
    pub index: u32,
    /// How many parts the files are divided into, by a hash of their paths.
    pub count: u32,
}

/// `[ready]`: when a file counts as complete.
#[derive(Clone, Debug)]
pub struct Ready {
    /// `ready.settle`, "auto" by default: how long a file must not have changed.
    pub settle: Settle,
    /// `ready.marker`: how the marker is called that a file waits for. `None` by default: it waits for
    /// none.
    pub marker: Option<MarkerRule>,
    /// `ready.empty`, "wait" by default: what a file of zero bytes means.
    pub empty: Empty,
}

/// How long a file must stand still before it is taken for complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// 5 s on a file system known to be local, else 60 s.
    Auto,
    /// This long on every file system.
    For(Duration),
}

/// What is done with a file of zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// "wait": it is about to be written, and is not sent before it has content.
    Wait,
    /// "send": it is sent like any other file.
    Send,
    /// "reject": it goes to dead-letter.
    Reject,
}

/// `[check]`: what a file must be to be sent.
#[derive(Clone, Debug)]
pub struct Check {
    /// `check.min_size`, in bytes: a smaller file goes to dead-letter. `None` by default: no bound.
    pub min_size: Option<u64>,
    /// `check.max_size`, in bytes: a larger file goes to dead-letter. `None` by default: no bound.
    pub max_size: Option<u64>,
    /// `check.format`, "any" by default: what the content must be, from its start to its end.
    pub format: Format,
    /// `check.starts_with`: what a file begins with; any of them will do. Empty by default: anything.
    pub starts_with: Vec<String>,
    /// `check.ends_with`: what a whole file ends with, white space behind it aside. Empty by default.
    pub ends_with: Vec<String>,
    /// argv; `{file}` stands for the absolute path.
    pub command: Option<Argv>,
    /// `check.command_timeout`, 1 minute by default: the command is stopped after that, and the
    /// file is tried again later.
    pub command_timeout: Duration,
    /// `check.grace`, 1 minute by default: how long a file that fails a check may still turn out to
    /// be unfinished before it is rejected.
    pub grace: Duration,
}

impl Check {
    /// Whether a file's content is looked at before it is sent.
    pub fn reads_content(&self) -> bool {
        self.format != Format::Any || self.has_edges() || self.command.is_some()
    }

    /// Whether a file is to begin or to end in some way.
    pub fn has_edges(&self) -> bool {
        !self.starts_with.is_empty() || !self.ends_with.is_empty()
    }

    /// Whether a file that lacks its end is told from a whole one.
    pub fn sees_end(&self) -> bool {
        match self.format {
            Format::Json | Format::Xml | Format::Gzip | Format::Zip | Format::Pdf => true,
            Format::Any | Format::Utf8 | Format::Jsonl | Format::Csv => !self.ends_with.is_empty(),
        }
    }
}

/// The format that the whole content of a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// "any": the content is not looked at.
    Any,
    /// "utf8": text in valid UTF-8.
    Utf8,
    /// "json": one JSON value. One that was cut off is told from a whole one.
    Json,
    /// "jsonl": one JSON value on each line. A cut between two lines is not seen.
    Jsonl,
    /// "xml": one well-formed document. One that was cut off is told from a whole one.
    Xml,
    /// "csv": comma-separated values. A cut between two records is not seen.
    Csv,
    /// "gzip": a gzip stream. One that was cut off is told from a whole one.
    Gzip,
    /// "zip": an archive whose directory stands at its end, so that a cut shows.
    Zip,
    /// "pdf": a document that is read from its end, so that a cut shows.
    Pdf,
}

/// `[send]`: the endpoint and the request.
#[derive(Clone, Debug)]
pub struct Send {
    /// With its placeholders still in it, those of `headers`; the rest is a valid http(s) URL.
    pub url: Url,
    /// `send.method`, "POST" by default.
    pub method: Method,
    /// `send.body`, "raw" by default, and with "multipart" the name in `send.field`.
    pub body: BodyKind,
    /// `None` = by the file's extension.
    pub content_type: Option<String>,
    /// Names are valid field names; values may hold `{path} {name} {stem} {size} {mtime} {key}
    /// {sha256}`.
    pub headers: Vec<(String, Hidden)>,
    /// `send.fields`: with a multipart body the fields before the file, in the order of the
    /// configuration; values as in `headers`. Empty by default.
    pub fields: Vec<(String, Hidden)>,
    /// `send.expect`, "auto" by default: whether large bodies wait for the endpoint to ask for them.
    pub expect: Expect,
    /// `send.workers`, 4 by default: how many files are sent side by side.
    pub workers: usize,
    /// `send.connect_timeout`, 10 seconds by default: an attempt that has no connection by then has
    /// failed.
    pub connect_timeout: Duration,
    /// `send.stall_timeout`, 30 seconds by default: an attempt in which no byte moves for that long
    /// has failed. The whole upload has no limit.
    pub stall_timeout: Duration,
    /// `send.response_timeout`, 2 minutes by default: how long the answer may take once the request
    /// has been sent.
    pub response_timeout: Duration,
    /// `send.digest`, "auto" by default: when `Content-Digest` is sent.
    pub digest: Digest,
    /// `send.compress`, "none" by default: the coding of the body.
    pub compress: Compress,
    /// `send.accept`, 200-299 by default: the statuses that mean that the file was delivered.
    pub accept: Statuses,
    /// `send.reject`, 400, 413, 414, 415 and 422 by default: the statuses that mean that the file
    /// is bad. Any other means that it is tried again.
    pub reject: Statuses,
    /// 0 = off.
    pub brake: u32,
    /// `None` = the share's id.
    pub key_scope: Option<String>,
    /// `send.accept_content_type`: the media type that an accepting answer must have, as a login
    /// page with status 200 accepts nothing. `None` by default: any.
    pub accept_content_type: Option<String>,
    /// `send.accept_body`: a text that the body of an accepting answer must contain. `None` by
    /// default: nothing is looked for.
    pub accept_body: Option<String>,
    /// `send.order`: which of the files that are ready goes first; "arrival" by default, "mtime" with
    /// `send.in_order`.
    pub order: SendOrder,
    /// `send.in_order`, false by default: strictly in that order, one at a time, and one that fails
    /// holds up the others.
    pub in_order: bool,
    /// Bytes per second, for all workers together.
    pub max_rate: Option<u64>,
    /// `send.auth`: how requests are authenticated. `None` by default: they carry no credentials.
    pub auth: Option<Auth>,
    /// `[send.tls]`: whom to trust, and how to prove who we are.
    pub tls: Tls,
    /// `send.proxy`, "environment" by default: the proxy that requests go through.
    pub proxy: Proxy,
}

/// Which of the files that are ready goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOrder {
    /// "arrival": the one that has waited for the longest; the folders take turns.
    Arrival,
    /// "mtime": the oldest one as last looked at; of those that are as old, by name.
    Mtime,
    /// "name": by the relative path, byte by byte.
    Name,
}

impl Send {
    /// The most bytes of a file that the endpoint takes in one request, where that is known: an object
    /// of S3 is sent in parts beyond 5 GiB, which dirpost does not do.
    pub fn request_limit(&self) -> Option<u64> {
        match &self.auth {
            Some(Auth::Aws(aws)) if aws.is_s3() => Some(5 << 30),
            _ => None,
        }
    }
}

/// The method of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// "POST".
    Post,
    /// "PUT".
    Put,
}

/// How a file is put into the body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// "raw": the body is the file, byte for byte.
    Raw,
    /// The name of the form field.
    Multipart(String),
}

/// Whether a large body is sent only once the endpoint has said that it wants it
/// (`Expect: 100-continue`, RFC 9110, 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// "auto": it is, as long as nothing on the way is found to drop such requests.
    Auto,
    /// "never": it is sent at once.
    Never,
}

/// When a request says the SHA-256 of its content (RFC 9530).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// "auto": where it needs no second read of the file.
    Auto,
    /// "always": even if the file must be read once more for it.
    Always,
    /// "never": the field is left out.
    Never,
}

/// The `Content-Encoding` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// "none": the file is sent as it is.
    None,
    /// "gzip": for endpoints that understand it.
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
    /// `Authorization: Bearer` with a token.
    Bearer {
        /// `bearer_file`: the file with the token.
        file: PathBuf,
    },
    /// `Authorization: Basic` with a user and a password.
    Basic {
        /// `user`: the name, which is no secret and is written in the configuration.
        user: String,
        /// `password_file`: the file with the password.
        password_file: PathBuf,
    },
    /// A field of the user's choice, such as `X-Api-Key`.
    Header {
        /// `header`: the name of the field.
        name: String,
        /// `value_file`: the file with the value of the field.
        value_file: PathBuf,
    },
    /// A field whose value a command prints: OAuth2, Kerberos, Vault and others.
    Command {
        /// `header`: the name of the field.
        name: String,
        /// `value_command`: the program and its arguments.
        argv: Argv,
        /// `refresh`, 50 minutes by default: it is asked again then, and once after a 401.
        refresh: Duration,
    },
    /// Signature Version 4 of AWS: S3, MinIO, Ceph, Garage and others.
    Aws(Aws),
}

/// How requests are signed with Signature Version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// `aws_region`, such as "eu-central-1"; stores other than AWS's have one as well.
    pub region: String,
    /// `aws_service`, "s3" by default.
    pub service: String,
    /// `aws_credentials_file`: profiles with keys in them, as AWS's own tools have them.
    pub credentials_file: PathBuf,
    /// `aws_profile`, "default" by default.
    pub profile: String,
}

impl Aws {
    /// The service whose requests are objects, 5 GiB at most.
    pub const S3: &str = "s3";

    /// Whether files become objects of a store.
    pub fn is_s3(&self) -> bool {
        self.service == Aws::S3
    }
}

/// `[send.tls]`: the certificates of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// `send.tls.ca`: a PEM file with certificates to trust besides the roots, as authorities or as the
    /// endpoint's own. `None` by default.
    pub ca: Option<PathBuf>,
    /// `send.tls.client_cert`: a PEM file with our own certificate. Set together with `client_key`
    /// or not at all; `None` by default.
    pub client_cert: Option<PathBuf>,
    /// `send.tls.client_key`: a PEM file with the private key of `client_cert`. `None` by default.
    pub client_key: Option<PathBuf>,
    /// `send.tls.fingerprint`: the SHA-256 of the certificates that are the endpoint's, whoever signed
    /// them; then nothing else is trusted. Empty by default.
    pub fingerprint: Vec<[u8; 32]>,
    /// `send.tls.roots`, "system" by default: whose root certificates are trusted.
    pub roots: Roots,
}

/// Where the trusted root certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Roots {
    /// "system": those that this machine trusts.
    #[default]
    System,
    /// "bundled": those built into dirpost, for machines without any.
    Bundled,
}

/// Which proxy, if any, requests go through.
#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    /// "environment": as `HTTPS_PROXY` and its like say.
    Environment,
    /// "none": no proxy, whatever the environment says.
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
    /// `retry.first`, 1 second by default: the bound of the pause after the first failure. It
    /// doubles with each further one.
    pub first: Duration,
    /// `retry.max`, 5 minutes by default: the bound that the pause grows up to.
    pub max: Duration,
    /// `None` = never.
    pub give_up_after: Option<Duration>,
}

/// `[delivered]`: what becomes of a file that was accepted.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// `delivered.action`, "move" by default.
    pub action: Action,
    /// `delivered.dir`: where "move" puts files, as an absolute path. `done` in the state folder by
    /// default.
    pub dir: PathBuf,
    /// `delivered.keep_answer`, false by default: with "move", what the endpoint answered is written
    /// beside the file.
    pub keep_answer: bool,
    /// `delivered.keep_for`: how long `dir` keeps what dirpost has put there, with "move". `None` by
    /// default: for ever.
    pub keep_for: Option<Duration>,
    /// `delivered.remove_emptied`, false by default: folders that dirpost has emptied are removed.
    pub remove_emptied: bool,
    /// `delivered.remember`, 30 days by default: how long a delivered file that is missing stays
    /// known with "keep", so that it is not sent again when it reappears.
    pub remember: Duration,
}

/// What is done with a file once the endpoint has accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// "move": it goes to `delivered.dir`.
    Move,
    /// "delete": it is removed.
    Delete,
    /// "keep": it stays where it is, and the journal knows that it was sent.
    Keep,
}

/// `[dead_letter]`: where files go that cannot be sent.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// `dead_letter.dir`, as an absolute path. `dead-letter` in the state folder by default.
    pub dir: PathBuf,
}

/// `[state]`: journal, lock, status.
#[derive(Clone, Debug)]
pub struct State {
    /// `state.dir`, as an absolute path. By default `.dirpost` in the watched folder, or with
    /// `watch.shard` a folder for each shard in it. It is never scanned.
    pub dir: PathBuf,
}

/// `[report]`.
#[derive(Clone, Debug)]
pub struct Report {
    /// `report.metrics_file`: the file that metrics are written to in the Prometheus text format.
    /// `None` by default: none are written.
    pub metrics_file: Option<PathBuf>,
    /// `report.listen`: where the status and the metrics are served over HTTP, for reading. `None` by
    /// default: nowhere.
    pub listen: Option<Listen>,
}

/// `report.listen`: an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`. A port of 0 is one that the system chooses; the log says which.
    Tcp {
        /// An IP address, or a name; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path`: a socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Listen::Tcp { host, port } => write!(f, "{host}:{port}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `None` = info; for `once` away from a terminal warn.
    pub level: Option<log::LevelFilter>,
}
