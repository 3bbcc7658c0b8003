//! The file, key by key: values with their lines, and everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Env, suggest, units};

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(super) fn unreadable(path: &Path, err: &std::io::Error) -> Error {
        Error(format!("{}: the configuration cannot be read: {err}", path.display()))
    }

    pub(super) fn plain(why: &str) -> Error {
        Error(why.to_string())
    }
}

/// All keys. Below `send.headers.` any name may stand.
pub const KEYS: [&str; 63] = [
    "watch.dir",
    "watch.interval",
    "watch.max_share",
    "watch.max_depth",
    "watch.include",
    "watch.exclude",
    "watch.ignore_temporary",
    "watch.require_mount",
    "watch.threads",
    "watch.rewrites",
    "watch.shard",
    "ready.settle",
    "ready.marker",
    "ready.empty",
    "check.min_size",
    "check.max_size",
    "check.format",
    "check.command",
    "check.command_timeout",
    "check.grace",
    "send.url",
    "send.method",
    "send.body",
    "send.field",
    "send.content_type",
    "send.headers",
    "send.workers",
    "send.connect_timeout",
    "send.stall_timeout",
    "send.response_timeout",
    "send.digest",
    "send.compress",
    "send.accept",
    "send.reject",
    "send.brake",
    "send.key_scope",
    "send.accept_content_type",
    "send.accept_body",
    "send.in_order",
    "send.max_rate",
    "send.auth",
    "send.auth.bearer_file",
    "send.auth.user",
    "send.auth.password_file",
    "send.auth.header",
    "send.auth.value_file",
    "send.tls",
    "send.tls.ca",
    "send.tls.client_cert",
    "send.tls.client_key",
    "send.tls.roots",
    "send.proxy",
    "retry.first",
    "retry.max",
    "retry.give_up_after",
    "delivered.action",
    "delivered.dir",
    "delivered.keep_for",
    "delivered.remember",
    "dead_letter.dir",
    "state.dir",
    "report.metrics_file",
    "log.level",
];

const HEADERS: &str = "send.headers.";

/// A key's value, and its line (from 1).
#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    value: Value,
}

/// A TOML value without its spans.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Value>),
    Other(&'static str),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::List(_) => "a list",
            Value::Other(kind) => kind,
        }
    }
}

/// The keys of a file, and what is wrong with them.
pub struct Reader<'a> {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    problems: Vec<(usize, String)>,
    env: &'a Env<'a>,
}

