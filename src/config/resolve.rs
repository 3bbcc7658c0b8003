//! From keys to the [`Config`]: defaults, ranges, and what must fit together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pending::PENDING;
use super::read::{Error, Reader};
use super::{
    Action, Auth, BodyKind, Check, Compress, Config, DeadLetter, Delivered, Digest, Empty, Format, Log, Method, Proxy,
    Ready, Report, Retry, Rewrites, Roots, Send, Settle, Shard, State, Statuses, Tls, Watch, validate,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Everything, or all that is wrong.
pub fn resolve(reader: &mut Reader<'_>, base: &Path) -> Result<Config, Error> {
    let watch = watch(reader, base);
    let state = state(reader, base, &watch);
    let config = Config {
        ready: ready(reader),
        check: check(reader),
        send: send(reader, base),
        retry: retry(reader),
        delivered: delivered(reader, base, &state.dir),
        dead_letter: DeadLetter {
            dir: reader.path("dead_letter.dir", base).unwrap_or_else(|| state.dir.join("dead-letter")),
        },
        report: Report { metrics_file: reader.path("report.metrics_file", base) },
        log: Log {
            level: reader.choice(
                "log.level",
                &[
                    ("error", log::LevelFilter::Error),
                    ("warn", log::LevelFilter::Warn),
                    ("info", log::LevelFilter::Info),
                    ("debug", log::LevelFilter::Debug),
                    ("trace", log::LevelFilter::Trace),
                    ("off", log::LevelFilter::Off),
                ],
                log::LevelFilter::Info,
            ),
        },
        watch,
        state,
    };
    folders(reader, &config);
    for (key, is_asked_for) in PENDING {
        if is_asked_for(&config) {
            reader.wrong(key, &format!("it is not yet supported by dirpost {}", env!("CARGO_PKG_VERSION")));
        }
    }
    reader.end()?;
    Ok(config)
}

fn watch(reader: &mut Reader<'_>, base: &Path) -> Watch {
    let _ = reader.required("watch.dir", "/srv/drop");
    let max_share = reader.float("watch.max_share").unwrap_or(0.25);
    if !(max_share > 0.0 && max_share <= 1.0) {
        reader.wrong("watch.max_share", "it is a part of the time: more than 0, at most 1");
    }
    let globs = |reader: &mut Reader<'_>, key: &str| {
        let globs = reader.texts(key).unwrap_or_default();
        for glob in &globs {
            if let Err(err) = globset::Glob::new(glob) {
                reader.wrong(key, &format!("{err}"));
            }
        }
        globs
    };
    let shard = reader.text("watch.shard").and_then(|text| {
        let shard = text.split_once('/').and_then(|(index, count)| {
            let (index, count) = (index.trim().parse().ok()?, count.trim().parse().ok()?);
            (1 <= index && index <= count && count <= 1024).then_some(Shard { index, count })
        });
        if shard.is_none() {
            reader.wrong("watch.shard", &format!("`{text}` is no part of a whole: write it as \"2/8\""));
        }
        shard
    });
    let rewrites = match reader.text("watch.rewrites").as_deref() {
        None | Some("auto") => Rewrites::Auto,
        Some(_) => reader.duration("watch.rewrites", true).map_or(Rewrites::Auto, Rewrites::Every),
    };
    Watch {
        dir: reader.path("watch.dir", base).unwrap_or_default(),
        interval: reader.duration("watch.interval", false).unwrap_or(5 * SECOND),
        max_share,
        max_depth: reader.integer("watch.max_depth", 1, i64::from(u32::MAX)).map(|depth| depth as u32),
        include: globs(reader, "watch.include"),
        exclude: globs(reader, "watch.exclude"),
        ignore_temporary: reader.bool("watch.ignore_temporary", true),
        require_mount: reader.bool("watch.require_mount", false),
        threads: reader.integer("watch.threads", 1, 64).unwrap_or(1) as usize,
        rewrites,
        shard,
    }
}

