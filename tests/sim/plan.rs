//! What the configuration is, and what the writers, the endpoint and the power will do.

use std::time::Duration;

use dirpost::config::{Empty, SendOrder, Settle};
use dirpost::flow::endpoint::backoff::Backoff;
use dirpost::flow::policy::{Ending, Policy};
use dirpost::flow::rng::Rng;

use crate::power::JournalFault;
use crate::world::{Event, FAULTS, Finding, Mood, Step, World, Writer};

/// `send.workers`.
pub const WORKERS: usize = 3;
/// `send.brake`.
pub const BRAKE: u32 = 4;
/// `send.key_scope`.
pub const KEY_SCOPE: &str = "sim";
/// Where nothing but filing fails, a version is accepted within this time (ms).
pub const LIVELY: i64 = 120_000;

/// What of the configuration, and which faults, a run is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// `ready.marker`.
    pub marker: bool,
    /// There is a `[check]`.
    pub inspects: bool,
    /// It leaves digests.
    pub digests: bool,
    /// It tells what is not finished: writers may pause for longer than the settle time.
    pub sees_end: bool,
    /// Dead letters are sent again.
    pub retries: bool,
    /// The journal cannot be written for a while.
    pub journal_faults: bool,
    /// So few files are in hand that the others wait in their folder; `None`: there is room for all.
    pub in_hand: Option<usize>,
    /// Each version is to be accepted within [`LIVELY`].
    pub lively: bool,
    /// The marker is called after its file's stem.
    pub stems: bool,
    /// And two files have one stem, and so one marker.
    pub groups: bool,
    /// `send.order`, if it is set.
    pub order: Option<SendOrder>,
    /// `delivered.keep_answer`.
    pub keeps_answers: bool,
    /// `delivered.keep_for`, if it is set.
    pub keep_for: Option<Duration>,
}

impl Features {
    /// Each alone, all together, and some of them.
    pub fn draw(rng: &mut Rng) -> Features {
        let mut yes = || rng.below(3) == 0;
        let features = Features {
            marker: yes(),
            inspects: yes(),
            retries: yes(),
            journal_faults: yes(),
            digests: yes() || yes(),
            sees_end: yes(),
            in_hand: None,
            lively: false,
            stems: false,
            groups: false,
            order: None,
            keeps_answers: false,
            keep_for: None,
        };
        let features = Features {
            sees_end: features.sees_end && features.inspects,
            in_hand: [None, Some(1), Some(2), Some(5)][rng.below(4) as usize],
            stems: rng.below(2) == 0,
            order: [None, None, Some(SendOrder::Mtime), Some(SendOrder::Name)]
                [rng.below(4) as usize],
            keeps_answers: rng.below(3) == 0,
            keep_for: (rng.below(3) == 0).then_some(Duration::from_secs(15)),
            ..features
        };
        Features {
            groups: features.marker && features.stems && rng.below(2) == 0,
            ..features
        }
    }
}

/// What the engine is configured to do.
pub fn policy(world: &World, in_order: bool) -> Policy {
    world.setting.apply(Policy {
        interval: Duration::from_secs(2),
        max_share: 0.25,
        rewrites: world.folder.rewrites,
        settle: Settle::Auto,
        marker: world.marker(),
        empty: Empty::Send,
        min_size: None,
        max_size: None,
        request_limit: None,
        inspects: world.features.inspects,
        sees_end: world.features.sees_end,
        grace: Duration::from_secs(5),
        workers: if in_order { 1 } else { WORKERS },
        in_hand: world.features.in_hand.unwrap_or(1024),
        order: match world.features.order {
            Some(order) => order,
            None if in_order => SendOrder::Mtime,
            None => SendOrder::Arrival,
        },
        in_order,
        brake: BRAKE,
        backoff: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
        give_up_after: None,
        action: world.action,
        remove_emptied: false,
        keep_for: world.features.keep_for,
        remember: Duration::from_secs(86_400),
        key_scope: KEY_SCOPE.into(),
        ending: Ending::Never,
    })
}

