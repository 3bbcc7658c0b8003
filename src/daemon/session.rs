//! One opening of the folder: the engine, its threads, and what is carried between them.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::filer_thread::{FilerCommand, FilerThread};
use super::inbox::{INBOX_MAX, Inbox, Mailbox, Message};
use super::opened::Opened;
use super::reload::{Reloaded, Taken};
use super::retry_news::RetryNews;
use super::rules::{Common, Rules};
use super::spawn::spawn;
use super::threads::{Ordered, ScanCommand, Scanner, on_written, spawn_inspectors, spawn_scanner};
use super::workers::Workers;
use super::{Mode, Process, fail};
use crate::cli::exit::Exit;
use crate::cli::progress::Progress;
use crate::config::Config;
use crate::flow::engine::{Engine, Handover};
use crate::flow::file::FileNo;
use crate::flow::filing::Filed;
use crate::flow::messages::{
    Closing, Command, Delivered, Effect, Finish, Input, Inspection, Settings,
};
use crate::flow::policy::Policy;
use crate::flow::status::{Pace, Pulse};
use crate::flow::time::{Mono, Now};
use crate::io::filing::Filer;
use crate::io::http::Shared;
use crate::io::journal::Journal;
use crate::io::logging::words;
use crate::io::os::clock;
use crate::io::os::lock;
use crate::io::os::memory;
use crate::io::os::random;
use crate::io::share::state::StateDir;
use crate::io::share::{Before, Share};
use crate::io::status;
use crate::io::upload::BytesOut;

/// How long what is under way may take, beyond the time that an endpoint has to answer, before all
/// is opened again; what takes longer hangs with its share.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);
/// How long the closing of the old handles is waited for before all is opened again.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);
/// How long the closing of files is waited for at the end of the process.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);
/// How long the journal is waited for at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// How long a rewriting of the journal is waited for at the end of `once`: a million lines take a few
/// seconds, and what is not waited for is done again by the next run.
const REWRITE_WITHIN: Duration = Duration::from_secs(60);

/// How a session ends.
pub(super) enum Ended {
    /// The process is at its end.
    Left(Exit),
    /// All is to be opened again; what is known so far, and of the share.
    Reopen(Box<Handover>, Before),
}

/// The engine with its threads.
pub(super) struct Session {
    engine: Engine,
    /// The engine has finished, and how.
    finish: Option<Finish>,
    process: Arc<Process>,
    progress: Progress,
    threads: Threads,
    /// Where the status is left to be written, and when it is.
    board: status::Board,
    pace: Pace,
    /// All is opened again when nothing is under way, or at this moment.
    closing: Option<Mono>,
    /// How long an endpoint may take to answer.
    answer_timeout: Duration,
    share: Arc<Share>,
    journal: Arc<Journal>,
    /// Holds the lock.
    state: StateDir,
    /// A share was mounted over the folder: what is known of this one says nothing of that.
    mounted_over: bool,
}

/// Where the threads take their orders from, and what they have in hand.
struct Threads {
    scans: Sender<Ordered<ScanCommand>>,
    /// `None` where nothing is checked.
    inspections: Option<Sender<Ordered<Inspection>>>,
    workers: Workers,
    filer: Sender<FilerCommand>,
    /// How many files the filing thread has not answered for.
    filing: usize,
    /// What orders are to be carried out by.
    rules: Arc<Rules>,
    common: Common,
    retries: Arc<RetryNews>,
    mailbox: Mailbox,
}

