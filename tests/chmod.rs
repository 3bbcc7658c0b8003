//! Suspicions: a ctime that moves while size and mtime stand still. A chmod, a hard link or an
//! attribute delays a file and breaks nothing off; yet content that was changed with size and mtime
//! put back is never accepted mixed and never filed unsent.
#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;
use sha2::{Digest as _, Sha256};

use crate::util::fuse::{Faults, Hang, Operation, Share, Traits};
use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Server, config, wait_until};

/// What moves the ctime of a file, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    Chmod,
    Chown,
    /// As `cp -al` and rsnapshot make them, and remove them again.
    HardLink,
    /// As a virus scanner sets it.
    Attribute,
}

const ALL: [Disturbance; 4] = [
    Disturbance::Chmod,
    Disturbance::Chown,
    Disturbance::HardLink,
    Disturbance::Attribute,
];

impl Disturbance {
    /// Does it once. `beside` is a name on the same file system. The file may be gone.
    fn disturb(self, path: &Path, beside: &Path) -> std::io::Result<()> {
        let meta = path.metadata()?;
        match self {
            Disturbance::Chmod => std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)),
            Disturbance::Chown => chown(path, Some(meta.uid()), Some(meta.gid())),
            Disturbance::HardLink => {
                std::fs::hard_link(path, beside)?;
                std::fs::remove_file(beside)
            }
            Disturbance::Attribute => {
                // One that says the same as before is passed over.
                static COUNT: AtomicUsize = AtomicUsize::new(0);
                let value = COUNT.fetch_add(1, Ordering::SeqCst).to_string();
                let flags = XattrFlags::empty();
                Ok(rustix::fs::setxattr(
                    path,
                    "user.scanned",
                    value.as_bytes(),
                    flags,
                )?)
            }
        }
    }
}

/// Disturbs a file again and again, until it is dropped.
struct Disturber {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disturber {
    fn start(how: Disturbance, path: PathBuf, beside: PathBuf, every: Duration) -> Disturber {
        how.disturb(&path, &beside)
            .unwrap_or_else(|err| panic!("{how:?} of {}: {err}", path.display()));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                std::thread::sleep(every);
                // Once it is filed there is nothing to be disturbed.
                let _ = how.disturb(&path, &beside);
            }
        });
        Disturber {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Disturber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Runs `test` for each of these at once, for they mostly wait.
fn side_by_side<T: Copy + Send + Sync>(all: &[T], test: impl Fn(T) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for &one in all {
            scope.spawn(move || test(one));
        }
    });
}

// ---- what delays a file, and breaks nothing off -------------------------------------

#[test]
fn a_file_whose_ctime_moves_all_the_time_is_delayed_by_five_settle_times_and_no_more() {
    const SETTLE: Duration = Duration::from_secs(2);
    side_by_side(&ALL, |how| {
        let (dir, server) = (Dir::new(), Server::accepting());
        let (watched, path) = (dir.mkdir("in"), dir.write("in/a.csv", "a"));
        let beside = dir.join("beside");
        let _disturber = Disturber::start(how, path, beside, Duration::from_millis(100));
        let started = Instant::now();
        let extra = format!("ready.settle = \"{}s\"", SETTLE.as_secs());
        let _daemon = Daemon::start(&config(&watched, &server.url(), &extra));
        wait_until("it to be accepted", BOUND, || server.accepted_count() == 1);
        let took = started.elapsed();
        println!("{how:?} all the time: accepted after {took:?}");
        // Six settle times in all, and as many again for a busy machine.
        assert!(took > SETTLE * 2, "{how:?}: it was not delayed: {took:?}");
        assert!(took < SETTLE * 12, "{how:?}: {took:?}");
        wait_until("it to be filed", BOUND, || {
            dir.exists("in/.dirpost/done/a.csv")
        });
        assert_eq!(server.requests().len(), 1, "{how:?}");
    });
}