/// Draws what the writers, the endpoint and the power will do.
pub fn plan(world: &mut World, crashes: bool) {
    // Content that changes while size and mtime stand still. After a restart nobody knows any more
    // what exactly was sent, and of what stays only the stamp is known; nor does who opens everything
    // again and finds that the journal could not be told of what was filed.
    let knows_bytes = !crashes && !world.features.journal_faults;
    let sneaks = world.rng.below(2) == 0 && knows_bytes && !world.keeps();
    world.model.traits.syncs_fail &= !sneaks;
    world.model.traits.target_syncs_fail &= !sneaks;
    let files = 1 + world.rng.below(12) as usize;
    for number in 0..files {
        plan_writer(world, number, sneaks);
    }
    // For a long time some files cannot be moved away, or `done` is full, while their writers go
    // on writing.
    for number in 0..files {
        if world.rng.below(10) == 0 {
            let name = name_of(world, number);
            world.model.faults.stuck.insert(name);
        }
    }
    world.model.faults.targets_full = world.rng.below(6) == 0;
    let until = world.rng.below(FAULTS as u64);
    world.at(until, Event::Unstuck);
    // A good file at the end: only an acceptance releases the brake.
    world.writers.push(Writer {
        name: "last".into(),
        steps: vec![(0, Step::Replace), (10, Step::Mark)],
        version: 0,
    });
    world.at(FAULTS as u64 + 5_000, Event::Write(files));
    plan_moods(world);
    for _ in 0..if crashes { world.rng.below(5) } else { 0 } {
        let at = world.rng.below(FAULTS as u64);
        world.at(at, Event::Crash);
    }
    world.ambushes = if crashes { world.rng.below(4) } else { 0 };
    for _ in 0..world.rng.below(3) {
        let at = world.rng.below(FAULTS as u64);
        world.at(at, Event::Suspend);
    }
    plan_features(world);
}

/// One file: what the endpoint thinks of it, and what is done to it.
fn plan_writer(world: &mut World, number: usize, sneaks: bool) {
    let name = name_of(world, number);
    match world.rng.below(12) {
        0 => drop(world.poison.insert(name.clone())),
        1 => drop(world.lonely_404.insert(name.clone())),
        _ => {}
    }
    let steps = steps(world, &name, sneaks);
    let start = world.rng.below(FAULTS as u64 / 2);
    world.writers.push(Writer {
        name,
        steps,
        version: 0,
    });
    world.at(start, Event::Write(number));
    if world.rng.below(4) == 0 {
        let times = 1 + world.rng.below(40) as u32;
        let begin = start + world.rng.below(20_000);
        world.at(begin, Event::Chmod(number, times));
    }
}

/// The moods of the endpoint, which is well when the faults are over.
fn plan_moods(world: &mut World) {
    let moods = [
        Mood::Well,
        Mood::Well,
        Mood::Unreachable,
        Mood::Busy,
        Mood::Unauthorized,
        Mood::RejectsAll,
        Mood::Resets,
    ];
    let mut at = 0;
    while at < FAULTS {
        at += 1 + world.rng.below(30_000) as i64;
        let mood = moods[world.rng.below(moods.len() as u64) as usize];
        world.at(at.min(FAULTS) as u64, Event::Mood(mood));
    }
    world.at(FAULTS as u64 + 1, Event::Mood(Mood::Well));
}

/// What the file of a writer is called.
fn name_of(world: &World, number: usize) -> String {
    match world.features.groups {
        true => format!("f{}.{}", number / 2, ["csv", "xml"][number % 2]),
        false => format!("f{number}"),
    }
}

fn plan_features(world: &mut World) {
    let features = world.features;
    for _ in 0..if features.retries { 8 } else { 0 } {
        let at = world.rng.below(FAULTS as u64 + 4_000);
        world.at(at, Event::Retry);
    }
    for _ in 0..if features.journal_faults { 3 } else { 0 } {
        let at = world.rng.below(FAULTS as u64 - 30_000);
        let fault = match world.rng.below(2) {
            0 => JournalFault::Full,
            _ => JournalFault::Broken,
        };
        world.at(at, Event::Journal(fault));
        let until = at + world.rng.below(30_000);
        world.at(until, Event::Journal(JournalFault::None));
    }
}

