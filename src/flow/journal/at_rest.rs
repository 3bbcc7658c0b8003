//! What was delivered and stays where it is, as the lines of a journal tell it, compactly.
//!
//! A share with `keep` has a line for each of its files, and a later line may outdate an earlier
//! one. To tell which are outdated, what a line says is appended to the notes on its folder: a byte,
//! the name, size, mtime. The notes on one name are added up only when they are asked for, in the
//! order in which they were taken down, or when most of them may be outdated. So a file costs its
//! name and 12 to 15 bytes, without an allocation of its own, and notes that are outdated cost no
//! more than those that are not.

use std::collections::{BTreeMap, btree_map};
use std::fmt;

use crate::flow::file::{Rel, Stamp, last_part};
use crate::flow::time::Wall;

/// The notes on a folder are not added up before there are so many.
const NOTES_MIN: usize = 64;

/// All folders with files that stay, by their paths.
#[derive(Clone, Debug, Default)]
pub struct AtRest {
    folders: BTreeMap<Box<[u8]>, Notes>,
}

/// The notes on the files of one folder.
#[derive(Clone, Default)]
struct Notes {
    bytes: Vec<u8>,
    count: usize,
    /// They are added up when there are so many.
    add_up_at: usize,
}

/// What a line says of a file that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// This version was delivered, with the marker that vouched for it.
    Kept(Stamp, Option<Stamp>),
    /// This version is missing.
    Missing(Stamp, Wall),
    /// It is there again.
    Back(Stamp),
    /// This version is no longer known.
    Gone(Stamp),
    /// A later version is to be filed: none is known that stays.
    Superseded,
}

/// A file that was delivered and stays where it is, or stayed where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileAtRest<'a> {
    /// In its folder.
    pub name: &'a [u8],
    /// The version that was delivered.
    pub stamp: Stamp,
    /// The marker that vouched for it.
    pub marker: Option<Stamp>,
    /// It is missing since then.
    pub missing: Option<Wall>,
    /// The number of the line that says so.
    pub(super) line: u64,
    /// That of the line which says that it is missing.
    pub(super) missing_line: u64,
}

/// The files of one folder that stay.
#[derive(Debug)]
pub struct FolderAtRest {
    /// The folder.
    pub path: Rel,
    notes: Notes,
}

impl AtRest {
    /// No less than there are files, and in the order of that.
    pub fn count_about(&self) -> u64 {
        let counts = self.folders.values().map(|notes| notes.count as u64);
        counts.sum()
    }

    /// How many files there are. They are all added up for that.
    pub fn count(&self) -> usize {
        let counts = self.folders.values().map(|notes| notes.files().count());
        counts.sum()
    }

    /// Whether this version of `path` stays, there or missing. All notes on its folder are read for
    /// that.
    pub fn has(&self, path: &Rel, stamp: Stamp) -> bool {
        let name = path.name();
        let Some(notes) = self.folders.get(folder_of(path.as_bytes(), name)) else {
            return false;
        };
        let (mut reader, mut file) = (Reader(&notes.bytes), None);
        while !reader.0.is_empty() {
            let (of, note, line) = reader.next();
            if of == name {
                file = add(file, of, note, line);
            }
        }
        file.is_some_and(|file| file.stamp == stamp)
    }

    /// Takes down what line number `line` says of `path`. A folder without notes has nothing that
    /// anything else than [`Note::Kept`] could be about.
    pub(super) fn note(&mut self, path: &[u8], note: Note, line: u64) {
        let name = last_part(path);
        let folder = folder_of(path, name);
        match self.folders.get_mut(folder) {
            Some(notes) => notes.add(name, note, line),
            None if matches!(note, Note::Kept(..)) => {
                let notes = self.folders.entry(folder.into()).or_default();
                notes.add(name, note, line);
            }
            None => {}
        }
    }

    /// The files of each folder, sorted by their names; the folders sorted by their paths.
    pub fn folders(&self) -> impl Iterator<Item = (&[u8], FilesOf<'_>)> {
        self.folders
            .iter()
            .map(|(path, notes)| (&**path, FilesOf(notes)))
    }
}

