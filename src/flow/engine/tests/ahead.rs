//! Files that are handed out while all workers are busy.

use super::*;

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// The engine and its one worker, which is at the first of these files; the others were handed out
/// behind it.
struct Line {
    engine: Engine,
    out: Vec<Delivery>,
}

impl Line {
    /// Of an engine that has seen all of [`NAMES`].
    fn new(policy: Policy) -> Line {
        let (engine, out) = started(
            Policy {
                workers: 1,
                ..policy
            },
            &NAMES,
        );
        Line { engine, out }
    }

    /// The worker comes back with this. Gives whether what is behind it is called back.
    fn comes_back(&mut self, now: i64, delivered: Delivered) -> bool {
        let job = self.out.remove(0);
        self.hears(now, Input::Delivered(job.file, delivered))
    }

    fn hears(&mut self, now: i64, input: Input) -> bool {
        let effects = self.engine.on(at(now), input);
        self.engine.check();
        let is_recall = |effect: &Effect| matches!(effect, Effect::Recall);
        let is_recalled = effects.iter().any(is_recall);
        self.out.extend(deliveries(effects));
        is_recalled
    }

    /// Nobody has begun with what is behind the first.
    fn gives_back(&mut self, now: i64) {
        for job in self.out.split_off(1) {
            let back = Input::Delivered(job.file, Delivered::NotBegun);
            self.out.extend(deliveries(self.engine.on(at(now), back)));
            self.engine.check();
        }
    }

    fn names(&self) -> Vec<String> {
        let names = self.out.iter().map(|job| job.path.to_string());
        names.collect()
    }
}

/// One whose worker was quick four times: it is at `e`, and `f` is handed out ahead.
fn quick() -> Line {
    let mut line = Line::new(policy());
    for now in 1..=4 {
        assert_eq!(line.out.len(), 1);
        assert!(!line.comes_back(now, accepted()));
    }
    assert_eq!(line.names(), ["e", "f"]);
    line
}

#[test]
fn behind_quick_acceptances_the_next_file_is_handed_out_while_the_worker_is_busy() {
    let mut line = quick();
    for (now, next) in (5..).zip([["f", "g"], ["g", "h"], ["h", "i"]]) {
        assert!(!line.comes_back(now, accepted()));
        assert_eq!(line.names(), next);
        let work = line.engine.work(at(now));
        assert_eq!(work.files.sending, 1, "the other one is not begun");
        assert_eq!(work.sending[0].path.to_string(), next[0]);
    }
}

#[test]
fn slow_acceptances_and_strict_order_hand_out_nothing_ahead() {
    let slow = |policy| {
        let mut line = Line::new(policy);
        for now in 1..=8 {
            let mut delivered = accepted();
            if let Delivered::Replied { took, .. } = &mut delivered {
                *took = Duration::from_millis(21);
            }
            assert!(!line.comes_back(now, delivered));
            assert_eq!(line.out.len(), 1);
        }
    };
    slow(policy());
    let mut line = Line::new(Policy {
        in_order: true,
        ..policy()
    });
    for now in 1..=8 {
        assert!(!line.comes_back(now, accepted()));
        assert_eq!(line.out.len(), 1);
    }
}

#[test]
fn what_was_handed_out_ahead_is_called_back_with_whatever_is_no_acceptance_and_keeps_its_turn() {
    for delivered in [
        unreachable(),
        rejected(),
        Delivered::Changed(None),
        Delivered::NotSent("no credentials".into()),
    ] {
        let mut line = quick();
        let shown = format!("{delivered:?}");
        let job = line.out.remove(0);
        assert!(
            line.hears(5, Input::Delivered(job.file, delivered)),
            "{shown}"
        );
        // While the gate is open its worker is sent on at once; what is called back goes behind that.
        let back = line.out.remove(0);
        assert_eq!(back.path.to_string(), "f");
        line.hears(5, Input::Delivered(back.file, Delivered::NotBegun));
        let mut now = 5;
        while !line.names().contains(&"f".to_string()) {
            now += 1_000;
            for job in std::mem::take(&mut line.out) {
                line.hears(now, Input::Delivered(job.file, accepted()));
            }
            line.hears(now, Input::Tick);
            assert!(now < 1_000_000, "{shown}: it is forgotten");
        }
    }
}

#[test]
fn behind_an_acceptance_that_could_not_be_written_down_nothing_goes_on() {
    let mut line = quick();
    let mut unwritten = accepted();
    if let Delivered::Replied { journaled, .. } = &mut unwritten {
        *journaled = Err("EIO".into());
    }
    assert!(!unwritten.lets_go_on());
    assert!(line.comes_back(5, unwritten));
    let back = line.out.remove(0);
    line.hears(5, Input::Delivered(back.file, Delivered::NotBegun));
    assert!(line.out.is_empty(), "the journal has to be written first");
}

#[test]
fn what_was_handed_out_ahead_is_called_back_when_no_worker_comes_back() {
    let mut line = quick();
    assert_eq!(line.engine.wake_at(), Some(Mono(1_004)));
    assert!(!line.hears(1_003, Input::Tick));
    assert!(line.hears(1_004, Input::Tick));
    line.gives_back(1_004);
    assert_eq!(line.names(), ["e"]);
    // The first of the others is the one whose turn it was.
    assert!(!line.comes_back(1_010, accepted()));
    assert_eq!(line.names()[0], "f");
}

