//! The last failures with their reasons, for people.
//!
//! Invariants:
//! - The newest is first. There are no more than [`FAILURES`].
//! - What came of the same reason is one: an outage does not drive out what failed before it.

use serde::{Deserialize, Serialize};

use crate::flow::file::Rel;
use crate::flow::time::{Wall, rfc3339};

/// How many are kept.
pub const FAILURES: usize = 20;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failures(Vec<Failure>);

/// Something that failed with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it last happened.
    #[serde(with = "rfc3339")]
    pub at: Wall,
    /// To which file it last happened.
    pub path: Rel,
    /// What came of it.
    pub then: Then,
    /// Why, as a sentence for a person.
    pub why: String,
    /// How often that happened in a row, beside what failed for other reasons.
    pub count: u64,
}

/// What comes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is tried again.
    Again,
    /// The file went to dead-letter.
    DeadLetter,
}

impl Failures {
    /// Another one.
    pub fn add(&mut self, at: Wall, path: &Rel, then: Then, why: &str) {
        let is_known = |old: &Failure| old.then == then && old.why == why;
        let count = match self.0.iter().position(is_known) {
            Some(known) => self.0.remove(known).count + 1,
            None => 1,
        };
        self.0.truncate(FAILURES - 1);
        let failure = Failure {
            at,
            path: path.clone(),
            then,
            why: why.into(),
            count,
        };
        self.0.insert(0, failure);
    }

    /// All of them, the newest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Failure> {
        self.0.iter()
    }

    /// The same, to change their texts.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Failure> {
        self.0.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_an_outage_is_one_of_them() {
        let mut failures = Failures::default();
        let mut add = |at: i64, path: &str, why: &str| {
            failures.add(Wall(at), &Rel::new(path.as_bytes()), Then::Again, why);
        };
        add(0, "bad", "422");
        for at in 1..100 {
            add(at, &format!("{at}"), "503");
        }
        let told = |failures: &Failures| {
            let told = failures.iter().map(|it| (it.why.clone(), it.count));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(&failures), [("503".into(), 99), ("422".into(), 1)]);
        for at in 100..130 {
            let path = Rel::new(b"x");
            failures.add(Wall(at), &path, Then::DeadLetter, &format!("no {at}"));
        }
        assert_eq!(failures.iter().count(), FAILURES);
        assert_eq!(told(&failures)[0], ("no 129".into(), 1));
        assert_eq!(told(&failures)[FAILURES - 1], ("no 110".into(), 1));
    }
}