impl Threads {
    /// Starts them all: one that scans, the inspectors, so many `workers`, and one that files.
    ///
    /// # Errors
    /// A sentence: the system gives the process no more threads, or what one of them needs is not to
    /// be had.
    fn start(
        config: &Config,
        workers: usize,
        scanner: Scanner,
        journal: Arc<Journal>,
        past: &Handover,
    ) -> Result<Threads, String> {
        let (share, mailbox) = (Arc::clone(&scanner.share), scanner.mailbox.clone());
        let state = Arc::clone(&scanner.state);
        let retries = Arc::new(RetryNews::new(Arc::clone(&state), mailbox.clone()));
        let (filer, commands) = channel();
        let common = Common {
            written: on_written(&journal, &filer, &mailbox),
            share: Arc::clone(&share),
            journal: Arc::clone(&journal),
            out: BytesOut::default(),
        };
        let http = Shared::new(&config.send).map_err(|err| err.to_string())?;
        let rules = Rules::new(config, &common, http, past.send.clone())?;
        let thread = FilerThread {
            filer: Filer::new(
                config,
                (share, Arc::clone(&state)),
                Arc::clone(&journal),
                past,
            ),
            journal,
            state,
            retries: Arc::clone(&retries),
            commands,
            mailbox: mailbox.clone(),
        };
        thread.start()?;
        let mut threads = Threads {
            scans: spawn_scanner(scanner, Arc::clone(&rules), &retries)?,
            inspections: None,
            workers: Workers::new(Arc::clone(&retries), mailbox.clone()),
            filer,
            filing: 0,
            rules: Arc::clone(&rules),
            common,
            retries,
            mailbox,
        };
        threads.follow(rules, workers)?;
        Ok(threads)
    }

    /// Has what is ordered from now on carried out by these rules, with so many workers at least. Of
    /// workers that are too many those that have been idle for longest are given no more orders.
    ///
    /// # Errors
    /// A sentence: the system gives the process no more threads. Then the rules stay as they were.
    fn follow(&mut self, rules: Arc<Rules>, workers: usize) -> Result<(), String> {
        self.workers.set_number(workers, &rules)?;
        if self.inspections.is_none() && rules.inspector.check.reads_content() {
            self.inspections = Some(spawn_inspectors(&self.retries, &self.mailbox)?);
        }
        if rules.threads != self.rules.threads {
            // Where it is gone, so is the session.
            let _ = self.filer.send(FilerCommand::Threads(rules.threads));
        }
        self.rules = rules;
        Ok(())
    }
}

/// Has the lock looked at while answers are awaited; what is found out there is looked into by a
/// scan.
///
/// # Errors
/// A sentence: the system gives the process no more threads.
fn watch_over(share: &Arc<Share>, journal: &Arc<Journal>, mailbox: &Mailbox) -> Result<(), String> {
    let scan_now = mailbox.clone();
    let watched = share.watch_over(journal, move || {
        // Nobody waits for it only at the end of the session.
        let _ = scan_now.input(Input::Command(Command::Scan));
    });
    watched.map_err(|err| format!("a thread cannot be started: {err}"))
}

impl Session {
    /// Starts the threads, and the engine with what is known from before.
    ///
    /// # Errors
    /// A sentence: something that every file needs is not to be had (threads, the CA of
    /// `send.tls`, randomness).
    pub(super) fn start(
        process: &Arc<Process>,
        opened: Opened,
        mailbox: &Mailbox,
    ) -> Result<Session, String> {
        let config = &*process.config();
        say_of_journal(config, &opened);
        let Opened {
            share,
            state,
            journal,
            mut past,
            ..
        } = opened;
        let (share, journal) = (Arc::new(share), Arc::new(journal));
        let policy = Policy::new(config, &state.id, process.ending());
        watch_over(&share, &journal, mailbox)?;
        let scanner = Scanner {
            share: Arc::clone(&share),
            state: Arc::clone(&state.folder),
            mailbox: mailbox.clone(),
        };
        let threads = Threads::start(config, policy.workers, scanner, Arc::clone(&journal), &past)?;
        past.wanted = Some(threads.rules.filter.clone());
        let now = clock::now();
        let latest = Arc::clone(&process.latest);
        let (board, writer) = status::board(latest, Arc::clone(&state.folder));
        spawn("status", move || writer.run())?;
        let mut session = Session {
            engine: Engine::new(policy, seed()?, now),
            board,
            pace: Pace::default(),
            finish: None,
            process: Arc::clone(process),
            progress: Progress::new(process.mode != Mode::Run, &process.log, &threads.common.out),
            threads,
            closing: None,
            answer_timeout: answer_timeout(config),
            share,
            journal,
            state,
            mounted_over: false,
        };
        log::info!(
            target: "dirpost",
            "dirpost {}: {} to {}",
            env!("CARGO_PKG_VERSION"),
            config.watch.dir.display(),
            config.send.url.shown()
        );
        let effects = session.engine.resume(past, now);
        session.carry_out(now, effects);
        Ok(session)
    }