#[test]
fn what_is_called_back_waits_where_it_had_waited() {
    let (mut engine, mut out) = started(policy(), &NAMES);
    for now in 1..=4 {
        let job = out.remove(0);
        out.extend(deliveries(
            engine.on(at(now), Input::Delivered(job.file, accepted())),
        ));
    }
    let names =
        |out: &[Delivery]| -> Vec<String> { out.iter().map(|job| job.path.to_string()).collect() };
    assert_eq!(names(&out), ["e", "f", "g", "h"]);
    engine.on(at(1_004), Input::Tick);
    for job in out.split_off(2) {
        let back = Input::Delivered(job.file, Delivered::NotBegun);
        assert_eq!(deliveries(engine.on(at(1_005), back)).len(), 0);
    }
    let next = engine.on(at(1_006), Input::Delivered(out[0].file, accepted()));
    assert_eq!(names(&deliveries(next)), ["g", "h", "i"]);
}

#[test]
fn what_was_handed_out_ahead_is_called_back_when_what_it_is_sent_by_changes_or_all_is_to_end() {
    let mut line = quick();
    assert!(line.hears(5, Input::Credentials("others".into())));
    line.gives_back(5);
    assert_eq!(line.names(), ["e"]);
    assert!(!line.comes_back(6, accepted()));
    assert_eq!(line.names(), ["f"], "with the new ones, and not ahead");

    for input in [
        Input::Command(Command::Stop),
        Input::Closing(Closing::ShareBack),
        Input::Room(Err("full".into())),
    ] {
        let mut line = quick();
        let shown = format!("{input:?}");
        assert!(line.hears(5, input), "{shown}");
        line.gives_back(5);
        assert_eq!(line.names(), ["e"], "{shown}");
    }
}

/// Workers whose reports lie in an inbox for a while, as those of the daemon do.
#[derive(Default)]
struct Pool {
    busy: Vec<Delivery>,
    queue: std::collections::VecDeque<Delivery>,
    /// Each with whether its worker has gone on already.
    inbox: std::collections::VecDeque<(bool, FileNo, Delivered)>,
}

impl Pool {
    const WORKERS: usize = 3;

    /// One of those that are busy is done, and goes on by itself where it may.
    fn ends(&mut self, at: usize, delivered: Delivered) {
        let job = self.busy.remove(at);
        let next = delivered.lets_go_on().then(|| self.queue.pop_front());
        let next = next.flatten();
        self.inbox.push_back((next.is_some(), job.file, delivered));
        // Until the loop has heard of it the worker is none that is free.
        self.busy.extend(next);
    }

    /// How many are not free, as far as the loop knows.
    fn taken(&self) -> usize {
        let waiting = self.inbox.iter().filter(|(has_gone_on, ..)| !has_gone_on);
        self.busy.len() + waiting.count()
    }

    /// The loop hears of the next report, and carries out what comes of it.
    fn hears(&mut self, engine: &mut Engine, now: i64) {
        let Some((has_gone_on, file, delivered)) = self.inbox.pop_front() else {
            return self.carry_out(engine, now, Input::Tick);
        };
        if !has_gone_on && delivered.lets_go_on() {
            self.busy.extend(self.queue.pop_front());
        }
        self.carry_out(engine, now, Input::Delivered(file, delivered));
    }

    fn carry_out(&mut self, engine: &mut Engine, now: i64, input: Input) {
        let mut back = Vec::new();
        for effect in engine.on(at(now), input) {
            match effect {
                Effect::Deliver(job) if self.taken() < Pool::WORKERS => self.busy.push(job),
                Effect::Deliver(job) => self.queue.push_back(job),
                Effect::Recall => back.extend(self.queue.drain(..)),
                _ => {}
            }
        }
        engine.check();
        for job in back {
            self.carry_out(engine, now, Input::Delivered(job.file, Delivered::NotBegun));
        }
        assert!(self.taken() <= Pool::WORKERS);
        assert!(
            self.queue.is_empty() || self.taken() == Pool::WORKERS,
            "a file waits for a worker though one is free"
        );
    }
}

#[test]
fn however_late_the_loop_hears_of_them_no_file_is_forgotten_and_each_goes_once() {
    let names: Vec<String> = (0..100).map(|number| format!("f{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for seed in 0..300 {
        let mut rng = crate::flow::rng::Rng::new(seed);
        let policy = Policy {
            workers: Pool::WORKERS,
            action: Action::Keep,
            ..policy()
        };
        let (mut engine, out) = started(policy, &names);
        let mut pool = Pool {
            busy: out,
            ..Pool::default()
        };
        let (mut now, mut ended) = (1, Vec::new());
        while ended.len() < names.len() {
            now += match rng.below(40) {
                0 => 1_500,
                _ => rng.below(2) as i64,
            };
            if pool.busy.is_empty() || rng.below(2) == 0 {
                pool.hears(&mut engine, now);
                continue;
            }
            let delivered = match rng.below(12) {
                0 => Delivered::Missing(crate::flow::messages::Miss::Gone),
                _ => accepted(),
            };
            let at = rng.below(pool.busy.len() as u64) as usize;
            ended.push(pool.busy[at].path.to_string());
            pool.ends(at, delivered);
            assert!(now < 1_000_000, "seed {seed}: {} are sent", ended.len());
        }
        ended.sort();
        assert_eq!(ended, names, "seed {seed}");
    }
}
