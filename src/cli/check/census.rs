//! What is in the folder: how many files would go now, wait, or are left alone, and why.
//!
//! The rules are those of a scan ([`crate::flow::scan::filter`]), and nothing is taken or changed. A file
//! is opened once, to see that it can be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use super::Findings;
use crate::cli::dead_letter;
use crate::cli::output::Printed;
use crate::cli::readiness::{Lack, include_globs, lack, last_changed};
use crate::config::{Action, Config, Empty, Format};
use crate::flow::file::{Look, Rel, Stamp};
use crate::flow::journal::Event;
use crate::flow::partial::is_timeless;
use crate::flow::scan::filter::{Filter, Rule};
use crate::flow::settle::settle_time;
use crate::flow::shell_words::quote;
use crate::io::check::formats::Finding;
use crate::io::check::judge;
use crate::io::dir::Dir;
use crate::io::journal::history_of;
use crate::io::logging::units::files;
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::scan::filter_of;

/// After how many names no further folder is looked into: they take a second on a local disk, and
/// may take minutes on a slow share.
const LOOKS: usize = 20_000;
/// How many things of a kind are named; of the others only their number is said.
const NAMED: usize = 5;

/// For how long files are looked into for `[check]`, in all, and how large they may be: a person waits.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
const LOOK_INTO: u64 = 64 << 20;

/// What becomes of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Goes,
    Waits(Wait),
    /// As it is now, its check finds it unfinished.
    Unfinished(String),
    /// As it is now, it goes to dead-letter.
    Rejected(String),
    /// It was delivered, and stays where it is.
    Delivered,
    LeftAlone(Left),
    /// It cannot be opened or looked at.
    Unreadable(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Settling,
    Marker,
    Content,
    Rsync,
    Room,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Temporary,
    Excluded,
    NotIncluded,
    TooDeep,
    /// A folder that is left alone is one thing, whatever is in it.
    NotAFile,
    MarkerWithoutFile,
    OtherShard,
}

impl Wait {
    fn said(self) -> &'static str {
        match self {
            Wait::Settling => "until it has been still for long enough",
            Wait::Marker => "for its marker (ready.marker)",
            Wait::Content => "for content: it is empty (ready.empty)",
            Wait::Room => "for ever: it is larger than one request may be (5 GiB)",
            Wait::Rsync => "for rsync, which has not finished it (if it is whole: touch it)",
        }
    }
}