    /// Works until the engine has finished, or until all is to be opened again.
    pub(super) fn run(&mut self, inbox: &Inbox) -> Ended {
        let mut next = None;
        loop {
            let now = clock::now();
            match next.take() {
                Some(message) => self.on_messages(now, message, inbox),
                None => self.turn(now, Input::Tick),
            }
            if let Some(finish) = self.finish {
                return Ended::Left(self.leave(finish));
            }
            if self
                .closing
                .is_some_and(|until| now.mono >= until || self.threads.are_idle())
            {
                return self.close(inbox);
            }
            self.progress.show(|| self.engine.tally());
            let closing = self.closing.map(|until| self.end_uploads(until, now.mono));
            let wake = [self.engine.wake_at(), closing, self.report(now, inbox)];
            let wake = wake.into_iter().flatten().min();
            next = inbox.receive(wake.map(|wake| wake.since(clock::now().mono)));
        }
    }

    /// Leaves the status to be written if that is due; gives the next moment to look. While all is about
    /// to be opened again the folder may be another process's.
    fn report(&mut self, now: Now, inbox: &Inbox) -> Option<Mono> {
        if self.closing.is_some() {
            return None;
        }
        let turn = {
            let (engine, process) = (&self.engine, &self.process);
            self.pace.turn(now.mono, || pulse(engine, process))
        };
        if turn.is_due {
            let status = self.board.leave(self.engine.work(now), now.wall);
            inbox.status(|| status::words::sentence(&status.work, now.wall));
        }
        Some(turn.next)
    }

    /// Goes by a configuration that was read again, if it can be.
    fn reload(&mut self, now: Now, reloaded: Reloaded) {
        let process = Arc::clone(&self.process);
        process.take_over(reloaded, |taken| {
            let Taken {
                config,
                http,
                send,
                rechecks,
            } = taken;
            let rules = Rules::new(&config, &self.threads.common, http, send.clone())?;
            let policy = Policy::new(&config, &self.state.id, process.ending());
            self.threads.follow(Arc::clone(&rules), policy.workers)?;
            self.answer_timeout = answer_timeout(&config);
            let settings = Settings {
                policy,
                filter: rules.filter.clone(),
                send,
                rechecks,
            };
            self.turn(now, Input::Settings(Box::new(settings)));
            Ok(())
        });
    }

    /// Takes in a message and what else is in the inbox, no more than it holds at a time: what
    /// the engine wants to do by the clock is not put off for ever.
    fn on_messages(&mut self, now: Now, first: Message, inbox: &Inbox) {
        self.on_message(now, first);
        for _ in 1..INBOX_MAX {
            if self.finish.is_some() {
                return;
            }
            let Some(message) = inbox.receive_now() else {
                return;
            };
            self.on_message(now, message);
        }
    }

    fn on_message(&mut self, now: Now, message: Message) {
        let input = match message {
            Message::Input(input) => input,
            Message::WorkerFree { worker, input } => {
                self.threads.workers.came_free(worker, &input);
                input
            }
            Message::Filed(files) => return self.on_filed(now, files),
            // The opening of this session was the first thing that was heard.
            Message::Opened(_) => return,
            Message::Reloaded(reloaded) => return self.reload(now, reloaded),
        };
        if let Input::Closing(why) = &input {
            self.mounted_over = matches!(why, Closing::MountedOver);
            self.closing = Some(now.mono + self.answer_timeout + CLOSE_WITHIN);
        }
        self.turn(now, input);
    }

