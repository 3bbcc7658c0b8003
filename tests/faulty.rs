//! Shares that hang, fail half-way, or show nothing: nothing is forgotten, and nothing sent twice.
//! Needs root and /dev/fuse on Linux, and says so where they are missing.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fuser::Errno;
use rustix::process::Signal;

use crate::util::fuse::{Empty, Faults, Hang, Share};
use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Server, config, wait_until};

const KEEP: &str = "delivered.action = \"keep\"";
const HANG: Faults = Faults {
    hang: Some(Hang::Everything),
    ..NONE
};
const NONE: Faults = Faults {
    hang: None,
    all: None,
    listing: None,
    look: None,
    empty: None,
    acted: None,
    delay: None,
};
/// A fault of a disk, of NFS, and one that nobody expects.
const ERRORS: [Errno; 3] = [Errno::EIO, Errno::ESTALE, Errno::EREMOTE];

/// Where the state is.
#[derive(Clone, Copy, Debug)]
enum State {
    OnTheShare,
    Elsewhere,
}

const BOTH: [State; 2] = [State::OnTheShare, State::Elsewhere];

/// A share, a folder on a local disk, and what dirpost needs to run on them.
struct World {
    share: Share,
    elsewhere: Dir,
    state: State,
}

impl World {
    /// `None` where nothing can be mounted.
    fn new(state: State) -> Option<World> {
        Some(World {
            share: Share::mount()?,
            elsewhere: Dir::new(),
            state,
        })
    }

    fn config(&self, server: &Server, extra: &str) -> String {
        let mut extra = extra.to_string();
        if let State::Elsewhere = self.state {
            extra += &format!("\nstate.dir = '{}'", self.elsewhere.path().display());
        }
        config(&self.share.path(), &server.url(), &extra)
    }

    fn start(&self, server: &Server, extra: &str) -> Daemon {
        Daemon::start(&self.config(server, extra))
    }

    fn write(&self, name: &str) {
        self.share.back().write(name, format!("this is {name}"));
    }

    /// What lies in a folder of the state folder.
    fn list(&self, name: &str) -> Vec<String> {
        match self.state {
            State::OnTheShare => self.share.back().list(&format!(".dirpost/{name}")),
            State::Elsewhere => self.elsewhere.list(name),
        }
    }

    /// All lines of the journal.
    fn journal(&self) -> String {
        let files = self.list("journal");
        files
            .iter()
            .map(|name| self.elsewhere.text(format!("journal/{name}")))
            .collect()
    }

    /// Waits until exactly these are in done.
    fn wait_done(&self, names: &[&str]) {
        wait_until(&format!("{names:?} in done"), BOUND, || {
            self.list("done") == names
        });
    }

    /// Waits for so many listings more, each of which may have been the one under way.
    fn wait_listings(&self, count: usize) {
        let seen = self.share.listings();
        wait_until("more looks", BOUND, || self.share.listings() > seen + count);
    }

    /// Waits until the fault has been met so many times more.
    fn wait_failed(&self, count: usize) {
        self.wait_failed_since(self.share.failed(), count);
    }

    fn wait_failed_since(&self, seen: usize, count: usize) {
        wait_until("the fault to be met", BOUND, || {
            self.share.failed() >= seen + count
        });
    }
}

/// The paths of all requests, sorted.
fn sent(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    paths
}

/// How often each of them was accepted.
fn accepted(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = server
        .accepted()
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    paths
}

/// Accepts everything, `a.csv` only when the gate is opened.
fn holding(gate: &Gate) -> Server {
    let gate = gate.clone();
    Server::start(move |head| {
        if head.path == "a.csv" {
            Reaction::Hold(gate.clone(), 200)
        } else {
            Reaction::Answer(200)
        }
    })
}

