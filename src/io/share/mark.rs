//! The mark of a share, and what a state folder remembers of the share that it belongs to.
//!
//! Both are a file `id`: in `.dirpost` in the watched folder it holds the id alone, and is the
//! mark; in a state folder elsewhere there stands behind it whether the share carries a mark.

use std::fmt;
use std::io;

use crate::flow::endpoint::idempotency_key::hex;
use crate::io::dir::{Dir, Durability};
use crate::io::journal;

use super::{random, read_small};

/// The name of the file, of both kinds.
pub(super) const ID: &[u8] = b"id";
/// The word behind the id of a share without a mark.
const UNMARKED: &str = "unmarked";
/// The word behind that if it was a mount point.
const MOUNT: &str = "mount";

/// Whose a state is: the id of the share, and what tells the share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 32 hexadecimal digits where dirpost has made it.
    pub id: String,
    /// What the share must show.
    pub mark: Mark,
}

/// What tells that a folder is the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The id stands in `.dirpost/id`.
    Written,
    /// dirpost may not write to it, and nobody has marked it. All there is to see is whether
    /// it is a mount point.
    None {
        /// It was one when it was opened first.
        mount: bool,
    },
}

/// Why a folder is not the share that a state belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    NoMark,
    OtherMark,
    NotMounted,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misfit::NoMark => "it has no mark (.dirpost/id)",
            Misfit::OtherMark => "it carries the mark of another folder (.dirpost/id)",
            Misfit::NotMounted => "nothing is mounted on it any more",
        })
    }
}

impl Identity {
    /// What the state folder `state` remembers; `None` if it remembers nothing.
    ///
    /// # Errors
    /// Of reading the file, and `InvalidData` if no id stands there.
    pub(super) fn read(state: &Dir) -> io::Result<Option<Identity>> {
        match read_small(state, ID) {
            Ok(bytes) => Identity::parse(&String::from_utf8_lossy(&bytes)).map(Some),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// What the state folder `state` remembers, or else what the journal in it names.
    ///
    /// # Errors
    /// Of reading either, and `InvalidData` if no id stands there.
    pub(super) fn recorded(state: &Dir) -> io::Result<Option<Identity>> {
        match Identity::read(state)? {
            Some(known) => Ok(Some(known)),
            None => journal::share_of(state)?
                .map(|share| Identity::parse(&share))
                .transpose(),
        }
    }

    /// Reads back what [`Identity`] displays as.
    ///
    /// # Errors
    /// `InvalidData` if no id stands there.
    pub(super) fn parse(text: &str) -> io::Result<Identity> {
        let mut words = text.split_ascii_whitespace();
        let id = id_of(words.next().unwrap_or("").as_bytes())?;
        let mark = if words.next() == Some(UNMARKED) {
            Mark::None {
                mount: words.next() == Some(MOUNT),
            }
        } else {
            Mark::Written
        };
        Ok(Identity { id, mark })
    }

    /// Makes the state folder `state` remember it.
    ///
    /// # Errors
    /// Of replacing the file.
    pub(super) fn write(&self, state: &Dir) -> io::Result<()> {
        state.replace(ID, format!("{self}\n").as_bytes(), Durability::Durable)
    }

    /// Whether a folder with the mark `found`, which is a mount point or not, may be the share.
    pub(super) fn fits(&self, found: Option<&str>, is_mount: bool) -> Result<(), Misfit> {
        match (self.mark, found) {
            (Mark::Written, Some(found)) if found == self.id => Ok(()),
            (Mark::Written, None) => Err(Misfit::NoMark),
            (Mark::None { mount: true }, None) if !is_mount => Err(Misfit::NotMounted),
            (Mark::None { .. }, None) => Ok(()),
            (_, Some(_)) => Err(Misfit::OtherMark),
        }
    }
}

/// The line in the state folder's `id`, and the name of the share in a journal.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.mark {
            Mark::Written => Ok(()),
            Mark::None { mount: false } => write!(f, " {UNMARKED}"),
            Mark::None { mount: true } => write!(f, " {UNMARKED} {MOUNT}"),
        }
    }
}

/// The mark in `.dirpost`; `None` if there is none.
///
/// # Errors
/// Of reading it, and `InvalidData` if it is no id.
pub(super) fn read_mark(own: &Dir) -> io::Result<Option<String>> {
    match read_small(own, ID) {
        Ok(bytes) => id_of(bytes.trim_ascii()).map(Some),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Makes the mark in `.dirpost`, which has none.
///
/// # Errors
/// Of writing it; `AlreadyExists` if somebody has made one meanwhile.
pub(super) fn make_mark(own: &Dir, id: &str) -> io::Result<()> {
    own.write_new(ID, format!("{id}\n").as_bytes())?;
    own.sync()
}

/// A new id.
///
/// # Errors
/// If the system has no randomness.
pub(super) fn new_id() -> io::Result<String> {
    Ok(hex(&random()?))
}

fn id_of(bytes: &[u8]) -> io::Result<String> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        let why = "it is no id: restore it, or remove it to begin anew";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    #[test]
    fn what_is_remembered_of_a_share_is_read_back() {
        let state = TempDir::new();
        let folder = Dir::at(state.path()).unwrap();
        assert_eq!(Identity::read(&folder).unwrap(), None);
        for mark in [
            Mark::Written,
            Mark::None { mount: false },
            Mark::None { mount: true },
        ] {
            let known = Identity {
                id: "0a1b".into(),
                mark,
            };
            known.write(&folder).unwrap();
            assert_eq!(Identity::read(&folder).unwrap(), Some(known));
        }
    }

    #[test]
    fn a_share_fits_by_its_mark_and_one_without_by_its_mount_point() {
        let with = |mark| Identity {
            id: "0a1b".into(),
            mark,
        };
        let marked = with(Mark::Written);
        assert_eq!(marked.fits(Some("0a1b"), false), Ok(()));
        assert_eq!(marked.fits(Some("7777"), false), Err(Misfit::OtherMark));
        assert_eq!(marked.fits(None, true), Err(Misfit::NoMark));
        let mounted = with(Mark::None { mount: true });
        assert_eq!(mounted.fits(None, true), Ok(()));
        assert_eq!(mounted.fits(None, false), Err(Misfit::NotMounted));
        assert_eq!(
            mounted.fits(Some("0a1b"), true),
            Err(Misfit::OtherMark),
            "who has made this mark?"
        );
        let plain = with(Mark::None { mount: false });
        assert_eq!(plain.fits(None, true), Ok(()));
    }

    #[test]
    fn what_is_no_id_is_not_taken_for_one() {
        for text in ["", "\n", "../x", "0a1b\u{85}", "  "] {
            assert_eq!(
                id_of(text.as_bytes()).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{text:?}"
            );
        }
    }
}
