//! From the text of a file to a [`Config`]: every table but `[send]`, which has
//! a file of its own.

use super::error::Error;
use super::read::{Item, Section, Source};
use super::{
    Action, Check, Config, DeadLetter, Delivered, Empty, Format, Log, Ready, Report, Retry,
    Rewrites, Settle, Shard, State, Watch,
};
use super::{places, read, send, units, values};
use crate::flow::filing::answer::ANSWER;
use crate::flow::scan::glob::{Case, Glob};
use log::LevelFilter;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads and resolves a configuration file.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let bytes = std::fs::read(path)
        .map_err(|error| Error::whole(Some(path), None, format!("cannot be read: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        Error::whole(
            Some(path),
            Some(line),
            "is not UTF-8; save the file as UTF-8".to_owned(),
        )
    })?;
    parse(text, path, env)
}

/// Resolves the text of a configuration file. `path` is for messages, and its
/// folder is where relative paths begin.
pub fn parse(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Error> {
    let tree = read::tree(text, path)?;
    let base = std::path::absolute(path)
        .map_err(|error| Error::whole(Some(path), None, format!("no usable path: {error}")))?;
    let source = Source::new(text, base.parent().unwrap_or(&base), env);
    let config = resolve(&source, tree.get_ref(), None);
    let config = finish(&source, Some(path), config)?;
    Ok(Config {
        file: Some(base),
        ..config
    })
}

/// Everything at its default but the folder and the URL, which are taken
/// literally: no `${NAME}` in them. A relative folder begins at the current one.
pub fn from_dir_and_url(dir: &Path, url: &str) -> Result<Config, Error> {
    let here = std::env::current_dir().map_err(|error| {
        Error::whole(
            None,
            None,
            format!("the current folder cannot be found: {error}"),
        )
    })?;
    let source = Source::new("", &here, &|_| None);
    let nothing = DeTable::new();
    let dir = read::absolute(dir, &here)
        .map_err(|text| source.problem("watch.dir", text))
        .unwrap_or_else(|()| here.clone());
    if let Err(text) = values::url(url) {
        source.problem("send.url", text);
    }
    let config = resolve(&source, &nothing, Some((dir, url.to_owned())));
    finish(&source, None, config)
}

fn finish(
    source: &Source<'_>,
    path: Option<&Path>,
    config: Option<Config>,
) -> Result<Config, Error> {
    let problems = source.problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Error::new(path, problems)),
    }
}

/// Reads all tables. Problems are recorded in `source`; `None` only if there are some.
pub(super) fn resolve<'a>(
    source: &'a Source<'a>,
    map: &'a DeTable<'a>,
    given: Option<(PathBuf, String)>,
) -> Option<Config> {
    let (dir, url) = given.unzip();
    let root = source.root(map);
    // Every table is read even if an earlier one is wrong: all problems at once.
    let watch = watch(&root.table("watch"), source, dir);
    let ready = ready(&root.table("ready"));
    let check = check(&root.table("check"), source);
    let send = send::send(&root.table("send"), source, url);
    let retry = retry(&root.table("retry"), source);
    let report = root.table("report");
    let report = Report {
        metrics_file: report.get("metrics_file", Item::path),
        listen: report.get("listen", Item::listen),
    };
    let log = Log {
        level: root.table("log").get("level", level),
    };
    let state = root.table("state").get("dir", Item::folder);
    let (delivered, delivered_dir) = delivered(&root.table("delivered"), &ready, source);
    let dead_letter = root.table("dead_letter").get("dir", Item::folder);
    source.unknown(map);

    let (watch, send) = (watch?, send?);
    send::check_put(&send, &watch, source);
    if state.is_some() && watch.shard.is_some() {
        source.problem(
            "state.dir",
            "cannot be set with watch.shard: each shard has a folder of its own in .dirpost in the \
             watched folder, where a start with another count finds what they know; leave it out",
        );
    }
    let state = state.unwrap_or_else(|| default_state(&watch.dir, watch.shard));
    let delivered = Delivered {
        dir: delivered_dir.unwrap_or_else(|| state.join("done")),
        ..delivered
    };
    let dead_letter = DeadLetter {
        dir: dead_letter.unwrap_or_else(|| state.join("dead-letter")),
    };
    let state = State { dir: state };
    let config = Config {
        file: None,
        watch,
        ready,
        check,
        send,
        retry,
        delivered,
        dead_letter,
        state,
        report,
        log,
    };
    places::check(&config, source);
    Some(config)
}

