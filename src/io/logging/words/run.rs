//! What is said of a run: what it finds first, what it cleans up, what it leaves, and how it ends.

use std::fmt::Write as _;

use log::Level::{self, Info, Warn};

use super::wordless;
use crate::flow::events::Note;
use crate::flow::scan::filter::Ignored;
use crate::io::logging::units::files;

/// "; 3 left alone (2 temporary names, 1 excluded)", or nothing.
fn of_ignored(ignored: Ignored) -> String {
    let temporary = if ignored.temporary == 1 {
        "temporary name"
    } else {
        "temporary names"
    };
    let parts = [
        (ignored.temporary, temporary),
        (ignored.excluded, "excluded"),
        (ignored.not_included, "not included"),
        (ignored.too_deep, "too deep"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    match ignored.all() {
        0 => String::new(),
        all => format!("; {all} left alone ({})", parts.join(", ")),
    }
}

pub(super) fn of_run(note: &Note) -> (Level, String) {
    match note {
        Note::Looked {
            files: all,
            unfiled,
            waiting,
            at_rest,
            ignored,
        } => {
            let mut text = format!("first look: {} to deliver", files(all - waiting));
            if *waiting > 0 {
                let waiting = files(*waiting);
                let _ = write!(text, ", {waiting} waiting for a marker or content");
            }
            if *unfiled > 0 {
                let unfiled = files(*unfiled);
                let _ = write!(text, ", {unfiled} delivered before, to be moved away");
            }
            if *at_rest > 0 {
                let _ = write!(text, ", {} delivered before", files(*at_rest));
            }
            text.push_str(&of_ignored(*ignored));
            (Info, text)
        }
        Note::Expired {
            files: count,
            keep_for,
        } => (
            Info,
            format!(
                "removed from done: {}, filed more than {} ago (delivered.keep_for)",
                files(*count as usize),
                humantime::format_duration(*keep_for)
            ),
        ),
        Note::ExpiryFails { why } => (
            Warn,
            format!(
                "something in done is over its time (delivered.keep_for) and cannot be removed: {why}; \
                 tried again later"
            ),
        ),
        Note::FolderStays { path, why } => (
            Warn,
            format!(
                "{path}: the folder is empty, and cannot be removed: {why}; it stays (see \
                 delivered.remove_emptied)"
            ),
        ),
        Note::LeftForNext { .. } => of_left(note),
        other => wordless(other),
    }
}

/// What `once` has left, when it ends.
fn of_left(note: &Note) -> (Level, String) {
    match note {
        Note::LeftForNext {
            settling,
            left,
            delivered,
            new,
            is_known,
        } => {
            let mut parts = Vec::new();
            if *delivered > 0 {
                parts.push(format!("{} delivered, to be moved away", files(*delivered)));
            }
            if *left > 0 {
                parts.push(format!("{} to be tried again", files(*left)));
            }
            if *settling > 0 {
                parts.push(format!("{} still settling", files(*settling)));
            }
            if *new > 0 {
                parts.push(format!("{} that came meanwhile", files(*new)));
            }
            // That a file settles or comes is no fault, and what is known is said at growing intervals.
            let level = match left + delivered > 0 && !is_known {
                true => Warn,
                false => Info,
            };
            (
                level,
                format!("left for the next run: {}", parts.join(", ")),
            )
        }
        other => wordless(other),
    }
}

/// How a run ends before all is done.
pub(super) fn of_end(note: &Note) -> (Level, String) {
    match note {
        Note::Stopping { in_flight: 0 } => (Info, "stopping".into()),
        Note::Stopping { in_flight } => (
            Info,
            format!(
                "stopping: finishing {} first, up to 10 s; a second signal ends it at once",
                files(*in_flight)
            ),
        ),
        Note::DeadlineOver { in_flight: 0 } => (
            Warn,
            "--deadline is over before all was delivered: stopping".into(),
        ),
        Note::DeadlineOver { in_flight } => (
            Warn,
            format!(
                "--deadline is over before all was delivered: finishing {} first, up to 10 s",
                files(*in_flight)
            ),
        ),
        Note::StoppedEarly { in_flight } => (
            Warn,
            format!(
                "stopped with {} in flight: what the endpoint may have is sent again, under the \
                 same key",
                files(*in_flight)
            ),
        ),
        other => wordless(other),
    }
}
