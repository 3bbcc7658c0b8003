//! Three ways to look at a folder again: what the system allows, the obvious program, and the notify crate.
//!
//! All three list every folder below one, look at the size and mtime of each file, compare with the look
//! before, and know what is new, gone or changed.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::io::{BufRead, BufReader, Lines, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use notify::Watcher as _;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags};
use rustix::time::ClockId;

/// The three, by the name of their role and what they are called in a table.
pub const KINDS: [(&str, &str); 3] = [
    (
        "limit",
        "raw getdents64 + statx by folder handle, compact sorted listings: the limit",
    ),
    ("hashmap", "walkdir + `HashMap` of paths"),
    ("notify", "notify 8, `PollWatcher`"),
];

/// Looks again and again.
pub trait Looker {
    /// Looks at everything once; how much was found new, gone or changed since the look before.
    fn look(&mut self) -> usize;
}

/// One of [`KINDS`], that has not looked yet.
pub fn looker(kind: &str, dir: &Path) -> Box<dyn Looker> {
    match kind {
        "limit" => Box::new(Limit::new(dir)),
        "hashmap" => Box::new(Obvious::new(dir)),
        "notify" => Box::new(Notify::new(dir)),
        _ => panic!("{kind} looks at nothing"),
    }
}

/// The names of one folder in one buffer, sorted and each with a NUL behind it, and what was seen of each.
#[derive(Default)]
struct Compact {
    names: Vec<u8>,
    ends: Vec<u32>,
    stamps: Vec<(u64, i64)>,
}

impl Compact {
    fn name(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start as usize..self.ends[at] as usize]
    }

    /// How much differs, by a merge.
    fn differences(&self, other: &Compact) -> usize {
        if self.names == other.names {
            let pairs = self.stamps.iter().zip(&other.stamps);
            return pairs.filter(|(a, b)| a != b).count();
        }
        let (mut left, mut right, mut count) = (0, 0, 0);
        while left < self.ends.len() && right < other.ends.len() {
            match self.name(left).cmp(other.name(right)) {
                std::cmp::Ordering::Less => (left, count) = (left + 1, count + 1),
                std::cmp::Ordering::Greater => (right, count) = (right + 1, count + 1),
                std::cmp::Ordering::Equal => {
                    count += usize::from(self.stamps[left] != other.stamps[right]);
                    (left, right) = (left + 1, right + 1);
                }
            }
        }
        count + self.ends.len() - left + other.ends.len() - right
    }

    fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.stamps.shrink_to_fit();
    }
}

struct Limit {
    dir: PathBuf,
    folders: BTreeMap<PathBuf, Compact>,
    /// Room that is used again for each folder.
    buffer: Vec<MaybeUninit<u8>>,
    found: Vec<u8>,
    order: Vec<(u32, u32)>,
    now: Compact,
}

impl Limit {
    fn new(dir: &Path) -> Limit {
        Limit {
            dir: dir.into(),
            folders: BTreeMap::new(),
            buffer: vec![MaybeUninit::uninit(); 64 * 1024],
            found: Vec::new(),
            order: Vec::new(),
            now: Compact::default(),
        }
    }

    /// Reads the names in a folder into `found`; the folders among them are added to `open`.
    fn list(&mut self, folder: &OwnedFd, path: &Path, open: &mut Vec<PathBuf>) {
        self.found.clear();
        self.order.clear();
        let mut entries = RawDir::new(folder, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            match entry.file_type() {
                FileType::Directory if !name.to_bytes().starts_with(b".") => {
                    open.push(path.join(name.to_str().expect("a name of this benchmark")));
                }
                FileType::RegularFile => {
                    let start = u32::try_from(self.found.len()).expect("below 4 GiB");
                    self.found.extend_from_slice(name.to_bytes_with_nul());
                    let end = u32::try_from(self.found.len()).expect("below 4 GiB");
                    self.order.push((start, end));
                }
                _ => {}
            }
        }
        let found = &self.found;
        let name = |&(start, end): &(u32, u32)| &found[start as usize..end as usize];
        self.order.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    /// Looks at what was found.
    fn stat(&mut self, folder: &OwnedFd) {
        self.now.names.clear();
        self.now.ends.clear();
        self.now.stamps.clear();
        for &(start, end) in &self.order {
            let bytes = &self.found[start as usize..end as usize];
            let name = CStr::from_bytes_with_nul(bytes).expect("its NUL");
            let wanted = StatxFlags::SIZE | StatxFlags::MTIME;
            let Ok(seen) = rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted)
            else {
                continue;
            };
            let nanoseconds = i64::from(seen.stx_mtime.tv_nsec);
            let mtime = seen.stx_mtime.tv_sec * 1_000_000_000 + nanoseconds;
            self.now.names.extend_from_slice(bytes);
            let end = u32::try_from(self.now.names.len()).expect("below 4 GiB");
            self.now.ends.push(end);
            self.now.stamps.push((seen.stx_size, mtime));
        }
    }
}

