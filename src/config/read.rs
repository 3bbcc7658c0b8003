//! A typed reader over the TOML tree, which keeps the place of every value.
//!
//! It records every key that was asked for. So the keys that nobody asked for
//! are the unknown ones, and the others are what they may have been meant to be.

use super::error::{Error, Problem};
use super::{Argv, Listen, env, suggest, units, values};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all tables of one file have in common.
pub struct Source<'a> {
    pub(super) text: &'a str,
    /// Relative paths begin here.
    base: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<Problem>>,
    /// Every dotted key that was asked for, also one that is not in the file.
    pub(super) known: RefCell<BTreeSet<String>>,
    /// The tables among them.
    pub(super) tables: RefCell<BTreeSet<String>>,
    /// Where the keys of the file are.
    lines: RefCell<BTreeMap<String, usize>>,
}

/// A table of the file, or the lack of one: then no key of it is set.
pub struct Section<'a> {
    source: &'a Source<'a>,
    /// `send.tls`; empty for the root.
    name: String,
    map: Option<&'a DeTable<'a>>,
}

/// A value and its place.
pub struct Item<'a> {
    source: &'a Source<'a>,
    key: String,
    line: usize,
    value: &'a DeValue<'a>,
}

/// Parses the text; the error has the line, and no text of the file, which may hold a secret.
pub fn tree<'a>(text: &'a str, path: &Path) -> Result<Spanned<DeTable<'a>>, Error> {
    DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        let mut message = error.message().replace('\n', ", ");
        if message == "duplicate key"
            && let Some(hint) = line.and_then(|line| super::duplicate::hint(text, line))
        {
            message += &format!(": {hint}");
        }
        Error::whole(Some(path), line, format!("not valid TOML: {message}"))
    })
}

/// The line, from 1, of an offset.
pub fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|&&b| b == b'\n').count()
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str, base: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Source {
            text,
            base,
            env,
            problems: RefCell::default(),
            known: RefCell::default(),
            tables: RefCell::default(),
            lines: RefCell::default(),
        }
    }

    pub fn root(&'a self, map: &'a DeTable<'a>) -> Section<'a> {
        Section {
            source: self,
            name: String::new(),
            map: Some(map),
        }
    }

    /// Records a problem with a key that is in the file or could be.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        let line = self.lines.borrow().get(key).copied();
        self.push(Problem {
            line,
            key: key.to_owned(),
            text: text.into(),
        });
    }

    pub fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Whether the file sets the key.
    pub fn is_set(&self, key: &str) -> bool {
        self.lines.borrow().contains_key(key)
    }

    /// Everything that was found so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.take()
    }

    #[cfg(test)]
    /// Every dotted key that was asked for; tables are not among them.
    pub fn known(&self) -> Vec<String> {
        self.known.borrow().iter().cloned().collect()
    }
}

/// `table.name`, or the name alone in the root.
pub fn dotted(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

impl<'a> Section<'a> {
    /// The table of that name in this one.
    pub fn table(&self, name: &str) -> Section<'a> {
        let key = dotted(&self.name, name);
        self.source.tables.borrow_mut().insert(key.clone());
        let item = self.find(name);
        let map = item.and_then(|item| match item.value {
            DeValue::Table(map) => Some(map),
            DeValue::Array(_) => {
                item.report(format!(
                    "must be one table; write [{key}] instead of [[{key}]]"
                ));
                None
            }
            _ => {
                item.report(format!(
                    "must be a table; write [{key}] and its keys below it"
                ));
                None
            }
        });
        Section {
            source: self.source,
            name: key,
            map,
        }
    }

    fn find(&self, name: &str) -> Option<Item<'a>> {
        let (found, value) = self.map?.get_key_value(name)?;
        let key = dotted(&self.name, name);
        let line = line_of(self.source.text, found.span().start);
        self.source.lines.borrow_mut().insert(key.clone(), line);
        Some(Item {
            source: self.source,
            key,
            line,
            value: value.get_ref(),
        })
    }

    /// The value of a key as `read` understands it. `None` when it is not
    /// set, or when it is wrong, which is recorded.
    pub fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Problem>,
    ) -> Option<T> {
        self.source
            .known
            .borrow_mut()
            .insert(dotted(&self.name, name));
        match read(&self.find(name)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.source.push(problem);
                None
            }
        }
    }

    /// The same with a default.
    pub fn or<T>(
        &self,
        name: &str,
        default: T,
        read: impl FnOnce(&Item<'a>) -> Result<T, Problem>,
    ) -> T {
        self.get(name, read).unwrap_or(default)
    }

    pub fn duration(&self, name: &str, default: Duration) -> Duration {
        self.or(name, default, |item| item.duration(false))
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.or(name, default, Item::flag)
    }
}

