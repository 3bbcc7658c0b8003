//! The progress bar of `once` on a terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::flow::engine::Tally;
use crate::io::logging::words::bytes;

#[derive(Debug)]
/// A bar, or nothing where nobody would see it.
pub struct Progress {
    bar: Option<ProgressBar>,
    shown: Option<Instant>,
}

const EVERY: Duration = Duration::from_millis(100);

impl Progress {
    /// `wanted`, and only on a terminal.
    pub fn new(wanted: bool) -> Progress {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| {
            let style = "{bar:32} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left, {msg}";
            let style = ProgressStyle::with_template(style).expect("the template is valid");
            // Drawn at most 10 times a second.
            let target = ProgressDrawTarget::stderr_with_hz(10);
            ProgressBar::with_draw_target(Some(0), target).with_style(style)
        });
        Progress { bar, shown: None }
    }

    /// Shows where it stands, ten times a second at most.
    pub fn show(&mut self, tally: impl FnOnce() -> Tally) {
        let Some(bar) = &self.bar else { return };
        if self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let tally = tally();
        bar.set_length(tally.delivered_bytes + tally.left_bytes);
        bar.set_position(tally.delivered_bytes);
        bar.set_message(format!(
            "{} of {} files",
            tally.delivered,
            tally.delivered + tally.left
        ));
    }

    /// Prints something else to the terminal without disturbing the bar.
    pub fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub fn end(&self, tally: Tally) {
        let Some(bar) = &self.bar else { return };
        bar.finish_and_clear();
        eprintln!(
            "{} files delivered ({}), {} to dead-letter",
            tally.delivered,
            bytes(tally.delivered_bytes),
            tally.condemned
        );
    }
}
