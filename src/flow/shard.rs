//! `watch.shard`: which of several processes on one folder a file is for.
//!
//! The hash is of the folder and of the name up to its last dot: so files of one stem are in one part,
//! with the marker that may vouch for all of them, however markers are called. Journals are parted by it
//! (`io::journal::parting`), and it must be the same in every release.

use super::file::Rel;
use super::hash::fnv_1a;
use super::marker::MarkerRule;
use crate::config::Shard;

impl Shard {
    /// Whether what lies at `path`, a file or its marker, is in this part. `marker` is how markers are
    /// called, if there are any.
    pub fn has(self, path: &Rel, marker: Option<&MarkerRule>) -> bool {
        part_of(path, marker, self.count) == self.index
    }

    /// All parts of so many.
    pub fn all(count: u32) -> impl Iterator<Item = Shard> {
        (1..=count).map(move |index| Shard { index, count })
    }
}

/// In which of `count` parts it is, from 1.
fn part_of(path: &Rel, marker: Option<&MarkerRule>, count: u32) -> u32 {
    let name = path.name();
    // Of the marker `a.csv.done` it is the stem of `a.csv`, of `a.done` it is `a` itself.
    let (subject, is_stem) = match marker.and_then(|rule| Some((rule.marked(name)?, rule))) {
        Some((subject, rule)) => (subject, rule.is_shared()),
        None => (name, false),
    };
    let stem = match is_stem {
        true => subject,
        false => stem_of(subject),
    };
    let hash = spread(fnv_1a(path.parent().join(stem).as_bytes()));
    // Less than `count`, which is a u32.
    (hash % u64::from(count.max(1))) as u32 + 1
}

/// A name up to its last dot; the dot of a hidden file begins its name.
fn stem_of(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

/// Lets every bit of a hash count in its lowest ones, which the parts are made of (the finalizer of
/// MurmurHash3).
fn spread(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(path: &str, marker: Option<&MarkerRule>) -> u32 {
        part_of(&Rel::new(path.as_bytes()), marker, 8)
    }

    #[test]
    fn a_marker_is_in_the_part_of_its_file_and_so_are_all_files_of_a_stem() {
        let rules = [MarkerRule::of_name(".done"), MarkerRule::of_stem(".done")];
        for number in 0..200 {
            let of = |ending: &str| format!("in/f{number}{ending}");
            let own = part(&of(".csv"), None);
            assert_eq!(part(&of(".xml"), None), own);
            for rule in &rules {
                assert_eq!(part(&of(".csv"), Some(rule)), own);
            }
            assert_eq!(part(&of(".csv.done"), Some(&rules[0])), own);
            assert_eq!(part(&of(".done"), Some(&rules[1])), own);
            // A stem that has a dot in it.
            let dotted = part(&of(".tar.gz"), None);
            assert_eq!(part(&of(".tar.gz.done"), Some(&rules[0])), dotted);
            assert_eq!(part(&of(".tar.done"), Some(&rules[1])), dotted);
        }
    }

    #[test]
    fn each_file_is_in_one_part_and_the_parts_are_even() {
        let mut counts = [0; 8];
        for number in 0..8_000 {
            let path = Rel::new(format!("in/2026/report-{number:06}.csv").as_bytes());
            let mut having = Shard::all(8).filter(|shard| shard.has(&path, None));
            let shard = having.next().expect("one");
            assert!(having.next().is_none());
            counts[shard.index as usize - 1] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_parts_are_the_same_in_every_release() {
        let parts: Vec<u32> = ["a.csv", "b.csv", "d/a.csv", ".env", "ü"]
            .map(|path| part(path, None))
            .into();
        assert_eq!(parts, PARTS);
    }

    /// As of the first release that had them.
    const PARTS: [u32; 5] = [4, 1, 8, 5, 2];
}
