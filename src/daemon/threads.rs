//! The threads that scan, check and send: each takes its orders from a channel, and answers into
//! the inbox. Each ends when its session is over, or when its orders can come no more.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};

use super::filer_thread::FilerCommand;
use super::inbox::{Mailbox, Message};
use super::retry_news::RetryNews;
use super::rules::{Credentials, Rules};
use super::spawn::spawn;
use crate::flow::engine::INSPECTORS;
use crate::flow::messages::{Delivery, Input, Inspection, ScanOrder};
use crate::io::Gone;
use crate::io::dir::Dir;
use crate::io::http::{Client, IDLE};
use crate::io::journal::Journal;
use crate::io::os::lock;
use crate::io::scan::{self, Report};
use crate::io::share::Share;
use crate::io::upload::deliver;

/// What a worker does when the journal has lines that wait for an fsync.
pub(super) fn on_written(
    journal: &Arc<Journal>,
    filer: &Sender<FilerCommand>,
    mailbox: &Mailbox,
) -> Arc<dyn Fn() + Send + Sync> {
    let (journal, filer, mailbox) = (Arc::clone(journal), filer.clone(), mailbox.clone());
    Arc::new(move || {
        // At once: the filing thread may be busy for as long as it takes to use the reserve up.
        if journal.is_low() {
            let why = journal.fault(&std::io::ErrorKind::StorageFull.into());
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

/// What the thread that scans works with, and others with it.
pub(super) struct Scanner {
    pub(super) share: Arc<Share>,
    /// The state folder.
    pub(super) state: Arc<Dir>,
    pub(super) mailbox: Mailbox,
}

/// An order, and the rules that it is carried out by.
pub(super) type Ordered<T> = (T, Arc<Rules>);

/// Starts the thread that scans. It begins with these rules.
///
/// # Errors
/// A sentence: the system gives the process no more threads.
pub(super) fn spawn_scanner(
    scanner: Scanner,
    rules: Arc<Rules>,
    retries: &Arc<RetryNews>,
) -> Result<Sender<Ordered<ScanCommand>>, String> {
    let Scanner { share, mailbox, .. } = scanner;
    let mut credentials = Credentials::new(rules);
    let retries = Arc::clone(retries);
    let (send, orders) = channel::<Ordered<ScanCommand>>();
    spawn("scan", move || {
        let send = |input| mailbox.input(input);
        let report = Report {
            before_use: &|| retries.tell(),
            send: &send,
        };
        while let Ok((order, rules)) = orders.recv() {
            if let Some(now) = credentials.changed(&rules) {
                let _ = send(Input::Credentials(now));
            }
            let scanner = scan::Scanner {
                share: &share,
                filter: &rules.filter,
                threads: rules.threads,
            };
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

/// Starts the threads for checks.
///
/// # Errors
/// A sentence: the system gives the process no more threads.
pub(super) fn spawn_inspectors(
    retries: &Arc<RetryNews>,
    mailbox: &Mailbox,
) -> Result<Sender<Ordered<Inspection>>, String> {
    let (send, jobs) = channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..INSPECTORS {
        let (jobs, mailbox) = (Arc::clone(&jobs), mailbox.clone());
        let retries = Arc::clone(retries);
        spawn("check", move || {
            while check_next(&jobs, &retries, &mailbox).is_ok() {}
        })?;
    }
    Ok(send)
}

fn check_next(
    jobs: &Mutex<Receiver<Ordered<Inspection>>>,
    retries: &RetryNews,
    mailbox: &Mailbox,
) -> Result<(), Gone> {
    let (job, rules) = lock(jobs).recv().map_err(|_| Gone)?;
    let inspected = Input::Inspected(job.file, rules.inspector.inspect(&job));
    retries.tell_before(&inspected)?;
    mailbox.input(inspected)
}

/// Starts the thread that sends as worker `number`, with a connection of its own. It begins with these
/// rules.
///
/// # Errors
/// A sentence: the system gives the process no more threads.
pub(super) fn spawn_worker(
    number: usize,
    rules: &Arc<Rules>,
    retries: &Arc<RetryNews>,
    mailbox: &Mailbox,
) -> Result<Sender<Ordered<Delivery>>, String> {
    let (send, jobs) = channel();
    let mut worker = Worker {
        number,
        client: rules.client(),
        rules: Arc::clone(rules),
        retries: Arc::clone(retries),
        jobs,
        mailbox: mailbox.clone(),
    };
    spawn("send", move || while worker.work_until_idle().is_ok() {})?;
    Ok(send)
}

struct Worker {
    number: usize,
    client: Client,
    rules: Arc<Rules>,
    retries: Arc<RetryNews>,
    jobs: Receiver<Ordered<Delivery>>,
    mailbox: Mailbox,
}

impl Worker {
    /// Waits for work and does what comes; closes the connection when nothing has come for a while.
    fn work_until_idle(&mut self) -> Result<(), Gone> {
        let mut job = self.jobs.recv().map_err(|_| Gone)?;
        loop {
            self.deliver(job)?;
            job = match self.jobs.recv_timeout(IDLE) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            };
        }
        self.client.close_idle();
        Ok(())
    }

    fn deliver(&mut self, (job, rules): Ordered<Delivery>) -> Result<(), Gone> {
        if !Arc::ptr_eq(&self.rules, &rules) {
            self.client = rules.client();
            self.rules = rules;
        }
        let (worker, file) = (self.number, job.file);
        deliver(&self.rules.upload, &mut self.client, &job, |delivered| {
            let input = Input::Delivered(file, delivered);
            self.retries.tell_before(&input)?;
            self.mailbox.send(Message::WorkerFree { worker, input })
        })
    }
}