impl Looker for Limit {
    fn look(&mut self) -> usize {
        let mut open = vec![self.dir.clone()];
        let mut before = std::mem::take(&mut self.folders);
        let mut count = 0;
        while let Some(path) = open.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(CWD, &path, flags, Mode::empty()).expect("a folder");
            self.list(&folder, &path, &mut open);
            self.stat(&folder);
            let mut kept = before.remove(&path).unwrap_or_default();
            let differences = kept.differences(&self.now);
            if differences > 0 {
                kept = std::mem::take(&mut self.now);
                kept.shrink();
            }
            count += differences;
            self.folders.insert(path, kept);
        }
        count + before.values().map(|gone| gone.ends.len()).sum::<usize>()
    }
}

/// What is written first: a walk by path, and a map of all that was seen.
struct Obvious {
    dir: PathBuf,
    seen: HashMap<PathBuf, (u64, SystemTime)>,
}

impl Obvious {
    fn new(dir: &Path) -> Obvious {
        Obvious {
            dir: dir.into(),
            seen: HashMap::new(),
        }
    }
}

impl Looker for Obvious {
    fn look(&mut self) -> usize {
        let is_hidden = |entry: &walkdir::DirEntry| {
            entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
        };
        let mut now = HashMap::new();
        let mut count = 0;
        let entries = walkdir::WalkDir::new(&self.dir)
            .into_iter()
            .filter_entry(|entry| !is_hidden(entry));
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_file())
        {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let stamp = (metadata.len(), metadata.modified().expect("an mtime"));
            count += usize::from(self.seen.get(entry.path()) != Some(&stamp));
            now.insert(entry.into_path(), stamp);
        }
        let gone = self.seen.keys().filter(|path| !now.contains_key(*path));
        count += gone.count();
        self.seen = now;
        count
    }
}

/// notify's watcher for where the system says nothing. It looks in a thread of its own.
struct Notify {
    watcher: notify::PollWatcher,
    events: mpsc::Receiver<()>,
    /// A folder outside of the watched one with one file, which is changed before each look: what it says of
    /// that shows that the look has begun.
    bell: PathBuf,
    rung: u64,
}

impl Notify {
    fn new(dir: &Path) -> Notify {
        let (sender, events) = mpsc::channel();
        let handler = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| event.kind.is_modify() || event.kind.is_create()) {
                let _ = sender.send(());
            }
        };
        let config = notify::Config::default().with_manual_polling();
        let mut watcher = notify::PollWatcher::new(handler, config).expect("a watcher");
        let bell = dir.with_extension(format!("bell-{}", std::process::id()));
        std::fs::create_dir_all(&bell).expect("a folder");
        std::fs::write(bell.join("bell"), "").expect("a file");
        let deep = notify::RecursiveMode::Recursive;
        watcher.watch(&bell, deep).expect("the folder is watched");
        watcher.watch(dir, deep).expect("the folder is watched");
        Notify {
            watcher,
            events,
            bell,
            rung: 0,
        }
    }
}

impl Looker for Notify {
    fn look(&mut self) -> usize {
        self.rung += 1;
        // An mtime counts as changed when it is newer by a whole second: in 2096 it is.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + self.rung);
        let bell = std::fs::File::options()
            .write(true)
            .open(self.bell.join("bell"));
        let bell = bell.expect("the file");
        bell.set_modified(time).expect("its mtime");
        self.watcher.poll().expect("a poll");
        self.events.recv().expect("the bell is heard");
        // Its watches are locked for as long as it looks.
        let _ = self.watcher.unwatch(Path::new("/never/watched"));
        self.events.try_iter().count()
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.bell);
    }
}

/// A process that looks when it is told to.
pub struct Looking {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// What the first look has left in memory, in bytes.
    pub memory: f64,
}

impl Looking {
    /// Starts one of [`KINDS`], and lets it look once.
    pub fn start(kind: &str, dir: &Path) -> Looking {
        let dir = dir.to_str().expect("a path of this benchmark");
        let mut child = super::role("look", &[kind, dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut answers = BufReader::new(child.stdout.take().expect("its output")).lines();
        let memory = answers.next().expect("an answer").expect("a line");
        Looking {
            commands: child.stdin.take(),
            child,
            answers,
            memory: memory.parse().expect("a number"),
        }
    }

    /// The processor time of one more look, in seconds.
    pub fn look(&mut self) -> f64 {
        let mut commands = self.commands.as_ref().expect("it is not over");
        commands.write_all(b"\n").expect("a command");
        let answer = self.answers.next().expect("an answer").expect("a line");
        answer.parse::<f64>().expect("a number") / 1e9
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}

/// The other side of [`Looking`].
pub fn play(kind: &str, dir: &Path) {
    let before = resident();
    let mut looker = looker(kind, dir);
    looker.look();
    println!("{}", resident().saturating_sub(before));
    for _ in std::io::stdin().lines() {
        let begun = cpu();
        looker.look();
        println!("{}", cpu() - begun);
    }
}

/// The processor time of this process, in ns.
fn cpu() -> i64 {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux' /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib.expect("a field").parse().expect("a number");
    kib * 1024
}
