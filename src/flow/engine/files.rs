//! The files in motion: their records, where each of them is on its way, and whose turn it is.
//!
//! Invariants ([`ActiveFiles::check`]):
//! - A file has one [`Seat`]. It stands in a queue or among the timers exactly when its seat says so.
//! - The counts are those of the seats.
//! - With `send.in_order` at most one file is out, and the file that holds the line is queued,
//!   out, or waits by its own clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::SendOrder;
use crate::flow::endpoint::gate::Gate;
use crate::flow::file::{FileNo, Look, Rel, Stamp};
use crate::flow::filing::Filing;
use crate::flow::memory::{Learned, Used};
use crate::flow::settle::Stability;
use crate::flow::time::Mono;
use crate::flow::troubles::Kind;

/// Everything known of a file that is not at rest.
#[derive(Debug)]
pub(super) struct ActiveFile {
    pub path: Rel,
    pub still: Stability,
    seat: Seat,
    /// Its marker, as it was last seen.
    pub marker: Option<Look>,
    /// The marker that vouches for this version: the last one that was seen beside it.
    pub voucher: Option<Look>,
    /// Whether this version has passed `[check]`.
    pub checked: Checked,
    /// It lies in a folder whose file system keeps no mtimes.
    pub timeless: bool,
    /// It was said that it waits because of its mtime.
    pub said_partial: bool,
    /// What the work on this version has shown.
    pub learned: Learned,
    /// Troubles with opening, reading or filing it, in a row.
    pub troubles: u32,
    /// What is tried in vain with it: it counts among the files of that trouble.
    pub trouble: Option<Kind>,
    /// It changes, and has not come to rest since.
    pub changing: Option<Changing>,
    /// Why it waits by its own clock.
    pub why: Option<Box<str>>,
    /// What is to be filed, once it is accepted or condemned.
    pub filing: Option<Arc<Filing>>,
    /// The last listing has shown another version at its place.
    pub has_next: bool,
    /// The marker that stays at its place for other files when it is filed.
    pub leaves_marker: Option<Used>,
    /// How often the journal had failed when it was handed out to be filed.
    pub journal_failures: u64,
    /// It has left its place on the way to where it is filed: what is listed there is another
    /// version, with a record of its own.
    pub detached: bool,
    /// The digest of what was sent.
    pub sent: Option<[u8; 32]>,
    /// The marker that the attempt that is out has named.
    pub sent_marker: Option<Stamp>,
    /// When this version was ready to go, once it has been.
    pub ready_since: Option<Mono>,
    /// When the attempt that is out began.
    pub sent_at: Mono,
    /// The attempt that is out may have begun with credentials that have changed since.
    pub is_outdated: bool,
}

/// A file changes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changing {
    pub since: Mono,
    /// When it was last seen to have changed.
    pub last: Mono,
    /// It counts among those that never come to rest.
    pub is_restless: bool,
}

/// Whether a version has passed `[check]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    No,
    /// It has.
    Yes {
        /// The digest of its content, if it was read for that.
        sha256: Option<[u8; 32]>,
    },
}

/// Where a file is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// It may have been still for long enough then.
    Settling(Mono),
    /// For what only its writer can do: a marker, or content.
    Waiting,
    /// It waits for its turn.
    Queued(Queue, Rank),
    Inspecting,
    /// It is handed out. Where it had waited for its turn, for it may come back before it was begun.
    Sending(Queue, Rank),
    /// Until its own clock lets it try again.
    Pausing(Mono),
    Filing,
    /// Filing it is tried again then.
    RetryFiling(Mono),
}

/// A [`Seat`] without its details, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Settling,
    Waiting,
    /// In the queue for CHECK.
    ToInspect,
    /// In a queue for DELIVER.
    Ready,
    Inspecting,
    Sending,
    Pausing,
    Filing,
    RetryFiling,
}

impl At {
    /// All of them.
    pub const ALL: [At; PLACES] = [
        At::Settling,
        At::Waiting,
        At::ToInspect,
        At::Ready,
        At::Inspecting,
        At::Sending,
        At::Pausing,
        At::Filing,
        At::RetryFiling,
    ];
}

const PLACES: usize = At::RetryFiling as usize + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// For CHECK.
    Inspect,
    /// For DELIVER, never tried.
    Fresh,
    /// For DELIVER, tried before.
    Again,
}

/// The order within a queue: of arrival there, or (`send.order`) of mtime and path, or of path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(i64, Option<Rel>);