fn state(reader: &mut Reader<'_>, base: &Path, watch: &Watch) -> State {
    let own = watch.dir.join(crate::flow::filter::OWN_FOLDER);
    let default = match watch.shard {
        Some(Shard { index, count }) => own.join(format!("shard-{index}-of-{count}")),
        None => own,
    };
    State { dir: reader.path("state.dir", base).unwrap_or(default) }
}

fn ready(reader: &mut Reader<'_>) -> Ready {
    let settle = match reader.text("ready.settle").as_deref() {
        None | Some("auto") => Settle::Auto,
        Some(_) => reader.duration("ready.settle", true).map_or(Settle::Auto, Settle::For),
    };
    let marker = reader.text("ready.marker");
    if marker.as_ref().is_some_and(|marker| marker.is_empty() || marker.contains(['/', '\\', '\0'])) {
        reader.wrong("ready.marker", "it is what a file's name is followed by, as \".done\"");
    }
    let all = [("wait", Empty::Wait), ("send", Empty::Send), ("reject", Empty::Reject)];
    Ready { settle, marker, empty: reader.choice("ready.empty", &all, Empty::Wait) }
}

fn check(reader: &mut Reader<'_>) -> Check {
    let (min_size, max_size) = (reader.size("check.min_size"), reader.size("check.max_size"));
    if let (Some(min), Some(max)) = (min_size, max_size)
        && min > max
    {
        reader.wrong("check.min_size", "it is more than check.max_size: no file would pass");
    }
    let command = reader.texts("check.command");
    if command.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
        reader.wrong(
            "check.command",
            "it is a command and its arguments, as [\"/usr/bin/xmllint\", \"--noout\", \"{file}\"]",
        );
    }
    let formats = [
        ("any", Format::Any),
        ("utf8", Format::Utf8),
        ("json", Format::Json),
        ("jsonl", Format::Jsonl),
        ("xml", Format::Xml),
        ("csv", Format::Csv),
        ("gzip", Format::Gzip),
        ("zip", Format::Zip),
    ];
    Check {
        min_size,
        max_size,
        format: reader.choice("check.format", &formats, Format::Any),
        command,
        command_timeout: reader.duration("check.command_timeout", false).unwrap_or(60 * SECOND),
        grace: reader.duration("check.grace", true).unwrap_or(60 * SECOND),
    }
}

fn send(reader: &mut Reader<'_>, base: &Path) -> Send {
    let url = reader.required("send.url", "https://example.org/upload");
    if reader.is_set("send.url")
        && let Err(why) = validate::url(&url)
    {
        reader.wrong("send.url", &why);
    }
    let (accept, reject) = statuses(reader);
    let timeout = |reader: &mut Reader<'_>, key, default| reader.duration(key, false).unwrap_or(default);
    let content_type = reader.text("send.content_type").filter(|kind| kind != "auto");
    if content_type.as_ref().is_some_and(|kind| !kind.contains('/') || kind.chars().any(char::is_control)) {
        reader.wrong("send.content_type", "it is \"auto\" or a media type, as \"text/csv\"");
    }
    Send {
        url,
        method: reader.choice("send.method", &[("POST", Method::Post), ("PUT", Method::Put)], Method::Post),
        body: body(reader),
        content_type,
        headers: headers(reader),
        workers: reader.integer("send.workers", 1, 64).unwrap_or(4) as usize,
        connect_timeout: timeout(reader, "send.connect_timeout", 10 * SECOND),
        stall_timeout: timeout(reader, "send.stall_timeout", 30 * SECOND),
        response_timeout: timeout(reader, "send.response_timeout", 120 * SECOND),
        digest: reader.choice(
            "send.digest",
            &[("auto", Digest::Auto), ("always", Digest::Always), ("never", Digest::Never)],
            Digest::Auto,
        ),
        compress: reader.choice("send.compress", &[("none", Compress::None), ("gzip", Compress::Gzip)], Compress::None),
        accept,
        reject,
        brake: reader.integer("send.brake", 0, 1_000_000).unwrap_or(10) as u32,
        key_scope: reader.text("send.key_scope"),
        accept_content_type: reader.text("send.accept_content_type"),
        accept_body: reader.text("send.accept_body"),
        in_order: reader.bool("send.in_order", false),
        max_rate: rate(reader),
        auth: auth(reader, base),
        tls: tls(reader, base),
        proxy: proxy(reader),
    }
}

