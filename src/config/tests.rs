//! The shipped example, and configurations that are wrong.

use std::path::Path;

use super::pending::PENDING;
use super::read::KEYS;
use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<Config, String> {
    parse(text, Path::new("/etc/test.toml"), &no_env).map_err(|err| err.to_string())
}

fn example() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/dirpost.toml")).expect("the example")
}

/// Everything but the folders, as text, to compare two configurations.
fn shown(config: &Config) -> String {
    format!("{config:?}")
}

#[test]
fn the_shipped_example_is_valid_and_stands_at_the_defaults() {
    let shipped = read(&example()).unwrap();
    let minimal = read("watch.dir = \"/srv/drop\"\nsend.url = \"https://example.org/upload\"").unwrap();
    assert_eq!(shown(&shipped), shown(&minimal));
}

#[test]
fn the_shipped_example_holds_every_key_and_its_comments_are_valid_too() {
    let pending: Vec<&str> = PENDING.iter().map(|(key, _)| key.rsplit('.').next().unwrap()).collect();
    let mut auth = 0;
    let lines: Vec<String> = example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with("auth") => {
                auth += 1;
                if auth == 2 { rest.to_string() } else { String::new() }
            }
            Some(rest) if rest.starts_with("field") => String::new(),
            Some(rest)
                if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ') && !pending.contains(&key)) =>
            {
                rest.to_string()
            }
            _ => line.to_string(),
        })
        .collect();
    let all = lines.join("\n");
    let config = read(&all).unwrap();
    assert_eq!(config.ready.marker.as_deref(), Some(".done"));
    assert_eq!(config.send.headers, [("X-Source".to_string(), "plant-7".to_string())]);
    assert!(matches!(config.send.auth, Some(Auth::Basic { .. })));
    let example = example();
    for key in KEYS.iter().filter(|key| key.contains('.')) {
        let name = key.rsplit('.').next().unwrap();
        assert!(
            example.contains(&format!("{name} = ")) || example.contains(&format!("[{key}]")),
            "{key} is not in the example"
        );
    }
}

#[test]
fn every_wrong_configuration_says_what_is_wrong_and_where() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/config-bad"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 25, "{} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let message = match read(&text) {
            Ok(_) => panic!("{} is accepted", file.display()),
            Err(message) => message,
        };
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{} expects nothing", file.display());
        for part in expected {
            assert!(message.contains(part), "{}:\n{message}\nlacks: {part}", file.display());
        }
        assert!(message.contains("/etc/test.toml"), "{message}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let message = read("watch.dir = \"/a\"\nsend.workers = 0\nsend.brkae = 3\n").unwrap_err();
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn the_environment_is_filled_in_and_a_missing_variable_is_named_with_its_line() {
    let env = |name: &str| (name == "HOST").then(|| "h.example".to_string());
    let text = "watch.dir = \"/a\"\nsend.url = \"http://${HOST}/$${x}\"\n";
    let message = parse(text, Path::new("x"), &env).unwrap_err().to_string();
    assert!(message.contains("`{x}` is not filled in"), "{message}");
    let text = "watch.dir = \"/a\"\nsend.url = \"http://${HOST}/\"\nsend.headers.A = \"${NO}\"";
    let message = parse(text, Path::new("x"), &env).unwrap_err().to_string();
    assert!(message.contains("line 3") && message.contains("NO is not set"), "{message}");
}

#[test]
fn paths_are_made_whole_and_defaults_follow_the_folder() {
    let config = read("watch.dir = \"drop/../in\"\nsend.url = \"http://h/\"").unwrap();
    assert_eq!(config.watch.dir, Path::new("/etc/in"));
    assert_eq!(config.delivered.dir, Path::new("/etc/in/.dirpost/done"));
    let config = read("watch.dir = \"/in\"\nsend.url = \"http://h/\"\nstate.dir = \"/var/lib/d\"").unwrap();
    assert_eq!(config.dead_letter.dir, Path::new("/var/lib/d/dead-letter"));
}

#[test]
fn a_folder_with_quotes_and_dollars_can_be_named_on_the_command_line() {
    let config = from_dir_and_url(Path::new("/a \"b\" ${c} \\d"), "http://h/").unwrap();
    assert_eq!(config.watch.dir, Path::new("/a \"b\" ${c} \\d"));
}
