//! Random histories of folders on modelled file systems, against what is really there.

use super::*;
use crate::flow::rng::Rng;
use crate::flow::scan::names_hash::Named;

/// How a modelled file system shows times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As multiples of so many milliseconds.
    Of(i64),
    /// It never moves them.
    Never,
    /// It moves them now and then.
    Sometimes,
    /// The mtime stands in for the ctime, and programs put it back.
    NoCtime(FsKind),
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Of(1),
        Kind::Of(4),
        Kind::Of(1_000),
        Kind::Of(2_000),
        Kind::Never,
        Kind::Sometimes,
        Kind::NoCtime(FsKind::LocalNoCtime),
        Kind::NoCtime(FsKind::Share),
    ];

    fn is_good(self) -> bool {
        matches!(self, Kind::Of(_))
    }
}

/// A file: which one it is, what its stamp is, and since when each is so.
#[derive(Clone, Copy, Debug)]
struct File {
    ino: u64,
    appeared: i64,
    stamp: u64,
    written: i64,
}

#[derive(Clone, Debug)]
struct Node {
    ino: u64,
    appeared: i64,
    mtime: i64,
    ctime: i64,
    files: BTreeMap<String, File>,
    folders: BTreeSet<String>,
}

struct World {
    rng: Rng,
    kind: Kind,
    fs: FsKind,
    now: i64,
    numbers: u64,
    nodes: BTreeMap<Rel, Node>,
    rounds: Rounds,
    rewrites: i64,
    /// What was shown of each folder: its files with their inodes and stamps.
    shown: BTreeMap<Rel, BTreeMap<String, (u64, u64)>>,
    /// The names that were shown of each folder.
    names_shown: BTreeMap<Rel, NamesHash>,
    /// It is the first scan of a process that expects names.
    is_first: bool,
    /// The folders of which this process has read names alone.
    by_names: BTreeSet<Rel>,
    /// How many visits by processes that expect names have read nothing else.
    as_expected: usize,
    /// When the times of each folder were taken by the scan under way.
    visited: BTreeMap<Rel, i64>,
    /// How many visits passed a folder over.
    over: usize,
    history: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let kind = Kind::ALL[rng.below(Kind::ALL.len() as u64) as usize];
        let fs = match kind {
            Kind::NoCtime(fs) => fs,
            _ if rng.below(2) == 0 => FsKind::Share,
            _ => FsKind::Local,
        };
        let rewrites = [60, 600, 600][rng.below(3) as usize] * SECOND;
        let every = Duration::from_millis(rewrites as u64);
        let mut world = World {
            rng,
            kind,
            fs,
            now: 0,
            numbers: 0,
            nodes: BTreeMap::new(),
            rounds: Rounds::new(Rewrites::Every(every)),
            rewrites,
            shown: BTreeMap::new(),
            names_shown: BTreeMap::new(),
            is_first: false,
            by_names: BTreeSet::new(),
            as_expected: 0,
            visited: BTreeMap::new(),
            over: 0,
            history: Vec::new(),
        };
        world.make(&Rel::root());
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The wall clock, as this file system keeps it.
    fn wall(&self) -> i64 {
        let fine = 1_000_000 + self.now;
        match self.kind {
            Kind::Of(multiple) => fine / multiple * multiple,
            _ => fine,
        }
    }

    fn make(&mut self, path: &Rel) {
        let (ino, wall) = (self.number(), self.wall());
        let node = Node {
            ino,
            appeared: self.now,
            mtime: wall,
            ctime: wall,
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
        };
        self.nodes.insert(path.clone(), node);
    }

    /// A name in the folder has changed.
    fn touch(&mut self, path: &Rel) {
        let wall = self.wall();
        let moves = match self.kind {
            Kind::Never => false,
            Kind::Sometimes => self.below(2) == 0,
            Kind::Of(_) | Kind::NoCtime(_) => true,
        };
        let puts_back = self.below(3) == 0;
        let node = self.nodes.get_mut(path).unwrap();
        if moves {
            let before = node.mtime;
            (node.mtime, node.ctime) = (wall, wall);
            if puts_back {
                node.mtime = before;
            }
        }
    }

