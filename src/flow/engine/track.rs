//! SCAN, TRACK and CHECK: what the engine makes of listings, and where a file waits next.

use super::Engine;
use super::files::{ActiveFile, At, Checked, Queue, Seat};
use super::scans::Ended;
use crate::config::Empty;
use crate::flow::endpoint::idempotency_key::key;
use crate::flow::events::Note;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::journal::Event as Line;
use crate::flow::memory::Learned;
use crate::flow::messages::{Closing, Content, ListedFolder, Miss};
use crate::flow::scan::tree::Event;
use crate::flow::settle::{Stability, settle_time};
use crate::flow::time::{Now, Wall};

impl Engine {
    // ---- scans ----------------------------------------------------------------------

    pub(super) fn on_listed(&mut self, folder: ListedFolder, now: Now) {
        let ListedFolder { path, content } = folder;
        let trouble = match &content {
            Ok(content) => content.unseen_why.as_ref().map(|(name, why)| {
                let (path, why) = (path.join(name), why.clone());
                Note::NameTrouble { path, why }
            }),
            Err(why) => Some(Note::FolderTrouble {
                path: path.clone(),
                why: why.clone(),
            }),
        };
        let note = self.scans.listed(&path, trouble, now.mono);
        self.say(note);
        if let Ok(content) = content {
            self.on_content(&path, content, now);
        }
    }

    fn on_content(&mut self, folder: &Rel, content: Content, now: Now) {
        let remember = i64::try_from(self.policy.remember.as_nanos()).unwrap_or(i64::MAX);
        let horizon = Wall(now.wall.0.saturating_sub(remember));
        let scan = self.scans.number();
        let events = self.tree.merge(folder, content, scan, now.wall, horizon);
        for event in events {
            match event {
                Event::New { name, look, marker } => {
                    if self.takes_new() {
                        let still = Stability::new(look, now, &self.clock);
                        let file = self.add(folder.join(&name), still, marker, now);
                        self.advance(file, now);
                    }
                }
                Event::Seen { file, look, marker } => self.on_seen(file, look, marker, now),
                Event::Missing { file } => self.on_missing(file),
                Event::Away { path, stamp } => {
                    let since = now.wall.0;
                    self.out.lines.push((path, stamp, Line::Missing { since }));
                }
                Event::Back { path, stamp } => self.out.lines.push((path, stamp, Line::Back)),
                Event::Forgotten { path, stamp } => {
                    self.known.forget(&path);
                    self.out.lines.push((path, stamp, Line::Forgotten));
                }
            }
        }
        self.known.listed(folder);
    }

    pub(super) fn on_scanned(&mut self, result: Result<(), String>, now: Now) {
        let (ended, note) = self.scans.ended(result, now.mono);
        self.say(note);
        let Ended::Complete { first, whole } = ended else {
            return;
        };
        if first {
            let note = Note::Looked {
                files: self.files.len(),
                waiting: self.files.count(At::Waiting),
                at_rest: self.tree.resting(),
            };
            self.note(note);
        }
        if whole {
            // What was not seen by now is not there.
            self.known.all_listed();
        }
    }

    /// All is about to be opened again: what is under way ends, and nothing more begins.
    pub(super) fn on_closing(&mut self, why: Closing, now: Now) {
        self.phase.close();
        let away = self.scans.close(now.mono);
        match why {
            Closing::ShareBack => self.say(away.map(|since| Note::ShareBack { since })),
            Closing::MountedOver => self.note(Note::MountedOver),
            Closing::LockLost(why) => self.note(Note::LockLost { why }),
        }
    }

    /// All versions that were ever taken out of dead-letter. One that had only been copied there
    /// lies at its place already, and becomes new again.
    pub(super) fn on_retries(&mut self, retries: Vec<(Rel, Stamp, u32)>) {
        self.known.set_retries(retries);
        let scope = &self.policy.key_scope;
        let key_of = |path: &Rel, stamp, retry| key(scope, path, stamp, retry);
        for path in self.known.take_retried(key_of) {
            self.tree.disturb(&path);
        }
    }

    // ---- records --------------------------------------------------------------------

    pub(super) fn add(
        &mut self,
        path: Rel,
        still: Stability,
        marker: Option<Look>,
        now: Now,
    ) -> FileNo {
        let learned = Learned::new(now.wall, self.known.used_marker(&path));
        let active = ActiveFile::new(path.clone(), still, marker, learned);
        let file = self.files.add(active);
        self.tree.set_moving(&path, file);
        self.recall_file(file, now.mono);
        file
    }

    /// `path` is delivered and stays where it is.
    pub(super) fn rest(&mut self, path: &Rel, stamp: Stamp, marker: Option<Stamp>) {
        self.tree.set_resting(path, stamp);
        self.known.rests(path, stamp, marker);
    }

    /// Takes `file` out of motion: nothing is known of it any more.
    pub(super) fn drop_file(&mut self, file: FileNo) -> Option<ActiveFile> {
        let active = self.files.remove(file)?;
        self.endpoint.untried(file);
        Some(active)
    }

    // ---- looks ----------------------------------------------------------------------

