//! One line: what it says of one version of a file, and how that is written and read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::VERSION;
use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Rel, Stamp, is_plain};
use crate::flow::filing::{Acceptance, Move, Place, Reason};
use crate::flow::time::Wall;

/// Most lines have no more bytes.
pub const LINE: usize = 192;

/// What is to be written down: something that has happened to one version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the watched folder.
    pub path: Rel,
    /// The version.
    pub stamp: Stamp,
    /// What has happened to it.
    pub event: Event,
}

impl Entry {
    /// As a line of the journal that is written at `at`, with its newline.
    pub fn line(&self, at: Wall) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE);
        self.write(&at.rfc3339_millis(), &mut line);
        line
    }

    /// Writes it to the end of `to`, as a line with its newline. `at` is the time in the form of
    /// [`Wall::rfc3339_millis`]: one text for all lines that are written at once.
    pub fn write(&self, at: &str, to: &mut Vec<u8>) {
        serde_json::to_writer(&mut *to, &Record::of(self, at)).expect("plain data becomes JSON");
        to.push(b'\n');
    }
}

impl Entry {
    /// Reads a line if it is about one of `paths`: when it was written, as it says it, and what it says.
    pub fn read(line: &[u8], paths: &BTreeSet<Rel>) -> Option<(String, Entry)> {
        let line = Record::read(line)?;
        let path = Rel::new(&line.path);
        paths.contains(&path).then(|| {
            let at = line.at.0.into_owned();
            let (stamp, event) = (line.stamp, line.event);
            (at, Entry { path, stamp, event })
        })
    }
}

impl Entry {
    /// What a line is about; `None` for one that cannot be read.
    pub fn path_of(line: &[u8]) -> Option<Rel> {
        Record::read(line).map(|line| Rel::new(&line.path))
    }
}

impl From<(Rel, Stamp, Event)> for Entry {
    fn from((path, stamp, event): (Rel, Stamp, Event)) -> Entry {
        Entry { path, stamp, event }
    }
}

/// What happened to the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The endpoint has all of it. `keep`: it stays where it is, and this is the last word.
    Accepted {
        /// The idempotency key that it was sent with.
        key: String,
        /// The HTTP status of the answer.
        status: u16,
        /// Size and mtime (ns) of the marker that vouched for it, to be filed with it. `None` if
        /// there was no marker.
        marker: Option<(u64, i64)>,
        /// Whether it stays where it is: then no [`Event::Filed`] follows.
        keep: bool,
    },
    /// It is to go to dead-letter.
    Condemned {
        /// The idempotency key that it was sent with, or would have been.
        key: String,
        /// Why it is not sent, as one sentence for the reason file.
        reason: String,
        /// The HTTP status that rejected it; `None` if the endpoint did not.
        status: Option<u16>,
        /// Escaped.
        body: String,
        /// How many attempts to deliver it were made.
        attempts: u32,
        /// When this version was first seen (ns since the epoch).
        first_seen: i64,
        /// When it was condemned (ns since the epoch).
        dead_at: i64,
        /// Size and mtime (ns) of the marker that vouched for it, to be filed with it. `None` if
        /// there was no marker.
        marker: Option<(u64, i64)>,
    },
    /// It was there when a user said that all that is there counts as delivered, and stays.
    Skipped {
        /// Size and mtime (ns) of the marker beside it. `None` if there was none.
        marker: Option<(u64, i64)>,
    },
    /// It is about to be renamed to `to`, which was free; or, with `from`, copied there
    /// from where it lies now, which is on another file system.
    Moving {
        /// Where it goes.
        to: Place,
        /// What is copied, where the file cannot be renamed to `to`. `None` if it is renamed.
        from: Option<Place>,
    },
    /// It has been moved, deleted or put back for good.
    Filed,
    /// Dead-letter has a copy: it cannot be moved away, and stays where it is.
    Copied,
    /// It was delivered or copied, stays where it was, and is not there: since then (ns).
    Missing {
        /// When it was first missed (ns since the epoch).
        since: i64,
    },
    /// It is there again.
    Back,
    /// It has been missing for `delivered.remember`: as if it had never been seen.
    Forgotten,
}

