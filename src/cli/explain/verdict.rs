//! One sentence of what is known of a file: pure, so that each case has its test.

use super::facts::{File, Happened, There, wall_of};
use crate::cli::readiness::{Lack, include_globs, lack, last_changed};
use crate::config::{Action, Config};
use crate::flow::file::{Look, Stamp};
use crate::flow::journal::Event;
use crate::flow::policy::TOO_LARGE;
use crate::flow::scan::filter::Rule;
use crate::flow::settle::settle_time;
use crate::flow::shell_words::quote;
use crate::flow::status::{Doing, Status};
use crate::flow::time::Wall;
use crate::io::logging::units::{bytes, files, span};
use crate::io::status::words::{of_closed, of_fault};
use crate::io::status::{Life, life};

/// Why `file` has not been sent yet, and what it waits for, as of `now`.
pub(super) fn verdict(config: &Config, file: &File, status: Option<&Status>, now: Wall) -> String {
    let look = match &file.there {
        There::File { look, .. } => look,
        There::Nothing => return of_absent(file),
        There::Other(kind) => {
            return format!("{kind}: only regular files are sent, and links are never followed");
        }
        There::Unknown(why) => return format!("it cannot be looked at: {why}"),
    };
    of_rule(config, file)
        .or_else(|| of_sending(file, status, now))
        .or_else(|| of_journal(config, file, look.stamp))
        .or_else(|| of_process(status, now))
        .or_else(|| of_writer(config, file, look, now))
        .or_else(|| of_failing(file, look, status, now))
        .or_else(|| of_check(config, file, look, now))
        .or_else(|| of_failures(file, status, now))
        .unwrap_or_else(|| of_queue(status, now))
}

fn of_absent(file: &File) -> String {
    let known = file.history.last().map(of_event);
    let dead = of_dead(file);
    match (known, dead) {
        (_, Some(dead)) => format!("it is not there: {dead}"),
        (Some(known), None) => format!("it is not there: {known}"),
        (None, None) => match &file.rule {
            Some((rule, _)) => format!("it is not there, and would be left alone: {}", of(*rule)),
            None => "it is not there; what was delivered and moved away is in the delivered folder"
                .into(),
        },
    }
}

/// What a line of the journal says.
fn of_event(happened: &Happened) -> String {
    let at = &happened.at;
    match &happened.event {
        Event::Accepted {
            key, status, keep, ..
        } => {
            let then = if *keep { ", and stays" } else { "" };
            format!("it was accepted at {at} with status {status}, under the key {key}{then}")
        }
        Event::Condemned { reason, .. } => format!("it was rejected at {at}: {reason}"),
        Event::Moving { to, .. } => format!("it is on its way to {to} since {at}"),
        Event::Filed => format!("it was delivered and moved away at {at}"),
        Event::Copied => format!("a copy of it went to dead-letter at {at}"),
        Event::Missing { .. } => format!("it was delivered, and has been missing since {at}"),
        Event::Back => format!("it was delivered, and has been there again since {at}"),
        Event::Forgotten => format!("it was delivered, and was forgotten at {at}"),
        Event::Skipped { .. } => format!(
            "it was there at {at}, when `once --skip-existing` took all that was there as delivered"
        ),
    }
}

fn of_dead(file: &File) -> Option<String> {
    let (place, why) = file.dead.first()?;
    let place = quote(place.as_bytes());
    Some(format!(
        "it is in dead-letter: {why}; send it again with: dirpost dead-letter retry {place}"
    ))
}

/// What a rule means.
fn of(rule: Rule) -> &'static str {
    match rule {
        Rule::Own => "it is dirpost's own folder",
        Rule::TooDeep => "it lies deeper than watch.max_depth",
        Rule::Temporary => {
            "its name is one of a hidden or temporary file or of a system's folder \
             (watch.ignore_temporary)"
        }
        Rule::Excluded => "watch.exclude matches it",
        Rule::NotIncluded => "no glob of watch.include matches it",
        Rule::OtherShard => {
            "it is another shard's (watch.shard): ask with that one's configuration"
        }
        Rule::Marker => "it is a marker, and is filed with its file",
    }
}

