//! The progress bar of `once` on a terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::flow::engine::Tally;
use crate::shell::report::bytes;

#[derive(Debug)]
/// A bar, or nothing where nobody would see it.
pub struct Progress {
    bar: Option<ProgressBar>,
}

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
        Progress { bar }
    }

    pub fn show(&self, tally: Tally) {
        let Some(bar) = &self.bar else { return };
        bar.set_length(tally.delivered_bytes + tally.moving_bytes);
        bar.set_position(tally.delivered_bytes);
        bar.set_message(format!("{} of {} files", tally.delivered, tally.delivered + tally.moving as u64));
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
