//! `ready.marker = "{stem}.done"`: one marker for several files.

use crate::dead::ask;
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, once, wait_until};

const STEMS: &str = "ready.marker = \"{stem}.done\"";

#[test]
fn a_marker_lets_all_files_of_its_stem_go_and_is_filed_with_the_last_of_them() {
    for action in ["move", "delete"] {
        let server = Server::start(|head| {
            Reaction::Answer(if head.path == "a.xml" && head.attempt < 4 {
                500
            } else {
                200
            })
        });
        let dir = Dir::new();
        for name in ["a.csv", "a.xml", "ab.csv", "b.csv"] {
            dir.write(name, name);
        }
        dir.write("a.done", "");
        let extra = format!("{STEMS}\ndelivered.action = \"{action}\"");
        let text = config(dir.path(), &server.url(), &extra);
        let daemon = Daemon::start(&text);
        wait_until("both to be accepted", BOUND, || {
            server.accepted_count() == 2
        });
        wait_until("all three to be filed", BOUND, || {
            dir.waiting() == ["ab.csv", "b.csv"]
        });
        let done: &[&str] = match action {
            "move" => &["a.csv", "a.done", "a.xml"],
            _ => &[],
        };
        assert_eq!(dir.done(), done);
        drop(daemon);
        let mut paths: Vec<String> = server.accepted().into_iter().map(|it| it.path).collect();
        paths.sort();
        assert_eq!(paths, ["a.csv", "a.xml"]);
    }
}

#[test]
fn a_dead_letter_takes_the_marker_of_its_stem_back_and_leaves_it_while_others_need_it() {
    let server = Server::start(|_| Reaction::AnswerWith(422, Vec::new(), "no".into()));
    let dir = Dir::new();
    for name in ["a.csv", "a.xml", "a.done"] {
        dir.write(name, "x");
    }
    let text = config(dir.path(), &server.url(), STEMS);
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    assert_eq!(dir.dead(), ["a.csv", "a.done", "a.xml"]);
    let place = Dir::new();
    let file = place.write("dirpost.toml", &text);
    let run = |words: &[&str]| {
        let (code, said) = ask(&file, words);
        assert_eq!(code, Some(0), "{said}");
        said
    };
    let said = run(&["list"]);
    assert!(!said.contains("a.done"), "{said}");
    run(&["discard", "a.csv"]);
    assert_eq!(dir.dead(), ["a.done", "a.xml"]);
    run(&["retry", "a.xml"]);
    assert_eq!(dir.waiting(), ["a.done", "a.xml"]);
    assert!(dir.dead().is_empty());
}
