//! What an attempt comes to.

/// What is done about a file after one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Accepted,
    /// This file is bad.
    Rejected,
    /// The endpoint or the config is wrong, mostly for every file: the gate closes.
    Refused,
    /// Later, and the endpoint says so of itself: the gate closes.
    Busy,
    /// Later, this file.
    Later,
    /// No answer: the gate closes. `reached` is false where no file can be the cause.
    Down {
        /// Whether the endpoint was reached, so that the file may be the cause.
        reached: bool,
    },
}
