//! Power cuts: the disk is as the last fsync left it, and everything else is gone. Needs root on
//! Linux, and says so where it is not.
//!
//! The disk is a real file system (ext4) whose own "shutdown" stops all writing at once. It is
//! mounted so that nothing but an fsync brings anything onto the disk. An fsync of any file brings
//! the renames and removals of all, but no other file's content: so a rename may be there after a
//! cut whose line in the journal is not. A neighbour that calls fsync all the time sees to that.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::util::mount::Disk;
use crate::util::{
    BOUND, Daemon, Dir, Reaction, Received, Server, config, dirpost, once, wait_until,
};

/// What was accepted so long before the cut must be known after it (docs/journal.md).
const KNOWN: Duration = Duration::from_secs(1);
/// On a machine with few and busy cores a thread may not run for this long, and the one that brings
/// lines onto the disk runs a few times in between.
const BUSY: Duration = Duration::from_secs(2);
/// The endpoint takes its time, so that deliveries last longer than `KNOWN + BUSY`.
const PACE: Duration = Duration::from_millis(15);

/// When the power is cut.
#[derive(Clone, Copy)]
enum When {
    /// So many were answered since the start.
    Answered(usize),
    /// So many were answered since the start, and all that long ago that they must be known.
    Known(usize),
}

/// One cut: from its moment until nothing of before it is on its way any more.
struct Cut {
    at: Instant,
    over: Instant,
}