fn default_state(watched: &Path, shard: Option<Shard>) -> PathBuf {
    let dir = watched.join(".dirpost");
    match shard {
        Some(Shard { index, count }) => dir.join(format!("shard-{index}-of-{count}")),
        None => dir,
    }
}

fn watch(table: &Section<'_>, source: &Source<'_>, given: Option<PathBuf>) -> Option<Watch> {
    let dir = table.get("dir", Item::folder);
    if dir.is_none() && given.is_none() && !source.is_set("watch.dir") {
        source.problem(
            "watch.dir",
            "is missing; add under [watch]: dir = \"/srv/outbox\"",
        );
    }
    let rewrites = table.or("rewrites", Rewrites::Auto, |item| {
        Ok(item
            .duration_or("auto", true)?
            .map_or(Rewrites::Auto, Rewrites::Every))
    });
    let ignore_case = table.flag("ignore_case", false);
    let case = Case::ignored_if(ignore_case);
    let watch = Watch {
        dir: PathBuf::new(),
        interval: table.duration("interval", 5 * SECOND),
        max_share: table.or("max_share", 0.25, Item::share),
        max_depth: table.get("max_depth", |item| item.integer(1, i64::from(u32::MAX))),
        include: table.or("include", Vec::new(), |item| globs(item, case)),
        exclude: table.or("exclude", Vec::new(), |item| globs(item, case)),
        ignore_case,
        ignore_temporary: table.flag("ignore_temporary", true),
        require_mount: table.flag("require_mount", false),
        threads: table.or("threads", 1, |item| item.integer(1, 64)),
        rewrites,
        shard: table.get("shard", |item| {
            let text = item.text("\"2/8\" for part 2 of 8")?;
            units::shard(&text).map_err(|text| item.wrong(text))
        }),
    };
    given.or(dir).map(|dir| Watch { dir, ..watch })
}

fn globs(item: &Item<'_>, case: Case) -> Result<Vec<String>, super::error::Problem> {
    let want = "an array of globs, such as [\"*.csv\", \"in/**\"]";
    let mut globs = Vec::new();
    for member in item.members(want)? {
        let glob = member.word("a glob in quotes, such as \"*.csv\"")?;
        if let Err(why) = Glob::new(&glob, case) {
            return Err(member.wrong(format!("\"{glob}\" is not a glob: {why}")));
        }
        if glob.starts_with('/') {
            return Err(member.wrong(format!(
                "\"{glob}\" never matches: globs are held against the path below the watched \
                 folder; write it without the `/` at its beginning"
            )));
        }
        if glob.ends_with('/') {
            return Err(member.wrong(format!(
                "\"{glob}\" never matches: no path ends with a `/`; write it without that for the \
                 folder itself, or with `/**` for what is in it"
            )));
        }
        globs.push(glob);
    }
    Ok(globs)
}

fn ready(table: &Section<'_>) -> Ready {
    Ready {
        settle: table.or("settle", Settle::Auto, |item| {
            Ok(item
                .duration_or("auto", true)?
                .map_or(Settle::Auto, Settle::For))
        }),
        marker: table.get("marker", |item| {
            let marker = item.word("the ending of a marker's name, such as \".done\"")?;
            values::marker(&marker).map_err(|text| item.wrong(text))
        }),
        empty: table.or("empty", Empty::Wait, |item| {
            item.choice(&[
                ("wait", Empty::Wait),
                ("send", Empty::Send),
                ("reject", Empty::Reject),
            ])
        }),
    }
}

fn check(table: &Section<'_>, source: &Source<'_>) -> Check {
    let check = Check {
        min_size: table.get("min_size", |item| item.size(0)),
        max_size: table.get("max_size", |item| item.size(1)),
        format: table.or("format", Format::Any, |item| {
            item.choice(&[
                ("any", Format::Any),
                ("utf8", Format::Utf8),
                ("json", Format::Json),
                ("jsonl", Format::Jsonl),
                ("xml", Format::Xml),
                ("csv", Format::Csv),
                ("gzip", Format::Gzip),
                ("zip", Format::Zip),
                ("pdf", Format::Pdf),
            ])
        }),
        starts_with: table.or("starts_with", Vec::new(), |item| edges(item, "%PDF-")),
        ends_with: table.or("ends_with", Vec::new(), |item| {
            let mut texts = edges(item, "%%EOF")?;
            // White space at the end of a file does not count, so it cannot be asked for.
            for text in &mut texts {
                text.truncate(text.trim_ascii_end().len());
            }
            Ok(texts)
        }),
        command: table.get("command", |item| {
            item.argv("a program and its arguments, such as [\"/usr/local/bin/check\", \"{file}\"]")
        }),
        command_timeout: table.duration("command_timeout", MINUTE),
        grace: table.or("grace", MINUTE, |item| item.duration(true)),
    };
    if let (Some(min), Some(max)) = (check.min_size, check.max_size)
        && min > max
    {
        source.problem(
            "check.min_size",
            format!(
                "is over check.max_size ({min} > {max} bytes), so no file would pass; \
                 write at most {max}"
            ),
        );
    }
    check
}

