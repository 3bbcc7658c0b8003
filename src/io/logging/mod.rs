//! The log: stderr, one line an event.
//!
//! On a terminal or in a file each line begins with the time and the level (by
//! simple_logger). Where stderr is connected to journald, which has the time itself, it
//! begins with the priority as `<N>` (sd-daemon(3)), so that `journalctl -p warning` works.

pub mod words;

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Starts the log. `RUST_LOG`, where it is a level, goes before `level`.
///
/// # Errors
/// If there is a logger already.
pub fn start(level: LevelFilter) -> Result<(), log::SetLoggerError> {
    let level = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(level);
    // The libraries speak of their own matters at debug and below; a person who sets that
    // level wants dirpost's.
    let others = level.min(LevelFilter::Warn);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log::set_max_level(level);
        return log::set_boxed_logger(Box::new(Journald { level, others }));
    }
    simple_logger::SimpleLogger::new()
        .with_level(others)
        .with_module_level("dirpost", level)
        .with_utc_timestamps()
        .init()
}

struct Journald {
    level: LevelFilter,
    others: LevelFilter,
}

impl Log for Journald {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let ours = metadata.target().starts_with("dirpost");
        metadata.level() <= if ours { self.level } else { self.others }
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            // One write a line, so that lines of two threads do not mix.
            let line = format!("<{}>{}\n", priority(record.level()), record.args());
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// syslog(3) has no level below debug.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_those_of_syslog() {
        let all = [
            Level::Error,
            Level::Warn,
            Level::Info,
            Level::Debug,
            Level::Trace,
        ]
        .map(priority);
        assert_eq!(all, [3, 4, 6, 7, 7]);
    }
}
