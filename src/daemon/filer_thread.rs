//! The filing thread: files away, and writes the journal and the memory, in batches.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::inbox::{Mailbox, Message};
use super::retry_news::RetryNews;
use super::spawn::spawn;
use crate::flow::alarm::Alarm;
use crate::flow::file::{FileNo, Rel};
use crate::flow::filing::{Filed, Filing};
use crate::flow::journal::Entry;
use crate::flow::memory::Memory;
use crate::flow::messages::{Expired, FolderRemoved, Input};
use crate::io::Gone;
use crate::io::dir::Dir;
use crate::io::filing::Filer;
use crate::io::journal::Journal;
use crate::io::memory_file;
use crate::io::os::clock;
use crate::io::os::error::explain;

/// Upper bound on the files that are filed away as one batch.
const BATCH_MAX: usize = 512;
/// Interval between the beginnings of two batches: a few large ones cost less than many small ones.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Upper bound on the time that a line of the journal waits for the disk.
const SYNC_WITHIN: Duration = Duration::from_millis(500);
/// Pause after an fsync that failed.
const SYNC_RETRY: Duration = Duration::from_secs(5);

/// What the filing thread is asked for.
#[derive(Debug)]
pub(super) enum FilerCommand {
    File(Box<Filing>),
    /// Remove a folder if it is empty.
    RemoveFolder(Rel),
    /// Remove some of what has been in `done` for long enough.
    Expire,
    /// Events for the journal, about versions that it knows.
    Write(Vec<Entry>),
    Remember(Memory),
    /// The journal has lines that wait for an fsync.
    Sync,
    /// `watch.threads` is another one.
    Threads(usize),
    /// All that was asked for before is to be on the disk; then the sender is told.
    Flush(Sender<()>),
}

/// What the thread owns.
pub(super) struct FilerThread {
    pub(super) filer: Filer,
    pub(super) journal: Arc<Journal>,
    pub(super) state: Arc<Dir>,
    pub(super) retries: Arc<RetryNews>,
    pub(super) commands: Receiver<FilerCommand>,
    pub(super) mailbox: Mailbox,
}

/// What is done at a time.
#[derive(Debug, Default)]
struct Batch {
    filings: Vec<Filing>,
    /// Folders that are to be removed.
    emptied: Vec<Rel>,
    expires: bool,
    events: Vec<Entry>,
    threads: Option<usize>,
    memory: Option<Memory>,
    flushed: Option<Sender<()>>,
}

/// What came of a batch.
struct Outcome {
    filed: Vec<(FileNo, Filed)>,
    removed: Vec<(Rel, FolderRemoved)>,
    expired: Option<Expired>,
    /// Whether it is on the disk, and the journal with it; else why not.
    synced: Result<(), String>,
    flushed: Option<Sender<()>>,
}

/// What the thread remembers from batch to batch.
#[derive(Debug, Default)]
struct Health {
    /// The next batch begins no sooner than this.
    next_batch: Option<Instant>,
    /// Since when lines of the journal have been waiting for the disk, as far as was looked.
    pending_since: Option<Instant>,
    /// Nothing gets onto the disk.
    sync_alarm: Alarm,
    /// The engine has been told that the journal's reserve is used up, or that lines are owed.
    is_low: bool,
}

impl Health {
    /// How long lines wait for the disk.
    fn sync_interval(&self) -> Duration {
        if self.sync_alarm.is_raised() {
            SYNC_RETRY
        } else {
            SYNC_WITHIN
        }
    }
}

impl Batch {
    /// Nothing more belongs to it: it has as many files as it may, or somebody waits for its end.
    fn is_full(&self) -> bool {
        self.filings.len() >= BATCH_MAX || self.flushed.is_some()
    }

    fn take(&mut self, command: FilerCommand) {
        match command {
            FilerCommand::File(filing) => self.filings.push(*filing),
            FilerCommand::RemoveFolder(path) => self.emptied.push(path),
            FilerCommand::Expire => self.expires = true,
            FilerCommand::Write(events) => self.events.extend(events),
            FilerCommand::Remember(memory) => self.memory = Some(memory),
            FilerCommand::Sync => {}
            FilerCommand::Threads(threads) => self.threads = Some(threads),
            FilerCommand::Flush(done) => self.flushed = Some(done),
        }
    }
}

impl FilerThread {
    /// Starts it. It lives until its session is over, or the other end of `commands` is dropped.
    ///
    /// # Errors
    /// A sentence, if the system gives the process no more threads.
    pub(super) fn start(mut self) -> Result<(), String> {
        spawn("file", move || {
            let mut health = Health::default();
            while self.turn(&mut health).is_ok() {}
            self.journal.stop_rewriting();
        })
    }

    fn turn(&mut self, health: &mut Health) -> Result<(), Gone> {
        self.journal
            .rewrite_in_background(|rewrite| spawn("journal", rewrite));
        if self.journal.is_low() || health.is_low {
            self.restore_reserve(health)?;
        }
        let batch = self.next_batch(health)?;
        let mut outcome = self.carry_out(batch);
        if self.is_sync_due(health) {
            outcome.synced = outcome.synced.and_then(|()| self.sync());
        }
        self.report(outcome, health)
    }