impl Event {
    /// The endpoint has all of it. `keep`: it stays where it is, and this is the last word.
    pub fn accepted(acceptance: &Acceptance, marker: Option<Stamp>, keep: bool) -> Event {
        Event::Accepted {
            key: acceptance.key.clone(),
            status: acceptance.status,
            marker: marker.map(|stamp| (stamp.size, stamp.mtime.0)),
            keep,
        }
    }

    /// It is about to be moved.
    pub fn moving(moving: &Move) -> Event {
        Event::Moving {
            to: moving.to.clone(),
            from: moving.copy_of.clone(),
        }
    }

    /// It is to go to dead-letter.
    pub fn condemned(reason: &Reason, marker: Option<Stamp>) -> Event {
        Event::Condemned {
            key: reason.key.clone(),
            reason: reason.reason.clone(),
            status: reason.status,
            body: escape(&reason.body).into_owned(),
            attempts: reason.attempts,
            first_seen: reason.first_seen.0,
            dead_at: reason.dead_at.0,
            marker: marker.map(|stamp| (stamp.size, stamp.mtime.0)),
        }
    }

    /// Whether this stays true for as long as the file stays: a share with `keep` has such a line
    /// for each of its files, and every other line is outdated by a later one before long.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Event::Accepted { keep: true, .. } | Event::Skipped { .. }
        )
    }
}

/// A string of a line, which is only copied out of it where JSON had to escape something.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    fn of(text: impl Into<Cow<'a, str>>) -> Text<'a> {
        Text(text.into())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text::of(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Any)
    }
}

/// The fields of all kinds of lines, in the order in which they are written. One flat object that is
/// read in one go: a journal of a million kept files is read at each start.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The version of the format: 1. A line of another version is not understood. Left out where
    /// `kept` is written instead of `event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<u32>,
    /// When it was written, for people: RFC 3339.
    #[serde(borrow)]
    at: Text<'a>,
    /// Escaped.
    #[serde(borrow)]
    path: Text<'a>,
    size: u64,
    /// Nanoseconds since the epoch.
    mtime: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Kind>,
    /// The status of an acceptance of what stays: as `event` = `accepted` with `status` and `keep`,
    /// which is how it was written before, in 37 bytes less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<u16>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Text<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    body: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_seen: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marker: Option<(u64, i64)>,
    /// Only in lines of former versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keep: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Cow<'a, Place>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Cow<'a, Place>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Accepted,
    Condemned,
    Moving,
    Filed,
    Copied,
    Missing,
    Back,
    Forgotten,
    Skipped,
}

/// What a line says.
#[derive(Debug)]
pub(super) struct Line<'a> {
    at: Text<'a>,
    /// A plain path relative to the watched folder.
    pub path: Cow<'a, [u8]>,
    pub stamp: Stamp,
    pub event: Event,
}

impl Line<'_> {
    /// When it was written, for an acceptance that is still to be filed and a condemnation; `None`
    /// for all others, and if it does not tell.
    pub fn at_if_live(&self) -> Option<Wall> {
        match self.event {
            Event::Accepted { keep: false, .. } | Event::Condemned { .. } => {
                parse_rfc3339(&self.at.0)
            }
            _ => None,
        }
    }
}

impl<'a> Record<'a> {
    /// The line of `event`, with its newline.
    #[cfg(test)]
    pub(crate) fn line(path: &Rel, stamp: Stamp, at: Wall, event: Event) -> Vec<u8> {
        Entry::from((path.clone(), stamp, event)).line(at)
    }

