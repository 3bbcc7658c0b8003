//! What a folder keeps of a name beside its stamp: 8 bytes.

use crate::flow::file::Fingerprint;
use crate::flow::time::Mono;

/// What a name is to dirpost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Delivered, and kept in place.
    AtRest,
    /// It waits for its turn, and has been still since then.
    Waiting(Mono),
    /// Its writer has yet to do something; still since then.
    Idle(Mono),
    /// The engine has a record of it.
    InMotion,
    /// It has left its place: what is listed there next is new, but not in the listing of this scan,
    /// which may show what has been filed away meanwhile.
    Left(Option<u64>),
    /// Something lies there, and is new in the next listing: the listing of this scan has shown it after
    /// a file of this name had left, and may have been out of date; or, without a scan, it is not to be
    /// taken for now.
    PassedOver(Option<u64>),
}

/// A [`State`] in 4 bytes, with the fingerprint of the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The kind in the upper 3 bits, the value of that kind below.
    packed: u32,
    pub print: Fingerprint,
}

const VALUE_BITS: u32 = 29;
const VALUES: u32 = (1 << VALUE_BITS) - 1;
/// A moment is kept in steps of so many milliseconds, rounded up: nothing is due early.
const STEP_MS: i64 = 16;
/// No scan: the greatest value stands for it.
const NO_SCAN: u32 = VALUES;

/// The moment from which a folder's marks count theirs. They reach 49 days back, which is older than
/// anything that matters, and 49 days ahead, until the next listing of the folder moves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Base(Mono);

impl Base {
    /// The base for marks that are made from `now` on.
    pub fn at(now: Mono) -> Base {
        // On a whole step, so that a moment is the same one by any base.
        let steps = now.0.div_euclid(STEP_MS) - i64::from(VALUES / 2);
        Base(Mono(steps.saturating_mul(STEP_MS)))
    }

    fn steps(self, moment: Mono) -> u32 {
        let since = moment.0.saturating_sub(self.0.0).max(0);
        let steps = since.saturating_add(STEP_MS - 1) / STEP_MS;
        u32::try_from(steps).unwrap_or(VALUES).min(VALUES)
    }

    fn moment(self, steps: u32) -> Mono {
        Mono(
            self.0
                .0
                .saturating_add(i64::from(steps).saturating_mul(STEP_MS)),
        )
    }
}

impl Mark {
    /// The mark of what is at rest.
    pub const AT_REST: Mark = Mark {
        packed: 0,
        print: Fingerprint(0),
    };

    pub fn new(state: State, print: Fingerprint, base: Base) -> Mark {
        let of_scan =
            |scan: Option<u64>| scan.map_or(NO_SCAN, |scan| (scan % u64::from(NO_SCAN)) as u32);
        let (kind, value) = match state {
            State::AtRest => return Mark::AT_REST,
            State::Waiting(since) => (1, base.steps(since)),
            State::Idle(since) => (2, base.steps(since)),
            State::InMotion => (3, 0),
            State::Left(scan) => (4, of_scan(scan)),
            State::PassedOver(scan) => (5, of_scan(scan)),
        };
        Mark {
            packed: kind << VALUE_BITS | value,
            print,
        }
    }

    /// The state; of a scan only its number modulo 2^29 - 1.
    pub fn state(self, base: Base) -> State {
        let value = self.packed & VALUES;
        let scan = (value != NO_SCAN).then_some(u64::from(value));
        match self.packed >> VALUE_BITS {
            0 => State::AtRest,
            1 => State::Waiting(base.moment(value)),
            2 => State::Idle(base.moment(value)),
            3 => State::InMotion,
            4 => State::Left(scan),
            _ => State::PassedOver(scan),
        }
    }

    /// Whether it waits, and since which step of its base: a number to sort by.
    pub fn waiting_step(self) -> Option<u32> {
        (self.packed >> VALUE_BITS == 1).then_some(self.packed & VALUES)
    }

    /// Whether it has left its place by the scan of that number, whose listing says nothing of what is
    /// there now.
    pub fn has_left_in(self, scan: u64) -> bool {
        [State::Left(Some(scan)), State::PassedOver(Some(scan))]
            .map(|state| Mark::new(state, self.print, Base::default()))
            .contains(&self)
    }
}

impl State {
    /// Since when it has been still, if it waits for anything.
    pub fn since(self) -> Option<Mono> {
        match self {
            State::Waiting(since) | State::Idle(since) => Some(since),
            State::AtRest | State::InMotion | State::Left(_) | State::PassedOver(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn a_mark_gives_back_what_was_put_in_and_no_moment_before_it() {
        let now = Mono(400 * DAY + 5);
        let base = Base::at(now);
        for state in [
            State::AtRest,
            State::InMotion,
            State::Left(None),
            State::Left(Some(0)),
            State::Left(Some(7)),
            State::PassedOver(None),
            State::PassedOver(Some(7)),
        ] {
            let mark = Mark::new(state, Fingerprint(3), base);
            assert_eq!(mark.state(base), state);
        }
        for before in [0, 1, 15, 16, 17, 5_000, 48 * DAY] {
            let since = Mono(now.0 - before);
            for state in [State::Waiting(since), State::Idle(since)] {
                let kept = Mark::new(state, Fingerprint(3), base).state(base);
                let kept = kept.since().expect("it waits");
                assert!(kept >= since && kept.0 < since.0 + STEP_MS, "{before}");
            }
        }
        // What is older counts as that old, so that it comes first all the same.
        let old = Mark::new(State::Waiting(Mono(0)), Fingerprint(3), base);
        assert_eq!(old.waiting_step(), Some(0));
    }

    #[test]
    fn a_moment_does_not_creep_when_it_is_put_down_again_by_later_bases() {
        let mut base = Base::at(Mono(0));
        let mut mark = Mark::new(State::Waiting(Mono(1)), Fingerprint(3), base);
        for later in 1..100 {
            let state = mark.state(base);
            assert_eq!(state, State::Waiting(Mono(STEP_MS)));
            base = Base::at(Mono(later * 5_003));
            mark = Mark::new(state, Fingerprint(3), base);
        }
    }

    #[test]
    fn a_name_that_left_is_passed_over_in_the_listing_of_that_scan_alone() {
        for state in [State::Left, State::PassedOver] {
            let mark = Mark::new(state(Some(7)), Fingerprint(3), Base::default());
            assert!(mark.has_left_in(7) && !mark.has_left_in(8));
            let mark = Mark::new(state(None), Fingerprint(3), Base::default());
            assert!(!mark.has_left_in(7));
        }
    }
}
