//! A share with faults, and what must come of all that is done on it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuser::Errno;

use crate::util::fuse::{Acted, Faults, Hang, Inodes, Of, Operation, Share, Traits};
use crate::util::mount::Mount;
use crate::util::{BOUND, Dir, Reaction, Server, config, wait_until};

/// How a share gives a file another name without replacing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a rename of that kind.
    Rename,
    /// By a link and an unlink, as on NFS.
    Link,
    /// With neither; what a link answers.
    Reserve(Errno),
}

impl Way {
    /// What a share is like that knows only this way.
    pub(super) fn traits(self) -> Traits {
        Traits {
            no_replace: match self {
                Way::Rename => Ok(()),
                Way::Link | Way::Reserve(_) => Err(Errno::EINVAL),
            },
            links: match self {
                Way::Rename | Way::Link => Ok(()),
                Way::Reserve(errno) => Err(errno),
            },
            ..Traits::default()
        }
    }
}

/// Where `done` and `dead-letter` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// In the state folder on the share.
    Beside,
    /// On another file system, which is in order.
    Disk,
    /// On another share, which is the faulty one.
    Share,
}

/// Who files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Daemon,
    /// A daemon that is killed so many times on the way.
    Killed(usize),
    /// A daemon that is killed when an operation hangs.
    KilledAt(Hang),
    /// `once`, again and again.
    Once,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) operation: Operation,
    pub(super) errno: Errno,
    pub(super) times: usize,
    pub(super) of: Of,
    pub(super) way: Way,
    pub(super) target: Target,
    pub(super) action: &'static str,
    pub(super) markers: bool,
    pub(super) process: Process,
    /// All files, or this one alone.
    pub(super) only: Option<&'static str>,
    pub(super) inodes: Inodes,
    /// See [`Traits`].
    pub(super) granularity: Duration,
    pub(super) stale: Duration,
}

/// `operation` fails with `errno` once it is done, on a share that is in order otherwise.
pub(super) const fn case(operation: Operation, errno: Errno) -> Case {
    Case {
        operation,
        errno,
        times: 1,
        of: Of::Files,
        way: Way::Rename,
        target: Target::Beside,
        action: "move",
        markers: false,
        process: Process::Daemon,
        only: None,
        inodes: Inodes::Last,
        granularity: Duration::ZERO,
        stale: Duration::ZERO,
    }
}

/// The endpoint accepts these.
pub(super) const GOOD: [&str; 3] = ["a.csv", "sub/b.csv", "sub/deep/c.csv"];
/// The endpoint rejects these.
pub(super) const BAD: [&str; 2] = ["bad.csv", "sub/bad.csv"];

pub(super) fn content(name: &str) -> String {
    format!("this is {name}")
}

/// Whether each file in dead-letter has a reason beside it, and each reason its file; `Err` says which one
/// has not. Markers have none.
fn each_has_its_reason(dead: &BTreeMap<String, String>) -> Result<(), String> {
    for name in dead.keys() {
        let beside = match name.strip_suffix(".reason.json") {
            Some(file) => file.to_string(),
            None if name.contains(".done") => continue,
            None => format!("{name}.reason.json"),
        };
        if !dead.contains_key(&beside) {
            return Err(format!("{name} lies in dead-letter without {beside}"));
        }
    }
    Ok(())
}

/// A share and what dirpost needs to run on it.
pub(super) struct World {
    pub(super) case: Case,
    pub(super) share: Share,
    /// Where the target is another share.
    other: Option<Share>,
    dir: Dir,
    _disk: Option<Mount>,
    server: Server,
    pub(super) text: String,
    /// How often a file may have been sent again.
    forgiven: Cell<usize>,
}

