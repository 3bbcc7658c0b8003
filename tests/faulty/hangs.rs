//! A share on which calls hang.

use super::*;

/// A share that began to hang while the answer for `a.csv` was awaited; the answer has come since.
fn hung_under_an_upload(world: &World, server: &Server, gate: &Gate) -> Daemon {
    world.write("a.csv");
    let daemon = world.start(server, "");
    wait_until("the body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    world.share.set(HANG);
    world.write("b.csv");
    wait_until("the look to hang", BOUND, || world.share.waiting() > 0);
    gate.open();
    daemon
}

#[test]
fn while_a_share_hangs_there_is_one_look_acceptances_are_written_down_and_the_log_says_how_long() {
    let Some(world) = World::new(State::Elsewhere) else {
        return;
    };
    let gate = Gate::new();
    let server = holding(&gate);
    let daemon = hung_under_an_upload(&world, &server, &gate);
    wait_until("the acceptance to be written down", BOUND, || {
        world.journal().contains("a.csv")
    });
    let (cpu, mut most) = (daemon.cpu_time(), 0);
    // Seconds, from 30 on, in a line about a hang.
    let says_how_long = |line: &String| {
        line.contains("hang")
            && line
                .split([' ', ';'])
                .any(|word| word.parse().is_ok_and(|secs: u32| secs >= 30))
    };
    wait_until("the log to say that and how long it hangs", BOUND, || {
        most = most.max(world.share.waiting());
        daemon.log().iter().any(says_how_long)
    });
    // The look, the filing of a.csv, and one to spare.
    assert!(most <= 3, "{most} requests hung");
    let cpu = daemon.cpu_time().saturating_sub(cpu);
    assert!(
        cpu < Duration::from_secs(1),
        "{cpu:?} of work while nothing could be done"
    );
    world.share.heal();
    world.wait_done(&["a.csv", "b.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv"]);
}

#[test]
fn an_upload_that_ends_while_the_share_hangs_is_logged_as_delivered() {
    let Some(world) = World::new(State::Elsewhere) else {
        return;
    };
    let gate = Gate::new();
    let server = holding(&gate);
    let daemon = hung_under_an_upload(&world, &server, &gate);
    daemon.wait_log("delivered a.csv");
    world.share.heal();
    world.wait_done(&["a.csv", "b.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv"]);
}

#[test]
fn with_the_state_on_the_hung_share_an_acceptance_waits_for_it_and_is_not_lost() {
    let Some(world) = World::new(State::OnTheShare) else {
        return;
    };
    let gate = Gate::new();
    let server = holding(&gate);
    let _daemon = hung_under_an_upload(&world, &server, &gate);
    wait_until("the journal to hang as well", BOUND, || {
        world.share.waiting() > 1
    });
    assert!(
        world.share.waiting() <= 3,
        "{} requests hang",
        world.share.waiting()
    );
    world.share.heal();
    world.wait_done(&["a.csv", "b.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv"]);
}

#[test]
fn a_file_whose_reading_hangs_keeps_no_other_waiting() {
    let Some(world) = World::new(State::OnTheShare) else {
        return;
    };
    let server = Server::accepting();
    world.share.set(Faults {
        hang: Some(Hang::ReadsOf("a.csv")),
        ..NONE
    });
    world.write("a.csv");
    let _daemon = world.start(&server, "send.workers = 2");
    wait_until("its reading to hang", BOUND, || world.share.waiting() == 1);
    world.write("b.csv");
    world.wait_done(&["b.csv"]);
    world.write("c.csv");
    world.wait_done(&["b.csv", "c.csv"]);
    world.share.heal();
    world.wait_done(&["a.csv", "b.csv", "c.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv", "c.csv"]);
}

#[test]
fn what_it_shows_is_answered_while_the_share_hangs_also_from_the_start() {
    for state in BOTH {
        let Some(world) = World::new(state) else {
            return;
        };
        let server = Server::accepting();
        world.write("a.csv");
        let listen = "report.listen = \"127.0.0.1:0\"";
        let daemon = world.start(&server, listen);
        let at = listens_at(&daemon);
        world.wait_done(&["a.csv"]);
        world.share.set(HANG);
        wait_until("the look to hang", BOUND, || world.share.waiting() > 0);
        // One that has seen nothing of the folder yet.
        let other = world.start(&server, listen);
        let at_other = listens_at(&other);
        for (at, sentence) in [
            (at, "<h1>all is well: "),
            (at_other, "<h1>starting: the folder is being opened</h1>"),
        ] {
            wait_until(sentence, BOUND, || get(at, "/").body.contains(sentence));
            for path in ["/healthz", "/metrics", "/status.json"] {
                assert_eq!(get(at, path).status, 200, "{state:?}: {path}");
            }
        }
        world.share.heal();
    }
}

fn a_stop_while_it_hangs(state: State) -> Option<()> {
    let world = World::new(state)?;
    let server = Server::accepting();
    world.write("a.csv");
    let mut daemon = world.start(&server, "");
    world.wait_done(&["a.csv"]);
    world.share.set(HANG);
    wait_until("the look to hang", BOUND, || world.share.waiting() > 0);
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{state:?}: it took {:?}",
        asked.elapsed()
    );
    world.share.heal();
    world.write("b.csv");
    let _daemon = world.start(&server, "");
    world.wait_done(&["a.csv", "b.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv"], "{state:?}");
    Some(())
}

