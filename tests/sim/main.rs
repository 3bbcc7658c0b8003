//! The seeded simulation: the engine in a world of growing, replaced and vanishing files, a
//! failing endpoint, a faulty share and crashes; thousands of runs, minutes of simulated
//! time each.
//!
//! A run that fails prints its seed and the end of its history. It is run again by
//! `DIRPOST_SIM_SEED=N cargo test --test sim`.

mod disk;
mod scan;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dirpost::config::{Action, Empty, Settle};
use dirpost::flow::endpoint::backoff::Backoff;
use dirpost::flow::engine::{Ending, Engine, Handover, Policy};
use dirpost::flow::file::Rel;
use dirpost::flow::filing::{Area, Place};
use dirpost::flow::messages::{Effect, Input};
use dirpost::flow::rng::Rng;

use world::{Event, Mood, Step, World, Writer};

const WORKERS: usize = 3;
const BRAKE: u32 = 4;
/// The faults are over after this (ms).
const FAULTS: i64 = 120_000;
/// By then all must be delivered.
const END: i64 = FAULTS + 3_600_000;

fn policy(world: &World, in_order: bool) -> Policy {
    Policy {
        interval: Duration::from_secs(2),
        max_share: 0.25,
        rewrites: world.folder.rewrites,
        settle: Settle::For(Duration::from_millis(world.settle as u64)),
        marker: false,
        empty: Empty::Send,
        min_size: None,
        max_size: None,
        inspects: false,
        sees_end: false,
        grace: Duration::from_secs(5),
        workers: if in_order { 1 } else { WORKERS },
        in_order,
        brake: BRAKE,
        backoff: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
        give_up_after: None,
        action: world.action,
        remember: Duration::from_secs(86_400),
        key_scope: "sim".into(),
        ending: Ending::Never,
    }
}

/// Draws what the writers, the endpoint and the power will do.
fn plan(world: &mut World, crashes: bool) {
    // Content that changes while size and mtime stand still. After a restart nobody knows any more
    // what exactly was sent, and of what stays only the stamp is known.
    let sneaks = !crashes && !world.keeps() && world.rng.below(2) == 0;
    world.model.traits.syncs_fail &= !sneaks;
    let files = 1 + world.rng.below(12) as usize;
    for number in 0..files {
        let name = format!("f{number}");
        match world.rng.below(12) {
            0 => drop(world.poison.insert(name.clone())),
            1 => drop(world.lonely_404.insert(name.clone())),
            _ => {}
        }
        let keeps = world.keeps();
        let steps = steps(&mut world.rng, keeps, sneaks);
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
    // For a long time some files cannot be moved away, or `done` is full, while their writers go
    // on writing.
    for number in 0..files {
        if world.rng.below(10) == 0 {
            world.model.faults.stuck.insert(format!("f{number}"));
        }
    }
    world.model.faults.targets_full = world.rng.below(6) == 0;
    let until = world.rng.below(FAULTS as u64);
    world.at(until, Event::Unstuck);
    // A good file at the end: only an acceptance releases the brake.
    world.writers.push(Writer {
        name: "last".into(),
        steps: vec![(0, Step::Replace)],
        version: 0,
    });
    world.at(FAULTS as u64 + 5_000, Event::Write(files));
    let mut at = 0;
    while at < FAULTS {
        at += 1 + world.rng.below(30_000) as i64;
        let moods = [
            Mood::Well,
            Mood::Well,
            Mood::Unreachable,
            Mood::Busy,
            Mood::Unauthorized,
            Mood::RejectsAll,
            Mood::Resets,
        ];
        let mood = moods[world.rng.below(moods.len() as u64) as usize];
        world.at(at.min(FAULTS) as u64, Event::Mood(mood));
    }
    world.at(FAULTS as u64 + 1, Event::Mood(Mood::Well));
    for _ in 0..if crashes { world.rng.below(5) } else { 0 } {
        let at = world.rng.below(FAULTS as u64);
        world.at(at, Event::Crash);
    }
    for _ in 0..world.rng.below(3) {
        let at = world.rng.below(FAULTS as u64);
        world.at(at, Event::Suspend);
    }
}

/// What one writer does: pauses within a version are shorter than the settle time.
fn steps(rng: &mut Rng, keep: bool, sneaks: bool) -> Vec<(i64, Step)> {
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
                    steps.push((1 + rng.below(900) as i64, Step::Append));
                }
                steps.push((1 + rng.below(900) as i64, Step::Finish));
            }
        }
        if sneaks && rng.below(4) == 0 {
            steps.push((rng.below(5_000) as i64, Step::Sneak));
        }
        if keep && rng.below(2) == 0 {
            steps.push((rng.below(10_000) as i64, Step::Hide));
            steps.push((1 + rng.below(10_000) as i64, Step::Return));
        }
    }
    steps
}

