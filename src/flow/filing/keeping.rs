//! `delivered.keep_for`: what dirpost has put into `done` is removed when its time is over.
//!
//! Only what dirpost itself has put there, at the moment that it did: each name is written down (a
//! [`Kept`]) when its move is on the disk and before the journal says that it is filed. Times of files
//! say nothing of that, for a move keeps the mtime. A name that shows another size or mtime by then is
//! somebody else's, and stays; so does one that is promised to a move which is not filed to its end,
//! for a start after a crash would take what it does not find there for gone.
//!
//! What is written down lies in segments, files that are called after the moment at which each was
//! begun, so that none is read before all that it tells of is over. A line that a crash loses leaves
//! its file in `done` for ever, and so does a crash or a share that was away in the middle of a move
//! with the answer beside it, of which nobody knows then. Nothing is removed by mistake.

use std::time::Duration;

use super::Place;
use super::disk::{Disk, Fault};
use super::kept::Kept;
use crate::flow::file::Entry;
use crate::flow::time::Wall;

/// What has come of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// It is gone.
    Removed,
    /// Nothing of dirpost's is there any more.
    Over,
    /// Its time is not over, or a move that is not filed to its end goes by its name.
    NotYet,
}

impl Kept {
    /// Removes it if its time is over and it is what was filed. `is_promised`: a move that is not
    /// filed to its end goes by this name.
    ///
    /// # Errors
    /// It could not be looked at or removed, and may be there still.
    pub fn expire(
        &self,
        disk: &mut dyn Disk,
        horizon: Wall,
        is_promised: impl Fn(&Place) -> bool,
    ) -> Result<Expired, Fault> {
        if self.at > horizon || is_promised(&self.place) {
            return Ok(Expired::NotYet);
        }
        if !self.is_there(disk)? {
            return Ok(Expired::Over);
        }
        match disk.remove(&self.place) {
            // It may have been removed all the same.
            Err(fault) if self.is_there(disk)? => Err(fault),
            Err(_) | Ok(()) => Ok(Expired::Removed),
        }
    }

    fn is_there(&self, disk: &mut dyn Disk) -> Result<bool, Fault> {
        let entry = disk.look(&self.place)?;
        Ok(matches!(entry, Entry::File(look) if look.stamp == self.stamp))
    }
}

/// For how long one segment is added to: so much longer than `keep_for` a file may stay.
pub fn span(keep_for: Duration) -> Duration {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    (keep_for / 16).clamp(Duration::from_secs(1), DAY)
}

/// How often it is looked whether anything is over.
pub fn interval(keep_for: Duration) -> Duration {
    span(keep_for).min(Duration::from_secs(60 * 60))
}

const SUFFIX: &str = ".jsonl";

/// What a segment that is begun now is called: by its moment in ms since 1970.
pub fn segment_name(begun: Wall) -> String {
    format!("{:015}{SUFFIX}", begun.0.max(0) / 1_000_000)
}

/// When the segment of this name was begun; `None` if it is none.
pub fn segment_begun(name: &[u8]) -> Option<Wall> {
    let name = std::str::from_utf8(name).ok()?;
    let number = name.strip_suffix(SUFFIX)?.parse::<i64>().ok()?;
    number.checked_mul(1_000_000).map(Wall)
}

/// Whether the segment that was begun then is to be added to. After a step of the clock it is not.
pub fn is_current(begun: Wall, now: Wall, keep_for: Duration) -> bool {
    begun <= now && now < begun + span(keep_for)
}