impl World {
    /// `None` where nothing can be mounted.
    pub(super) fn new(case: Case) -> Option<World> {
        let traits = Traits {
            inodes: case.inodes,
            times: case.granularity,
            stale: case.stale,
            ..case.way.traits()
        };
        let is_faulty = case.target != Target::Share;
        let share = Share::mount_as(if is_faulty { traits } else { Traits::default() })?;
        let dir = Dir::new();
        let target = dir.mkdir("target");
        let (disk, other, place) = match case.target {
            Target::Beside => (None, None, None),
            Target::Disk => (Some(Mount::tmpfs(&target, "1m")?), None, Some(target)),
            Target::Share => {
                let other = Share::mount_as(traits)?;
                let place = other.path();
                (None, Some(other), Some(place))
            }
        };
        let server = Server::start(|head| {
            let is_bad = BAD.contains(&head.path.as_str());
            Reaction::Answer(if is_bad { 422 } else { 200 })
        });
        let mut extra = format!("delivered.action = \"{}\"\nsend.brake = 0", case.action);
        if let Some(place) = place {
            let place = place.display();
            extra += &format!("\ndelivered.dir = '{place}/done'\ndead_letter.dir = '{place}/dead'");
        }
        if case.markers {
            extra += "\nready.marker = \".done\"";
        }
        let text = config(&share.path(), &server.url(), &extra);
        Some(World {
            case,
            share,
            other,
            dir,
            _disk: disk,
            server,
            text,
            forgiven: Cell::new(0),
        })
    }

