//! New versions of files that were accepted or condemned and cannot leave their place: each is sent,
//! once, and what has left its place before is filed all the same. Linux; most of it as root, which
//! the tests say where it is missing.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use crate::util::mount::{Mount, fill};
use crate::util::{
    BOUND, Daemon, Dir, NOBODY, Reaction, Server, User, as_texts, config, once_as, skip, wait_until,
};

/// The writer, to whom the folder belongs.
const WRITER: u32 = 1000;

/// What keeps a file from being filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// Its folder belongs to its writer, and nobody else may write to it.
    FolderOfAnother,
    /// Everybody may write to its folder, but move only files of their own.
    Sticky,
    /// Nothing may be added to its folder or taken from it (`chattr +i`).
    Immutable,
    /// There is no room in `done` and `dead-letter`, which are on another file system.
    Full,
    /// What `done` and `dead-letter` are on is not mounted, and they cannot be made.
    Unmounted,
    /// Where `done` and `dead-letter` should be is a plain file.
    Blocked,
}

use Obstacle::{Blocked, FolderOfAnother, Full, Immutable, Sticky, Unmounted};

const AT_THE_PLACE: [Obstacle; 3] = [FolderOfAnother, Sticky, Immutable];
const AT_THE_TARGET: [Obstacle; 3] = [Full, Unmounted, Blocked];

/// A folder with `erp/x.csv` to be, an obstacle, and an endpoint whose answer the test chooses.
struct World {
    obstacle: Obstacle,
    user: User,
    /// What `done` and `dead-letter` are on, where that is another file system.
    mount: Option<Mount>,
    server: Server,
    status: Arc<AtomicU16>,
    text: String,
    written: AtomicUsize,
    dir: Dir,
}

/// A version that is to be in `done` or in dead-letter.
#[derive(Clone, Debug)]
struct Filed {
    text: String,
    is_sure: bool,
}

/// All of them, for sure.
fn sure(texts: &[String]) -> Vec<Filed> {
    let filed = |text: &String| Filed {
        text: text.clone(),
        is_sure: true,
    };
    texts.iter().map(filed).collect()
}

/// Long enough that a full disk has no room for it.
fn version(number: usize) -> String {
    format!("version {number}\n").repeat(600 + number)
}

