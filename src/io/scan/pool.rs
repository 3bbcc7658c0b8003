//! Looks made side by side (`watch.threads`): over folders, and inside of one large folder.
//!
//! On a share each look waits for an answer, and the waiting is what takes the time. A call that
//! hangs holds up the scan that it belongs to, as it does with one thread.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::names::Names;
use super::pulse::Pulse;
use crate::flow::file::Rel;
use crate::flow::scan::rounds::Plan;
use crate::io::dir::{Dir, Entry};
use crate::io::os::{clock, lock};

/// So many files of a folder are looked at by one thread before it comes back for more. Larger
/// folders are shared.
pub(super) const CHUNK: usize = 32;

/// What there is to do for the threads of one scan.
#[derive(Default)]
pub(super) struct Pool {
    tasks: Mutex<Tasks>,
    news: Condvar,
    /// Goes up while calls come back.
    signs: AtomicU64,
    threads: usize,
}

#[derive(Default)]
struct Tasks {
    waiting: VecDeque<Task>,
    is_over: bool,
}

enum Task {
    Visit(Order),
    /// To help with a large folder.
    Help(Arc<Large>),
}

/// A folder that is to be visited.
pub(super) struct Order {
    /// Its place among the others.
    pub(super) number: u64,
    pub(super) path: Rel,
    pub(super) plan: Plan,
}

/// A folder whose files are looked at by several threads.
struct Large {
    folder: Dir,
    names: Names,
    /// The next chunk that nobody has taken.
    next: AtomicUsize,
    /// In nanoseconds of CPU time, without the thread whose folder it is.
    cost: AtomicU64,
    looked: Mutex<Vec<(usize, Vec<io::Result<Entry>>)>>,
    done: Condvar,
}

impl Large {
    fn chunks(&self) -> usize {
        self.names.count().div_ceil(CHUNK)
    }

    /// Looks at chunks until none is left.
    fn look(&self, pulse: &mut Pulse<'_>) {
        loop {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= self.chunks() {
                return;
            }
            let end = self.names.count().min((chunk + 1) * CHUNK);
            let entries = (chunk * CHUNK..end).map(|at| {
                pulse.beat();
                self.folder.entry(self.names.nth(at))
            });
            let entries = entries.collect();
            lock(&self.looked).push((chunk, entries));
            self.done.notify_all();
        }
    }

    /// Waits for the chunks that others have taken; gives what all have seen, in order.
    fn wait(&self) -> Vec<io::Result<Entry>> {
        let mut looked = lock(&self.looked);
        while looked.len() < self.chunks() {
            looked = self
                .done
                .wait(looked)
                .unwrap_or_else(|err| err.into_inner());
        }
        let mut all = std::mem::take(&mut *looked);
        all.sort_unstable_by_key(|(chunk, _)| *chunk);
        all.into_iter().flat_map(|(_, entries)| entries).collect()
    }
}

impl Pool {
    pub(super) fn new(threads: usize) -> Pool {
        Pool {
            threads,
            ..Pool::default()
        }
    }

    /// A folder to be visited, after those that wait.
    pub(super) fn visit(&self, order: Order) {
        lock(&self.tasks).waiting.push_back(Task::Visit(order));
        self.news.notify_one();
    }

    /// Nothing more is wanted.
    pub(super) fn close(&self) {
        let mut tasks = lock(&self.tasks);
        tasks.is_over = true;
        tasks.waiting.clear();
        self.news.notify_all();
    }

    /// How often calls have come back; where that stands still, one hangs.
    pub(super) fn signs(&self) -> u64 {
        self.signs.load(Ordering::Relaxed)
    }

    /// What one thread does: visits folders, until the pool is closed, and says what came of each.
    pub(super) fn work<V>(
        &self,
        mut visit: impl FnMut(&Rel, &Plan, &mut Names, &mut Pulse<'_>) -> V,
        done: &Sender<(u64, Rel, V)>,
    ) {
        let sign = || {
            self.signs.fetch_add(1, Ordering::Relaxed);
        };
        let mut pulse = Pulse::new(&sign);
        let mut names = Names::default();
        while let Some(task) = self.next() {
            match task {
                Task::Visit(Order { number, path, plan }) => {
                    let visited = visit(&path, &plan, &mut names, &mut pulse);
                    if done.send((number, path, visited)).is_err() {
                        return;
                    }
                }
                Task::Help(large) => {
                    let cpu = clock::cpu_of_thread();
                    large.look(&mut pulse);
                    let cost = clock::cpu_of_thread().saturating_sub(cpu).as_nanos();
                    large.cost.fetch_add(cost as u64, Ordering::Relaxed);
                }
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut tasks = lock(&self.tasks);
        loop {
            if tasks.is_over {
                return None;
            }
            if let Some(task) = tasks.waiting.pop_front() {
                return Some(task);
            }
            tasks = self.news.wait(tasks).unwrap_or_else(|err| err.into_inner());
        }
    }

    /// Looks at all files and markers in `folder`, with the help of threads that come free. Gives
    /// the names back, what was seen of each, and the CPU time that the others have taken.
    pub(super) fn look_at(
        &self,
        folder: Dir,
        names: Names,
        pulse: &mut Pulse<'_>,
    ) -> (Names, Vec<io::Result<Entry>>, Duration) {
        let large = Arc::new(Large {
            folder,
            names,
            next: AtomicUsize::new(0),
            cost: AtomicU64::new(0),
            looked: Mutex::default(),
            done: Condvar::new(),
        });
        {
            let mut tasks = lock(&self.tasks);
            let helpers = (self.threads - 1).min(large.chunks() - 1);
            for _ in 0..helpers {
                // Before other folders: so that no more of them are under way than need be.
                tasks.waiting.push_front(Task::Help(Arc::clone(&large)));
            }
        }
        self.news.notify_all();
        large.look(pulse);
        let entries = large.wait();
        let cost = Duration::from_nanos(large.cost.load(Ordering::Relaxed));
        // Whoever comes too late to help may still hold it for a moment.
        let names = match Arc::try_unwrap(large) {
            Ok(large) => large.names,
            Err(large) => large.names.clone(),
        };
        (names, entries, cost)
    }
}
