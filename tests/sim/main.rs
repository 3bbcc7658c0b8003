//! The seeded simulation: the engine and the machines of filing in a world of growing, replaced and
//! vanishing files, a failing endpoint, a faulty share, a full disk and crashes; thousands of runs,
//! minutes of simulated time each.
//!
//! A run that fails prints its seed and the end of its history. It is run again by
//! `DIRPOST_SIM_SEED=N cargo test --test sim`, and many are by `DIRPOST_SIM_SEED=FIRST..END`. Each
//! test says which kinds of faults its runs have met, and fails if there is one that none of them
//! has.

mod coverage;
mod dead_letters;
mod disk;
mod filing;
mod invariants;
mod jobs;
mod model;
mod plan;
mod power;
mod reload;
mod run;
mod scan;
mod workers;
mod world;
mod writers;

use std::collections::BTreeMap;

use dirpost::config::Action;
use dirpost::flow::engine::Engine;
use dirpost::flow::rng::Rng;

use coverage::Coverage;
use plan::{Features, plan, plan_long_fault, policy};
use reload::plan_reloads;
use run::Run;
use world::World;

/// What every kind of run meets.
const ALWAYS: &[&str] = &[
    "endpoint: well",
    "endpoint: unreachable",
    "endpoint: 503",
    "endpoint: 401",
    "endpoint: 400 to everybody",
    "endpoint: resets",
    "share that is away",
    "listing that breaks off",
    "folder passed over",
    "everything opened again",
    "inodes with other numbers",
    "machine suspended",
    "ctime that moves alone",
    "look that fails",
    "operation refused",
    "operation failed",
    "operation done that answers with an error",
    "operation done that answers that the name is taken",
    "folder of another user",
    "target without room",
    "fsync of a folder that fails",
    "filing that failed",
    "file handed out ahead",
    "file called back",
    "new version at the place of what is filed",
    "file changed while it was sent",
    "marker taken away",
    "marker written again",
    "check: good",
    "check: bad",
    "check: rejected by the command",
    "check: unfinished",
    "check: undecided",
    "file changed while it was checked",
    "file changed before its check",
    "journal's reserve used",
    "journal that cannot be written",
    "fsync of the journal that fails",
    "line that is owed",
    "writer between a look and what follows it",
    "journal rewritten",
    "configuration changed",
    "names that are no longer wanted",
];
/// What runs in which files are moved away meet beside it.
const MOVING: &[&str] = &[
    "acceptance that cannot be written down",
    "file taken away before it was filed",
    "new version whose place was taken",
    "answer kept",
    "time in done that is over",
    "operations of several files at a time",
    "operation that is done before one that began earlier",
    "folders brought onto the disk at a time",
];
/// Where nothing crashes.
const UNCRASHED: &[&str] = &["content changed with size and mtime put back"];
/// Where two files have one marker.
const GROUPS: &[&str] = &[
    "marker that stays for another file",
    "marker filed with the last of its files",
];
const RETRIES: &[&str] = &[
    "retry",
    "retry with its marker",
    "retry whose place is taken",
    "retry across file systems",
    "retry killed before the file is back",
    "retry killed before the file is on the disk",
];
const CRASHES: &[&str] = &["kill", "power cut"];

