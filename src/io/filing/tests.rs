//! Filing on a real file system, whole and cut off after each of its operations.

mod disks;
mod faults;
mod threads;

use std::collections::BTreeMap;
use std::path::Path;

use self::disks::Scripted;
use super::*;
use crate::config::Action;
use crate::flow::file::{Entry, Look, Rel};
use crate::flow::filing::disk::{Copied, Disk, Line, Operation};
use crate::flow::filing::reason::ReasonFile;
use crate::flow::filing::{Acceptance, Area, Fate, FaultKind, Kept, Place, Progress, Reason};
use crate::flow::journal::{Live, Replay};
use crate::flow::marker::MarkerRule;
use crate::flow::time::Wall;
use crate::io::dir::Dir;
use crate::io::share::OpenError;
use crate::io::share::state::StateDir;
use crate::io::testing::TempDir;

/// What is filed, and how.
#[derive(Clone, Copy, Debug)]
struct Case {
    action: Action,
    condemned: bool,
    marker: bool,
    /// `done` and `dead-letter` are on another file system.
    crosses: bool,
    /// Other files have the names there.
    taken: bool,
}

const MOVED: Case = Case {
    action: Action::Move,
    condemned: false,
    marker: false,
    crosses: false,
    taken: false,
};
const CONDEMNED: Case = Case {
    condemned: true,
    ..MOVED
};

/// The files that are filed, in one batch.
const FILES: [&str; 2] = ["a.csv", "sub/b.csv"];
const MARKER: &str = ".done";
const OLD: &str = "it was there before";

/// What the file of this name holds.
fn content(name: &str) -> String {
    format!("this is {name}")
}

/// A watched folder with files in it that are to be filed.
struct World {
    case: Case,
    config: Config,
    /// As they were read.
    jobs: Vec<Filing>,
    watched: TempDir,
    _other: Option<TempDir>,
}

/// The share and its journal, as one process has them open.
struct Process {
    filer: Filer,
    replay: Replay,
    _state: StateDir,
}

fn open(config: &Config) -> (Share, StateDir) {
    // A process that another test is about to start may hold the lock of the last call.
    loop {
        match Share::open(config, false) {
            Err(OpenError::Locked(_)) => std::thread::yield_now(),
            other => return other.expect("it opens"),
        }
    }
}

impl World {
    /// `None` where there is no other file system, which has been said then.
    fn new(case: Case) -> Option<World> {
        // There what is brought onto the disk costs nothing, and a cut case opens the share four times.
        let watched = match case.crosses {
            true => TempDir::elsewhere()?,
            false => TempDir::new(),
        };
        let mut config =
            crate::config::from_dir_and_url(watched.path(), "http://127.0.0.1:9/").unwrap();
        config.delivered.action = case.action;
        config.ready.marker = case.marker.then(|| MarkerRule::of_name(MARKER));
        let mut other = None;
        if case.crosses {
            let disk = TempDir::new();
            config.delivered.dir = disk.path().join("done");
            config.dead_letter.dir = disk.path().join("dead");
            other = Some(disk);
        }
        let write = |path: std::path::PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        // A state folder that is there without its lock would be one that somebody has cleaned.
        drop(open(&config));
        for name in FILES {
            write(watched.path().join(name), &content(name));
            if case.marker {
                write(watched.path().join(format!("{name}{MARKER}")), "");
            }
            if case.taken {
                write(config.delivered.dir.join(name), OLD);
                write(config.dead_letter.dir.join(name), OLD);
            }
        }
        let mut world = World {
            case,
            config,
            jobs: Vec::new(),
            watched,
            _other: other,
        };
        world.jobs = (0..)
            .zip(FILES)
            .map(|(no, name)| world.job(no, name))
            .collect();
        Some(world)
    }

    fn job(&self, number: u64, name: &str) -> Filing {
        let folder = Dir::at(self.watched.path()).unwrap();
        let look = |name: &str| folder.open(&Rel::new(name.as_bytes())).unwrap().1;
        let acceptance = Acceptance {
            key: "k".into(),
            status: 200,
        };
        let reason = Reason {
            reason: "the endpoint answered 422".into(),
            status: Some(422),
            body: b"no".to_vec(),
            attempts: 1,
            first_seen: Wall(1),
            dead_at: Wall(2),
            key: "k".into(),
        };
        Filing {
            file: FileNo(number),
            path: Rel::new(name.as_bytes()),
            look: look(name),
            sha256: None,
            marker: self.case.marker.then(|| look(&format!("{name}{MARKER}"))),
            fate: if self.case.condemned {
                Fate::Condemned(Box::new(reason))
            } else {
                Fate::Accepted(acceptance)
            },
            receipt: None,
            progress: Progress::Unwritten,
        }
    }