impl<'a> Item<'a> {
    pub fn wrong(&self, text: impl Into<String>) -> Problem {
        Problem {
            line: Some(self.line),
            key: self.key.clone(),
            text: text.into(),
        }
    }

    /// `text`, which stands here, if `check` finds nothing wrong with it.
    ///
    /// # Errors
    /// What `check` finds, with the place of this item.
    pub fn checked(
        &self,
        text: String,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, Problem> {
        check(&text).map_err(|what| self.wrong(what))?;
        Ok(text)
    }

    fn report(&self, text: impl Into<String>) {
        self.source.push(self.wrong(text));
    }

    fn mismatch(&self, want: &str) -> Problem {
        let is = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("is {is}; write {want}"))
    }

    /// A string with the environment filled in, or `None` for another type.
    pub fn maybe_text(&self) -> Result<Option<String>, Problem> {
        let DeValue::String(text) = self.value else {
            return Ok(None);
        };
        env::expand(text, self.source.env)
            .map(Some)
            .map_err(|text| self.wrong(text))
    }

    /// A string; `want` is what to write when it is something else.
    pub fn text(&self, want: &str) -> Result<String, Problem> {
        self.maybe_text()?.ok_or_else(|| self.mismatch(want))
    }

    /// A string that is not empty.
    pub fn word(&self, want: &str) -> Result<String, Problem> {
        let text = self.text(want)?;
        if text.trim().is_empty() {
            return Err(self.wrong(format!("is empty; write {want}, or leave the key out")));
        }
        Ok(text)
    }

    pub fn flag(&self) -> Result<bool, Problem> {
        self.value
            .as_bool()
            .ok_or_else(|| self.mismatch("true or false"))
    }

    fn maybe_integer(&self) -> Option<i64> {
        let number = self.value.as_integer()?;
        // Out of range for an i64 is out of every range here; saturate.
        let limit = if number.as_str().starts_with('-') {
            i64::MIN
        } else {
            i64::MAX
        };
        Some(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(limit))
    }

    pub fn integer<T: TryFrom<i64>>(&self, low: i64, high: i64) -> Result<T, Problem> {
        let want = format!("a number from {low} to {high}");
        let number = self.maybe_integer().ok_or_else(|| self.mismatch(&want))?;
        if (low..=high).contains(&number)
            && let Ok(number) = T::try_from(number)
        {
            return Ok(number);
        }
        let shown = if [i64::MIN, i64::MAX].contains(&number) {
            "is out of range".to_owned()
        } else {
            format!("{number} is out of range")
        };
        Err(self.wrong(format!("{shown}; write {want}")))
    }

    /// A part of a whole: over 0, up to 1.
    pub fn share(&self) -> Result<f64, Problem> {
        let want = "a number over 0 and up to 1, such as 0.25";
        let number = match self.value {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().replace('_', "").parse::<f64>().ok(),
            _ => return Err(self.mismatch(want)),
        };
        number
            .filter(|&number| number > 0.0 && number <= 1.0)
            .ok_or_else(|| self.wrong(format!("is out of range; write {want}")))
    }

    pub fn duration(&self, zero_allowed: bool) -> Result<Duration, Problem> {
        let text = self.text("a duration in quotes, such as \"5s\" or \"1h 30m\"")?;
        units::duration(&text, zero_allowed).map_err(|text| self.wrong(text))
    }

    /// A word that stands for no duration (`None`), or a duration.
    pub fn duration_or(&self, word: &str, zero_allowed: bool) -> Result<Option<Duration>, Problem> {
        let text = self.text(&format!(
            "\"{word}\" or a duration in quotes, such as \"5s\""
        ))?;
        if text == word {
            return Ok(None);
        }
        units::duration(&text, zero_allowed)
            .map(Some)
            .map_err(|text| self.wrong(format!("{text}, or \"{word}\"")))
    }

