//! The progress bar of `once` on a terminal.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::flow::engine::Tally;
use crate::io::logging::units::{bytes, files, span};
use crate::io::logging::writer::{Footer, LogWriter};
use crate::io::os::lock;
use crate::io::upload::BytesOut;

/// A bar, or nothing where nobody would see it.
///
/// It only notes how things stand: the log's thread draws, for a terminal may stand still.
#[derive(Debug)]
pub struct Progress {
    log: LogWriter,
    tally: Option<Arc<Mutex<Tally>>>,
    noted: Option<Instant>,
}

/// Interval between two countings of what is left, which cost a look at all files in hand.
const NOTE_EVERY: Duration = Duration::from_millis(100);

impl Progress {
    /// Shows a bar if it is `wanted` and stderr is a terminal.
    /// `out` counts what is out of the files that are being sent.
    pub fn new(wanted: bool, log: &LogWriter, out: &BytesOut) -> Progress {
        let mut progress = Progress {
            log: log.clone(),
            tally: None,
            noted: None,
        };
        if wanted && std::io::stderr().is_terminal() {
            let tally = Arc::new(Mutex::new(Tally::default()));
            log.footer(Some(Box::new(Bar::new(Arc::clone(&tally), out.clone()))));
            progress.tally = Some(tally);
        }
        progress
    }

    /// Notes where it stands, ten times a second at most.
    pub fn show(&mut self, tally: impl FnOnce() -> Tally) {
        let Some(shown) = &self.tally else { return };
        if self.noted.is_some_and(|noted| noted.elapsed() < NOTE_EVERY) {
            return;
        }
        self.noted = Some(Instant::now());
        *lock(shown) = tally();
    }

    /// Takes the bar away and says in a line what was done.
    pub fn end(&mut self, tally: Tally) {
        if self.tally.take().is_some() {
            self.log.footer(None);
            self.log.line(summary(tally));
        }
    }
}

fn summary(tally: Tally) -> String {
    let mut text = format!(
        "{} delivered ({}), {} to dead-letter",
        files(tally.delivered),
        bytes(tally.delivered_bytes),
        tally.condemned
    );
    if tally.left > 0 {
        text += &format!(", {} left", tally.left);
    }
    text + "\n"
}

struct Bar {
    bar: ProgressBar,
    tally: Arc<Mutex<Tally>>,
    out: BytesOut,
    /// The bar goes back for no moment between an attempt that has ended and its acceptance.
    at: u64,
    /// Before the first look there is nothing to show: 0 of 0 would be a full bar.
    is_shown: bool,
}

impl Bar {
    fn new(tally: Arc<Mutex<Tally>>, out: BytesOut) -> Bar {
        // The bar itself takes what the line has left, so that nothing wraps.
        let style = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {time_left}, {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is valid");
        let style = style.with_key("time_left", time_left);
        // Drawn at most 10 times a second.
        let target = ProgressDrawTarget::stderr_with_hz(10);
        Bar {
            bar: ProgressBar::with_draw_target(Some(0), target).with_style(style),
            tally,
            out,
            at: 0,
            is_shown: false,
        }
    }
}

/// How long the rest takes. While nothing moves nobody knows, and what is out waits for its answer.
fn time_left(state: &ProgressState, text: &mut dyn std::fmt::Write) {
    let is_all_out = state.len().is_some_and(|all| state.pos() >= all);
    let _ = if is_all_out || state.per_sec() < 1.0 {
        write!(text, "waiting")
    } else {
        write!(text, "{} left", span(state.eta()))
    };
}

impl Footer for Bar {
    fn draw(&mut self) {
        let tally = *lock(&self.tally);
        let all = tally.delivered + tally.left;
        if all == 0 {
            return;
        }
        self.is_shown = true;
        self.bar
            .set_length(tally.delivered_bytes + tally.left_bytes);
        self.bar
            .set_message(format!("{} of {}", tally.delivered, files(all)));
        let all = tally.delivered_bytes + tally.left_bytes;
        self.at = self.at.max(tally.delivered_bytes + self.out.get()).min(all);
        self.bar.set_position(self.at);
    }

    fn aside(&mut self, write: &mut dyn FnMut()) {
        if self.is_shown {
            self.bar.suspend(write);
        } else {
            write();
        }
    }

    fn clear(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_was_delivered_condemned_and_left() {
        let tally = Tally {
            delivered: 1,
            delivered_bytes: 2048,
            ..Tally::default()
        };
        assert_eq!(
            summary(tally),
            "1 file delivered (2.0 KiB), 0 to dead-letter\n"
        );
        let tally = Tally {
            condemned: 2,
            left: 3,
            ..Tally::default()
        };
        assert_eq!(
            summary(tally),
            "0 files delivered (0 B), 2 to dead-letter, 3 left\n"
        );
    }
}