fn of_rule(config: &Config, file: &File) -> Option<String> {
    let (rule, which) = file.rule.as_ref()?;
    let of = match rule {
        Rule::NotIncluded => {
            let globs = include_globs(config);
            format!("no glob of watch.include matches it ({globs})")
        }
        rule => of(*rule).into(),
    };
    Some(if *which == file.path {
        format!("it is never sent: {of}")
    } else {
        format!("it is never sent, for of its folder {which}: {of}")
    })
}

fn of_sending(file: &File, status: Option<&Status>, now: Wall) -> Option<String> {
    let status = status.filter(|status| life(status, now) == Life::Working)?;
    let sending = status
        .work
        .sending
        .iter()
        .find(|sending| sending.path == file.path)?;
    let since = span(now.since(sending.since));
    Some(format!(
        "it is being sent ({}, attempt {}) for {since}",
        bytes(sending.size),
        sending.attempt
    ))
}

/// What has become of the version that lies there.
fn of_journal(config: &Config, file: &File, stamp: Stamp) -> Option<String> {
    let mut of_this = file
        .history
        .iter()
        .filter(|happened| happened.stamp == stamp);
    let last = of_this.rfind(|happened| !matches!(happened.event, Event::Forgotten))?;
    match &last.event {
        // An equal file that came after that is a new drop.
        Event::Filed => None,
        Event::Accepted { keep: false, .. } | Event::Moving { .. } => Some(format!(
            "{}; it is still to be moved away, and is not sent again",
            of_event(last)
        )),
        Event::Condemned { .. } => Some(format!(
            "{}; it is still to be moved to dead-letter, and is not sent again",
            of_event(last)
        )),
        Event::Copied => Some(format!(
            "{}; it stays here, and is sent again only by `dirpost dead-letter retry`",
            of_event(last)
        )),
        _ if config.delivered.action == Action::Keep => {
            Some(format!("{}; a change of it is sent", of_event(last)))
        }
        _ => Some(of_event(last)),
    }
}

fn of_process(status: Option<&Status>, now: Wall) -> Option<String> {
    let Some(status) = status else {
        return Some("no dirpost is known to work on this folder: start it".into());
    };
    let life = life(status, now);
    if life != Life::Working {
        return Some(crate::io::status::words::headline(status, life, now));
    }
    let fault = status.work.standstill()?;
    Some(format!("nothing is sent: {}", of_fault(fault, now)))
}

/// What only its writer can do.
fn of_writer(config: &Config, file: &File, look: &Look, now: Wall) -> Option<String> {
    let mut text =
        of_settling(config, file, look, now).or_else(|| of_missing(config, file, look))?;
    if let Some(writer) = &file.writer {
        text += &format!("; {writer} has it open for writing");
    }
    Some(text)
}

fn of_settling(config: &Config, file: &File, look: &Look, now: Wall) -> Option<String> {
    let settle = settle_time(config.ready.settle, look.fs);
    let since = match &file.learned {
        Some(learned) => wall_of(file, learned.still.since, now),
        None => last_changed(look),
    };
    let still = now.since(since);
    let left = settle.checked_sub(still).filter(|left| !left.is_zero())?;
    Some(format!(
        "it has been still for {} of the {} of ready.settle: {} to go, if nobody changes it",
        span(still),
        humantime::format_duration(settle),
        span(left)
    ))
}

fn of_missing(config: &Config, file: &File, look: &Look) -> Option<String> {
    if let Some(rule) = &config.ready.marker {
        let marker = quote(rule.path_of(&file.path).as_bytes());
        match file.marker {
            None => return Some(format!("it waits for its marker {marker} (ready.marker)")),
            Some(found) if was_used(file, found.stamp) => {
                return Some(format!(
                    "its marker {marker} vouched for an earlier version: it waits for a new one \
                     (write it again, or touch it)"
                ));
            }
            Some(_) => {}
        }
    }
    // Whether all of its folder shows an mtime of 0 is not known here.
    Some(match lack(config, look, false)? {
        Lack::Content => "it is empty, and waits for content (ready.empty = \"wait\")".into(),
        Lack::Room => TOO_LARGE.into(),
        Lack::Rsync => {
            "its mtime is in the first second of 1970, which is how rsync marks what it \
                        has not finished: it waits until rsync has (if it is whole, touch it)"
                .into()
        }
    })
}

