//! `dirpost dead-letter`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

/// A server that rejects everything until it is told otherwise.
pub fn strict() -> (Server, Arc<AtomicBool>) {
    let kind = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&kind);
    let server = Server::start(move |_| {
        if shared.load(Ordering::SeqCst) {
            Reaction::Answer(200)
        } else {
            Reaction::AnswerWith(422, Vec::new(), "no such\ncustomer".into())
        }
    });
    (server, kind)
}

/// What `dead-letter` answers: its exit code, and what it prints.
pub fn ask(file: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let output = dirpost(
        &[
            &["dead-letter"],
            args,
            &["--config", file.to_str().unwrap()],
        ]
        .concat(),
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn what_lies_there_is_listed_shown_and_discarded() {
    let (dir, place, (server, _)) = (Dir::new(), Dir::new(), strict());
    let text = config(dir.path(), &server.url(), "");
    let file = place.write("dirpost.toml", &text);
    let (code, said) = ask(&file, &["list"]);
    assert!(
        code == Some(1) && said.contains("dirpost has not worked on"),
        "{said}"
    );
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    let (code, said) = ask(&file, &["list"]);
    assert!(
        code == Some(0) && said.starts_with("nothing lies in"),
        "{said}"
    );
    dir.write("sub/a.csv", "a");
    dir.write("b.csv", "b");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    let (code, said) = ask(&file, &["list"]);
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    assert!(
        said.contains("sub/a.csv") && said.contains("answered 422: \"no such customer\""),
        "{said}"
    );
    let (code, said) = ask(&file, &["show", "sub/a.csv"]);
    assert!(
        code == Some(0)
            && said.contains("no such")
            && said.contains("customer")
            && said.contains("key: "),
        "{said}"
    );
    assert_eq!(ask(&file, &["show", "nothing.csv"]).0, Some(1));
    assert_eq!(ask(&file, &["discard"]).0, Some(2));
    assert_eq!(ask(&file, &["discard", "b.csv"]).0, Some(0));
    assert_eq!(
        dir.list(".dirpost/dead-letter"),
        ["sub/a.csv", "sub/a.csv.reason.json"]
    );
}

#[test]
fn a_retry_beside_the_running_daemon_sends_it_under_a_new_key() {
    let (dir, place, (server, kind)) = (Dir::new(), Dir::new(), strict());
    let text = config(
        dir.path(),
        &server.url(),
        "ready.settle = \"0s\"\nwatch.interval = \"50ms\"",
    );
    let file = place.write("dirpost.toml", &text);
    dir.write("sub/a.csv", "a");
    let _daemon = Daemon::start(&text);
    for round in 1..=3 {
        // Under another name where the retry had still to remove the reason of the time before.
        wait_until("it to be condemned", BOUND, || dir.dead().len() == 1);
        assert_eq!(server.requests().len(), round);
        kind.store(round == 3, Ordering::SeqCst);
        let (code, said) = ask(&file, &["retry", "--all"]);
        assert_eq!(code, Some(0), "{said}");
        wait_until("it to be sent again", BOUND, || {
            server.requests().len() == round + 1
        });
    }
    wait_until("it to be filed", BOUND, || dir.done() == ["sub/a.csv"]);
    assert!(dir.list(".dirpost/dead-letter").is_empty());
    let mut keys: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.key)
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4, "each retry has a key of its own");
}

