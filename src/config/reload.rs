//! What of a configuration can change while dirpost runs: [`KEYS`] says it of each key.
//!
//! A key cannot change where something goes on being what it was made by: the watched folder, the state
//! folder with its lock and journal, where filed files are looked for after a crash, what keys are made
//! of. These stay as they were at the start, all others are taken over as a whole. Values that have to fit
//! each other (`config::places`, `check.min_size` and `check.max_size`, …) are all of the one kind or all of
//! the other.

use std::path::Path;

use super::{BodyKind, Config};

/// A key, or a table all of whose keys are alike in this.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `watch.interval`, or `send.tls` for all that is below it.
    pub name: &'static str,
    /// Whether two configurations differ in it.
    differs: fn(&Config, &Config) -> bool,
    /// `None`: it can change. Else what copies it from one configuration to another.
    keep: Option<fn(&mut Config, &Config)>,
}

impl Key {
    /// Whether it is taken over while dirpost runs; else it needs a restart.
    pub fn can_change(&self) -> bool {
        self.keep.is_none()
    }
}

/// One that can change.
macro_rules! changes {
    ($name:literal, $($field:ident).+) => {
        Key {
            name: $name,
            differs: |one, other| one.$($field).+ != other.$($field).+,
            keep: None,
        }
    };
}

/// One that needs a restart.
macro_rules! stays {
    ($name:literal, $($field:ident).+) => {
        stays!($name, $($field).+, |one, other| one.$($field).+ != other.$($field).+)
    };
    ($name:literal, $($field:ident).+, $differs:expr) => {
        Key {
            name: $name,
            differs: $differs,
            keep: Some(|new, old| new.$($field).+.clone_from(&old.$($field).+)),
        }
    };
}

/// A folder that needs a restart, as it is seen from that of another table.
macro_rules! stays_below {
    ($name:literal, $above:ident, $($field:ident).+) => {
        stays!($name, $($field).+, |one, other| {
            differ_below(&one.$above.dir, &one.$($field).+, &other.$above.dir, &other.$($field).+)
        })
    };
}

/// All keys, in the order of the configuration.
pub const KEYS: &[Key] = &[
    stays!("watch.dir", watch.dir),
    changes!("watch.interval", watch.interval),
    changes!("watch.max_share", watch.max_share),
    changes!("watch.max_depth", watch.max_depth),
    changes!("watch.include", watch.include),
    changes!("watch.exclude", watch.exclude),
    changes!("watch.ignore_case", watch.ignore_case),
    changes!("watch.ignore_temporary", watch.ignore_temporary),
    // It decides what is opened, and that was opened at the start.
    stays!("watch.require_mount", watch.require_mount),
    changes!("watch.threads", watch.threads),
    changes!("watch.rewrites", watch.rewrites),
    stays!("watch.shard", watch.shard),
    changes!("ready.settle", ready.settle),
    // A marker that is being filed beside its file would be looked for under another name.
    stays!("ready.marker", ready.marker),
    changes!("ready.empty", ready.empty),
    changes!("check.min_size", check.min_size),
    changes!("check.max_size", check.max_size),
    changes!("check.format", check.format),
    changes!("check.starts_with", check.starts_with),
    changes!("check.ends_with", check.ends_with),
    changes!("check.command", check.command),
    changes!("check.command_timeout", check.command_timeout),
    changes!("check.grace", check.grace),
    changes!("send.url", send.url),
    changes!("send.method", send.method),
    Key {
        name: "send.body",
        differs: |one, other| {
            let is_raw = |config: &Config| config.send.body == BodyKind::Raw;
            is_raw(one) != is_raw(other)
        },
        keep: None,
    },
    Key {
        name: "send.field",
        differs: |one, other| match (&one.send.body, &other.send.body) {
            (BodyKind::Multipart(one), BodyKind::Multipart(other)) => one != other,
            _ => false,
        },
        keep: None,
    },
    changes!("send.content_type", send.content_type),
    changes!("send.headers", send.headers),
    changes!("send.fields", send.fields),
    changes!("send.expect", send.expect),
    changes!("send.workers", send.workers),
    changes!("send.connect_timeout", send.connect_timeout),
    changes!("send.stall_timeout", send.stall_timeout),
    changes!("send.response_timeout", send.response_timeout),
    changes!("send.digest", send.digest),
    changes!("send.compress", send.compress),
    changes!("send.accept", send.accept),
    changes!("send.reject", send.reject),
    changes!("send.brake", send.brake),
    // A file that is tried again would go under another key, and could be taken twice.
    stays!("send.key_scope", send.key_scope),
    changes!("send.accept_content_type", send.accept_content_type),
    changes!("send.accept_body", send.accept_body),
    // The queues are in the one order or in the other.
    stays!("send.order", send.order),
    stays!("send.in_order", send.in_order),
    changes!("send.max_rate", send.max_rate),
    changes!("send.auth", send.auth),
    changes!("send.tls", send.tls),
    changes!("send.proxy", send.proxy),
    changes!("retry.first", retry.first),
    changes!("retry.max", retry.max),
    changes!("retry.give_up_after", retry.give_up_after),
    // What is being filed is looked for where it was to go, and what was kept is known as delivered.
    stays!("delivered.action", delivered.action),
    stays_below!("delivered.dir", state, delivered.dir),
    changes!("delivered.keep_answer", delivered.keep_answer),
    stays!("delivered.keep_for", delivered.keep_for),
    changes!("delivered.remember", delivered.remember),
    changes!("delivered.remove_emptied", delivered.remove_emptied),
    stays_below!("dead_letter.dir", state, dead_letter.dir),
    stays_below!("state.dir", watch, state.dir),
    stays!("report.metrics_file", report.metrics_file),
    // Its threads and its socket are those of the start.
    stays!("report.listen", report.listen),
    changes!("log.level", log.level),
];