/// The folder of `path`, whose last part is `name`.
fn folder_of<'a>(path: &'a [u8], name: &[u8]) -> &'a [u8] {
    &path[..(path.len() - name.len()).saturating_sub(1)]
}

/// The files of one folder, to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct FilesOf<'a>(&'a Notes);

impl<'a> FilesOf<'a> {
    /// Sorted by their names.
    pub fn files(self) -> impl Iterator<Item = FileAtRest<'a>> {
        self.0.files()
    }
}

impl FolderAtRest {
    /// The files, sorted by their names.
    pub fn files(&self) -> impl Iterator<Item = FileAtRest<'_>> {
        self.notes.files()
    }
}

/// Folder by folder, in the order of their paths: what was noted of one is freed before the next.
impl IntoIterator for AtRest {
    type Item = FolderAtRest;
    type IntoIter = IntoFolders;

    fn into_iter(self) -> IntoFolders {
        IntoFolders(self.folders.into_iter())
    }
}

/// See [`AtRest::into_iter`].
#[derive(Debug)]
pub struct IntoFolders(btree_map::IntoIter<Box<[u8]>, Notes>);

impl Iterator for IntoFolders {
    type Item = FolderAtRest;

    fn next(&mut self) -> Option<FolderAtRest> {
        let (path, notes) = self.0.next()?;
        Some(FolderAtRest {
            path: Rel::new(&path),
            notes,
        })
    }
}

/// By what they add up to, but for the numbers of the lines.
impl PartialEq for AtRest {
    fn eq(&self, other: &AtRest) -> bool {
        fn all(of: &AtRest) -> impl Iterator<Item = (&[u8], FileAtRest<'_>)> {
            let unnumbered = |file| FileAtRest {
                line: 0,
                missing_line: 0,
                ..file
            };
            of.folders().flat_map(move |(path, files)| {
                files.files().map(move |file| (path, unnumbered(file)))
            })
        }
        all(self).eq(all(other))
    }
}

impl Eq for AtRest {}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files()).finish()
    }
}

impl Notes {
    fn add(&mut self, name: &[u8], note: Note, line: u64) {
        if self.count >= self.add_up_at.max(NOTES_MIN) {
            *self = self.added_up();
        }
        encode(&mut self.bytes, name, note, line);
        self.count += 1;
    }

    /// Without what is outdated.
    fn added_up(&self) -> Notes {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for file in self.files() {
            encode(
                &mut bytes,
                file.name,
                Note::Kept(file.stamp, file.marker),
                file.line,
            );
            count += 1;
            if let Some(since) = file.missing {
                let missing = Note::Missing(file.stamp, since);
                encode(&mut bytes, file.name, missing, file.missing_line);
                count += 1;
            }
        }
        Notes {
            bytes,
            count,
            add_up_at: 2 * count,
        }
    }

    fn files(&self) -> Files<'_> {
        let mut starts = Vec::with_capacity(self.count);
        let mut reader = Reader(&self.bytes);
        while !reader.0.is_empty() {
            starts.push(self.bytes.len() - reader.0.len());
            reader.next();
        }
        let name = |at: usize| Reader(&self.bytes[at..]).name();
        // Stable: the notes on one name stay in their order.
        starts.sort_by(|&one, &other| name(one).cmp(name(other)));
        Files {
            bytes: &self.bytes,
            starts: starts.into_iter().peekable(),
        }
    }
}

/// The notes on each name, added up.
struct Files<'a> {
    bytes: &'a [u8],
    starts: std::iter::Peekable<std::vec::IntoIter<usize>>,
}

impl<'a> Iterator for Files<'a> {
    type Item = FileAtRest<'a>;

    fn next(&mut self) -> Option<FileAtRest<'a>> {
        loop {
            let (name, note, line) = Reader(&self.bytes[self.starts.next()?..]).next();
            let mut file = add(None, name, note, line);
            let bytes = self.bytes;
            let is_same = |&at: &usize| Reader(&bytes[at..]).name() == name;
            while let Some(at) = self.starts.next_if(is_same) {
                let (_, note, line) = Reader(&bytes[at..]).next();
                file = add(file, name, note, line);
            }
            if file.is_some() {
                return file;
            }
        }
    }
}

