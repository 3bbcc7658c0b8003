//! Answer files (`delivered.keep_answer`): what the endpoint answered when it accepted a file, for a task
//! id, a `Location` or a receipt. `x.csv` in `done` has `x.csv.answer.json` beside it, written before the
//! file itself is moved there.
//!
//! The answer is in no journal. A kill between the acceptance and the move can lose it, or leave it at a
//! name to which its file does not go any more: it says itself which version it is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::flow::endpoint::reply::KeptAnswer;
use crate::flow::escape::escape;
use crate::flow::file::{Rel, Stamp};
use crate::flow::time::Wall;

/// An answer file is called after its file, with this behind the name.
pub const ANSWER: &[u8] = b".answer.json";

/// What is kept of an answer where very many wait for their files to be moved, in bytes of its fields and of
/// its body each.
const SHORT: usize = 512;

/// The answer to one version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The HTTP status.
    pub status: u16,
    /// When the engine heard of it.
    pub at: Wall,
    /// The `Idempotency-Key` that the version was sent under.
    pub key: String,
    /// The rest of the answer.
    pub answer: Arc<KeptAnswer>,
}

impl Receipt {
    /// With no more of the answer than costs little memory.
    pub fn short(self) -> Receipt {
        let KeptAnswer {
            mut fields,
            mut body,
            mut is_cut,
        } = Arc::unwrap_or_clone(self.answer);
        let mut room = SHORT;
        fields.retain(|(name, value)| {
            let size = name.len() + value.len();
            let fits = size <= room;
            room -= if fits { size } else { 0 };
            fits
        });
        is_cut |= body.len() > SHORT;
        body.truncate(SHORT);
        body.shrink_to_fit();
        Receipt {
            answer: Arc::new(KeptAnswer {
                fields,
                body,
                is_cut,
            }),
            ..self
        }
    }
}

/// What becomes an answer file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where the file lay in the watched folder.
    pub path: Rel,
    /// Its version.
    pub stamp: Stamp,
    /// What the endpoint said to it.
    pub receipt: Receipt,
}

/// The answer file as it is on the disk. Times are RFC 3339; the path is escaped.
#[derive(Serialize)]
struct AnswerFile<'a> {
    path: String,
    size: u64,
    mtime: String,
    key: &'a str,
    accepted_at: String,
    status: u16,
    /// Names in lower case; the values of fields that came more than once are joined by commas (RFC 9110,
    /// 5.2).
    headers: BTreeMap<&'a str, String>,
    body: String,
    body_is_cut: bool,
}

impl Delivered {
    /// The content of the answer file.
    pub fn text(&self) -> Vec<u8> {
        let Receipt {
            status,
            at,
            key,
            answer,
        } = &self.receipt;
        let mut headers: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in &answer.fields {
            let joined = headers.entry(name).or_default();
            if !joined.is_empty() {
                joined.push_str(", ");
            }
            joined.push_str(value);
        }
        let file = AnswerFile {
            path: escape(self.path.as_bytes()).into_owned(),
            size: self.stamp.size,
            mtime: self.stamp.mtime.rfc3339_millis(),
            key,
            accepted_at: at.rfc3339_millis(),
            status: *status,
            headers,
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            body_is_cut: answer.is_cut,
        };
        let mut text = serde_json::to_vec_pretty(&file).expect("plain data becomes JSON");
        text.push(b'\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(body: &[u8]) -> Receipt {
        let fields = [("location", "/t/7"), ("via", "a"), ("via", "b")];
        Receipt {
            status: 201,
            at: Wall(1_700_000_000_123_000_000),
            key: "k".into(),
            answer: Arc::new(KeptAnswer {
                fields: fields
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .into(),
                body: body.into(),
                is_cut: false,
            }),
        }
    }

    #[test]
    fn an_answer_file_says_what_was_answered_to_which_version() {
        let delivered = Delivered {
            path: Rel::new(b"d/x\n.csv"),
            stamp: Stamp {
                size: 3,
                mtime: Wall(1_700_000_000_000_000_000),
            },
            receipt: receipt(b"{\"task\":\"a\xff\"}"),
        };
        let file: serde_json::Value = serde_json::from_slice(&delivered.text()).unwrap();
        assert_eq!(
            file,
            serde_json::json!({
                "path": "d/x%0A.csv", "size": 3, "mtime": "2023-11-14T22:13:20.000Z", "key": "k",
                "accepted_at": "2023-11-14T22:13:20.123Z", "status": 201,
                "headers": { "location": "/t/7", "via": "a, b" },
                "body": "{\"task\":\"a\u{fffd}\"}", "body_is_cut": false,
            })
        );
    }

    #[test]
    fn a_short_receipt_has_a_bound_and_says_that_it_is_cut() {
        let mut long = receipt(&[b'x'; 60_000]);
        Arc::make_mut(&mut long.answer)
            .fields
            .push(("set-cookie".into(), "y".repeat(50_000)));
        let short = long.short().answer;
        assert_eq!((short.body.len(), short.is_cut), (SHORT, true));
        assert_eq!(short.fields.len(), 3);
        let small = receipt(b"ok");
        assert_eq!(small.clone().short(), small);
    }
}