fn was_used(file: &File, marker: Stamp) -> bool {
    let used = |happened: &Happened| match &happened.event {
        Event::Accepted { marker, .. } | Event::Condemned { marker, .. } => *marker,
        _ => None,
    };
    let mut used = file.history.iter().filter_map(used);
    used.any(|(size, mtime)| (size, mtime) == (marker.size, marker.mtime.0))
}

/// What its content, or the look at it, has shown.
fn of_check(config: &Config, file: &File, look: &Look, now: Wall) -> Option<String> {
    if let There::File {
        unreadable: Some(why),
        ..
    } = &file.there
    {
        return Some(format!(
            "it cannot be opened by the user that asks: {why}; if dirpost's own user may not open it \
             either, it waits until he may"
        ));
    }
    let size = look.stamp.size;
    if let Some(max) = config.check.max_size.filter(|&max| size > max) {
        return Some(format!(
            "it has {size} bytes, more than check.max_size ({max}): it goes to dead-letter"
        ));
    }
    let unfinished = file
        .learned
        .as_ref()
        .and_then(|known| known.learned.unfinished)?;
    let until = wall_of(file, unfinished, now);
    let until = until + config.check.grace;
    Some(format!(
        "it does not pass [check] and may only be unfinished: if it is not whole in {}, it goes to \
         dead-letter (check.grace)",
        span(until.since(now))
    ))
}

/// What failed for this version, as the process that works has it.
fn of_failing(file: &File, look: &Look, status: Option<&Status>, now: Wall) -> Option<String> {
    let mut failing = status?.work.failing.iter();
    let failing =
        failing.find(|failing| failing.path == file.path && failing.stamp() == look.stamp)?;
    let (why, next) = (&failing.why, span(failing.next_try.since(now)));
    Some(match failing.doing {
        Doing::Check => format!(
            "it may be unfinished: {why}; if that is still so in {next}, it goes to dead-letter \
             (check.grace)"
        ),
        Doing::Read => format!("it cannot be read or checked: {why}; next try in {next}"),
        Doing::Deliver => {
            let attempts = attempts(failing.attempts);
            format!("{attempts} failed, the last: {why}; next try in {next}")
        }
    })
}

/// What the attempts to send it came to.
fn of_failures(file: &File, status: Option<&Status>, now: Wall) -> Option<String> {
    let learned = file.learned.as_ref().map(|known| &known.learned);
    let tried = learned
        .filter(|learned| learned.attempts > 0)
        .map(|learned| {
            let why = learned
                .failing
                .why()
                .map_or(String::new(), |why| format!(": {why}"));
            let next = learned.not_before.map(|next| wall_of(file, next, now));
            let next = match next {
                Some(next) if next > now => format!("; next try in {}", span(next.since(now))),
                _ => String::new(),
            };
            format!("{} failed{why}{next}", attempts(learned.attempts))
        });
    let closed = status.and_then(|status| status.work.endpoint.closed.as_ref());
    let closed = closed.map(|closed| format!("the endpoint {}", of_closed(closed, now)));
    match (tried, closed) {
        (Some(tried), Some(closed)) => Some(format!("{tried}; {closed}")),
        (Some(one), None) => Some(one),
        (None, Some(closed)) => Some(format!("it is ready, and waits: {closed}")),
        (None, None) => None,
    }
}

fn attempts(count: u32) -> String {
    match count {
        1 => "1 attempt".into(),
        count => format!("{count} attempts"),
    }
}

fn of_queue(status: Option<&Status>, now: Wall) -> String {
    let Some(status) = status else {
        return "it is ready".into();
    };
    let work = &status.work;
    let before = work.files.ready + work.files.checking + work.files.sending;
    let mut text = match before {
        0 => "it is ready, and goes with the next look at the folder".to_string(),
        count => format!(
            "it is ready, and waits for its turn: {} are ready or on their way",
            files(count)
        ),
    };
    if let Some(last) = &work.scan.last {
        text += &format!("; the last look was {} ago", span(now.since(last.ended)));
    }
    text
}
