//! One run: the engine, driven through the world.

use std::collections::BTreeMap;

use dirpost::flow::engine::{Engine, Handover};
use dirpost::flow::file::{Look, Stamp};
use dirpost::flow::filing::disk::Line;
use dirpost::flow::filing::{Carried, Filed};
use dirpost::flow::messages::{Delivered, Effect, Input, Inspected};
use dirpost::flow::scan::listing::Listing;

use crate::plan::{WORKERS, policy};
use crate::power::JournalFault;
use crate::world::{Event, World};

/// All must be delivered so long after the faults are over (ms).
const TO_THE_END: i64 = 3_600_000;

/// See the module.
pub struct Run {
    pub world: World,
    pub engine: Engine,
    /// Everything is opened again as soon as nothing is on its way.
    pub closing: bool,
    /// How many times the share was to be looked at.
    pub looks: u64,
    /// The machine was suspended when there had been so many of these: the next one shows whether
    /// the lock is still ours.
    pub unsure: Option<u64>,
    /// Stands for the configuration of the endpoint.
    pub send: String,
    pub in_order: bool,
    pub seed: u64,
    /// The files and the markers that the last listing has shown.
    pub files: BTreeMap<Vec<u8>, Stamp>,
    pub markers: BTreeMap<Vec<u8>, Stamp>,
    /// The engine knows that the journal has no room.
    pub is_low: bool,
    /// It knows that a line could not be written; so often had something been written by then.
    pub down_at: Option<u64>,
}

