//! What stands in the way of a single file here, not at the endpoint: it may be unfinished, cannot be
//! read or checked, or not be moved away. When that is said, and that it is over, where many files have
//! the same trouble: [`crate::flow::troubles`].

use super::Engine;
use super::files::{ActiveFile, Seat};
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::status::Then;
use crate::flow::time::Now;
use crate::flow::troubles::{Kind, Trouble};

impl Engine {
    /// `file` waits for rsync to finish it, or for somebody to touch it.
    pub(super) fn await_rsync(&mut self, file: FileNo) {
        self.files.put(file, Seat::Waiting);
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        if !std::mem::replace(&mut active.said_partial, true) {
            let path = active.path.clone();
            self.note(Note::Partial { path });
        }
    }

    /// A check says that `file` may only be unfinished: it is looked at once more when the
    /// grace is over, and sooner if it changes.
    pub(super) fn unfinished(&mut self, file: FileNo, why: String, now: Now) {
        let vouching = self.policy.vouching();
        let is_partial =
            |active: &ActiveFile| vouching.is_partial(active.still.look.stamp, active.timeless);
        if self.files.get(file).is_some_and(is_partial) {
            self.await_rsync(file);
            return;
        }
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let first = active.learned.unfinished.is_none();
        let since = *active.learned.unfinished.get_or_insert(now.mono);
        active.why = Some(why.as_str().into());
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
    pub(super) fn trouble(&mut self, file: FileNo, kind: Kind, why: String, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        let pause = self.policy.backoff.draw(active.troubles, &mut self.rng);
        active.troubles = active.troubles.saturating_add(1);
        active.why = Some(why.as_str().into());
        let path = active.path.clone();
        let until = now.mono + pause;
        let seat = if active.filing.is_some() {
            Seat::RetryFiling(until)
        } else {
            Seat::Pausing(until)
        };
        self.files.release_line(file);
        self.files.put(file, seat);
        self.note_failure(file, Then::Again, &why, now);
        let is_new = self.begin_trouble(file, kind, now);
        let trouble = Trouble {
            kind,
            cause: &why,
            is_new,
            is_known: false,
        };
        if let Some(extent) = self.troubles.raise(trouble, now.mono) {
            self.note(Note::FileTrouble {
                path,
                kind,
                why,
                extent,
                again_in: pause,
            });
        }
    }

    /// `file` has a trouble of this kind from now on. Gives whether it had none of the kind before.
    pub(super) fn begin_trouble(&mut self, file: FileNo, kind: Kind, now: Now) -> bool {
        let is_new = self
            .files
            .get(file)
            .is_some_and(|it| it.trouble != Some(kind));
        if is_new {
            self.end_trouble(file, now);
            if let Some(active) = self.files.get_mut(file) {
                active.trouble = Some(kind);
            }
        }
        is_new
    }

    /// `file` has no trouble any more, or is another version, or is gone.
    pub(super) fn end_trouble(&mut self, file: FileNo, now: Now) {
        let Some(kind) = self.files.get_mut(file).and_then(|it| it.trouble.take()) else {
            return;
        };
        let over = self.troubles.leave(kind, now.mono);
        // An acceptance speaks for itself.
        if let Some(extent) = over.filter(|_| kind != Kind::Deliver) {
            self.note(Note::FileTroubleOver { kind, extent });
        }
    }

    /// What stood in the way of `file` here does so no longer.
    pub(super) fn over(&mut self, file: FileNo, now: Now) {
        let Some(active) = self.files.get_mut(file) else {
            return;
        };
        active.troubles = 0;
        if active.trouble != Some(Kind::Deliver) {
            self.end_trouble(file, now);
        }
    }
}