    /// What the endpoint accepts.
    fn good(&self) -> Vec<&'static str> {
        self.dropped(&GOOD)
    }

    /// What the endpoint rejects.
    fn bad(&self) -> Vec<&'static str> {
        self.dropped(&BAD)
    }

    fn all(&self) -> Vec<&'static str> {
        [self.good(), self.bad()].concat()
    }

    fn dropped(&self, names: &[&'static str]) -> Vec<&'static str> {
        let is_dropped = |name: &&str| self.case.only.is_none_or(|only| only == *name);
        names.iter().copied().filter(is_dropped).collect()
    }

    /// The share that has the faults.
    pub(super) fn faulty(&self) -> &Share {
        self.other.as_ref().unwrap_or(&self.share)
    }

    pub(super) fn begin_faults(&self) {
        let Case {
            operation,
            errno,
            times,
            of,
            ..
        } = self.case;
        let acted = Some(Acted {
            operation,
            errno,
            times,
            of,
        });
        self.faulty().set(Faults {
            acted,
            ..Faults::default()
        });
    }

    pub(super) fn drop_files(&self) {
        let back = self.share.back();
        for name in self.all() {
            back.write(name, content(name));
            if self.case.markers {
                let marker = format!("{name}.done");
                back.write(&marker, content(&marker));
            }
        }
    }

    pub(super) fn state(&self) -> PathBuf {
        self.share.back().path().join(".dirpost")
    }

    /// `done` or `dead`.
    pub(super) fn target(&self, area: &str) -> PathBuf {
        match (self.case.target, &self.other) {
            (Target::Share, Some(other)) => other.back().path().join(area),
            (Target::Disk, _) => self.dir.join("target").join(area),
            _ if area == "dead" => self.state().join("dead-letter"),
            _ => self.state().join(area),
        }
    }

    /// The names below a folder, and what each of them holds; a file may move away meanwhile.
    pub(super) fn contents(&self, folder: &Path) -> BTreeMap<String, String> {
        let files = self.dir.contents(folder).into_iter();
        files
            .map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned()))
            .collect()
    }

    pub(super) fn waiting(&self) -> BTreeMap<String, String> {
        let mut waiting = self.contents(&self.share.back().path());
        waiting.retain(|name, _| !name.starts_with(".dirpost"));
        waiting
    }

    /// Panics if a file is gone that nobody has, or one was sent twice.
    pub(super) fn nothing_is_lost_or_sent_twice(&self) {
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for request in self.server.requests() {
            *sent.entry(request.path.clone()).or_default() += 1;
            assert_eq!(
                String::from_utf8_lossy(&request.body),
                content(&request.path)
            );
        }
        let most = 1 + self.forgiven.get();
        let twice: Vec<_> = sent.iter().filter(|(_, count)| **count > most).collect();
        assert!(twice.is_empty(), "sent more than once: {twice:?}");
        let is_kept = |name: &&str| self.case.action != "delete" || BAD.contains(name);
        let mut missing: Vec<&str> = self.all().into_iter().filter(is_kept).collect();
        // What moves between two listings is in neither: it is there when it has moved.
        for _ in 0..20 {
            let all = [
                self.waiting(),
                self.contents(&self.state()),
                self.contents(&self.target("done")),
                self.contents(&self.target("dead")),
            ];
            missing.retain(|name| {
                !all.iter()
                    .any(|place| place.values().any(|text| *text == content(name)))
            });
            if missing.is_empty() {
                return;
            }
        }
        panic!("nowhere to be found: {missing:?}");
    }

    /// Whether everything is where it belongs, once; `Err` says what is not.
    pub(super) fn is_filed(&self) -> Result<(), String> {
        let (good, bad) = (self.good(), self.bad());
        let none: Vec<&str> = Vec::new();
        let markers = |names: &[&str]| -> Vec<String> {
            let with = names.iter().filter(|_| self.case.markers);
            with.map(|name| content(&format!("{name}.done"))).collect()
        };
        let texts = |names: &[&str]| -> Vec<String> {
            let mut texts: Vec<String> = names.iter().map(|name| content(name)).collect();
            texts.extend(markers(names));
            texts.sort();
            texts
        };
        let is = |what: &str, found: BTreeMap<String, String>, wanted: Vec<String>| {
            let mut have: Vec<&String> = found.values().collect();
            have.sort();
            if have == wanted.iter().collect::<Vec<_>>() {
                Ok(())
            } else {
                Err(format!("{what}: {found:?}, wanted {wanted:?}"))
            }
        };
        let stays = if self.case.action == "keep" {
            &good
        } else {
            &none
        };
        is("at its place", self.waiting(), texts(stays))?;
        is(
            "in staging",
            self.contents(&self.state().join("staging")),
            Vec::new(),
        )?;
        let moved = if self.case.action == "move" {
            &good
        } else {
            &none
        };
        let mut done = self.contents(&self.target("done"));
        if self.case.operation == Operation::Create {
            // Nobody can tell whose an empty file is that was there after the answer: it stays.
            done.retain(|_, text| !text.is_empty());
        }
        is("in done", done, texts(moved))?;
        let mut dead = self.contents(&self.target("dead"));
        each_has_its_reason(&dead)?;
        dead.retain(|name, _| !name.ends_with(".reason.json"));
        is("in dead-letter", dead, texts(&bad))?;
        let answered = self
            .server
            .requests()
            .iter()
            .filter(|request| request.status.is_some())
            .count();
        if (self.all().len()..=self.all().len() + self.forgiven.get()).contains(&answered) {
            Ok(())
        } else {
            Err(format!("{answered} files were sent"))
        }
    }

    pub(super) fn wait_filed(&self) {
        let started = Instant::now();
        while let Err(why) = self.is_filed() {
            self.nothing_is_lost_or_sent_twice();
            assert!(started.elapsed() < BOUND, "not filed: {why}");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.nothing_is_lost_or_sent_twice();
    }

    /// Waits until the fault was met so many times more, or nothing is left that could meet it.
    pub(super) fn wait_failed(&self, count: usize) {
        let seen = self.faulty().failed();
        self.wait_or_filed(|| self.faulty().failed() >= seen + count);
    }

    /// Waits until an operation hangs, or nothing is left that could.
    pub(super) fn wait_hung(&self) {
        self.wait_or_filed(|| self.faulty().waiting() > 0);
    }

    fn wait_or_filed(&self, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            self.nothing_is_lost_or_sent_twice();
            let Err(why) = self.is_filed() else { return };
            assert!(started.elapsed() < BOUND, "no fault, and not filed: {why}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the journal knows what was answered to every file: from then on no kill is a reason to
    /// send one again.
    fn is_known(&self) -> bool {
        let journal = self.contents(&self.state().join("journal"));
        let journal: String = journal.into_values().collect();
        self.all().iter().all(|name| {
            let path = format!("\"path\":\"{name}\"");
            let event = if BAD.contains(name) {
                "\"condemned\""
            } else {
                "\"accepted\""
            };
            let mut lines = journal.lines().filter(|line| line.contains(&path));
            lines.any(|line| line.contains(event))
        })
    }

    pub(super) fn wait_known(&self) {
        wait_until("the journal to know all", BOUND, || {
            self.nothing_is_lost_or_sent_twice();
            self.is_known()
        });
    }

    /// A file of which the journal does not know yet is in flight: a kill may send it once more.
    pub(super) fn forgive_what_is_in_flight(&self) {
        self.forgiven.set(usize::from(!self.is_known()));
    }
}