/// Whether two folders differ, each seen from the folder above it: one that lies in `watch.dir` or in
/// `state.dir` by default, and moves with that, is not named beside it.
fn differ_below(one_above: &Path, one: &Path, other_above: &Path, other: &Path) -> bool {
    match (one.strip_prefix(one_above), other.strip_prefix(other_above)) {
        (Ok(one), Ok(other)) => one != other,
        _ => one != other,
    }
}

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reread {
    /// What dirpost goes on with: what cannot change in it is as before.
    pub config: Config,
    /// The keys that are different now.
    pub taken: Vec<&'static str>,
    /// Those that would be, and need a restart.
    pub waiting: Vec<&'static str>,
}

impl Reread {
    /// What becomes of `now` when the configuration file says `new`.
    pub fn new(now: &Config, mut new: Config) -> Reread {
        let (mut taken, mut waiting) = (Vec::new(), Vec::new());
        for key in KEYS.iter().filter(|key| (key.differs)(now, &new)) {
            let list = if key.can_change() {
                &mut taken
            } else {
                &mut waiting
            };
            list.push(key.name);
        }
        for key in KEYS {
            if let Some(keep) = key.keep {
                keep(&mut new, now);
            }
        }
        Reread {
            config: new,
            taken,
            waiting,
        }
    }

