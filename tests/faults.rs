//! Endpoints that fail, and what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::util::{BOUND, Daemon, Dir, Reaction, Rng, Server, config, skip, wait_until};

/// Answers with this status until the test changes it.
fn switchable(status: u16) -> (Server, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let shared = Arc::clone(&status);
    (
        Server::start(move |_| Reaction::Answer(shared.load(Ordering::SeqCst))),
        status,
    )
}

fn write_many(dir: &Dir, count: usize) {
    for number in 0..count {
        dir.write(format!("f{number:04}.csv"), format!("content {number}"));
    }
}

fn all_delivered_once(dir: &Dir, server: &Server, count: usize) {
    wait_until("all accepted", BOUND, || server.accepted_count() >= count);
    wait_until("all filed", BOUND, || dir.done().len() == count);
    let mut paths: Vec<String> = server
        .accepted()
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!((paths.len(), server.accepted_count()), (count, count));
}

#[test]
fn good_files_are_not_late_beside_one_that_gets_404_and_one_that_is_reset() {
    let dir = Dir::new();
    let server = Server::start(|head| match head.path.as_str() {
        "lonely404.csv" => Reaction::Answer(404),
        "reset.csv" => Reaction::ResetDuringBody(2),
        _ => Reaction::Answer(200),
    });
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    dir.write("lonely404.csv", "this one is refused");
    dir.write("reset.csv", "this one breaks the server");
    wait_until("both to have failed", BOUND, || {
        server.requests().len() >= 2
    });
    let mut latest = Duration::ZERO;
    for number in 0..30 {
        let name = format!("good{number}.csv");
        let dropped = Instant::now();
        dir.write(&name, "good");
        wait_until(&name, BOUND, || server.accepted_count() == number + 1);
        latest = latest.max(dropped.elapsed());
    }
    println!(
        "the latest of 30 good files came {latest:?} after it was dropped (settle 300 ms, interval 100 ms)"
    );
    assert!(latest < Duration::from_secs(10), "one was late: {latest:?}");
    wait_until("the good ones to be filed", BOUND, || {
        dir.waiting() == ["lonely404.csv", "reset.csv"]
    });
    assert!(dir.dead().is_empty());
}

#[test]
fn an_endpoint_that_rejects_everything_condemns_at_most_the_brake() {
    let (dir, (server, status)) = (Dir::new(), switchable(400));
    write_many(&dir, 100);
    let daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    daemon.wait_log("10 files in a row were rejected by the endpoint");
    let then = server.requests().len();
    wait_until("more probes", BOUND, || server.requests().len() >= then + 5);
    wait_until("the condemned ones to be filed", BOUND, || {
        !dir.dead().is_empty()
    });
    assert!(
        dir.dead().len() <= 10 + 4,
        "{} were condemned",
        dir.dead().len()
    );
    status.store(200, Ordering::SeqCst);
    let condemned = dir.dead().len();
    wait_until("the rest delivered", BOUND, || {
        dir.done().len() == 100 - condemned
    });
    daemon.wait_log("the endpoint accepts again");
}

#[test]
fn an_answer_before_the_end_of_the_body_is_no_acceptance() {
    let (dir, honest) = (Dir::new(), Arc::new(AtomicBool::new(false)));
    let behave = Arc::clone(&honest);
    let server = Server::start(move |_| {
        if behave.load(Ordering::SeqCst) {
            Reaction::Answer(200)
        } else {
            Reaction::Early(200)
        }
    });
    let content = vec![b'x'; 8 << 20];
    dir.write("big.bin", &content);
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("three early answers", BOUND, || {
        server.requests().len() >= 3
    });
    assert_eq!(
        (dir.waiting(), dir.done().len()),
        (vec!["big.bin".to_string()], 0)
    );
    honest.store(true, Ordering::SeqCst);
    wait_until("it to be filed", BOUND, || dir.done() == ["big.bin"]);
    assert_eq!(server.accepted_bodies("big.bin"), [content]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_outage_over_2000_waiting_files_costs_one_attempt_a_step() {
    const COUNT: usize = 2_000;
    let (dir, server) = (Dir::new(), Server::accepting());
    server.refuse();
    write_many(&dir, COUNT);
    let extra =
        "retry.first = \"1s\"\nretry.max = \"5s\"\nready.settle = \"1s\"\nwatch.interval = \"1s\"";
    let daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    daemon.wait_log("endpoint: ");
    let (before, cpu, started) = (server.connections(), daemon.cpu_time(), Instant::now());
    // The length of the outage is what is measured here; nothing is waited for.
    std::thread::sleep(Duration::from_secs(20));
    let (attempts, cpu, lasted) = (
        server.connections() - before,
        daemon.cpu_time() - cpu,
        started.elapsed(),
    );
    println!(
        "an outage of {lasted:?} over {COUNT} waiting files: {attempts} connection attempts, {cpu:?} of CPU time"
    );
    // Steps are drawn from 0 to 1, 2, 4, 5, 5 … s: on average 10 in 20 s. A reset before any
    // answer on a reused connection is tried once more.
    assert!(attempts <= 40, "{attempts} attempts");
    server.serve();
    all_delivered_once(&dir, &server, COUNT);
}

#[test]
fn refusals_that_concern_every_file_condemn_none() {
    for refusal in [401, 403, 404, 405, 407, 302, 500, 503, 429] {
        let (dir, (server, status)) = (Dir::new(), switchable(refusal));
        write_many(&dir, 20);
        let daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
        let says = format!("endpoint: {} answered {refusal}", server.url());
        daemon.wait_log(&says);
        let then = server.requests().len();
        wait_until("more probes", BOUND, || server.requests().len() >= then + 2);
        status.store(200, Ordering::SeqCst);
        all_delivered_once(&dir, &server, 20);
        daemon.wait_log("endpoint: accepts again");
        assert!(dir.dead().is_empty(), "{refusal}");
    }
}

#[test]
fn a_poison_file_among_500_good_ones_is_condemned_alone() {
    let dir = Dir::new();
    let server =
        Server::start(|head| Reaction::Answer(if head.path == "f0250.csv" { 422 } else { 200 }));
    write_many(&dir, 500);
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("the good ones filed", BOUND, || dir.done().len() == 499);
    wait_until("the bad one condemned", BOUND, || {
        dir.dead() == ["f0250.csv"]
    });
    assert_eq!(server.requests().len(), 500);
}

#[test]
fn retry_after_is_obeyed_in_both_forms() {
    for as_date in [false, true] {
        let dir = Dir::new();
        let first = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&first);
        let server = Server::start(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) > 0 {
                return Reaction::Answer(200);
            }
            let later = SystemTime::now() + Duration::from_secs(3);
            let value = if as_date {
                httpdate::fmt_http_date(later)
            } else {
                "2".into()
            };
            Reaction::AnswerWith(503, vec![("Retry-After".into(), value)], String::new())
        });
        write_many(&dir, 5);
        let _daemon = Daemon::start(&config(dir.path(), &server.url(), "send.workers = 1"));
        wait_until("all delivered", BOUND, || dir.done().len() == 5);
        let requests = server.requests();
        let pause = requests[1].at - requests[0].at;
        // A date has whole seconds: up to one less than was meant.
        assert!(
            pause >= Duration::from_millis(1_900),
            "{pause:?} (as a date: {as_date})"
        );
    }
}

