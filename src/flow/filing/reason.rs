//! Reason files: why a file is in the dead-letter folder. `x.csv` has `x.csv.reason.json` beside
//! it, written before the file itself is moved there.

use serde::{Deserialize, Serialize};

use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Rel, Stamp};
use crate::flow::time::Wall;

/// A reason file is called after its file, with this behind the name.
pub const REASON: &[u8] = b".reason.json";

/// Why a version was condemned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A sentence.
    pub reason: String,
    /// The HTTP status, if the endpoint condemned it.
    pub status: Option<u16>,
    /// The start of the answer.
    pub body: Vec<u8>,
    /// Attempts to deliver it.
    pub attempts: u32,
    /// When this version was first seen.
    pub first_seen: Wall,
    /// When it was condemned.
    pub dead_at: Wall,
    /// The `Idempotency-Key` that it was sent under, or would have been.
    pub key: String,
}

#[cfg(test)]
impl Reason {
    /// For tests to which it is all one why a file was condemned.
    pub(crate) fn any() -> Reason {
        Reason {
            reason: "bad".into(),
            status: None,
            body: Vec::new(),
            attempts: 1,
            first_seen: Wall(1),
            dead_at: Wall(1),
            key: "k".into(),
        }
    }
}

/// A version in the dead-letter folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it lay in the watched folder.
    pub path: Rel,
    /// Its version.
    pub stamp: Stamp,
    /// Why it is there.
    pub reason: Reason,
}

/// The reason file as it is on the disk. Times are RFC 3339; the path is escaped.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReasonFile {
    /// Where the file lay in the watched folder.
    pub path: String,
    /// A sentence.
    pub reason: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: Option<u16>,
    /// The start of the answer.
    #[serde(default)]
    pub body: String,
    /// Attempts to deliver it.
    #[serde(default)]
    pub attempts: u32,
    /// When this version was first seen.
    #[serde(default)]
    pub first_seen: String,
    /// When it was condemned.
    #[serde(default)]
    pub dead_at: String,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// When it was last modified.
    #[serde(default)]
    pub mtime: String,
    /// The `Idempotency-Key`.
    #[serde(default)]
    pub key: String,
}

impl DeadLetter {
    /// The content of the reason file.
    pub fn text(&self) -> Vec<u8> {
        let DeadLetter {
            path,
            stamp,
            reason,
        } = self;
        let file = ReasonFile {
            path: escape(path.as_bytes()).into_owned(),
            reason: reason.reason.clone(),
            status: reason.status,
            body: String::from_utf8_lossy(&reason.body).into_owned(),
            attempts: reason.attempts,
            first_seen: reason.first_seen.rfc3339_millis(),
            dead_at: reason.dead_at.rfc3339_millis(),
            size: stamp.size,
            mtime: stamp.mtime.rfc3339_millis(),
            key: reason.key.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&file).expect("plain data becomes JSON");
        text.push(b'\n');
        text
    }
}

impl ReasonFile {
    /// Reads a reason file. What it says is data of whoever may write to the folder.
    ///
    /// # Errors
    /// It is no reason file.
    pub fn read(text: &[u8]) -> Result<ReasonFile, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Where the file lay, as bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        unescape(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_file_is_read_back() {
        let letter = DeadLetter {
            path: Rel::new(b"d/odd\n\xff.csv"),
            stamp: Stamp {
                size: 3,
                mtime: Wall(1_700_000_000_123_000_000),
            },
            reason: Reason {
                reason: "it is not JSON".into(),
                status: Some(422),
                body: b"no \xff".to_vec(),
                attempts: 2,
                first_seen: Wall(1),
                dead_at: Wall(2),
                key: "k".into(),
            },
        };
        let read = ReasonFile::read(&letter.text()).unwrap();
        assert_eq!(read.path_bytes(), letter.path.as_bytes());
        assert_eq!((read.status, read.size, read.attempts), (Some(422), 3, 2));
        assert_eq!(read.mtime, "2023-11-14T22:13:20.123Z");
    }
}