#[test]
fn an_upload_is_not_broken_off_when_a_ctime_moves() {
    side_by_side(&ALL, |how| {
        let (dir, server) = (Dir::new(), Server::accepting());
        let content = vec![b'x'; 3 << 20];
        let (watched, path) = (dir.mkdir("in"), dir.write("in/a.bin", &content));
        let _daemon = Daemon::start(&config(
            &watched,
            &server.url(),
            "send.max_rate = \"500 KiB\"",
        ));
        wait_until("the upload to begin", BOUND, || server.connections() > 0);
        let beside = dir.join("beside");
        let _disturber = Disturber::start(how, path, beside, Duration::from_millis(250));
        wait_until("it to be filed", BOUND, || {
            dir.exists("in/.dirpost/done/a.bin")
        });
        let requests = server.requests();
        let whole: Vec<bool> = requests.iter().map(|request| request.whole).collect();
        assert_eq!(whole, [true], "{how:?}");
        assert!(requests[0].body == content, "{how:?}");
    });
}

#[test]
fn an_upload_from_a_share_is_not_broken_off_when_a_ctime_moves() {
    let Some(share) = Share::mount() else { return };
    let server = Server::accepting();
    let content = "x".repeat(2 << 20);
    share.back().write("a.bin", &content);
    let extra = "send.max_rate = \"400 KiB\"";
    let _daemon = Daemon::start(&config(&share.path(), &server.url(), extra));
    wait_until("the upload to begin", BOUND, || server.connections() > 0);
    let back = share.back().path();
    let _disturber = Disturber::start(
        Disturbance::Chmod,
        back.join("a.bin"),
        back.join("beside"),
        Duration::from_millis(250),
    );
    wait_until("it to be filed", BOUND, || {
        share.back().exists(".dirpost/done/a.bin")
    });
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].whole), (1, true));
    assert!(requests[0].body == content.as_bytes());
}

// ---- content that was changed, with size and mtime put back -------------------------

/// How another content comes to be where the file was, with the same size and the same mtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    /// Written over in place.
    InPlace,
    /// Another file takes its name (`cp -p`, `rsync -t`).
    Replaced,
}

/// Lets the file at `path` hold `content`, which is as long as what it holds.
fn forge(how: Forgery, path: &Path, content: &[u8]) {
    let meta = path.metadata().unwrap();
    assert_eq!(meta.size(), content.len() as u64);
    let mtime = meta.modified().unwrap();
    let draft = match how {
        Forgery::InPlace => path.to_path_buf(),
        Forgery::Replaced => path.with_file_name(".draft"),
    };
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&draft)
        .unwrap();
    std::io::Write::write_all(&mut file, content).unwrap();
    file.set_modified(mtime).unwrap();
    drop(file);
    if how == Forgery::Replaced {
        std::fs::rename(draft, path).unwrap();
    }
    assert_eq!(path.metadata().unwrap().modified().unwrap(), mtime);
}

const OLD: &[u8] = b"the first content of it";
const NEW: &[u8] = b"what was put there then";