    fn on_seen(&mut self, file: FileNo, look: Look, marker: Option<Look>, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let stamp_of = |marker: Option<Look>| marker.map(|marker| marker.stamp);
        let marker_changed = stamp_of(active.marker) != stamp_of(marker);
        active.marker = marker;
        // What is being sent is watched by its worker, more closely than from here.
        if active.is_busy() {
            return;
        }
        let changed = active.still.observe(look, now, &self.clock);
        if changed {
            active.forget_version(now.wall);
            self.endpoint.forget(file);
            self.files.release_line(file);
        }
        if changed || marker_changed {
            self.advance(file, now);
        }
    }

    fn on_missing(&mut self, file: FileNo) {
        let is_busy = self.files.get(file).is_none_or(ActiveFile::is_busy);
        if !is_busy && let Some(active) = self.drop_file(file) {
            self.tree.forget(&active.path);
        }
    }

    /// `file` is not what it was taken for: it settles again.
    pub(super) fn changed(&mut self, file: FileNo, look: Option<Look>, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let mut still = Stability::new(look.unwrap_or(active.still.look), now, &self.clock);
        if look.is_none_or(|look| look == active.still.look) {
            // How it changed is not to be seen, so its stillness starts now.
            still.since = now.mono;
        }
        active.still = still;
        active.forget_version(now.wall);
        let path = active.path.clone();
        self.endpoint.forget(file);
        self.files.release_line(file);
        self.note(Note::Changed { path });
        self.advance(file, now);
    }

    /// `file` could not be opened or read.
    pub(super) fn missing(&mut self, file: FileNo, miss: Miss, now: Now) {
        match miss {
            Miss::Gone => {
                if let Some(active) = self.drop_file(file) {
                    self.tree.forget(&active.path);
                }
            }
            Miss::Unreadable(why) => self.trouble(file, "read", why, now),
        }
    }

    // ---- the way of one file --------------------------------------------------------

    /// Decides where `file`, for which no job is out, waits next.
    pub(super) fn advance(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get(file) else {
            return;
        };
        let still = active.still;
        let stamp = still.look.stamp;
        if !self.is_vouched_for(active) || (stamp.size == 0 && self.policy.empty == Empty::Wait) {
            self.files.put(file, Seat::Waiting);
            return;
        }
        if let Some(pause) = active.learned.not_before.filter(|&until| now.mono < until) {
            self.files.put(file, Seat::Pausing(pause));
            return;
        }
        let due = still.due(settle_time(self.policy.settle, still.look.fs));
        if now.mono < due {
            self.files.put(file, Seat::Settling(due));
            return;
        }
        let queue = match (active.checked, active.learned.attempts) {
            (Checked::No, _) if self.policy.inspects => Queue::Inspect,
            (_, 0) => Queue::Fresh,
            _ => Queue::Again,
        };
        if stamp.size == 0 && self.policy.empty == Empty::Reject {
            self.condemn(file, "the file is empty".into(), None, now);
        } else if let Some(max) = self.policy.max_size.filter(|&max| stamp.size > max) {
            let why = format!("{} bytes are more than check.max_size ({max})", stamp.size);
            self.condemn(file, why, None, now);
        } else if let Some(min) = self.policy.min_size.filter(|&min| stamp.size < min) {
            let why = format!("{} bytes are less than check.min_size ({min})", stamp.size);
            self.unfinished(file, why, now);
        } else {
            self.files.enqueue(file, queue);
        }
    }

    /// Whether its marker is there, if there is to be one.
    fn is_vouched_for(&self, active: &ActiveFile) -> bool {
        let used = active.learned.used_marker;
        let marker = active.marker.map(|marker| marker.stamp);
        !self.policy.marker || marker.is_some() && marker != used
    }

    /// A check says that `file` may only be unfinished: it is looked at once more when the
    /// grace is over, and sooner if it changes.
    pub(super) fn unfinished(&mut self, file: FileNo, why: String, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let first = active.learned.unfinished.is_none();
        let since = *active.learned.unfinished.get_or_insert(now.mono);
        let due = since + self.policy.grace;
        let path = active.path.clone();
        if now.mono >= due {
            self.condemn(file, why, None, now);
            return;
        }
        self.files.put(file, Seat::Pausing(due));
        if first {
            self.known.learned(now.mono);
            self.note(Note::Unfinished {
                path,
                why,
                again_in: self.policy.grace,
            });
        }
    }

    /// Something here, not at the endpoint, stands in the way of `file`.
    pub(super) fn trouble(&mut self, file: FileNo, doing: &'static str, why: String, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let pause = self.policy.backoff.draw(active.troubles, &mut self.rng);
        active.troubles = active.troubles.saturating_add(1);
        let is_said = active.trouble.raise(&why, now.mono).is_some();
        let path = active.path.clone();
        let until = now.mono + pause;
        let seat = if active.filing.is_some() {
            Seat::RetryFiling(until)
        } else {
            Seat::Pausing(until)
        };
        self.files.release_line(file);
        self.files.put(file, seat);
        if is_said {
            self.note(Note::FileTrouble {
                path,
                doing,
                why,
                again_in: pause,
            });
        }
    }

    /// What stood in the way of `file` does so no longer.
    pub(super) fn over(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        active.troubles = 0;
        if active.trouble.clear(now.mono).is_some() {
            let path = active.path.clone();
            self.note(Note::FileTroubleOver { path });
        }
    }
}
