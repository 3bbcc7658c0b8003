//! Reason files: why a file is in the dead-letter folder.

use std::io;

use serde::Serialize;

use super::across::draft_of;
use super::name::REASON;
use super::remove_if_there;
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::escape::escape;
use crate::flow::file::Look;
use crate::flow::journal::Reason;
use crate::flow::messages::{Destination, Filing};
use crate::io::dir::Dir;
use crate::io::os::clock::wall;

/// `x.csv.reason.json`.
#[derive(Serialize)]
struct Sidecar<'a> {
    path: String,
    reason: &'a str,
    status: Option<u16>,
    body: String,
    attempts: u32,
    first_seen: String,
    dead_at: String,
    size: u64,
    mtime: String,
    key: &'a str,
}

fn sidecar(name: &[u8]) -> Vec<u8> {
    [name, REASON].concat()
}

pub(super) fn draft_of_reason(name: &[u8]) -> Vec<u8> {
    draft_of(&format!("reason/{}", hex(name)))
}

/// Writes the reason beside `name`; one that a former attempt left there is replaced.
pub(super) fn write_reason(
    folder: &Dir,
    name: &[u8],
    job: &Filing,
    reason: &Reason,
) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&Sidecar {
        path: escape(job.path.as_bytes()),
        reason: &reason.reason,
        status: reason.status,
        body: String::from_utf8_lossy(&reason.body).into_owned(),
        attempts: reason.attempts,
        first_seen: reason.first_seen.rfc3339_millis(),
        dead_at: reason.dead_at.rfc3339_millis(),
        size: job.look.stamp.size,
        mtime: job.look.stamp.mtime.rfc3339_millis(),
        key: &reason.key,
    });
    let mut text = text.map_err(io::Error::other)?;
    text.push(b'\n');
    // Called after its file, so that a next try finds a draft that a kill has left.
    let draft = draft_of_reason(name);
    remove_if_there(folder, &draft)?;
    match folder.write_new_by(&draft, &sidecar(name), &text) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            folder.remove(&sidecar(name))?;
            folder.write_new_by(&draft, &sidecar(name), &text)
        }
        other => other,
    }
}

/// The reason of a new version that came between, and could not go back to its place.
pub(super) fn write_displaced(
    folder: &Dir,
    name: &[u8],
    job: &Filing,
    look: &Look,
) -> io::Result<()> {
    let reason = Reason {
        reason: "a new version appeared while the one before it was being filed away, and its place was \
                 taken by yet another: it was never sent"
            .into(),
        status: None,
        body: Vec::new(),
        attempts: 0,
        first_seen: wall(),
        dead_at: wall(),
        key: String::new(),
    };
    let job = Filing {
        look: *look,
        ..job.clone()
    };
    write_reason(folder, name, &job, &reason)
}

/// Takes a reason back: the file did not go there.
pub(super) fn remove_reason(job: &Filing, folder: &Dir, name: &[u8]) {
    if matches!(job.to, Destination::DeadLetter(_)) {
        remove_sidecar(folder, name);
    }
}

pub(super) fn remove_sidecar(folder: &Dir, name: &[u8]) {
    let _ = folder.remove(&sidecar(name));
}
