//! SCAN, TRACK and CHECK: what the engine makes of listings, and where a file waits next.

use super::Engine;
use super::files::{ActiveFile, At, Changing, Checked, Queue, Seat};
use super::scans::{Ended, FolderTrouble};
use crate::config::Empty;
use crate::flow::endpoint::idempotency_key::key;
use crate::flow::events::Note;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::journal::Event as Line;
use crate::flow::memory::Learned;
use crate::flow::messages::{Closing, Content, ListedFolder, Miss};
use crate::flow::policy::TOO_LARGE;
use crate::flow::scan::tree::{Event, Merging};
use crate::flow::settle::{RESTLESS_AFTER, Seen, Stability, calm, settle_time};
use crate::flow::time::{Mono, Now, Wall};
use crate::flow::troubles::{Kind, Trouble};

impl Engine {
    // ---- scans ----------------------------------------------------------------------

    pub(super) fn on_listed(&mut self, folder: ListedFolder, now: Now) {
        let ListedFolder { path, content } = folder;
        let trouble = match &content {
            Ok(content) => content
                .unseen_why
                .as_ref()
                .map(|(name, why)| FolderTrouble {
                    kind: Kind::Look,
                    path: path.join(name),
                    why: why.clone(),
                }),
            Err(why) => Some(FolderTrouble {
                kind: Kind::List,
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
        let horizon = self.horizon(now);
        let scan = self.scans.number();
        self.scans.count_ignored(content.ignored);
        // What goes leaves as much behind as what is new.
        self.burst
            .add(content.files.len().max(self.tree.len_of(folder)));
        self.emptied.listed(folder, content.is_empty());
        let timeless = content.timeless;
        if timeless && !std::mem::replace(&mut self.known.timeless, true) {
            let path = folder.clone();
            self.note(Note::Timeless { path });
        }
        if let Some(rule) = &self.policy.marker {
            self.known.markers_listed(folder, &content, rule);
        }
        let (policy, known, clock) = (&self.policy, &self.known, &self.clock);
        let how = Merging {
            settle: self.policy.settle,
            scan,
            now,
            horizon,
            room: self.room_for_new(),
            takes_new: self.takes_new(),
            tells_late: self.last_listing.is_under_way(scan),
            since: &|look| Stability::new(*look, now, clock).since,
            is_ready: &|name, look, marker| {
                let marker = marker.map(|marker| marker.stamp);
                let was_used =
                    |marker| known.used_marker(&folder.join(name), look.stamp) == Some(marker);
                policy.is_vouched_for(marker, was_used) && !policy.awaits_content(look)
            },
        };
        let events = self.tree.merge(folder, content, &how);
        for event in events {
            match event {
                Event::New { name, look, marker } => {
                    let still = Stability::new(look, now, &self.clock);
                    let file = self.add(folder.join(&name), still, marker, now);
                    self.set_timeless(file, timeless);
                    self.advance(file, now);
                }
                Event::Seen { file, look, marker } => {
                    let is_news = self.set_timeless(file, timeless);
                    self.on_seen(file, look, marker, now);
                    if is_news {
                        self.advance_idle(file, now);
                    }
                }
                Event::Missing { file } => self.on_missing(file),
                Event::Vanished { stamp } => self.last_listing.vanished(stamp),
                Event::Late(waiting) => self.last_listing.found(waiting),
                event => self.on_delivered_event(event, now),
            }
        }
        for path in self.known.recalled_in(folder) {
            if let Some(waiting) = self.tree.take_waiting_at(&path) {
                self.admit(waiting, now);
            }
        }
        self.admission.listed();
        self.known.listed(folder);
    }

    /// What has been missing since before is forgotten: `delivered.remember`.
    fn horizon(&self, now: Now) -> Wall {
        now.wall - self.policy.remember
    }

    /// What a listing, or the time, says of a delivered file that was kept in place.
    fn on_delivered_event(&mut self, event: Event, now: Now) {
        match event {
            Event::Away { path, stamp } => {
                self.dealt_with(&path);
                let since = now.wall.0;
                self.out.lines.push((path, stamp, Line::Missing { since }));
            }
            Event::Back { path, stamp } => self.out.lines.push((path, stamp, Line::Back)),
            Event::Forgotten { path, stamp } => {
                self.known.forget(&path);
                self.out.lines.push((path, stamp, Line::Forgotten));
            }
            Event::New { .. } | Event::Seen { .. } | Event::Missing { .. } => {}
            Event::Vanished { .. } | Event::Late(_) => {}
        }
    }

    pub(super) fn on_scanned(&mut self, result: Result<(), String>, now: Now) {
        let (ended, note) = self.scans.ended(result, now.mono);
        self.say(note);
        let Ended::Complete { first, whole } = ended else {
            return;
        };
        if first {
            let count = self.tree.count();
            let unfiled = self.unfiled();
            let known = self.files.len() + self.behind_filings();
            let note = Note::Looked {
                files: known + count.waiting + count.idle - unfiled,
                unfiled,
                waiting: self.files.count(At::Waiting) + count.idle,
                at_rest: count.at_rest,
                ignored: self.scans.ignored(),
            };
            self.note(note);
        }
        self.known.hurried = false;
        // Also in folders that this scan has passed over.
        for event in self.tree.forget_missing(self.horizon(now)) {
            self.on_delivered_event(event, now);
        }
        if whole {
            // What was not seen by now is not there.
            self.known.all_listed();
        }
        self.end_last_listing(now);
        self.keeping.scanned(now.mono);
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
            self.tree.forget_delivered(&path);
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
        let on_its_way = self.files.departed_markers(&path).next();
        let version = still.look.stamp;
        let mut learned = Learned::new(now.wall);
        learned.set_used(on_its_way.or_else(|| self.known.used(&path, version)));
        let active = ActiveFile::new(path.clone(), still, marker, learned);
        let file = self.files.add(active);
        self.tree.set_moving(&path, file);
        self.recall_file(file, now.mono);
        file
    }

    /// `path` is delivered and stays where it is.
    pub(super) fn rest(&mut self, path: &Rel, stamp: Stamp, marker: Option<Stamp>) {
        self.dealt_with(path);
        self.tree.set_resting(path, stamp);
        self.known.rests(path, stamp, marker);
    }

    /// Takes `file` out of motion: nothing is known of it any more.
    pub(super) fn drop_file(&mut self, file: FileNo) -> Option<ActiveFile> {
        self.end_trouble(file, self.clock.now());
        self.end_changing(file, self.clock.now());
        let active = self.files.remove(file)?;
        self.burst.add(1);
        self.endpoint.untried(file);
        if let Some(rule) = &self.policy.marker {
            self.known
                .leaves_marker_alone(&rule.path_of(&active.path), file);
        }
        if active.detached
            && let Some(next) = self.tree.moving(&active.path)
        {
            // The last listing may have shown a marker beside it that is not there any more.
            if let Some(used) = active.used_up()
                && let Some(next) = self.files.get_mut(next)
                && next.marker.is_some_and(|it| it.stamp == used.marker)
            {
                next.learned.set_used(Some(used));
            }
            // An equal version may have waited for that.
            self.advance_idle(next, self.clock.now());
        }
        Some(active)
    }

    // ---- looks ----------------------------------------------------------------------

    /// Whether `file` lies where mtimes say nothing. Gives whether that is news.
    fn set_timeless(&mut self, file: FileNo, timeless: bool) -> bool {
        let Some(active) = self.files.get_mut(file) else {
            return false;
        };
        std::mem::replace(&mut active.timeless, timeless) != timeless
    }

    fn advance_idle(&mut self, file: FileNo, now: Now) {
        if self.files.get(file).is_some_and(|active| !active.is_busy()) {
            self.advance(file, now);
        }
    }

    fn on_seen(&mut self, file: FileNo, look: Look, marker: Option<Look>, now: Now) {
        let settle = self.settle_time(&look);
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let stamp_of = |marker: Option<Look>| marker.map(|marker| marker.stamp);
        let marker_changed = stamp_of(active.marker) != stamp_of(marker);
        active.marker = marker;
        let is_news = active.still.look.stamp != look.stamp;
        // What is to be filed may be known by the look at the next version already.
        active.has_next = match &active.filing {
            Some(filing) => filing.look.stamp != look.stamp,
            None => is_news,
        };
        if !is_news {
            active.voucher = marker.or(active.voucher);
        }
        if is_news && active.at() == At::RetryFiling {
            // Another version lies where this one could not be moved from: nothing is left to be
            // filed of it then, and the new one need not wait for the next try.
            active.still.look = look;
            return self.hand_out_filing(file, now);
        }
        // What is being sent is watched by its worker, more closely than from here.
        if active.is_busy() {
            return;
        }
        match active.still.observe(look, settle, &self.clock) {
            Seen::Changed => self.new_version(file, now),
            Seen::Suspicious => {
                self.suspicious(file, now);
                if marker_changed {
                    self.advance(file, now);
                }
            }
            Seen::Still if marker_changed => self.advance(file, now),
            Seen::Still => {}
        }
    }

    /// What is seen of `file` is another version than before: nothing that was learned of that holds.
    fn new_version(&mut self, file: FileNo, now: Now) {
        self.end_trouble(file, now);
        if let Some(active) = self.files.get_mut(file) {
            active.forget_version(now.wall);
        }
        self.endpoint.forget(file);
        self.note_changing(file, now);
        self.files.release_line(file);
        self.advance(file, now);
    }

    /// `file` has changed. What never comes to rest, as a log file does not, is said at growing
    /// intervals.
    fn note_changing(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let settle = settle_time(self.policy.settle, active.still.look.fs);
        if active
            .changing
            .is_some_and(|it| now.mono.since(it.last) >= calm(settle))
        {
            self.end_changing(file, now);
        }
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let changing = active.changing.get_or_insert(Changing {
            since: now.mono,
            last: now.mono,
            is_restless: false,
        });
        changing.last = now.mono;
        let since = now.mono.since(changing.since);
        if since < RESTLESS_AFTER {
            return;
        }
        let trouble = Trouble {
            kind: Kind::Settle,
            cause: "",
            is_new: !std::mem::replace(&mut changing.is_restless, true),
            is_known: false,
        };
        let path = active.path.clone();
        if let Some(extent) = self.troubles.raise(trouble, now.mono) {
            let files = extent.files;
            self.note(Note::Restless { path, since, files });
        }
    }

    /// `file` has come to rest, or is gone.
    pub(super) fn end_changing(&mut self, file: FileNo, now: Now) {
        let changing = self.files.get_mut(file).and_then(|it| it.changing.take());
        if changing.is_some_and(|it| it.is_restless) {
            // That it is sent, or gone, speaks for itself.
            let _ = self.troubles.leave(Kind::Settle, now.mono);
        }
    }

    /// `file`, for which no job is out, may have been written to with its size and mtime put back:
    /// what was read of it does not hold.
    fn suspicious(&mut self, file: FileNo, now: Now) {
        let inspects = self.policy.inspects;
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let settle = settle_time(self.policy.settle, active.still.look.fs);
        let is_due = now.mono >= active.still.due(settle);
        let was_checked = std::mem::replace(&mut active.checked, Checked::No) != Checked::No;
        // It keeps its turn, and its pause, where nothing has to be done again.
        let stays = match active.at() {
            At::Ready => is_due && !(inspects && was_checked),
            At::Pausing => active.troubles > 0,
            _ => false,
        };
        let first = active.still.suspicions.count == 1;
        let path = active.path.clone();
        if !stays {
            self.advance(file, now);
        }
        if first {
            self.note(Note::Suspicious { path });
        }
    }

    fn on_missing(&mut self, file: FileNo) {
        let is_busy = self.files.get(file).is_none_or(ActiveFile::is_busy);
        if !is_busy {
            self.leave_alone(file);
        }
    }

    /// `file`, for which no job is out, is not there any more, or is none of dirpost's business.
    pub(super) fn leave_alone(&mut self, file: FileNo) {
        if let Some(active) = self.drop_file(file) {
            self.tree.forget(&active.path);
            self.vanished(active.still.look.stamp);
        }
    }

    /// A worker found that `file` is not as it was when it was looked at, while it did
    /// something with it: how it is now, if that is to be seen.
    pub(super) fn changed(&mut self, file: FileNo, kind: Kind, look: Option<Look>, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let settle = settle_time(self.policy.settle, active.still.look.fs);
        let seen = match look {
            Some(look) => active.still.observe(look, settle, &self.clock),
            None => {
                active.still.restart(now.mono);
                Seen::Changed
            }
        };
        if seen == Seen::Changed {
            let had_settled = active.learned.attempts > 0 || active.checked != Checked::No;
            let path = active.path.clone();
            self.note(if had_settled || kind == Kind::Send {
                Note::Changed { path }
            } else {
                Note::Changing { path }
            });
            self.new_version(file, now);
            return;
        }
        if seen == Seen::Still {
            // What the worker saw moving has come to rest as it was.
            active.still.suspect(settle, now.mono);
        }
        active.checked = Checked::No;
        if active.still.is_beyond_suspicion(settle) && now.mono >= active.still.due(settle) {
            let why = "its ctime, or its blocks, moved meanwhile, and do so again and again (chmod, \
                       links, a virus scanner, a program that puts size and mtime back)";
            self.trouble(file, kind, why.into(), now);
        } else {
            self.suspicious(file, now);
        }
    }

    /// `file` could not be opened or read.
    pub(super) fn missing(&mut self, file: FileNo, miss: Miss, now: Now) {
        match miss {
            Miss::Gone => {
                if let Some(active) = self.drop_file(file) {
                    self.tree.forget(&active.path);
                    self.vanished(active.still.look.stamp);
                }
            }
            Miss::Unreadable(why) => self.trouble(file, Kind::Read, why, now),
        }
    }

    // ---- the way of one file --------------------------------------------------------

    /// Decides where `file`, for which no job is out, waits next.
    pub(super) fn advance(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get(file) else {
            return;
        };
        if !self.is_wanted(&active.path) {
            return self.leave_alone(file);
        }
        let still = active.still;
        let stamp = still.look.stamp;
        let is_empty = self.policy.awaits_content(&still.look);
        let is_taken = self.files.has_departed(&active.path, stamp);
        if !self.is_vouched_for(active) || is_empty || is_taken {
            self.files.put(file, Seat::Waiting);
            return;
        }
        if self.policy.vouching().waits(stamp, active.timeless) {
            self.await_rsync(file);
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
        self.note_ready(file, due, now);
        let Some(active) = self.files.get(file) else {
            return;
        };
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
        } else if self
            .policy
            .request_limit
            .is_some_and(|max| stamp.size > max)
        {
            self.trouble(file, Kind::Send, TOO_LARGE.into(), now);
        } else if !self.give_place_up(file, queue) {
            self.files.enqueue(file, queue);
        }
    }

    /// `file` is still for long enough since `due`, and has what it waits for: from when on it was ready.
    /// A marker may have come later: its mtime says when, as far as that is between `due` and now, for
    /// it is another clock's. Before the start of this process nothing was ready for it.
    fn note_ready(&mut self, file: FileNo, due: Mono, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let marker = active.voucher.filter(|_| self.policy.marker.is_some());
        let came = marker.map_or(due, |marker| now.mono_of(marker.stamp.mtime).max(due));
        let since = came.max(Mono(0)).min(now.mono);
        active.ready_since.get_or_insert(since);
    }

    /// Whether its marker is there, if there is to be one.
    pub(super) fn is_vouched_for(&self, active: &ActiveFile) -> bool {
        let marker = active.marker.map(|marker| marker.stamp);
        // Earlier versions may still be on their way to where they are filed, and a later one rest:
        // each has used a marker.
        let was_used = |marker| {
            let version = active.still.look.stamp;
            let known = self.known.used_marker(&active.path, version);
            [active.learned.used_marker(version), known].contains(&Some(marker))
                || self
                    .files
                    .departed_markers(&active.path)
                    .any(|used| used.marker == marker)
        };
        self.policy.is_vouched_for(marker, was_used)
    }
}