    /// Bytes, `low` at least.
    pub fn size(&self, low: u64) -> Result<u64, Problem> {
        let want = "a size such as \"10 MiB\" or a number of bytes";
        let bytes = if let Some(text) = self.maybe_text()? {
            units::size(&text).map_err(|text| self.wrong(text))?
        } else {
            let number = self.maybe_integer().ok_or_else(|| self.mismatch(want))?;
            u64::try_from(number)
                .map_err(|_| self.wrong(format!("must not be below 0; write {want}")))?
        };
        if bytes < low {
            return Err(self.wrong(format!("must be at least {low}; write {want}")));
        }
        Ok(bytes)
    }

    /// One of some words.
    pub fn choice<T: Clone>(&self, words: &[(&str, T)]) -> Result<T, Problem> {
        let all = |word: &str| suggest::allowed(word, words.iter().map(|(name, _)| *name));
        let word = self.text(&all(""))?;
        let found = words.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| self.wrong(format!("unknown value \"{word}\"; write {}", all(&word))))
    }

    /// The members of an array, each with its own line.
    pub fn members(&self, want: &str) -> Result<Vec<Item<'a>>, Problem> {
        let DeValue::Array(array) = self.value else {
            return Err(self.mismatch(want));
        };
        let member = |value: &'a Spanned<DeValue<'a>>| Item {
            source: self.source,
            key: self.key.clone(),
            line: line_of(self.source.text, value.span().start),
            value: value.get_ref(),
        };
        Ok(array.iter().map(member).collect())
    }

    /// A program and its arguments.
    pub fn argv(&self, want: &str) -> Result<Argv, Problem> {
        let members = self.members(want)?;
        let argv: Vec<String> = members
            .iter()
            .map(|member| member.text("a string"))
            .collect::<Result<_, _>>()?;
        if argv.first().is_none_or(|program| program.trim().is_empty()) {
            return Err(self.wrong(format!("names no program; write {want}")));
        }
        Ok(argv.into())
    }

    /// The entries of a table in the order of the file, each with its own line.
    pub fn entries(&self, want: &str) -> Result<Vec<(String, Item<'a>)>, Problem> {
        let DeValue::Table(map) = self.value else {
            return Err(self.mismatch(want));
        };
        let mut sorted: Vec<_> = map.iter().collect();
        sorted.sort_by_key(|(name, _)| name.span().start);
        let entries = sorted.into_iter().map(|(name, value)| {
            let line = line_of(self.source.text, name.span().start);
            let key = format!("{}.{}", self.key, name.get_ref());
            let item = Item {
                source: self.source,
                key,
                line,
                value: value.get_ref(),
            };
            (name.get_ref().to_string(), item)
        });
        Ok(entries.collect())
    }

    /// The path of a folder, made absolute.
    pub fn folder(&self) -> Result<PathBuf, Problem> {
        let path = self.path()?;
        values::folder(&path.to_string_lossy()).map_err(|text| self.wrong(text))?;
        Ok(path)
    }

    /// An address to listen at.
    pub fn listen(&self) -> Result<Listen, Problem> {
        let text = self.word("an address in quotes, such as \"127.0.0.1:9470\"")?;
        let Some(path) = text.strip_prefix("unix:") else {
            let (host, port) = values::address(&text).map_err(|text| self.wrong(text))?;
            return Ok(Listen::Tcp { host, port });
        };
        values::socket(path).map_err(|text| self.wrong(text))?;
        let path = absolute(Path::new(path), self.source.base).map_err(|text| self.wrong(text))?;
        Ok(Listen::Unix(path))
    }

    /// A path, made absolute.
    pub fn path(&self) -> Result<PathBuf, Problem> {
        let text = self.word("a path in quotes")?;
        absolute(Path::new(&text), self.source.base).map_err(|text| self.wrong(text))
    }
}

/// Makes a path absolute; what is relative begins at `base`.
pub fn absolute(path: &Path, base: &Path) -> Result<PathBuf, String> {
    let first = path
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy());
    if first.as_deref().is_some_and(|first| first.starts_with('~')) {
        return Err("`~` is not expanded here; write the whole path \
             (or \"${HOME}/…\" in the configuration file)"
            .to_owned());
    }
    // "$HOME/drop"; a "${HOME}" has been filled in by now.
    if let Some(first) = first.as_deref()
        && let Some(name) = first.strip_prefix('$')
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    {
        return Err(format!(
            "`${name}` is not expanded here; write \"${{{name}}}/…\""
        ));
    }
    std::path::absolute(base.join(path)).map_err(|error| format!("no usable path: {error}"))
}