struct Run {
    world: World,
    engine: Engine,
    /// Everything is opened again as soon as nothing is on its way.
    closing: bool,
    /// How many times the share was to be looked at.
    looks: u64,
    /// The machine was suspended when there had been so many of these: the next one shows whether
    /// the lock is still ours.
    unsure: Option<u64>,
    /// Stands for the configuration of the endpoint.
    send: String,
    in_order: bool,
    seed: u64,
}

impl Run {
    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Scan(order) => {
                    self.looks += 1;
                    // A scan may take longer than the interval.
                    let delay = if self.world.rng.below(10) == 0 {
                        self.world.rng.below(20_000)
                    } else {
                        self.world.rng.below(50)
                    };
                    self.world.at(delay, Event::List(order));
                }
                Effect::Confirm => {
                    self.looks += 1;
                    let delay = self.world.rng.below(50);
                    self.world.at(delay, Event::Confirm);
                }
                Effect::Deliver(job) => {
                    let delay = self.world.rng.below(30);
                    self.world.at(delay, Event::SendStart(job));
                }
                Effect::File(job) => self.world.file_start(job),
                Effect::Note(note) => {
                    self.world.say(|| format!("{note:?}"));
                }
                Effect::Write(lines) => self.world.write_lines(lines),
                Effect::Remember(memory) => self.world.memory = memory,
                Effect::Inspect(_) => panic!("nothing is checked here"),
                Effect::Finish(how) => panic!("it ended by itself: {how:?}"),
            }
        }
    }

    fn tell(&mut self, input: Input) {
        let now = self.world.now();
        self.closing |= matches!(input, Input::Closing(_));
        if matches!(input, Input::Confirmed) {
            self.unsure = self.unsure.filter(|&looks| self.looks <= looks);
        }
        let effects = self.engine.on(now, input);
        self.engine.check();
        assert!(
            self.unsure.is_none() || !effects.iter().any(needs_lock),
            "something begins before the lock was looked at"
        );
        self.perform(effects);
        let most = if self.in_order { 1 } else { WORKERS };
        assert!(
            self.world.in_flight <= most,
            "{} files are on their way",
            self.world.in_flight
        );
        if self.closing && self.engine.in_flight() == 0 {
            self.reopen();
        }
    }

    /// As the daemon does: another engine, with what this one knew and what the journal says.
    fn reopen(&mut self) {
        self.world.say(|| "everything is opened again".into());
        self.closing = false;
        let now = self.world.now();
        self.world.renew_filer();
        let past = Handover {
            live: self.world.reread_journal().live,
            send: self.send.clone(),
            ..self.engine.past(now)
        };
        self.begin(past);
    }

    /// Another engine takes over.
    fn begin(&mut self, past: Handover) {
        let now = self.world.now();
        // The lock was taken again.
        self.unsure = None;
        self.send.clone_from(&past.send);
        let policy = policy(&self.world, self.in_order);
        self.engine = Engine::new(policy, self.seed ^ now.mono.0 as u64, now);
        let effects = self.engine.resume(past, now);
        self.engine.check();
        self.perform(effects);
        self.tell(Input::Tick);
    }

    fn step(&mut self, event: Event) {
        let inputs = match event {
            Event::Write(writer) => {
                self.world.write(writer);
                vec![]
            }
            Event::Chmod(writer, times) => {
                self.world.chmod(writer, times);
                vec![]
            }
            Event::List(order) => self.world.list(order),
            Event::Confirm => self.world.confirm(),
            Event::Suspend => {
                self.world.slept += 1_000 + self.world.rng.below(3_600_000) as i64;
                self.world.suspended_at = self.world.time;
                self.world.say(|| "the machine was suspended".into());
                self.unsure = Some(self.looks);
                self.world.woken = self.world.time;
                vec![]
            }
            Event::SendStart(job) => self.world.send_start(job).into_iter().collect(),
            Event::SendEnd(job, version) => self.world.send_end(job, version).into_iter().collect(),
            Event::Answered(job, version, verdict, reply) => {
                vec![self.world.answered(&job, version, (verdict, reply))]
            }
            Event::File => self.world.file_step(),
            Event::Unstuck => {
                self.world.say(|| "moving away works again".into());
                self.world.model.faults.stuck.clear();
                self.world.model.faults.targets_full = false;
                vec![]
            }
            Event::Mood(mood) => {
                self.world.say(|| format!("endpoint: {mood:?}"));
                self.world.mood = mood;
                vec![]
            }
            Event::Sync => {
                self.world.sync_journal();
                vec![]
            }
            // A process that starts right after a sleep cannot know of it: a writer on the same machine
            // that slept as well looks still for as long.
            Event::Crash if self.world.time - self.world.woken < self.world.settle => {
                self.world.at(2_000, Event::Crash);
                vec![]
            }
            Event::Crash => {
                self.crash();
                vec![]
            }
        };
        self.world.note_names();
        for input in inputs {
            self.tell(input);
        }
    }

    fn crash(&mut self) {
        let now = self.world.now();
        // A reboot, or an orderly restart: then all that was learned is known.
        if self.world.rng.below(3) == 0 {
            self.world.memory = self.engine.past(now).memory;
        }
        self.closing = false;
        // The clock of the simulation goes on over the crash, and so do the moments in it.
        let past = Handover {
            live: self.world.crash().live,
            memory: self.world.memory.clone(),
            // Now and then somebody has changed something at the endpoint, or starts it by hand.
            send: if self.world.rng.below(4) == 0 {
                self.world.crashes.to_string()
            } else {
                self.send.clone()
            },
            by_hand: self.world.rng.below(2) == 0,
            ..Handover::default()
        };
        self.begin(past);
    }

    fn run(&mut self) {
        self.tell(Input::Tick);
        while self.world.time < END {
            let event = self.world.events.keys().next().map(|&(at, _)| at);
            let wake = self.engine.wake_at().map(|at| at.0.max(self.world.time));
            if self.world.time > FAULTS + 10_000 {
                self.world.faulty = false;
                self.world.model.faults.one_in = 0;
                if self.is_over() {
                    return;
                }
            }
            match (event, wake) {
                (Some(event), wake) if wake.is_none_or(|wake| event <= wake) => {
                    let ((at, _), event) = self.world.events.pop_first().unwrap();
                    self.world.time = at;
                    self.step(event);
                }
                (_, Some(wake)) => {
                    self.world.time = wake;
                    self.tell(Input::Tick);
                    let next = self.engine.wake_at();
                    assert!(
                        next.is_none_or(|at| at.0 > wake),
                        "it would spin: {next:?} after {wake}"
                    );
                }
                (Some(_), None) => unreachable!("covered by the first arm"),
                (None, None) => panic!("nothing will ever happen again"),
            }
            self.nothing_is_nowhere();
        }
        panic!(
            "not all is delivered an hour after the faults: {:?}",
            self.world.model.names
        );
    }

    /// All is delivered or condemned but for the file that alone gets 404.
    fn is_over(&self) -> bool {
        self.world
            .writers
            .iter()
            .all(|writer| writer.steps.is_empty())
            && self.world.model.area(Area::Watched).all(|(place, node)| {
                self.world.lonely_404.contains(&place.path.to_string())
                    || self.world.keeps() && self.world.was_accepted(node.version)
            })
            && self.world.in_flight == 0
            && !self.world.is_filing()
            && self.world.model.area(Area::Staging).next().is_none()
            && self.engine.in_flight() == 0
            && self.engine.past(self.world.now()).filings.is_empty()
    }

    /// What a writer completed and did not take back lies somewhere.
    fn nothing_is_nowhere(&self) {
        let world = &self.world;
        let areas = [Area::Watched, Area::Done, Area::DeadLetter, Area::Staging];
        let there: BTreeSet<u64> = areas
            .into_iter()
            .flat_map(|area| world.model.area(area))
            .map(|(_, node)| node.version)
            .chain(world.hidden.values().map(|node| node.version))
            .collect();
        for version in &world.left {
            assert!(
                there.contains(version)
                    || world.withdrawn.contains(version)
                    || world.action == Action::Delete && world.was_accepted(*version),
                "version {version} is nowhere"
            );
        }
    }

    fn check(&self) {
        let world = &self.world;
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for (version, _) in &world.accepted {
            *times.entry(*version).or_default() += 1;
        }
        let repeats: usize = times.values().map(|count| count - 1).sum();
        assert!(
            repeats <= world.in_flight_at_crashes + world.lost_lines,
            "{repeats} repeats ({:?}), with {} in flight at the crashes and {} acceptances lost from the journal",
            times
                .iter()
                .filter(|(_, count)| **count > 1)
                .collect::<Vec<_>>(),
            world.in_flight_at_crashes,
            world.lost_lines
        );
        let mut keys: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
        for (version, key) in &world.accepted {
            keys.entry(*version).or_default().insert(key);
        }
        assert!(
            keys.values().all(|keys| keys.len() == 1),
            "a version was sent under two keys"
        );
        for (name, node) in world.model.area(Area::Done) {
            assert!(
                times.contains_key(&node.version),
                "{name} is in done and was never accepted"
            );
        }
        self.each_lies_in_one_place(&times);
        let runs = 1 + world.crashes + world.accepted.len();
        assert!(
            world.unjustly.len() <= BRAKE as usize * runs,
            "{} files were condemned unjustly",
            world.unjustly.len()
        );
        self.attempts_are_bounded();
    }

    /// What was accepted and not taken back lies in one place, once.
    fn each_lies_in_one_place(&self, accepted: &BTreeMap<u64, usize>) {
        let world = &self.world;
        let mut places: BTreeMap<u64, Vec<&Place>> = BTreeMap::new();
        let kept = world.model.area(Area::Watched).filter(|_| world.keeps());
        let filed = [Area::Done, Area::DeadLetter].into_iter();
        for (place, node) in filed.flat_map(|area| world.model.area(area)).chain(kept) {
            places.entry(node.version).or_default().push(place);
        }
        for (version, names) in &places {
            // What goes while it is condemned, and comes back, is a new drop.
            assert!(
                names.len() == 1 || world.keeps(),
                "version {version} lies in {names:?}"
            );
        }
        for version in accepted
            .keys()
            .filter(|version| !world.withdrawn.contains(version))
        {
            assert!(
                places.contains_key(version) || world.action == Action::Delete,
                "version {version} was accepted and lies nowhere"
            );
        }
        self.nothing_is_left_over();
    }

    /// No draft, no reservation and no reason without its file.
    fn nothing_is_left_over(&self) {
        let model = &self.world.model;
        for (place, ino) in &model.names {
            let node = model.nodes[ino];
            if node.version > 0 {
                continue;
            }
            let name = String::from_utf8_lossy(place.path.as_bytes()).into_owned();
            let file = name
                .strip_suffix(".reason.json")
                .map(|file| Rel::new(file.as_bytes()));
            let file = file.map(|file| Place::new(place.area, file));
            assert!(
                file.is_some_and(|file| model.names.contains_key(&file)),
                "{place} is left over"
            );
        }
    }

    /// While nothing can be reached there is one attempt a step, not one a file.
    fn attempts_are_bounded(&self) {
        let mut run: Vec<i64> = Vec::new();
        for &(at, mood) in self.world.attempts.iter().chain([&(i64::MAX, Mood::Well)]) {
            if mood == Mood::Unreachable {
                run.push(at);
                continue;
            }
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                // A crash begins the backoff anew.
                let starts = 1 + self.world.crashes;
                let bound = starts * (WORKERS + 12) + (last - first) as usize / 1_000;
                assert!(
                    run.len() <= bound,
                    "{} attempts in an outage of {} ms",
                    run.len(),
                    last - first
                );
            }
            run.clear();
        }
    }
}