impl Seat {
    pub fn at(&self) -> At {
        match self {
            Seat::Settling(_) => At::Settling,
            Seat::Waiting => At::Waiting,
            Seat::Queued(Queue::Inspect, _) => At::ToInspect,
            Seat::Queued(..) => At::Ready,
            Seat::Inspecting => At::Inspecting,
            Seat::Sending(..) => At::Sending,
            Seat::Pausing(_) => At::Pausing,
            Seat::Filing => At::Filing,
            Seat::RetryFiling(_) => At::RetryFiling,
        }
    }

    fn due(&self) -> Option<Mono> {
        match self {
            Seat::Settling(due) | Seat::Pausing(due) | Seat::RetryFiling(due) => Some(*due),
            _ => None,
        }
    }
}

impl Checked {
    /// The digest of its content, if it was read for the check.
    pub fn sha256(self) -> Option<[u8; 32]> {
        match self {
            Checked::No => None,
            Checked::Yes { sha256 } => sha256,
        }
    }
}

impl ActiveFile {
    /// One that was just found.
    pub fn new(path: Rel, still: Stability, marker: Option<Look>, learned: Learned) -> ActiveFile {
        ActiveFile {
            path,
            still,
            seat: Seat::Waiting,
            marker,
            voucher: marker,
            checked: Checked::No,
            timeless: false,
            said_partial: false,
            learned,
            troubles: 0,
            trouble: None,
            changing: None,
            why: None,
            filing: None,
            has_next: false,
            leaves_marker: None,
            journal_failures: 0,
            detached: false,
            sent: None,
            sent_marker: None,
            ready_since: None,
            sent_at: Mono::default(),
            is_outdated: false,
        }
    }

    pub fn at(&self) -> At {
        self.seat.at()
    }

    /// When its pause is over, if it waits by its own clock.
    pub fn paused_until(&self) -> Option<Mono> {
        match self.seat {
            Seat::Pausing(until) => Some(until),
            _ => None,
        }
    }

    /// Whether what happens to the file is no longer for the listings to say: a job is out for it,
    /// or it is to be filed away.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.at(),
            At::Inspecting | At::Sending | At::Filing | At::RetryFiling
        )
    }

    /// The marker that has vouched for the version that is to be filed.
    pub fn used_up(&self) -> Option<Used> {
        let filing = self.filing.as_ref()?;
        let (marker, version) = (filing.marker_stamp()?, filing.look.stamp);
        Some(Used { marker, version })
    }

    /// The version that is being filed, or that lies at its place.
    fn version(&self) -> (Rel, Stamp) {
        let look = self
            .filing
            .as_ref()
            .map_or(self.still.look, |filing| filing.look);
        (self.path.clone(), look.stamp)
    }

    /// What was learned of the last version does not hold for a new one. Its trouble has to be ended
    /// before.
    pub fn forget_version(&mut self, first_seen: crate::flow::time::Wall) {
        self.learned = Learned::new(first_seen).with_used_marker_of(&self.learned);
        self.voucher = self.marker;
        self.checked = Checked::No;
        self.said_partial = false;
        self.troubles = 0;
        self.why = None;
        self.filing = None;
        self.sent = None;
        self.ready_since = None;
    }
}

/// The files in motion, by number, with their queues and timers.
#[derive(Debug)]
pub(super) struct ActiveFiles {
    files: BTreeMap<FileNo, ActiveFile>,
    last: FileNo,
    timers: BTreeSet<(Mono, FileNo)>,
    inspect: BTreeSet<(Rank, FileNo)>,
    fresh: BTreeSet<(Rank, FileNo)>,
    again: BTreeSet<(Rank, FileNo)>,
    arrivals: i64,
    /// How many are at each place, by [`At`]'s order.
    counts: [usize; PLACES],
    /// The versions that have left their places, and are not filed yet.
    departed: BTreeMap<(Rel, Stamp), FileNo>,
    /// `send.order`.
    order: SendOrder,
    /// `send.in_order`.
    in_order: bool,
    /// With `send.in_order`: the file that holds the line.
    head: Option<FileNo>,
    /// Between files never tried and files tried before it is the turn of the latter.
    retry_turn: bool,
}

impl ActiveFiles {
    /// None yet. They are sent in this order, and strictly so with `in_order`.
    pub fn new(order: SendOrder, in_order: bool) -> ActiveFiles {
        ActiveFiles {
            files: BTreeMap::new(),
            last: FileNo::default(),
            timers: BTreeSet::new(),
            inspect: BTreeSet::new(),
            fresh: BTreeSet::new(),
            again: BTreeSet::new(),
            arrivals: 0,
            counts: [0; PLACES],
            departed: BTreeMap::new(),
            order,
            in_order,
            head: None,
            retry_turn: false,
        }
    }

    pub fn get(&self, file: FileNo) -> Option<&ActiveFile> {
        self.files.get(&file)
    }

