//! What the threads go by, as the configuration says it. Each job carries the rules under which it was
//! handed out, so that what is under way ends by those although the configuration has changed meanwhile.

use std::sync::Arc;

use crate::config::{Action, Config};
use crate::flow::endpoint::classify;
use crate::flow::scan::filter::Filter;
use crate::io::check::Inspector;
use crate::io::http::{Client, Shared};
use crate::io::journal::Journal;
use crate::io::scan;
use crate::io::send_fingerprint;
use crate::io::share::Share;
use crate::io::upload::{BytesOut, UploadContext};

/// What does not change while a session lasts.
pub(super) struct Common {
    pub(super) share: Arc<Share>,
    pub(super) journal: Arc<Journal>,
    /// How much of the files that are being sent is out.
    pub(super) out: BytesOut,
    /// To be called when the journal has lines that wait for an fsync.
    pub(super) written: Arc<dyn Fn() + Send + Sync>,
}

/// See the module.
pub(super) struct Rules {
    pub(super) upload: UploadContext,
    send: crate::config::Send,
    http: Arc<Shared>,
    pub(super) inspector: Inspector,
    pub(super) filter: Filter,
    /// `delivered.keep_answer`.
    keeps_answers: bool,
    /// `watch.threads`.
    pub(super) threads: usize,
    /// What `[send]` was like when these were made: see [`crate::io::send_fingerprint`].
    pub(super) fingerprint: String,
}

impl Rules {
    /// Of the configuration. `http` is what all clients of its `[send]` share.
    ///
    /// # Errors
    /// A sentence: a glob of `[watch]` does not compile.
    pub(super) fn new(
        config: &Config,
        common: &Common,
        http: Arc<Shared>,
        fingerprint: String,
    ) -> Result<Arc<Rules>, String> {
        let filter = scan::filter_of(config).map_err(|err| err.to_string())?;
        let upload = UploadContext {
            share: Arc::clone(&common.share),
            journal: Arc::clone(&common.journal),
            answers: classify::Classifier::new(&config.send),
            digest: config.send.digest,
            needs_sha256: Client::needs_sha256(&config.send),
            checks_content: config.check.reads_content(),
            stall_timeout: config.send.stall_timeout,
            out: common.out.clone(),
            keep: config.delivered.action == Action::Keep,
            written: Arc::clone(&common.written),
        };
        Ok(Arc::new(Rules {
            upload,
            send: config.send.clone(),
            http,
            inspector: Inspector {
                share: Arc::clone(&common.share),
                check: config.check.clone(),
            },
            filter,
            keeps_answers: config.delivered.keep_answer,
            threads: config.watch.threads,
            fingerprint,
        }))
    }

    /// A client that sends by them, with a connection of its own.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.send, &self.http).keeping_answers(self.keeps_answers)
    }
}

/// Notices that the files of credentials have changed.
pub(super) struct Credentials {
    rules: Arc<Rules>,
    /// What these files looked like, and what stood for `[send]` then. Before the first look there
    /// are no stamps: the rules may have been made a while ago.
    stamps: Option<Vec<send_fingerprint::Stamp>>,
    fingerprint: String,
}

impl Credentials {
    /// Of those by whose `rules` all begins.
    pub(super) fn new(rules: Arc<Rules>) -> Credentials {
        Credentials {
            fingerprint: rules.fingerprint.clone(),
            stamps: None,
            rules,
        }
    }

    /// What stands for `[send]` and its credentials under these rules, if that is another value than
    /// before although the rules are the same. It is made again only where a file has changed, for it is
    /// asked for with each scan.
    pub(super) fn changed(&mut self, rules: &Arc<Rules>) -> Option<String> {
        if !Arc::ptr_eq(&self.rules, rules) {
            *self = Credentials::new(Arc::clone(rules));
        }
        let stamps = Some(send_fingerprint::stamps(&rules.send));
        if self.stamps == stamps {
            return None;
        }
        self.stamps = stamps;
        let now = send_fingerprint::of(&rules.send);
        (self.fingerprint != now).then(|| {
            self.fingerprint.clone_from(&now);
            now
        })
    }
}
