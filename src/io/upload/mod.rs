//! DELIVER: what one worker does with one file.
//!
//! Invariant: an acceptance stands in the journal before the engine hears of it, so that
//! after a kill only what was in flight at that moment can be sent again.

pub mod body;
mod counted;
mod hashing;
pub mod place;
mod reread;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::counted::BytesOut;
use self::counted::Counted;
use crate::config::Digest;
use crate::flow::endpoint::classify::Classifier;
use crate::flow::endpoint::reply::Reply;
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::filing::Acceptance;
use crate::flow::journal::{Entry, Event};
use crate::flow::messages::{Delivered, Delivery, Miss};
use crate::io::http::{Body, Client, FileMeta, Outcome};
use crate::io::journal::{Appended, Journal};
use crate::io::os::error::explain;
use crate::io::share::Share;
use crate::io::upload::body::{Broken, Checked, Source, UploadBody};
use crate::io::upload::place::InFolder;

/// What all workers share.
#[allow(missing_debug_implementations)] // It holds a closure.
pub struct UploadContext {
    /// The watched folder, and the lock that is sent under.
    pub share: Arc<Share>,
    /// Where acceptances are written down.
    pub journal: Arc<Journal>,
    /// What the answers mean.
    pub answers: Classifier,
    /// `send.digest`.
    pub digest: Digest,
    /// A template asks for `{sha256}`: it is needed whatever `digest` says.
    pub needs_sha256: bool,
    /// Whether `[check]` reads what is in a file before it comes here.
    pub checks_content: bool,
    /// `send.stall_timeout`. When all but the last bytes of a file are out, the connection stands
    /// still for half of it at most.
    pub stall_timeout: Duration,
    /// Where the bytes that are out are counted.
    pub out: BytesOut,
    /// Delivered files stay where they are.
    pub keep: bool,
    /// To be called when the journal has lines that wait for an fsync.
    pub written: Arc<dyn Fn() + Send + Sync>,
}

/// A file of up to this many bytes is read at once: its digest costs no second reading.
const SMALL: u64 = 128 * 1024;

/// Opens the file, sends it, writes an acceptance down, and reports; gives what `report` gives.
/// Only then is the file closed, for on a share that hangs a close hangs as well. A small file is read
/// into `memory`, which is there for the next one then.
pub fn deliver<R>(
    context: &UploadContext,
    client: &mut Client,
    memory: &mut Vec<u8>,
    delivery: &Delivery,
    report: impl FnOnce(Delivered) -> R,
) -> R {
    let began = Instant::now();
    match UploadBody::open(source(context, delivery)) {
        Ok(body) => {
            let mut body = body
                .guarded_by(Arc::clone(&context.share))
                .read_into(std::mem::take(memory));
            let sent = send(context, client, delivery, &mut body, began);
            let reported = report(sent.unwrap_or_else(broken_off));
            *memory = body.into_memory();
            reported
        }
        Err(Broken::Changed(look)) => report(Delivered::Unsettled(look)),
        Err(broken) => report(broken_off(broken)),
    }
}

fn source(context: &UploadContext, delivery: &Delivery) -> Source {
    let checked = match delivery.sha256 {
        Some(sha256) => Checked::Digest(sha256),
        None if context.checks_content => Checked::Undigested,
        None => Checked::No,
    };
    Source {
        place: InFolder {
            root: context.share.folder(),
            path: delivery.path.clone(),
        },
        look: delivery.look,
        checked,
        beyond_suspicion: delivery.beyond_suspicion,
        patience: context.stall_timeout / 2,
    }
}

fn send(
    context: &UploadContext,
    client: &mut Client,
    delivery: &Delivery,
    body: &mut UploadBody,
    began: Instant,
) -> Result<Delivered, Broken> {
    // Not until the file is closed: on a share that hangs there is nothing more to be looked at.
    let _at_work = context.share.at_work();
    if delivery.look.stamp.size == 0 {
        body.confirm_empty()?;
    }
    let sha256 = digest(context, delivery, body)?;
    if let Err(err) = context.share.confirm_after(began) {
        return Err(Broken::LockLost(explain(&err)));
    }
    let stamp = delivery.look.stamp;
    let meta = FileMeta {
        path: delivery.path.as_bytes(),
        size: stamp.size,
        mtime: stamp.mtime,
        key: &delivery.key,
        sha256,
    };
    let started = Instant::now();
    let reply = match client.send(&meta, &mut Counted::new(body, &context.out)) {
        Outcome::Reply(reply) => reply,
        Outcome::Broken(broken) => return Err(broken),
        Outcome::Local(why) => return Ok(Delivered::NotSent(why)),
    };
    let verdict = context.answers.classify(&reply);
    let journaled = match (&reply, verdict) {
        (Reply::Answer(answer), Verdict::Accepted) => write_down(context, delivery, answer.status),
        _ => Ok(()),
    };
    Ok(Delivered::Replied {
        verdict,
        reply,
        took: started.elapsed(),
        journaled,
        sha256: body.sent(),
        look: body.known(),
    })
}

/// The digest for the header, as far as one is wanted and known before the body is sent.
fn digest(
    context: &UploadContext,
    delivery: &Delivery,
    body: &mut UploadBody,
) -> Result<Option<[u8; 32]>, Broken> {
    if context.digest == Digest::Never && !context.needs_sha256 {
        return Ok(None);
    }
    if delivery.sha256.is_some() {
        return Ok(delivery.sha256);
    }
    if delivery.look.stamp.size <= SMALL {
        return body.read_whole().map(Some);
    }
    if context.digest == Digest::Auto && !context.needs_sha256 {
        return Ok(None);
    }
    let mut piece = vec![0; 64 * 1024];
    while body.read(&mut piece)? > 0 {}
    let sha256 = body.sent();
    body.rewind()?;
    Ok(sha256)
}

fn write_down(context: &UploadContext, delivery: &Delivery, status: u16) -> Result<(), String> {
    let acceptance = Acceptance {
        key: delivery.key.clone(),
        status,
    };
    let entry = Entry {
        path: delivery.path.clone(),
        stamp: delivery.look.stamp,
        event: Event::accepted(&acceptance, delivery.marker, context.keep),
    };
    let appended = context
        .journal
        .append(&[entry])
        .map_err(|err| context.journal.fault(&err))?;
    if appended == Appended::SyncDue {
        (context.written)();
    }
    Ok(())
}

/// What a request that was broken off before its last byte means for its file.
fn broken_off(broken: Broken) -> Delivered {
    match broken {
        Broken::Changed(look) => Delivered::Changed(look),
        Broken::LockLost(why) => Delivered::Missing(Miss::Unreadable(why)),
        Broken::Io(err) => Delivered::Missing(miss(&err)),
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
