//! Disks that fill up, and have room again: nothing is lost, nothing sent twice.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use crate::util::mount::{Mount, fill};
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, check, config, once, wait_until};

const DOWN: &str = "nothing is sent until it can be written again";

/// How often each path was accepted.
fn accepted(server: &Server) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in server.accepted() {
        *counts.entry(request.path).or_default() += 1;
    }
    counts
}

fn repeats(server: &Server) -> usize {
    accepted(server).values().map(|count| count - 1).sum()
}

/// What a disk for one of dirpost's folders needs.
struct World {
    dir: Dir,
    _disk: Mount,
}

impl World {
    /// How often the journal says this of a file.
    fn journaled(&self, what: &str) -> usize {
        let journal = self.dir.journal("in/.dirpost");
        journal.matches(&format!("\"{what}\"")).count()
    }

    fn new(size: &str) -> Option<World> {
        let dir = Dir::new();
        let disk = Mount::tmpfs(&dir.mkdir("small"), size)?;
        dir.mkdir("in");
        Some(World { dir, _disk: disk })
    }

    fn config(&self, server: &Server, key: &str, extra: &str) -> String {
        let place = self.dir.join("small").join("of-its-own");
        config(
            &self.dir.join("in"),
            &server.url(),
            &format!("{key} = '{}'\n{extra}", place.display()),
        )
    }

    fn fill(&self) {
        fill(&self.dir.join("small/filler"));
    }

    fn make_room(&self) {
        std::fs::remove_file(self.dir.join("small/filler")).unwrap();
    }

    /// What lies in the folder that has the small disk.
    fn list(&self) -> Vec<String> {
        self.dir.list("small/of-its-own")
    }

    fn drop_files(&self, count: usize, size: usize) -> Vec<String> {
        let names: Vec<String> = (0..count)
            .map(|number| format!("f{number:03}.csv"))
            .collect();
        for (number, name) in names.iter().enumerate() {
            self.dir
                .write(format!("in/{name}"), vec![b'a' + (number % 26) as u8; size]);
        }
        names
    }

    fn waiting(&self) -> usize {
        self.dir
            .list("in")
            .iter()
            .filter(|path| !path.starts_with(".dirpost"))
            .count()
    }
}

fn no_room_for_the_state(kill: bool) {
    let Some(world) = World::new("256k") else {
        return;
    };
    let server = Server::accepting();
    let done = world.dir.join("done");
    let extra = format!("delivered.dir = '{}'", done.display());
    let text = world.config(&server, "state.dir", &extra);
    let mut daemon = Daemon::start(&text);
    daemon.wait_log("first look");
    world.fill();
    // Lines fit into the last page of the journal for a while.
    let names = world.drop_files(100, 10);
    daemon.wait_log(DOWN);
    let journal = world.dir.join("small/of-its-own/journal");
    assert!(
        daemon.has_logged(&format!("journal: {}: ", journal.display())),
        "where to make room: {:?}",
        daemon.log()
    );
    assert!(
        daemon.has_logged("no room is left there"),
        "{:?}",
        daemon.log()
    );
    let stopped = server.requests().len();
    let more: Vec<String> = (0..20).map(|number| format!("late{number}.csv")).collect();
    more.iter()
        .for_each(|name| drop(world.dir.write(format!("in/{name}"), "late")));
    if kill {
        // What is in flight at the moment of a kill may be sent again.
        wait_until("what was in flight to be written down", BOUND, || {
            let log = daemon.log();
            let delivered = log.iter().filter(|line| line.contains(" delivered "));
            delivered.count() == server.accepted_count()
        });
        daemon.kill();
    }
    let again = kill.then(|| Daemon::start(&text));
    if let Some(again) = &again {
        again.wait_log("no room is left there; waiting for it");
    }
    world.make_room();
    let all = names.len() + more.len();
    wait_until("all to be filed", BOUND, || {
        world.dir.list("done").len() == all && world.waiting() == 0
    });
    println!(
        "kill {kill}: {stopped} requests before it stopped, {} repeats",
        repeats(&server)
    );
    assert!(stopped < names.len(), "nothing stopped it");
    assert_eq!(accepted(&server).len(), all);
    assert_eq!(repeats(&server), 0);
}