    pub fn get_mut(&mut self, file: FileNo) -> Option<&mut ActiveFile> {
        self.files.get_mut(&file)
    }

    pub fn iter(&self) -> impl Iterator<Item = (FileNo, &ActiveFile)> {
        self.files.iter().map(|(file, active)| (*file, active))
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn count(&self, at: At) -> usize {
        self.counts[at as usize]
    }

    pub fn add(&mut self, active: ActiveFile) -> FileNo {
        self.last = self.last.next();
        self.counts[active.at() as usize] += 1;
        self.files.insert(self.last, active);
        self.last
    }

    pub fn remove(&mut self, file: FileNo) -> Option<ActiveFile> {
        self.put(file, Seat::Waiting);
        let active = self.files.remove(&file)?;
        self.counts[active.at() as usize] -= 1;
        if active.detached {
            self.departed.remove(&active.version());
        }
        Some(active)
    }

    /// `file`, which is to be filed, has left its place. Gives whether that is news.
    pub fn detach(&mut self, file: FileNo) -> bool {
        let Some(active) = self.files.get_mut(&file).filter(|active| !active.detached) else {
            return false;
        };
        active.detached = true;
        self.departed.insert(active.version(), file);
        true
    }

    /// Whether an equal version has left this place and is not filed yet: as long as it is not, the
    /// journal would take one for the other.
    pub fn has_departed(&self, path: &Rel, stamp: Stamp) -> bool {
        !self.departed.is_empty() && self.departed.contains_key(&(path.clone(), stamp))
    }

    /// The markers of versions that have left this place and are not filed yet: these may lie there still,
    /// and vouch for no other.
    pub fn departed_markers(&self, path: &Rel) -> impl Iterator<Item = Used> {
        let versions = (path.clone(), Stamp::MIN)..=(path.clone(), Stamp::MAX);
        let departed = self.departed.range(versions);
        departed.filter_map(|(_, file)| self.files.get(file)?.used_up())
    }

    /// Puts `file` there, and takes it out of where it was.
    pub fn put(&mut self, file: FileNo, seat: Seat) {
        let Some(active) = self.files.get_mut(&file) else {
            return;
        };
        let (from, to) = (active.at(), seat.at());
        let left = std::mem::replace(&mut active.seat, seat.clone());
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        if !matches!(to, At::Ready | At::Sending | At::Pausing) {
            // It is not ready, or not at its place any more.
            self.release_line(file);
        }
        if let Some(due) = left.due() {
            self.timers.remove(&(due, file));
        }
        if let Seat::Queued(queue, rank) = left {
            self.queue(queue).remove(&(rank, file));
        }
        if let Some(due) = seat.due() {
            self.timers.insert((due, file));
        }
        if let Seat::Queued(queue, rank) = seat {
            self.queue(queue).insert((rank, file));
        }
    }

    /// Puts `file` at its place in `queue`: by `send.order`. What has failed is tried again in turn, so
    /// that while the gate is closed another one probes each time; but with `send.in_order` by that.
    pub fn enqueue(&mut self, file: FileNo, queue: Queue) {
        self.arrivals += 1;
        let Some(active) = self.files.get(&file) else {
            return;
        };
        let order = match queue {
            Queue::Again if !self.in_order => SendOrder::Arrival,
            _ => self.order,
        };
        let rank = match order {
            SendOrder::Arrival => Rank(self.arrivals, None),
            SendOrder::Mtime => Rank(active.still.look.stamp.mtime.0, Some(active.path.clone())),
            SendOrder::Name => Rank(0, Some(active.path.clone())),
        };
        self.put(file, Seat::Queued(queue, rank));
    }

    fn queue(&mut self, queue: Queue) -> &mut BTreeSet<(Rank, FileNo)> {
        match queue {
            Queue::Inspect => &mut self.inspect,
            Queue::Fresh => &mut self.fresh,
            Queue::Again => &mut self.again,
        }
    }

    /// How many wait for CHECK, or for DELIVER for the first time.
    pub fn fresh(&self) -> usize {
        self.inspect.len() + self.fresh.len()
    }

    /// The one whose turn is last of those that were never tried.
    pub fn last_fresh(&self) -> Option<FileNo> {
        self.fresh.last().map(|(_, file)| *file)
    }

    // ---- whose turn it is -----------------------------------------------------------

    /// The file that is to be checked next.
    pub fn next_to_inspect(&self) -> Option<FileNo> {
        self.inspect.first().map(|(_, file)| *file)
    }

    /// Whether a file could be sent, if the endpoint took it.
    pub fn has_ready(&self) -> bool {
        if self.in_order {
            self.next_in_order().is_some()
        } else {
            !self.fresh.is_empty() || !self.again.is_empty()
        }
    }

    /// The file that goes next, if `gate` lets one go.
    pub fn next_to_send(&mut self, gate: &Gate, now: Mono) -> Option<FileNo> {
        if self.in_order {
            return self.next_in_order().filter(|&file| gate.admits(file, now));
        }
        let fresh = self.fresh.first().map(|(_, file)| *file);
        let again = self.again.first().map(|(_, file)| *file);
        if gate.is_open() {
            // In turn, so that neither new nor failing files keep the others waiting.
            let (first, second) = if self.retry_turn {
                (again, fresh)
            } else {
                (fresh, again)
            };
            self.retry_turn = !self.retry_turn;
            return first.or(second);
        }
        // Files never tried probe first; then those whose last try is the longest ago.
        let candidate = fresh.or(again)?;
        if gate.admits(candidate, now) {
            return Some(candidate);
        }
        let lone = gate.lone_suspect()?;
        let mut others = self.again.iter().map(|(_, file)| *file);
        others.find(|&file| file != lone && gate.admits(file, now))
    }

    /// What has passed a check has to pass another one.
    pub fn recheck_all(&mut self) {
        for active in self.files.values_mut() {
            active.checked = Checked::No;
        }
    }

    /// The credentials have changed: what attempts that are out by now will say of the old ones is out
    /// of date.
    pub fn outdate_attempts(&mut self) {
        let out = self.files.values_mut();
        for active in out.filter(|active| active.at() == At::Sending) {
            active.is_outdated = true;
        }
    }

    /// `file` is on its way to the endpoint; with `send.in_order` it holds the line.
    pub fn send(&mut self, file: FileNo) {
        let Some(Seat::Queued(queue, rank)) = self.files.get(&file).map(|active| &active.seat)
        else {
            return;
        };
        let seat = Seat::Sending(*queue, rank.clone());
        self.put(file, seat);
        if self.in_order {
            self.head = Some(file);
        }
    }

    /// No worker has begun with `file`: it waits for its turn where it had waited before.
    pub fn take_back(&mut self, file: FileNo) {
        if let Some(Seat::Sending(queue, rank)) = self.files.get(&file).map(|active| &active.seat) {
            let seat = Seat::Queued(*queue, rank.clone());
            self.put(file, seat);
        }
    }

    /// With `send.in_order`: the next may go before `file`.
    pub fn release_line(&mut self, file: FileNo) {
        if self.head == Some(file) {
            self.head = None;
        }
    }

    /// With `send.in_order`: the first of those that are ready, unless one holds the line.
    fn next_in_order(&self) -> Option<FileNo> {
        match self.head {
            Some(head) => {
                let active = self.files.get(&head)?;
                (active.at() == At::Ready).then_some(head)
            }
            None => {
                let first = self.fresh.first().into_iter().chain(self.again.first());
                first.min().map(|(_, file)| *file)
            }
        }
    }

    // ---- timers ---------------------------------------------------------------------

    pub fn next_timer(&self) -> Option<Mono> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// A file whose timer is over. It has to be put somewhere else.
    pub fn due(&self, now: Mono) -> Option<FileNo> {
        let &(due, file) = self.timers.first()?;
        (due <= now).then_some(file)
    }

    /// Sees that the invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&self) {
        let mut counts = [0; PLACES];
        let mut timers = BTreeSet::new();
        let mut queues: [BTreeSet<(Rank, FileNo)>; 3] = Default::default();
        for (file, active) in self.iter() {
            counts[active.at() as usize] += 1;
            timers.extend(active.seat.due().map(|due| (due, file)));
            if let Seat::Queued(queue, rank) = &active.seat {
                queues[*queue as usize].insert((rank.clone(), file));
            }
        }
        assert_eq!(counts, self.counts, "the counts are those of the seats");
        assert_eq!(timers, self.timers, "a timer for each seat that has one");
        let [inspect, fresh, again] = &queues;
        assert_eq!(
            (inspect, fresh, again),
            (&self.inspect, &self.fresh, &self.again),
            "each is in the queue of its seat"
        );
        let departed = self.iter().filter(|(_, active)| active.detached);
        let departed = departed.map(|(file, active)| (active.version(), file));
        assert_eq!(
            departed.collect::<BTreeMap<_, _>>(),
            self.departed,
            "what has departed is being filed"
        );
        if let Some(head) = self.head {
            let at = self.get(head).map(ActiveFile::at);
            assert!(
                self.in_order && matches!(at, Some(At::Ready | At::Sending | At::Pausing)),
                "the line is held by {head:?} at {at:?}"
            );
        }
        assert!(
            !self.in_order || self.count(At::Sending) <= 1,
            "in order one goes at a time"
        );
    }
}

#[cfg(test)]
mod tests;