#[cfg(unix)]
#[test]
fn a_retry_that_a_check_meets_before_any_listing_is_sent_under_a_new_key() {
    let (dir, place, (server, kind)) = (Dir::new(), Dir::new(), strict());
    let (held, began) = (place.path().join("held"), place.path().join("began"));
    let script = format!(
        "while test -e '{}'; do : > '{}'; sleep 0.02; done",
        held.display(),
        began.display()
    );
    let extra = format!(
        "ready.settle = \"0s\"\nwatch.interval = \"1h\"\n\
         check.command = ['sh', '-c', \"{script}\", '{{file}}']"
    );
    let text = config(dir.path(), &server.url(), &extra);
    let file = place.write("dirpost.toml", &text);
    dir.write("a.csv", "old");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    kind.store(true, Ordering::SeqCst);
    dir.write("a.csv", "another version");
    place.write("held", "");
    let _daemon = Daemon::start(&text);
    wait_until("the other version to be checked", BOUND, || began.exists());
    std::fs::remove_file(dir.join("a.csv")).expect("it is there");
    let (code, said) = ask(&file, &["retry", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_file(place.join("held")).expect("it is there");
    wait_until("the first version to be accepted", BOUND, || {
        server.accepted_bodies("a.csv") == [b"old"]
    });
    let keys: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.key)
        .collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1], "a retry has a key of its own");
}

#[test]
fn a_retry_replaces_nothing() {
    let (dir, place, (server, _)) = (Dir::new(), Dir::new(), strict());
    let text = config(dir.path(), &server.url(), "");
    let file = place.write("dirpost.toml", &text);
    dir.write("a.csv", "old");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    dir.write("a.csv", "new");
    let (code, said) = ask(&file, &["retry", "a.csv"]);
    assert!(
        code == Some(1) && said.contains("its old place is taken"),
        "{said}"
    );
    assert_eq!(
        (dir.text("a.csv"), dir.text(".dirpost/dead-letter/a.csv")),
        ("new".into(), "old".into())
    );
}