impl Left {
    fn said(self) -> &'static str {
        match self {
            Left::Temporary => "named as hidden, temporary or a system's (watch.ignore_temporary)",
            Left::Excluded => "matched by watch.exclude",
            Left::NotIncluded => "not matched by watch.include",
            Left::TooDeep => "deeper than watch.max_depth",
            Left::NotAFile => "no regular file (a link, a FIFO, a socket, a device)",
            Left::MarkerWithoutFile => "a marker without its file",
            Left::OtherShard => "another shard's (watch.shard)",
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Census {
    fates: Vec<(Rel, Fate)>,
    /// Folders that cannot be listed, and why.
    unlisted: Vec<(Rel, String)>,
    /// Folders that files cannot be moved out of, and why.
    unmovable: Vec<(Rel, String)>,
    /// There was more than was looked at.
    is_cut: bool,
    /// Of so many that go it is not known whether they pass `[check]`.
    unchecked: usize,
}

/// Says what is in the watched folder `root`; with `lists` each file.
pub(super) fn census(
    config: &Config,
    root: &Dir,
    lists: bool,
    findings: &mut Findings<'_, '_>,
) -> Printed {
    let filter = match filter_of(config) {
        Ok(filter) => filter,
        Err(err) => return findings.wrong(&err.to_string()),
    };
    let mut census = count(config, root, &filter);
    take_delivered(config, &mut census);
    take_checked(config, root, &mut census);
    census.fates.sort();
    tell(config, &census, findings)?;
    if lists {
        for (path, fate) in &census.fates {
            findings.out.line(&line(path, fate))?;
        }
    }
    Ok(())
}

fn line(path: &Rel, fate: &Fate) -> String {
    let path = quote(path.as_bytes());
    match fate {
        Fate::Goes => format!("  goes       {path}"),
        Fate::Waits(wait) => format!("  waits      {path}: {}", wait.said()),
        Fate::Unfinished(why) => format!("  waits      {path}: {why}"),
        Fate::Rejected(why) => format!("  rejected   {path}: {why}"),
        Fate::Delivered => format!("  delivered  {path}"),
        Fate::LeftAlone(left) => format!("  left       {path}: {}", left.said()),
        Fate::Unreadable(why) => format!("  unreadable {path}: {why}"),
    }
}

fn count(config: &Config, root: &Dir, filter: &Filter) -> Census {
    let mut census = Census::default();
    let mut folders = VecDeque::from([Rel::root()]);
    let mut looks = 0;
    while let Some(path) = folders.pop_front() {
        if looks >= LOOKS {
            census.is_cut = true;
            break;
        }
        let folder = match root.folder(&path) {
            Ok(folder) => folder,
            // It went since its name was read. That of the watched folder itself was told of before.
            Err(err) if path == Rel::root() || err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => {
                census.unlisted.push((path, explain(&err)));
                continue;
            }
        };
        match folder.names(&Rel::root()) {
            Ok(names) => {
                looks += names.len();
                let inner = count_in(config, filter, &folder, &path, &names, &mut census);
                folders.extend(inner);
            }
            Err(_) if path == Rel::root() => {}
            Err(err) => census.unlisted.push((path, explain(&err))),
        }
    }
    census
}

/// Counts what is in one folder; gives the folders in it that are entered.
fn count_in(
    config: &Config,
    filter: &Filter,
    folder: &Dir,
    path: &Rel,
    names: &[Vec<u8>],
    census: &mut Census,
) -> Vec<Rel> {
    let mut folders = Vec::new();
    let mut looks: BTreeMap<&[u8], Look> = BTreeMap::new();
    for name in names {
        let here = path.join(name);
        match folder.look(name) {
            Ok(Some(look)) => drop(looks.insert(name, look)),
            Ok(None) if is_folder(folder, name) => {
                if filter.enters(path, name) {
                    folders.push(here);
                } else if let Some(left) = left_folder(filter, &here) {
                    census.fates.push((here, Fate::LeftAlone(left)));
                }
            }
            Ok(None) => census.fates.push((here, Fate::LeftAlone(Left::NotAFile))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => census.fates.push((here, Fate::Unreadable(explain(&err)))),
        }
    }
    let stamps = looks.values().map(|look| look.stamp);
    let times = folder
        .to_list(&Rel::root())
        .ok()
        .and_then(|(_, times)| times);
    let timeless = times.is_some_and(|times| is_timeless(times.mtime, stamps));
    let wanted = census.fates.len();
    for (name, look) in &looks {
        let here = path.join(name);
        let fate = match filter.rule(&here) {
            Some((rule, _)) => match left_file(config, rule, &looks, name) {
                Some(left) => Fate::LeftAlone(left),
                // A marker, which goes with its file.
                None => continue,
            },
            None => fate(config, folder, name, look, &looks, timeless),
        };
        census.fates.push((here, fate));
    }
    let is_wanted = |(_, fate): &(Rel, Fate)| matches!(fate, Fate::Goes | Fate::Waits(_));
    if config.delivered.action != Action::Keep
        && census.fates[wanted..].iter().any(is_wanted)
        && let Some(why) = folder.holds_fast()
    {
        census.unmovable.push((path.clone(), why));
    }
    folders
}

/// Whether a name that is no regular file is a folder; one that may not be opened is told of when it is
/// to be listed. What is no folder, or a link to one, answers otherwise (ENOTDIR, ELOOP).
fn is_folder(folder: &Dir, name: &[u8]) -> bool {
    match folder.folder(&Rel::new(name)) {
        Ok(_) => true,
        Err(err) => err.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Why a folder is left alone; `None` for dirpost's own.
fn left_folder(filter: &Filter, path: &Rel) -> Option<Left> {
    // As of a file in it: the rule is the folder's.
    match filter.rule(&path.join(b"x"))?.0 {
        Rule::Own | Rule::OtherShard => None,
        Rule::TooDeep => Some(Left::TooDeep),
        Rule::Excluded => Some(Left::Excluded),
        _ => Some(Left::Temporary),
    }
}

fn left_file(
    config: &Config,
    rule: Rule,
    looks: &BTreeMap<&[u8], Look>,
    name: &[u8],
) -> Option<Left> {
    match rule {
        Rule::Own => None,
        Rule::TooDeep => Some(Left::TooDeep),
        Rule::Temporary => Some(Left::Temporary),
        Rule::Excluded => Some(Left::Excluded),
        Rule::NotIncluded => Some(Left::NotIncluded),
        Rule::OtherShard => Some(Left::OtherShard),
        Rule::Marker => {
            let rule = config.ready.marker.as_ref()?;
            let subject = rule.marked(name)?;
            let behind = looks.range(subject..).map(|(name, _)| ((), *name));
            let mut files = rule.files_of(subject, behind);
            let has_file = files.any(|((), name)| rule.marked(name).is_none());
            (!has_file).then_some(Left::MarkerWithoutFile)
        }
    }
}

fn fate(
    config: &Config,
    folder: &Dir,
    name: &[u8],
    look: &Look,
    looks: &BTreeMap<&[u8], Look>,
    timeless: bool,
) -> Fate {
    if let Err(err) = folder.file(name) {
        return Fate::Unreadable(explain(&err));
    }
    if let Some(rule) = &config.ready.marker
        && !looks.contains_key(rule.name_of(name).as_slice())
    {
        return Fate::Waits(Wait::Marker);
    }
    match lack(config, look, timeless) {
        Some(Lack::Content) => return Fate::Waits(Wait::Content),
        Some(Lack::Rsync) => return Fate::Waits(Wait::Rsync),
        Some(Lack::Room) => return Fate::Waits(Wait::Room),
        None => {}
    }
    let still = clock::wall().since(last_changed(look));
    if still < settle_time(config.ready.settle, look.fs) {
        return Fate::Waits(Wait::Settling);
    }
    Fate::Goes
}

/// With `keep`: what the journal knows as delivered does not go again.
fn take_delivered(config: &Config, census: &mut Census) {
    if config.delivered.action != Action::Keep {
        return;
    }
    let Ok(state) = dead_letter::open(config, &config.state.dir) else {
        return;
    };
    let Ok(root) = Dir::at(&config.watch.dir) else {
        return;
    };
    let goes = |(path, fate): &(Rel, Fate)| (*fate == Fate::Goes).then(|| path.clone());
    let paths: BTreeSet<Rel> = census.fates.iter().filter_map(goes).collect();
    let history = history_of(&state, &paths);
    for (path, fate) in &mut census.fates {
        let Some(events) = history.get(path) else {
            continue;
        };
        let look = root
            .folder(&path.parent())
            .and_then(|folder| folder.look(path.name()));
        if let Ok(Some(look)) = look
            && is_delivered(events, look.stamp)
        {
            *fate = Fate::Delivered;
        }
    }
}

/// What does not pass `[check]` does not go: as much is looked into as a person may wait for.
fn take_checked(config: &Config, root: &Dir, census: &mut Census) {
    let until = Instant::now() + LOOK_WITHIN;
    let check = &config.check;
    let reads = check.format != Format::Any || check.has_edges();
    for (path, fate) in &mut census.fates {
        if *fate != Fate::Goes {
            continue;
        }
        let Ok((file, look)) = root.open(path) else {
            // It went meanwhile.
            continue;
        };
        let size = look.stamp.size;
        if let Some(of_size) = of_size(config, size) {
            *fate = of_size;
        } else if !reads {
            census.unchecked += usize::from(check.command.is_some());
        } else if size > LOOK_INTO || Instant::now() >= until {
            census.unchecked += 1;
        } else {
            match judge(check, &file, size) {
                Ok(Finding::Good) => census.unchecked += usize::from(check.command.is_some()),
                Ok(Finding::Unfinished(why)) => *fate = Fate::Unfinished(why),
                Ok(Finding::Bad(why)) => *fate = Fate::Rejected(why),
                Err(err) => *fate = Fate::Unreadable(explain(&err)),
            }
        }
    }
}

/// What becomes of a file because of its size.
fn of_size(config: &Config, size: u64) -> Option<Fate> {
    let check = &config.check;
    if size == 0 && config.ready.empty == Empty::Reject {
        Some(Fate::Rejected("the file is empty".into()))
    } else if let Some(max) = check.max_size.filter(|&max| size > max) {
        let why = format!("{size} bytes are more than check.max_size ({max})");
        Some(Fate::Rejected(why))
    } else {
        let min = check.min_size.filter(|&min| size < min)?;
        let why = format!("{size} bytes are less than check.min_size ({min})");
        Some(Fate::Unfinished(why))
    }
}

fn is_delivered(events: &[(String, Stamp, Event)], stamp: Stamp) -> bool {
    let mut of_this = events.iter().filter(|(_, of, _)| *of == stamp);
    of_this.next_back().is_some_and(|(_, _, event)| {
        matches!(
            event,
            Event::Accepted { .. }
                | Event::Skipped { .. }
                | Event::Copied
                | Event::Back
                | Event::Missing { .. }
        )
    })
}

fn tell(config: &Config, census: &Census, findings: &mut Findings<'_, '_>) -> Printed {
    let number =
        |of: &dyn Fn(&Fate) -> bool| census.fates.iter().filter(|(_, fate)| of(fate)).count();
    let goes = number(&|fate| *fate == Fate::Goes);
    let delivered = number(&|fate| *fate == Fate::Delivered);
    let waits = reasons(census, |fate| match fate {
        Fate::Waits(wait) => Some(wait.said()),
        _ => None,
    });
    let left = reasons(census, |fate| match fate {
        Fate::LeftAlone(left) => Some(left.said()),
        _ => None,
    });
    let cut = if census.is_cut {
        format!(" (of the first {LOOKS} names)")
    } else {
        String::new()
    };
    findings.fine(&format!("{} would go now{cut}", files(goes)))?;
    if delivered > 0 {
        findings.fine(&format!("{} delivered before, and kept", files(delivered)))?;
    }
    for (why, count) in waits {
        findings.fine(&format!("{} waiting {why}", files(count)))?;
    }
    for (why, count) in &left {
        findings.fine(&format!("{count} left alone: {why}"))?;
    }
    tell_checked(census, findings)?;
    let is_wanted = number(&|fate| !matches!(fate, Fate::LeftAlone(_))) > 0;
    if !is_wanted && left.iter().any(|(why, _)| *why == Left::NotIncluded.said()) {
        findings.warning(&format!(
            "no file here is matched by watch.include ({}): is the case right, or `*.` missing?",
            include_globs(config)
        ))?;
    }
    troubles(census, findings)
}

/// What `[check]` says of the files.
fn tell_checked(census: &Census, findings: &mut Findings<'_, '_>) -> Printed {
    let (mut unfinished, mut rejected) = (Vec::new(), Vec::new());
    for (path, fate) in &census.fates {
        match fate {
            Fate::Unfinished(why) => unfinished.push((path.clone(), why.clone())),
            Fate::Rejected(why) => rejected.push((path.clone(), why.clone())),
            _ => {}
        }
    }
    if census.unchecked > 0 {
        let unchecked = files(census.unchecked);
        findings.fine(&format!(
            "{unchecked} of them not looked into for [check], or not to its end: check.command is not \
             asked here, and what is large or takes long is not read"
        ))?;
    }
    let (waits, goes) = ("it waits as unfinished", "it would go to dead-letter");
    each(&unfinished, waits, false, findings)?;
    each(&rejected, goes, false, findings)
}

/// The reasons that `of` gives, with their numbers.
fn reasons(
    census: &Census,
    of: impl Fn(&Fate) -> Option<&'static str>,
) -> Vec<(&'static str, usize)> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for why in census.fates.iter().filter_map(|(_, fate)| of(fate)) {
        *counts.entry(why).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// What `run` would stumble over.
fn troubles(census: &Census, findings: &mut Findings<'_, '_>) -> Printed {
    let unreadable: Vec<(Rel, String)> = census
        .fates
        .iter()
        .filter_map(|(path, fate)| match fate {
            Fate::Unreadable(why) => Some((path.clone(), why.clone())),
            _ => None,
        })
        .collect();
    let rsync: Vec<(Rel, String)> = census
        .fates
        .iter()
        .filter(|(_, fate)| *fate == Fate::Waits(Wait::Rsync))
        .map(|(path, _)| {
            let why = "its mtime is in the first second of 1970, which is rsync's mark; if it is whole, touch it";
            (path.clone(), why.into())
        })
        .collect();
    each(&rsync, "rsync has not finished it", false, findings)?;
    each(
        &unreadable,
        "it cannot be read, and is not sent",
        true,
        findings,
    )?;
    each(
        &census.unlisted,
        "it cannot be listed, and what is in it is not sent",
        true,
        findings,
    )?;
    each(
        &census.unmovable,
        "what is delivered from it cannot be moved away, and is not sent again",
        true,
        findings,
    )
}

fn each(
    paths: &[(Rel, String)],
    what: &str,
    is_wrong: bool,
    findings: &mut Findings<'_, '_>,
) -> Printed {
    let mut say = |text: &str| match is_wrong {
        true => findings.wrong(text),
        false => findings.warning(text),
    };
    for (path, why) in paths.iter().take(NAMED) {
        let path = match path.as_bytes() {
            b"" => "the watched folder".into(),
            bytes => quote(bytes),
        };
        say(&format!("{path}: {what}: {why}"))?;
    }
    match paths.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => say(&format!("and {more} more: {what}")),
    }
}