    fn on_filed(&mut self, now: Now, files: Vec<(FileNo, Filed)>) {
        for (file, filed) in files {
            self.threads.filing -= 1;
            self.turn(now, Input::Filed(file, filed));
        }
    }

    fn turn(&mut self, now: Now, input: Input) {
        let effects = self.engine.on(now, input);
        self.carry_out(now, effects);
    }

    fn carry_out(&mut self, now: Now, effects: Vec<Effect>) {
        let mut back = Vec::new();
        for effect in effects {
            match effect {
                Effect::Note(note) => words::write(&note),
                Effect::Finish(how) => self.finish = Some(how),
                Effect::GiveMemoryBack => memory::give_back(),
                Effect::Recall => back.extend(self.threads.workers.recall()),
                other => self.threads.order(other),
            }
        }
        for file in back {
            self.turn(now, Input::Delivered(file, Delivered::NotBegun));
        }
    }

    /// What the endpoint has whole by now may still be answered before all is closed; what it
    /// gets later could not be written down. Gives the next moment to look.
    fn end_uploads(&self, until: Mono, now: Mono) -> Mono {
        let end = until - self.answer_timeout;
        if now < end {
            return end;
        }
        self.share.end();
        until
    }

    /// What the next engine goes on with.
    fn close(&mut self, inbox: &Inbox) -> Ended {
        if !self.threads.are_idle() {
            log::warn!(
                target: "dirpost",
                "something still hangs in the folder as it was: all is opened again without it"
            );
        }
        self.threads.flush_journal();
        // What has come meanwhile is known as well: else it would be filed, or sent, once more. A
        // command stays where it is, for whoever opens the folder next.
        while let Some(message) = inbox.report_now() {
            self.on_message(clock::now(), message);
            if let Some(finish) = self.finish {
                return Ended::Left(self.leave(finish));
            }
        }
        let before = if self.mounted_over {
            Before::Nothing
        } else {
            Before::Had(self.state.id.clone())
        };
        Ended::Reopen(Box::new(self.engine.past(clock::now())), before)
    }

    /// Closes everything. On a share that hangs a close hangs as well: at the end of the process
    /// that is the system's, else another thread's.
    pub(super) fn release(self, ended: Ended) -> Ended {
        if let Ended::Left(_) = ended {
            std::mem::forget(self);
            return ended;
        }
        // Shared, so that it is not closed here where the thread cannot be started.
        let held = Arc::new(Mutex::new(Some(self)));
        let to_drop = Arc::clone(&held);
        let (done, wait) = channel();
        let closing = spawn("close", move || {
            drop(lock(&to_drop).take());
            let _ = done.send(());
        });
        if let Err(why) = closing {
            std::mem::forget(held);
            return Ended::Left(fail(&why));
        }
        // The lock is to be taken again. After that time it is waited for as another's would be.
        let _ = wait.recv_timeout(RELEASE_WITHIN);
        ended
    }

    fn leave(&mut self, finish: Finish) -> Exit {
        self.progress.end(self.engine.tally());
        self.threads.flush_journal();
        let now = clock::now();
        self.board.leave(self.engine.work(now), now.wall);
        self.board.close(FLUSH_WITHIN);
        if finish != Finish::Stopped {
            self.journal.wait_rewritten(REWRITE_WITHIN);
        }
        self.close_files();
        self.process.mode.finished(finish)
    }