    /// Whether lines have been waiting for the disk for too long. Files bring them there on their
    /// way, but for those that cannot be moved: they come again and again, and may leave this
    /// thread no time to be idle.
    fn is_sync_due(&self, health: &mut Health) -> bool {
        if !self.journal.is_pending() {
            health.pending_since = None;
            return false;
        }
        let since = *health.pending_since.get_or_insert_with(Instant::now);
        let is_due = since.elapsed() >= health.sync_interval();
        if is_due {
            health.pending_since = None;
        }
        is_due
    }

    fn sync(&self) -> Result<(), String> {
        let synced = self.journal.sync(clock::wall());
        synced.map_err(|err| self.journal.fault(&err))
    }

    /// Waits for something to do, and takes what else has come meanwhile.
    fn next_batch(&self, health: &mut Health) -> Result<Batch, Gone> {
        // Only the first line after an fsync comes with a command. One that was written during an
        // fsync, or by this thread, is waiting for the disk and nobody has said so.
        let is_due = self.journal.is_pending() || health.is_low;
        let bound = is_due.then(|| health.sync_interval());
        let first = match bound {
            None => self.commands.recv().map_err(|_| Gone)?,
            Some(bound) => match self.commands.recv_timeout(bound) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => FilerCommand::Sync,
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            },
        };
        let mut batch = Batch::default();
        // What was accepted is filed at once; where nothing is filed (`keep`), all lines of half
        // a second share one fsync.
        let may_wait = matches!(first, FilerCommand::Sync);
        batch.take(first);
        if may_wait && let Ok(command) = self.commands.recv_timeout(SYNC_WITHIN) {
            batch.take(command);
        }
        // Not by waiting for the next command: each of them would wake this thread.
        let until = health.next_batch.take();
        if batch.flushed.is_none()
            && let Some(left) = until.and_then(|it| it.checked_duration_since(Instant::now()))
        {
            thread::sleep(left);
        }
        while !batch.is_full()
            && let Ok(command) = self.commands.try_recv()
        {
            batch.take(command);
        }
        // What is left behind a full batch waits for nothing.
        if !batch.is_full() {
            health.next_batch = Some(Instant::now() + BATCH_INTERVAL);
        }
        Ok(batch)
    }

    fn carry_out(&mut self, batch: Batch) -> Outcome {
        let Batch {
            filings,
            emptied,
            expires,
            events,
            threads,
            memory,
            flushed,
        } = batch;
        if let Some(threads) = threads {
            self.filer.set_threads(threads);
        }
        if !events.is_empty()
            && let Err(err) = self.journal.append(&events)
        {
            // They are only about kept files that are missing or back, which the next process
            // finds out by itself.
            log::warn!(
                target: "dirpost",
                "journal: what is missing could not be noted: {}",
                self.journal.fault(&err)
            );
        }
        if let Some(memory) = memory
            && let Err(err) = memory_file::write(&self.state, &memory)
        {
            log::warn!(
                target: "dirpost",
                "what was learned could not be kept for the next start: {}",
                explain(&err)
            );
        }
        let removed = emptied.into_iter().map(|path| {
            let result = self.filer.remove_folder(&path);
            (path, result)
        });
        let removed = removed.collect();
        let (filed, synced) = if filings.is_empty() {
            (Vec::new(), self.sync())
        } else {
            let (filed, synced) = self.filer.file(filings);
            (filed, synced.map_err(|fault| fault.why))
        };
        let expired = expires.then(|| self.filer.expire());
        Outcome {
            filed,
            removed,
            expired,
            synced,
            flushed,
        }
    }

    fn report(&self, outcome: Outcome, health: &mut Health) -> Result<(), Gone> {
        if self.journal.owes() {
            // What was filed seems to say that the journal can be written: this comes first.
            self.restore_reserve(health)?;
        }
        let met_another = |filed: &Filed| matches!(filed, Filed::NewVersion(Some(_)));
        if outcome.filed.iter().any(|(_, filed)| met_another(filed)) {
            self.retries.tell()?;
        }
        if !outcome.filed.is_empty() {
            self.mailbox.send_unhurried(Message::Filed(outcome.filed))?;
        }
        for (path, result) in outcome.removed {
            self.mailbox.input(Input::FolderRemoved(path, result))?;
        }
        if let Some(expired) = outcome.expired {
            self.mailbox.input(Input::Expired(expired))?;
        }
        let now = clock::now().mono;
        match outcome.synced {
            Ok(()) => drop(health.sync_alarm.clear(now)),
            Err(why) => {
                if health.sync_alarm.raise(&why, now).is_some() {
                    log::warn!(
                        target: "dirpost",
                        "bringing the journal, or what was filed, onto the disk failed: {why}"
                    );
                }
            }
        }
        if let Some(flushed) = outcome.flushed {
            // What the filer has written behind its own sync.
            let _ = self.journal.sync(clock::wall());
            let _ = flushed.send(());
        }
        Ok(())
    }

    /// Tries to make the journal's reserve again, and to write what is owed. Tells the engine that
    /// there is no room, once, and when it is there again.
    fn restore_reserve(&self, health: &mut Health) -> Result<(), Gone> {
        let restored = self
            .journal
            .restore_reserve()
            .and_then(|()| self.journal.append(&[]).map(drop));
        let was_low = std::mem::replace(&mut health.is_low, restored.is_err());
        match restored {
            Ok(()) => self.mailbox.input(Input::Room(Ok(()))),
            Err(_) if was_low => Ok(()),
            Err(err) => self
                .mailbox
                .input(Input::Room(Err(self.journal.fault(&err)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::config::Config;
    use crate::daemon::inbox::Inbox;
    use crate::daemon::opened::{Opened, open_all};
    use crate::flow::file::Rel;
    use crate::flow::filing::{Acceptance, Fate, Progress, Reason};
    use crate::flow::journal::Event;
    use crate::io::share::{Opening, Share};
    use crate::io::testing::TempDir;

    /// A thread that files in `dir`.
    struct Started {
        commands: Sender<FilerCommand>,
        inbox: Inbox,
        journal: Arc<Journal>,
        share: Arc<Share>,
    }

    fn config(dir: &Path) -> Config {
        crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").unwrap()
    }

    fn start(config: &Config) -> Started {
        let opened = open_all(config, &Opening::default()).unwrap();
        let Opened {
            share,
            journal,
            state,
            past,
            ..
        } = *opened;
        let (share, journal) = (Arc::new(share), Arc::new(journal));
        let (commands, receiver) = channel();
        let inbox = Inbox::new(None);
        let mailbox = inbox.next_epoch();
        let state = &state.folder;
        let thread = FilerThread {
            filer: Filer::new(
                config,
                (Arc::clone(&share), Arc::clone(state)),
                Arc::clone(&journal),
                &past,
            ),
            journal: Arc::clone(&journal),
            state: Arc::clone(state),
            retries: Arc::new(RetryNews::new(Arc::clone(state), mailbox.clone())),
            commands: receiver,
            mailbox,
        };
        thread.start().unwrap();
        Started {
            commands,
            inbox,
            journal,
            share,
        }
    }

    /// The file `x` with what has become of it.
    fn filing(share: &Share, fate: Fate, progress: Progress) -> Filing {
        Filing {
            file: FileNo(1),
            path: Rel::new(b"x"),
            look: share.folder().look(b"x").unwrap().unwrap(),
            sha256: None,
            marker: None,
            fate,
            receipt: None,
            progress,
        }
    }

    /// Waits until no line waits for the disk, and does something meanwhile.
    fn wait_synced(journal: &Journal, mut meanwhile: impl FnMut()) {
        let started = Instant::now();
        while journal.is_pending() {
            assert!(
                started.elapsed() < 10 * SYNC_WITHIN,
                "it is never brought onto the disk"
            );
            meanwhile();
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn what_was_filed_is_brought_onto_the_disk_with_no_further_command() {
        let dir = TempDir::new();
        std::fs::write(dir.path().join("x"), "x").unwrap();
        let filer = start(&config(dir.path()));
        let fate = Fate::Condemned(Box::new(Reason::any()));
        let job = filing(&filer.share, fate, Progress::Unwritten);
        filer
            .commands
            .send(FilerCommand::File(Box::new(job)))
            .unwrap();
        assert!(matches!(
            filer.inbox.receive(None),
            Some(Message::Filed(files)) if matches!(files[..], [(FileNo(1), _)])
        ));
        assert!(filer.journal.is_pending());
        wait_synced(&filer.journal, || {});
    }

    #[test]
    fn lines_get_onto_the_disk_in_time_while_a_file_that_cannot_be_filed_comes_again_and_again() {
        let dir = TempDir::new();
        std::fs::write(dir.path().join("x"), "x").unwrap();
        let blocked = TempDir::new();
        std::fs::write(blocked.path().join("file"), "").unwrap();
        let mut config = config(dir.path());
        config.delivered.dir = blocked.path().join("file/done");
        let filer = start(&config);
        let acceptance = Acceptance {
            key: "k".into(),
            status: 200,
        };
        let job = filing(
            &filer.share,
            Fate::Accepted(acceptance.clone()),
            Progress::Written,
        );
        // As a worker writes it.
        let accepted = Entry {
            path: job.path.clone(),
            stamp: job.look.stamp,
            event: Event::accepted(&acceptance, None, false),
        };
        filer.journal.append(&[accepted]).unwrap();
        wait_synced(&filer.journal, || {
            let again = FilerCommand::File(Box::new(job.clone()));
            filer.commands.send(again).unwrap();
            while filer.inbox.receive_now().is_some() {}
        });
    }
}