#[test]
fn a_stop_ends_it_while_the_share_hangs() {
    let _ = BOTH.into_iter().try_for_each(a_stop_while_it_hangs);
}

fn a_stop_with_an_upload_under_way(state: State, signals: usize, bound: Duration) -> Option<()> {
    let world = World::new(state)?;
    let gate = Gate::new();
    let server = holding(&gate);
    world.write("a.csv");
    let mut daemon = world.start(&server, "");
    wait_until("the body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    world.share.set(HANG);
    wait_until("the look to hang", BOUND, || world.share.waiting() > 0);
    let asked = Instant::now();
    for _ in 0..signals {
        daemon.signal(Signal::TERM);
        daemon.wait_log("stopping");
    }
    daemon.wait_exit(BOUND);
    assert!(
        asked.elapsed() < bound,
        "{state:?}: it took {:?}",
        asked.elapsed()
    );
    gate.open();
    world.share.heal();
    let _daemon = world.start(&server, "");
    world.wait_done(&["a.csv"]);
    let keys: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.key)
        .collect();
    assert!(
        keys.len() <= 2 && keys.iter().all(|key| *key == keys[0]),
        "{state:?}: {keys:?}"
    );
    Some(())
}

#[test]
fn a_stop_ends_it_after_the_grace_while_the_share_hangs_under_an_upload() {
    let _ = BOTH
        .into_iter()
        .try_for_each(|state| a_stop_with_an_upload_under_way(state, 1, Duration::from_secs(20)));
}

#[test]
fn a_second_stop_ends_it_at_once_while_the_share_hangs() {
    let _ = BOTH
        .into_iter()
        .try_for_each(|state| a_stop_with_an_upload_under_way(state, 2, Duration::from_secs(8)));
}

#[test]
fn a_start_on_a_hung_share_can_be_stopped_and_goes_on_when_the_share_does() {
    for state in BOTH {
        let Some(world) = World::new(state) else {
            return;
        };
        let server = Server::accepting();
        world.write("a.csv");
        world.share.set(HANG);
        let mut stopped = world.start(&server, "");
        let _waits = world.start(&server, "");
        wait_until("both to hang", BOUND, || world.share.waiting() > 1);
        let asked = Instant::now();
        stopped.signal(Signal::TERM);
        assert_eq!(stopped.wait_exit(BOUND), 0);
        assert!(
            asked.elapsed() < Duration::from_secs(15),
            "{state:?}: it took {:?}",
            asked.elapsed()
        );
        world.share.heal();
        world.wait_done(&["a.csv"]);
        assert_eq!(sent(&server), ["a.csv"], "{state:?}");
    }
}

#[test]
fn once_on_a_hung_share_ends_at_its_deadline_and_says_that_something_is_left() {
    for state in BOTH {
        let Some(world) = World::new(state) else {
            return;
        };
        let server = Server::accepting();
        world.write("a.csv");
        world.share.set(HANG);
        let file = world
            .elsewhere
            .write("dirpost.toml", world.config(&server, ""));
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_dirpost"))
            .args(["once", "--deadline", "1s", "--config"])
            .arg(file)
            .spawn()
            .unwrap();
        let started = Instant::now();
        let mut status = None;
        while status.is_none() && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
            status = child.try_wait().unwrap();
        }
        world.share.set(NONE);
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(3),
            "{state:?}"
        );
    }
}

#[test]
fn what_was_accepted_while_the_share_hangs_is_not_sent_again_after_a_kill() {
    let Some(world) = World::new(State::Elsewhere) else {
        return;
    };
    let gate = Gate::new();
    let server = holding(&gate);
    let mut daemon = hung_under_an_upload(&world, &server, &gate);
    wait_until("the acceptance to be written down", BOUND, || {
        world.journal().contains("a.csv")
    });
    daemon.kill();
    world.share.heal();
    let _daemon = world.start(&server, "");
    world.wait_done(&["a.csv", "b.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv"]);
}
