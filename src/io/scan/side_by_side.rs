//! A scan whose folders are visited by several threads.
//!
//! Invariants:
//! - What was found is taken over in the order in which the visits were asked for, and a folder is
//!   asked for after the one that it is in: so its listing is reported after that one's.
//! - No more visits than [`AHEAD`] for each thread are asked for and not taken over: what they have
//!   found waits in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::folder::{Visited, Visitor};
use super::pool::{Order, Pool};
use super::pulse::Pulse;
use super::{Count, End, Report, Scanner};
use crate::flow::file::Rel;
use crate::flow::messages::{Input, ScanOrder};
use crate::io::os::clock;

/// How many visits may be under way for each thread.
const AHEAD: u64 = 4;
/// How often a scan that takes long says that it goes on.
const GOES_ON: Duration = Duration::from_secs(1);
/// The stack of a thread, in bytes: room for the names of a folder as they are read.
const STACK: usize = 256 * 1024;

/// A scan as it goes.
struct Walk<'a> {
    pool: &'a Pool,
    order: &'a mut ScanOrder,
    /// The last folder that was asked for in the order of the rounds.
    last: Option<Rel>,
    /// Folders found meanwhile that come before that one.
    found: VecDeque<Rel>,
    asked: u64,
    taken: u64,
    /// What came of visits before it is their turn.
    early: BTreeMap<u64, (Rel, Visited)>,
    /// Folders that could not be listed: what is below them is left to the next scan.
    failed: Vec<Rel>,
}

impl Scanner<'_> {
    /// Visits all folders, with so many threads.
    pub(super) fn walk_side_by_side(
        &self,
        visitor: Visitor<'_>,
        order: &mut ScanOrder,
        report: Report<'_>,
        threads: usize,
    ) -> Result<(), End> {
        let pool = Pool::new(threads);
        let visitor = Visitor {
            pool: Some(&pool),
            ..visitor
        };
        std::thread::scope(|scope| {
            let (done, results) = channel();
            let mut started = 0;
            for _ in 0..threads {
                let (pool, visitor, done) = (&pool, &visitor, done.clone());
                let thread = std::thread::Builder::new()
                    .name("scan".into())
                    .stack_size(STACK);
                let spawned = thread.spawn_scoped(scope, move || {
                    let visit = |path: &_, plan: &_, names: &mut _, pulse: &mut Pulse<'_>| {
                        visitor.visit(path, plan, names, pulse)
                    };
                    pool.work(visit, &done);
                });
                started += u64::from(spawned.is_ok());
            }
            drop(done);
            // Where the system gives no threads, this one does it alone.
            if started == 0 {
                let alone = Visitor {
                    pool: None,
                    ..visitor
                };
                return self.walk(&alone, order, report);
            }
            let walk = Walk {
                pool: &pool,
                order,
                last: None,
                found: VecDeque::new(),
                asked: 0,
                taken: 0,
                early: BTreeMap::new(),
                failed: Vec::new(),
            };
            let result = self.conduct(walk, started * AHEAD, &results, report);
            pool.close();
            result
        })
    }

    fn conduct(
        &self,
        mut walk: Walk<'_>,
        ahead: u64,
        results: &Receiver<(u64, Rel, Visited)>,
        report: Report<'_>,
    ) -> Result<(), End> {
        let mut count = Count::default();
        let (mut said, mut signs) = (Instant::now(), walk.pool.signs());
        loop {
            while walk.asked - walk.taken < ahead && walk.ask_for_next() {}
            if walk.asked == walk.taken {
                count.say();
                return Ok(());
            }
            match results.recv_timeout(GOES_ON) {
                Ok((number, path, visited)) => drop(walk.early.insert(number, (path, visited))),
                Err(RecvTimeoutError::Timeout) if walk.pool.signs() == signs => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(End::Away("the threads that look are gone".into()));
                }
            }
            if said.elapsed() >= GOES_ON {
                (said, signs) = (Instant::now(), walk.pool.signs());
                (report.send)(Input::Looking)?;
            }
            while let Some((path, visited)) = walk.early.remove(&walk.taken) {
                walk.taken += 1;
                if walk.failed.iter().any(|above| path.is_below(above)) {
                    continue;
                }
                count.add(&visited);
                walk.note(&path, &visited);
                self.take(&mut walk.order.rounds, &path, visited, report)?;
            }
        }
    }
}

impl Walk<'_> {
    /// Asks for the next visit. Whether there is one.
    fn ask_for_next(&mut self) -> bool {
        let ScanOrder { rounds, wanted, .. } = &*self.order;
        let path = match self.found.pop_front() {
            Some(path) => path,
            None => {
                let next = rounds.after(self.last.as_ref()).next();
                let Some(path) = next.map(|(path, _)| path.clone()) else {
                    return false;
                };
                self.last = Some(path.clone());
                path
            }
        };
        if self.failed.iter().any(|above| path.is_below(above)) {
            return true;
        }
        // It may have gone since it was found.
        let Some(plan) = rounds.plan_of(&path, wanted, clock::mono()) else {
            return true;
        };
        let number = self.asked;
        self.asked += 1;
        self.pool.visit(Order { number, path, plan });
        true
    }

    /// To be called before what came of a visit is taken over.
    fn note(&mut self, path: &Rel, visited: &Visited) {
        match visited {
            Visited::Failed(_) => self.failed.push(path.clone()),
            Visited::Looked { content, .. } => {
                for name in &content.folders {
                    let below = path.join(name);
                    let is_passed = self.last.as_ref().is_some_and(|last| below <= *last);
                    if is_passed && !self.order.rounds.knows(&below) {
                        self.found.push_back(below);
                    }
                }
            }
            Visited::Over | Visited::Same(_) | Visited::Gone => {}
        }
    }
}