#[test]
fn no_room_for_the_state_stops_deliveries_and_with_room_again_all_goes_on_with_no_repeat() {
    no_room_for_the_state(false);
}

#[test]
fn no_room_for_the_state_and_a_kill_repeat_nothing_for_room_was_set_aside() {
    no_room_for_the_state(true);
}

#[test]
fn no_room_in_done_repeats_nothing_and_all_is_filed_when_there_is_room_also_after_a_restart() {
    for kill in [false, true] {
        let Some(world) = World::new("1m") else {
            return;
        };
        let server = Server::accepting();
        let text = world.config(&server, "delivered.dir", "");
        let mut daemon = Daemon::start(&text);
        daemon.wait_log("first look");
        world.fill();
        let names = world.drop_files(30, 10_000);
        wait_until("all to be accepted", BOUND, || {
            server.accepted_count() == names.len()
        });
        daemon.wait_log("delivered, but cannot be filed away");
        assert!(
            daemon.has_logged("no room is left there"),
            "{:?}",
            daemon.log()
        );
        if kill {
            // What the endpoint has and the journal does not may be sent again after a kill.
            wait_until("all acceptances in the journal", BOUND, || {
                world.journaled("accepted") >= names.len()
            });
            daemon.kill();
            daemon = Daemon::start(&text);
            daemon.wait_log("delivered, but cannot be filed away");
        }
        world.make_room();
        wait_until("all to be filed", BOUND, || world.list() == names);
        for (number, name) in names.iter().enumerate() {
            assert_eq!(
                world.dir.read(format!("small/of-its-own/{name}")),
                vec![b'a' + (number % 26) as u8; 10_000]
            );
        }
        assert_eq!((server.requests().len(), world.waiting()), (names.len(), 0));
        wait_until("nothing to be left on the way", BOUND, || {
            world.dir.list("in/.dirpost/staging").is_empty()
        });
        drop(daemon);
    }
}

#[test]
fn no_room_in_dead_letter_sends_nothing_again_and_all_is_filed_when_there_is_room_also_after_a_restart()
 {
    for kill in [false, true] {
        let Some(world) = World::new("1m") else {
            return;
        };
        let server = Server::start(|_| Reaction::AnswerWith(422, Vec::new(), "no".into()));
        let text = world.config(&server, "dead_letter.dir", "send.brake = 0");
        let mut daemon = Daemon::start(&text);
        daemon.wait_log("first look");
        world.fill();
        let names = world.drop_files(10, 10_000);
        // Until that is written down, a rejected file may be sent once more after a kill. It is
        // written down once, however often its filing fails.
        let condemned = || world.journaled("condemned");
        wait_until("all to be condemned", BOUND, || condemned() == names.len());
        daemon.wait_log("rejected, but cannot be filed there");
        if kill {
            daemon.kill();
            daemon = Daemon::start(&text);
            daemon.wait_log("rejected, but cannot be filed there");
        }
        world.make_room();
        let mut expected: Vec<String> = names
            .iter()
            .flat_map(|name| [name.clone(), format!("{name}.reason.json")])
            .collect();
        expected.sort();
        wait_until("all to be filed", BOUND, || world.list() == expected);
        for name in &names {
            assert_eq!(
                world.dir.read(format!("small/of-its-own/{name}")).len(),
                10_000
            );
            let reason = world
                .dir
                .text(format!("small/of-its-own/{name}.reason.json"));
            assert!(reason.contains("\"status\": 422"), "{reason}");
        }
        assert_eq!((server.requests().len(), world.waiting()), (names.len(), 0));
        drop(daemon);
    }
}

