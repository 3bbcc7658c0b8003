//! A status in words: one sentence that says whether all is well, and then the rest.

use std::time::Duration;

use super::Life;
use crate::flow::status::{Closed, Fault, Part, State, Status, Sum, Work};
use crate::flow::time::Wall;
use crate::io::logging::units::{bytes, files, span};

/// Whether all is well; else what is wrong, since when, and what to do.
pub fn headline(status: &Status, life: Life, now: Wall) -> String {
    let process = &status.process;
    let written = span(now.since(process.written));
    let who = format!("pid {} on {}", process.pid, process.host);
    match life {
        Life::Working => sentence(&status.work, now),
        Life::Ended if process.once => {
            let left = &status.work.files;
            match (left.to_deliver(), left.unfiled) {
                (0, 0) => format!("the last run has ended {written} ago, with nothing left to do"),
                (0, unfiled) => format!(
                    "the last run has ended {written} ago, and has left {} that could not be moved \
                     away to the next",
                    files(unfiled)
                ),
                (left, _) => format!(
                    "the last run has ended {written} ago, and has left {} to the next",
                    files(left)
                ),
            }
        }
        Life::Ended => format!("not running: {who} has ended {written} ago; start it again"),
        Life::Killed => format!(
            "not running: {who} was killed, or its machine restarted, some time in the last \
             {written}; start it again: what was in flight is sent again under the same key"
        ),
        Life::Silent => format!(
            "standing still: {who} has shown no sign of life for {written}; its state folder hangs \
             or is full, or it is stopped: see its log, and restart it if the log stands still as well"
        ),
        Life::SilentElsewhere => format!(
            "unknown: {who} has shown no sign of life here for {written}; look there whether it runs, \
             and whether this share is mounted"
        ),
    }
}

/// Whether there is nothing that a person has to look at.
pub fn is_well(status: &Status, life: Life) -> bool {
    let work = &status.work;
    match life {
        Life::Working => work.faults.is_empty() && work.endpoint.closed.is_none(),
        Life::Ended => {
            let left = work.files.to_deliver() + work.files.unfiled;
            status.process.once && left == 0
        }
        Life::Killed | Life::Silent | Life::SilentElsewhere => false,
    }
}

/// What a process that works says of itself: whether all is well; else what is wrong, and since when.
pub fn sentence(work: &Work, now: Wall) -> String {
    if let Some(sentence) = while_opening(work, now) {
        return sentence;
    }
    let waiting = files(work.files.to_deliver());
    if let Some(fault) = work.standstill() {
        let what = of_fault(fault, now);
        return format!("in trouble: {what}; {waiting} waiting, nothing is lost");
    }
    if let Some(closed) = &work.endpoint.closed {
        let closed = of_closed(closed, now);
        return format!("in trouble: the endpoint {closed}; {waiting} waiting, nothing is lost");
    }
    if let Some(fault) = work.faults.first() {
        return format!("nearly well: {}; all else goes on", of_fault(fault, now));
    }
    if work.state == State::Stopping {
        return "stopping: what is on its way is finished first".into();
    }
    if work.scan.completed == 0 && work.scan.last.is_none() {
        return "starting: the first look at the folder is not over yet".into();
    }
    match work.files.to_deliver() {
        0 => {
            let delivered = files(work.delivered.since_start.files);
            format!("all is well: nothing waits, {delivered} delivered since the start")
        }
        _ => format!("all is well: {waiting} on the way"),
    }
}

/// What is said while the folder is opened or waited for, or another process works on it.
fn while_opening(work: &Work, now: Wall) -> Option<String> {
    /// Opening takes no longer than a moment, but for a journal of many millions of lines.
    const HANGS_AFTER: Duration = Duration::from_secs(30);
    if work.state != State::Opening {
        return None;
    }
    if let Some(holder) = &work.standby {
        return Some(format!(
            "standby: another dirpost works on this folder ({holder})"
        ));
    }
    if let Some(fault) = work.standstill() {
        return Some(format!(
            "in trouble: {}; it is waited for, nothing is lost",
            of_fault(fault, now)
        ));
    }
    let took = work.scan.running_since.map(|since| now.since(since));
    Some(match took {
        Some(took) if took >= HANGS_AFTER => format!(
            "in trouble: opening the folder has been hanging for {}; nothing is lost",
            span(took)
        ),
        _ => match work.faults.first() {
            Some(fault) => format!(
                "starting: the folder is being opened; {}",
                of_fault(fault, now)
            ),
            None => "starting: the folder is being opened".into(),
        },
    })
}

