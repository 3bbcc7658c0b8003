//! The threads that scan, check and send: each takes its orders from a channel, and answers into
//! the inbox. Each ends when its session is over, or when its orders can come no more.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::filer_thread::FilerCommand;
use super::inbox::{Mailbox, Message};
use super::retry_news::RetryNews;
use crate::config::{Action, Config};
use crate::flow::endpoint::classify;
use crate::flow::engine::INSPECTORS;
use crate::flow::messages::{Delivery, Input, Inspection, ScanOrder};
use crate::io::Gone;
use crate::io::check::Inspector;
use crate::io::dir::Dir;
use crate::io::http::{Client, IDLE, Shared};
use crate::io::journal::Journal;
use crate::io::os::error::explain;
use crate::io::os::lock;
use crate::io::scan::{self, Report};
use crate::io::send_fingerprint;
use crate::io::share::Share;
use crate::io::upload::{BytesOut, UploadContext, deliver};

/// The stack of a thread, in bytes. The deepest call is a TLS handshake; this leaves it ample room.
const STACK: usize = 512 * 1024;

/// Starts a thread. It is not waited for: at the end of the process the system ends it.
///
/// # Errors
/// A sentence, if the system gives the process no more threads (`TasksMax`, `RLIMIT_NPROC`); then
/// `body` is dropped here.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(STACK)
        .spawn(body)
        .map(drop)
        .map_err(|err| {
            format!("a thread ({name}) cannot be started: {err}: is the number of tasks limited?")
        })
}

/// What all workers share.
pub(super) fn upload_context(
    config: &Config,
    share: &Arc<Share>,
    journal: &Arc<Journal>,
    written: Box<dyn Fn() + Send + Sync>,
) -> Arc<UploadContext> {
    Arc::new(UploadContext {
        share: Arc::clone(share),
        journal: Arc::clone(journal),
        answers: classify::Policy::new(&config.send),
        digest: config.send.digest,
        needs_sha256: Client::needs_sha256(&config.send),
        checks_content: config.check.reads_content(),
        stall_timeout: config.send.stall_timeout,
        out: BytesOut::default(),
        keep: config.delivered.action == Action::Keep,
        written,
    })
}

/// What a worker does when the journal has lines that wait for an fsync.
pub(super) fn on_written(
    journal: &Arc<Journal>,
    filer: &Sender<FilerCommand>,
    mailbox: &Mailbox,
) -> Box<dyn Fn() + Send + Sync> {
    let (journal, filer, mailbox) = (Arc::clone(journal), filer.clone(), mailbox.clone());
    Box::new(move || {
        // At once: the filing thread may be busy for as long as it takes to use the reserve up.
        if journal.is_low() {
            let why = explain(&std::io::ErrorKind::StorageFull.into());
            let _ = mailbox.input(Input::Room(Err(why)));
        }
        drop(filer.send(FilerCommand::Sync));
    })
}

/// What the thread that scans is asked for.
#[derive(Debug)]
pub(super) enum ScanCommand {
    /// To look at the folders.
    Scan(ScanOrder),
    /// To look only whether the lock is still ours.
    Confirm,
}

/// What the thread that scans works with.
pub(super) struct Scanner {
    pub(super) share: Arc<Share>,
    /// The state folder.
    pub(super) state: Arc<Dir>,
    /// What `[send]` was like when all was opened: see [`send_fingerprint`].
    pub(super) send: String,
    pub(super) mailbox: Mailbox,
}

