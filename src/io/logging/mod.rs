//! The log: stderr, one line an event.
//!
//! On a terminal or in a file each line begins with the time and the level. Where stderr is
//! connected to journald, which has the time itself, it begins with the priority as `<N>`
//! (sd-daemon(3)), so that `journalctl -p warning` works.
//!
//! Nobody waits for stderr but a thread of the log's own ([`writer`]), and no text that came
//! from outside (names, answers, what other programs said) can forge a line or send control
//! sequences to a terminal: each line is made [`printable`] here, at the one place that all pass.

pub mod units;
pub mod words;
pub mod writer;

use std::sync::RwLock;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use self::writer::LogWriter;
use crate::flow::escape::printable;
use crate::io::os::{clock, stderr};

/// How long the end of the process waits for stderr to take what was said.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The level that `RUST_LOG` asks for, where it is one.
pub fn level_of_environment() -> Option<LevelFilter> {
    std::env::var("RUST_LOG").ok()?.parse().ok()
}

/// Starts the log.
///
/// # Errors
/// A sentence: the thread cannot be started, or there is a logger already.
pub fn start(level: LevelFilter) -> Result<LogWriter, String> {
    let style = if stderr::is_journal() {
        Style::Priority
    } else {
        Style::Time
    };
    let writer = LogWriter::start(Box::new(std::io::stderr()), style)
        .map_err(|err| format!("the thread of the log cannot be started: {err}"))?;
    let logger = Logger {
        style,
        writer: writer.clone(),
    };
    set_level(level);
    log::set_boxed_logger(Box::new(logger)).map_err(|err| err.to_string())?;
    flush_before_panics();
    Ok(writer)
}

/// What is said from now on.
static LEVELS: RwLock<Option<SimpleLogger>> = RwLock::new(None);

/// Says more, or less, from now on.
pub fn set_level(level: LevelFilter) {
    let levels = levels(level);
    log::set_max_level(levels.max_level());
    *LEVELS.write().expect("nothing panics while it is held") = Some(levels);
}

/// The libraries speak of their own matters at debug and below; a person who sets that level
/// wants dirpost's.
fn levels(level: LevelFilter) -> SimpleLogger {
    SimpleLogger::new()
        .with_level(level.min(LevelFilter::Warn))
        .with_module_level("dirpost", level)
}

/// A panic ends the process: what was said before it is likely to explain it.
fn flush_before_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log::logger().flush();
        print(panic);
    }));
}

/// simple_logger decides what is said. It does not say it, for it does so by `eprintln!`,
/// which panics when stderr cannot be written to, and waits for a reader that stands still.
struct Logger {
    style: Style,
    writer: LogWriter,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let levels = LEVELS.read().expect("nothing panics while it is held");
        levels
            .as_ref()
            .is_some_and(|levels| levels.enabled(metadata))
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            let line = self.style.line(record.level(), record.target(), &text);
            self.writer.line(line);
        }
    }

    fn flush(&self) {
        self.writer.flush(FLUSH_MAX);
    }
}

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With the time (UTC), the level and the target.
    Time,
    /// With the priority of syslog(3), for journald.
    Priority,
}

impl Style {
    /// The whole line, with its end, and no other one in it.
    fn line(self, level: Level, target: &str, text: &str) -> String {
        let text = printable(text);
        match self {
            Style::Time => {
                let now = clock::wall().rfc3339_millis();
                format!("{now} {level:<5} [{target}] {text}\n")
            }
            Style::Priority => format!("<{}>{text}\n", priority(level)),
        }
    }
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

    #[test]
    fn a_line_begins_with_time_level_and_target_or_with_its_priority() {
        let line = Style::Time.line(Level::Warn, "dirpost", "x");
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "WARN  [dirpost] x\n");
        assert!(
            time.len() == 24 && time.starts_with("20") && time.ends_with('Z'),
            "{time}"
        );
        assert_eq!(Style::Priority.line(Level::Error, "dirpost", "x"), "<3>x\n");
    }

    #[test]
    fn nothing_that_is_said_makes_a_second_line() {
        for style in [Style::Time, Style::Priority] {
            let line = style.line(
                Level::Info,
                "dirpost",
                "host: vm\n<0>forged\u{9b}2J\u{202e}",
            );
            assert!(
                line.ends_with("host: vm%0A<0>forged%C2%9B2J%E2%80%AE\n"),
                "{line}"
            );
            assert_eq!(line.lines().count(), 1);
        }
    }

    #[test]
    fn libraries_say_no_more_than_warnings() {
        let says = |level: LevelFilter, target: &str, at: Level| {
            levels(level).enabled(&Metadata::builder().target(target).level(at).build())
        };
        assert!(says(LevelFilter::Debug, "dirpost", Level::Debug));
        assert!(!says(LevelFilter::Debug, "rustls::client", Level::Info));
        assert!(says(LevelFilter::Debug, "rustls::client", Level::Warn));
        assert!(!says(LevelFilter::Error, "rustls::client", Level::Warn));
    }
}