/// Accepts everything, `own.csv` (in whichever folder) only when it is told to: else that is its own failure.
fn choosy(accept: &Arc<AtomicBool>) -> Server {
    let accept = Arc::clone(accept);
    Server::start(move |head| {
        let refused = head.path.ends_with("own.csv") && !accept.load(Ordering::SeqCst);
        Reaction::Answer(if refused { 500 } else { 200 })
    })
}

fn lines_with(daemon: &Daemon, parts: &[&str]) -> usize {
    daemon
        .log()
        .iter()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .count()
}

fn text_of(error: Errno) -> String {
    std::io::Error::from_raw_os_error(error.code()).to_string()
}

// ---- hanging ------------------------------------------------------------------------

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

// ---- failing ------------------------------------------------------------------------

#[test]
fn a_listing_of_the_root_that_fails_half_way_forgets_nothing_and_sends_nothing_again() {
    for state in BOTH {
        let Some(world) = World::new(state) else {
            return;
        };
        let accept = Arc::default();
        let server = choosy(&accept);
        let mut expected = vec!["a.csv", "b.csv", "c.csv", "sub/d.csv"];
        expected.iter().for_each(|name| world.write(name));
        let daemon = world.start(&server, KEEP);
        wait_until("all to be delivered", BOUND, || {
            accepted(&server) == expected
        });
        world.write("own.csv");
        wait_until("it to fail", BOUND, || {
            sent(&server).contains(&"own.csv".into())
        });
        for (error, new) in ERRORS.into_iter().zip(["x1.csv", "x2.csv", "x3.csv"]) {
            world.share.set(Faults {
                listing: Some(("", 2, error)),
                ..NONE
            });
            daemon.wait_log(&text_of(error));
            world.write(new);
            world.wait_failed(5);
            assert_eq!(
                lines_with(&daemon, &[&text_of(error)]),
                1,
                "once when it starts"
            );
            assert_eq!(accepted(&server), expected);
            world.share.heal();
            expected.push(new);
            wait_until("the new one to be delivered", BOUND, || {
                accepted(&server).len() == expected.len()
            });
        }
        assert_eq!(
            lines_with(&daemon, &["share: ", " after "]),
            ERRORS.len(),
            "once when it ends"
        );
        accept.store(true, Ordering::SeqCst);
        wait_until("what had failed to be delivered", BOUND, || {
            accepted(&server).len() > expected.len()
        });
        world.wait_listings(5);
        expected.push("own.csv");
        expected.sort_unstable();
        assert_eq!(accepted(&server), expected, "{state:?}");
        assert!(world.list("dead-letter").is_empty());
    }
}

#[test]
fn a_listing_of_a_subfolder_that_fails_half_way_leaves_it_as_it_was_and_the_rest_goes_on() {
    for error in ERRORS {
        let Some(world) = World::new(State::OnTheShare) else {
            return;
        };
        let accept = Arc::default();
        let server = choosy(&accept);
        let mut expected = vec!["sub/a.csv", "sub/b.csv", "sub/deep/c.csv", "top.csv"];
        expected.iter().for_each(|name| world.write(name));
        let daemon = world.start(
            &server,
            &format!("{KEEP}\nretry.max = \"200ms\"\nready.settle = \"1s\""),
        );
        wait_until("all to be delivered", BOUND, || {
            accepted(&server) == expected
        });
        world.write("sub/own.csv");
        let tries = |server: &Server| {
            sent(server)
                .iter()
                .filter(|path| *path == "sub/own.csv")
                .count()
        };
        wait_until("it to fail", BOUND, || tries(&server) > 1);
        // Seen, and not yet sent.
        world.write("sub/settling.csv");
        world.wait_listings(4);

        world.share.set(Faults {
            listing: Some(("sub", 1, error)),
            ..NONE
        });
        daemon.wait_log(&text_of(error));
        world.write("later.csv");
        wait_until("what is elsewhere to be delivered", BOUND, || {
            accepted(&server).contains(&"later.csv".into())
        });
        wait_until("what was settling to be delivered", BOUND, || {
            accepted(&server).contains(&"sub/settling.csv".into())
        });
        let before = tries(&server);
        wait_until("what had failed to be tried on", BOUND, || {
            tries(&server) > before + 1
        });
        accept.store(true, Ordering::SeqCst);
        wait_until("it to be delivered", BOUND, || {
            accepted(&server).contains(&"sub/own.csv".into())
        });
        world.write("sub/new.csv");
        world.wait_failed(5);
        assert_eq!(
            lines_with(&daemon, &["sub", &text_of(error)]),
            1,
            "once when it starts"
        );

        world.share.heal();
        wait_until("the new one to be delivered", BOUND, || {
            accepted(&server).contains(&"sub/new.csv".into())
        });
        world.wait_listings(10);
        expected.extend([
            "later.csv",
            "sub/new.csv",
            "sub/own.csv",
            "sub/settling.csv",
        ]);
        expected.sort_unstable();
        assert_eq!(accepted(&server), expected);
        assert_eq!(
            lines_with(&daemon, &["sub/own.csv", "(attempt 1)"]),
            1,
            "it was taken for a new one"
        );
        assert_eq!(
            lines_with(&daemon, &["can list sub again"]),
            1,
            "once when it ends"
        );
        assert!(world.list("dead-letter").is_empty());
    }
}