    fn begin(&self) -> Process {
        let (share, state) = open(&self.config);
        let (journal, replay) = Journal::open(state.journal(), wall()).unwrap();
        let past = Handover {
            journal: replay,
            ..Handover::default()
        };
        Process {
            filer: Filer::new(
                &self.config,
                (Arc::new(share), Arc::clone(&state.folder)),
                Arc::new(journal),
                &past,
            ),
            replay: past.journal,
            _state: state,
        }
    }

    /// What is in an area: names and texts, without reasons, and the reasons by name.
    fn area(&self, folder: &Path) -> (BTreeMap<String, String>, BTreeMap<String, ReasonFile>) {
        let (mut files, mut reasons) = (BTreeMap::new(), BTreeMap::new());
        let walk = walkdir::WalkDir::new(folder).into_iter();
        let walk = walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".dirpost");
        for entry in walk {
            // A folder that nothing was filed to is not there.
            let Ok(entry) = entry else { continue };
            if entry.file_type().is_dir() {
                continue;
            }
            let name = entry.path().strip_prefix(folder).unwrap();
            let name = name.to_str().unwrap().to_string();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            match name.strip_suffix(".reason.json") {
                Some(name) => {
                    let reason = ReasonFile::read(text.as_bytes()).unwrap();
                    reasons.insert(name.to_string(), reason);
                }
                None => drop(files.insert(name, text)),
            }
        }
        (files, reasons)
    }

    /// All places at which a file may be, and what holds it there.
    fn copies(&self, name: &str) -> usize {
        let staging = self.watched.path().join(".dirpost/staging");
        let areas = [
            self.watched.path(),
            &staging,
            &self.config.delivered.dir,
            &self.config.dead_letter.dir,
        ];
        let texts = areas
            .into_iter()
            .flat_map(|area| self.area(area).0.into_values());
        texts.filter(|text| *text == content(name)).count()
    }

    /// Panics unless everything is where it belongs, and nothing else is anywhere.
    fn is_over(&self, when: &str) {
        let case = self.case;
        let stays = case.action == Action::Keep && !case.condemned;
        let gone = case.action == Action::Delete && !case.condemned;
        let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
        for name in FILES {
            if case.taken {
                there.insert(name.to_string(), OLD.to_string());
            }
            let filed = match case.taken && !stays {
                true => name.replace(".csv", ".1.csv"),
                false => name.to_string(),
            };
            let at = if stays { &mut here } else { &mut there };
            if !gone {
                at.insert(filed.clone(), content(name));
                if case.marker {
                    at.insert(format!("{filed}{MARKER}"), String::new());
                }
            }
        }
        let (done, dead) = (&self.config.delivered.dir, &self.config.dead_letter.dir);
        let (target, other) = if case.condemned {
            (dead, done)
        } else {
            (done, dead)
        };
        let found = self.area(self.watched.path());
        assert_eq!(found.0, here, "{when}: at its place");
        let (found, reasons) = self.area(target);
        assert_eq!(found, there, "{when}: in {}", target.display());
        let filed = there.iter().filter(|(_, text)| text.starts_with("this is"));
        let filed: Vec<&String> = filed.map(|(name, _)| name).collect();
        let wanted = if case.condemned { filed } else { Vec::new() };
        assert_eq!(reasons.keys().collect::<Vec<_>>(), wanted, "{when}");
        for (name, reason) in &reasons {
            assert_eq!(reason.path, name.replace(".1.csv", ".csv"), "{when}");
        }
        let staging = self.area(&self.watched.path().join(".dirpost/staging"));
        assert!(staging.0.is_empty(), "{when}: in staging: {:?}", staging.0);
        let other = self.area(other).0.into_values();
        assert!(other.into_iter().all(|text| text == OLD), "{when}");
    }
}

impl Process {
    /// Files until so many operations were carried out; then nothing more is, as after a crash.
    /// Gives how many there were.
    fn file(&mut self, jobs: Vec<Filing>, limit: usize) -> (Vec<Filed>, usize) {
        let mut done = 0;
        let (filed, _) = self.filer.file_by(jobs, |batch, disk| {
            let before = |_: Option<&Operation>| {
                if done == limit {
                    return Err(Fault::new(FaultKind::Stopped, "it is cut off"));
                }
                done += 1;
                Ok(())
            };
            let mut scripted = Scripted { disk, before };
            while batch.step(&mut scripted) {}
        });
        (filed.into_iter().map(|(_, filed)| filed).collect(), done)
    }