/// Starts the thread that scans.
///
/// # Errors
/// A sentence: a glob is wrong, or the system gives the process no more threads.
pub(super) fn spawn_scanner(
    config: &Config,
    scanner: Scanner,
    retries: &Arc<RetryNews>,
) -> Result<Sender<ScanCommand>, String> {
    let filter = scan::filter_of(config).map_err(|err| err.to_string())?;
    let credentials = config.send.clone();
    let threads = config.watch.threads;
    let Scanner {
        share,
        state,
        send: mut fingerprint,
        mailbox,
    } = scanner;
    let retries = Arc::clone(retries);
    let (send, orders) = channel();
    spawn("scan", move || {
        let send = |input| mailbox.input(input);
        let report = Report {
            before_use: &|| retries.tell(),
            send: &send,
        };
        let scanner = scan::Scanner {
            share: &share,
            state: &state,
            filter: &filter,
            threads,
        };
        while let Ok(order) = orders.recv() {
            let now = send_fingerprint::of(&credentials);
            if now != fingerprint {
                fingerprint.clone_from(&now);
                let _ = send(Input::Credentials(now));
            }
            let reported = match order {
                ScanCommand::Scan(order) => scanner.scan(order, report),
                ScanCommand::Confirm => scan::confirm(&share, &send),
            };
            if reported.is_err() {
                break;
            }
        }
    })?;
    Ok(send)
}

/// Starts the threads for checks, if there is anything to check.
pub(super) fn spawn_inspectors(
    config: &Config,
    share: &Arc<Share>,
    retries: &Arc<RetryNews>,
    mailbox: &Mailbox,
) -> Result<Sender<Inspection>, String> {
    let (send, jobs) = channel::<Inspection>();
    if !config.check.reads_content() {
        return Ok(send);
    }
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..INSPECTORS {
        let inspector = Inspector {
            share: Arc::clone(share),
            check: config.check.clone(),
            // What is sent is held to it, whether a header shows it or not.
        };
        let (jobs, mailbox) = (Arc::clone(&jobs), mailbox.clone());
        let retries = Arc::clone(retries);
        spawn("check", move || {
            while check_next(&inspector, &jobs, &retries, &mailbox).is_ok() {}
        })?;
    }
    Ok(send)
}

fn check_next(
    inspector: &Inspector,
    jobs: &Mutex<Receiver<Inspection>>,
    retries: &RetryNews,
    mailbox: &Mailbox,
) -> Result<(), Gone> {
    let job = lock(jobs).recv().map_err(|_| Gone)?;
    let inspected = Input::Inspected(job.file, inspector.inspect(&job));
    retries.tell_before(&inspected)?;
    mailbox.input(inspected)
}

/// Starts the threads that send, each with a connection of its own.
pub(super) fn spawn_workers(
    config: &Config,
    count: usize,
    context: Arc<UploadContext>,
    retries: &Arc<RetryNews>,
    mailbox: &Mailbox,
) -> Result<Vec<Sender<Delivery>>, String> {
    let shared = Shared::new(&config.send).map_err(|err| err.to_string())?;
    let mut workers = Vec::new();
    for number in 0..count {
        let (send, jobs) = channel();
        let mut worker = Worker {
            number,
            client: Client::new(&config.send, &shared)
                .keeping_answers(config.delivered.keep_answer),
            context: Arc::clone(&context),
            retries: Arc::clone(retries),
            jobs,
            mailbox: mailbox.clone(),
        };
        spawn("send", move || while worker.work_until_idle().is_ok() {})?;
        workers.push(send);
    }
    Ok(workers)
}

struct Worker {
    number: usize,
    client: Client,
    context: Arc<UploadContext>,
    retries: Arc<RetryNews>,
    jobs: Receiver<Delivery>,
    mailbox: Mailbox,
}

impl Worker {
    /// Waits for work and does what comes; closes the connection when nothing has come for a while.
    fn work_until_idle(&mut self) -> Result<(), Gone> {
        let mut job = self.jobs.recv().map_err(|_| Gone)?;
        loop {
            self.deliver(&job)?;
            job = match self.jobs.recv_timeout(IDLE) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            };
        }
        self.client.close_idle();
        Ok(())
    }

    fn deliver(&mut self, job: &Delivery) -> Result<(), Gone> {
        let (worker, file) = (self.number, job.file);
        deliver(&self.context, &mut self.client, job, |delivered| {
            let input = Input::Delivered(file, delivered);
            self.retries.tell_before(&input)?;
            self.mailbox.send(Message::WorkerFree { worker, input })
        })
    }
}