/// One run of the simulation.
#[derive(Clone, Copy, Debug)]
struct Simulation {
    seed: u64,
    crashes: bool,
    keep: bool,
    /// Filing fails for hours, and nothing else does.
    long_fault: bool,
    /// At the first crash the journal is cut after so many bytes of what is not on the disk.
    cut: Option<usize>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        Simulation {
            seed,
            crashes: false,
            keep: false,
            long_fault: false,
            cut: None,
        }
    }

    fn begin(self, tells: bool) -> Run {
        let Simulation {
            seed, crashes, cut, ..
        } = self;
        let mut world = World::new(seed, crashes);
        (world.journal.cut, world.tells) = (cut, tells);
        world.action = match world.rng.below(4) {
            _ if self.keep => Action::Keep,
            0 => Action::Delete,
            _ => Action::Move,
        };
        if self.long_fault {
            plan_long_fault(&mut world, seed);
        } else {
            let features = Features::draw(&mut Rng::new(!seed));
            world.features = features;
            // What is condemned unsent, under another inode and another mtime, is nobody's to know
            // again without a digest: it is a new version, whose marker was used.
            world.model.traits.late_mtimes &= !(features.marker && features.inspects);
            // Nor is what was filed, where the journal could not be told of that before everything
            // was opened again.
            world.model.traits.late_mtimes &= !features.journal_faults;
            plan(&mut world, crashes);
            plan_reloads(&mut world, seed);
        }
        // With `send.in_order` a file that the endpoint refuses for ever holds the line for ever,
        // once the brake spares it: that is what strict order means.
        let in_order =
            world.rng.below(4) == 0 && world.lonely_404.is_empty() && world.poison.is_empty();
        let policy = policy(&world, in_order);
        world.workers.upper = policy.workers;
        let engine = Engine::new(policy, seed, world.now());
        Run {
            world,
            engine,
            closing: false,
            looks: 0,
            unsure: None,
            send: String::new(),
            in_order,
            seed,
            files: BTreeMap::new(),
            markers: BTreeMap::new(),
            is_low: false,
            down_at: None,
        }
    }

    /// Gives the run as it has ended.
    fn run(self) -> Run {
        let mut run = self.begin(false);
        let complete = |run: &mut Run| {
            run.run();
            run.check();
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| complete(&mut run)));
        if let Err(panic) = result {
            self.tell_history(complete);
            std::panic::resume_unwind(panic);
        }
        run
    }

    /// Runs it again, with its history.
    fn tell_history(self, complete: impl Fn(&mut Run)) {
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
    }
}

/// The seed or the range of seeds that was asked for, or so many.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |text: &str| -> u64 {
        text.parse()
            .expect("DIRPOST_SIM_SEED is a number or a range like 10..20")
    };
    match std::env::var("DIRPOST_SIM_SEED") {
        Ok(seeds) => match seeds.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => number(&seeds)..number(&seeds) + 1,
        },
        Err(_) => 0..count,
    }
}

/// Runs all of them.
fn run_all(simulations: impl Iterator<Item = Simulation>) -> Coverage {
    let mut coverage = Coverage::default();
    for simulation in simulations {
        coverage.add(&simulation.run().world.coverage);
    }
    coverage
}

#[test]
fn nothing_is_lost_torn_or_repeated_whatever_files_and_the_endpoint_do() {
    let coverage = run_all(seeds(900).map(Simulation::new));
    coverage.assert_met(&[ALWAYS, MOVING, GROUPS, UNCRASHED, RETRIES]);
}

#[test]
fn nothing_is_lost_torn_or_repeated_whenever_it_crashes() {
    let coverage = run_all(seeds(900).map(|seed| Simulation {
        crashes: true,
        ..Simulation::new(seed)
    }));
    coverage.assert_met(&[ALWAYS, MOVING, GROUPS, CRASHES, RETRIES]);
}

#[test]
fn what_stays_is_sent_once_each_version_whatever_goes_and_comes_back_and_whenever_it_crashes() {
    let coverage = run_all(seeds(900).map(|seed| Simulation {
        crashes: seed % 2 == 0,
        keep: true,
        ..Simulation::new(seed)
    }));
    let by_names: &[&str] = &["folder whose names are those of the journal"];
    coverage.assert_met(&[ALWAYS, CRASHES, RETRIES, by_names]);
}

#[test]
fn while_filing_fails_for_hours_each_new_version_is_sent_and_all_is_filed_when_the_fault_is_over() {
    let coverage = run_all(seeds(8).map(|seed| Simulation {
        long_fault: true,
        ..Simulation::new(seed)
    }));
    coverage.assert_met(&[&[
        "folder of another user",
        "target without room",
        "filing that failed",
    ]]);
}

#[test]
fn nothing_is_lost_torn_or_repeated_at_whatever_byte_a_power_cut_breaks_the_journal() {
    let mut coverage = Coverage::default();
    for seed in seeds(60) {
        let crashing = Simulation {
            crashes: true,
            ..Simulation::new(seed)
        };
        let tail = crashing.run().world.journal.tail.unwrap_or(0);
        // All bytes of a line, and a few of what follows where a test of each would take long.
        for cut in (0..=tail).filter(|_| tail > 0).step_by(1 + tail / 400) {
            let cut = Simulation {
                cut: Some(cut),
                ..crashing
            };
            coverage.add(&cut.run().world.coverage);
            coverage.meet("cut of a journal");
        }
    }
    coverage.assert_met(&[&["cut of a journal"], CRASHES]);
}