    /// What the journal says is still to be filed, and of `jobs` what it knows nothing of though it
    /// is at its place: the engine would come to the same end with it again.
    fn still_to_file(&mut self, world: &World) -> Vec<Filing> {
        let mut live = std::mem::take(&mut self.replay.live);
        let jobs = world.jobs.iter().filter_map(|job| {
            let version = (job.path.clone(), job.look.stamp);
            match live.remove(&version) {
                Some(live) => (!live.rests).then(|| resumed(job, live)),
                None => {
                    let path = world.watched.path().join(job.path.to_string());
                    path.exists().then(|| job.clone())
                }
            }
        });
        let jobs = jobs.collect();
        assert!(
            live.is_empty(),
            "the journal names what is not there: {live:?}"
        );
        jobs
    }
}

/// As the next process knows it: of what was read only the stamp is left.
fn resumed(job: &Filing, live: Live) -> Filing {
    let look = |stamp| Look {
        stamp,
        ..Look::default()
    };
    Filing {
        look: look(job.look.stamp),
        marker: live.marker.map(look),
        fate: live.fate,
        progress: live.moving.map_or(Progress::Written, Progress::Moving),
        ..job.clone()
    }
}

/// Files the case's files whole; gives how many operations that took.
fn whole(case: Case) -> Option<usize> {
    let world = World::new(case)?;
    let mut process = world.begin();
    let (filed, operations) = process.file(world.jobs.clone(), usize::MAX);
    let is_away = |filed: &Filed| matches!(filed, Filed::Away { .. });
    assert!(filed.iter().all(is_away), "{case:?}: {filed:?}");
    drop(process);
    world.is_over(&format!("{case:?}"));
    let again = world.begin().replay.live;
    assert!(again.values().all(|live| live.rests), "{again:?}");
    Some(operations)
}

/// Cuts the filing off after each of its operations, and goes on as the next process does.
fn cut_off(case: Case) {
    let Some(operations) = whole(case) else {
        return;
    };
    assert!(operations >= 2, "{case:?}: {operations}");
    for limit in 0..operations {
        let when = format!("{case:?} after {limit} of {operations}");
        let Some(world) = World::new(case) else {
            return;
        };
        let mut process = world.begin();
        let (_, done) = process.file(world.jobs.clone(), limit);
        assert_eq!(done, limit, "{when}");
        drop(process);
        let may_be_gone = case.action == Action::Delete && !case.condemned;
        for name in FILES {
            let copies = world.copies(name);
            assert!(copies > 0 || may_be_gone, "{when}: {name} is lost");
        }
        let mut process = world.begin();
        let jobs = process.still_to_file(&world);
        let (filed, _) = process.file(jobs, usize::MAX);
        // A file that was deleted, and of which the journal still tells, is nowhere.
        let is_away = |filed: &Filed| {
            matches!(filed, Filed::Away { .. }) || (may_be_gone && *filed == Filed::Gone)
        };
        assert!(filed.iter().all(is_away), "{when}: {filed:?}");
        drop(process);
        world.is_over(&when);
        // Nothing is left to be filed, and what is kept stays known.
        let kept = case.action == Action::Keep && !case.condemned;
        let replay = world.begin().replay;
        let wanted = if kept { FILES.len() } else { 0 };
        assert_eq!(replay.at_rest.count(), wanted, "{when}");
        assert!(replay.live.is_empty(), "{when}: {:?}", replay.live);
    }
}

#[test]
fn a_move_that_is_cut_off_anywhere_ends_as_one_that_is_not() {
    cut_off(MOVED);
}

#[test]
fn a_deletion_that_is_cut_off_anywhere_ends_as_one_that_is_not() {
    cut_off(Case {
        action: Action::Delete,
        ..MOVED
    });
}

#[test]
fn what_is_kept_stays_and_is_known_whatever_is_cut_off() {
    cut_off(Case {
        action: Action::Keep,
        ..MOVED
    });
}

#[test]
fn a_dead_letter_that_is_cut_off_anywhere_ends_with_its_reason_beside_it() {
    cut_off(CONDEMNED);
}

#[test]
fn a_marker_follows_its_file_whatever_is_cut_off() {
    for case in [MOVED, CONDEMNED] {
        cut_off(Case {
            marker: true,
            ..case
        });
    }
}

#[test]
fn nothing_replaces_what_has_the_name_whatever_is_cut_off() {
    for case in [MOVED, CONDEMNED] {
        cut_off(Case {
            taken: true,
            ..case
        });
    }
}

#[cfg(unix)]
#[test]
fn a_way_to_another_file_system_that_is_cut_off_anywhere_ends_as_one_that_is_not() {
    for case in [MOVED, CONDEMNED] {
        for more in [false, true] {
            cut_off(Case {
                crosses: true,
                taken: more,
                marker: more,
                ..case
            });
        }
    }
}