    /// Closes the files that are held open, each in a thread of its own.
    ///
    /// On NFS 4 a close asks the server, and so does giving up a lock. The kernel lets a thread go that
    /// waits for that as soon as the process ends; but what it closes itself at the end of a process it
    /// waits for, for as long as the server is away, and no signal ends that (`nfs4_do_close` below
    /// `do_exit`, seen with Linux 6.1).
    fn close_files(&self) {
        let (done, closed) = channel();
        let files = self.journal.hand_over().into_iter();
        for file in files.chain(self.share.hand_over()) {
            let done = done.clone();
            let closing = spawn("close", move || {
                drop(file);
                drop(done);
            });
            // Then it was closed here.
            drop(closing);
        }
        drop(done);
        // Ends when the last of them has dropped its end of the channel.
        let _: Result<(), _> = closed.recv_timeout(CLOSED_WITHIN);
    }
}

impl Threads {
    /// Hands an effect to the thread whose it is.
    fn order(&mut self, effect: Effect) {
        // A thread that is gone would leave its file in the engine's hands for ever.
        const ALIVE: &str = "a thread lives as long as its session";
        let rules = Arc::clone(&self.rules);
        match effect {
            Effect::Scan(order) => {
                let order = (ScanCommand::Scan(order), rules);
                self.scans.send(order).expect(ALIVE);
            }
            Effect::Confirm => self.scans.send((ScanCommand::Confirm, rules)).expect(ALIVE),
            Effect::Inspect(job) => {
                let inspections = self.inspections.as_ref();
                let inspections = inspections.expect("nothing is checked without a check");
                inspections.send((job, rules)).expect(ALIVE);
            }
            Effect::Deliver(job) => self.workers.order((job, rules)),
            Effect::File(filing) => {
                self.filing += 1;
                self.filer.send(FilerCommand::File(filing)).expect(ALIVE);
            }
            Effect::RemoveFolder(path) => {
                let command = FilerCommand::RemoveFolder(path);
                self.filer.send(command).expect(ALIVE);
            }
            Effect::Expire => self.filer.send(FilerCommand::Expire).expect(ALIVE),
            Effect::Write(events) => {
                let entries = events.into_iter().map(Into::into).collect();
                self.filer.send(FilerCommand::Write(entries)).expect(ALIVE);
            }
            Effect::Remember(memory) => {
                let command = FilerCommand::Remember(memory);
                self.filer.send(command).expect(ALIVE);
            }
            Effect::Note(_) | Effect::Finish(_) | Effect::Recall | Effect::GiveMemoryBack => {
                unreachable!("no thread's")
            }
        }
    }

    /// Whether nobody is at a file that is being sent or filed. A check changes nothing, and a
    /// scan that hangs with its share is what all is opened again for.
    fn are_idle(&self) -> bool {
        self.workers.are_idle() && self.filing == 0
    }

    /// Lets the journal be finished, if its share lets it.
    fn flush_journal(&self) {
        let (done, wait) = channel();
        if self.filer.send(FilerCommand::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_WITHIN);
        }
    }
}

/// How long an endpoint may take to answer.
fn answer_timeout(config: &Config) -> Duration {
    config.send.response_timeout + config.send.stall_timeout
}

/// Says what was found wrong with the journal as it was opened.
fn say_of_journal(config: &Config, opened: &Opened) {
    if opened.unreadable > 0 {
        log::warn!(
            target: "dirpost",
            "journal: {} of its lines could not be read and were passed over: what they were about \
             may be sent again, under the same key",
            opened.unreadable
        );
    }
    if opened.journal.is_new() && !opened.state.is_new {
        log::warn!(
            target: "dirpost",
            "journal: it is gone from {}: what was accepted before and is still in the folder is \
             sent again, under the same key",
            config.state.dir.display()
        );
    }
}

/// What the jitter of the backoff begins with.
fn seed() -> Result<u64, String> {
    let bytes = random().map_err(|err| format!("no randomness: {err}"))?;
    Ok(bytes
        .iter()
        .take(8)
        .fold(0, |seed, &byte| seed << 8 | u64::from(byte)))
}
/// Changes with what is worth showing.
fn pulse(engine: &Engine, process: &Process) -> Pulse {
    let Pulse(pulse) = engine.pulse();
    Pulse(pulse.wrapping_add(process.reloads()))
}
