//! The threads that scan and check: each takes its orders from a channel, and answers into the
//! inbox. Each ends when its session is over, or when its orders can come no more.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::filer_thread::FilerCommand;
use super::inbox::{Mailbox, Message};
use super::retry_news::RetryNews;
use super::rules::{Credentials, Rules};
use super::spawn::spawn;
use crate::flow::engine::INSPECTORS;
use crate::flow::messages::{Input, Inspection, ScanOrder};
use crate::io::Gone;
use crate::io::dir::Dir;
use crate::io::journal::Journal;
use crate::io::os::lock;
use crate::io::scan::{self, Report};
use crate::io::share::Share;

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
        let send = |input| match input {
            // As long as the scan goes on.
            Input::Listed(_) => mailbox.send_unhurried(Message::Input(input)),
            _ => mailbox.input(input),
        };
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
