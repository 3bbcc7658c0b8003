//! DELIVER: what one worker does with one file.
//!
//! Invariant: an acceptance stands in the journal before the engine hears of it, so that
//! after a kill only what was in flight at that moment can be sent again.

pub mod body;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::config::Digest;
use crate::flow::endpoint::classify::{Policy, Verdict};
use crate::flow::endpoint::reply::Reply;
use crate::flow::filing::Acceptance;
use crate::flow::journal::{Entry, Event};
use crate::flow::messages::{Delivered, Delivery, Miss};
use crate::io::Gone;
use crate::io::fault::explain;
use crate::io::http::{Body, Client, FileMeta, Outcome};
use crate::io::journal::{Appended, Journal};
use crate::io::share::Share;
use crate::io::upload::body::{OpenError, UploadBody};

/// What all workers share.
#[allow(missing_debug_implementations)] // It holds a closure.
pub struct UploadContext {
    pub share: Arc<Share>,
    pub journal: Arc<Journal>,
    pub answers: Policy,
    pub digest: Digest,
    /// A template asks for `{sha256}`: it is needed whatever `digest` says.
    pub needs_sha256: bool,
    /// Delivered files stay where they are.
    pub keep: bool,
    /// To be called when the journal has lines that wait for an fsync.
    pub written: Box<dyn Fn() + Send + Sync>,
}

/// A file up to this size is read at once: its digest costs no second read.
const SMALL: u64 = 128 * 1024;

/// Opens the file, sends it, writes an acceptance down, and reports. Only then is the file closed,
/// for on a share that hangs that hangs as well.
///
/// # Errors
/// What `report` gives: nobody listens any more.
pub fn deliver(
    office: &UploadContext,
    client: &mut Client,
    job: &Delivery,
    report: impl FnOnce(Delivered) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let began = Instant::now();
    match UploadBody::open(office.share.folder(), &job.path, &job.look) {
        Ok(body) => {
            let mut body = body.under(Arc::clone(&office.share));
            report(send(office, client, job, &mut body, began))
        }
        Err(OpenError::Changed(look)) => report(Delivered::Changed(Some(look))),
        Err(OpenError::Failed(err)) => report(Delivered::Missing(miss(&err))),
    }
}

fn send(
    office: &UploadContext,
    client: &mut Client,
    job: &Delivery,
    body: &mut UploadBody,
    began: Instant,
) -> Delivered {
    // Not until the file is closed: on a share that hangs there is nothing more to be looked at.
    let _at_work = office.share.at_work();
    // With no bytes there is no last one before which it would be looked at.
    if job.look.stamp.size == 0
        && let Err(err) = body.confirm()
    {
        return broken(body, &err);
    }
    let sha256 = match digest(office, job, body) {
        Ok(sha256) => sha256,
        Err(err) => return broken(body, &err),
    };
    if let Err(err) = office.share.confirm_after(began) {
        return Delivered::Missing(Miss::Unreadable(explain(&err)));
    }
    let stamp = job.look.stamp;
    let letter = FileMeta {
        path: job.path.as_bytes(),
        size: stamp.size,
        mtime_ns: i128::from(stamp.mtime.0),
        key: &job.key,
        sha256,
    };
    let started = Instant::now();
    let reply = match client.send(&letter, body) {
        Outcome::Reply(reply) => reply,
        Outcome::Broken(err) => return broken(body, &err),
        Outcome::Local(why) => return Delivered::NotSent(why),
    };
    let verdict = office.answers.classify(&reply);
    let journaled = match (&reply, verdict) {
        (Reply::Answer(answer), Verdict::Accepted) => write_down(office, job, answer.status),
        _ => Ok(()),
    };
    Delivered::Replied {
        verdict,
        reply,
        took: started.elapsed(),
        journaled,
        sha256,
        look: job.look,
    }
}

fn digest(
    office: &UploadContext,
    job: &Delivery,
    body: &mut UploadBody,
) -> io::Result<Option<[u8; 32]>> {
    if office.digest == Digest::Never && !office.needs_sha256 {
        return Ok(None);
    }
    if job.sha256.is_some() {
        return Ok(job.sha256);
    }
    if job.look.stamp.size <= SMALL {
        return Ok(Some(Sha256::digest(body.hold()?).into()));
    }
    if office.digest == Digest::Auto && !office.needs_sha256 {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut buf = vec![0; 64 * 1024];
    loop {
        match body.read(&mut buf)? {
            0 => break,
            got => hash.update(&buf[..got]),
        }
    }
    body.rewind()?;
    Ok(Some(hash.finalize().into()))
}

fn write_down(office: &UploadContext, job: &Delivery, status: u16) -> Result<(), String> {
    let acceptance = Acceptance {
        key: job.key.clone(),
        status,
    };
    let entry = Entry {
        path: job.path.clone(),
        stamp: job.look.stamp,
        event: Event::accepted(&acceptance, job.marker, office.keep),
    };
    let appended = office
        .journal
        .append([entry])
        .map_err(|err| explain(&err))?;
    if appended == Appended::SyncDue {
        (office.written)();
    }
    Ok(())
}

/// The request was broken off: the file changed, or could not be read.
fn broken(body: &UploadBody, err: &io::Error) -> Delivered {
    match body.found() {
        _ if body.is_over() => Delivered::Missing(Miss::Unreadable(explain(err))),
        Some(look) => Delivered::Changed(Some(look)),
        None if err.raw_os_error().is_some() => Delivered::Missing(miss(err)),
        None => Delivered::Changed(None),
    }
}

/// What it means that a file cannot be opened.
pub fn miss(err: &io::Error) -> Miss {
    match err.kind() {
        io::ErrorKind::NotFound => Miss::Gone,
        // A folder on the way, or the file itself, is a link or no file by now: not ours.
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => Miss::Gone,
        _ => Miss::Unreadable(explain(err)),
    }
}
