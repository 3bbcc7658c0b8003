//! One opening of the folder: the engine, its threads, and what is carried between them.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::Duration;

use crate::cli::progress::Progress;
use crate::config::Config;
use crate::flow::engine::{Ending, Engine, Handover, Policy};
use crate::flow::messages::{Command, Delivery, Effect, Finish, Input, Inspection};
use crate::flow::time::Mono;
use crate::io::filing::Filer;
use crate::io::logging::words;
use crate::io::os::clock::{self, Sleep};
use crate::io::share::Share;
use crate::io::share::state::{StateDir, random};

use super::threads::{
    FilerCommand, journal_lines, office, spawn_inspectors, spawn_placer, spawn_scanner,
    spawn_workers,
};
use super::{INBOX, Message, Mode, Opened, code, stopped};

/// Before all is opened anew, what is on its way may take so long beyond the time that an
/// endpoint has to answer; what takes longer hangs with its share.
const CLOSING: Duration = Duration::from_secs(30);
/// How long closing the old handles is waited for before all is opened anew.
const LET_GO: Duration = Duration::from_secs(10);
/// How long the journal is waited for at the end.
const LAST_SYNC: Duration = Duration::from_secs(2);

/// How a turn of the loop ends.
pub(super) enum Ended {
    Left(ExitCode),
    /// All is to be opened anew; what is known so far.
    Anew(Box<Handover>),
}

/// The engine with its threads.
pub(super) struct Session {
    engine: Engine,
    mode: Mode,
    progress: Progress,
    scans: Sender<()>,
    inspections: Sender<Inspection>,
    workers: Vec<Sender<Delivery>>,
    /// The last one to come free goes first: its connection is the warmest.
    free: Vec<usize>,
    orders: Sender<FilerCommand>,
    /// So many orders to file something away are not answered yet.
    filing: usize,
    /// All is opened anew when nothing is on its way, or at this moment.
    closing: Option<Mono>,
    /// How long an endpoint may take to answer.
    patience: Duration,
    sleep: Sleep,
    share: Arc<Share>,
    _state: StateDir,
}

impl Session {
    pub(super) fn start(
        config: &Config,
        mode: Mode,
        started: Mono,
        opened: Opened,
        send: &SyncSender<Message>,
    ) -> Result<Session, String> {
        let Opened {
            share,
            state,
            journal,
            past,
            unreadable,
        } = opened;
        let (share, journal) = (Arc::new(share), Arc::new(journal));
        let ending = match mode {
            Mode::Run => Ending::Never,
            Mode::Once { deadline, no_wait } => Ending::Once {
                deadline: started + deadline,
                no_wait,
            },
        };
        let policy = Policy::new(config, &state.id, ending);
        let (orders, order_box) = channel();
        let office = office(config, &policy, &share, &journal, orders.clone());
        let workers = spawn_workers(config, policy.workers, office, send)?;
        let seed = random().map_err(|err| format!("no randomness: {err}"))?;
        let seed = u64::from_le_bytes(seed[..8].try_into().expect("8 of 16 bytes"));
        if unreadable > 0 {
            log::warn!(
                target: "dirpost",
                "journal: {unreadable} of its lines could not be read and were passed over: what they were about \
                 may be sent again, under the same key"
            );
        }
        if journal.is_new() && !state.is_new {
            log::warn!(
                target: "dirpost",
                "journal: it is gone from {}: what was accepted before and is still in the folder is sent again, \
                 under the same key",
                config.state.dir.display()
            );
        }
        let placer = Filer::new(config, Arc::clone(&share), Arc::clone(&journal));
        spawn_placer(
            placer,
            Arc::clone(&journal),
            Arc::clone(&state.folder),
            order_box,
            send.clone(),
        );
        let now = clock::now();
        let mut daemon = Session {
            engine: Engine::new(policy, seed, now),
            mode,
            progress: Progress::new(mode != Mode::Run),
            scans: spawn_scanner(
                config,
                Arc::clone(&share),
                Arc::clone(&state.folder),
                send.clone(),
            )?,
            inspections: spawn_inspectors(config, &share, send),
            free: (0..workers.len()).rev().collect(),
            workers,
            orders,
            filing: 0,
            closing: None,
            patience: config.send.response_timeout + config.send.stall_timeout,
            sleep: Sleep::new(now),
            share,
            _state: state,
        };
        log::info!(
            target: "dirpost",
            "dirpost {}: {} to {}",
            env!("CARGO_PKG_VERSION"),
            config.watch.dir.display(),
            config.send.url.shown()
        );
        let effects = daemon.engine.resume(past, now);
        daemon.carry_out(effects);
        Ok(daemon)
    }

