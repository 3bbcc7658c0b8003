//! A power cut: what was not brought onto the disk is gone. On a real file system (ext4 on a loop
//! device) that is shut down without flushing.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, wait_until};

const FILES: usize = 600;
/// The power goes when so many were accepted: after 5 s and more.
const CUT: usize = 500;
/// What an acceptance takes: by 4 workers, 100 a second.
const ANSWER: Duration = Duration::from_millis(40);
/// An acceptance is on the disk within a second; a busy machine may take so much longer
/// for the fsync itself. Without any fsync the kernel takes 5 s to 30 s.
const ON_DISK: Duration = Duration::from_millis(1_000 + 1_500);

fn name(number: usize) -> String {
    format!("sub{}/f{number:03}.csv", number % 3)
}

fn a_power_cut(action: &str) {
    let dir = Dir::new();
    let (watched, image) = (dir.mkdir("in"), dir.join("image"));
    let mount = || Mount::ext4(&watched, &image, 64 << 20);
    let Some(disk) = mount() else { return };
    let names: Vec<String> = (0..FILES).map(name).collect();
    for name in &names {
        dir.write(format!("in/{name}"), format!("this is {name}"));
    }
    rustix::fs::syncfs(std::fs::File::open(&watched).unwrap()).unwrap();
    let asked: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
    let log = Arc::clone(&asked);
    let server = Server::start(move |head| {
        std::thread::sleep(ANSWER);
        log.lock().unwrap().push((head.path.clone(), Instant::now()));
        Reaction::Answer(200)
    });
    let text = config(&watched, &server.url(), &format!("delivered.action = \"{action}\""));
    let mut daemon = Daemon::start(&text);
    wait_until("most of them to be accepted", BOUND, || server.accepted_count() >= CUT);
    let cut = Instant::now();
    disk.cut_power();
    daemon.kill();
    disk.unmount();
    let before: Vec<(String, Instant)> = asked.lock().unwrap().clone();

    let Some(_disk) = mount() else { panic!("it could be mounted before") };
    let left = || dir.list("in").into_iter().filter(|path| !path.starts_with(".dirpost")).count();
    let _daemon = Daemon::start(&text);
    let paths = || server.accepted().into_iter().map(|request| request.path).collect::<BTreeSet<_>>();
    wait_until("all to be accepted", BOUND, || paths().len() == FILES);
    if action != "keep" {
        wait_until("all to be filed", BOUND, || left() == 0 && dir.list("in/.dirpost/staging").is_empty());
    }
    if action == "move" {
        wait_until("all to be in done", BOUND, || dir.list("in/.dirpost/done").len() >= FILES);
        assert_eq!(dir.list("in/.dirpost/done").into_iter().collect::<BTreeSet<_>>(), names.iter().cloned().collect());
    }

    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in server.accepted() {
        assert_eq!(server.accepted_bodies(&request.path)[0], format!("this is {}", request.path).as_bytes());
        keys.entry(request.path.clone()).or_default().insert(request.key);
        *counts.entry(request.path).or_default() += 1;
    }
    assert!(keys.values().all(|keys| keys.len() == 1), "a file was sent under two keys");
    let repeated: Vec<&String> = counts.iter().filter(|(_, count)| **count > 1).map(|(path, _)| path).collect();
    let ages =
        before.iter().filter(|(path, _)| repeated.contains(&path)).map(|(_, at)| cut.saturating_duration_since(*at));
    let oldest = ages.max().unwrap_or_default();
    println!(
        "{action}: {} accepted before the power cut, {} of them again, the oldest of them {oldest:?} before it",
        before.len(),
        repeated.len()
    );
    assert!(oldest < ON_DISK, "accepted {oldest:?} before the power cut, and sent again");
    let kept = if action == "keep" { FILES } else { 0 };
    assert_eq!(left(), kept);
}

#[test]
fn after_a_power_cut_at_most_the_last_second_is_sent_again_and_nothing_is_lost_with_move() {
    a_power_cut("move");
}

#[test]
fn after_a_power_cut_at_most_the_last_second_is_sent_again_and_nothing_is_lost_with_delete() {
    a_power_cut("delete");
}

#[test]
fn after_a_power_cut_at_most_the_last_second_is_sent_again_and_nothing_is_lost_with_keep() {
    a_power_cut("keep");
}