/// The longest text of `check.starts_with` and `check.ends_with`, in bytes.
const EDGE_MAX: usize = 4096;

/// One text or a list of them.
fn edges(item: &Item<'_>, example: &str) -> Result<Vec<String>, super::error::Problem> {
    let want = format!("a text such as \"{example}\", or an array of them");
    let texts = match item.maybe_text()? {
        Some(text) => vec![text],
        None => {
            let members = item.members(&want)?;
            let texts = members.iter().map(|member| member.text("a string"));
            texts.collect::<Result<_, _>>()?
        }
    };
    if texts.is_empty() {
        return Err(item.wrong("is empty, so no file would pass; leave the key out"));
    }
    for text in &texts {
        if text
            .bytes()
            .all(|byte| byte == b'*' || byte.is_ascii_whitespace())
        {
            return Err(item.wrong(format!("\"{text}\" fits every file; write {want}")));
        }
        if text.len() > EDGE_MAX {
            return Err(item.wrong(format!("has a text of more than {EDGE_MAX} bytes in it")));
        }
    }
    Ok(texts)
}

fn retry(table: &Section<'_>, source: &Source<'_>) -> Retry {
    let retry = Retry {
        first: table.duration("first", SECOND),
        max: table.duration("max", 5 * MINUTE),
        give_up_after: table.get("give_up_after", |item| {
            if item.maybe_text()?.as_deref() == Some("never") {
                return Err(item.wrong("is never by default; leave the key out"));
            }
            item.duration(false)
        }),
    };
    if retry.first > retry.max {
        let show = |duration| humantime::format_duration(duration).to_string();
        let key = if source.is_set("retry.first") {
            "retry.first"
        } else {
            "retry.max"
        };
        source.problem(
            key,
            format!(
                "retry.first ({}) is longer than retry.max ({}); write a retry.first that is \
                 not longer",
                show(retry.first),
                show(retry.max)
            ),
        );
    }
    retry
}

/// `[delivered]`, and its folder only if that is set.
fn delivered(
    table: &Section<'_>,
    ready: &Ready,
    source: &Source<'_>,
) -> (Delivered, Option<PathBuf>) {
    let action = table.or("action", Action::Move, |item| {
        item.choice(&[
            ("move", Action::Move),
            ("delete", Action::Delete),
            ("keep", Action::Keep),
        ])
    });
    let remove_emptied = table.flag("remove_emptied", false);
    if remove_emptied && action == Action::Keep {
        source.problem(
            "delivered.remove_emptied",
            "empties no folder with delivered.action = \"keep\", which leaves all files where they \
             are; leave it out",
        );
    }
    let dir = table.get("dir", Item::folder);
    let keep_answer = table.flag("keep_answer", false);
    if keep_answer && action != Action::Move {
        source.problem(
            "delivered.keep_answer",
            "is only for delivered.action = \"move\": the answer lies beside the file in delivered.dir; \
             leave it out",
        );
    }
    let keep_for = table.get("keep_for", |item| item.duration(false));
    if keep_for.is_some() && action != Action::Move {
        source.problem(
            "delivered.keep_for",
            "is only for delivered.action = \"move\": it is how long delivered.dir keeps a file; leave it \
             out",
        );
    }
    let marker = ready.marker.as_ref();
    if keep_answer && marker.is_some_and(|rule| rule.ending() == ANSWER) {
        source.problem(
            "ready.marker",
            "is what delivered.keep_answer calls the answers by; choose another one",
        );
    }
    let delivered = Delivered {
        action,
        dir: PathBuf::new(),
        keep_answer,
        keep_for,
        remember: table.duration("remember", 30 * DAY),
        remove_emptied,
    };
    (delivered, dir)
}

fn level(item: &Item<'_>) -> Result<LevelFilter, super::error::Problem> {
    item.choice(&[
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ])
}
