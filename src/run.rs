//! The loop: inbox, engine, effects.
//!
//! The one place that knows both the core and the shell. Every other thread only does jobs
//! and puts what came of them into one bounded inbox; this one reads the clock once a turn,
//! hands the engine what has come, and carries out what it asks for. It never does I/O
//! that can hang: that is in the threads, so that signals and the log go on when a share
//! hangs.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Action, Config, Digest};
use crate::flow::engine::{Ending, Engine, INSPECTORS, Past, Policy};
use crate::flow::file::{Rel, Stamp};
use crate::flow::filter::Filter;
use crate::flow::job::{Command, Delivery, Effect, Filing, Finish, Input, Inspection};
use crate::flow::memory::Memory;
use crate::flow::record::{Event, Record};
use crate::flow::time::Mono;
use crate::flow::trouble::Trouble;
use crate::progress::Progress;
use crate::shell::clock::{self, Sleep};
use crate::shell::deliver::{Client, IDLE, Shared};
use crate::shell::folder::Folder;
use crate::shell::inspect::Inspector;
use crate::shell::journal::Journal;
use crate::shell::memory;
use crate::shell::place::{Placed, Placer};
use crate::shell::retries::Watcher;
use crate::shell::send::{Office, deliver};
use crate::shell::share::{OpenError, Share, below, explain};
use crate::shell::state::{self, StateDir, random};
use crate::shell::{report, scan, signal};

/// How it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until it is stopped.
    Run,
    /// Until what is there is dealt with, or for so long; with `no_wait` no longer than there is
    /// something to do.
    Once { deadline: Duration, no_wait: bool },
}

/// The exit codes, as `--help` lists them.
pub mod code {
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const LEFT: u8 = 3;
    pub const DEAD: u8 = 4;
    pub const LOCKED: u8 = 5;
}

/// What threads put into the inbox.
enum Message {
    Input(Input),
    /// The same, from a worker that is free again.
    Free(usize, Input),
    Opened(Result<Box<Opened>, OpenError>),
}

/// Everything that had to be opened.
struct Opened {
    share: Share,
    state: StateDir,
    journal: Journal,
    past: Past,
    /// Lines of the journal that could not be read.
    unreadable: usize,
}

/// The inbox holds so many; who has more to say waits.
const INBOX: usize = 1024;
/// So many files are filed away as one group.
const GROUP: usize = 512;
/// A standby looks so often whether the lock is free.
const STANDBY: Duration = Duration::from_millis(500);
/// How often a folder that is missing is looked for.
const AWAY: Duration = Duration::from_secs(2);
/// Before all is opened anew, what is on its way may take so long beyond the time that an
/// endpoint has to answer; what takes longer hangs with its share.
const CLOSING: Duration = Duration::from_secs(30);
/// How long closing the old handles is waited for before all is opened anew.
const LET_GO: Duration = Duration::from_secs(10);
/// How long the journal is waited for at the end.
const LAST_SYNC: Duration = Duration::from_secs(2);
/// Groups begin at least so far apart: a few large ones cost less than many small ones.
const APART: Duration = Duration::from_millis(50);
/// Lines of the journal reach the disk within this time.
const SYNC: Duration = Duration::from_millis(500);
/// After an fsync that failed the next one waits so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs to the end.
pub fn run(config: &Config, mode: Mode, adopt: bool) -> ExitCode {
    let (first, mut inbox) = sync_channel(INBOX);
    let current = Arc::new(Mutex::new(first));
    let commands = Arc::clone(&current);
    let listening = signal::listen(move |command| {
        let inbox = commands.lock().expect("no thread panics with it").clone();
        drop(inbox.send(Message::Input(Input::Command(command))));
    });
    if let Err(err) = listening {
        return fail(&format!("signals cannot be handled: {err}"));
    }
    let started = clock::now().mono;
    let mut past: Option<Past> = None;
    let until = if let Mode::Once { deadline, .. } = mode { Some(started + deadline) } else { None };
    let mut opening = Opening { adopt, anew: false, until };
    loop {
        let send = current.lock().expect("no thread panics with it").clone();
        let (mut opened, stood_by) = match open(config, mode, opening, &send, &inbox) {
            Ok(opened) => opened,
            Err(code) => return code,
        };
        // It was said of the folder as it was at the start.
        opening = Opening { adopt: false, anew: true, ..opening };
        if let Some(past) = past.take() {
            let Past { live, memory, .. } = opened.past;
            // What this process knows is newer than what it has written down, but not than what
            // another has that has worked meanwhile.
            opened.past = Past { live, memory: if stood_by { memory } else { past.memory }, ..past };
        }
        let ended = match Daemon::start(config, mode, started, *opened, &send) {
            Ok(mut daemon) => {
                let ended = daemon.turn_until_done(&inbox);
                daemon.let_go(&ended);
                ended
            }
            Err(why) => Ended::Left(fail(&why)),
        };
        match ended {
            Ended::Left(code) => return code,
            Ended::Anew(known) => past = Some(*known),
        }
        // A new inbox: what the threads of the old folder still say is about the old folder.
        let (send, next) = sync_channel(INBOX);
        *current.lock().expect("no thread panics with it") = send;
        let stop = inbox.try_iter().any(|message| matches!(message, Message::Input(Input::Command(Command::Stop))));
        if stop {
            return stopped(mode);
        }
        inbox = next;
    }
}