#[test]
fn a_share_on_which_every_call_fails_is_waited_for_and_nothing_is_sent_again() {
    for (state, error) in BOTH
        .into_iter()
        .flat_map(|state| ERRORS.map(|error| (state, error)))
    {
        let Some(world) = World::new(state) else {
            return;
        };
        let gate = Gate::new();
        let server = holding(&gate);
        world.write("a.csv");
        let daemon = world.start(&server, "");
        wait_until("the body at the endpoint", BOUND, || {
            server.whole_bodies() == 1
        });
        world.share.set(Faults {
            all: Some(error),
            ..NONE
        });
        daemon.wait_log(&text_of(error));
        world.write("b.csv");
        gate.open();
        wait_until("the acceptance", BOUND, || server.accepted_count() == 1);
        world.wait_failed(5);
        world.share.heal();
        world.wait_done(&["a.csv", "b.csv"]);
        assert_eq!(sent(&server), ["a.csv", "b.csv"], "{state:?} {error:?}");
        assert!(world.list("dead-letter").is_empty());
    }
}

#[test]
fn one_name_that_cannot_be_looked_at_is_left_as_it_was_and_all_others_go_on() {
    let Some(world) = World::new(State::OnTheShare) else {
        return;
    };
    let server = Server::accepting();
    let mut expected = vec![
        "a.csv",
        "sub/b.csv",
        "sub/bad.csv",
        "sub/c.csv",
        "worse.csv",
    ];
    expected.iter().for_each(|name| world.write(name));
    let daemon = world.start(&server, KEEP);
    wait_until("all to be delivered", BOUND, || {
        accepted(&server) == expected
    });

    for (bad, path, error, others) in [
        (
            "bad.csv",
            "sub/bad.csv",
            Errno::EIO,
            ["new.csv", "sub/new.csv"],
        ),
        (
            "worse.csv",
            "worse.csv",
            Errno::EREMOTE,
            ["last.csv", "sub/last.csv"],
        ),
    ] {
        world.share.set(Faults {
            look: Some((bad, error)),
            ..NONE
        });
        wait_until("the log to name the file and the error", BOUND, || {
            lines_with(&daemon, &[path, &text_of(error)]) == 1
        });
        others.iter().for_each(|name| world.write(name));
        expected.extend(others);
        wait_until("the others to be delivered", BOUND, || {
            accepted(&server).len() == expected.len()
        });
        world.wait_failed(5);
        world.share.heal();
        world.wait_listings(10);
    }
    expected.sort_unstable();
    assert_eq!(accepted(&server), expected);
    assert!(world.list("dead-letter").is_empty());
}