/// What one writer does. Pauses within a version are shorter than the settle time, unless a check
/// tells what is not finished.
fn steps(world: &mut World, name: &str, sneaks: bool) -> Vec<(i64, Step)> {
    let (features, keep) = (world.features, world.keeps());
    if features.inspects {
        let finding = match world.rng.below(12) {
            // Few enough that the brake lets them go at the end.
            0 if world.wrong.len() < 2 => Some(Finding::Bad),
            1 if world.wrong.len() < 2 => Some(Finding::Rejected),
            2 | 3 => Some(Finding::Undecided(1 + world.rng.below(3) as u32)),
            _ => None,
        };
        if let Some(finding) = finding {
            world.wrong.insert(name.into(), finding);
        }
    }
    // The marker of a group is its other file's as well.
    if features.marker && world.rng.below(10) == 0 && !features.groups {
        world.markerless.insert(name.into());
    }
    let marks = features.marker && !world.markerless.contains(name);
    let longest = if features.sees_end { 3_500 } else { 900 };
    let rng = &mut world.rng;
    let mut steps = Vec::new();
    for round in 0..1 + rng.below(3) {
        let pause = if round == 0 {
            0
        } else {
            rng.below(20_000) as i64
        };
        match rng.below(5) {
            0 => steps.push((pause, Step::Replace)),
            1 if round > 0 => {
                steps.push((pause, Step::Delete));
            }
            kind => {
                steps.push((
                    pause,
                    if kind == 2 {
                        Step::Rewrite
                    } else {
                        Step::Append
                    },
                ));
                for _ in 0..rng.below(6) {
                    steps.push((1 + rng.below(longest) as i64, Step::Append));
                }
                steps.push((1 + rng.below(longest) as i64, Step::Finish));
            }
        }
        if sneaks && rng.below(4) == 0 {
            steps.push((rng.below(5_000) as i64, Step::Sneak));
        }
        if marks {
            push_marks(rng, &mut steps);
        }
        if keep && rng.below(2) == 0 {
            steps.push((rng.below(10_000) as i64, Step::Hide));
            steps.push((1 + rng.below(10_000) as i64, Step::Return));
        }
    }
    if marks {
        steps.push((1 + rng.below(3_000) as i64, Step::Mark));
    }
    steps
}

/// Sometimes the marker of a version never comes, sometimes it goes again, and sometimes another
/// one comes without a new file.
fn push_marks(rng: &mut Rng, steps: &mut Vec<(i64, Step)>) {
    if rng.below(4) == 0 {
        return;
    }
    steps.push((1 + rng.below(1_500) as i64, Step::Mark));
    match rng.below(6) {
        0 => steps.push((1 + rng.below(3_000) as i64, Step::Unmark)),
        1 => steps.push((1 + rng.below(3_000) as i64, Step::Mark)),
        _ => {}
    }
}

/// For two hours some names cannot be moved away, or nothing can be written to `done`, and
/// nothing else fails. Writers go on writing new versions all the while, more files come than can
/// be filed, and others fail for ever at the endpoint.
pub fn plan_long_fault(world: &mut World, seed: u64) {
    const HOURS: i64 = 2 * 3_600_000;
    world.features.lively = true;
    world.faulty = false;
    world.model.faults.one_in = 0;
    world.faults_end = HOURS;
    world.model.faults.targets_full = seed.is_multiple_of(2);
    let refused = seed % 4 < 2;
    for number in 0..16_usize {
        let name = format!("f{number}");
        // Every second one comes once and then lies there; the endpoint refuses some of these.
        let comes_again = number % 2 == 0;
        let mut steps = vec![(0, Step::Replace)];
        let mut at = 60_000;
        while comes_again && at < HOURS - 60_000 {
            let pause = LIVELY + 5_000 + world.rng.below(1_200_000) as i64;
            at += pause;
            steps.push((pause, Step::Replace));
        }
        if refused && number % 4 == 1 {
            world.lonely_404.insert(name.clone());
        } else if number % 4 != 2 {
            world.model.faults.stuck.insert(name.clone());
        }
        // A file that the endpoint refuses has a fault of its own once another has been accepted.
        let comes_early = comes_again || world.lonely_404.contains(&name);
        let start = world
            .rng
            .below(HOURS as u64 / if comes_early { 200 } else { 2 });
        world.writers.push(Writer {
            name,
            steps,
            version: 0,
        });
        world.at(start, Event::Write(number));
    }
    world.at(HOURS as u64, Event::Unstuck);
}
