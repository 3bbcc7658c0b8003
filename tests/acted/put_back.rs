//! A new version that slips in between the last look at a file and its rename: it goes back to its
//! place, or to dead-letter if that is taken, though answers are lost on the way.

use std::time::{Duration, Instant};

use fuser::Errno;

use super::run::side_by_side;
use super::world::{Target, Way};
use crate::util::fuse::{Acted, Faults, Hang, Of, Operation, Share};
use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Server, as_texts, config, wait_until};

/// What happens.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    target: Target,
    action: &'static str,
    /// This answers with this error, once it is done.
    acted: (Operation, Errno),
    /// Yet another version takes the place meanwhile.
    taken: bool,
}

const FIRST: &str = "the first version";
const SECOND: &str = "the second version, which slipped in";
const THIRD: &str = "the third version, which took its place";

struct World {
    case: Case,
    share: Share,
    dir: Dir,
    _disk: Option<Mount>,
    server: Server,
    text: String,
}

impl World {
    fn new(case: Case) -> Option<World> {
        let (share, dir) = (Share::mount_as(case.way.traits())?, Dir::new());
        let server = Server::accepting();
        let mut extra = format!("delivered.action = \"{}\"", case.action);
        let target = dir.mkdir("target");
        let disk = if case.target == Target::Disk {
            let target = target.display();
            extra +=
                &format!("\ndelivered.dir = '{target}/done'\ndead_letter.dir = '{target}/dead'");
            Some(Mount::tmpfs(&dir.join("target"), "1m")?)
        } else {
            None
        };
        let text = config(&share.path(), &server.url(), &extra);
        Some(World {
            case,
            share,
            dir,
            _disk: disk,
            server,
            text,
        })
    }

    /// What the files below a folder hold, but for reasons; sorted.
    fn contents(&self, area: &str) -> Vec<String> {
        let back = self.share.back().path();
        let folder = match (area, self.case.target) {
            ("", _) => back,
            ("staging", _) | ("done", Target::Beside) => back.join(".dirpost").join(area),
            ("dead", Target::Beside) => back.join(".dirpost/dead-letter"),
            _ => self.dir.join("target").join(area),
        };
        let mut files = self.dir.contents(&folder);
        files.retain(|name, _| !name.starts_with(".dirpost") && !name.ends_with(".reason.json"));
        as_texts(files)
    }

    fn sent(&self) -> Vec<String> {
        let bodies = self.server.accepted().into_iter();
        let mut texts: Vec<String> = bodies
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect();
        texts.sort();
        texts
    }

    /// Panics if this version was neither sent nor is anywhere.
    fn is_not_lost(&self, version: &str) {
        for _ in 0..20 {
            let places = ["", "staging", "done", "dead"].map(|area| self.contents(area));
            let is_it = |text: &String| text == version;
            if places.iter().any(|texts| texts.iter().any(is_it)) || self.sent().iter().any(is_it) {
                return;
            }
        }
        panic!("nowhere to be found: {version}");
    }

    /// Whether each version is where it belongs, once; `Err` says what is not.
    fn is_over(&self) -> Result<(), String> {
        let found = (
            self.sent(),
            ["", "staging", "done", "dead"].map(|area| self.contents(area)),
        );
        let last = if self.case.taken { THIRD } else { SECOND };
        let done = if self.case.action == "move" {
            vec![last]
        } else {
            vec![]
        };
        let dead = if self.case.taken {
            vec![SECOND]
        } else {
            vec![]
        };
        let mut wanted = vec![(vec![FIRST, last], [vec![], vec![], done, dead])];
        if self.case.taken {
            // The third one was sent and filed before the way back was tried again.
            let done = match self.case.action {
                "move" => vec![SECOND, THIRD],
                _ => vec![],
            };
            wanted.push((vec![FIRST, SECOND, THIRD], [vec![], vec![], done, vec![]]));
        }
        if let Way::Reserve(_) = self.case.way {
            // There is no way back that is sure to replace nothing.
            wanted.push((vec![FIRST], [vec![], vec![], vec![], vec![SECOND]]));
        }
        if wanted
            .iter()
            .any(|(sent, places)| *sent == found.0 && *places == found.1)
        {
            Ok(())
        } else {
            Err(format!(
                "sent, at its place, in staging, in done, in dead-letter: {found:?}"
            ))
        }
    }
}

fn run(case: Case) -> Option<()> {
    let world = World::new(case)?;
    let share = &world.share;
    // Into a folder of its own dirpost never makes a second name: see flow::filing::moving.
    let away = Operation::Rename;
    let daemon = Daemon::start(&world.text);
    daemon.wait_log("first look");
    let hang = |hang| {
        share.set(Faults {
            hang: Some(hang),
            ..Faults::default()
        });
    };
    hang(Hang::Before(away, 0));
    share.back().write("x.csv", FIRST);
    wait_until("it to be on its way out", BOUND, || share.waiting() > 0);
    assert_eq!(world.sent(), [FIRST]);
    share.back().write("x.csv", SECOND);
    if case.taken {
        hang(Hang::After(away, 0));
        wait_until("it to be moved", BOUND, || {
            let mut places = ["staging", "done"].into_iter();
            share.waiting() > 0 && places.any(|area| world.contents(area) == [SECOND])
        });
        share.back().write(".draft", THIRD);
        let back = share.back().path();
        std::fs::rename(back.join(".draft"), back.join("x.csv")).unwrap();
    }
    let (operation, errno) = case.acted;
    share.set(Faults {
        acted: Some(Acted {
            operation,
            errno,
            times: usize::MAX,
            of: Of::Files,
        }),
        ..Faults::default()
    });
    let (started, before) = (Instant::now(), share.failed());
    let mut is_healed = false;
    while let Err(why) = world.is_over() {
        world.is_not_lost(SECOND);
        if case.taken {
            world.is_not_lost(THIRD);
        }
        // It is met often enough to show what comes of it.
        if !is_healed && share.failed() > before + 6 {
            share.heal();
            is_healed = true;
        }
        // Nor may it be needed for the end.
        if !is_healed && started.elapsed() > BOUND / 4 {
            share.heal();
            is_healed = true;
        }
        assert!(started.elapsed() < BOUND, "{why}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(())
}

/// With each way all that it is made of, and an error for each in turn.
fn cases(taken: bool) -> Vec<Case> {
    let errors = [Errno::EIO, Errno::ENOENT, Errno::EEXIST, Errno::ETIMEDOUT];
    let mut cases = Vec::new();
    for (way, operation) in [
        (Way::Rename, Operation::Rename),
        (Way::Link, Operation::Link),
        (Way::Link, Operation::Unlink),
        (Way::Reserve(Errno::EPERM), Operation::Rename),
    ] {
        for (target, action) in [
            (Target::Beside, "move"),
            (Target::Beside, "delete"),
            (Target::Disk, "move"),
        ] {
            let errno = errors[cases.len() % errors.len()];
            cases.push(Case {
                way,
                target,
                action,
                acted: (operation, errno),
                taken,
            });
        }
    }
    cases
}

#[test]
fn a_new_version_that_slips_in_before_the_rename_goes_back_and_is_sent_though_answers_are_lost() {
    side_by_side(cases(false), run);
}

#[test]
fn a_new_version_whose_place_is_taken_goes_to_dead_letter_though_answers_are_lost() {
    side_by_side(cases(true), run);
}
