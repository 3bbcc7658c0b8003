//! `dirpost status`: what the process that works on a folder is doing, from its `status.json`.
//!
//! It takes no lock and touches nothing. What lies on a share may hang with it, so that everything is
//! read by a thread that is waited for only so long.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::dead_letter;
use super::exit::Exit;
use super::output::{Output, Printed, complain};
use crate::config::Config;
use crate::flow::status::Status;
use crate::flow::time::Wall;
use crate::io::logging::units::span;
use crate::io::logging::words::holder;
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::share::holder_of;
use crate::io::status::{self, Life, life, words};

/// How long a share is waited for.
const SHARE_WITHIN: Duration = Duration::from_secs(5);

/// How the status is shown.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose status.
    pub config: &'a Config,
    /// As JSON, for programs.
    pub json: bool,
    /// It is stale if it is older.
    pub max_age: Option<Duration>,
    /// Only what is wrong is said.
    pub quiet: bool,
}

/// Does `read`, which may hang with a share, and waits for it for a while; `None` after that.
pub(super) fn within<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (send, receive) = channel();
    let reading = std::thread::Builder::new()
        .name("read".into())
        .spawn(move || {
            // Nobody waits any more where it took too long.
            let _ = send.send(read());
        });
    reading.map_err(|err| format!("a thread cannot be started: {err}"))?;
    receive.recv_timeout(SHARE_WITHIN).map_err(|_| {
        format!(
            "it hangs, and was given up after {} s: the server of the share does not answer",
            SHARE_WITHIN.as_secs()
        )
    })
}

/// Reads the status of the process that works on the folder of `config`.
///
/// # Errors
/// A sentence that says why there is none, and what may be done.
pub(super) fn load(config: &Config) -> Result<Status, String> {
    let of = config.clone();
    let path = config.state.dir.join("status.json");
    let path = path.display();
    let read = within(move || dead_letter::open(&of, &of.state.dir).map(|dir| status::read(&dir)));
    match read.map_err(|why| format!("{path}: {why}"))? {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err(format!(
            "{path} is not there, or cannot be read: no dirpost of this version has worked on {} yet",
            config.watch.dir.display()
        )),
        Err(err) => Err(format!(
            "{}: {}: dirpost has not worked on {} yet, or what it lies on is not mounted",
            config.state.dir.display(),
            explain(&err),
            config.watch.dir.display()
        )),
    }
}

/// Shows the status. 0; 1 where there is none; with `max_age` 3 if it is stale, or there is none.
pub fn status(request: &Request<'_>, out: &mut Output<'_>) -> Exit {
    let status = match load(request.config) {
        Ok(status) => status,
        Err(why) => {
            complain(&why);
            return match request.max_age {
                Some(_) => Exit::Left,
                None => Exit::Failed,
            };
        }
    };
    let now = clock::wall();
    let life = life(&status, now);
    let age = now.since(status.process.written);
    let printed = if request.json {
        as_json(&status, life, now, out)
    } else if request.quiet {
        match words::is_well(&status, life) {
            true => Ok(()),
            false => out.line(&words::headline(&status, life, now)),
        }
    } else {
        let lines = words::lines(&status, life, now);
        as_text(request.config, lines, age, out)
    };
    if let Err(err) = printed {
        return err.exit(Exit::Success);
    }
    match request.max_age {
        Some(max) if age > max || life != Life::Working => {
            complain(&format!("the status is {} old", span(age)));
            Exit::Left
        }
        _ => Exit::Success,
    }
}

/// What stands in the file, and whether the process is there.
fn as_json(status: &Status, life: Life, now: Wall, out: &mut Output<'_>) -> Printed {
    let mut value = serde_json::to_value(status).expect("plain data becomes JSON");
    value["life"] = match life {
        Life::Working => "working",
        Life::Silent => "silent",
        Life::Ended => "ended",
        Life::Killed => "killed",
        Life::SilentElsewhere => "silent_elsewhere",
    }
    .into();
    value["sentence"] = words::headline(status, life, now).into();
    let text = serde_json::to_string_pretty(&value).expect("plain data becomes JSON");
    out.raw(format!("{text}\n").as_bytes())
}

fn as_text(
    config: &Config,
    mut lines: Vec<(&'static str, String)>,
    age: Duration,
    out: &mut Output<'_>,
) -> Printed {
    lines.push(("dead", dead_letters(config)));
    lines.push(("lock", lock_holder(config)));
    lines.push(("as of", format!("{} ago", span(age))));
    for (heading, text) in lines {
        out.line(&format!("{heading:<9}  {text}"))?;
    }
    Ok(())
}

/// What lies in dead-letter, by reason.
fn dead_letters(config: &Config) -> String {
    let of = config.clone();
    let counted = within(move || dead_letter::by_reason(&of)).and_then(|counted| counted);
    match counted {
        Err(why) => format!("{}: {why}", config.dead_letter.dir.display()),
        Ok(counts) if counts.is_empty() => "nothing lies in dead-letter".into(),
        Ok(counts) => {
            let all: usize = counts.values().sum();
            let counts = counts
                .iter()
                .map(|(why, count)| format!("{count} by {why}"));
            let counts: Vec<String> = counts.collect();
            format!(
                "{all} in dead-letter: {}; see: dirpost dead-letter list",
                counts.join(", ")
            )
        }
    }
}

/// Who holds the lock, as far as it is written down.
fn lock_holder(config: &Config) -> String {
    let of = config.clone();
    match within(move || holder_of(&of)) {
        Err(why) => format!("who holds it cannot be read: {why}"),
        Ok(None) => "nobody has written down that he holds it".into(),
        Ok(Some(line)) => format!("held last by {}", holder(&line)),
    }
}
