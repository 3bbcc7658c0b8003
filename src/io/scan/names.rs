//! The names in one folder, sorted, in buffers that are used again for the next one.

use std::io;

use super::pulse::Pulse;
use crate::flow::file::Rel;
use crate::flow::scan::filter::{Class, Filter, Ignored};
use crate::flow::scan::names_hash::{Named, NamesHash};
use crate::io::dir::{Dir, NameKind};

/// The names that are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    pub(super) files: Vec<Name>,
    /// With the suffix.
    pub(super) markers: Vec<Name>,
    pub(super) folders: Vec<Name>,
    hash: NamesHash,
    /// What is there beside them.
    pub(super) ignored: Ignored,
}

/// Where a name stands in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    /// Its first eight bytes as a number: most names are told apart by them.
    start: u64,
    at: u32,
    len: u32,
}

impl Names {
    /// Reads the names in `folder`, which lies at `path`, in place of what was read before.
    ///
    /// # Errors
    /// Whatever reading the folder answers.
    pub(super) fn read(
        &mut self,
        folder: &Dir,
        filter: &Filter,
        path: &Rel,
        pulse: &mut Pulse<'_>,
    ) -> io::Result<()> {
        self.bytes.clear();
        for names in [&mut self.files, &mut self.markers, &mut self.folders] {
            names.clear();
        }
        self.hash = NamesHash::default();
        self.ignored = Ignored::default();
        folder.each_name(&mut |name, kind| {
            pulse.beat();
            let (kind, list) = match kind {
                NameKind::Folder => match filter.rule_of_folder(path, name) {
                    None => (Named::Folder, &mut self.folders),
                    Some(rule) => return self.ignored.count(rule),
                },
                NameKind::File => match filter.judge(path, name) {
                    Ok(Class::File) => (Named::File, &mut self.files),
                    Ok(Class::Marker) => (Named::Marker, &mut self.markers),
                    Err(rule) => return self.ignored.count(rule),
                },
                NameKind::Other => return,
            };
            self.hash.add(kind, name);
            list.push(Name::push(&mut self.bytes, name));
        })
    }

    /// What names they are.
    pub(super) fn hash(&self) -> NamesHash {
        self.hash
    }

    /// How many files and markers there are.
    pub(super) fn count(&self) -> usize {
        self.files.len() + self.markers.len()
    }

    /// The bytes of the file or marker at `at`: the files come first.
    pub(super) fn nth(&self, at: usize) -> &[u8] {
        let name = match at.checked_sub(self.files.len()) {
            None => self.files[at],
            Some(at) => self.markers[at],
        };
        self.bytes(name)
    }

    /// The bytes of a name.
    pub(super) fn bytes(&self, name: Name) -> &[u8] {
        name.of(&self.bytes)
    }

    /// Sorts them, and leaves each only once: a share may show a name twice while its folder
    /// changes.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        for names in [&mut self.files, &mut self.markers, &mut self.folders] {
            names.sort_unstable_by(|a, b| {
                a.start
                    .cmp(&b.start)
                    .then_with(|| a.of(bytes).cmp(b.of(bytes)))
            });
            names.dedup_by(|a, b| a.of(bytes) == b.of(bytes));
        }
    }

    /// Gives back what one unusually large folder has needed.
    pub(super) fn shrink(&mut self) {
        const USUAL: usize = 1 << 16;
        if self.bytes.capacity() > USUAL * 16 {
            *self = Names::default();
        }
    }
}

impl Name {
    fn push(bytes: &mut Vec<u8>, name: &[u8]) -> Name {
        let mut start = [0; 8];
        let common = name.len().min(8);
        start[..common].copy_from_slice(&name[..common]);
        let at = u32::try_from(bytes.len()).expect("names of one folder below 4 GiB");
        bytes.extend_from_slice(name);
        Name {
            start: u64::from_be_bytes(start),
            at,
            len: name.len() as u32,
        }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at as usize..][..self.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::rng::Rng;

    #[test]
    fn names_are_sorted_by_their_bytes_however_they_begin_and_each_stands_once() {
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let mut names = Names::default();
            let mut expected = Vec::new();
            for _ in 0..rng.below(40) {
                let len = 1 + rng.below(12);
                let name: Vec<u8> = (0..len).map(|_| rng.below(3) as u8 * 127).collect();
                names.files.push(Name::push(&mut names.bytes, &name));
                expected.push(name);
            }
            expected.sort();
            expected.dedup();
            names.sort();
            let sorted: Vec<Vec<u8>> = names
                .files
                .iter()
                .map(|&name| names.bytes(name).to_vec())
                .collect();
            assert_eq!(sorted, expected);
        }
    }
}