/// What to do where all is not well; `None` where it is, or where nothing helps but waiting.
pub fn advice(work: &Work) -> Option<&'static str> {
    let gravest = work.standstill().or(match work.endpoint.closed {
        Some(_) => None,
        None => work.faults.first(),
    });
    if let Some(fault) = gravest {
        return Some(match fault.what {
            Part::Share => {
                "mount the share, or look at its file server; dirpost goes on by itself when it is back"
            }
            Part::Scan => {
                "the file server does not answer: look there; dirpost goes on by itself when it does"
            }
            Part::Journal => "make room where the state folder is, or mend its permissions",
            Part::Folder => "mend the permissions of the folder, or look at the file server",
            Part::File => {
                "mend the permissions of the file, or look at the disk; dirpost explain FILE says more"
            }
            Part::Restless => {
                "if it is a log, exclude it (watch.exclude); else see who writes to it"
            }
            Part::Configuration => {
                "mend the configuration file and reload it again, or restart dirpost where that is what it says"
            }
            Part::Filing => {
                "make room where delivered files and dead letters go, or mend the permissions there"
            }
        });
    }
    if work.endpoint.brake_holds {
        return Some(
            "see why the endpoint rejects everything; the next file that it accepts releases the brake, \
             and the log says how those in dead-letter are sent again",
        );
    }
    if work.endpoint.closed.is_some() {
        return Some(
            "look at the endpoint, or at the key that is named; after a change, a restart or SIGUSR1 (kill \
             -USR1 and the pid) lets one file try at once",
        );
    }
    let hangs = work.state == State::Opening && work.standby.is_none();
    hangs.then_some(
        "if that lasts for more than a moment, the file server does not answer: look there",
    )
}

/// What is said of an endpoint that does not accept.
pub fn of_closed(closed: &Closed, now: Wall) -> String {
    let next = match closed.next_try {
        None => "a try is under way".into(),
        Some(at) if at > now => format!("next try in {}", span(at.since(now))),
        Some(_) => "the next try is due".into(),
    };
    let since = span(now.since(closed.since));
    format!("has not accepted for {since}: {}; {next}", closed.why)
}

/// What is said of a fault.
pub fn of_fault(fault: &Fault, now: Wall) -> String {
    let since = span(now.since(fault.since));
    let path = match &fault.path {
        Some(path) if path.as_bytes().is_empty() => "the watched folder".into(),
        Some(path) => path.to_string(),
        None => String::new(),
    };
    let why = &fault.why;
    let more = match fault.count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    match fault.what {
        Part::Share => format!("the folder has been away for {since}: {why}"),
        Part::Scan => format!("a look at the folder has been hanging for {since}"),
        Part::Journal => format!("the journal cannot be written for {since}: {why}"),
        Part::Folder => format!("{path}{more} cannot be listed for {since}: {why}"),
        Part::File => format!("{path}{more} cannot be read or checked for {since}: {why}"),
        Part::Restless => format!(
            "{path}{more} has been changing for {since} and more, and is not sent before it is still: is it \
             a log? exclude it (watch.exclude)"
        ),
        Part::Filing => format!(
            "{path}{more} is accepted or rejected, and cannot be moved away for {since}: {why}"
        ),
        Part::Configuration => {
            format!("the configuration was read again {since} ago, and goes on as before: {why}")
        }
    }
}

