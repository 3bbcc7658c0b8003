//! A share on which calls fail, or that shows nothing.

use super::*;

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
            lines_with(&daemon, &["folder: ", " after "]),
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
        let tries = || {
            let sent = sent(&server).into_iter();
            sent.filter(|path| path == "sub/own.csv").count()
        };
        wait_until("it to fail", BOUND, || tries() > 1);
        // Seen, and not yet sent.
        world.write("sub/settling.csv");
        world.wait_listings(4);

        world.share.set(Faults {
            listing: Some(("sub", 1, error)),
            ..NONE
        });
        daemon.wait_log(&text_of(error));
        world.write("later.csv");
        wait_accepted(&server, "later.csv");
        wait_accepted(&server, "sub/settling.csv");
        let before = tries();
        wait_until("it to be tried again", BOUND, || tries() > before + 1);
        accept.store(true, Ordering::SeqCst);
        wait_accepted(&server, "sub/own.csv");
        world.write("sub/new.csv");
        world.wait_failed(5);
        assert_eq!(
            lines_with(&daemon, &["sub", &text_of(error)]),
            1,
            "once when it starts"
        );

        world.share.heal();
        wait_accepted(&server, "sub/new.csv");
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
            daemon.wait_log("folder: ");
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
        daemon.wait_log("folder: ");
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