fn statuses(reader: &mut Reader<'_>) -> (Statuses, Statuses) {
    let accept = Statuses(reader.statuses("send.accept").unwrap_or_else(|| vec![(200, 299)]));
    let reject = reader
        .statuses("send.reject")
        .unwrap_or_else(|| [400, 413, 414, 415, 422].map(|status| (status, status)).to_vec());
    if accept.0.is_empty() {
        reader.wrong("send.accept", "it is empty: nothing would ever be accepted");
    }
    let reject = Statuses(reject);
    if let Some(status) = (200..600).find(|&status| accept.contains(status) && reject.contains(status)) {
        let key = if reader.is_set("send.reject") { "send.reject" } else { "send.accept" };
        reader.wrong(key, &format!("{status} is both in send.accept and in send.reject"));
    }
    (accept, reject)
}

fn body(reader: &mut Reader<'_>) -> BodyKind {
    let field = reader.text("send.field");
    let multipart = reader.choice("send.body", &[("raw", false), ("multipart", true)], false);
    if !multipart && field.is_some() {
        reader.wrong("send.field", "it is the name of a form field, and needs send.body = \"multipart\"");
    }
    if field.as_ref().is_some_and(|field| field.is_empty() || field.contains(['"', '\r', '\n'])) {
        reader.wrong("send.field", "it is the name of a form field: not empty, without quotes and line ends");
    }
    if multipart { BodyKind::Multipart(field.unwrap_or_else(|| "file".into())) } else { BodyKind::Raw }
}

fn headers(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (key, name) in reader.headers() {
        let Some(value) = reader.text(&key) else { continue };
        if let Err(why) = validate::header(&name, &value) {
            reader.wrong(&key, &why);
        }
        if all.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            reader.wrong(&key, "this header field is there twice");
        }
        all.push((name, value));
    }
    all
}

fn rate(reader: &mut Reader<'_>) -> Option<u64> {
    let rate = reader.size("send.max_rate")?;
    if rate < 1024 {
        reader.wrong("send.max_rate", "it is bytes per second, at least 1 KiB, as \"10 MiB\"");
    }
    Some(rate)
}

fn auth(reader: &mut Reader<'_>, base: &Path) -> Option<Auth> {
    let set = ["bearer_file", "user", "password_file", "header", "value_file"]
        .map(|name| reader.is_set(&format!("send.auth.{name}")));
    match set {
        [false, false, false, false, false] => {
            if reader.is_set("send.auth") {
                reader.wrong("send.auth", "it is a table, as { bearer_file = \"/etc/dirpost/token\" }");
            }
            None
        }
        [true, false, false, false, false] => {
            reader.path("send.auth.bearer_file", base).map(|file| Auth::Bearer { file })
        }
        [false, true, true, false, false] => {
            let user = reader.text("send.auth.user").unwrap_or_default();
            if user.contains(':') || user.chars().any(char::is_control) {
                reader.wrong("send.auth.user", "a user's name holds no `:` and no control characters (RFC 7617)");
            }
            reader.path("send.auth.password_file", base).map(|password_file| Auth::Basic { user, password_file })
        }
        [false, false, false, true, true] => {
            let name = reader.text("send.auth.header").unwrap_or_default();
            if let Err(why) = validate::header(&name, "") {
                reader.wrong("send.auth.header", &why);
            }
            reader.path("send.auth.value_file", base).map(|value_file| Auth::Header { name, value_file })
        }
        _ => {
            let names = ["bearer_file", "user", "password_file", "header", "value_file"];
            let first = names.iter().zip(set).find(|(_, set)| *set).map_or("user", |(name, _)| name);
            reader.wrong(
                &format!("send.auth.{first}"),
                "send.auth is one of { bearer_file }, { user, password_file } or { header, value_file }, whole and not mixed",
            );
            None
        }
    }
}

