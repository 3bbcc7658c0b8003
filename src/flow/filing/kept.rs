//! A line of a segment: what dirpost has put into `done` ([`super::keeping`]).

use serde::{Deserialize, Serialize};

use super::{Area, Place};
use crate::flow::file::Stamp;
use crate::flow::time::Wall;

/// A name that dirpost has put into `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When.
    pub at: Wall,
    /// The name.
    pub place: Place,
    /// What it showed there.
    pub stamp: Stamp,
}

/// A line of a segment.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// When it was filed, RFC 3339, for people.
    #[serde(default, skip_deserializing)]
    filed: String,
    /// The same moment (ns since 1970).
    at: i64,
    place: Place,
    size: u64,
    mtime: i64,
}

impl Kept {
    /// As it stands in a segment, with the end of the line.
    pub fn line(&self) -> String {
        let line = Line {
            filed: self.at.rfc3339_millis(),
            at: self.at.0,
            place: self.place.clone(),
            size: self.stamp.size,
            mtime: self.stamp.mtime.0,
        };
        let mut text = serde_json::to_string(&line).expect("plain data becomes JSON");
        text.push('\n');
        text
    }

    /// Reads a line back. `None` for one that is torn, or that is not about `done`.
    pub fn read(line: &[u8]) -> Option<Kept> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let kept = Kept {
            at: Wall(line.at),
            stamp: Stamp {
                size: line.size,
                mtime: Wall(line.mtime),
            },
            place: line.place,
        };
        (kept.place.area == Area::Done).then_some(kept)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::flow::file::Rel;

    /// A file in `done`, filed at a moment of 2023.
    pub fn kept(path: &[u8]) -> Kept {
        Kept {
            at: Wall(1_700_000_000_000_000_000),
            place: Place::new(Area::Done, Rel::new(path)),
            stamp: Stamp {
                size: 3,
                mtime: Wall(-5),
            },
        }
    }

    #[test]
    fn a_line_is_read_back_and_nothing_else_is_taken_for_one() {
        for path in [&b"a.csv"[..], b"d/odd\n\xff%2F.csv"] {
            let line = kept(path).line();
            assert!(
                line.contains("\"filed\":\"2023-11-14T22:13:20.000Z\""),
                "{line}"
            );
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Kept::read(line.trim_end().as_bytes()), Some(kept(path)));
            assert_eq!(Kept::read(&line.as_bytes()[..line.len() - 3]), None);
        }
        for place in [
            "watched/a",
            "staging/a",
            "dead-letter/a",
            "done/../a",
            "done//a",
        ] {
            let line = kept(b"a").line().replace("done/a", place);
            assert_eq!(Kept::read(line.as_bytes()), None, "{line}");
        }
    }
}