// ---- emptiness ----------------------------------------------------------------------

#[test]
fn a_share_that_shows_nothing_for_a_while_forgets_nothing_and_sends_nothing_again() {
    for (state, empty) in BOTH
        .into_iter()
        .flat_map(|state| [Empty::Listings, Empty::Everything].map(|empty| (state, empty)))
    {
        let Some(world) = World::new(state) else {
            return;
        };
        let accept = Arc::default();
        let server = choosy(&accept);
        let mut expected = vec!["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"];
        expected.iter().for_each(|name| world.write(name));
        let mut daemon = world.start(&server, KEEP);
        wait_until("all to be delivered", BOUND, || {
            accepted(&server) == expected
        });
        world.write("own.csv");
        wait_until("it to fail", BOUND, || {
            sent(&server).contains(&"own.csv".into())
        });
        world.share.set(Faults {
            empty: Some(empty),
            ..NONE
        });
        if empty == Empty::Everything {
            daemon.wait_log("share: ");
            world.wait_failed(5);
        } else {
            world.wait_listings(5);
            // Nor does a start forget what it does not see.
            daemon.kill();
            daemon = world.start(&server, KEEP);
            daemon.wait_log("first look");
            world.wait_listings(5);
        }
        world.share.heal();
        world.write("new.csv");
        expected.push("new.csv");
        wait_until("the new one to be delivered", BOUND, || {
            accepted(&server).len() == expected.len()
        });
        accept.store(true, Ordering::SeqCst);
        expected.push("own.csv");
        wait_until("what had failed to be delivered", BOUND, || {
            accepted(&server).len() == expected.len()
        });
        world.wait_listings(10);
        expected.sort_unstable();
        assert_eq!(accepted(&server), expected, "{state:?} {empty:?}");
        assert!(world.list("dead-letter").is_empty());
    }
}

#[test]
fn what_is_accepted_while_the_share_shows_nothing_is_filed_later_and_not_sent_again() {
    for state in BOTH {
        let Some(world) = World::new(state) else {
            return;
        };
        let gate = Gate::new();
        let server = holding(&gate);
        world.write("a.csv");
        let daemon = world.start(&server, "");
        wait_until("the body at the endpoint", BOUND, || {
            server.whole_bodies() == 1
        });
        world.share.set(Faults {
            empty: Some(Empty::Everything),
            ..NONE
        });
        daemon.wait_log("share: ");
        gate.open();
        wait_until("the acceptance", BOUND, || server.accepted_count() == 1);
        world.wait_failed(10);
        world.share.heal();
        world.write("b.csv");
        world.wait_done(&["a.csv", "b.csv"]);
        assert_eq!(sent(&server), ["a.csv", "b.csv"], "{state:?}");
    }
}

#[test]
fn what_is_accepted_while_the_share_shows_nothing_and_nobody_has_noticed_is_not_sent_again() {
    let Some(world) = World::new(State::OnTheShare) else {
        return;
    };
    let gate = Gate::new();
    let server = holding(&gate);
    world.write("a.csv");
    world.write("b.csv");
    // One look only: the filing of b.csv is what last opened the folders.
    let daemon = world.start(&server, "watch.interval = \"1h\"");
    world.wait_done(&["b.csv"]);
    wait_until("the body at the endpoint", BOUND, || {
        server.whole_bodies() == 2
    });
    world.share.set(Faults {
        empty: Some(Empty::Everything),
        ..NONE
    });
    let seen = world.share.failed();
    gate.open();
    wait_until("the acceptance", BOUND, || server.accepted_count() == 2);
    world.wait_failed_since(seen, 2);
    world.share.heal();
    world.write("c.csv");
    daemon.signal(Signal::USR1);
    world.wait_done(&["a.csv", "b.csv", "c.csv"]);
    assert_eq!(sent(&server), ["a.csv", "b.csv", "c.csv"]);
}
