//! Which of the files that wait in the folders are in hand, as a mail system has an active queue
//! beside the incoming one.
//!
//! A record costs some hundred bytes and a name in a folder some dozens. So no more files have one
//! than keep everything busy: the others wait in their folders ([`crate::flow::scan::tree`]), with
//! the moment since when they are still, and come in as room is made. What has failed, is suspected
//! or is being filed keeps its record, which holds what must not be forgotten, and takes no room from
//! the others: five thousand files with a fault of their own do not keep a new one waiting.
//!
//! Invariants:
//! - No more files wait for CHECK, or for DELIVER for the first time, than there is room for; with
//!   a `send.order` for a moment, while a turn lasts, twice as many.
//! - With a `send.order` no file waits in a folder that is due and goes before one in hand.

use super::Engine;
use super::files::{ActiveFile, Checked, Queue};
use crate::config::SendOrder;
use crate::flow::file::FileNo;
use crate::flow::scan::tree::Waiting;
use crate::flow::settle::Stability;
use crate::flow::time::{Mono, Now};

/// With a `send.order`: whether the first ones are in hand.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// They may not be: a listing may have brought others.
    is_stale: bool,
    /// When another one is due.
    next: Option<Mono>,
}

impl Admission {
    /// Those that wait are due at other moments than before: the first of them then.
    pub fn due_otherwise(&mut self, first: Option<Mono>) {
        *self = Admission {
            is_stale: true,
            next: first,
        };
    }

    /// A folder was listed.
    pub fn listed(&mut self) {
        self.is_stale = true;
    }
}

impl Engine {
    /// For how many files that are found now there is room.
    pub(super) fn room_for_new(&self) -> usize {
        let settling = self.files.count(super::At::Settling);
        self.policy
            .in_hand
            .saturating_sub(self.files.fresh() + settling)
    }

    /// Whether files that wait in their folders are to be taken in when they are due.
    fn is_open(&self) -> bool {
        self.may().send && (self.is_ordered() || self.files.fresh() <= self.policy.in_hand / 4)
    }

    /// Whether what goes first is not what has waited for the longest.
    fn is_ordered(&self) -> bool {
        self.policy.order != SendOrder::Arrival
    }

    /// When the next of those that wait in their folders is to be taken in.
    pub(super) fn next_admission(&self) -> Option<Mono> {
        let first = self.tree.next_due().filter(|_| self.is_open())?;
        // With a `send.order` those that are due and not the first stay where they are.
        if self.is_ordered() {
            // The one that was to be due then may have changed since.
            self.admission.next.map(|next| next.max(first))
        } else {
            Some(first)
        }
    }

    /// Takes in what is due, if there is room. Gives whether there was anything.
    pub(super) fn admit_waiting(&mut self, now: Now) -> bool {
        let is_due = self.tree.next_due().is_some_and(|due| due <= now.mono);
        if !is_due || !self.is_open() {
            return false;
        }
        if self.is_ordered() {
            return self.admit_in_order(now);
        }
        // A large part of the room is filled at once, for looking for them costs.
        let room = self.policy.in_hand - self.files.fresh();
        let taken = self.tree.take_waiting(room, now.mono);
        let is_any = !taken.is_empty();
        for waiting in taken {
            self.admit(waiting, now);
        }
        is_any
    }

    /// Sees to it that those that come first by `send.order` are in hand. Gives whether they may not
    /// have been before.
    fn admit_in_order(&mut self, now: Now) -> bool {
        let is_due = self.admission.next.is_some_and(|next| next <= now.mono);
        let is_stale = std::mem::take(&mut self.admission.is_stale);
        // Looking for them costs: side by side they are looked for before the last one is out.
        let enough = if self.policy.in_order {
            0
        } else {
            self.policy.in_hand / 4
        };
        if !is_stale && !is_due && self.files.fresh() > enough {
            return false;
        }
        let (order, room) = (self.policy.order, self.policy.in_hand);
        let (taken, next) = self.tree.take_first(order, room, now.mono);
        self.admission.next = next;
        for waiting in taken {
            self.admit(waiting, now);
        }
        while self.files.fresh() > self.policy.in_hand
            && let Some(last) = self.files.last_fresh()
            && self.is_kept_by_folder(last)
        {
            self.put_back(last);
        }
        true
    }

    /// Takes a file in hand that waited in its folder. Gives its number, by which it is known unless
    /// it has gone back there.
    pub(super) fn admit(&mut self, waiting: Waiting, now: Now) -> FileNo {
        let Waiting {
            path,
            look,
            since,
            marker,
            timeless,
        } = waiting;
        let file = self.add(path, Stability::kept(look, since), marker, now);
        let first_seen = now.wall_of(since);
        if let Some(active) = self.files.get_mut(file) {
            active.timeless = timeless;
            active.learned.first_seen = active.learned.first_seen.min(first_seen);
        }
        self.advance(file, now);
        file
    }

    /// Lets `file`, which is ready for `queue`, wait in its folder if there is no room. Gives whether
    /// it does.
    pub(super) fn give_place_up(&mut self, file: FileNo, queue: Queue) -> bool {
        let is_full = self.files.fresh() >= self.policy.in_hand;
        let gives_up =
            is_full && queue != Queue::Again && !self.is_ordered() && self.is_kept_by_folder(file);
        if gives_up {
            self.put_back(file);
        }
        gives_up
    }

    /// Whether its folder can keep all that is known of `file`.
    fn is_kept_by_folder(&self, file: FileNo) -> bool {
        self.files.get(file).is_some_and(|active| {
            let version = active.still.look.stamp;
            active.knows_only_looks()
                && active.learned.used_marker(version)
                    == self.known.used_marker(&active.path, version)
                && !self.known.is_name_shared(&active.path)
                && self.tree.moving(&active.path) == Some(file)
        })
    }

    fn put_back(&mut self, file: FileNo) {
        if let Some(ActiveFile {
            path,
            still,
            marker,
            ..
        }) = self.files.remove(file)
        {
            self.tree
                .set_waiting(&path, &still.look, still.since, marker);
        }
    }
}

impl ActiveFile {
    /// Whether nothing is known of it but looks.
    fn knows_only_looks(&self) -> bool {
        !self.learned.is_more_than_looks()
            && self.learned.not_before.is_none()
            && self.still.can_be_kept()
            && self.checked == Checked::No
            && self.troubles == 0
            && self.trouble.is_none()
            && self.filing.is_none()
            && !self.detached
            && self.sent.is_none()
    }
}
