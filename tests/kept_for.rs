//! `delivered.keep_for`: what dirpost has put into `done` is removed when its time is over.

use std::time::{Duration, UNIX_EPOCH};

use crate::util::{BOUND, Daemon, Dir, Server, config, once, wait_until};

const SHORT: &str =
    "delivered.keep_for = \"1s\"\ndelivered.keep_answer = true\nready.marker = \".ok\"";

#[test]
fn what_dirpost_has_put_into_done_goes_when_its_time_is_over_and_nothing_else_does() {
    let dir = Dir::new();
    let server = Server::accepting();
    for name in ["sub/a.csv", "touched.csv"] {
        dir.write(name, "a");
        dir.write(format!("{name}.ok"), "");
    }
    // A move keeps the mtime: that says nothing of when a file was filed.
    dir.set_mtime("sub/a.csv", UNIX_EPOCH + Duration::from_secs(1_000_000));
    dir.write(".dirpost/done/foreign.csv", "not dirpost's");
    let daemon = Daemon::start(&config(dir.path(), &server.url(), SHORT));
    wait_until("both to be filed", BOUND, || {
        server.requests().len() == 2 && dir.waiting().is_empty()
    });
    let stays = ["foreign.csv", "touched.csv"];
    // Somebody works on it where it lies: then it is theirs.
    dir.write(".dirpost/done/touched.csv", "changed by somebody");
    wait_until("the others to be removed", BOUND, || dir.done() == stays);
    daemon.wait_log("removed from done: ");
}

#[test]
fn once_removes_what_an_earlier_run_has_filed_and_a_time_that_is_not_over_is_waited_for() {
    let dir = Dir::new();
    let server = Server::accepting();
    dir.write("a.csv", "a");
    let long = config(dir.path(), &server.url(), "delivered.keep_for = \"9d\"");
    let short = config(dir.path(), &server.url(), "delivered.keep_for = \"1s\"");
    assert_eq!(once(&long, &[]).status.code(), Some(0));
    assert_eq!(once(&long, &[]).status.code(), Some(0));
    assert_eq!(dir.done(), ["a.csv"]);
    wait_until("its second to be over", BOUND, || {
        assert_eq!(once(&short, &[]).status.code(), Some(0));
        dir.done().is_empty()
    });
    assert_eq!(server.requests().len(), 1);
}
