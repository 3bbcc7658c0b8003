//! The workers, as the daemon has them: one queue, and those that may go on take from it themselves.

use std::collections::VecDeque;

use dirpost::flow::file::FileNo;
use dirpost::flow::messages::{Delivered, Delivery};

use crate::world::{Event, World};

/// What is sent, and by which settle time (ms).
type Job = (Delivery, i64);

/// See the module.
#[derive(Default)]
pub struct Workers {
    /// How many may be busy.
    pub upper: usize,
    /// How many have a file.
    busy: usize,
    /// What none of them has begun with.
    queue: VecDeque<Job>,
}

impl Workers {
    /// Whether a file waits though somebody could send it.
    pub fn is_one_forgotten(&self) -> bool {
        self.busy < self.upper && !self.queue.is_empty()
    }

    /// All of them are gone.
    pub fn kill(&mut self) {
        (self.busy, self.queue) = (0, VecDeque::new());
    }
}

impl World {
    /// Has a file sent as soon as a worker is free.
    pub fn order(&mut self, job: Job) {
        self.see_that_it_has_its_key(&job.0);
        if self.workers.busy < self.workers.upper {
            self.workers.busy += 1;
            self.begin(job);
        } else {
            self.meet("file handed out ahead");
            self.workers.queue.push_back(job);
        }
    }

    /// A worker is done with a file.
    pub fn came_free(&mut self, delivered: &Delivered) {
        let may = delivered.lets_go_on() && self.workers.busy <= self.workers.upper;
        match may.then(|| self.workers.queue.pop_front()).flatten() {
            Some(job) => self.begin(job),
            None => self.workers.busy -= 1,
        }
    }

    fn begin(&mut self, (job, settle): Job) {
        let delay = self.rng.below(30);
        self.at(delay, Event::SendStart(job, settle));
    }

    /// Takes back what no worker has begun with.
    pub fn recall(&mut self) -> Vec<FileNo> {
        let jobs = std::mem::take(&mut self.workers.queue);
        if !jobs.is_empty() {
            self.meet("file called back");
        }
        jobs.into_iter().map(|(job, _)| job.file).collect()
    }
}