    fn change(&mut self, path: &Rel) {
        let name = format!("f{}", self.below(6));
        let (number, now, what) = (self.number(), self.now, self.below(8));
        let node = self.nodes.get_mut(path).unwrap();
        let what = match (what, node.files.get_mut(&name)) {
            (0 | 1, Some(file)) => {
                (file.stamp, file.written) = (number, now);
                // The folder's times do not move.
                self.history.push(format!("{now}: {path}/{name} rewritten"));
                return;
            }
            (2, Some(_)) => {
                node.files.remove(&name);
                "removed"
            }
            (0..=5, _) => {
                let file = File {
                    ino: number,
                    appeared: now,
                    stamp: number,
                    written: now,
                };
                node.files.insert(name.clone(), file);
                "made"
            }
            _ => return self.change_folder(path),
        };
        self.history.push(format!("{now}: {path}/{name} {what}"));
        self.touch(path);
    }

    fn change_folder(&mut self, path: &Rel) {
        let name = format!("d{}", self.below(2));
        let below = path.join(name.as_bytes());
        if below.parts().count() > 3 {
            return;
        }
        let folders = &mut self.nodes.get_mut(path).unwrap().folders;
        if folders.insert(name.clone()) {
            self.make(&below);
            self.history.push(format!("{}: {below} made", self.now));
        } else if self.below(3) == 0 {
            self.nodes.get_mut(path).unwrap().folders.remove(&name);
            self.nodes
                .retain(|other, _| *other != below && !other.is_below(&below));
            self.history.push(format!("{}: {below} removed", self.now));
        } else {
            return;
        }
        self.touch(path);
    }

    /// Time passes, and somebody may do something.
    fn pass(&mut self, most: i64) {
        self.now += self.rng.below(most as u64 + 1) as i64;
        if self.below(12) == 0 {
            let paths: Vec<Rel> = self.nodes.keys().cloned().collect();
            let path = paths[self.below(paths.len())].clone();
            self.change(&path);
        }
    }

    fn times(&self, path: &Rel) -> Option<Times> {
        let node = self.nodes.get(path)?;
        let ctime = match self.kind {
            Kind::NoCtime(_) => node.mtime,
            _ => node.ctime,
        };
        Some(Times {
            mtime: Wall(node.mtime),
            ctime: Wall(ctime),
            dev: 1,
            ino: node.ino,
        })
    }

    fn names(&self, path: &Rel) -> Option<NamesHash> {
        let node = self.nodes.get(path)?;
        let mut names = NamesHash::default();
        for name in node.files.keys() {
            names.add(Named::File, name.as_bytes());
        }
        for name in &node.folders {
            names.add(Named::Folder, name.as_bytes());
        }
        Some(names)
    }

    /// What the thread that scans does, with others at work between any two of its calls.
    fn visit(&mut self, path: &Rel) {
        let wanted = Wanted::default();
        let plan = self.rounds.plan_of(path, &wanted, Mono(self.now)).unwrap();
        let began = Mono(self.now);
        self.pass(3);
        let times = self.times(path);
        let read = Mono(self.now);
        let Some(times) = times else {
            return self.rounds.gone(path);
        };
        self.visited.insert(path.clone(), self.now);
        let visit = plan.visit(Some(times));
        if visit == Visit::Over {
            self.over += 1;
            return;
        }
        self.pass(3);
        let Some(names) = self.names(path) else {
            return self.rounds.gone(path);
        };
        let node = self.nodes[path].clone();
        self.pass(3);
        let suspect = plan.is_suspect(Some(times), names);
        let seen = Seen {
            times: Some(times),
            began,
            read,
            names,
            fs: self.fs,
            again: self.times(path).filter(|_| suspect),
        };
        assert!(
            visit == Visit::All || !self.by_names.contains(path),
            "{path}: a start that goes by names owes it a look at all of it"
        );
        if visit == Visit::Names && plan.has_names(names) {
            if self.is_first {
                self.by_names.insert(path.clone());
                self.as_expected += 1;
            }
            return self.rounds.listed(path, &seen, None);
        }
        self.by_names.remove(path);
        let folders: Vec<Vec<u8>> = node
            .folders
            .iter()
            .map(|name| name.clone().into())
            .collect();
        let looked = Looked {
            has_ctime: !matches!(self.kind, Kind::NoCtime(_)),
            ..looked(&folders)
        };
        self.rounds.listed(path, &seen, Some(&looked));
        let files = node.files.iter();
        let shown = files.map(|(name, file)| (name.clone(), (file.ino, file.stamp)));
        self.shown.insert(path.clone(), shown.collect());
        self.names_shown.insert(path.clone(), names);
    }