fn fail(why: &str) -> ExitCode {
    log::error!(target: "dirpost", "{why}");
    ExitCode::from(code::FAILED)
}

/// It was stopped while it did not know what is there.
fn stopped(mode: Mode) -> ExitCode {
    if mode == Mode::Run { ExitCode::SUCCESS } else { ExitCode::from(code::LEFT) }
}

/// How everything is opened.
#[derive(Clone, Copy, Debug)]
struct Opening {
    adopt: bool,
    /// It was open before.
    anew: bool,
    /// `once` waits no longer than this.
    until: Option<Mono>,
}

/// Opens everything; waits, in `run`, for a folder that is missing and for the lock. Says whether
/// another had the lock meanwhile.
fn open(
    config: &Config,
    mode: Mode,
    opening: Opening,
    send: &SyncSender<Message>,
    inbox: &Receiver<Message>,
) -> Result<(Box<Opened>, bool), ExitCode> {
    let mut away: Option<Trouble> = None;
    let mut standby = false;
    loop {
        let (own, reply) = (config.clone(), send.clone());
        // In a thread of its own: on a hung share this may take as long as the share likes.
        thread::spawn(move || drop(reply.send(Message::Opened(open_all(&own, opening.adopt)))));
        let pause = match wait_opened(inbox, mode, opening.until)? {
            Ok(opened) => {
                if standby {
                    log::info!(target: "dirpost", "the lock is free: working from now on");
                } else if let Some(trouble) = away {
                    let since = clock::now().mono.since(trouble.since);
                    log::info!(target: "dirpost", "share: there after {}", report::span(since));
                }
                return Ok((opened, standby));
            }
            // What was in order once is so again when its share is.
            Err(OpenError::Fault(why)) if !(opening.anew && mode == Mode::Run) => return Err(fail(&why)),
            Err(OpenError::Away(why) | OpenError::Fault(why)) => {
                if mode != Mode::Run {
                    log::error!(target: "dirpost", "share: {why}");
                    return Err(ExitCode::from(code::LEFT));
                }
                let now = clock::now().mono;
                let speak = away.as_mut().is_none_or(|trouble| trouble.remind(now));
                away.get_or_insert_with(|| Trouble::new(now));
                if speak {
                    log::error!(target: "dirpost", "share: {why}; waiting for it");
                }
                AWAY
            }
            Err(OpenError::Locked(holder)) => {
                if mode != Mode::Run {
                    log::error!(target: "dirpost", "another dirpost works on this folder (token, host, pid: {holder})");
                    return Err(ExitCode::from(code::LOCKED));
                }
                if !standby {
                    log::info!(target: "dirpost", "standby: another dirpost works on this folder (token, host, pid: {holder})");
                }
                standby = true;
                STANDBY
            }
        };
        pause_or_stop(inbox, pause)?;
    }
}

