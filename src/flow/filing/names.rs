//! Names for files that are filed away, and for what lies beside them: short enough, and found again.

use sha2::{Digest as _, Sha256};

use super::Place;
use super::answer::ANSWER;
use super::reason::REASON;
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::file::{Rel, Stamp};
use crate::flow::marker::MarkerRule;

/// The longest name (bytes) that file systems take: `NAME_MAX` of Linux, macOS and the BSDs.
pub(super) const NAME_MAX: usize = 255;

/// How the names of drafts begin: files that are not finished, in folders of dirpost's own.
pub const DRAFT: &str = ".draft-";

/// The name of the draft of a copy of `from`, a place as text.
pub(super) fn draft_of(from: &str) -> Vec<u8> {
    [DRAFT.as_bytes(), hex(&Sha256::digest(from)[..8]).as_bytes()].concat()
}

/// The name of the draft of the reason file `reason`, in the folder of both: called after the file
/// that it is about, so that who goes on after a crash finds it. 0.1.0 called it by the same name.
pub fn draft_of_reason(reason: &[u8]) -> Vec<u8> {
    let file = reason.strip_suffix(REASON).unwrap_or(reason);
    draft_of(&format!("reason/{}", hex(file)))
}

/// The name that a version has in the staging folder.
pub(super) fn staging_name(path: &Rel, stamp: Stamp) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update(stamp.size.to_le_bytes());
    hash.update(stamp.mtime.0.to_le_bytes());
    hex(&hash.finalize()[..8]).into_bytes()
}

/// What lies beside a file where it is filed, under names that are made of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Companions<'a> {
    /// Its reason.
    pub reason: bool,
    /// What the endpoint answered.
    pub answer: bool,
    /// Its marker.
    pub marker: Option<&'a MarkerRule>,
}

impl Companions<'_> {
    /// The names of a file at `place`, and of what lies beside it. The marker of a stem gets a name of
    /// its own: `x`, `x.1` and `x.csv` are of one stem.
    pub fn names(self, place: &Place) -> impl Iterator<Item = Place> {
        let reason = self.reason.then(|| place.beside(REASON));
        let answer = self.answer.then(|| place.beside(ANSWER));
        let own = self.marker.filter(|rule| !rule.is_shared());
        let marker = own.map(|rule| place.marker(rule));
        std::iter::once(place.clone())
            .chain(reason)
            .chain(answer)
            .chain(marker)
    }

    /// By how many bytes their names are longer.
    pub(super) fn longest_ending(self) -> usize {
        let reason = if self.reason { REASON.len() } else { 0 };
        let answer = if self.answer { ANSWER.len() } else { 0 };
        let marker = self.marker.map_or(0, |rule| rule.ending().len());
        reason.max(answer).max(marker)
    }
}

/// `name` with `.number` before its extension (none for 0), cut to `room` bytes.
pub(super) fn numbered(name: &[u8], number: u64, room: usize) -> Vec<u8> {
    if number == 0 && name.len() <= room {
        return name.to_vec();
    }
    let dot = name
        .iter()
        .rposition(|&byte| byte == b'.')
        .filter(|&at| at > 0 && name.len() - at < 32);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let number = if number == 0 {
        String::new()
    } else {
        format!(".{number}")
    };
    let mut end = stem
        .len()
        .min(room.saturating_sub(extension.len() + number.len()));
    // Not in the middle of a character of UTF-8.
    while end > 0 && end < stem.len() && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [&stem[..end], number.as_bytes(), extension].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_before_the_extension() {
        let text =
            |name: &str, number| String::from_utf8(numbered(name.as_bytes(), number, 255)).unwrap();
        assert_eq!(text("x.csv", 0), "x.csv");
        assert_eq!(text("x.csv", 1), "x.1.csv");
        assert_eq!(text("x.tar.gz", 12), "x.tar.12.gz");
        assert_eq!(text("README", 1), "README.1");
        assert_eq!(text(".env", 1), ".env.1");
    }

    #[test]
    fn a_long_name_is_cut_before_its_extension_and_between_characters() {
        let long = format!("{}.csv", "ü".repeat(125));
        let cut = numbered(long.as_bytes(), 3, 243);
        assert!(cut.len() <= 243 && cut.ends_with(b".3.csv"));
        std::str::from_utf8(&cut).unwrap();
    }
}