/// All of it, a line each: a heading and the text.
pub fn lines(status: &Status, life: Life, now: Wall) -> Vec<(&'static str, String)> {
    let process = &status.process;
    let mut lines = vec![("dirpost", headline(status, life, now))];
    if !matches!(life, Life::Working) {
        let written = span(now.since(process.written));
        lines.push(("as of", format!("{written} ago, as it was then:")));
    }
    let config = process.config.as_deref().unwrap_or("none: DIR and URL");
    let up = span(now.since(process.started));
    lines.push((
        "process",
        format!(
            "{}, pid {} on {}, started {up} ago; configuration: {config}, read {} ago",
            process.version,
            process.pid,
            process.host,
            span(now.since(process.config_read))
        ),
    ));
    lines.push(("folder", of_folder(status, now)));
    lines.push(("endpoint", of_endpoint(status, now)));
    of_files(status, now, &mut lines);
    of_deliveries(status, now, &mut lines);
    for fault in &status.work.faults {
        lines.push(("fault", of_fault(fault, now)));
    }
    lines
}

fn of_folder(status: &Status, now: Wall) -> String {
    let scan = &status.work.scan;
    let mut text = status.process.dir.clone();
    match &scan.last {
        None => text += ": no look at it is over yet",
        Some(last) => {
            let (ended, took) = (
                span(now.since(last.ended)),
                span(Duration::from_millis(last.took_ms)),
            );
            let folders = match last.folders_looked_at {
                1 => "1 folder looked at in full".into(),
                count => format!("{count} folders looked at in full"),
            };
            text += &format!(": last look {ended} ago, took {took}, {folders}");
        }
    }
    if let Some(since) = scan.running_since {
        text += &format!("; one under way for {}", span(now.since(since)));
    }
    text
}

fn of_endpoint(status: &Status, now: Wall) -> String {
    let endpoint = &status.work.endpoint;
    let mut text = status.process.url.clone();
    match &endpoint.closed {
        None => text += ": accepts, as far as is known",
        Some(closed) => text += &format!(": {}", of_closed(closed, now)),
    }
    if endpoint.brake_holds {
        text += &format!(
            "; it rejected {} files in a row, so that no more go to dead-letter until it accepts one",
            endpoint.rejected_in_a_row
        );
    }
    if endpoint.command_brake_holds {
        text += "; check.command rejects every file, so that no more go to dead-letter until it \
                 accepts one";
    }
    text
}