impl World {
    /// `None`, and a line that says so, where it cannot be made.
    fn new(obstacle: Obstacle, action: &str) -> Option<World> {
        let user = match obstacle {
            Immutable | Full | Blocked => User::Same,
            FolderOfAnother | Sticky | Unmounted => User::nobody()?,
        };
        let dir = Dir::new();
        let (watched, erp) = (dir.mkdir("in"), dir.mkdir("in/erp"));
        if user == User::Nobody {
            for folder in [&watched, &erp] {
                chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let status = Arc::new(AtomicU16::new(200));
        let says = Arc::clone(&status);
        let server = Server::start(move |_| Reaction::Answer(says.load(Ordering::SeqCst)));
        let mut extra = format!("delivered.action = \"{action}\"");
        if AT_THE_TARGET.contains(&obstacle) {
            let place = dir.join("target");
            let place = place.display();
            extra += &format!("\ndelivered.dir = '{place}/done'\ndead_letter.dir = '{place}/dead'");
        }
        let text = config(&watched, &server.url(), &extra);
        let mut world = World {
            obstacle,
            user,
            mount: None,
            server,
            status,
            text,
            written: AtomicUsize::new(0),
            dir,
        };
        match obstacle {
            FolderOfAnother | Sticky => {
                let mode = if obstacle == Sticky { 0o1777 } else { 0o755 };
                std::fs::set_permissions(&erp, PermissionsExt::from_mode(mode)).unwrap();
                chown(&erp, Some(WRITER), Some(WRITER)).unwrap();
            }
            Immutable => {
                world.write_next();
                if !chattr("+i", &erp) {
                    skip("chattr +i needs root and a file system that has it (ext4, xfs, btrfs)");
                    return None;
                }
            }
            Full => {
                world.mount = Some(Mount::tmpfs(&world.dir.mkdir("target"), "1m")?);
                world.dir.mkdir("target/done/erp");
                world.dir.mkdir("target/dead/erp");
                fill(&world.dir.join("target/filler"));
            }
            Unmounted => {
                let target = world.dir.mkdir("target");
                // What is below the mount point belongs to root.
                drop(Mount::tmpfs(&target, "1m")?);
            }
            Blocked => drop(world.dir.write("target", "a plain file")),
        }
        Some(world)
    }

    fn place(&self) -> PathBuf {
        self.dir.join("in/erp/x.csv")
    }

    /// The writer writes the next version in place of whatever lies there.
    fn write_next(&self) -> String {
        let text = version(self.written.fetch_add(1, Ordering::SeqCst) + 1);
        std::fs::write(self.place(), &text).unwrap();
        if self.obstacle == Sticky {
            chown(self.place(), Some(WRITER), Some(WRITER)).unwrap();
        }
        text
    }

    /// The writer lets another file take its place.
    fn replace(&self) -> String {
        let text = version(self.written.fetch_add(1, Ordering::SeqCst) + 1);
        let draft = self.dir.write("in/erp/.draft", &text);
        chown(&draft, Some(WRITER), Some(WRITER)).unwrap();
        std::fs::rename(draft, self.place()).unwrap();
        text
    }

    /// The first version, which [`Immutable`] has written already.
    fn write_first(&self) -> String {
        if self.written.load(Ordering::SeqCst) == 1 {
            return version(1);
        }
        self.write_next()
    }

    /// Filing is possible from now on.
    fn clear(&mut self) {
        let (erp, target) = (self.dir.join("in/erp"), self.dir.join("target"));
        match self.obstacle {
            FolderOfAnother | Sticky => {
                chown(&erp, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            Immutable => assert!(chattr("-i", &erp)),
            Full => std::fs::remove_file(target.join("filler")).unwrap(),
            Unmounted => {
                self.mount = Mount::tmpfs(&target, "1m");
                chown(&target, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            Blocked => std::fs::remove_file(&target).unwrap(),
        }
    }

    fn bodies(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        let bodies = requests.map(|request| String::from_utf8(request.body).unwrap());
        bodies.collect()
    }

    /// Waits until exactly these have been sent, in this order, and nothing is sent again.
    fn wait_sent(&self, versions: &[String]) {
        wait_until("the next version to be sent", BOUND, || {
            let bodies = self.bodies();
            assert!(bodies.len() <= versions.len(), "{}", short(&bodies));
            bodies.len() == versions.len()
        });
        assert!(self.bodies() == *versions, "{}", short(&self.bodies()));
        let keys: BTreeSet<_> = self
            .server
            .requests()
            .into_iter()
            .map(|request| request.key)
            .collect();
        assert_eq!(keys.len(), versions.len(), "each version has its own key");
    }

    /// Waits until the journal has the last version: until then a kill may send it once more.
    fn wait_known(&self) {
        let size = version(self.written.load(Ordering::SeqCst)).len();
        let size = format!("\"path\":\"erp/x.csv\",\"size\":{size},");
        wait_until("the journal to know of it", BOUND, || {
            self.dir.journal("in/.dirpost").contains(&size)
        });
    }

    /// What lies in `done` or `dead`, but for reasons; sorted.
    fn filed(&self, area: &str) -> Vec<String> {
        let folder = if AT_THE_TARGET.contains(&self.obstacle) {
            self.dir.join("target").join(area)
        } else if area == "dead" {
            self.dir.join("in/.dirpost/dead-letter")
        } else {
            self.dir.join("in/.dirpost").join(area)
        };
        let mut files = self.dir.contents(&folder);
        files.retain(|name, _| !name.ends_with(".reason.json"));
        as_texts(files)
    }

    /// Waits until these are in `done` and in dead-letter, each once, and nothing is anywhere else.
    /// What is not sure to have left its place before it was overwritten may be missing.
    fn wait_filed(&self, done: &[Filed], dead: &[Filed]) {
        let is_as_wanted = |area: &str, wanted: &[Filed]| {
            let found = self.filed(area);
            let count = |text: &String| found.iter().filter(|found| *found == text).count();
            let known = |text: &String| wanted.iter().any(|wanted| wanted.text == *text);
            found.iter().all(known)
                && wanted.iter().all(|wanted| match count(&wanted.text) {
                    0 => !wanted.is_sure,
                    1 => true,
                    _ => false,
                })
        };
        wait_until("everything to be filed", BOUND, || {
            !self.place().exists()
                && self.dir.list("in/.dirpost/staging").is_empty()
                && is_as_wanted("done", done)
                && is_as_wanted("dead", dead)
        });
    }

    fn start(&self) -> Daemon {
        let daemon = Daemon::start_as(self.user, &self.text);
        daemon.wait_log("first look");
        daemon
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.obstacle == Immutable {
            // What cannot be changed cannot be removed either.
            chattr("-i", &self.dir.join("in/erp"));
        }
    }
}

fn chattr(change: &str, path: &Path) -> bool {
    let done = Command::new("chattr").arg(change).arg(path).output();
    done.is_ok_and(|output| output.status.success())
}

/// For a message: what each of them begins with.
fn short(texts: &[String]) -> String {
    let lines: Vec<&str> = texts
        .iter()
        .filter_map(|text| text.lines().next())
        .collect();
    lines.join(", ")
}

/// Versions 1, 2 and 3 are answered with these statuses while they cannot be filed; then they can.
fn three_versions(
    obstacle: Obstacle,
    statuses: [u16; 3],
    action: &str,
    restart: bool,
) -> Option<()> {
    let mut world = World::new(obstacle, action)?;
    let mut daemon = world.start();
    let (mut versions, mut has_left) = (Vec::new(), Vec::new());
    for status in statuses {
        world.status.store(status, Ordering::SeqCst);
        versions.push(match versions.last() {
            None => world.write_first(),
            Some(_) if AT_THE_PLACE.contains(&obstacle) => world.write_next(),
            // What may be leaving its place just now must not be written into.
            Some(_) => world.replace(),
        });
        world.wait_sent(&versions);
        if obstacle == Full && status == 200 {
            // From there it cannot go on.
            wait_until("it to leave its place", BOUND, || !world.place().exists());
        }
        if restart {
            world.wait_known();
            daemon.kill();
            daemon = world.start();
        }
        has_left.push(!world.place().exists());
    }
    // Nothing is sent again, however often filing is tried meanwhile.
    let worked = daemon.cpu_time();
    wait_until("it to have worked on", BOUND, || {
        daemon.cpu_time() > worked + Duration::from_millis(30)
    });
    world.wait_sent(&versions);
    world.clear();
    let (mut done, mut dead) = (Vec::new(), Vec::new());
    for (number, (text, status)) in versions.iter().zip(statuses).enumerate() {
        let is_sure = has_left[number] || number + 1 == versions.len();
        // Written over in its place, a version is gone.
        if is_sure || AT_THE_TARGET.contains(&obstacle) {
            let filed = if status == 422 { &mut dead } else { &mut done };
            filed.push(Filed {
                text: text.clone(),
                is_sure,
            });
        }
    }
    if action == "delete" {
        done.clear();
    }
    world.wait_filed(&done, &dead);
    world.wait_sent(&versions);
    drop(daemon);
    Some(())
}

#[test]
fn a_new_version_of_an_accepted_file_that_cannot_leave_its_place_is_sent_once() {
    for obstacle in AT_THE_PLACE {
        three_versions(obstacle, [200; 3], "move", false);
    }
}

#[test]
fn a_new_version_of_a_file_that_cannot_be_deleted_is_sent_once() {
    for obstacle in AT_THE_PLACE {
        three_versions(obstacle, [200; 3], "delete", false);
    }
}

#[test]
fn a_new_version_is_sent_while_done_cannot_be_reached_and_what_was_on_its_way_is_filed_as_well() {
    for obstacle in AT_THE_TARGET {
        three_versions(obstacle, [200; 3], "move", false);
    }
}

#[test]
fn a_restart_between_versions_that_cannot_be_filed_forgets_and_repeats_nothing() {
    for obstacle in [FolderOfAnother, Immutable, Full, Blocked] {
        three_versions(obstacle, [200; 3], "move", true);
    }
}

#[test]
fn the_corrected_version_of_a_condemned_file_that_cannot_leave_its_place_is_sent_once() {
    for obstacle in AT_THE_PLACE {
        three_versions(obstacle, [422, 422, 200], "move", false);
    }
    for obstacle in AT_THE_TARGET {
        three_versions(obstacle, [422, 200, 422], "move", false);
    }
}

#[test]
fn a_restart_between_condemned_versions_that_cannot_be_filed_forgets_and_repeats_nothing() {
    for obstacle in [FolderOfAnother, Full, Blocked] {
        three_versions(obstacle, [422, 200, 422], "move", true);
    }
}

#[test]
fn with_keep_the_corrected_version_of_a_condemned_file_that_cannot_leave_its_place_is_sent_once() {
    for obstacle in AT_THE_PLACE {
        let Some(mut world) = World::new(obstacle, "keep") else {
            continue;
        };
        world.status.store(422, Ordering::SeqCst);
        let mut daemon = world.start();
        let mut versions = vec![world.write_first()];
        world.wait_sent(&versions);
        world.status.store(200, Ordering::SeqCst);
        versions.push(world.write_next());
        world.wait_sent(&versions);
        world.clear();
        world.wait_known();
        daemon.kill();
        let _daemon = world.start();
        world.dir.write("in/later.csv", "later");
        wait_until("one that came later", BOUND, || {
            world.server.requests().len() == 3
        });
        assert!(world.place().exists() && world.filed("done").is_empty());
    }
}

#[test]
fn runs_from_a_crontab_send_each_version_that_cannot_be_filed_once() {
    for obstacle in [FolderOfAnother, Sticky, Immutable, Full, Unmounted, Blocked] {
        let Some(mut world) = World::new(obstacle, "move") else {
            continue;
        };
        let run = |world: &World, deadline: &str| {
            let run = once_as(world.user, &world.text, &["--deadline", deadline]);
            (
                run.status.code(),
                String::from_utf8_lossy(&run.stderr).into_owned(),
            )
        };
        let mut versions = Vec::new();
        for number in 0..3 {
            versions.push(if number == 0 {
                world.write_first()
            } else {
                world.write_next()
            });
            let (code, said) = run(&world, "2s");
            assert_eq!(
                code,
                Some(3),
                "{obstacle:?}: something is left to be filed: {said}"
            );
            world.wait_sent(&versions);
            // Nor does one that finds nothing new.
            let (code, said) = run(&world, "1s");
            assert_eq!(code, Some(3), "{obstacle:?}: {said}");
            world.wait_sent(&versions);
        }
        world.clear();
        let (code, said) = run(&world, "30s");
        assert_eq!(code, Some(0), "{obstacle:?}: {said}");
        // On a full disk each version has left its place before the next one came.
        let first = if obstacle == Full { 0 } else { 2 };
        world.wait_filed(&sure(&versions[first..]), &[]);
        world.wait_sent(&versions);
    }
}

#[test]
fn over_many_versions_and_restarts_each_is_sent_once_and_the_last_is_filed() {
    for obstacle in [FolderOfAnother, Sticky] {
        let Some(mut world) = World::new(obstacle, "move") else {
            return;
        };
        let mut daemon = world.start();
        let mut versions = Vec::new();
        for number in 0..24 {
            // Every third one is rejected; the others in between release the brake.
            let status = if number % 3 == 1 { 422 } else { 200 };
            world.status.store(status, Ordering::SeqCst);
            // Written over, or replaced by another file.
            versions.push(if number % 2 == 0 {
                world.write_next()
            } else {
                world.replace()
            });
            world.wait_sent(&versions);
            if number % 6 == 5 {
                world.wait_known();
                daemon.kill();
                daemon = world.start();
            }
        }
        world.clear();
        world.wait_filed(&sure(&versions[23..]), &[]);
        world.wait_sent(&versions);
    }
}

#[test]
fn a_new_version_waits_for_a_marker_of_its_own_while_the_old_one_cannot_be_moved() {
    let Some(mut world) = World::new(FolderOfAnother, "move") else {
        return;
    };
    world.text += "ready.marker = \".done\"\n";
    let marker = world.dir.join("in/erp/x.csv.done");
    let _daemon = world.start();
    let mut versions = vec![world.write_next()];
    std::fs::write(&marker, "1").unwrap();
    world.wait_sent(&versions);
    let second = world.write_next();
    // A file that comes later goes: the new version has been seen, and waits.
    world.dir.write("in/other.csv", "other");
    world.dir.write("in/other.csv.done", "");
    let other = String::from("other");
    versions.push(other);
    world.wait_sent(&versions);
    std::fs::write(&marker, "22").unwrap();
    versions.push(second);
    world.wait_sent(&versions);
    world.clear();
    wait_until("it to be filed", BOUND, || {
        !world.place().exists() && !marker.exists() && world.filed("done").contains(&versions[2])
    });
    world.wait_sent(&versions);
}
