//! The files of one folder, compactly: all names in one buffer, sorted by their
//! bytes, with the stamps beside them. A file costs its name and 20 bytes.

use crate::flow::file::Stamp;

/// Sorted names, each with its stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    names: Vec<u8>,
    /// Where each name ends in `names`; it begins where the one before it ends.
    ends: Vec<u32>,
    stamps: Vec<Stamp>,
}

impl Listing {
    /// An empty one.
    pub fn new() -> Listing {
        Listing::default()
    }

    /// Adds an entry behind the last one.
    ///
    /// # Panics
    /// If `name` does not sort behind the last name, or the names of this one folder
    /// take more than 4 GiB.
    pub fn push(&mut self, name: &[u8], stamp: Stamp) {
        assert!(
            self.is_empty() || self.name(self.len() - 1) < name,
            "a listing is sorted and names each file once"
        );
        self.names.extend_from_slice(name);
        self.ends
            .push(u32::try_from(self.names.len()).expect("names of one folder below 4 GiB"));
        self.stamps.push(stamp);
    }

    /// How many files are in it.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no file is in it.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name of entry `at`.
    pub fn name(&self, at: usize) -> &[u8] {
        let start = if at == 0 {
            0
        } else {
            self.ends[at - 1] as usize
        };
        &self.names[start..self.ends[at] as usize]
    }

    /// The stamp of entry `at`.
    pub fn stamp(&self, at: usize) -> Stamp {
        self.stamps[at]
    }

    /// The entry called `name`.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All entries, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Stamp)> {
        (0..self.len()).map(|at| (self.name(at), self.stamp(at)))
    }

    /// Gives unused room back.
    pub fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.stamps.shrink_to_fit();
    }
}

/// One name in the merge of two listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Only in the old one: its index.
    Old(usize),
    /// Only in the new one: its index.
    New(usize),
    /// In both: the indices in the old and in the new one.
    Both(usize, usize),
}

/// Walks two sorted listings side by side, in order of the names.
pub fn merge<'a>(old: &'a Listing, new: &'a Listing) -> impl Iterator<Item = Pair> + 'a {
    let (mut left, mut right) = (0, 0);
    std::iter::from_fn(move || {
        let pair = match (left < old.len(), right < new.len()) {
            (false, false) => return None,
            (true, false) => Pair::Old(left),
            (false, true) => Pair::New(right),
            (true, true) => match old.name(left).cmp(new.name(right)) {
                std::cmp::Ordering::Less => Pair::Old(left),
                std::cmp::Ordering::Greater => Pair::New(right),
                std::cmp::Ordering::Equal => Pair::Both(left, right),
            },
        };
        match pair {
            Pair::Old(_) => left += 1,
            Pair::New(_) => right += 1,
            Pair::Both(..) => (left, right) = (left + 1, right + 1),
        }
        Some(pair)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::rng::Rng;
    use std::collections::BTreeMap;

    fn listing(names: &BTreeMap<Vec<u8>, u64>) -> Listing {
        let mut listing = Listing::new();
        for (name, &size) in names {
            listing.push(
                name,
                Stamp {
                    size,
                    ..Stamp::default()
                },
            );
        }
        listing
    }

    #[test]
    fn a_merge_shows_each_name_once_and_on_the_right_side() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut draw = || -> BTreeMap<Vec<u8>, u64> {
                (0..rng.below(30))
                    .map(|_| {
                        (
                            vec![b'a' + rng.below(20) as u8; 1 + rng.below(3) as usize],
                            0,
                        )
                    })
                    .collect()
            };
            let (old, new) = (draw(), draw());
            let (a, b) = (listing(&old), listing(&new));
            let mut seen = Vec::new();
            for pair in merge(&a, &b) {
                match pair {
                    Pair::Old(i) => {
                        assert!(!new.contains_key(a.name(i)));
                        seen.push(a.name(i).to_vec());
                    }
                    Pair::New(i) => {
                        assert!(!old.contains_key(b.name(i)));
                        seen.push(b.name(i).to_vec());
                    }
                    Pair::Both(i, j) => {
                        assert_eq!(a.name(i), b.name(j));
                        seen.push(a.name(i).to_vec());
                    }
                }
            }
            let all: Vec<_> = old
                .keys()
                .chain(new.keys())
                .cloned()
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect();
            assert_eq!(seen, all, "seed {seed}");
        }
    }

    #[test]
    fn find_agrees_with_a_map() {
        let map: BTreeMap<Vec<u8>, u64> = (0..500u64)
            .map(|n| (format!("f{}", n * 7).into_bytes(), n))
            .collect();
        let listing = listing(&map);
        for n in 0..4000 {
            let name = format!("f{n}").into_bytes();
            assert_eq!(
                listing.find(&name).map(|at| listing.stamp(at).size),
                map.get(&name).copied()
            );
        }
    }

    #[test]
    #[should_panic(expected = "sorted")]
    fn names_out_of_order_are_refused() {
        let mut listing = Listing::new();
        listing.push(b"b", Stamp::default());
        listing.push(b"a", Stamp::default());
    }
}