/// Another program that writes onto the same disk, a little at a time and safely.
struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn on(folder: &Path) -> Neighbour {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, file) = (Arc::clone(&stop), File::create(folder.join(".neighbour")));
        let mut file = file.expect("a file of the neighbour's");
        let thread = std::thread::spawn(move || {
            // Until the disk is gone.
            while !stopped.load(Ordering::SeqCst)
                && file.write_all(b"x").and_then(|()| file.sync_all()).is_ok()
            {}
        });
        Neighbour {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn name(number: usize) -> String {
    match number % 3 {
        0 => format!("f{number:04}.csv"),
        folder => format!("sub{folder}/f{number:04}.csv"),
    }
}

fn content(number: usize) -> Vec<u8> {
    format!("the content of file {number}\n")
        .repeat(1 + number % 40)
        .into_bytes()
}

/// The files, whole and on the disk.
fn write_all(dir: &Dir, count: usize) {
    for number in 0..count {
        let path = dir.write(format!("in/{}", name(number)), content(number));
        File::open(path)
            .and_then(|file| file.sync_all())
            .expect("it is on the disk");
    }
    for folder in ["in", "in/sub1", "in/sub2"] {
        File::open(dir.join(folder))
            .and_then(|folder| folder.sync_all())
            .expect("it is on the disk");
    }
}

/// What a test does.
struct Case {
    /// What the endpoint answers to everything.
    status: u16,
    count: usize,
    /// `{dir}` is a folder on another disk, which keeps its power.
    config: &'static str,
    /// When the power is cut, always in the middle. Then all is delivered.
    cuts: &'static [When],
}

/// Whole files that the endpoint has answered.
fn answered(server: &Server) -> Vec<Received> {
    server
        .requests()
        .into_iter()
        .filter(|request| request.whole && request.status.is_some())
        .collect()
}

/// The paths of the whole files that the endpoint has answered.
fn answered_paths(server: &Server) -> BTreeSet<String> {
    let answered = answered(server).into_iter();
    answered.map(|request| request.path).collect()
}

/// What a case runs on.
struct Site {
    server: Server,
    /// How many requests have come to it.
    begun: Arc<AtomicUsize>,
    /// The configuration.
    text: String,
    disk: Disk,
    /// The watched folder `in`, which the disk is mounted on, and "blocked", a plain file until the last
    /// cut.
    dir: Dir,
}

impl Site {
    /// `None` where nothing can be mounted.
    fn new(case: &Case) -> Option<Site> {
        let status = case.status;
        let dir = Dir::new();
        let watched = dir.mkdir("in");
        dir.write("blocked", "");
        let disk = Disk::new(&watched)?;
        let begun = Arc::new(AtomicUsize::new(0));
        let count_it = Arc::clone(&begun);
        let server = Server::start(move |_| {
            count_it.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(PACE);
            Reaction::Answer(status)
        });
        let extra = case
            .config
            .replace("{dir}", dir.path().to_str().expect("a path that is text"));
        let text = config(&watched, &server.url(), &extra);
        write_all(&dir, case.count);
        Some(Site {
            server,
            begun,
            text,
            disk,
            dir,
        })
    }

    /// Runs dirpost until the power is cut, and switches it on again. What nobody has by then is whole.
    fn cut(&mut self, moment: When, files: usize) -> Cut {
        let before = answered(&self.server).len();
        let neighbour = Neighbour::on(&self.dir.join("in"));
        let mut daemon = Daemon::start(&self.text);
        wait_until("the moment", BOUND, || {
            let (count, age) = match moment {
                When::Answered(count) => (count, Duration::ZERO),
                When::Known(count) => (count, KNOWN + BUSY),
            };
            answered(&self.server)
                .get(before + count - 1)
                .is_some_and(|request| request.at.elapsed() > age)
        });
        let at = Instant::now();
        self.disk.cut_power();
        daemon.kill();
        drop(neighbour);
        // The endpoint may answer what is in flight when nobody hears it any more.
        wait_until("the endpoint to be done", BOUND, || {
            self.server.requests().len() == self.begun.load(Ordering::SeqCst)
        });
        let over = Instant::now();
        self.disk.switch_off();
        assert!(self.disk.switch_on());
        let answered = answered_paths(&self.server);
        assert!(
            answered.len() < files,
            "all was over before the cut: it shows nothing"
        );
        for number in (0..files).filter(|&number| !answered.contains(&name(number))) {
            assert_eq!(
                self.dir.read(format!("in/{}", name(number))),
                content(number),
                "one that nobody has"
            );
        }
        Cut { at, over }
    }

    /// Runs dirpost until every file is answered and filed.
    fn deliver_the_rest(&self, files: usize) {
        let mut daemon = Daemon::start(&self.text);
        wait_until("every file to be answered", BOUND, || {
            answered_paths(&self.server).len() == files
        });
        daemon.signal(rustix::process::Signal::TERM);
        assert_eq!(daemon.wait_exit(BOUND), 0);
        // What is left to be filed, if anything is.
        let requests = self.server.requests().len();
        let output = once(&self.text, &["--deadline", "20s"]);
        assert!(
            matches!(output.status.code(), Some(0 | 4)),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            self.server.requests().len(),
            requests,
            "something was sent that was known"
        );
    }
}

/// Gives the folder and the disk as they are in the end.
fn run(case: &Case) -> Option<(Dir, Disk)> {
    let mut site = Site::new(case)?;
    let cuts = case.cuts.iter();
    let cuts: Vec<Cut> = cuts.map(|&moment| site.cut(moment, case.count)).collect();
    std::fs::remove_file(site.dir.join("blocked")).expect("the plain file");
    site.deliver_the_rest(case.count);
    judge(case, &site.server, &cuts);
    Some((site.dir, site.disk))
}

/// What came to the endpoint.
fn judge(case: &Case, server: &Server, cuts: &[Cut]) {
    let mut all: BTreeMap<String, Vec<Received>> = BTreeMap::new();
    for request in answered(server) {
        all.entry(request.path.clone()).or_default().push(request);
    }
    let (mut repeats, mut oldest, mut forgotten) = (0, Duration::ZERO, 0);
    for number in 0..case.count {
        let name = name(number);
        let mut times = all.remove(&name).expect("it was answered");
        times.sort_by_key(|request| request.at);
        assert!(
            times.iter().all(|request| request.body == content(number)),
            "{name}: not its content"
        );
        assert!(
            times.iter().all(|request| request.key == times[0].key),
            "{name}: under two keys"
        );
        for pair in times.windows(2) {
            let cut = cuts
                .iter()
                .find(|cut| cut.over >= pair[0].at)
                .expect("a repeat without a cut");
            assert!(
                pair[1].at > cut.over,
                "{name} was sent twice, with no cut in between"
            );
            let age = cut.at.saturating_duration_since(pair[0].at);
            (repeats, oldest) = (repeats + 1, oldest.max(age));
            forgotten += usize::from(age > KNOWN + BUSY);
        }
    }
    assert!(all.is_empty(), "sent, but never written: {:?}", all.keys());
    println!(
        "{} files, {} power cuts ({:?}): {repeats} sent again, the oldest answered {} ms before its cut",
        case.count,
        cuts.len(),
        case.config,
        oldest.as_millis()
    );
    assert_eq!(
        forgotten,
        0,
        "answered more than {:?} before the cut, and sent again",
        KNOWN + BUSY
    );
}

/// Each file is in this folder once, whole, and nothing else is but what ends with `beside`.
fn holds_each_once(dir: &Dir, folder: &str, count: usize, beside: &str) {
    let mut wanted: Vec<String> = (0..count).map(name).collect();
    wanted.extend(
        (0..count)
            .map(name)
            .map(|name| name + beside)
            .filter(|_| !beside.is_empty()),
    );
    // The neighbour's file is hidden.
    let found = dir
        .list(folder)
        .into_iter()
        .filter(|name| !name.starts_with('.'));
    let (wanted, found): (BTreeSet<_>, BTreeSet<_>) =
        (wanted.into_iter().collect(), found.collect());
    let missing: Vec<_> = wanted.difference(&found).take(5).collect();
    let odd: Vec<_> = found.difference(&wanted).take(5).collect();
    assert!(
        missing.is_empty() && odd.is_empty(),
        "{folder}: missing {missing:?}, not wanted {odd:?}, and perhaps more"
    );
    for number in 0..count {
        assert_eq!(
            dir.read(format!("{folder}/{}", name(number))),
            content(number)
        );
    }
}

/// Each file is in this folder once, whole, under whatever name; nothing is said of anything else.
fn holds_each_content_once(dir: &Dir, folder: &str, count: usize) {
    let is_file = |name: &String| !name.ends_with(".reason.json") && !name.contains(".draft-");
    let found = dir
        .list(folder)
        .into_iter()
        .filter(is_file)
        .map(|name| dir.read(format!("{folder}/{name}")));
    let (mut found, mut wanted): (Vec<_>, Vec<_>) =
        (found.collect(), (0..count).map(content).collect());
    found.sort();
    wanted.sort();
    assert!(found == wanted, "{folder} holds {} files", found.len());
}

fn nothing_is_left(dir: &Dir) {
    assert_eq!(
        dir.list("in")
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .collect::<Vec<_>>(),
        [""; 0]
    );
}

fn nothing_is_in_staging(dir: &Dir) {
    assert_eq!(dir.list("in/.dirpost/staging"), [""; 0]);
}

const DELETED: Case = Case {
    status: 200,
    count: 1_100,
    config: "delivered.action = \"delete\"",
    cuts: &[When::Answered(20), When::Answered(140), When::Known(40)],
};

const REJECTED: Case = Case {
    status: 422,
    count: 400,
    config: "send.brake = 0",
    cuts: &[When::Answered(20), When::Answered(50), When::Answered(90)],
};

#[test]
fn after_power_cuts_every_file_is_accepted_and_lies_in_done_once() {
    let cuts = &[
        When::Answered(1),
        When::Answered(30),
        When::Answered(100),
        When::Answered(190),
        When::Known(60),
    ];
    let case = Case {
        status: 200,
        count: 1_300,
        config: "",
        cuts,
    };
    let Some((dir, _disk)) = run(&case) else {
        return;
    };
    nothing_is_left(&dir);
    holds_each_once(&dir, "in/.dirpost/done", case.count, "");
}

#[test]
fn after_power_cuts_what_is_to_be_deleted_is_accepted_and_gone() {
    let Some((dir, _disk)) = run(&DELETED) else {
        return;
    };
    nothing_is_left(&dir);
    assert_eq!(dir.list("in/.dirpost/done"), [""; 0]);
}

#[test]
fn after_power_cuts_nothing_is_left_in_staging_of_what_is_to_be_deleted() {
    let Some((dir, _disk)) = run(&DELETED) else {
        return;
    };
    nothing_is_in_staging(&dir);
}

#[test]
fn after_power_cuts_what_is_kept_stays_and_is_known() {
    let cuts = &[When::Answered(20), When::Answered(140), When::Known(40)];
    let case = Case {
        status: 200,
        count: 1_100,
        config: "delivered.action = \"keep\"",
        cuts,
    };
    let Some((dir, _disk)) = run(&case) else {
        return;
    };
    holds_each_once(&dir, "in", case.count, "");
}

#[test]
fn after_a_power_cut_what_was_accepted_and_cannot_be_filed_is_known() {
    let cuts = &[When::Answered(100), When::Known(40)];
    let case = Case {
        status: 200,
        count: 900,
        config: "delivered.dir = '{dir}/blocked/done'",
        cuts,
    };
    let Some((dir, _disk)) = run(&case) else {
        return;
    };
    nothing_is_left(&dir);
    nothing_is_in_staging(&dir);
    holds_each_once(&dir, "blocked/done", case.count, "");
}

#[test]
fn after_power_cuts_what_goes_to_another_disk_lies_there_once() {
    let cuts = &[When::Answered(20), When::Answered(50), When::Answered(90)];
    let case = Case {
        status: 200,
        count: 400,
        config: "delivered.dir = '{dir}/done'",
        cuts,
    };
    let Some((dir, _disk)) = run(&case) else {
        return;
    };
    nothing_is_left(&dir);
    nothing_is_in_staging(&dir);
    holds_each_once(&dir, "done", case.count, "");
}

#[test]
fn after_power_cuts_every_rejected_file_lies_in_dead_letter() {
    let Some((dir, _disk)) = run(&REJECTED) else {
        return;
    };
    nothing_is_left(&dir);
    holds_each_content_once(&dir, "in/.dirpost/dead-letter", REJECTED.count);
}

#[test]
fn after_power_cuts_there_is_no_draft_and_no_lone_reason_in_dead_letter() {
    let Some((dir, _disk)) = run(&REJECTED) else {
        return;
    };
    holds_each_once(
        &dir,
        "in/.dirpost/dead-letter",
        REJECTED.count,
        ".reason.json",
    );
}

#[test]
fn after_power_cuts_every_rejected_file_lies_in_dead_letter_on_another_disk_once() {
    let cuts = &[When::Answered(20), When::Answered(50), When::Answered(90)];
    let case = Case {
        status: 422,
        count: 400,
        config: "send.brake = 0\ndead_letter.dir = '{dir}/dead'",
        cuts,
    };
    let Some((dir, _disk)) = run(&case) else {
        return;
    };
    nothing_is_left(&dir);
    nothing_is_in_staging(&dir);
    holds_each_once(&dir, "dead", case.count, ".reason.json");
}

/// The power goes and comes back, and all renames are on the disk: another program's fsync brings them
/// there, and no content but its own.
fn cut_behind_the_renames(disk: &mut Disk, watched: &Path) {
    let neighbour = File::create(watched.join(".neighbour")).expect("a file");
    neighbour.sync_all().expect("an fsync");
    drop(neighbour);
    disk.cut_power();
    disk.switch_off();
    assert!(disk.switch_on());
}

#[test]
fn after_a_power_cut_dirposts_own_files_are_whole_and_what_a_run_has_learned_is_known() {
    let dir = Dir::new();
    let watched = dir.mkdir("in");
    let Some(mut disk) = Disk::new(&watched) else {
        return;
    };
    let server = Server::start(|_| Reaction::Answer(503));
    dir.write("in/a.csv", "a");
    let text = config(&watched, &server.url(), "");
    // The first run makes the file of what was learned, the second one replaces it.
    for run in 1..=2 {
        let ended = once(&text, &["--no-wait"]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(dir.exists("in/.dirpost/memory.jsonl"), "{run}: {said}");
        let own =
            ["id", "lock", "holder", "memory.jsonl"].map(|name| format!("in/.dirpost/{name}"));
        let before = own.each_ref().map(|name| dir.read(name));
        cut_behind_the_renames(&mut disk, &watched);
        let after = own.each_ref().map(|name| dir.read(name));
        for ((name, before), after) in own.iter().zip(before).zip(after) {
            assert!(
                !after.is_empty() && after == before,
                "{run}: {name}: {after:?}"
            );
        }
    }
}

#[test]
fn after_a_power_cut_a_dead_letter_that_was_sent_again_goes_under_its_new_key() {
    let dir = Dir::new();
    let watched = dir.mkdir("in");
    let Some(mut disk) = Disk::new(&watched) else {
        return;
    };
    let server = Server::start(|_| Reaction::Answer(422));
    let path = dir.write("in/a.csv", "a");
    let file = File::open(path).expect("the file");
    file.sync_all().expect("it is on the disk");
    drop(file);
    let text = config(&watched, &server.url(), "send.brake = 0");
    let ended = once(&text, &[]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(dir.exists("in/.dirpost/dead-letter/a.csv"), "{said}");
    let config_file = dir.write("retry.toml", &text);
    let config_file = config_file.to_str().expect("a path that is text");
    for round in 2..=3 {
        let retried = dirpost(&["dead-letter", "retry", "--config", config_file, "--all"]);
        assert!(retried.status.success(), "{retried:?}");
        cut_behind_the_renames(&mut disk, &watched);
        assert_eq!(dir.text("in/a.csv"), "a");
        let ended = once(&text, &[]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let keys: BTreeSet<String> = server.requests().into_iter().map(|sent| sent.key).collect();
        assert_eq!(
            (server.requests().len(), keys.len()),
            (round, round),
            "{said}"
        );
    }
}
