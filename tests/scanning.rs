//! What a scan looks at, on real file systems: whatever they do with the times of their folders, what
//! is new is found, and where the times can be trusted, by the next scan.

use std::path::Path;
use std::process::Command;

#[cfg(target_os = "linux")]
use crate::util::fuse::{Share, Traits};
#[cfg(target_os = "linux")]
use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Server, config, skip, wait_until};

/// Nothing is looked at for the sake of rewrites while a test runs.
const KEEPS: &str = "watch.rewrites = \"1h\"\ndelivered.action = \"keep\"\nlog.level = \"debug\"";

/// The lines that tell what a scan has visited.
fn scans(daemon: &Daemon) -> Vec<String> {
    let lines = daemon.log().into_iter();
    lines.filter(|line| line.contains("scan: ")).collect()
}

/// Waits until the last scan has passed all of so many folders over.
fn wait_passed_over(daemon: &Daemon, folders: usize) {
    let text = format!("scan: {folders} folders passed over");
    wait_until(&text, BOUND, || {
        scans(daemon)
            .last()
            .is_some_and(|line| line.contains(&text))
    });
}

/// Does something to the folder, after which `count` files have been accepted in all: the scan after
/// the one that may be under way has looked at it.
fn is_found_at_once(daemon: &Daemon, server: &Server, count: usize, act: impl FnOnce()) {
    act();
    let before = scans(daemon).len();
    wait_until("it to be accepted", BOUND, || {
        server.accepted_count() == count
    });
    wait_until("two more scans", BOUND, || {
        scans(daemon).len() >= before + 2
    });
    let after = &scans(daemon)[before.saturating_sub(1)..before + 2];
    assert!(
        after.iter().any(|line| !line.contains(" 0 looked at")),
        "none of these scans has looked: {after:?}"
    );
}

/// Runs a program in `folder`; whether there is one.
fn run(folder: &Path, program: &str, args: &[&str]) -> bool {
    match Command::new(program)
        .args(args)
        .current_dir(folder)
        .output()
    {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {output:?}");
            true
        }
        Err(err) => {
            skip(format!("{program} cannot be run: {err}"));
            false
        }
    }
}

/// A new file, one that replaces another, and what puts the folder's mtime back, in a folder whose
/// times can be trusted.
fn all_is_found_at_once_in(watched: &Path) {
    let (server, source) = (Server::accepting(), Dir::new());
    let write = |name: &str| std::fs::write(watched.join(name), name).expect("written");
    std::fs::create_dir(watched.join("sub")).expect("a folder");
    write("sub/a.csv");
    write("sub/b.csv");
    let daemon = Daemon::start(&config(watched, &server.url(), KEEPS));
    wait_until("both to be accepted", BOUND, || {
        server.accepted_count() == 2
    });
    wait_passed_over(&daemon, 2);

    is_found_at_once(&daemon, &server, 3, || write("sub/c.csv"));
    wait_passed_over(&daemon, 2);
    is_found_at_once(&daemon, &server, 4, || {
        std::fs::write(watched.join("sub/.new"), "another b").expect("written");
        std::fs::rename(watched.join("sub/.new"), watched.join("sub/b.csv")).expect("renamed");
    });

    let to = watched.to_str().expect("a path that is text");
    source.mkdir("sub");
    run(&source.join("sub"), "touch", &["-d", "2001-02-03", "."]);
    let copies: [(&str, &[&str]); 3] = [
        ("rsync", &["-a", "./", to]),
        ("sh", &["-c", "tar c sub | tar x -C \"$0\"", to]),
        ("cp", &["-a", "sub", to]),
    ];
    let mut count = 4;
    for (number, (program, args)) in copies.into_iter().enumerate() {
        // The folder gets the mtime of its source at the first pass, and again at the second.
        if !run(source.path(), program, args) {
            continue;
        }
        wait_passed_over(&daemon, 2);
        let file = format!("{number}.csv");
        source.write(format!("sub/{file}"), program);
        // tar keeps whole seconds: else what it writes again would be another version.
        run(&source.join("sub"), "touch", &["-d", "2001-02-04", &file]);
        run(&source.join("sub"), "touch", &["-d", "2001-02-03", "."]);
        count += 1;
        is_found_at_once(&daemon, &server, count, || {
            run(source.path(), program, args);
        });
        let modified = watched
            .join("sub")
            .metadata()
            .and_then(|sub| sub.modified());
        let put_back = source.join("sub").metadata().and_then(|sub| sub.modified());
        assert_eq!(
            modified.expect("a time"),
            put_back.expect("a time"),
            "{program}"
        );
        wait_passed_over(&daemon, 2);
    }
    assert_eq!(server.accepted_count(), count);
}

#[test]
fn whatever_is_new_in_a_folder_that_was_passed_over_is_found_by_the_next_scan() {
    let dir = Dir::new();
    all_is_found_at_once_in(&dir.mkdir("in"));
}

/// The mark and the lock are in the watched folder all the same: there the file system can show that
/// it moves times.
#[test]
#[cfg(target_os = "linux")]
fn folders_are_passed_over_also_where_the_state_lies_on_another_file_system() {
    let (dir, elsewhere, server) = (Dir::new(), Dir::new(), Server::accepting());
    let Some(_mount) = Mount::tmpfs(elsewhere.path(), "4m") else {
        return;
    };
    let watched = dir.mkdir("in");
    std::fs::create_dir(watched.join("sub")).expect("a folder");
    let state = elsewhere.path().join("state");
    let more = format!("{KEEPS}\nstate.dir = '{}'", state.display());
    let daemon = Daemon::start(&config(&watched, &server.url(), &more));
    wait_passed_over(&daemon, 2);
}

