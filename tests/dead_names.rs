//! `dirpost dead-letter`: which file a name means, and what is said of what is not there.
#![cfg(unix)]

use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::Ordering;

use crate::dead::{ask, strict};
use crate::util::{Dir, Server, config, once};

/// Condemns these files, all in one run; the configuration that was used.
fn condemned(dir: &Dir, place: &Dir, names: &[&[u8]], extra: &str) -> (Server, std::path::PathBuf) {
    let (server, _) = strict();
    let text = config(
        dir.path(),
        &server.url(),
        &format!("send.brake = 0\n{extra}"),
    );
    for name in names {
        dir.write(std::ffi::OsStr::from_bytes(name), name);
    }
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    assert!(dir.waiting().is_empty(), "{:?}", dir.waiting());
    (server, place.write("dirpost.toml", text))
}

/// What the shell makes of a line of the command line.
fn shell(file: &std::path::Path, command: &str) -> (Option<i32>, String) {
    let line = format!(
        "exec '{}' dead-letter {command} --config '{}'",
        env!("CARGO_BIN_EXE_dirpost"),
        file.display()
    );
    let output = std::process::Command::new("bash")
        .args(["--norc", "-c", &line])
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn discard_takes_the_file_that_is_called_so_and_no_other() {
    let (dir, place) = (Dir::new(), Dir::new());
    let names: [&[u8]; 2] = [b"sale 50%.csv", b"sale 50%25.csv"];
    let (_server, file) = condemned(&dir, &place, &names, "");
    let (code, said) = ask(&file, &["discard", "sale 50%25.csv"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(dir.dead(), ["sale 50%.csv"]);
    // It is what the log prints for the other one, and no name of it.
    let (code, said) = ask(&file, &["discard", "sale 50%25.csv"]);
    assert!(
        code == Some(1) && said.contains("by its name there: 'sale 50%.csv'"),
        "{said}"
    );
    assert_eq!(ask(&file, &["retry", "sale 50%25.csv"]).0, Some(1));
    let (code, said) = ask(&file, &["show", "sale 50%25.csv"]);
    assert!(
        code == Some(0) && said.starts_with("'sale 50%.csv'"),
        "{said}"
    );
    assert_eq!(dir.dead(), ["sale 50%.csv"]);
    assert_eq!(ask(&file, &["discard", "sale 50%.csv"]).0, Some(0));
    assert!(dir.list(".dirpost/dead-letter").is_empty());
}

#[test]
fn what_list_prints_is_understood_by_the_other_commands_whatever_the_name() {
    let names: [&[u8]; 10] = [
        b"a\nb.csv",
        b"tab\there",
        b"\x1b[2Jclear",
        b"latin1-\xe4\xf6.csv",
        b"-rf",
        b"it's $HOME `x` \\n.csv",
        b"100%25.csv",
        "\u{202e}vsc.exe".as_bytes(),
        "gr\u{f6}\u{df}e.csv".as_bytes(),
        b"sub/x%0Ay",
    ];
    let (dir, place) = (Dir::new(), Dir::new());
    let (_server, file) = condemned(&dir, &place, &names, "watch.ignore_temporary = false");
    let (code, said) = ask(&file, &["list"]);
    assert_eq!(code, Some(0), "{said}");
    let words: Vec<&str> = said
        .lines()
        .map(|line| line.split("  ").nth(1).expect("a name"))
        .collect();
    assert_eq!(words.len(), names.len(), "{said}");
    assert!(
        !said.contains('\u{1b}') && !said.contains('\u{202e}'),
        "{said:?}"
    );
    for (at, word) in words.iter().enumerate() {
        let (code, said) = shell(&file, &format!("show {word}"));
        assert!(code == Some(0) && said.starts_with(word), "{word}: {said}");
        let (code, said) = shell(&file, &format!("discard {word}"));
        assert_eq!(code, Some(0), "{word}: {said}");
        assert_eq!(dir.dead().len(), names.len() - at - 1, "{word}");
    }
    assert!(dir.list(".dirpost/dead-letter").is_empty());
}

#[test]
fn show_prints_a_path_as_it_is_on_the_disk() {
    let (dir, place) = (Dir::new(), Dir::new());
    let (_server, file) = condemned(&dir, &place, &[b"100%25.csv", b"a b\n"], "");
    let said = ask(&file, &["show", "--all"]).1;
    let lines: Vec<&str> = said.lines().collect();
    for line in [
        "100%25.csv",
        "  path: 100%25.csv",
        "$'a b\\n'",
        "  path: $'a b\\n'",
    ] {
        assert!(lines.contains(&line), "{line}: {said}");
    }
}

#[test]
fn a_folder_means_all_in_it_and_all_is_asked_for_by_its_name() {
    let (dir, place) = (Dir::new(), Dir::new());
    let names: [&[u8]; 4] = [b"sub/a", b"sub/deep/b", b"sub2/c", b"d"];
    let (_server, file) = condemned(&dir, &place, &names, "");
    for all in ["", ".", "dead-letter/", dir.path().to_str().unwrap()] {
        let (code, said) = ask(&file, &["discard", all]);
        assert_eq!((code, dir.dead().len()), (Some(1), 4), "{all}: {said}");
    }
    assert_eq!(ask(&file, &["list", "sub"]).1.lines().count(), 2);
    assert_eq!(ask(&file, &["discard", "--all", "d"]).0, Some(2));
    let whole = dir.join(".dirpost/dead-letter/sub");
    let (code, said) = ask(&file, &["discard", whole.to_str().unwrap(), "sub/a"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(dir.dead(), ["d", "sub2/c"]);
    assert_eq!(ask(&file, &["discard", "--all"]).0, Some(0));
    assert!(dir.dead().is_empty());
}

#[test]
fn a_file_with_a_number_goes_back_by_the_name_that_it_had() {
    let (dir, place, (server, kind)) = (Dir::new(), Dir::new(), strict());
    let text = config(dir.path(), &server.url(), "");
    let file = place.write("dirpost.toml", &text);
    for content in ["first", "second"] {
        dir.write("sub/x.csv", content);
        assert_eq!(once(&text, &[]).status.code(), Some(4));
    }
    assert_eq!(dir.dead(), ["sub/x.1.csv", "sub/x.csv"]);
    let (code, said) = ask(&file, &["retry", "sub/x.1.csv"]);
    assert!(
        code == Some(0) && said.starts_with("sub/x.csv: back"),
        "{said}"
    );
    assert_eq!(dir.text("sub/x.csv"), "second");
    kind.store(true, Ordering::SeqCst);
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(dir.done(), ["sub/x.csv"]);
    assert_eq!(dir.text(".dirpost/dead-letter/sub/x.csv"), "first");
}

#[test]
fn a_dead_letter_without_its_reason_is_listed_and_can_be_retried_and_discarded() {
    let (dir, place) = (Dir::new(), Dir::new());
    let names: [&[u8]; 2] = [b"sub/a.csv", b"b.csv"];
    let (_server, file) = condemned(&dir, &place, &names, "");
    // As a clean-up of *.json does it.
    for name in ["sub/a.csv", "b.csv"] {
        std::fs::remove_file(dir.join(format!(".dirpost/dead-letter/{name}.reason.json"))).unwrap();
    }
    let said = ask(&file, &["list"]).1;
    assert!(
        said.lines().count() == 2 && said.lines().all(|line| line.ends_with("no reason file")),
        "{said}"
    );
    assert!(ask(&file, &["show", "b.csv"]).1.contains("no reason file"));
    let (code, said) = ask(&file, &["retry", "sub/a.csv"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(dir.waiting(), ["sub/a.csv"]);
    assert_eq!(ask(&file, &["discard", "b.csv"]).0, Some(0));
    assert!(dir.list(".dirpost/dead-letter").is_empty());
}

#[test]
fn a_marker_comes_back_with_its_file_and_goes_with_it() {
    let (dir, place) = (Dir::new(), Dir::new());
    let (server, _) = strict();
    let text = config(dir.path(), &server.url(), "ready.marker = \".ok\"");
    let file = place.write("dirpost.toml", &text);
    for name in ["a.csv", "a.csv.ok", "b.csv", "b.csv.ok"] {
        dir.write(name, "x");
    }
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    assert_eq!(ask(&file, &["list"]).1.lines().count(), 2);
    assert_eq!(ask(&file, &["retry", "a.csv"]).0, Some(0));
    assert_eq!(dir.waiting(), ["a.csv", "a.csv.ok"]);
    let (code, said) = ask(&file, &["discard", "b.csv"]);
    assert!(
        code == Some(0) && said.contains("with its marker"),
        "{said}"
    );
    assert!(dir.list(".dirpost/dead-letter").is_empty());
}

#[test]
fn a_share_that_is_not_there_is_not_called_empty() {
    let (dir, place) = (Dir::new(), Dir::new());
    let watched = dir.mkdir("in");
    let server = strict().0;
    let text = config(&watched, &server.url(), "");
    let file = place.write("dirpost.toml", &text);
    dir.write("in/a.csv", "a");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    std::fs::rename(&watched, dir.join("away")).unwrap();
    let said_missing = |args: &[&str]| {
        let (code, said) = ask(&file, args);
        assert!(
            code == Some(1)
                && !said.contains("nothing lies in")
                && !said.contains("no such file in"),
            "{args:?}: {said}"
        );
        said
    };
    for args in [
        &["list"][..],
        &["show", "a.csv"],
        &["retry", "--all"],
        &["discard", "a.csv"],
    ] {
        assert!(
            said_missing(args).contains("in: does not exist"),
            "{args:?}"
        );
    }
    // The empty folder below a mount point.
    std::fs::create_dir(&watched).unwrap();
    for args in [
        &["list"][..],
        &["show", "a.csv"],
        &["retry", "--all"],
        &["discard", "a.csv"],
    ] {
        assert!(said_missing(args).contains("not mounted"), "{args:?}");
    }
    assert!(dir.list("in").is_empty());
}

#[test]
fn nothing_is_put_back_into_a_folder_that_is_not_the_share() {
    let (dir, place) = (Dir::new(), Dir::new());
    let watched = dir.mkdir("in");
    let server = strict().0;
    let state = dir.join("state");
    let extra = format!("state.dir = '{}'", state.display());
    let text = config(&watched, &server.url(), &extra);
    let file = place.write("dirpost.toml", &text);
    dir.write("in/a.csv", "a");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    std::fs::rename(&watched, dir.join("away")).unwrap();
    std::fs::create_dir(&watched).unwrap();
    // What lies on a local disk can still be looked at.
    assert!(ask(&file, &["list"]).1.contains("a.csv"));
    let (code, said) = ask(&file, &["retry", "--all"]);
    assert!(
        code == Some(1) && said.contains("not the folder that"),
        "{said}"
    );
    assert!(dir.list("in").is_empty() && dir.exists("state/dead-letter/a.csv"));
    std::fs::remove_dir(&watched).unwrap();
    std::fs::rename(dir.join("away"), &watched).unwrap();
    assert_eq!(ask(&file, &["retry", "--all"]).0, Some(0));
    assert!(dir.exists("in/a.csv"));
}

#[test]
fn who_uses_no_configuration_names_the_folder() {
    let (dir, server) = (Dir::new(), strict().0);
    let folder = dir.path().to_str().unwrap();
    dir.write("a.csv", "a");
    dir.write("b.csv", "b");
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_dirpost"))
            .args(args)
            .current_dir(std::env::temp_dir())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    assert_eq!(run(&["once", folder, &server.url()]).0, Some(4));
    for args in [&["list", folder][..], &["list", folder, &server.url()]] {
        let (code, said) = run(&[&["dead-letter"], args].concat());
        assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    }
    let (code, said) = run(&["dead-letter", "show", folder, "a.csv"]);
    assert!(code == Some(0) && said.contains("customer"), "{said}");
    assert_eq!(run(&["dead-letter", "discard", folder]).0, Some(2));
    assert_eq!(run(&["dead-letter", "discard", folder, "a.csv"]).0, Some(0));
    assert_eq!(
        run(&["dead-letter", "retry", folder, &server.url(), "--all"]).0,
        Some(0)
    );
    assert_eq!(dir.waiting(), ["b.csv"]);
    let (code, said) = run(&["dead-letter", "list"]);
    assert!(code == Some(2) && said.contains("--config FILE"), "{said}");
    // The same for `check`; without an endpoint none is asked.
    let asked = server.requests().len();
    let (code, said) = run(&["check", folder]);
    assert!(
        code == Some(0) && said.contains("no endpoint was named"),
        "{said}"
    );
    assert_eq!(server.requests().len(), asked);
    let (_, said) = run(&["check", folder, &server.url()]);
    assert!(said.contains("127.0.0.1"), "{said}");
    let (code, said) = run(&["once", &server.url(), folder]);
    assert!(
        code == Some(2) && said.contains("the folder comes first"),
        "{said}"
    );
}

#[test]
fn a_folder_that_is_made_again_is_no_wider_than_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, place) = (Dir::new(), Dir::new());
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    let private = dir.mkdir("patients");
    std::fs::set_permissions(&private, mode(0o700)).unwrap();
    let (_server, file) = condemned(&dir, &place, &[b"patients/a.csv"], "");
    std::fs::remove_dir(&private).unwrap();
    let (code, said) = ask(&file, &["retry", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    let made = private.metadata().unwrap().permissions().mode();
    assert_eq!(made & 0o777, 0o700);
}
