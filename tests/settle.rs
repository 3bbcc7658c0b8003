//! Only what is complete is sent.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::util::{BOUND, Daemon, Dir, Rng, Server, config, wait_until};

/// Twenty times the longest pause of a writer that is not to be taken for done.
const SETTLE: Duration = Duration::from_secs(3);

/// Content that shows whether it is whole: its length and digest stand at its end.
fn sealed(rng: &mut Rng, size: usize) -> Vec<u8> {
    let mut bytes = crate::util::draw_bytes(rng, size);
    bytes.extend_from_slice(&(size as u64).to_le_bytes());
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

fn is_sealed(bytes: &[u8]) -> bool {
    let Some(split) = bytes.len().checked_sub(32) else {
        return false;
    };
    let (content, digest) = bytes.split_at(split);
    let Some(size) = content.len().checked_sub(8) else {
        return false;
    };
    content[size..] == (size as u64).to_le_bytes() && Sha256::digest(content)[..] == *digest
}

/// One of the ways in which programs write files. No pause is meant to be longer than 150 ms, and on
/// a busy machine none is as long as the settle time of the test.
fn write(folder: &Path, number: usize) -> String {
    let mut rng = Rng::new(number as u64);
    let size = 1_000 + rng.below(200_000) as usize;
    let bytes = sealed(&mut rng, size);
    let pause = |rng: &mut Rng| std::thread::sleep(Duration::from_millis(rng.below(150)));
    let name = if number.is_multiple_of(3) {
        format!("sub{}/f{number}.bin", number % 4)
    } else {
        format!("f{number}.bin")
    };
    let path = folder.join(&name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    match number % 5 {
        // Pieces, one after the other.
        0 | 1 => {
            let mut file = std::fs::File::create(&path).unwrap();
            for piece in bytes.chunks(bytes.len() / 12 + 1) {
                file.write_all(piece).unwrap();
                pause(&mut rng);
            }
        }
        // The final size at once, then filled.
        2 => {
            let mut file = std::fs::File::create(&path).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            for (at, piece) in bytes.chunks(bytes.len() / 12 + 1).enumerate() {
                pause(&mut rng);
                file.seek(SeekFrom::Start((at * (bytes.len() / 12 + 1)) as u64))
                    .unwrap();
                file.write_all(piece).unwrap();
            }
        }
        // Pieces, and after each an mtime from long ago or far ahead, as copying tools set it.
        3 => {
            let mut file = std::fs::File::create(&path).unwrap();
            let time = if number.is_multiple_of(2) {
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
            } else {
                SystemTime::now() + Duration::from_secs(86_400)
            };
            for piece in bytes.chunks(bytes.len() / 12 + 1) {
                file.write_all(piece).unwrap();
                file.set_modified(time).unwrap();
                pause(&mut rng);
            }
        }
        // A temporary name, renamed into place; another pause than would be safe otherwise.
        _ => {
            let draft = path.with_extension("part");
            std::fs::write(&draft, &bytes[..bytes.len() / 2]).unwrap();
            std::thread::sleep(SETTLE + Duration::from_millis(500));
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(&draft)
                .unwrap();
            file.write_all(&bytes[bytes.len() / 2..]).unwrap();
            std::fs::rename(&draft, &path).unwrap();
        }
    }
    name
}

#[test]
fn of_thirty_files_that_are_written_at_once_in_every_manner_none_is_accepted_torn() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let extra = format!("ready.settle = \"{}s\"", SETTLE.as_secs());
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    daemon.wait_log("first look");
    let writers: Vec<_> = (0..30)
        .map(|number| {
            let folder = dir.path().to_path_buf();
            std::thread::spawn(move || write(&folder, number))
        })
        .collect();
    let names: Vec<String> = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .collect();
    wait_until("30 files accepted", BOUND, || server.accepted_count() >= 30);
    wait_until("30 files filed", BOUND, || dir.done().len() == 30);
    for name in names {
        let bodies = server.accepted_bodies(&name);
        assert_eq!(bodies.len(), 1, "{name}");
        assert!(is_sealed(&bodies[0]), "{name} was accepted torn");
    }
    assert_eq!(server.accepted_count(), 30);
}

#[test]
fn a_file_that_was_there_before_the_start_on_a_local_disk_need_not_wait() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    // The ctime cannot be set: the file has to grow as old as the settle time. That is long, so
    // that a slow start of the daemon does not look like a wait for it.
    wait_until("the file to be 10 s old", BOUND, || {
        dir.join("a.csv")
            .metadata()
            .unwrap()
            .modified()
            .unwrap()
            .elapsed()
            .unwrap()
            > Duration::from_secs(10)
    });
    let started = std::time::Instant::now();
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "ready.settle = \"10s\"\nwatch.interval = \"1h\"",
    ));
    wait_until("it to be accepted", BOUND, || server.accepted_count() == 1);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it waited {:?}",
        started.elapsed()
    );
}