#[test]
fn a_server_that_is_gone_and_comes_back_gets_every_file_once() {
    let (dir, mut server) = (Dir::new(), Server::accepting());
    let daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    dir.write("before.csv", "b");
    wait_until("the first file", BOUND, || dir.done().len() == 1);
    server.down();
    write_many(&dir, 20);
    daemon.wait_log("endpoint: ");
    server.up();
    all_delivered_once(&dir, &server, 21);
}

#[test]
fn what_is_in_flight_at_a_kill_is_sent_again_under_the_same_key_and_nothing_else_is() {
    let dir = Dir::new();
    let server = Server::accepting();
    let text = config(dir.path(), &server.url(), "ready.settle = \"0s\"");
    const COUNT: usize = 3_000;
    const KILLS: usize = 100;
    write_many(&dir, COUNT);
    let mut kills = 0;
    while dir.done().len() < COUNT {
        let mut daemon = Daemon::start(&text);
        let mut rng = Rng::new(kills as u64);
        let target = server.accepted_count() + rng.below((COUNT / KILLS) as u64) as usize;
        let until = Instant::now() + BOUND;
        while kills < KILLS && server.accepted_count() < target.min(COUNT) && Instant::now() < until
        {
            std::hint::spin_loop();
        }
        if kills < KILLS {
            daemon.kill();
            kills += 1;
        } else {
            wait_until("all filed", BOUND, || dir.done().len() == COUNT);
        }
    }
    let accepted = server.accepted();
    let mut keys = std::collections::HashMap::<String, std::collections::HashSet<String>>::new();
    for request in &accepted {
        keys.entry(request.path.clone())
            .or_default()
            .insert(request.key.clone());
    }
    let repeats = accepted.len() - keys.len();
    println!("{COUNT} files over {kills} kills: {repeats} repeats");
    assert_eq!(keys.len(), COUNT);
    assert!(
        keys.values().all(|keys| keys.len() == 1),
        "a file was sent under two keys"
    );
    assert!(repeats <= 4 * kills, "{repeats} repeats");
    assert_eq!(dir.done().len(), COUNT);
}

#[test]
fn a_kill_in_the_middle_of_filing_to_another_file_system_leaves_one_copy_and_nothing_else() {
    const COUNT: usize = 200;
    const KILLS: u64 = 60;
    if !std::path::Path::new("/dev/shm").is_dir() {
        skip("there is no /dev/shm for a second file system");
        return;
    }
    let (dir, elsewhere, server) = (
        Dir::new(),
        Dir::within("/dev/shm".as_ref()),
        Server::accepting(),
    );
    let done = elsewhere.join("done");
    let extra = format!(
        "ready.settle = \"0s\"\ndelivered.dir = '{}'",
        done.display()
    );
    let text = config(dir.path(), &server.url(), &extra);
    for number in 0..COUNT {
        dir.write(format!("f{number:04}.csv"), vec![b'x'; 200_000]);
    }
    let mut rng = Rng::new(1);
    for kill in 0..KILLS {
        let mut daemon = Daemon::start(&text);
        let target = (elsewhere.list("done").len() + 1 + rng.below(6) as usize).min(COUNT);
        wait_until("some to be filed", BOUND, || {
            elsewhere.list("done").len() >= target
        });
        std::thread::sleep(Duration::from_micros(rng.below(2_000)));
        daemon.kill();
        if kill == KILLS - 1 {
            let _daemon = Daemon::start(&text);
            wait_until("all filed", BOUND, || {
                dir.waiting().is_empty() && dir.list(".dirpost/staging").is_empty()
            });
        }
    }
    let expected: Vec<String> = (0..COUNT)
        .map(|number| format!("f{number:04}.csv"))
        .collect();
    assert_eq!(elsewhere.list("done"), expected);
    assert!(server.accepted_count() <= COUNT + 4 * KILLS as usize);
}