#[cfg(target_os = "linux")]
fn on_an_image(make: &[&str], kind: &str, size: u64) {
    let (dir, images) = (Dir::new(), Dir::new());
    let watched = dir.mkdir("in");
    if let Some(_mount) = Mount::made(&images, make, kind, size, &watched) {
        all_is_found_at_once_in(&watched);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_tmpfs_all_that_is_new_is_found_by_the_next_scan() {
    let dir = Dir::new();
    let watched = dir.mkdir("in");
    if let Some(_mount) = Mount::tmpfs(&watched, "8m") {
        all_is_found_at_once_in(&watched);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_ext4_all_that_is_new_is_found_by_the_next_scan() {
    on_an_image(&["mkfs.ext4", "-q", "-F", "-I", "256"], "ext4", 64 << 20);
}

#[cfg(target_os = "linux")]
#[test]
fn on_ext4_that_keeps_whole_seconds_all_that_is_new_is_found_by_the_next_scan() {
    on_an_image(&["mkfs.ext4", "-q", "-F", "-I", "128"], "ext4", 64 << 20);
}

#[cfg(target_os = "linux")]
#[test]
fn on_xfs_all_that_is_new_is_found_by_the_next_scan() {
    on_an_image(&["mkfs.xfs", "-q"], "xfs", 512 << 20);
}

#[cfg(target_os = "linux")]
#[test]
fn on_btrfs_all_that_is_new_is_found_by_the_next_scan() {
    on_an_image(&["mkfs.btrfs", "-q"], "btrfs", 256 << 20);
}

#[cfg(target_os = "linux")]
#[test]
fn on_overlayfs_all_that_is_new_is_found_by_the_next_scan() {
    let dir = Dir::new();
    let base = dir.mkdir("base");
    // The upper layer of one overlay cannot be on another, as /tmp may be.
    let Some(_base) = Mount::tmpfs(&base, "16m") else {
        return;
    };
    let [lower, upper, work] =
        ["lower", "upper", "work"].map(|name| dir.mkdir(format!("base/{name}")));
    let watched = dir.mkdir("in");
    if let Some(_mount) = Mount::overlay(&lower, &upper, &work, &watched) {
        all_is_found_at_once_in(&watched);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_fat_no_folder_is_passed_over_and_what_is_new_is_found_by_its_name() {
    let (dir, images) = (Dir::new(), Dir::new());
    let watched = dir.mkdir("in");
    let make = ["mkfs.vfat", "-F", "32"];
    let Some(_mount) = Mount::made(&images, &make, "vfat", 64 << 20, &watched) else {
        return;
    };
    let server = Server::accepting();
    let daemon = Daemon::start(&config(&watched, &server.url(), KEEPS));
    finds_names(&daemon, &server, |name| {
        std::fs::write(watched.join(name), name).expect("written");
    });
}

/// New names are found though no folder is passed over.
fn finds_names(daemon: &Daemon, server: &Server, write: impl Fn(&str)) {
    write("a.csv");
    wait_until("it to be accepted", BOUND, || server.accepted_count() == 1);
    let text = "scan: 0 folders passed over, 1 read and as they were";
    daemon.wait_log(text);
    is_found_at_once(daemon, server, 2, || write("b.csv"));
    let over = |line: &String| !line.contains("scan: 0 folders passed over");
    assert!(!scans(daemon).iter().any(over), "{:?}", scans(daemon));
}

#[cfg(target_os = "linux")]
#[test]
fn where_the_times_of_folders_never_move_none_is_passed_over_and_what_is_new_is_found() {
    let traits = Traits {
        folders_stand: true,
        ..Traits::default()
    };
    let Some(share) = Share::mount_as(traits) else {
        return;
    };
    let server = Server::accepting();
    let daemon = Daemon::start(&config(&share.path(), &server.url(), KEEPS));
    finds_names(&daemon, &server, |name| share.back().write(name, name));
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_share_that_has_proven_its_times_folders_are_passed_over_and_what_is_new_is_found() {
    let Some(share) = Share::mount() else {
        return;
    };
    let server = Server::accepting();
    share.back().write("sub/a.csv", "a");
    for threads in [1, 4] {
        let extra = format!("{KEEPS}\nwatch.threads = {threads}");
        let daemon = Daemon::start(&config(&share.path(), &server.url(), &extra));
        wait_passed_over(&daemon, 2);
        let count = server.accepted_count() + 1;
        is_found_at_once(&daemon, &server, count, || {
            share.back().write(&format!("sub/{threads}.csv"), "new");
        });
        is_found_at_once(&daemon, &server, count + 1, || {
            share
                .back()
                .write("other/.new", format!("replaced with {threads}"));
            let back = share.back().path();
            std::fs::rename(back.join("other/.new"), back.join("sub/a.csv")).expect("renamed");
        });
    }
}

#[test]
fn what_is_rewritten_in_place_is_found_when_its_turn_comes() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("in/a.csv", "a");
    let extra = KEEPS.replace("1h", "2s");
    let daemon = Daemon::start(&config(&dir.join("in"), &server.url(), &extra));
    wait_until("it to be accepted", BOUND, || server.accepted_count() == 1);
    wait_passed_over(&daemon, 1);
    // Not truncated first, which nobody could tell from an empty file.
    dir.append("in/a.csv", "b");
    wait_until("it to be accepted", BOUND, || server.accepted_count() == 2);
}