impl Run {
    fn perform(&mut self, effects: Vec<Effect>) {
        let mut back = Vec::new();
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
                    let excluded = self.world.setting.excluded.clone();
                    self.world.at(delay, Event::List(order, excluded));
                }
                Effect::Confirm => {
                    self.looks += 1;
                    let delay = self.world.rng.below(50);
                    self.world.at(delay, Event::Confirm);
                }
                Effect::Deliver(job) => {
                    let settle = self.world.setting.settle;
                    self.world.order((job, settle));
                }
                Effect::Recall => back.extend(self.world.recall()),
                Effect::File(job) => self.world.file_start(*job),
                Effect::Note(note) => {
                    self.world.say(|| format!("{note:?}"));
                }
                Effect::Write(lines) => {
                    let lines = lines.into_iter().map(Line::from).collect();
                    self.world.write_lines(lines);
                }
                Effect::Remember(memory) => {
                    if self.world.journal.fault == JournalFault::None {
                        self.world.memory = memory;
                    }
                }
                Effect::Inspect(job) => {
                    let delay = self.world.rng.below(30);
                    self.world.at(delay, Event::InspectStart(job));
                }
                Effect::GiveMemoryBack => self.world.meet("end of a burst"),
                Effect::Expire => self.world.at(5, Event::Expire),
                // All files of the simulation lie in the watched folder itself.
                Effect::RemoveFolder(path) => panic!("{path} was not emptied"),
                Effect::Finish(how) => panic!("it ended by itself: {how:?}"),
            }
        }
        for file in back {
            self.tell(Input::Delivered(file, Delivered::NotBegun));
        }
    }

    fn tell(&mut self, input: Input) {
        let now = self.world.now();
        self.closing |= matches!(input, Input::Closing(_));
        if matches!(input, Input::Confirmed) {
            self.unsure = self.unsure.filter(|&looks| self.looks <= looks);
        }
        self.observe(&input);
        let effects = self.engine.on(now, input);
        self.engine.check();
        self.see_what_is_shown(now);
        self.see_that_it_may(&effects);
        self.see_that_it_is_wanted(&effects);
        assert!(
            self.unsure.is_none() || !effects.iter().any(needs_lock),
            "something begins before the lock was looked at"
        );
        self.perform(effects);
        assert!(
            !self.world.workers.is_one_forgotten(),
            "a file waits for a worker though one is free"
        );
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

    /// What the engine is going to know.
    fn observe(&mut self, input: &Input) {
        match input {
            Input::Listed(folder) => {
                if let Ok(content) = &folder.content {
                    self.files = stamps(&content.files);
                    self.markers = stamps(&content.markers);
                }
            }
            Input::Room(room) => self.is_low = room.is_err(),
            Input::Delivered(
                _,
                Delivered::Replied {
                    journaled: Err(_), ..
                },
            )
            | Input::Filed(_, Filed::Failed { journal: true, .. }) => {
                self.down_at = Some(self.world.journal.appends);
            }
            // Nobody can say whether a line was written for that; but none is owed.
            Input::Filed(_, filed) if !matches!(filed, Filed::Failed { .. }) => {
                self.down_at = self.down_at.filter(|_| self.is_low);
            }
            _ => {}
        }
    }

    /// Nothing goes without its marker, and nothing whose acceptance could not be written down.
    fn see_that_it_may(&self, effects: &[Effect]) {
        for effect in effects {
            assert!(
                !(self.is_low
                    && matches!(
                        effect,
                        Effect::Deliver(_) | Effect::File(_) | Effect::Write(_)
                    )),
                "something begins with no room for its line: {effect:?}"
            );
            let Effect::Deliver(job) = effect else {
                continue;
            };
            assert!(
                self.down_at
                    .is_none_or(|at| self.world.journal.appends > at),
                "{} is sent while the journal cannot be written",
                job.path
            );
            if self.world.features.marker {
                // The marker of a later version does not vouch for this one. Its worker finds that
                // version, and sends nothing.
                let name = job.path.as_bytes();
                let is_listed = self.files.get(name) == Some(&job.look.stamp);
                assert!(
                    job.marker.is_some()
                        && (!is_listed || job.marker.as_ref() == self.markers.get(name)),
                    "{} is sent without its marker: {:?}, and {:?} is there",
                    job.path,
                    job.marker,
                    self.markers.get(job.path.as_bytes())
                );
            }
        }
    }

    /// As the daemon does: another engine, with what this one knew and what the journal says.
    fn reopen(&mut self) {
        self.world.meet("everything opened again");
        self.world.say(|| "everything is opened again".into());
        self.closing = false;
        let now = self.world.now();
        self.world.renew_filer();
        let past = Handover {
            journal: self.world.reread_journal(),
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
        self.files.clear();
        self.markers.clear();
        self.world.folder.by_names = false;
        (self.is_low, self.down_at) = (false, None);
        self.send.clone_from(&past.send);
        let policy = policy(&self.world, self.in_order);
        self.world.workers.upper = policy.workers;
        self.engine = Engine::new(policy, self.seed ^ now.mono.0 as u64, now);
        self.world.filer.carried = Carried::after(past.moves(), self.world.marker().as_ref());
        let effects = self.engine.resume(past, now);
        self.engine.check();
        self.perform(effects);
        self.tell(Input::Tick);
    }

    /// What people are shown agrees with itself, whatever happens.
    fn see_what_is_shown(&self, now: dirpost::flow::time::Now) {
        let work = self.engine.work(now);
        assert_eq!(work.sending.len(), work.files.sending, "each one is named");
        assert_eq!(
            work.oldest.is_some(),
            work.files.to_deliver() > 0,
            "what waits for the longest is named while anything waits: {:?}",
            work.files
        );
        let named = work.files.failing.min(dirpost::flow::status::FAILING);
        assert_eq!(work.failing.len(), named, "each that failed is named");
        let oldest = work.oldest.as_ref().map(|oldest| oldest.since);
        assert!(oldest <= Some(now.wall), "it has waited until now");
        assert_eq!(
            work.delivered.since_start.files,
            self.engine.tally().delivered
        );
        assert_eq!(
            work.delivered.delays.count(),
            work.delivered.since_start.files,
            "each has a delay"
        );
        let condemned: u64 = work.dead_lettered.values().sum();
        assert_eq!(condemned, self.engine.tally().condemned, "each has a cause");
        for fault in &work.faults {
            assert!(fault.count > 0 && fault.since <= now.wall, "{fault:?}");
        }
    }

    fn step(&mut self, event: Event) {
        let world = &mut self.world;
        let mut inputs = Vec::new();
        match event {
            Event::Write(writer) => world.write(writer),
            Event::Chmod(writer, times) => world.chmod(writer, times),
            Event::List(order, excluded) => inputs = world.list(order, &excluded),
            Event::Reload(setting) => inputs.push(self.reload(setting)),
            Event::Confirm => inputs = world.confirm(),
            Event::Suspend => self.suspend(),
            Event::InspectStart(job) => inputs.extend(world.inspect_start(job)),
            Event::InspectEnd(job, version) => inputs.push(world.inspect_end(&job, version)),
            Event::SendStart(job, settle) => inputs.extend(world.send_start(job, settle)),
            Event::SendEnd(job, version) => inputs.extend(world.send_end(job, version)),
            Event::Answered(job, version, verdict, reply) => {
                inputs.push(world.answered(&job, version, (verdict, reply)));
            }
            Event::File => inputs = world.file_step(),
            Event::Expire => inputs.extend(world.expire()),
            Event::Unstuck => world.unstick(),
            Event::Mood(mood) => world.set_mood(mood),
            Event::Sync => {
                if world.sync_journal().is_err() {
                    world.at(5_000, Event::Sync);
                }
            }
            Event::Journal(fault) => world.set_journal_fault(fault),
            Event::Room => inputs.extend(world.restore_reserve()),
            Event::Retry => {
                let filings = self.engine.past(world.now()).filings;
                let to_be_filed = filings.into_iter().map(|filing| filing.path);
                world.retry(&to_be_filed.collect());
            }
            Event::PutBack(place, version) => world.put_dead_letter_back(&place, version),
            Event::SyncPutBack(place, _) => world.sync_put_back(&place),
            // A process that starts right after a sleep cannot know of it: a writer on the same machine
            // that slept as well looks still for as long.
            Event::Crash if world.time - world.woken < world.setting.settle => {
                world.at(2_000, Event::Crash);
            }
            Event::Crash => self.crash(),
        }
        self.world.note_names();
        for input in inputs {
            if shows_another_version(&input)
                && let Some(retries) = self.world.tell_retries()
            {
                self.tell(retries);
            }
            self.tell(input);
        }
    }

    fn suspend(&mut self) {
        self.world.suspend();
        self.unsure = Some(self.looks);
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
            journal: self.world.crash(),
            memory: self.world.memory.clone(),
            // Now and then somebody has changed something at the endpoint, or starts it by hand.
            send: if self.world.rng.below(4) == 0 {
                self.world.crashes.to_string()
            } else {
                self.send.clone()
            },
            by_hand: self.world.rng.below(2) == 0,
            wanted: Some(self.world.setting.filter()),
            ..Handover::default()
        };
        self.begin(past);
    }

    pub fn run(&mut self) {
        self.tell(Input::Tick);
        let faults = self.world.faults_end;
        while self.world.time < faults + TO_THE_END {
            let event = self.world.events.keys().next().map(|&(at, _)| at);
            let wake = self.engine.wake_at().map(|at| at.0.max(self.world.time));
            if self.world.time > faults + 10_000 {
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
            // That goes through all files, and hours are long.
            if !self.world.features.lively || self.looks.is_multiple_of(8) {
                self.nothing_is_nowhere();
                self.no_power_cut_would_lose_anything();
            }
            self.nothing_is_late();
        }
        panic!(
            "not all is delivered an hour after the faults: {:?}, {}",
            self.left_over(),
            self.under_way()
        );
    }
}

/// Whether a look has shown another version at the place of a file, beside any listing: before that
/// is used, the threads read what was retried.
fn shows_another_version(input: &Input) -> bool {
    matches!(
        input,
        Input::Inspected(_, Inspected::Changed(Some(_)))
            | Input::Delivered(_, Delivered::Changed(Some(_)))
            | Input::Filed(_, Filed::NewVersion(Some(_)))
    )
}

fn stamps(listing: &Listing<Look>) -> BTreeMap<Vec<u8>, Stamp> {
    let entries = listing.iter();
    entries
        .map(|(name, look)| (name.to_vec(), look.stamp))
        .collect()
}

/// Whether another process that has the lock by now could be doing this as well.
fn needs_lock(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Deliver(_) | Effect::File(_) | Effect::Write(_) | Effect::Remember(_)
    )
}