fn open_all(config: &Config, adopt: bool) -> Result<Box<Opened>, OpenError> {
    let (share, state) = Share::open(config, adopt)?;
    let (journal, replay) = Journal::open(&state.folder, clock::wall())
        .map_err(|err| state::fault(&config.state.dir.join("journal"), &err))?;
    let past = Past { live: replay.live, memory: memory::read(&state.folder), ..Past::default() };
    Ok(Box::new(Opened { share, state, journal, past, unreadable: replay.unreadable }))
}

fn wait_opened(
    inbox: &Receiver<Message>,
    mode: Mode,
    until: Option<Mono>,
) -> Result<Result<Box<Opened>, OpenError>, ExitCode> {
    loop {
        let wait = until.map_or(Duration::MAX, |until| until.since(clock::now().mono));
        match inbox.recv_timeout(wait) {
            Ok(Message::Opened(result)) => return Ok(result),
            Ok(Message::Input(Input::Command(Command::Stop))) | Err(RecvTimeoutError::Disconnected) => {
                return Err(stopped(mode));
            }
            Err(RecvTimeoutError::Timeout) => {
                log::error!(target: "dirpost", "share: opening it hangs, and the deadline is over");
                return Err(ExitCode::from(code::LEFT));
            }
            Ok(_) => {}
        }
    }
}

fn pause_or_stop(inbox: &Receiver<Message>, pause: Duration) -> Result<(), ExitCode> {
    match inbox.recv_timeout(pause) {
        Ok(Message::Input(Input::Command(Command::Stop))) | Err(RecvTimeoutError::Disconnected) => {
            Err(ExitCode::SUCCESS)
        }
        _ => Ok(()),
    }
}

/// What the filing thread is asked for.
enum Order {
    File(Box<Filing>),
    /// Lines for the journal.
    Write(Vec<u8>),
    Remember(Memory),
    /// The journal has lines that wait for an fsync.
    Sync,
    Leave(Sender<()>),
}

/// How a turn of the loop ends.
enum Ended {
    Left(ExitCode),
    /// All is to be opened anew; what is known so far.
    Anew(Box<Past>),
}

/// The engine with its threads.
struct Daemon {
    engine: Engine,
    mode: Mode,
    progress: Progress,
    scans: Sender<()>,
    inspections: Sender<Inspection>,
    workers: Vec<Sender<Delivery>>,
    /// The last one to come free goes first: its connection is the warmest.
    free: Vec<usize>,
    orders: Sender<Order>,
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

impl Daemon {
    fn start(
        config: &Config,
        mode: Mode,
        started: Mono,
        opened: Opened,
        send: &SyncSender<Message>,
    ) -> Result<Daemon, String> {
        let Opened { share, state, journal, past, unreadable } = opened;
        let (share, journal) = (Arc::new(share), Arc::new(journal));
        let ending = match mode {
            Mode::Run => Ending::Never,
            Mode::Once { deadline, no_wait } => Ending::Once { deadline: started + deadline, no_wait },
        };
        let policy = Policy::new(config, &state.id, ending);
        let (orders, order_box) = channel();
        let office = office(config, &policy, &share, &journal, orders.clone());
        let workers = spawn_workers(config, policy.workers, office, send)?;
        let seed = random().map_err(|err| format!("no randomness: {err}"))?;
        let seed = u64::from_le_bytes(seed[..8].try_into().expect("8 of 16 bytes"));
        if unreadable > 0 {
            log::warn!(target: "dirpost", "journal: {unreadable} lines could not be read and were passed over");
        }
        let placer = Placer::new(config, Arc::clone(&share), Arc::clone(&journal));
        spawn_placer(placer, Arc::clone(&journal), Arc::clone(&state.folder), order_box, send.clone());
        let now = clock::now();
        let mut daemon = Daemon {
            engine: Engine::new(policy, seed, now),
            mode,
            progress: Progress::new(mode != Mode::Run),
            scans: spawn_scanner(config, Arc::clone(&share), Arc::clone(&state.folder), send.clone())?,
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
            // A query may hold a secret, as in a presigned URL.
            config.send.url.split('?').next().unwrap_or_default()
        );
        let effects = daemon.engine.resume(past, now);
        daemon.carry_out(effects);
        Ok(daemon)
    }