#[test]
fn of_many_that_are_put_back_together_one_that_cannot_be_fails_alone() {
    let (dir, place, (server, _)) = (Dir::new(), Dir::new(), strict());
    let text = config(dir.path(), &server.url(), "send.brake = 0");
    let file = place.write("dirpost.toml", &text);
    // More files, and in more folders, than are put back at a time.
    let names: Vec<String> = (0..90)
        .map(|number| format!("d{}/f{number}.csv", number % 45))
        .collect();
    for name in &names {
        dir.write(name, name);
    }
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    dir.write("d7/f7.csv", "new");
    let (code, said) = ask(&file, &["retry", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    let count = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("back at its place"), names.len() - 1, "{said}");
    assert_eq!(count("its old place is taken"), 1, "{said}");
    for name in names.iter().filter(|name| *name != "d7/f7.csv") {
        assert_eq!(dir.text(name), *name);
    }
    assert_eq!(
        dir.list(".dirpost/dead-letter"),
        ["d7/f7.csv", "d7/f7.csv.reason.json"]
    );
}

#[test]
fn a_forged_reason_file_leads_into_no_other_folder() {
    let (dir, place, (server, _)) = (Dir::new(), Dir::new(), strict());
    let inner = dir.mkdir("in");
    let text = config(&inner, &server.url(), "");
    let file = place.write("dirpost.toml", &text);
    for name in ["a.csv", "sub/b.csv", "sub/c.csv", "d.csv"] {
        dir.write(format!("in/{name}"), name);
    }
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    let forge = |name: &str, path: &str| {
        let reason = format!("in/.dirpost/dead-letter/{name}.reason.json");
        let forged = dir.text(&reason).replace(
            &format!("\"path\": \"{name}\""),
            &format!("\"path\": \"{path}\""),
        );
        assert!(forged.contains(path));
        dir.write(reason, forged);
    };
    forge("a.csv", "../outside.csv");
    forge("sub/b.csv", "/etc/outside.csv");
    forge("sub/c.csv", "..");
    forge("d.csv", ".dirpost");
    let (code, said) = ask(&file, &["retry", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("dirpost's own folder"), "{said}");
    assert_eq!(dir.list(""), {
        let mut all = dir.list("in/.dirpost");
        all.iter_mut()
            .for_each(|name| *name = format!("in/.dirpost/{name}"));
        all.extend(["in/outside.csv", "in/sub/c.csv", "in/sub/outside.csv"].map(String::from));
        all
    });
    assert!(dir.exists("in/.dirpost/dead-letter/d.csv"));
}

/// A watched folder with six dead letters: three `.csv` (422), two `.big` (413), and `f.bin`, which fails
/// its check. Beside it the folder of the configuration file, the endpoint, and the path of that file.
fn six_dead_letters() -> (Dir, Dir, Server, std::path::PathBuf) {
    let (dir, place) = (Dir::new(), Dir::new());
    let server = Server::start(|head| match head.path.as_str() {
        path if path.ends_with(".csv") => {
            Reaction::AnswerWith(422, Vec::new(), format!("customer of {path}"))
        }
        path if path.ends_with(".big") => Reaction::Answer(413),
        _ => Reaction::Answer(200),
    });
    let text = config(dir.path(), &server.url(), "check.max_size = 3\n");
    let file = place.write("dirpost.toml", &text);
    for name in ["a.csv", "sub/b.csv", "c.big", "d.big", "e.csv"] {
        dir.write(name, "1");
    }
    dir.write("f.bin", "12345");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    (dir, place, server, file)
}

#[test]
fn dead_letters_are_chosen_by_status_age_and_glob() {
    let (dir, _place, _server, file) = six_dead_letters();
    let names = |args: &[&str]| {
        let (code, said) = ask(&file, &[&["list", "-0"], args].concat());
        assert_eq!(code, Some(0), "{said}");
        let names = said.split_terminator('\0').map(str::to_string);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&["--status", "422"]), ["a.csv", "e.csv", "sub/b.csv"]);
    assert_eq!(
        names(&["--status", "410-419,check"]),
        ["c.big", "d.big", "f.bin"]
    );
    assert_eq!(
        names(&["--glob", "sub/**", "--glob", "*.bin"]),
        ["f.bin", "sub/b.csv"]
    );
    assert_eq!(
        names(&["--status", "422", "sub"]),
        ["sub/b.csv"],
        "of what is named"
    );
    assert_eq!(names(&["--newer", "1h"]).len(), 6);
    assert_eq!(names(&["--older", "1h"]), Vec::<String>::new());
    let (code, said) = ask(&file, &["list", "--older", "1h"]);
    assert!(code == Some(0) && said.starts_with("nothing in "), "{said}");

    let (code, said) = ask(&file, &["discard"]);
    assert!(code == Some(2) && said.contains("--older"), "{said}");
    let (code, said) = ask(&file, &["discard", "--status", "4xx"]);
    assert!(code == Some(2) && said.contains("400-499"), "{said}");
    let (code, said) = ask(&file, &["discard", "--status", "413"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = ask(&file, &["retry", "--glob", "*.csv", "--newer", "1h"]);
    assert!(code == Some(0) && said.lines().count() == 3, "{said}");
    assert_eq!(dir.dead(), ["f.bin"]);
    assert_eq!(dir.waiting(), ["a.csv", "e.csv", "sub/b.csv"]);
}

#[test]
fn dead_letters_are_summed_up_and_told_to_programs() {
    let (dir, _place, _server, file) = six_dead_letters();
    let (_, said) = ask(&file, &["list", "--summary"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("3 files (3 B), "), "{said}");
    assert!(lines[0].ends_with(" answered 422"), "{said}");
    let (_, said) = ask(&file, &["list", "--json", "--glob", "a.csv"]);
    let object: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(
        (&object["path"], &object["status"]),
        (&"a.csv".into(), &422.into())
    );
    assert_eq!(object["body"], "customer of a.csv");
    let (code, said) = ask(&file, &["discard", "--status", "413", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    for line in said.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(
            object["done"].as_str().unwrap().ends_with(": deleted"),
            "{line}"
        );
    }
    assert_eq!(dir.dead(), ["a.csv", "e.csv", "f.bin", "sub/b.csv"]);
}
