//! What a batch that files side by side keeps: the operations that are out, and which files wait for
//! which ([`super::side_by_side`]).

use std::collections::BTreeMap;

use super::disk::{Answer, Fault, Side};
use super::{Filing, Place, Rules};

/// An operation that is handed out, and what came of it.
pub(super) struct Out {
    pub what: What,
    pub answer: Option<Result<Answer, Fault>>,
}

/// Who waits for it.
pub(super) enum What {
    /// The machine with this number.
    File(usize),
    /// All machines that ask for the fsync of this folder.
    Folder(Side, Place),
}

/// For each machine those before it that use one of its names. It begins, after each barrier, when
/// these have come to the next one: as it does with one thread.
#[derive(Debug, Default)]
pub(super) struct Rivals(BTreeMap<usize, Vec<usize>>);

impl Rivals {
    /// Those of files that are filed by these rules.
    pub fn of(jobs: &[Filing], rules: &Rules) -> Rivals {
        let mut users: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        let mut rivals: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, job) in jobs.iter().enumerate() {
            for name in names_of(job, rules) {
                let before = users.entry(name).or_default();
                if before.last() == Some(&number) {
                    continue;
                }
                if !before.is_empty() {
                    rivals.entry(number).or_default().extend(&*before);
                }
                before.push(number);
            }
        }
        Rivals(rivals)
    }

    pub fn before(&self, number: usize) -> &[usize] {
        self.0.get(&number).map_or(&[], Vec::as_slice)
    }
}

/// The names of a file that are known before it is filed.
fn names_of(job: &Filing, rules: &Rules) -> impl Iterator<Item = Place> {
    let place = Place::new(super::Area::Watched, job.path.clone());
    let rule = rules.marker.as_ref().filter(|_| job.marker.is_some());
    let marker = rule.map(|rule| place.marker(rule));
    let moving = job.progress.moving();
    let target = moving.map(|moving| moving.to.clone());
    let original = moving.and_then(|moving| moving.copy_of.clone());
    std::iter::once(place)
        .chain(marker)
        .chain(target)
        .chain(original)
}