    pub(super) fn turn_until_done(&mut self, inbox: &Receiver<Message>) -> Ended {
        let mut next = Some(Message::Input(Input::Tick));
        loop {
            let now = clock::now();
            if let Some(slept) = self.sleep.observe(now) {
                self.turn(now, Message::Input(Input::Suspended(slept)));
            }
            let mut turns = 0;
            while let Some(message) = next.take() {
                if let Some(finish) = self.turn(now, message) {
                    return Ended::Left(self.leave(finish));
                }
                turns += 1;
                if turns < INBOX {
                    next = inbox.try_recv().ok();
                }
            }
            if self
                .closing
                .is_some_and(|until| now.mono >= until || self.is_idle())
            {
                return self.close(inbox);
            }
            self.progress.show(|| self.engine.tally());
            let closing = self.closing.map(|until| self.end_uploads(until, now.mono));
            let now = clock::now();
            let received = match self.engine.wake_at().into_iter().chain(closing).min() {
                Some(wake) => inbox.recv_timeout(wake.since(now.mono)),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            next = Some(received.unwrap_or(Message::Input(Input::Tick)));
        }
    }

    /// What the endpoint has whole by now may still be answered before all is closed; what it
    /// gets later could not be written down. Gives the next moment to look.
    fn end_uploads(&self, until: Mono, now: Mono) -> Mono {
        let end = until - self.patience;
        if now < end {
            return end;
        }
        self.share.end();
        until
    }

    fn turn(&mut self, now: crate::flow::time::Now, message: Message) -> Option<Finish> {
        let input = match message {
            Message::Input(input) => input,
            Message::Free(worker, input) => {
                self.free.push(worker);
                input
            }
            Message::Opened(_) => return None,
        };
        if let Input::Closing(_) = input {
            self.closing = Some(now.mono + self.patience + CLOSING);
        }
        if let Input::Filed(..) = input {
            self.filing -= 1;
        }
        let effects = self.engine.on(now, input);
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Option<Finish> {
        let mut finish = None;
        for effect in effects {
            // A thread that is gone takes its channel along; its panic is in the log.
            match effect {
                Effect::Scan => drop(self.scans.send(())),
                Effect::Inspect(job) => drop(self.inspections.send(job)),
                Effect::Deliver(job) => {
                    let worker = self
                        .free
                        .pop()
                        .expect("the engine sends no more files than there are workers");
                    drop(self.workers[worker].send(job));
                }
                Effect::File(filing) => {
                    self.filing += 1;
                    drop(self.orders.send(FilerCommand::File(Box::new(filing))));
                }
                Effect::Write(lines) => {
                    drop(self.orders.send(FilerCommand::Write(journal_lines(lines))))
                }
                Effect::Remember(memory) => drop(self.orders.send(FilerCommand::Remember(memory))),
                Effect::Note(note) => self.progress.aside(|| words::write(&note)),
                Effect::Finish(how) => finish = Some(how),
            }
        }
        finish
    }

    /// Whether no thread is at anything but a scan.
    fn is_idle(&self) -> bool {
        self.free.len() == self.workers.len() && self.filing == 0
    }

    /// Lets the journal be finished, if its share lets it.
    fn put_down(&self) {
        let (done, wait) = channel();
        if self.orders.send(FilerCommand::Leave(done)).is_ok() {
            let _ = wait.recv_timeout(LAST_SYNC);
        }
    }

    /// What the next engine goes on with.
    fn close(&mut self, inbox: &Receiver<Message>) -> Ended {
        if !self.is_idle() {
            log::warn!(target: "dirpost", "something still hangs on the share as it was: it is opened anew all the same");
        }
        self.put_down();
        // What has come meanwhile is known as well: else it would be filed, or sent, once more.
        for message in inbox.try_iter() {
            let stop = matches!(message, Message::Input(Input::Command(Command::Stop)));
            if let Some(finish) = self.turn(clock::now(), message) {
                return Ended::Left(self.leave(finish));
            }
            if stop {
                return Ended::Left(stopped(self.mode));
            }
        }
        Ended::Anew(Box::new(self.engine.past(clock::now())))
    }

    /// Closes everything. On a share that hangs a close hangs as well: at the end of the process
    /// that is the system's, else another thread's.
    pub(super) fn let_go(self, ended: &Ended) {
        match ended {
            Ended::Left(_) => std::mem::forget(self),
            Ended::Anew(_) => {
                let (done, wait) = channel();
                thread::spawn(move || {
                    drop(self);
                    let _ = done.send(());
                });
                // The lock is to be taken again.
                let _ = wait.recv_timeout(LET_GO);
            }
        }
    }

    fn leave(&mut self, finish: Finish) -> ExitCode {
        self.progress.end(self.engine.tally());
        self.put_down();
        match (self.mode, finish) {
            (Mode::Run, _) | (_, Finish::Done | Finish::Stopped) => ExitCode::SUCCESS,
            (_, Finish::Left) => ExitCode::from(code::LEFT),
            (_, Finish::Dead) => ExitCode::from(code::DEAD),
        }
    }
}
