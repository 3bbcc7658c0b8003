//! The threads: each takes its orders from a channel, and answers into the inbox.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Action, Config};
use crate::flow::alarm::Alarm;
use crate::flow::engine::{INSPECTORS, Policy};
use crate::flow::file::{Rel, Stamp};
use crate::flow::journal::{Event, Record};
use crate::flow::memory::Memory;
use crate::flow::messages::{Delivery, Filing, Input, Inspection};
use crate::flow::scan::filter::Filter;
use crate::io::check::Inspector;
use crate::io::dir::Dir;
use crate::io::dir::below;
use crate::io::fault::explain;
use crate::io::filing::{Filer, Placed};
use crate::io::http::{Client, IDLE, Shared};
use crate::io::journal::Journal;
use crate::io::memory_file;
use crate::io::os::clock;
use crate::io::retries_file::Watcher;
use crate::io::scan;
use crate::io::share::Share;
use crate::io::upload::{UploadContext, deliver};

use super::Message;

/// So many files are filed away as one group.
const GROUP: usize = 512;
/// Groups begin at least so far apart: a few large ones cost less than many small ones.
const APART: Duration = Duration::from_millis(50);
/// Lines of the journal reach the disk within this time.
const SYNC: Duration = Duration::from_millis(500);
/// After an fsync that failed the next one waits so long.
const AGAIN: Duration = Duration::from_secs(5);

/// What the filing thread is asked for.
pub(super) enum FilerCommand {
    File(Box<Filing>),
    /// Lines for the journal.
    Write(Vec<u8>),
    Remember(Memory),
    /// The journal has lines that wait for an fsync.
    Sync,
    Leave(Sender<()>),
}

pub(super) fn journal_lines(lines: Vec<(Rel, Stamp, Event)>) -> Vec<u8> {
    let at = clock::wall();
    lines
        .into_iter()
        .flat_map(|(path, stamp, event)| Record::line(&path, stamp, at, event))
        .collect()
}