fn tls(reader: &mut Reader<'_>, base: &Path) -> Tls {
    let tls = Tls {
        ca: reader.path("send.tls.ca", base),
        client_cert: reader.path("send.tls.client_cert", base),
        client_key: reader.path("send.tls.client_key", base),
        roots: reader.choice(
            "send.tls.roots",
            &[("system", Roots::System), ("bundled", Roots::Bundled)],
            Roots::System,
        ),
    };
    if tls.client_cert.is_none() && tls.client_key.is_some() {
        reader.wrong("send.tls.client_key", "it needs send.tls.client_cert beside it");
    }
    tls
}

fn proxy(reader: &mut Reader<'_>) -> Proxy {
    match reader.text("send.proxy") {
        None => Proxy::Environment,
        Some(text) if text == "none" => Proxy::None,
        Some(text) => {
            let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
            if !["http", "https", "socks4", "socks4a", "socks5"].contains(&scheme) {
                // The text itself may hold a password.
                reader.wrong(
                    "send.proxy",
                    "it is \"none\" or a URL that begins with http://, https://, socks4://, socks4a:// or socks5://",
                );
            }
            Proxy::Url(text)
        }
    }
}

fn retry(reader: &mut Reader<'_>) -> Retry {
    let first = reader.duration("retry.first", false).unwrap_or(SECOND);
    let max = reader.duration("retry.max", false).unwrap_or(300 * SECOND);
    if first > max {
        let key = if reader.is_set("retry.first") { "retry.first" } else { "retry.max" };
        reader.wrong(key, "retry.first is more than retry.max");
    }
    Retry { first, max, give_up_after: reader.duration("retry.give_up_after", false) }
}

fn delivered(reader: &mut Reader<'_>, base: &Path, state: &Path) -> Delivered {
    let actions = [("move", Action::Move), ("delete", Action::Delete), ("keep", Action::Keep)];
    Delivered {
        action: reader.choice("delivered.action", &actions, Action::Move),
        dir: reader.path("delivered.dir", base).unwrap_or_else(|| state.join("done")),
        keep_for: reader.duration("delivered.keep_for", false),
        remember: reader.duration("delivered.remember", false).unwrap_or(30 * DAY),
    }
}

/// How the folders may lie to each other.
fn folders(reader: &mut Reader<'_>, config: &Config) {
    let (watch, state) = (&config.watch.dir, &config.state.dir);
    if watch == state || watch.starts_with(state) {
        reader.wrong("state.dir", "the watched folder lies in it: its files would never be seen");
    }
    let own = watch.join(crate::flow::filter::OWN_FOLDER);
    let check = |reader: &mut Reader<'_>, key: &str, dir: &PathBuf| {
        if dir.starts_with(watch) && !dir.starts_with(state) && !dir.starts_with(&own) {
            reader.wrong(
                key,
                "it lies in the watched folder: what is put there would be sent again. Name a folder outside, or none",
            );
        }
        if watch.starts_with(dir) {
            reader.wrong(key, "the watched folder lies in it");
        }
    };
    check(reader, "delivered.dir", &config.delivered.dir);
    check(reader, "dead_letter.dir", &config.dead_letter.dir);
    if config.delivered.dir == config.dead_letter.dir {
        let key = if reader.is_set("dead_letter.dir") { "dead_letter.dir" } else { "delivered.dir" };
        reader.wrong(key, "delivered.dir and dead_letter.dir are the same folder");
    }
}