#[test]
fn a_share_that_is_full_repeats_nothing_and_loses_nothing() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let Some(_disk) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    dir.write("in/a.csv", "a");
    let daemon = Daemon::start(&config(&watched, &server.url(), "ready.empty = \"send\""));
    wait_until("the first one to be filed", BOUND, || {
        dir.exists("in/.dirpost/done/a.csv")
    });
    fill(&dir.join("in/.filler"));
    // An empty file needs no room, but its line in the journal does; so does its folder in done.
    for number in 0..40 {
        dir.write(format!("in/sub/e{number}.csv"), "");
    }
    wait_until("it to have noticed", BOUND, || {
        daemon.has_logged(DOWN) || daemon.has_logged("no room is left there")
    });
    std::fs::remove_file(dir.join("in/.filler")).unwrap();
    for number in 0..5 {
        dir.write(format!("in/b{number}.csv"), format!("b{number}"));
    }
    wait_until("all to be filed", BOUND, || {
        dir.list("in/.dirpost/done").len() == 46
    });
    assert_eq!((accepted(&server).len(), repeats(&server)), (46, 0));
}

#[test]
fn a_journal_that_finds_no_room_to_be_rewritten_forgets_nothing_and_is_rewritten_when_there_is() {
    /// With names of 200 bytes, so that the new journal does not fit into the room that is left.
    const KEPT: usize = 1_500;
    /// Bytes that are left on the disk: for lines, and for no second journal.
    const LEFT: u64 = 256 << 10;
    let Some(world) = World::new("32m") else {
        return;
    };
    let server = Server::accepting();
    let text = world.config(&server, "state.dir", "delivered.action = \"keep\"");
    for number in 0..KEPT {
        world.dir.write(format!("in/{number:0>200}"), "kept");
    }
    let sent = once(&text, &[]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(server.requests().len(), KEPT);
    // Each line outdates the one before of the same file.
    let journal = world.list().into_iter();
    let newest = journal.filter(|name| name.starts_with("journal/") && !name.ends_with("reserve"));
    let newest = newest.max().expect("a journal");
    let path = format!("small/of-its-own/{newest}");
    let lines = world.dir.read(&path);
    let first = lines
        .iter()
        .position(|&byte| byte == b'\n')
        .expect("a line")
        + 1;
    world
        .dir
        .write(&path, [&lines[..], &lines[first..].repeat(10)].concat());
    let journal_size = || world.dir.journal("small/of-its-own").len();
    let before = journal_size();
    assert!(before > 10 * KEPT * 280, "{before}");
    world.fill();
    let filler = std::fs::File::options()
        .write(true)
        .open(world.dir.join("small/filler"))
        .unwrap();
    let filled = filler.metadata().unwrap().len();
    filler.set_len(filled - LEFT).unwrap();
    drop(filler);

    let mut daemon = Daemon::start(&text);
    daemon.wait_log("rewriting it without what is filed failed");
    assert!(journal_size() >= before, "something has gone");
    let names = world.drop_files(20, 10);
    wait_until("the new ones", BOUND, || {
        server.accepted_count() >= KEPT + names.len()
    });
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
    world.make_room();
    let daemon = Daemon::start(&text);
    world.dir.write("in/last.csv", "last");
    wait_until("the last one", BOUND, || {
        accepted(&server).contains_key("last.csv")
    });
    wait_until("it to be rewritten", BOUND, || journal_size() < before / 4);
    assert_eq!(
        (server.requests().len(), repeats(&server)),
        (KEPT + names.len() + 1, 0)
    );
    drop(daemon);
}

#[test]
fn check_says_that_there_is_no_room_for_a_state() {
    let server = Server::accepting();
    let Some(world) = World::new("1m") else {
        return;
    };
    let text = world.config(&server, "state.dir", "");
    std::fs::create_dir(world.dir.join("small/of-its-own")).unwrap();
    assert_eq!(check(&text, &[]), [""; 0]);
    world.fill();
    let said = check(&text, &[]);
    assert!(
        said.len() == 1 && said[0].contains("no room is left there"),
        "{said:?}"
    );
    assert_eq!(world.list(), [""; 0], "it leaves nothing");
    world.make_room();
    assert_eq!(check(&text, &[]), [""; 0]);
}