/// Whether another process that has the lock by now could be doing this as well.
fn needs_lock(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Deliver(_) | Effect::File(_) | Effect::Write(_) | Effect::Remember(_)
    )
}

/// One run of the simulation.
#[derive(Clone, Copy, Debug)]
struct Simulation {
    seed: u64,
    crashes: bool,
    keep: bool,
    /// At the first crash the journal is cut after so many bytes of what is not on the disk.
    cut: Option<usize>,
}

impl Simulation {
    fn begin(self, tells: bool) -> Run {
        let Simulation {
            seed,
            crashes,
            keep,
            cut,
        } = self;
        let mut world = World::new(seed, crashes);
        (world.cut, world.tells) = (cut, tells);
        world.action = match world.rng.below(4) {
            _ if keep => Action::Keep,
            0 => Action::Delete,
            _ => Action::Move,
        };
        plan(&mut world, crashes);
        // With `send.in_order` a file that the endpoint refuses for ever holds the line for ever,
        // once the brake spares it: that is what strict order means.
        let in_order =
            world.rng.below(4) == 0 && world.lonely_404.is_empty() && world.poison.is_empty();
        let engine = Engine::new(policy(&world, in_order), seed, world.now());
        Run {
            world,
            engine,
            closing: false,
            looks: 0,
            unsure: None,
            send: String::new(),
            in_order,
            seed,
        }
    }