#[test]
fn a_settling_file_is_looked_at_when_it_is_due_not_at_the_next_scan() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    let text = config(
        dir.path(),
        &server.url(),
        "ready.settle = \"500ms\"\nwatch.interval = \"1h\"",
    );
    let _daemon = Daemon::start(&text);
    wait_until("it to be accepted", Duration::from_secs(30), || {
        server.accepted_count() == 1
    });
}

#[test]
fn every_name_arrives_as_it_is_and_makes_no_header_and_no_url_part() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let mut names = vec![
        "ü ö.csv",
        "100%.csv",
        "a?b#c&d.csv",
        "x\r\nX-Evil: 1",
        "sub folder/deep/ä",
        "\"quoted\"",
        "-rf",
    ];
    let long = "n".repeat(255);
    names.push(&long);
    for name in &names {
        dir.write(name, name.as_bytes());
    }
    let extra = "send.headers.X-Name = \"<{name}>\"";
    let text = config(
        dir.path(),
        &format!("{}/{{path}}?n={{name}}", server.url()),
        extra,
    );
    let _daemon = Daemon::start(&text);
    wait_until("all accepted", BOUND, || {
        server.accepted_count() == names.len()
    });
    for name in &names {
        assert_eq!(server.accepted_bodies(name), [name.as_bytes()], "{name:?}");
    }
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("x-evil"))
    );
    wait_until("all filed", BOUND, || dir.done().len() == names.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_text_is_delivered_under_its_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, server) = (Dir::new(), Server::accepting());
    std::fs::write(
        dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff.csv")),
        "x",
    )
    .unwrap();
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("it to be accepted", BOUND, || server.accepted_count() == 1);
    assert_eq!(server.requests()[0].headers["x-file-path"], "bad%FF.csv");
}

#[cfg(unix)]
#[test]
fn links_fifos_and_sockets_are_left_alone() {
    let (dir, outside, server) = (Dir::new(), Dir::new(), Server::accepting());
    outside.write("secret", "s");
    std::os::unix::fs::symlink(outside.join("secret"), dir.join("link.csv")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.join("folder")).unwrap();
    std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(dir.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    dir.write("good.csv", "g");
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("the good file to be filed", BOUND, || {
        dir.done() == ["good.csv"]
    });
    dir.write("later.csv", "l");
    wait_until("the next one to be filed", BOUND, || dir.done().len() == 2);
    assert_eq!(server.requests().len(), 2);
    assert!(dir.exists("link.csv") && dir.exists("fifo") && dir.exists("socket"));
}

#[cfg(unix)]
#[test]
fn a_file_that_is_swapped_for_a_link_in_a_tight_loop_never_leads_to_the_secret() {
    let (dir, outside, server) = (Dir::new(), Dir::new(), Server::accepting());
    outside.write("secret", "the secret");
    outside.write("folder/a.csv", "the secret");
    let extra = "ready.settle = \"0s\"\nwatch.interval = \"1ms\"\nwatch.max_share = 1.0\ndelivered.action = \"delete\"";
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    let started = std::time::Instant::now();
    let (link, folder) = (dir.join(".link"), dir.join("sub"));
    let mut swaps = 0u64;
    while started.elapsed() < Duration::from_secs(10) {
        let _ = std::fs::write(dir.join("a.csv"), "harmless");
        let _ = std::fs::create_dir(&folder);
        let _ = std::fs::write(folder.join("a.csv"), "harmless");
        // Long enough, now and then, to be found and opened.
        if swaps.is_multiple_of(8) {
            std::thread::sleep(Duration::from_micros(swaps % 5_000));
        }
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(outside.join("secret"), &link).unwrap();
        let _ = std::fs::rename(&link, dir.join("a.csv"));
        let _ = std::fs::rename(&folder, dir.join(".away"));
        let _ = std::os::unix::fs::symlink(outside.join("folder"), &folder);
        let _ = std::fs::remove_file(&folder);
        let _ = std::fs::remove_dir_all(dir.join(".away"));
        let _ = std::fs::remove_file(dir.join("a.csv"));
        swaps += 1;
    }
    println!(
        "{swaps} swaps, {} files delivered meanwhile",
        server.requests().len()
    );
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.body.windows(6).any(|part| part == b"secret"))
    );
    assert_eq!(outside.text("secret"), "the secret");
    assert!(outside.exists("folder/a.csv"));
}
