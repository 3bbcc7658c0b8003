//! Which dead letters are meant beside their names: by age, by status, by a glob on their paths.

use std::time::Duration;

use super::folder::{DeadFile, Reason};
use crate::flow::journal::parse_rfc3339;
use crate::flow::scan::glob::{Case, Glob};
use crate::flow::time::Wall;

/// What the endpoint answered, or that it was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Cause {
    /// One of these statuses, both included.
    Status(u16, u16),
    /// The file did not pass a check, and was not sent.
    Check,
}

impl Cause {
    /// Reads `422`, `400-499` or `check`.
    ///
    /// # Errors
    /// A sentence: it is none of these.
    pub(in crate::cli) fn parse(text: &str) -> Result<Cause, String> {
        if text == "check" {
            return Ok(Cause::Check);
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (low.trim().parse(), high.trim().parse()) {
            (Ok(low), Ok(high)) if low <= high => Ok(Cause::Status(low, high)),
            _ => Err("write a status (422), a range of them (400-499), or check".into()),
        }
    }

    fn is_of(self, status: Option<u16>) -> bool {
        match (self, status) {
            (Cause::Check, None) => true,
            (Cause::Status(low, high), Some(status)) => (low..=high).contains(&status),
            _ => false,
        }
    }
}

/// Reads a glob of the command line.
///
/// # Errors
/// A sentence: it is no glob.
pub(in crate::cli) fn glob(text: &str) -> Result<Glob, String> {
    Glob::new(text, Case::ignored_if(false)).map_err(|err| err.to_string())
}

/// All of it must hold; what is empty holds for all.
#[derive(Debug, Default)]
pub struct Filter {
    /// It has been there for so long at least.
    pub(in crate::cli) older: Option<Duration>,
    /// It has been there for so long at most.
    pub(in crate::cli) newer: Option<Duration>,
    /// Any of them.
    pub(in crate::cli) causes: Vec<Cause>,
    /// Any of them matches where it came from.
    pub(in crate::cli) globs: Vec<Glob>,
}

impl Filter {
    /// Whether it lets everything through.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.older.is_none()
            && self.newer.is_none()
            && self.causes.is_empty()
            && self.globs.is_empty()
    }

    /// Whether `file` is meant, at this moment. One whose reason is lost is not, where its age or its
    /// status is asked for: nobody knows them.
    pub(super) fn lets_through(&self, file: &DeadFile, now: Wall) -> bool {
        let origin = file.origin();
        let is_named = self.globs.is_empty()
            || self
                .globs
                .iter()
                .any(|glob| glob.matches(origin.as_bytes(), origin.name()));
        is_named && (self.has_only_globs() || self.holds_for(&file.reason, now))
    }

    fn has_only_globs(&self) -> bool {
        self.older.is_none() && self.newer.is_none() && self.causes.is_empty()
    }

    fn holds_for(&self, reason: &Reason, now: Wall) -> bool {
        let Reason::Known(reason) = reason else {
            return false;
        };
        let is_cause =
            self.causes.is_empty() || self.causes.iter().any(|cause| cause.is_of(reason.status));
        let is_of_age = match parse_rfc3339(&reason.dead_at) {
            _ if self.older.is_none() && self.newer.is_none() => true,
            None => false,
            Some(dead_at) => {
                let age = now.since(dead_at);
                self.older.is_none_or(|least| age >= least)
                    && self.newer.is_none_or(|most| age <= most)
            }
        };
        is_cause && is_of_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::{Look, Rel};
    use crate::flow::filing::reason::ReasonFile;

    const NOW: &str = "2026-03-10T00:00:00Z";

    fn file(place: &str, status: Option<u16>, dead_at: &str) -> DeadFile {
        let reason = serde_json::json!({
            "path": place, "reason": "bad", "status": status, "dead_at": dead_at,
        });
        let reason = ReasonFile::read(reason.to_string().as_bytes()).unwrap();
        DeadFile {
            place: Rel::new(place.as_bytes()),
            look: Look::default(),
            reason: Reason::Known(Box::new(reason)),
        }
    }

    fn let_through(filter: &Filter) -> Vec<String> {
        let mut files = vec![
            file("a.csv", Some(422), "2026-03-09T00:00:00Z"),
            file("sub/b.csv", Some(413), "2026-03-01T00:00:00Z"),
            file("c.pdf", None, "2026-01-01T00:00:00Z"),
            file("d.csv", Some(422), ""),
        ];
        files.push(DeadFile {
            reason: Reason::Missing,
            ..file("e.csv", None, NOW)
        });
        let now = parse_rfc3339(NOW).unwrap();
        let through = files.iter().filter(|file| filter.lets_through(file, now));
        through.map(|file| file.place.to_string()).collect()
    }

    #[test]
    fn all_that_is_asked_for_must_hold_and_what_is_not_known_is_not_meant() {
        const DAY: Duration = Duration::from_secs(86_400);
        let all = ["a.csv", "sub/b.csv", "c.pdf", "d.csv", "e.csv"];
        assert!(Filter::default().is_empty());
        assert_eq!(let_through(&Filter::default()), all);
        let older = Filter {
            older: Some(2 * DAY),
            ..Filter::default()
        };
        assert_eq!(let_through(&older), ["sub/b.csv", "c.pdf"]);
        let between = Filter {
            newer: Some(30 * DAY),
            ..older
        };
        assert_eq!(let_through(&between), ["sub/b.csv"]);
        let causes = |texts: &[&str]| Filter {
            causes: texts.iter().map(|it| Cause::parse(it).unwrap()).collect(),
            ..Filter::default()
        };
        assert_eq!(let_through(&causes(&["422"])), ["a.csv", "d.csv"]);
        assert_eq!(
            let_through(&causes(&["410-419", "check"])),
            ["sub/b.csv", "c.pdf"]
        );
        let globs = |texts: &[&str]| Filter {
            globs: texts.iter().map(|it| glob(it).unwrap()).collect(),
            ..Filter::default()
        };
        assert_eq!(
            let_through(&globs(&["*.pdf", "sub/**"])),
            ["sub/b.csv", "c.pdf"]
        );
        assert_eq!(
            let_through(&globs(&["e.*"])),
            ["e.csv"],
            "its name is known"
        );
        let both = Filter {
            causes: causes(&["422"]).causes,
            ..globs(&["a.*", "c.*"])
        };
        assert_eq!(let_through(&both), ["a.csv"]);
        for wrong in ["", "x", "499-400", "4xx"] {
            assert!(Cause::parse(wrong).is_err(), "{wrong}");
        }
    }
}