    fn turn_until_done(&mut self, inbox: &Receiver<Message>) -> Ended {
        let mut next = Some(Message::Input(Input::Tick));
        loop {
            let now = clock::now();
            if let Some(slept) = self.sleep.observe(now) {
                self.turn(now, Message::Input(Input::Slept(slept)));
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
            if self.closing.is_some_and(|until| now.mono >= until || self.is_idle()) {
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
                    let worker = self.free.pop().expect("the engine sends no more files than there are workers");
                    drop(self.workers[worker].send(job));
                }
                Effect::File(filing) => {
                    self.filing += 1;
                    drop(self.orders.send(Order::File(Box::new(filing))));
                }
                Effect::Write(lines) => drop(self.orders.send(Order::Write(journal_lines(lines)))),
                Effect::Remember(memory) => drop(self.orders.send(Order::Remember(memory))),
                Effect::Note(note) => self.progress.aside(|| report::write(&note)),
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
        if self.orders.send(Order::Leave(done)).is_ok() {
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
    fn let_go(self, ended: &Ended) {
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

fn journal_lines(lines: Vec<(Rel, Stamp, Event)>) -> Vec<u8> {
    let at = clock::wall();
    lines.into_iter().flat_map(|(path, stamp, event)| Record::line(&path, stamp, at, event)).collect()
}

fn office(
    config: &Config,
    policy: &Policy,
    share: &Arc<Share>,
    journal: &Arc<Journal>,
    orders: Sender<Order>,
) -> Arc<Office> {
    Arc::new(Office {
        share: Arc::clone(share),
        journal: Arc::clone(journal),
        answers: policy.answers.clone(),
        digest: config.send.digest,
        needs_sha256: Client::needs_sha256(&config.send),
        keep: config.delivered.action == Action::Keep,
        written: Box::new(move || drop(orders.send(Order::Sync))),
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    // The deepest call is a TLS handshake; 512 KiB leave it ample room.
    let builder = thread::Builder::new().name(name.into()).stack_size(512 * 1024);
    builder.spawn(body).map(drop).map_err(|err| format!("a thread cannot be started: {err}"))
}

fn spawn_scanner(
    config: &Config,
    share: Arc<Share>,
    state: Arc<Folder>,
    inbox: SyncSender<Message>,
) -> Result<Sender<()>, String> {
    let (send, orders) = channel();
    let own = [&config.state.dir, &config.delivered.dir, &config.dead_letter.dir];
    let own = own.into_iter().filter_map(|path| below(&config.watch.dir, path)).collect();
    let filter = Filter::new(&config.watch, config.ready.marker.as_deref(), own).map_err(|err| err.to_string())?;
    let mut watcher = Watcher::default();
    spawn("scan", move || {
        while orders.recv().is_ok() {
            let mut news = || {
                let retries = watcher.changed(&state)?;
                Some(Input::Retries(retries.into_iter().map(|retry| (retry.path, retry.stamp, retry.round)).collect()))
            };
            scan::scan(&share, &filter, &mut news, &|input| inbox.send(Message::Input(input)).is_ok());
        }
    })?;
    Ok(send)
}

/// Threads for checks, if there is anything to check.
fn spawn_inspectors(config: &Config, share: &Arc<Share>, inbox: &SyncSender<Message>) -> Sender<Inspection> {
    let (send, jobs) = channel::<Inspection>();
    let jobs = Arc::new(std::sync::Mutex::new(jobs));
    for _ in 0..if config.check.reads_content() { INSPECTORS } else { 0 } {
        let inspector = Inspector {
            share: Arc::clone(share),
            check: config.check.clone(),
            digest: config.send.digest != Digest::Never || Client::needs_sha256(&config.send),
        };
        let (jobs, inbox) = (Arc::clone(&jobs), inbox.clone());
        let _ = spawn("check", move || {
            loop {
                let job = jobs.lock().expect("no thread panics with it").recv();
                let Ok(job) = job else { break };
                let inspected = inspector.inspect(&job);
                if inbox.send(Message::Input(Input::Inspected(job.file, inspected))).is_err() {
                    break;
                }
            }
        });
    }
    send
}

fn spawn_workers(
    config: &Config,
    count: usize,
    office: Arc<Office>,
    inbox: &SyncSender<Message>,
) -> Result<Vec<Sender<Delivery>>, String> {
    let shared = Shared::new(&config.send).map_err(|err| err.to_string())?;
    let mut workers = Vec::new();
    for number in 0..count {
        let mut client = Client::new(&config.send, &shared).map_err(|err| err.to_string())?;
        let (send, jobs) = channel::<Delivery>();
        let (office, inbox) = (Arc::clone(&office), inbox.clone());
        spawn("send", move || {
            let mut rested = true;
            loop {
                let job = if rested {
                    jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
                } else {
                    jobs.recv_timeout(IDLE)
                };
                match job {
                    Ok(job) => {
                        rested = false;
                        let told = deliver(&office, &mut client, &job, |delivered| {
                            inbox.send(Message::Free(number, Input::Delivered(job.file, delivered))).is_ok()
                        });
                        if !told {
                            break;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        client.rest();
                        rested = true;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        })?;
        workers.push(send);
    }
    Ok(workers)
}

/// What the filing thread does at a time.
#[derive(Default)]
struct Group {
    filings: Vec<Filing>,
    lines: Vec<u8>,
    memory: Option<Memory>,
    leave: Option<Sender<()>>,
}

impl Group {
    fn take(&mut self, order: Order) {
        match order {
            Order::File(filing) => self.filings.push(*filing),
            Order::Write(lines) => self.lines.extend(lines),
            Order::Remember(memory) => self.memory = Some(memory),
            Order::Sync => {}
            Order::Leave(done) => self.leave = Some(done),
        }
    }
}

/// One thread files everything away, in groups of what has come meanwhile.
fn spawn_placer(
    placer: Placer,
    journal: Arc<Journal>,
    state: Arc<Folder>,
    orders: Receiver<Order>,
    inbox: SyncSender<Message>,
) {
    let body = move || {
        let mut last: Option<Instant> = None;
        let mut trouble: Option<Trouble> = None;
        let mut low = false;
        loop {
            if journal.is_low() && !watch_room(&journal, &mut low, &inbox) {
                return;
            }
            // A line that came during an fsync, or from here, has woken nobody.
            let pause = match (journal.is_pending() || low, &trouble) {
                (false, _) => Duration::MAX,
                (true, None) => SYNC,
                (true, Some(_)) => AGAIN,
            };
            let first = match orders.recv_timeout(pause) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => Order::Sync,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut group = Group::default();
            let wait = matches!(first, Order::Sync);
            group.take(first);
            // What is accepted is filed at once; where nothing is filed, the lines of a
            // while share one fsync.
            if wait && let Ok(order) = orders.recv_timeout(SYNC) {
                group.take(order);
            }
            let until = last.map(|last| last + APART);
            while group.filings.len() < GROUP && group.leave.is_none() {
                let wait = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
                let Ok(order) = orders.recv_timeout(wait) else { break };
                group.take(order);
            }
            last = Some(Instant::now());
            let Group { filings: group, lines, memory, leave } = group;
            if !lines.is_empty()
                && let Err(err) = journal.append(&lines)
            {
                // They come again: the next process finds the same files missing.
                log::warn!(target: "dirpost", "journal: what is missing could not be noted: {}", explain(&err));
            }
            if let Some(Err(err)) = memory.map(|memory| memory::write(&state, &memory)) {
                log::warn!(target: "dirpost", "what was learned could not be kept for the next start: {}", explain(&err));
            }
            let synced = if group.is_empty() {
                journal.sync(clock::wall())
            } else {
                let Placed { filed, synced } = placer.place(&group);
                for (file, filed) in filed {
                    if inbox.send(Message::Input(Input::Filed(file, filed))).is_err() {
                        return;
                    }
                }
                synced
            };
            match synced {
                Ok(()) => trouble = None,
                Err(err) => {
                    let now = clock::now().mono;
                    if trouble.as_mut().is_none_or(|trouble| trouble.remind(now)) {
                        let why = crate::shell::share::explain(&err);
                        log::warn!(target: "dirpost", "bringing the journal, or what was filed, onto the disk failed: {why}");
                    }
                    trouble.get_or_insert_with(|| Trouble::new(now));
                }
            }
            if let Some(done) = leave {
                let _ = journal.sync(clock::wall());
                let _ = done.send(());
            }
        }
    };
    if let Err(why) = spawn("file", body) {
        log::error!(target: "dirpost", "{why}");
    }
}

/// Tells the engine that the journal has used its reserve up, and when it is there again. Gives
/// whether anybody listens.
fn watch_room(journal: &Journal, low: &mut bool, inbox: &SyncSender<Message>) -> bool {
    let restored = journal.restore_reserve();
    let said = match &restored {
        Ok(()) => Some(Ok(())),
        Err(err) => (!*low).then(|| Err(explain(err))),
    };
    *low = restored.is_err();
    said.is_none_or(|room| inbox.send(Message::Input(Input::Room(room))).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::job::{Destination, Reason};
    use crate::flow::time::Wall;
    use crate::shell::testing::TempDir;

    #[test]
    fn what_was_filed_is_brought_onto_the_disk_with_no_further_order() {
        let dir = TempDir::new();
        let config = crate::config::from_dir_and_url(dir.path(), "http://127.0.0.1:9/").unwrap();
        let Opened { share, journal, state: opened_state, .. } =
            *open_all(&config, false).unwrap_or_else(|_| panic!("open"));
        std::fs::write(dir.path().join("bad"), "x").unwrap();
        let (share, journal) = (Arc::new(share), Arc::new(journal));
        let look = share.folder().look(b"bad").unwrap().unwrap();
        let reason = Reason {
            reason: "bad".into(),
            status: None,
            body: Vec::new(),
            attempts: 0,
            first_seen: Wall(1),
            dead_at: Wall(1),
            key: "k".into(),
        };
        let to = Destination::DeadLetter(Box::new(reason));
        let filing = Filing { file: 1, path: Rel::new(b"bad"), look, to, marker: None, unwritten: None, resumed: None };
        let (orders, order_box) = channel();
        let (send, inbox) = sync_channel(8);
        let state = Arc::clone(&opened_state.folder);
        spawn_placer(Placer::new(&config, share, Arc::clone(&journal)), Arc::clone(&journal), state, order_box, send);
        orders.send(Order::File(Box::new(filing))).unwrap();
        inbox.recv().unwrap();
        assert!(journal.is_pending());
        let started = clock::now().mono;
        while journal.is_pending() {
            assert!(clock::now().mono.since(started) < 10 * SYNC, "it is never brought onto the disk");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