pub(super) fn office(
    config: &Config,
    policy: &Policy,
    share: &Arc<Share>,
    journal: &Arc<Journal>,
    orders: Sender<FilerCommand>,
) -> Arc<UploadContext> {
    Arc::new(UploadContext {
        share: Arc::clone(share),
        journal: Arc::clone(journal),
        answers: policy.answers.clone(),
        digest: config.send.digest,
        needs_sha256: Client::needs_sha256(&config.send),
        checks_content: config.check.reads_content(),
        stall_timeout: config.send.stall_timeout,
        keep: config.delivered.action == Action::Keep,
        written: Box::new(move || drop(orders.send(FilerCommand::Sync))),
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    // The deepest call is a TLS handshake; 512 KiB leave it ample room.
    let builder = thread::Builder::new()
        .name(name.into())
        .stack_size(512 * 1024);
    builder
        .spawn(body)
        .map(drop)
        .map_err(|err| format!("a thread cannot be started: {err}"))
}

pub(super) fn spawn_scanner(
    config: &Config,
    share: Arc<Share>,
    state: Arc<Dir>,
    inbox: SyncSender<Message>,
) -> Result<Sender<()>, String> {
    let (send, orders) = channel();
    let own = [
        &config.state.dir,
        &config.delivered.dir,
        &config.dead_letter.dir,
    ];
    let own = own
        .into_iter()
        .filter_map(|path| below(&config.watch.dir, path))
        .collect();
    let filter = Filter::new(&config.watch, config.ready.marker.as_deref(), own)
        .map_err(|err| err.to_string())?;
    let mut watcher = Watcher::default();
    spawn("scan", move || {
        while orders.recv().is_ok() {
            let mut news = || {
                let retries = watcher.changed(&state)?;
                Some(Input::Retries(
                    retries
                        .into_iter()
                        .map(|retry| (retry.path, retry.stamp, retry.round))
                        .collect(),
                ))
            };
            scan::scan(&share, &filter, &mut news, &|input| {
                inbox.send(Message::Input(input)).is_ok()
            });
        }
    })?;
    Ok(send)
}

/// Threads for checks, if there is anything to check.
pub(super) fn spawn_inspectors(
    config: &Config,
    share: &Arc<Share>,
    inbox: &SyncSender<Message>,
) -> Sender<Inspection> {
    let (send, jobs) = channel::<Inspection>();
    let jobs = Arc::new(std::sync::Mutex::new(jobs));
    for _ in 0..if config.check.reads_content() {
        INSPECTORS
    } else {
        0
    } {
        let inspector = Inspector {
            share: Arc::clone(share),
            check: config.check.clone(),
            // What is sent is held to it, whether a header shows it or not.
            digest: true,
        };
        let (jobs, inbox) = (Arc::clone(&jobs), inbox.clone());
        let _ = spawn("check", move || {
            loop {
                let job = jobs.lock().expect("no thread panics with it").recv();
                let Ok(job) = job else { break };
                let inspected = inspector.inspect(&job);
                if inbox
                    .send(Message::Input(Input::Inspected(job.file, inspected)))
                    .is_err()
                {
                    break;
                }
            }
        });
    }
    send
}

pub(super) fn spawn_workers(
    config: &Config,
    count: usize,
    office: Arc<UploadContext>,
    inbox: &SyncSender<Message>,
) -> Result<Vec<Sender<Delivery>>, String> {
    let shared = Shared::new(&config.send).map_err(|err| err.to_string())?;
    let mut workers = Vec::new();
    for number in 0..count {
        let mut client = Client::new(&config.send, &shared);
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
                            inbox
                                .send(Message::Free(number, Input::Delivered(job.file, delivered)))
                                .is_ok()
                        });
                        if !told {
                            break;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        client.close_idle();
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
struct Batch {
    filings: Vec<Filing>,
    lines: Vec<u8>,
    memory: Option<Memory>,
    leave: Option<Sender<()>>,
}

impl Batch {
    fn take(&mut self, order: FilerCommand) {
        match order {
            FilerCommand::File(filing) => self.filings.push(*filing),
            FilerCommand::Write(lines) => self.lines.extend(lines),
            FilerCommand::Remember(memory) => self.memory = Some(memory),
            FilerCommand::Sync => {}
            FilerCommand::Leave(done) => self.leave = Some(done),
        }
    }
}

/// One thread files everything away, in groups of what has come meanwhile.
pub(super) fn spawn_placer(
    placer: Filer,
    journal: Arc<Journal>,
    state: Arc<Dir>,
    orders: Receiver<FilerCommand>,
    inbox: SyncSender<Message>,
) {
    let body = move || {
        let mut last: Option<Instant> = None;
        let mut trouble: Option<Alarm> = None;
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
                Err(RecvTimeoutError::Timeout) => FilerCommand::Sync,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut group = Batch::default();
            let wait = matches!(first, FilerCommand::Sync);
            group.take(first);
            // What is accepted is filed at once; where nothing is filed, the lines of a
            // while share one fsync.
            if wait && let Ok(order) = orders.recv_timeout(SYNC) {
                group.take(order);
            }
            let until = last.map(|last| last + APART);
            while group.filings.len() < GROUP && group.leave.is_none() {
                let wait = until.map_or(Duration::ZERO, |until| {
                    until.saturating_duration_since(Instant::now())
                });
                let Ok(order) = orders.recv_timeout(wait) else {
                    break;
                };
                group.take(order);
            }
            last = Some(Instant::now());
            let Batch {
                filings: group,
                lines,
                memory,
                leave,
            } = group;
            if !lines.is_empty()
                && let Err(err) = journal.append(&lines)
            {
                // They come again: the next process finds the same files missing.
                log::warn!(target: "dirpost", "journal: what is missing could not be noted: {}", explain(&err));
            }
            if let Some(Err(err)) = memory.map(|memory| memory_file::write(&state, &memory)) {
                log::warn!(target: "dirpost", "what was learned could not be kept for the next start: {}", explain(&err));
            }
            let synced = if group.is_empty() {
                journal.sync(clock::wall())
            } else {
                let Placed { filed, synced } = placer.place(&group);
                for (file, filed) in filed {
                    if inbox
                        .send(Message::Input(Input::Filed(file, filed)))
                        .is_err()
                    {
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
                        let why = crate::io::fault::explain(&err);
                        log::warn!(target: "dirpost", "bringing the journal, or what was filed, onto the disk failed: {why}");
                    }
                    trouble.get_or_insert_with(|| Alarm::new(now));
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
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::daemon::{Opened, open_all};
    use crate::flow::journal::Reason;
    use crate::flow::messages::Destination;
    use crate::flow::time::Wall;
    use crate::io::testing::TempDir;

    #[test]
    fn what_was_filed_is_brought_onto_the_disk_with_no_further_order() {
        let dir = TempDir::new();
        let config = crate::config::from_dir_and_url(dir.path(), "http://127.0.0.1:9/").unwrap();
        let Opened {
            share,
            journal,
            state: opened_state,
            ..
        } = *open_all(&config, false).unwrap_or_else(|_| panic!("open"));
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
        let filing = Filing {
            file: 1,
            path: Rel::new(b"bad"),
            look,
            to,
            marker: None,
            unwritten: None,
            resumed: None,
        };
        let (orders, order_box) = channel();
        let (send, inbox) = sync_channel(8);
        let state = Arc::clone(&opened_state.folder);
        spawn_placer(
            Filer::new(&config, share, Arc::clone(&journal)),
            Arc::clone(&journal),
            state,
            order_box,
            send,
        );
        orders.send(FilerCommand::File(Box::new(filing))).unwrap();
        inbox.recv().unwrap();
        assert!(journal.is_pending());
        let started = clock::now().mono;
        while journal.is_pending() {
            assert!(
                clock::now().mono.since(started) < 10 * SYNC,
                "it is never brought onto the disk"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}
