//! Whose dirpost's own folders are, and who may write to them: also where the mount shows modes and
//! owners that no call can change.
#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Server, config, dirpost, once, wait_until};

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A share whose mount shows `options` on everything: deliveries go on, and it is said once.
fn shows(options: &str, shown: &str) {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (real, watched) = (dir.mkdir("real"), dir.mkdir("in"));
    let Some(_mount) = Mount::bindfs(&real, &watched, options) else {
        return;
    };
    let text = config(&watched, &server.url(), "");
    let mut runs = Vec::new();
    for name in ["a.csv", "b.csv", "c.csv"] {
        dir.write(format!("in/{name}"), name);
        let run = once(&text, &[]);
        assert_eq!(run.status.code(), Some(0), "{}", said(&run));
        runs.push(said(&run));
    }
    assert_eq!(dir.list("in/.dirpost/done"), ["a.csv", "b.csv", "c.csv"]);
    let lines = runs.iter().flat_map(|run| run.lines());
    let lines: Vec<&str> = lines
        .filter(|line| line.contains("whatever is set"))
        .collect();
    assert_eq!(lines.len(), 1, "{runs:?}");
    assert!(
        lines[0].contains(shown) && lines[0].contains("state.dir on a local disk"),
        "{}",
        lines[0]
    );
    // Nothing is left of the look.
    let left = |name: &String| name.starts_with(".draft");
    assert!(!dir.list("in/.dirpost").iter().any(left));
    // `check` says it as well, and finds nothing wrong with it.
    let file = dir.write("dirpost.toml", &text);
    let checked = dirpost(&["check", "--config", file.to_str().unwrap()]);
    let found = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(found.contains(shown), "{found}");
    assert!(!found.contains("WRONG"), "{found}");
    // With the state elsewhere there is nothing else to it.
    let state = dir.join("state");
    let text = config(
        &watched,
        &server.url(),
        &format!("state.dir = '{}'", state.display()),
    );
    dir.write("in/d.csv", "d");
    let run = once(&text, &[]);
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    // What is said then is what is left, and not the remedy that is there already.
    let now = said(&run);
    let line = now.lines().find(|line| line.contains("whatever is set"));
    let line = line.unwrap_or_else(|| panic!("{now}"));
    assert!(
        line.contains("INFO") && line.contains("which lies elsewhere"),
        "{line}"
    );
    assert!(!line.contains("state.dir on a local disk"), "{line}");
    let sent = server.requests().into_iter().map(|sent| sent.path);
    // Without the probe of `check`.
    let sent: Vec<String> = sent.filter(|path| !path.is_empty()).collect();
    assert_eq!(sent, ["a.csv", "b.csv", "c.csv", "d.csv"]);
}

/// Deliveries of each kind go on, with the state on the share and elsewhere; each file is sent once.
fn each_action_works(mount: impl Fn(&Dir) -> Option<Mount>) {
    for action in ["move", "delete", "keep"] {
        for is_elsewhere in [false, true] {
            let (dir, server) = (Dir::new(), Server::accepting());
            dir.mkdir("real");
            let watched = dir.mkdir("in");
            let Some(_mount) = mount(&dir) else { return };
            let mut more = format!("delivered.action = \"{action}\"\n");
            if is_elsewhere {
                more += &format!("state.dir = '{}'", dir.join("state").display());
            }
            let text = config(&watched, &server.url(), &more);
            let mut lines = Vec::new();
            for name in ["a.csv", "b.csv"] {
                dir.write(format!("in/{name}"), name);
                let run = once(&text, &[]);
                let now = said(&run);
                assert_eq!(run.status.code(), Some(0), "{action}: {now}");
                lines.extend(now.lines().map(str::to_string));
            }
            lines.retain(|line| line.contains("whatever is set"));
            assert_eq!(lines.len(), 1, "{action}: {lines:?}");
            let left = if action == "keep" { 2 } else { 0 };
            let names = dir.list("in");
            let names = names.iter().filter(|name| !name.starts_with(".dirpost"));
            assert_eq!(names.count(), left, "{action}");
            let sent: Vec<String> = server.requests().into_iter().map(|it| it.path).collect();
            assert_eq!(sent, ["a.csv", "b.csv"], "{action}");
        }
    }
}

#[test]
fn a_share_that_shows_0777_takes_each_way_of_filing_with_the_state_on_it_or_elsewhere() {
    each_action_works(|dir| Mount::bindfs(&dir.join("real"), &dir.join("in"), "perms=0777"));
}

#[test]
fn a_fat_file_system_takes_each_way_of_filing_with_the_state_on_it_or_elsewhere() {
    each_action_works(|dir| Mount::fat(dir, "umask=000", &dir.join("in")));
}

#[test]
fn a_share_whose_folders_show_0777_whatever_is_set_works_and_that_is_said_once() {
    shows("perms=0777", "mode 0777");
}