    /// Gives how many bytes of the journal were not on the disk at the first crash.
    fn run(self) -> usize {
        let mut run = self.begin(false);
        let complete = |run: &mut Run| {
            run.run();
            run.check();
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| complete(&mut run)));
        if let Err(panic) = result {
            // The same again, with its history.
            let mut again = self.begin(true);
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(
                || complete(&mut again),
            )));
            // All of it when it was asked for.
            let tail = if std::env::var("DIRPOST_SIM_SEED").is_ok() {
                usize::MAX
            } else {
                60
            };
            let from = again.world.tick.len().saturating_sub(tail);
            eprintln!("{}", again.world.tick[from..].join("\n"));
            eprintln!("failed: {self:?}");
            eprintln!(
                "again with DIRPOST_SIM_SEED={} cargo test --test sim",
                self.seed
            );
            std::panic::resume_unwind(panic);
        }
        run.world.tail.unwrap_or(0)
    }
}

/// The seed that was asked for, or so many.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("DIRPOST_SIM_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("DIRPOST_SIM_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

#[test]
fn nothing_is_lost_torn_or_repeated_whatever_files_and_the_endpoint_do() {
    for seed in seeds(3_000) {
        Simulation {
            seed,
            crashes: false,
            keep: false,
            cut: None,
        }
        .run();
    }
}