/// Whether all that the segment tells of is over.
pub fn is_due(begun: Wall, now: Wall, keep_for: Duration) -> bool {
    begun + span(keep_for) + keep_for <= now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::{Look, Stamp};
    use crate::flow::filing::FaultKind;
    use crate::flow::filing::disk::{self, Copied};
    use crate::flow::filing::kept::tests::kept;

    /// A `done` with one file in it.
    struct One {
        there: Option<Stamp>,
        /// How a removal answers: it is done all the same, or it is not.
        fails: Option<bool>,
    }

    impl Disk for One {
        fn look(&mut self, _: &Place) -> Result<Entry, Fault> {
            let look = |stamp| {
                Entry::File(Look {
                    stamp,
                    ..Look::default()
                })
            };
            Ok(self.there.map_or(Entry::Absent, look))
        }
        fn remove(&mut self, _: &Place) -> Result<(), Fault> {
            if self.fails != Some(false) {
                self.there = None;
            }
            match self.fails {
                Some(_) => Err(Fault::new(FaultKind::Unclear, "EIO")),
                None => Ok(()),
            }
        }
        fn same_device(&mut self, _: &Place, _: &Place) -> Result<bool, Fault> {
            unreachable!()
        }
        fn digest(&mut self, _: &Place) -> Result<[u8; 32], Fault> {
            unreachable!()
        }
        fn rename(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
            unreachable!()
        }
        fn link(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
            unreachable!()
        }
        fn reserve(&mut self, _: &Place) -> Result<Look, Fault> {
            unreachable!()
        }
        fn rename_over(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
            unreachable!()
        }
        fn copy(&mut self, _: &Place, _: &Place) -> Result<Copied, Fault> {
            unreachable!()
        }
        fn write_beside(&mut self, _: &Place, _: &[u8], _: &Place) -> Result<(), Fault> {
            unreachable!()
        }
        fn make_folder(&mut self, _: &Place) -> Result<(), Fault> {
            unreachable!()
        }
        fn sync_folder(&mut self, _: &Place) -> Result<(), Fault> {
            unreachable!()
        }
        fn append(&mut self, _: &[disk::Line]) -> Result<(), Fault> {
            unreachable!()
        }
        fn append_or_owe(&mut self, _: &[disk::Line]) -> Result<(), Fault> {
            unreachable!()
        }
        fn sync_journal(&mut self) -> Result<(), Fault> {
            unreachable!()
        }
        fn note_kept(&mut self, _: &[Kept]) {
            unreachable!()
        }
    }

    #[test]
    fn only_what_was_filed_goes_and_not_before_its_time_nor_while_a_move_has_its_name() {
        let kept = kept(b"a.csv");
        let there = Some(kept.stamp);
        let expire = |there, fails, horizon, promised| {
            let mut disk = One { there, fails };
            let outcome = kept.expire(&mut disk, horizon, |_| promised);
            (outcome.map_err(drop), disk.there.is_some())
        };
        let early = kept.at - Duration::from_nanos(1);
        let removed = (Ok(Expired::Removed), false);
        assert_eq!(expire(there, None, kept.at, false), removed);
        assert_eq!(expire(there, Some(true), kept.at, false), removed);
        assert_eq!(expire(there, Some(false), kept.at, false), (Err(()), true));
        let not_yet = (Ok(Expired::NotYet), true);
        assert_eq!(expire(there, None, early, false), not_yet);
        assert_eq!(expire(there, None, kept.at, true), not_yet);
        let other = Stamp {
            size: 4,
            ..kept.stamp
        };
        let others = (Ok(Expired::Over), true);
        assert_eq!(expire(Some(other), None, kept.at, false), others);
        assert_eq!(
            expire(None, None, kept.at, false),
            (Ok(Expired::Over), false)
        );
    }

    #[test]
    fn a_segment_is_read_when_its_last_line_is_over() {
        let hour = Duration::from_secs(3600);
        let keep_for = 16 * hour;
        let begun = Wall(1_700_000_000_000_000_000);
        let name = segment_name(begun);
        assert_eq!(segment_begun(name.as_bytes()), Some(begun));
        for odd in ["", ".jsonl", "x.jsonl", "123"] {
            assert_eq!(segment_begun(odd.as_bytes()), None, "{odd}");
        }
        assert!(is_current(begun, begun, keep_for));
        assert!(!is_current(begun, begun + hour, keep_for));
        assert!(
            !is_current(begun, begun - hour, keep_for),
            "the clock was put back"
        );
        assert!(!is_due(begun, begun + keep_for, keep_for));
        assert!(is_due(begun, begun + keep_for + hour, keep_for));
        assert_eq!(span(Duration::from_millis(1)), Duration::from_secs(1));
        assert_eq!(span(10_000 * hour), 24 * hour);
        assert_eq!(interval(10_000 * hour), hour);
    }
}