#[test]
fn a_share_whose_folders_show_another_owner_whoever_makes_them_works_and_that_is_said_once() {
    // The name of user 1 is `daemon` on Debian, `bin` elsewhere.
    shows(
        "force-user=1,force-group=1,perms=0775",
        "as its owner and mode 0775",
    );
}

#[test]
fn what_an_administrator_opened_to_all_is_taken_from_others_with_a_warning() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(dir.path(), &server.url(), "");
    dir.write("a.csv", "a");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    // chmod -R 777
    for name in ["", "journal", "done"] {
        set_mode(&dir.join(".dirpost").join(name), 0o777);
    }
    dir.write("b.csv", "b");
    let run = once(&text, &[]);
    let said = said(&run);
    assert_eq!(run.status.code(), Some(0), "{said}");
    for name in [".dirpost", ".dirpost/journal"] {
        let path = dir.join(name);
        assert_eq!(mode(&path), 0o755, "{name}");
        let warned = format!(
            "others could write to {} (mode 0777, at the latest since 2",
            path.display()
        );
        assert!(said.contains(&warned), "{said}");
    }
    // Who may clean the folder may clean what was delivered from it.
    assert_eq!(mode(&dir.join(".dirpost/done")), 0o777);
    assert_eq!(server.accepted_count(), 2);
}

#[test]
fn a_state_folder_of_another_user_is_refused_by_names_with_the_remedy() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(dir.path(), &server.url(), "");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    let own = dir.join(".dirpost");
    if std::fs::metadata(&own).unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root can give a folder to another user");
        return;
    }
    std::os::unix::fs::chown(&own, Some(65534), None).unwrap();
    let run = once(&text, &[]);
    assert_eq!(run.status.code(), Some(1));
    let path = own.display();
    let wanted = format!(
        "{path}: it belongs to nobody, and dirpost runs as root: run it as nobody (sudo -u nobody …), or give it to \
         root (chown -R root {path})"
    );
    assert!(said(&run).contains(&wanted), "{}", said(&run));
    assert!(!said(&run).contains("keep"), "{}", said(&run));
    assert!(
        dir.list(".dirpost")
            .iter()
            .all(|name| !name.contains(".draft"))
    );
    // For root, `check` is a look at somebody's service.
    let file = dir.write("dirpost.toml", &text);
    let checked = dirpost(&["check", "--config", file.to_str().unwrap()]);
    let found = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(found.contains("it belongs to nobody"), "{found}");
    assert!(!found.contains("WRONG"), "{found}");
}

#[test]
fn a_folder_whose_mode_only_the_umask_has_changed_is_not_taken_for_one_that_shows_what_nobody_set()
{
    let (dir, server) = (Dir::new(), Server::accepting());
    if std::fs::metadata(dir.path()).unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root can work under such a umask");
        return;
    }
    dir.mkdir("in/.dirpost");
    set_mode(&dir.join("in/.dirpost"), 0o777);
    let file = dir.write("dirpost.toml", config(&dir.join("in"), &server.url(), ""));
    // A folder that is made for this user alone is made for nobody.
    let run = std::process::Command::new("sh")
        .args(["-c", "umask 777; exec \"$0\" once --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_dirpost"))
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    assert!(
        said(&run).contains("others could write to"),
        "{}",
        said(&run)
    );
    assert_eq!(mode(&dir.join("in/.dirpost")), 0o755);
}

#[test]
fn a_folder_that_stays_open_to_others_is_refused_only_where_the_mount_knows_modes() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (real, watched) = (dir.mkdir("real"), dir.mkdir("in"));
    dir.mkdir("real/.dirpost");
    set_mode(&dir.join("real/.dirpost"), 0o777);
    // What is made shows its mode; what is there keeps its own.
    let Some(_mount) = Mount::bindfs(&real, &watched, "chmod-ignore") else {
        return;
    };
    dir.write("in/a.csv", "a");
    let run = once(&config(&watched, &server.url(), ""), &[]);
    let said = said(&run);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(
        said.contains("others may write to it (mode 0777)"),
        "{said}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_running_dirpost_works_on_such_a_share_with_a_standby_that_takes_over() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (real, watched) = (dir.mkdir("real"), dir.mkdir("in"));
    let Some(_mount) = Mount::bindfs(&real, &watched, "force-user=1,perms=0777") else {
        return;
    };
    let text = config(&watched, &server.url(), "");
    let mut first = Daemon::start(&text);
    first.wait_log("first look");
    let standby = Daemon::start(&text);
    standby.wait_log("standby: another dirpost works on this folder");
    dir.write("in/a.csv", "a");
    wait_until("it to be filed", BOUND, || {
        dir.exists("in/.dirpost/done/a.csv")
    });
    std::fs::remove_file(dir.join("in/.dirpost/id")).unwrap();
    first.wait_log("it is written again");
    first.kill();
    standby.wait_log("the lock is free");
    dir.write("in/b.csv", "b");
    wait_until("the next", BOUND, || dir.exists("in/.dirpost/done/b.csv"));
    assert_eq!(server.requests().len(), 2);
}
