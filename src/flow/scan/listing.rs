//! The names in one folder, compactly: all of them in one buffer, sorted by their bytes, with a
//! value for each beside them. An entry costs its name, 4 bytes and the value.

/// Sorted names, each with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<V> {
    names: Vec<u8>,
    /// Where each name ends in `names`; it begins where the one before it ends.
    ends: Vec<u32>,
    values: Vec<V>,
}

impl<V> Default for Listing<V> {
    fn default() -> Listing<V> {
        Listing {
            names: Vec::new(),
            ends: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<V> Listing<V> {
    /// A listing without any entry.
    pub fn new() -> Listing<V> {
        Listing::default()
    }

    /// Adds an entry behind the last one.
    ///
    /// # Panics
    /// If `name` does not sort behind the last name, or the names of this one folder
    /// take more than 4 GiB.
    pub fn push(&mut self, name: &[u8], value: V) {
        assert!(
            self.is_empty() || self.name(self.len() - 1) < name,
            "a listing is sorted and names each file once"
        );
        self.names.extend_from_slice(name);
        self.ends
            .push(u32::try_from(self.names.len()).expect("names of one folder below 4 GiB"));
        self.values.push(value);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no entry.
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

    /// The value of entry `at`.
    pub fn value(&self, at: usize) -> &V {
        &self.values[at]
    }

    /// The value of entry `at`, to be changed.
    pub fn value_mut(&mut self, at: usize) -> &mut V {
        &mut self.values[at]
    }

    /// The value of `name`.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.find(name).map(|at| &self.values[at])
    }

    /// The entry called `name`.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.search(name).ok()
    }

    /// The entry called `name`, or else the number that it would have.
    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// All entries, sorted by the bytes of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        (0..self.len()).map(|at| (self.name(at), &self.values[at]))
    }

    /// The entries from `name` on, or from where it would be.
    pub fn from<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = (usize, &'a [u8])> {
        let (Ok(first) | Err(first)) = self.search(name);
        (first..self.len()).map(|at| (at, self.name(at)))
    }

    /// The same names with other values.
    pub fn map<W>(self, value: impl FnMut(V) -> W) -> Listing<W> {
        Listing {
            names: self.names,
            ends: self.ends,
            values: self.values.into_iter().map(value).collect(),
        }
    }

    /// An empty one with room for all entries of two others.
    pub fn with_room_of<W>(one: &Listing<V>, other: &Listing<W>) -> Listing<V> {
        let entries = one.len() + other.len();
        Listing {
            names: Vec::with_capacity(one.names.len() + other.names.len()),
            ends: Vec::with_capacity(entries),
            values: Vec::with_capacity(entries),
        }
    }

    /// Puts `name`, which is not in it, into its place, and gives that. It moves all that is behind
    /// it: for single names only.
    ///
    /// # Panics
    /// If the names take more than 4 GiB.
    pub fn insert(&mut self, name: &[u8], value: V) -> usize {
        let (Ok(at) | Err(at)) = self.search(name);
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        let length = u32::try_from(name.len()).expect("a name below 4 GiB");
        self.names
            .splice(start as usize..start as usize, name.iter().copied());
        self.ends.insert(at, start);
        for end in &mut self.ends[at..] {
            *end = end
                .checked_add(length)
                .expect("names of one folder below 4 GiB");
        }
        self.values.insert(at, value);
        at
    }

    /// Whether both have the same names.
    pub fn has_names_of<W>(&self, other: &Listing<W>) -> bool {
        self.ends == other.ends && self.names == other.names
    }

    /// Gives unused room back.
    pub fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.values.shrink_to_fit();
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
pub fn merge<'a, V, W>(
    old: &'a Listing<V>,
    new: &'a Listing<W>,
) -> impl Iterator<Item = Pair> + 'a {
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

    fn listing(names: &BTreeMap<Vec<u8>, u64>) -> Listing<u64> {
        let mut listing = Listing::new();
        for (name, &value) in names {
            listing.push(name, value);
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
            assert_eq!(listing.get(&name), map.get(&name));
        }
    }

    #[test]
    #[should_panic(expected = "sorted")]
    fn names_out_of_order_are_refused() {
        let mut listing = Listing::new();
        listing.push(b"b", ());
        listing.push(b"a", ());
    }
}
