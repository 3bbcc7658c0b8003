//! The threads that send.
//!
//! Each has a connection of its own and one file at a time. What is ordered while all of them are busy
//! waits in one queue, which they take from themselves when they may go on
//! ([`Delivered::lets_go_on`](crate::flow::messages::Delivered::lets_go_on)): so a hop to the loop and back
//! is saved for each file.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};

use super::inbox::{Mailbox, Message};
use super::retry_news::RetryNews;
use super::rules::Rules;
use super::spawn::spawn;
use super::threads::Ordered;
use crate::flow::file::FileNo;
use crate::flow::messages::{Delivered, Delivery, Input};
use crate::io::Gone;
use crate::io::http::{Client, IDLE};
use crate::io::os::lock;
use crate::io::upload::deliver;

/// See the module.
pub(super) struct Workers {
    /// How each of them gets its orders.
    threads: Vec<Sender<Ordered<Delivery>>>,
    /// Those without a file. The last one to come free goes first: its connection is the warmest.
    free: Vec<usize>,
    /// How many may be busy: there are more of them after `send.workers` was lowered.
    upper: usize,
    queue: Queue,
    retries: Arc<RetryNews>,
    mailbox: Mailbox,
}

/// What no worker has begun with.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Ordered<Delivery>>>>);

impl Queue {
    fn push(&self, job: Ordered<Delivery>) {
        lock(&self.0).push_back(job);
    }

    fn pop(&self) -> Option<Ordered<Delivery>> {
        lock(&self.0).pop_front()
    }
}

impl Workers {
    /// None yet.
    pub(super) fn new(retries: Arc<RetryNews>, mailbox: Mailbox) -> Workers {
        Workers {
            threads: Vec::new(),
            free: Vec::new(),
            upper: 0,
            queue: Queue::default(),
            retries,
            mailbox,
        }
    }

    /// From now on up to so many send; new ones begin with these rules.
    ///
    /// # Errors
    /// A sentence: the system gives the process no more threads. Then it stays as it was.
    pub(super) fn set_number(&mut self, number: usize, rules: &Arc<Rules>) -> Result<(), String> {
        while self.threads.len() < number {
            let (send, jobs) = channel();
            let worker = Worker {
                number: self.threads.len(),
                client: rules.client(),
                memory: Vec::new(),
                rules: Arc::clone(rules),
                retries: Arc::clone(&self.retries),
                jobs,
                queue: self.queue.clone(),
                mailbox: self.mailbox.clone(),
            };
            spawn("send", move || worker.work())?;
            // The first of them goes first.
            self.free.insert(0, self.threads.len());
            self.threads.push(send);
        }
        self.upper = number;
        Ok(())
    }

    /// Has a file sent as soon as a worker is free.
    pub(super) fn order(&mut self, job: Ordered<Delivery>) {
        match self.free.pop() {
            Some(worker) if self.busy() <= self.upper => self.begin(worker, job),
            free => {
                self.free.extend(free);
                self.queue.push(job);
            }
        }
    }

    /// This worker has nothing to do since it has reported this. Where it may go on, it does with what
    /// has come into the queue meanwhile.
    pub(super) fn came_free(&mut self, worker: usize, report: &Input) {
        let goes_on = matches!(report, Input::Delivered(_, delivered) if delivered.lets_go_on());
        let may = goes_on && self.busy() <= self.upper;
        match may.then(|| self.queue.pop()).flatten() {
            Some(job) => self.begin(worker, job),
            None => self.free.push(worker),
        }
    }

    fn begin(&self, worker: usize, job: Ordered<Delivery>) {
        // A thread that is gone would leave its file in the engine's hands for ever.
        let sent = self.threads[worker].send(job);
        sent.expect("a worker lives as long as its session");
    }

    /// Takes back what no worker has begun with.
    pub(super) fn recall(&self) -> Vec<FileNo> {
        let jobs = std::mem::take(&mut *lock(&self.queue.0));
        jobs.into_iter().map(|(job, _)| job.file).collect()
    }

    /// How many have a file.
    fn busy(&self) -> usize {
        self.threads.len() - self.free.len()
    }

    /// Whether none has a file.
    pub(super) fn are_idle(&self) -> bool {
        self.busy() == 0
    }
}

struct Worker {
    number: usize,
    client: Client,
    /// What small files are read into.
    memory: Vec<u8>,
    rules: Arc<Rules>,
    retries: Arc<RetryNews>,
    jobs: Receiver<Ordered<Delivery>>,
    queue: Queue,
    mailbox: Mailbox,
}

impl Worker {
    /// Sends, until the session is over.
    fn work(mut self) {
        while self.work_until_idle().is_ok() {}
    }

    /// Waits for work and does what comes; closes the connection when nothing has come for a while.
    fn work_until_idle(&mut self) -> Result<(), Gone> {
        let mut job = self.jobs.recv().map_err(|_| Gone)?;
        loop {
            let mut next = Some(job);
            while let Some(job) = next {
                next = self.deliver(job)?;
            }
            job = match self.jobs.recv_timeout(IDLE) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            };
        }
        self.client.close_idle();
        self.memory = Vec::new();
        Ok(())
    }

    /// Delivers a file, and gives the one to go on with.
    fn deliver(
        &mut self,
        (job, rules): Ordered<Delivery>,
    ) -> Result<Option<Ordered<Delivery>>, Gone> {
        if !Arc::ptr_eq(&self.rules, &rules) {
            self.client = rules.client();
            self.rules = rules;
        }
        let (worker, file) = (self.number, job.file);
        let mut next = None;
        let report = |delivered: Delivered| {
            let goes_on = delivered.lets_go_on();
            let input = Input::Delivered(file, delivered);
            self.retries.tell_before(&input)?;
            next = goes_on.then(|| self.queue.pop()).flatten();
            if next.is_some() {
                return self.mailbox.send_unhurried(Message::Input(input));
            }
            self.mailbox.send(Message::WorkerFree { worker, input })
        };
        let (client, memory) = (&mut self.client, &mut self.memory);
        deliver(&self.rules.upload, client, memory, &job, report)?;
        Ok(next)
    }
}