/// A forgery while the answer for `a.csv` is awaited.
fn a_forgery_before_the_answer(
    how: Forgery,
    status: u16,
    extra: &str,
) -> (Dir, Dir, Server, Daemon) {
    let (dir, elsewhere, gate) = (Dir::new(), Dir::new(), Gate::new());
    let held = gate.clone();
    let server = Server::start(move |head| {
        if head.attempt == 1 {
            Reaction::Hold(held.clone(), status)
        } else {
            Reaction::Answer(200)
        }
    });
    let path = dir.write("a.csv", OLD);
    let extra = extra.replace("{elsewhere}", elsewhere.path().to_str().unwrap());
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    wait_until("the whole body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    forge(how, &path, NEW);
    gate.open();
    (dir, elsewhere, server, daemon)
}

fn bodies(server: &Server) -> Vec<Vec<u8>> {
    let requests = server.requests().into_iter();
    requests
        .filter(|request| request.whole)
        .map(|request| request.body)
        .collect()
}

#[test]
fn what_is_put_there_while_the_answer_is_awaited_is_not_filed_unsent() {
    for how in [Forgery::InPlace, Forgery::Replaced] {
        let (dir, _, server, _daemon) = a_forgery_before_the_answer(how, 200, "");
        wait_until("it to be filed", BOUND, || {
            dir.waiting().is_empty() && !dir.done().is_empty()
        });
        assert_eq!(bodies(&server), [OLD, NEW], "{how:?}");
        wait_until("the new one in done", BOUND, || {
            let mut done = dir.done().into_iter();
            done.any(|name| dir.read(format!(".dirpost/done/{name}")) == NEW)
        });
    }
}

#[test]
fn what_is_put_there_while_the_answer_is_awaited_is_not_deleted_unsent() {
    for how in [Forgery::InPlace, Forgery::Replaced] {
        let extra = "delivered.action = \"delete\"";
        let (dir, _, server, _daemon) = a_forgery_before_the_answer(how, 200, extra);
        wait_until("it to be gone", BOUND, || {
            dir.waiting().is_empty() && dir.list(".dirpost/staging").is_empty()
        });
        assert_eq!(bodies(&server), [OLD, NEW], "{how:?}");
    }
}

#[test]
fn what_is_put_there_while_the_answer_is_awaited_is_not_copied_away_unsent() {
    if !Path::new("/dev/shm").is_dir() {
        crate::util::skip("there is no /dev/shm for a second file system");
        return;
    }
    for how in [Forgery::InPlace, Forgery::Replaced] {
        let done = Dir::within(Path::new("/dev/shm"));
        let extra = format!("delivered.dir = '{}/done'", done.path().display());
        let (dir, _, server, _daemon) = a_forgery_before_the_answer(how, 200, &extra);
        wait_until("it to be filed", BOUND, || {
            dir.waiting().is_empty() && dir.list(".dirpost/staging").is_empty()
        });
        assert_eq!(bodies(&server), [OLD, NEW], "{how:?}");
        let mut filed = done.list("done").into_iter();
        assert!(
            filed.any(|name| done.read(format!("done/{name}")) == NEW),
            "{how:?}"
        );
    }
}

#[test]
fn what_is_put_there_while_a_rejection_is_awaited_is_not_condemned_unsent() {
    for how in [Forgery::InPlace, Forgery::Replaced] {
        let (dir, _, server, _daemon) = a_forgery_before_the_answer(how, 422, "");
        wait_until("the new one to be filed", BOUND, || dir.done() == ["a.csv"]);
        assert_eq!(bodies(&server), [OLD, NEW], "{how:?}");
        assert_eq!(dir.read(".dirpost/done/a.csv"), NEW);
    }
}

#[test]
fn what_is_put_there_before_the_sending_is_what_is_sent() {
    for how in [Forgery::InPlace, Forgery::Replaced] {
        let (dir, gate) = (Dir::new(), Gate::new());
        let held = gate.clone();
        let server = Server::start(move |head| {
            if head.path == "first.csv" {
                Reaction::Hold(held.clone(), 200)
            } else {
                Reaction::Answer(200)
            }
        });
        // The only worker is busy: a.csv has settled, passed its check, and waits for its turn.
        dir.write("first.csv", "{}");
        let extra = "send.workers = 1\nsend.digest = \"always\"";
        let daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
        wait_until("the worker to be busy", BOUND, || {
            server.whole_bodies() == 1
        });
        let path = dir.write("a.csv", OLD);
        let worked = daemon.cpu_time();
        wait_until("it to have settled", BOUND, || {
            daemon.cpu_time() > worked + Duration::from_millis(50)
        });
        forge(how, &path, NEW);
        gate.open();
        wait_until("both to be filed", BOUND, || dir.done().len() == 2);
        let accepted = server.accepted_bodies("a.csv");
        assert_eq!(accepted, [NEW], "{how:?}");
        for request in server.accepted() {
            let digest = Sha256::digest(&request.body);
            let field = request.headers["content-digest"].clone();
            let wanted = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
            assert_eq!(field, format!("sha-256=:{wanted}:"), "{how:?}");
        }
        assert_eq!(dir.read(".dirpost/done/a.csv"), NEW);
    }
}

#[test]
fn what_is_put_there_after_a_check_is_checked_again() {
    for how in [Forgery::InPlace, Forgery::Replaced] {
        let (dir, gate) = (Dir::new(), Gate::new());
        let held = gate.clone();
        let server = Server::start(move |head| {
            if head.path == "first.json" {
                Reaction::Hold(held.clone(), 200)
            } else {
                Reaction::Answer(200)
            }
        });
        dir.write("first.json", "{}");
        let extra = "send.workers = 1\ncheck.format = \"json\"\ncheck.grace = \"100ms\"";
        let daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
        wait_until("the worker to be busy", BOUND, || {
            server.whole_bodies() == 1
        });
        let path = dir.write("a.json", "{\"total\": 12}");
        let worked = daemon.cpu_time();
        wait_until("it to be checked", BOUND, || {
            daemon.cpu_time() > worked + Duration::from_millis(50)
        });
        forge(how, &path, b"{\"total\": 1}}");
        gate.open();
        wait_until("it to be condemned", BOUND, || dir.dead() == ["a.json"]);
        assert!(server.accepted_bodies("a.json").is_empty(), "{how:?}");
    }
}

/// Changed in the middle of a slow upload: in what has gone out already, in what has not, in both.
#[test]
fn what_is_changed_while_it_is_sent_is_never_accepted_mixed_and_never_filed_unsent() {
    const SIZE: usize = 1 << 20;
    let places: [(usize, usize); 3] = [(0, 1000), (SIZE - 1000, SIZE), (0, SIZE)];
    let cases: Vec<_> = [Forgery::InPlace, Forgery::Replaced]
        .into_iter()
        .flat_map(|how| places.map(|place| (how, place)))
        .collect();
    side_by_side(&cases, |(how, (from, to))| {
        let (dir, server) = (Dir::new(), Server::accepting());
        let old = vec![b'o'; SIZE];
        let mut new = old.clone();
        new[from..to].fill(b'n');
        let path = dir.write("a.bin", &old);
        let extra = "send.max_rate = \"256 KiB\"";
        let _daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
        wait_until("a part of it to be out", BOUND, || {
            server.body_bytes() > SIZE / 4
        });
        forge(how, &path, &new);
        wait_until("it to be filed", BOUND, || {
            dir.waiting().is_empty() && !dir.done().is_empty()
        });
        let accepted: Vec<_> = server
            .accepted()
            .into_iter()
            .map(|request| request.body)
            .collect();
        for body in &accepted {
            assert!(
                *body == old || *body == new,
                "{how:?} {from}..{to}: a mixture was accepted"
            );
        }
        for name in dir.done() {
            let filed = dir.read(format!(".dirpost/done/{name}"));
            assert!(
                accepted.contains(&filed),
                "{how:?} {from}..{to}: it was never sent"
            );
        }
        let mut done = dir.done().into_iter();
        assert!(
            done.any(|name| dir.read(format!(".dirpost/done/{name}")) == new),
            "{how:?} {from}..{to}: the new one is gone"
        );
    });
}

// ---- after the rename, the bytes decide ---------------------------------------------

/// `change` happens to the file between the last look at it and its rename.
fn changed_at_the_rename(change: impl Fn(&Path)) -> Option<(Share, Server)> {
    let share = Share::mount_as(Traits::default())?;
    let server = Server::accepting();
    let daemon = Daemon::start(&config(&share.path(), &server.url(), ""));
    daemon.wait_log("first look");
    share.set(Faults {
        hang: Some(Hang::Before(Operation::Rename, 0)),
        ..Faults::default()
    });
    share.back().write("a.csv", OLD);
    wait_until("it to be on its way out", BOUND, || share.waiting() > 0);
    change(&share.back().path().join("a.csv"));
    share.heal();
    // Whatever comes of it settles no later than one file after the other that comes then.
    for name in ["b.csv", "c.csv"] {
        share.back().write(name, "later");
        wait_until("the next one to be filed", BOUND, || {
            share.back().exists(&format!(".dirpost/done/{name}"))
        });
    }
    wait_until("it to be filed", BOUND, || {
        share.back().exists(".dirpost/done/a.csv") && !share.back().exists("a.csv")
    });
    drop(daemon);
    Some((share, server))
}

#[test]
fn a_file_whose_mtime_alone_is_set_at_the_rename_is_filed_and_not_sent_again() {
    // As a server does it that sets the time of the last write when the file is closed.
    let late = |path: &Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let mtime = path.metadata().unwrap().modified().unwrap();
        file.set_modified(mtime + Duration::from_millis(1500))
            .unwrap();
    };
    let Some((share, server)) = changed_at_the_rename(late) else {
        return;
    };
    assert_eq!(bodies(&server), [OLD, b"later", b"later"]);
    assert_eq!(
        share.back().list(".dirpost/done"),
        ["a.csv", "b.csv", "c.csv"]
    );
}

#[test]
fn a_file_whose_bytes_are_others_at_the_rename_is_sent() {
    let rewritten = |path: &Path| std::fs::write(path, NEW).unwrap();
    let Some((share, server)) = changed_at_the_rename(rewritten) else {
        return;
    };
    let mut sent = bodies(&server);
    sent.sort();
    assert_eq!(sent, [b"later".as_slice(), b"later", OLD, NEW]);
    assert_eq!(share.back().text(".dirpost/done/a.csv").as_bytes(), NEW);
}
