//! What the engine has to know of retries from dead-letter before it uses a look.
//!
//! `dirpost dead-letter retry` brings its line onto the disk before it puts the file back. So who
//! has looked at a place, and reads the lines before anything is made of what was seen, finds the
//! line of each version that was put back there by then. That holds for a listing, and also for
//! a check, an upload or a filing that meets another version at its file's place: a version that
//! comes in this way may be sent before the next listing.

use std::sync::{Arc, Mutex};

use super::inbox::Mailbox;
use crate::flow::messages::{Delivered, Input, Inspected};
use crate::io::Gone;
use crate::io::dir::Dir;
use crate::io::os::lock;
use crate::io::retries_file::Watcher;

/// Reads the lines for all threads.
pub(super) struct RetryNews {
    state: Arc<Dir>,
    watcher: Mutex<Watcher>,
    mailbox: Mailbox,
}

impl RetryNews {
    /// For the lines in the folder `state`.
    pub(super) fn new(state: Arc<Dir>, mailbox: Mailbox) -> RetryNews {
        RetryNews {
            state,
            watcher: Mutex::default(),
            mailbox,
        }
    }

    /// Tells the engine of retries, if there are new ones. To be called between a look and its use.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(super) fn tell(&self) -> Result<(), Gone> {
        // Until the engine has it: another thread that finds nothing new must not come first.
        let mut watcher = lock(&self.watcher);
        let Some(retries) = watcher.changed(&self.state) else {
            return Ok(());
        };
        let retries = retries.into_iter();
        let retries = retries.map(|retry| (retry.path, retry.stamp, retry.round));
        self.mailbox.input(Input::Retries(retries.collect()))
    }

    /// [`RetryNews::tell`], if `input` shows another version at the place of a file.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(super) fn tell_before(&self, input: &Input) -> Result<(), Gone> {
        match input {
            Input::Inspected(_, Inspected::Changed(Some(_)))
            | Input::Delivered(_, Delivered::Changed(Some(_)) | Delivered::Unsettled(Some(_))) => {
                self.tell()
            }
            _ => Ok(()),
        }
    }
}
