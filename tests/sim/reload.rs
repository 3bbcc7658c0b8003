//! A configuration that is changed while the run goes on.
//!
//! What changes here is what the engine decides by: the settle time, the workers, the bounds of the
//! backoff, the brake, how many files are in hand, which names are wanted, whether what has passed
//! `[check]` is checked again, and what `[send]` is. A scan that has begun goes by the names that were
//! wanted then.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use dirpost::config::{Settle, from_dir_and_url};
use dirpost::flow::messages::{Effect, Input, Settings};
use dirpost::flow::policy::Policy;
use dirpost::flow::rng::Rng;
use dirpost::flow::scan::filter::Filter;

use crate::plan::{BRAKE, WORKERS, policy};
use crate::run::Run;
use crate::world::{Event, FAULTS, World};

/// The least settle time of all settings (ms): no writer pauses for longer within a version.
pub const SETTLE: i64 = 1_000;

/// What of the configuration changes.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `ready.settle` (ms).
    pub settle: i64,
    workers: usize,
    brake: u32,
    /// `retry.first`.
    first: Duration,
    /// Names that `watch.exclude` leaves out.
    pub excluded: BTreeSet<String>,
    /// `[check]` is another one than before.
    rechecks: bool,
    /// `[send]` is another one than before.
    is_elsewhere: bool,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            settle: SETTLE,
            workers: WORKERS,
            brake: BRAKE,
            first: Duration::from_secs(1),
            excluded: BTreeSet::new(),
            rechecks: false,
            is_elsewhere: false,
        }
    }
}

impl Setting {
    fn draw(rng: &mut Rng) -> Setting {
        let mut one_of = |many: [i64; 4]| many[rng.below(4) as usize];
        Setting {
            settle: one_of([SETTLE, SETTLE, 1_500, 6_000]),
            workers: one_of([1, 2, 3, 3]) as usize,
            brake: one_of([2, 3, 4, 4]) as u32,
            first: Duration::from_millis(one_of([100, 1_000, 1_000, 5_000]) as u64),
            rechecks: one_of([0, 0, 0, 1]) == 1,
            is_elsewhere: one_of([0, 0, 1, 1]) == 1,
            excluded: (0..12)
                .filter(|_| rng.below(4) == 0)
                .map(|number| format!("f{number}"))
                .collect(),
        }
    }

    /// `policy` with what changes.
    pub fn apply(&self, policy: Policy) -> Policy {
        Policy {
            settle: Settle::For(Duration::from_millis(self.settle as u64)),
            workers: self.workers.min(policy.workers),
            brake: self.brake,
            backoff: dirpost::flow::endpoint::backoff::Backoff {
                first: self.first,
                ..policy.backoff
            },
            ..policy
        }
    }

    /// Which names are wanted.
    pub fn filter(&self) -> Filter {
        let config = from_dir_and_url(Path::new("/in"), "http://h/").unwrap();
        let mut watch = config.watch;
        watch.exclude = self.excluded.iter().cloned().collect();
        Filter::new(&watch, None, Vec::new()).unwrap()
    }
}

/// In a third of the runs the configuration is changed a few times, and at the end all names are wanted.
/// Drawn apart, so that all else is as without.
pub fn plan_reloads(world: &mut World, seed: u64) {
    let mut rng = Rng::new(seed ^ 0x7265_6c6f_6164);
    if rng.below(3) > 0 {
        return;
    }
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(FAULTS as u64);
        world.at(at, Event::Reload(Setting::draw(&mut rng)));
    }
    world.at(FAULTS as u64, Event::Reload(Setting::default()));
}

impl Run {
    /// As the daemon does on SIGHUP.
    pub fn reload(&mut self, setting: Setting) -> Input {
        self.world.meet("configuration changed");
        if !setting.excluded.is_empty() {
            self.world.meet("names that are no longer wanted");
        }
        self.world.say(|| format!("the configuration: {setting:?}"));
        if setting.is_elsewhere {
            self.send = format!("changed at {}", self.world.time);
        }
        self.world.setting = setting;
        let setting = &self.world.setting;
        let policy = policy(&self.world, self.in_order);
        self.world.workers.upper = policy.workers;
        Input::Settings(Box::new(Settings {
            policy,
            filter: setting.filter(),
            send: self.send.clone(),
            rechecks: setting.rechecks,
        }))
    }

    /// Nothing begins with a file that is not wanted.
    pub fn see_that_it_is_wanted(&self, effects: &[Effect]) {
        let excluded = &self.world.setting.excluded;
        for effect in effects {
            let path = match effect {
                Effect::Deliver(job) => &job.path,
                Effect::Inspect(job) => &job.path,
                _ => continue,
            };
            assert!(
                !excluded.contains(&path.to_string()),
                "{path} is excluded, and begins all the same"
            );
        }
    }
}