/// What is known of `name` after a note, and what was known before it.
fn add<'a>(
    file: Option<FileAtRest<'a>>,
    name: &'a [u8],
    note: Note,
    line: u64,
) -> Option<FileAtRest<'a>> {
    let about = |stamp| file.filter(|file| file.stamp == stamp);
    match note {
        Note::Kept(stamp, marker) => Some(FileAtRest {
            name,
            stamp,
            marker,
            missing: None,
            line,
            missing_line: 0,
        }),
        Note::Missing(stamp, since) => match about(stamp) {
            Some(known) => Some(FileAtRest {
                missing: Some(since),
                missing_line: line,
                ..known
            }),
            None => file,
        },
        Note::Back(stamp) => match about(stamp) {
            Some(known) => Some(FileAtRest {
                missing: None,
                ..known
            }),
            None => file,
        },
        Note::Gone(stamp) => match about(stamp) {
            Some(_) => None,
            None => file,
        },
        Note::Superseded => None,
    }
}

const KEPT: u8 = 0;
const KEPT_WITH_MARKER: u8 = 1;
const MISSING: u8 = 2;
const BACK: u8 = 3;
const GONE: u8 = 4;
const SUPERSEDED: u8 = 5;

fn encode(to: &mut Vec<u8>, name: &[u8], note: Note, line: u64) {
    let kind = match note {
        Note::Kept(_, None) => KEPT,
        Note::Kept(_, Some(_)) => KEPT_WITH_MARKER,
        Note::Missing(..) => MISSING,
        Note::Back(_) => BACK,
        Note::Gone(_) => GONE,
        Note::Superseded => SUPERSEDED,
    };
    to.push(kind);
    put_number(to, name.len() as u64);
    to.extend_from_slice(name);
    put_number(to, line);
    match note {
        Note::Kept(stamp, marker) => {
            put_stamp(to, stamp);
            if let Some(marker) = marker {
                put_stamp(to, marker);
            }
        }
        Note::Missing(stamp, since) => {
            put_stamp(to, stamp);
            to.extend(since.0.to_le_bytes());
        }
        Note::Back(stamp) | Note::Gone(stamp) => put_stamp(to, stamp),
        Note::Superseded => {}
    }
}

fn put_stamp(to: &mut Vec<u8>, stamp: Stamp) {
    put_number(to, stamp.size);
    to.extend(stamp.mtime.0.to_le_bytes());
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow (LEB128).
fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads what [`encode`] wrote.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next note, with the name that it is about and the number of its line.
    fn next(&mut self) -> (&'a [u8], Note, u64) {
        let kind = self.0[0];
        let name = self.name();
        let line = self.number();
        let note = match kind {
            KEPT => Note::Kept(self.stamp(), None),
            KEPT_WITH_MARKER => Note::Kept(self.stamp(), Some(self.stamp())),
            MISSING => Note::Missing(self.stamp(), Wall(self.fixed())),
            BACK => Note::Back(self.stamp()),
            GONE => Note::Gone(self.stamp()),
            _ => Note::Superseded,
        };
        (name, note, line)
    }

    /// The name that the next note is about, which is passed.
    fn name(&mut self) -> &'a [u8] {
        self.0 = &self.0[1..];
        let len = self.number() as usize;
        let (name, rest) = self.0.split_at(len);
        self.0 = rest;
        name
    }

    fn stamp(&mut self) -> Stamp {
        Stamp {
            size: self.number(),
            mtime: Wall(self.fixed()),
        }
    }

    fn fixed(&mut self) -> i64 {
        let (bytes, rest) = self.0.split_first_chunk().expect("a whole note");
        self.0 = rest;
        i64::from_le_bytes(*bytes)
    }

    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.0[0];
            self.0 = &self.0[1..];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }
}