    /// What a name in dirpost's own folder shows at a start.
    fn prove(&mut self) {
        let has_ctime = !matches!(self.kind, Kind::NoCtime(_));
        let moves = self.kind != Kind::Never;
        prove(&mut self.rounds, self.fs, moves, has_ctime);
    }

    /// Another process begins, and expects the names that were shown, but for some folders.
    fn restart(&mut self) {
        let shown: Vec<(Rel, NamesHash)> = self.names_shown.clone().into_iter().collect();
        let expected: Vec<_> = shown
            .into_iter()
            .map(|(path, names)| (path, (self.below(4) > 0).then_some(names)))
            .collect();
        let every = Duration::from_millis(self.rewrites as u64);
        self.rounds = Rounds::expecting(Rewrites::Every(every), expected.into_iter());
        self.rounds.check();
        self.by_names.clear();
        self.is_first = true;
        self.history.push(format!("{}: restarted", self.now));
    }

    fn scan(&mut self) {
        self.visited.clear();
        let mut last: Option<Rel> = None;
        loop {
            let next = self.rounds.after(last.as_ref()).next();
            let Some(path) = next.map(|(path, _)| path.clone()) else {
                break;
            };
            self.visit(&path);
            last = Some(path);
        }
        self.rounds.check();
        self.nothing_is_missed();
        if std::mem::take(&mut self.is_first) {
            let is_owed = !self.by_names.is_empty();
            assert_eq!(self.rounds.take_debt(), is_owed, "the next scan follows");
        }
        assert!(!self.rounds.take_debt(), "only after the first one");
    }

    /// What is there and was not shown as it is has not been so for too long.
    fn nothing_is_missed(&self) {
        let at_most = |bound: i64| if self.kind.is_good() { 0 } else { bound };
        for (path, node) in &self.nodes {
            let Some(&visited) = self.visited.get(path) else {
                // It is a new name in the folder above.
                if let Some(above) = self.visited.get(&path.parent()) {
                    let age = above - node.appeared;
                    self.hold(path, "not visited", age <= at_most(120 * SECOND));
                }
                continue;
            };
            let shown = self.shown.get(path);
            for (name, file) in &node.files {
                let (since, bound, what) = match shown.and_then(|files| files.get(name)) {
                    None => (file.appeared, at_most(120 * SECOND), "new"),
                    // The next scan shows that.
                    Some(_) if self.by_names.contains(path) => continue,
                    Some((ino, _)) if *ino != file.ino => {
                        (file.appeared, at_most(self.rewrites), "replaced")
                    }
                    Some((_, stamp)) if *stamp != file.stamp => {
                        (file.written, self.rewrites, "rewritten")
                    }
                    Some(_) => continue,
                };
                let path = path.join(name.as_bytes());
                self.hold(&path, what, visited - since <= bound);
            }
        }
    }

    fn hold(&self, path: &Rel, what: &str, holds: bool) {
        assert!(
            holds,
            "{:?}, {:?}: {path} is {what}, and that was not seen by {}\n{}",
            self.kind,
            self.fs,
            self.now,
            self.history.join("\n")
        );
    }
}

#[test]
fn nothing_is_missed_for_longer_than_promised_whatever_the_file_system_does_with_its_times() {
    let mut over: BTreeMap<bool, usize> = BTreeMap::new();
    let mut as_expected = 0;
    for seed in 0..300 {
        let mut world = World::new(seed);
        let interval = [500, 2_000, 5_000][world.below(3)];
        let is_proven = world.below(2) == 0;
        if is_proven {
            world.prove();
        }
        // Busy for a while, then quiet for a while.
        for scan in 0..300 {
            // Without a proof, what is learned of the file system goes with the process.
            if is_proven && world.below(20) == 0 {
                world.restart();
                world.prove();
            }
            world.scan();
            let next = world.now + interval;
            while world.now < next {
                if scan / 50 % 2 == 0 {
                    world.pass(interval);
                } else {
                    world.now += interval;
                }
            }
        }
        *over.entry(world.kind.is_good()).or_default() += world.over;
        as_expected += world.as_expected;
    }
    assert!(as_expected > 1_000, "no start goes by names: {as_expected}");
    assert!(over[&true] > 10_000, "nothing is passed over: {over:?}");
}