impl<'a> Reader<'a> {
    /// Parses the text; what is no TOML is an error at once.
    pub fn new(text: &str, path: &Path, env: &'a Env<'a>) -> Result<Reader<'a>, Error> {
        let table = DeTable::parse(text).map_err(|err| {
            let line = err.span().map_or(1, |span| line_of(text, span.start));
            Error(format!("{}, line {line}: {}", path.display(), err.message().replace('\n', ", ")))
        })?;
        let mut reader = Reader { path: path.to_path_buf(), entries: BTreeMap::new(), problems: Vec::new(), env };
        reader.flatten(text, "", table.get_ref());
        reader.find_unknown();
        Ok(reader)
    }

    fn flatten(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let line = line_of(text, name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.flatten(text, &format!("{key}."), inner),
                _ => {
                    let value = self.plain(&key, line, value);
                    self.entries.insert(key, Entry { line, value });
                }
            }
        }
    }

    fn plain(&mut self, key: &str, line: usize, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(self.fill_in(key, line, text)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("an integer beyond 64 bits"), Value::Integer),
            DeValue::Float(number) => number.as_str().parse().map_or(Value::Other("no number"), Value::Float),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Array(list) => Value::List(list.iter().map(|item| self.plain(key, line, item)).collect()),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Table(_) => Value::Other("a table"),
        }
    }

    /// Fills in `${NAME}`; `$${` stands for `${`.
    fn fill_in(&mut self, key: &str, line: usize, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                filled += &rest[..at];
                filled.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            filled += &rest[..at];
            let Some(end) = rest[at..].find('}') else {
                self.problem(line, key, "`${` is not closed by `}` (write `$${` for a plain `${`)");
                return filled + &rest[at..];
            };
            let name = &rest[at + 2..at + end];
            match (self.env)(name) {
                Some(value) => filled += &value,
                None => self.problem(line, key, &format!("the environment variable {name} is not set")),
            }
            rest = &rest[at + end + 1..];
        }
        filled + rest
    }

    fn find_unknown(&mut self) {
        let mut problems = Vec::new();
        for (key, entry) in &self.entries {
            let is_table =
                KEYS.iter().any(|known| known.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.')));
            let known = KEYS.contains(&key.as_str()) || key.starts_with(HEADERS);
            // An empty table says nothing, and does no harm.
            if matches!(entry.value, Value::Other("a table")) && (is_table || key == "send.headers") {
                continue;
            }
            if is_table {
                problems.push((entry.line, format!("`{key}` is a table: write its keys below [{key}]")));
            } else if !known {
                let hint =
                    suggest::nearest(key, KEYS).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                problems.push((entry.line, format!("unknown key `{key}`{hint}")));
            }
        }
        self.problems.extend(problems);
    }

    /// Notes that something is wrong with `key`.
    pub fn problem(&mut self, line: usize, key: &str, what: &str) {
        self.problems.push((line, format!("`{key}`: {what}")));
    }

    /// The same, with the line looked up.
    pub fn wrong(&mut self, key: &str, what: &str) {
        let line = self.entries.get(key).map_or(0, |entry| entry.line);
        self.problem(line, key, what);
    }

    pub fn is_set(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Everything that is wrong, if anything is.
    pub fn end(&mut self) -> Result<(), Error> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort();
        let lines = self.problems.iter().map(|(line, what)| match line {
            0 => format!("{}: {what}", self.path.display()),
            line => format!("{}, line {line}: {what}", self.path.display()),
        });
        Err(Error(lines.collect::<Vec<_>>().join("\n")))
    }

    fn mismatch(&mut self, key: &str, found: &Value, wanted: &str) {
        self.wrong(key, &format!("it is {}, and should be {wanted}", found.kind()));
    }

    /// A string.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.entries.get(key)?.value.clone() {
            Value::Text(text) => Some(text),
            other => {
                self.mismatch(key, &other, "a string in quotes");
                None
            }
        }
    }

    /// A string that must be there.
    pub fn required(&mut self, key: &str, example: &str) -> String {
        if !self.is_set(key) {
            let (table, name) = key.split_once('.').unwrap_or(("", key));
            self.problem(0, key, &format!("it is required: write `{name} = \"{example}\"` below [{table}]"));
        }
        self.text(key).unwrap_or_default()
    }

    pub fn bool(&mut self, key: &str, default: bool) -> bool {
        match self.entries.get(key).map(|entry| entry.value.clone()) {
            None => default,
            Some(Value::Bool(value)) => value,
            Some(other) => {
                self.mismatch(key, &other, "true or false");
                default
            }
        }
    }

    /// An integer from `low` to `high`.
    pub fn integer(&mut self, key: &str, low: i64, high: i64) -> Option<i64> {
        match self.entries.get(key)?.value.clone() {
            Value::Integer(value) if (low..=high).contains(&value) => Some(value),
            Value::Integer(value) => {
                let range = if high == i64::MAX { format!("at least {low}") } else { format!("from {low} to {high}") };
                self.wrong(key, &format!("{value} is out of range: {range}"));
                None
            }
            other => {
                self.mismatch(key, &other, "an integer");
                None
            }
        }
    }

    pub fn float(&mut self, key: &str) -> Option<f64> {
        match self.entries.get(key)?.value.clone() {
            Value::Float(value) => Some(value),
            Value::Integer(value) => Some(value as f64),
            other => {
                self.mismatch(key, &other, "a number");
                None
            }
        }
    }

    /// A duration as humantime writes it.
    pub fn duration(&mut self, key: &str, may_be_zero: bool) -> Option<Duration> {
        let value = self.entries.get(key)?.value.clone();
        let Value::Text(text) = value else {
            self.mismatch(key, &value, "a duration in quotes, as \"30s\", \"5m\" or \"1h 30m\"");
            return None;
        };
        match humantime::parse_duration(&text) {
            Ok(time) if may_be_zero || !time.is_zero() => Some(time),
            Ok(_) => {
                self.wrong(key, "it must be more than 0");
                None
            }
            Err(err) => {
                self.wrong(key, &format!("`{text}` is no duration ({err}): write it as \"30s\", \"5m\" or \"1h 30m\""));
                None
            }
        }
    }

    /// A size in bytes.
    pub fn size(&mut self, key: &str) -> Option<u64> {
        match self.entries.get(key)?.value.clone() {
            Value::Integer(value) if value >= 0 => Some(value as u64),
            Value::Text(text) => {
                let size = units::size(&text);
                if size.is_none() {
                    self.wrong(
                        key,
                        &format!("`{text}` is no size: write it as \"10 MiB\", \"1.5 GB\" or an integer of bytes"),
                    );
                }
                size
            }
            other => {
                self.mismatch(key, &other, "a size as \"10 MiB\" or an integer of bytes");
                None
            }
        }
    }

    /// A list of strings.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.entries.get(key)?.value.clone();
        let texts = match &value {
            Value::List(items) => {
                items.iter().map(|item| if let Value::Text(text) = item { Some(text.clone()) } else { None }).collect()
            }
            _ => None,
        };
        if texts.is_none() {
            self.mismatch(key, &value, "a list of strings, as [\"a\", \"b\"]");
        }
        texts
    }

    /// A list of statuses and ranges.
    pub fn statuses(&mut self, key: &str) -> Option<Vec<(u16, u16)>> {
        let value = self.entries.get(key)?.value.clone();
        let Value::List(items) = &value else {
            self.mismatch(key, &value, "a list of statuses, as [200, \"202-204\"]");
            return None;
        };
        let mut all = Vec::new();
        for item in items {
            let range = match item {
                Value::Integer(status) => u16::try_from(*status).ok().map(|status| (status, status)),
                Value::Text(text) => units::statuses(text),
                _ => None,
            };
            match range {
                Some((low, high)) if (200..300).contains(&low) && high < 300 || low >= 400 && high <= 599 => {
                    all.push((low, high))
                }
                Some(_) => {
                    self.wrong(key, "statuses are 200-299 and 400-599: 1xx is no answer, and 3xx closes the gate, as redirects are never followed");
                }
                None => self.wrong(key, "each is a status or a range in quotes, as [200, \"202-204\"]"),
            }
        }
        Some(all)
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &str, all: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, value)) = all.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names = || all.iter().map(|(name, _)| *name);
        let near = suggest::nearest(&text, names()).map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
        let list = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        self.wrong(key, &format!("`{text}` is none of its values: {near}There are {list}"));
        default
    }

    /// A path; relative ones are relative to `base`.
    pub fn path(&mut self, key: &str, base: &Path) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() {
            self.wrong(key, "it is empty");
            return None;
        }
        if text.starts_with('~') {
            self.wrong(key, "`~` is not expanded: write the whole path, or ${HOME}");
            return None;
        }
        Some(normal(&base.join(text)))
    }

    /// The entries below `send.headers`, in the order of their lines.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut all: Vec<(usize, String)> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.line, key.strip_prefix(HEADERS)?.to_string())))
            .collect();
        all.sort();
        all.into_iter().map(|(_, name)| (format!("{HEADERS}{name}"), name)).collect()
    }
}

/// Without `.` and `..`, by the text alone: a folder that is a link keeps its name.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}