fn of_files(status: &Status, now: Wall, lines: &mut Vec<(&'static str, String)>) {
    let (work, known) = (&status.work, &status.work.files);
    if work.state == State::Opening {
        let text = "not known while the folder is not open";
        return lines.push(("waiting", text.into()));
    }
    let kinds = [
        (known.ready, "ready"),
        (known.settling, "settling"),
        (known.checking, "being checked"),
        (known.sending, "being sent"),
        (known.failing, "failed, to be tried again"),
    ];
    let kinds = kinds.iter().filter(|(count, _)| *count > 0);
    let kinds: Vec<String> = kinds
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    let mut text = match known.to_deliver() {
        0 => "nothing".to_string(),
        count => format!("{}: {}", files(count), kinds.join(", ")),
    };
    if let Some(oldest) = &work.oldest {
        let since = span(now.since(oldest.since));
        text += &format!("; {} for the longest, {since}", oldest.path);
    }
    lines.push(("waiting", text));
    if known.waiting_for_writer > 0 {
        let count = files(known.waiting_for_writer);
        let text = format!("{count} for a marker, for content or for the end of an rsync");
        lines.push(("writers", text));
    }
    for sending in &work.sending {
        lines.push((
            "sending",
            format!(
                "{} ({}), attempt {}, for {}",
                sending.path,
                bytes(sending.size),
                sending.attempt,
                span(now.since(sending.since))
            ),
        ));
    }
    for failing in work.failing.iter().take(3) {
        let next = span(failing.next_try.since(now));
        let text = format!("{}: {}; next try in {next}", failing.path, failing.why);
        lines.push(("failing", text));
    }
    if known.unfiled > 0 {
        let count = files(known.unfiled);
        let text = format!("{count} accepted or rejected, and not moved away yet");
        lines.push(("filing", text));
    }
}

fn of_deliveries(status: &Status, now: Wall, lines: &mut Vec<(&'static str, String)>) {
    let work = &status.work;
    let delivered = &work.delivered;
    let sum = |sum: Sum| format!("{} ({})", files(sum.files), bytes(sum.bytes));
    let mut text = format!(
        "{} in the last hour, {} today (UTC), {} since the start",
        sum(delivered.history.last_hour(now)),
        sum(delivered.history.today(now)),
        sum(delivered.since_start)
    );
    if let Some(last) = &delivered.last {
        let ended = span(now.since(last.at));
        text += &format!("; last {} {ended} ago ({})", last.path, last.status);
    }
    lines.push(("delivered", text));
    if work.files.at_rest > 0 {
        let text = format!(
            "{} delivered and kept in the folder",
            files(work.files.at_rest)
        );
        lines.push(("kept", text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::Rel;
    use crate::flow::status::{Process, VERSION};

    fn status(work: Work) -> Status {
        Status {
            v: VERSION,
            process: Process {
                host: "box".into(),
                ..Process::example()
            },
            work,
        }
    }

    const NOW: Wall = Wall(90_000_000_000);

    #[test]
    fn a_run_that_could_not_move_what_was_delivered_has_left_something_to_do() {
        let mut ended = status(Work::default());
        ended.process.once = true;
        assert!(is_well(&ended, Life::Ended));
        ended.work.files.unfiled = 3;
        assert!(!is_well(&ended, Life::Ended));
        let said = headline(&ended, Life::Ended, NOW);
        assert!(said.ends_with("has left 3 files that could not be moved away to the next"));
    }

    #[test]
    fn the_first_sentence_says_what_is_worst() {
        let mut work = Work::default();
        work.scan.completed = 1;
        let says = |work: &Work| headline(&status(work.clone()), Life::Working, NOW);
        assert_eq!(
            says(&work),
            "all is well: nothing waits, 0 files delivered since the start"
        );
        work.files.ready = 1;
        assert_eq!(says(&work), "all is well: 1 file on the way");
        let fault = |what, path: Option<&[u8]>, count| Fault {
            what,
            path: path.map(Rel::new),
            count,
            why: "no".into(),
            since: Wall(0),
        };
        work.faults.push(fault(Part::File, Some(b"a"), 3));
        assert_eq!(
            says(&work),
            "nearly well: a (and 2 more) cannot be read or checked for 90 s: no; all else goes on"
        );
        work.endpoint.closed = Some(Closed {
            since: Wall(0),
            why: "the endpoint answered 503".into(),
            next_try: Some(Wall(NOW.0 + 5_000_000_000)),
        });
        assert_eq!(
            says(&work),
            "in trouble: the endpoint has not accepted for 90 s: the endpoint answered 503; next try in \
             5.0 s; 1 file waiting, nothing is lost"
        );
        work.faults.push(fault(Part::Share, None, 1));
        assert!(says(&work).contains("the folder has been away for 90 s: no"));
    }

    #[test]
    fn a_process_that_does_not_run_is_told_of_before_all_else() {
        let of = |life| headline(&status(Work::default()), life, NOW);
        assert!(of(Life::Ended).starts_with("not running: pid 7 on box has ended 90 s ago"));
        assert!(of(Life::Killed).starts_with("not running: pid 7 on box was killed"));
        assert!(of(Life::Silent).starts_with("standing still: "));
        assert!(of(Life::SilentElsewhere).starts_with("unknown: "));
    }

    #[test]
    fn while_the_folder_is_opened_the_sentence_says_what_is_waited_for() {
        let work = Work::default().while_opening(Wall(0));
        let starting = sentence(&work, Wall(1));
        assert_eq!(starting, "starting: the folder is being opened");
        assert_eq!(
            sentence(&work, NOW),
            "in trouble: opening the folder has been hanging for 90 s; nothing is lost"
        );
        assert!(advice(&work).is_some());
        let work = Work {
            standby: Some("pid 8 on other".into()),
            ..work
        };
        assert_eq!(
            sentence(&work, NOW),
            "standby: another dirpost works on this folder (pid 8 on other)"
        );
        assert_eq!(advice(&work), None);
    }

    #[test]
    fn what_is_shown_after_the_end_begins_with_how_old_it_is() {
        let all = lines(&status(Work::default()), Life::Ended, NOW);
        assert_eq!(all[1], ("as of", "90 s ago, as it was then:".into()));
    }
}