#[test]
fn nothing_is_lost_torn_or_repeated_whenever_it_crashes() {
    for seed in seeds(3_000) {
        Simulation {
            seed,
            crashes: true,
            keep: false,
            cut: None,
        }
        .run();
    }
}

#[test]
fn what_stays_is_sent_once_each_version_whatever_goes_and_comes_back_and_whenever_it_crashes() {
    for seed in seeds(3_000) {
        Simulation {
            seed,
            crashes: seed % 2 == 0,
            keep: true,
            cut: None,
        }
        .run();
    }
}

#[test]
fn nothing_is_lost_torn_or_repeated_at_whatever_byte_a_power_cut_breaks_the_journal() {
    let (mut journals, mut cuts) = (0, 0);
    for seed in seeds(800) {
        let tail = Simulation {
            seed,
            crashes: true,
            keep: false,
            cut: None,
        }
        .run();
        for cut in (0..=tail).filter(|_| tail > 0) {
            Simulation {
                seed,
                crashes: true,
                keep: false,
                cut: Some(cut),
            }
            .run();
            cuts += 1;
        }
        journals += usize::from(tail > 0);
    }
    println!("{cuts} cuts of {journals} journals");
    assert!(
        journals > 0 || std::env::var("DIRPOST_SIM_SEED").is_ok(),
        "nothing was cut"
    );
}