    fn of(entry: &'a Entry, at: &'a str) -> Record<'a> {
        let mut record = Record {
            v: Some(VERSION),
            at: Text::of(at),
            path: Text::of(escape(entry.path.as_bytes())),
            size: entry.stamp.size,
            mtime: entry.stamp.mtime.0,
            event: None,
            kept: None,
            key: None,
            reason: None,
            status: None,
            body: None,
            attempts: None,
            first_seen: None,
            dead_at: None,
            marker: None,
            keep: false,
            to: None,
            from: None,
            since: None,
        };
        record.set(&entry.event);
        record
    }

    fn set(&mut self, event: &'a Event) {
        let mut kind = None;
        match event {
            Event::Accepted {
                key,
                status,
                marker,
                keep,
            } => {
                (self.key, self.marker) = (Some(Text::of(key)), *marker);
                if *keep {
                    (self.v, self.kept) = (None, Some(*status));
                } else {
                    (kind, self.status) = (Some(Kind::Accepted), Some(*status));
                }
            }
            Event::Condemned {
                key,
                reason,
                status,
                body,
                attempts,
                first_seen,
                dead_at,
                marker,
            } => {
                kind = Some(Kind::Condemned);
                (self.key, self.reason) = (Some(Text::of(key)), Some(Text::of(reason)));
                (self.status, self.marker) = (*status, *marker);
                self.body = Some(body).filter(|body| !body.is_empty()).map(Text::of);
                self.attempts = Some(*attempts);
                (self.first_seen, self.dead_at) = (Some(*first_seen), Some(*dead_at));
            }
            Event::Moving { to, from } => {
                kind = Some(Kind::Moving);
                self.to = Some(Cow::Borrowed(to));
                self.from = from.as_ref().map(Cow::Borrowed);
            }
            Event::Missing { since } => {
                (kind, self.since) = (Some(Kind::Missing), Some(*since));
            }
            Event::Filed => kind = Some(Kind::Filed),
            Event::Copied => kind = Some(Kind::Copied),
            Event::Back => kind = Some(Kind::Back),
            Event::Forgotten => kind = Some(Kind::Forgotten),
            Event::Skipped { marker } => {
                (kind, self.marker) = (Some(Kind::Skipped), *marker);
            }
        }
        self.event = kind;
    }
}

impl<'a> Record<'a> {
    /// What the line says, without its newline; `None` if it cannot be read, or names what is no
    /// plain path.
    pub(super) fn read(line: &'a [u8]) -> Option<Line<'a>> {
        let mut record = serde_json::from_slice::<Record<'a>>(line).ok()?;
        let event = record.event()?;
        let path: Cow<'a, [u8]> = match record.path.0 {
            Cow::Borrowed(path) => percent_encoding::percent_decode_str(path).into(),
            Cow::Owned(path) => Cow::Owned(unescape(&path)),
        };
        is_plain(&path).then_some(Line {
            at: record.at,
            path,
            stamp: Stamp {
                size: record.size,
                mtime: Wall(record.mtime),
            },
            event,
        })
    }

    fn event(&mut self) -> Option<Event> {
        let key = self.key.take().map(|key| key.0.into_owned());
        let kind = match (self.v, self.kept, self.event) {
            (None, Some(status), None) => {
                return Some(Event::Accepted {
                    key: key?,
                    status,
                    marker: self.marker,
                    keep: true,
                });
            }
            (Some(VERSION), None, Some(kind)) => kind,
            _ => return None,
        };
        Some(match kind {
            Kind::Accepted => Event::Accepted {
                key: key?,
                status: self.status?,
                marker: self.marker,
                keep: self.keep,
            },
            Kind::Condemned => Event::Condemned {
                key: key?,
                reason: self.reason.take()?.0.into_owned(),
                status: self.status,
                body: (self.body.take()).map_or(String::new(), |body| body.0.into_owned()),
                attempts: self.attempts?,
                first_seen: self.first_seen?,
                dead_at: self.dead_at?,
                marker: self.marker,
            },
            Kind::Moving => Event::Moving {
                to: self.to.take()?.into_owned(),
                from: self.from.take().map(Cow::into_owned),
            },
            Kind::Missing => Event::Missing { since: self.since? },
            Kind::Filed => Event::Filed,
            Kind::Copied => Event::Copied,
            Kind::Back => Event::Back,
            Kind::Forgotten => Event::Forgotten,
            Kind::Skipped => Event::Skipped {
                marker: self.marker,
            },
        })
    }
}

/// The reverse of [`Wall::rfc3339_millis`]; `None` if that is no such time.
pub fn parse_rfc3339(text: &str) -> Option<Wall> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .ok()?;
    i64::try_from(since.as_nanos()).ok().map(Wall)
}
