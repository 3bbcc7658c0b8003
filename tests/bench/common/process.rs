//! A process that is measured: its processor time and its memory, by `/proc`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;
use rustix::process::{Signal, WaitId, WaitIdOptions};

/// Killed at its end, if it is still there.
pub struct Running {
    pub child: Child,
    started: Instant,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident: u64,
    /// The most that was resident since the start, or since [`Running::forget_peak`].
    pub peak: u64,
    /// Of the resident memory what belongs to this process alone, without the program.
    pub private: u64,
}

/// What a process has taken from its start to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub wall: Duration,
    /// Its own, and that of the processes that it has started and waited for.
    pub cpu: Duration,
    pub peak: u64,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|err| panic!("{:?}: {err}", command.get_program()));
        Running { child, started }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap_or_default()
    }

    /// How long it has been there.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The processor time of all its threads so far, those that have ended as well.
    pub fn cpu(&self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(self.pid())).expect("its clock");
        Duration::from(clock.now().expect("its time"))
    }

    /// The processor time of processes that it has started and waited for, to 10 ms.
    fn children_cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default();
        // proc(5): cutime and cstime, the 16th and 17th field, of which the first two are cut off here.
        let ticks: u64 = fields
            .split_whitespace()
            .skip(13)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    pub fn memory(&self) -> Memory {
        let field = |text: &str, name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            value.unwrap_or(0) * 1024
        };
        let status = self.proc("status");
        Memory {
            resident: field(&status, "VmRSS:"),
            peak: field(&status, "VmHWM:"),
            private: field(&self.proc("smaps_rollup"), "Anonymous:"),
        }
    }

    /// From now on the peak is that of what follows.
    pub fn forget_peak(&self) {
        // proc(5): 5 resets the peak of the resident memory.
        let path = format!("/proc/{}/clear_refs", self.pid());
        std::fs::write(path, "5").expect("the peak is reset");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Waits until none of its threads does anything, and gives the moment since which that is so.
    pub fn rest(&self) -> Instant {
        const STILL: Duration = Duration::from_millis(150);
        const NOTHING: Duration = Duration::from_micros(200);
        let bound = Instant::now() + super::BOUND;
        let (mut since, mut before) = (Instant::now(), self.cpu());
        while since.elapsed() < STILL {
            assert!(Instant::now() < bound, "it does not come to rest");
            std::thread::sleep(Duration::from_millis(5));
            let now = self.cpu();
            if now - before > NOTHING || self.is_busy() {
                since = Instant::now();
            }
            before = now;
        }
        since
    }

    /// Whether one of its threads runs, or waits for a disk.
    fn is_busy(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        tasks.is_ok_and(|mut tasks| {
            tasks.any(|task| {
                let path = task.map(|task| task.path().join("stat"));
                let stat = path.and_then(std::fs::read_to_string).unwrap_or_default();
                matches!(stat.rsplit(") ").next(), Some(rest) if rest.starts_with(['R', 'D']))
            })
        })
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Taken {
        let mut taken = Taken::default();
        let pid = rustix::process::Pid::from_child(&self.child);
        // It is not reaped yet, so that its times can still be read.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let mut turn = 0;
        super::wait("the end of a process", || {
            if turn % 8 == 0 {
                taken.peak = taken.peak.max(self.memory().peak);
            }
            turn += 1;
            let status = rustix::process::waitid(WaitId::Pid(pid), options);
            status.expect("its status").is_some()
        });
        taken.wall = self.age();
        taken.cpu = self.cpu() + self.children_cpu();
        self.child.wait().expect("its end");
        taken
    }

    /// What it has taken up to now.
    pub fn taken(&self) -> Taken {
        Taken {
            wall: self.age(),
            cpu: self.cpu() + self.children_cpu(),
            peak: self.memory().peak,
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        self.child.wait().expect("its end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
