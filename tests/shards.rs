//! `watch.shard`: several processes share one folder.

use crate::util::{BOUND, Daemon, Dir, Server, config, once, wait_until};

fn shard(dir: &Dir, server: &Server, which: &str, more: &str) -> String {
    let set = format!("watch.shard = \"{which}\"\nready.settle = \"0s\"\n{more}");
    config(dir.path(), &server.url(), &set)
}

fn sent(server: &Server) -> Vec<String> {
    let requests = server.accepted();
    let mut names: Vec<String> = requests.iter().map(|it| it.path.clone()).collect();
    names.sort();
    names
}

#[test]
fn each_file_is_sent_by_one_of_the_shards_side_by_side() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let mut names: Vec<String> = (0..40).map(|number| format!("d/f{number}.csv")).collect();
    names.sort();
    for name in &names {
        dir.write(name, "x");
    }
    let shards = ["1/3", "2/3", "3/3"];
    let running = shards.map(|which| Daemon::start(&shard(&dir, &server, which, "")));
    wait_until("all to be filed", BOUND, || {
        dir.waiting().is_empty() && sent(&server).len() == names.len()
    });
    assert_eq!(sent(&server), names);
    let done = |index: usize| dir.list(format!(".dirpost/shard-{index}-of-3/done"));
    let filed = [1, 2, 3].map(done);
    assert!(filed.iter().all(|files| !files.is_empty()), "{filed:?}");
    assert_eq!(filed.concat().len(), names.len());
    // A second one for the same part waits, and so does one for all of the folder.
    let again = once(&shard(&dir, &server, "2/3", ""), &[]);
    assert_eq!(again.status.code(), Some(5), "{again:?}");
    let all = once(&config(dir.path(), &server.url(), ""), &[]);
    assert_eq!(all.status.code(), Some(5), "{all:?}");
    let other = once(&shard(&dir, &server, "1/2", ""), &[]);
    assert_eq!(other.status.code(), Some(5), "{other:?}");
    drop(running);
}

#[test]
fn a_start_with_another_count_takes_over_what_the_journals_of_the_old_one_hold() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let keep = "delivered.action = \"keep\"";
    let names: Vec<String> = (0..20).map(|number| format!("f{number}.csv")).collect();
    for name in &names {
        dir.write(name, "x");
    }
    let run = |which: &str| {
        let text = match which {
            "all" => config(
                dir.path(),
                &server.url(),
                &format!("{keep}\nready.settle = \"0s\""),
            ),
            which => shard(&dir, &server, which, keep),
        };
        let ended = once(&text, &[]);
        assert_eq!(ended.status.code(), Some(0), "{which}: {ended:?}");
    };
    for layout in [
        &["all"][..],
        &["1/2", "2/2"],
        &["1/3", "2/3", "3/3"],
        &["2/2", "1/2"],
        &["all"],
    ] {
        for which in layout {
            run(which);
        }
        assert_eq!(
            server.requests().len(),
            names.len(),
            "{layout:?}: none goes again"
        );
    }
    run("1/2");
    // As a clean-up by age does it.
    std::fs::remove_file(dir.join(".dirpost/shards")).unwrap();
    dir.write("new.csv", "x");
    run("1/2");
    run("2/2");
    assert_eq!(server.requests().len(), names.len() + 1);
}