    /// Whether what has passed `[check]` has to pass another one now.
    pub fn rechecks(&self) -> bool {
        const CONTENT: [&str; 4] = [
            "check.format",
            "check.starts_with",
            "check.ends_with",
            "check.command",
        ];
        self.taken.iter().any(|name| CONTENT.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, env, known};
    use super::super::{load, parse};
    use super::*;

    /// For each key another value than by default, and what both configurations say beside it.
    const OTHERS: &[(&str, &str, &str)] = &[
        ("watch.dir", "'/srv/another'", ""),
        ("watch.interval", "'7s'", ""),
        ("watch.max_share", "0.5", ""),
        ("watch.max_depth", "3", ""),
        ("watch.include", "['*.csv']", ""),
        ("watch.exclude", "['*.bak']", ""),
        ("watch.ignore_case", "true", ""),
        ("watch.ignore_temporary", "false", ""),
        ("watch.require_mount", "true", ""),
        ("watch.threads", "3", ""),
        ("watch.rewrites", "'1m'", ""),
        ("ready.settle", "'7s'", ""),
        ("ready.marker", "'.done'", ""),
        ("ready.empty", "'send'", ""),
        ("check.min_size", "7", ""),
        ("check.max_size", "7", ""),
        ("check.format", "'json'", ""),
        ("check.starts_with", "'A'", ""),
        ("check.ends_with", "'Z'", ""),
        ("check.command", "['/bin/true']", ""),
        ("check.command_timeout", "'7s'", ""),
        ("check.grace", "'7s'", ""),
        ("send.url", "'http://another/'", ""),
        ("send.method", "'PUT'", ""),
        ("send.body", "'multipart'", ""),
        ("send.field", "'another'", "send.body = 'multipart'"),
        ("send.content_type", "'text/csv'", ""),
        ("send.headers", "{ X-A = '1' }", ""),
        ("send.fields", "{ a = '1' }", "send.body = 'multipart'"),
        ("send.expect", "'never'", ""),
        ("send.workers", "7", ""),
        ("send.connect_timeout", "'7s'", ""),
        ("send.stall_timeout", "'7s'", ""),
        ("send.response_timeout", "'7s'", ""),
        ("send.digest", "'never'", ""),
        ("send.compress", "'gzip'", ""),
        ("send.accept", "[201]", ""),
        ("send.reject", "[406]", ""),
        ("send.brake", "7", ""),
        ("send.key_scope", "'another'", ""),
        ("send.accept_content_type", "'text/csv'", ""),
        ("send.accept_body", "'ok'", ""),
        ("send.order", "'name'", ""),
        ("send.in_order", "true", "send.order = 'mtime'"),
        ("send.max_rate", "'7 MiB'", ""),
        ("send.auth", "{ bearer_file = '/run/token' }", ""),
        ("send.tls", "{ roots = 'bundled' }", ""),
        ("send.proxy", "'none'", ""),
        ("retry.first", "'2s'", ""),
        ("retry.max", "'7m'", ""),
        ("retry.give_up_after", "'7h'", ""),
        ("delivered.action", "'keep'", ""),
        ("delivered.dir", "'/srv/done'", ""),
        ("delivered.keep_answer", "true", ""),
        ("delivered.keep_for", "'9d'", ""),
        ("delivered.remember", "'7d'", ""),
        ("delivered.remove_emptied", "true", ""),
        ("dead_letter.dir", "'/srv/dead'", ""),
        ("state.dir", "'/var/lib/dirpost'", ""),
        ("report.metrics_file", "'/run/dirpost.prom'", ""),
        ("report.listen", "'127.0.0.1:9470'", ""),
        ("log.level", "'debug'", ""),
    ];

    fn config(key: &str, value: &str, beside: &str) -> Config {
        let dir = ("watch.dir", "'/srv/outbox'");
        let url = ("send.url", "'https://example.org/in/{path}'");
        let usual = [dir, url].into_iter().filter(|(name, _)| *name != key);
        let lines = usual.map(|(name, value)| format!("{name} = {value}\n"));
        let own = (!value.is_empty()).then(|| format!("{key} = {value}\n"));
        let text: String = lines.chain(own).collect();
        parse(&(text + beside), Path::new("/etc/dirpost.toml"), &env).unwrap()
    }

    /// It brings the folders in the state folder along, and so is never named alone.
    const WITHOUT: [&str; 1] = ["watch.shard"];

    #[test]
    fn whether_it_can_change_is_said_of_each_key_that_there_is() {
        let file = at("config/dirpost.toml");
        load(&file, &env).unwrap();
        let covers = |name: &str, key: &str| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let known = known();
        for key in &known {
            let said = KEYS.iter().filter(|said| covers(said.name, key)).count();
            assert_eq!(said, 1, "{key}");
        }
        for said in KEYS {
            let is_there = known.iter().any(|key| covers(said.name, key));
            assert!(is_there, "{} is no key", said.name);
            let is_tried = OTHERS.iter().any(|(key, ..)| *key == said.name);
            assert!(is_tried || WITHOUT.contains(&said.name), "{}", said.name);
        }
    }

    #[test]
    fn what_changes_is_named_alone_and_what_cannot_change_stays() {
        for (key, value, beside) in OTHERS {
            let (now, new) = (config("", "", beside), config(key, value, beside));
            let said = KEYS.iter().find(|said| said.name == *key).unwrap();
            assert!((said.differs)(&now, &new), "{key}");
            let reread = Reread::new(&now, new);
            let (taken, waiting) = if said.can_change() {
                (vec![*key], vec![])
            } else {
                (vec![], vec![*key])
            };
            assert_eq!((&reread.taken, &reread.waiting), (&taken, &waiting));
            let again = Reread::new(&reread.config, config(key, value, beside));
            assert!(again.taken.is_empty(), "{key} is taken over");
            assert_eq!(again.waiting, waiting, "{key} is as it was at the start");
            let back = Reread::new(&reread.config, config("", "", beside));
            assert_eq!((back.taken, back.waiting), (taken, vec![]), "and back");
        }
    }

    #[test]
    fn the_manual_names_the_keys_that_need_a_restart() {
        let manual = std::fs::read_to_string(at("docs/operations.md")).unwrap();
        let (_, behind) = manual.split_once("which need a restart: ").unwrap();
        let list = behind.split_once(". ").unwrap().0;
        let named: Vec<&str> = list.split(", ").flat_map(|it| it.split(",\n")).collect();
        let stays = KEYS.iter().filter(|key| !key.can_change());
        let stays: Vec<String> = stays.map(|key| format!("`{}`", key.name)).collect();
        assert_eq!(named, stays);
    }

    #[test]
    fn what_lies_in_another_folder_stays_there_with_it() {
        let (now, new) = (
            config("", "", ""),
            config("watch.dir", "'/srv/another'", ""),
        );
        let config = Reread::new(&now, new).config;
        for (path, end) in [
            (&config.watch.dir, ""),
            (&config.state.dir, ".dirpost"),
            (&config.delivered.dir, ".dirpost/done"),
            (&config.dead_letter.dir, ".dirpost/dead-letter"),
        ] {
            assert_eq!(*path, Path::new("/srv/outbox").join(end));
        }
    }
}
