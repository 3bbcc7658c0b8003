//! What rsync has not finished: the one place that knows its mark.
//!
//! rsync gives a file its mtime when all of it is there. What a broken transfer leaves behind
//! (rsync(1), `--partial` and `--inplace`) has an mtime in second 0 of 1970: rsync sets the seconds
//! to 0 and keeps the nanoseconds of the source, so that any nanosecond of that second is the mark.

use crate::config::Config;
use crate::flow::file::Stamp;
use crate::flow::time::Wall;

/// The nanoseconds of the second whose every moment is the mark.
const MARKED: std::ops::Range<i64> = 0..1_000_000_000;

/// Whether `mtime` is what rsync gives to a file that it has not finished. It is as well what a file
/// system without times shows for everything: see [`is_timeless`].
pub fn is_marked(mtime: Wall) -> bool {
    MARKED.contains(&mtime.0)
}

/// Whether a folder with the mtime `folder`, whose files have these `stamps`, lies on a file system
/// that keeps no times, where the mark means nothing. Its files alone do not say so, for unfinished
/// ones may be all that is left in it.
pub fn is_timeless(folder: Wall, mut stamps: impl Iterator<Item = Stamp>) -> bool {
    is_marked(folder)
        && stamps.next().is_some_and(|stamp| is_marked(stamp.mtime))
        && stamps.all(|stamp| is_marked(stamp.mtime))
}

/// What vouches for files that carry the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vouching {
    /// Whether a file waits for its marker, which then says that it is whole.
    pub marker: bool,
    /// Whether the check of its content sees an end.
    pub sees_end: bool,
}

impl Vouching {
    /// What these settings have to vouch for a file.
    pub fn new(config: &Config) -> Vouching {
        Vouching {
            marker: config.ready.marker.is_some(),
            sees_end: config.check.sees_end(),
        }
    }

    /// Whether a file may be one that rsync has not finished, with no marker to say otherwise.
    pub fn is_partial(self, stamp: Stamp, timeless: bool) -> bool {
        is_marked(stamp.mtime) && !timeless && !self.marker
    }

    /// Whether such a file waits without a look at its content: nothing in there could vouch for it.
    pub fn waits(self, stamp: Stamp, timeless: bool) -> bool {
        self.is_partial(stamp, timeless) && (!self.sees_end || stamp.size == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime: i64) -> Stamp {
        Stamp {
            size: 1,
            mtime: Wall(mtime),
        }
    }

    #[test]
    fn every_nanosecond_of_second_0_is_the_mark_and_none_beside_it() {
        for (mtime, is_mark) in [
            (-1, false),
            (0, true),
            (1, true),
            (999, true),
            (951_764_476, true),
            (999_999_999, true),
            (1_000_000_000, false),
        ] {
            assert_eq!(is_marked(Wall(mtime)), is_mark, "{mtime}");
        }
    }

    #[test]
    fn a_folder_is_timeless_when_it_and_all_of_at_least_one_file_show_the_mark() {
        let (zero, dated) = (Wall(0), Wall(1_704_067_200_000_000_000));
        let is_timeless = |folder, mtimes: &[i64]| {
            super::is_timeless(folder, mtimes.iter().map(|&mtime| stamp(mtime)))
        };
        assert!(is_timeless(zero, &[0, 0]));
        assert!(!is_timeless(dated, &[0, 0]));
        assert!(!is_timeless(zero, &[0, dated.0]) && !is_timeless(zero, &[dated.0, 0]));
        assert!(!is_timeless(zero, &[]));
    }

    #[test]
    fn a_marker_vouches_for_a_file_and_a_check_of_its_end_does_unless_it_is_empty() {
        let none = Vouching {
            marker: false,
            sees_end: false,
        };
        let marker = Vouching {
            marker: true,
            ..none
        };
        let end = Vouching {
            sees_end: true,
            ..none
        };
        let marked = stamp(1);
        let empty = Stamp { size: 0, ..marked };
        assert!(none.waits(marked, false) && !none.waits(marked, true));
        assert!(!none.waits(stamp(1_000_000_000), false));
        assert!(!marker.waits(marked, false) && !marker.is_partial(marked, false));
        assert!(!end.waits(marked, false) && end.waits(empty, false));
        assert!(end.is_partial(marked, false));
    }
}
