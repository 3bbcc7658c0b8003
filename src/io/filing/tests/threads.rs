//! Filing by several threads.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::disks::scripted;
use super::*;
use crate::flow::filing::disk::Operation;
use crate::io::filing::side_by_side::{Pace, conduct};
use crate::io::os::lock;

const THREADS: usize = 8;
/// What is waited for comes at once, or never.
const BOUND: Duration = Duration::from_secs(60);

/// Where calls wait for one another.
#[derive(Default)]
struct Meeting {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    now: usize,
    most: usize,
}

impl Meeting {
    /// Comes back when so many calls were under way at one time.
    fn wait_for(&self, calls: usize) {
        let mut waiting = lock(&self.waiting);
        waiting.now += 1;
        waiting.most = waiting.most.max(waiting.now);
        self.news.notify_all();
        let (mut waiting, timeout) = self
            .news
            .wait_timeout_while(waiting, BOUND, |waiting| waiting.most < calls)
            .unwrap();
        assert!(!timeout.timed_out(), "{} calls at most", waiting.most);
        waiting.now -= 1;
    }
}

/// So many files in a few folders.
fn world(case: Case, files: usize) -> World {
    let mut world = World::new(case).unwrap();
    let names = (0..files).map(|number| format!("d{}/f{number}.csv", number % 3));
    let jobs = (0..).zip(names).map(|(number, name)| {
        let path = world.watched.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content(&name)).unwrap();
        world.job(number, &name)
    });
    world.jobs = jobs.collect();
    world
}

/// Files by [`THREADS`] threads; `before` is called before each operation, and may refuse it.
fn file(
    process: &mut Process,
    jobs: Vec<Filing>,
    before: impl Fn(&Operation) -> Result<(), Fault> + Copy + Send,
) -> Vec<Filed> {
    process.filer.set_threads(THREADS);
    let (filed, _) = process.filer.file_by(jobs, |batch, disk| {
        let mut disks: Vec<RealDisk<'_>> = (0..THREADS).map(|_| disk.another()).collect();
        let disks = disks.iter_mut();
        let disks = disks.map(|disk| scripted(disk, before)).collect();
        conduct(batch, disk, disks, &mut Pace::default());
    });
    filed.into_iter().map(|(_, filed)| filed).collect()
}

#[test]
fn as_many_calls_are_under_way_at_a_time_as_there_are_threads_and_no_file_is_lost_or_double() {
    for case in [MOVED, CONDEMNED] {
        let world = world(case, 100);
        let mut process = world.begin();
        let meeting = Meeting::default();
        let filed = file(&mut process, world.jobs.clone(), |_| {
            meeting.wait_for(THREADS);
            Ok(())
        });
        assert_eq!(filed.len(), world.jobs.len());
        for filed in filed {
            assert!(matches!(filed, Filed::Away { to: Some(_) }), "{filed:?}");
        }
        assert_eq!(lock(&meeting.waiting).most, THREADS);
        let target = match case.condemned {
            true => &world.config.dead_letter.dir,
            false => &world.config.delivered.dir,
        };
        let (there, reasons) = world.area(target);
        for job in &world.jobs {
            let name = job.path.to_string();
            assert_eq!(there[&name], content(&name));
            assert_eq!(reasons.contains_key(&name), case.condemned);
            assert!(!world.watched.path().join(&name).exists());
        }
        assert_eq!(there.len(), world.jobs.len());
        drop(process);
        assert!(world.begin().replay.live.is_empty(), "all is written down");
    }
}

#[test]
fn a_file_that_fails_among_others_fails_alone_and_is_filed_by_the_next_try() {
    let world = world(MOVED, 40);
    let mut process = world.begin();
    let bad = Place::new(Area::Watched, world.jobs[7].path.clone());
    let filed = file(
        &mut process,
        world.jobs.clone(),
        |operation| match operation {
            Operation::Rename(from, _) if *from == bad => {
                Err(Fault::new(FaultKind::Refused, "EACCES"))
            }
            _ => Ok(()),
        },
    );
    let failed: Vec<usize> = (0..filed.len())
        .filter(|&at| !matches!(filed[at], Filed::Away { .. }))
        .collect();
    assert_eq!(failed, [7]);
    let Filed::Failed { progress, .. } = &filed[7] else {
        panic!("{:?}", filed[7]);
    };
    let again = Filing {
        progress: progress.clone(),
        ..world.jobs[7].clone()
    };
    let filed = file(&mut process, vec![again], |_| Ok(()));
    assert!(matches!(filed[..], [Filed::Away { .. }]), "{filed:?}");
}
