//! Every message of the log stands in docs/operations.md, and every message there is one of the log.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
fn text(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// The patterns in the first column of the tables.
fn documented() -> Vec<String> {
    let text = text("docs/operations.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split("` |").next().unwrap().to_owned())
        .collect()
}

/// The string literal that begins at the start of `code`.
fn literal(code: &str) -> String {
    let is_raw = code.starts_with('r');
    let mut chars = code.trim_start_matches('r')[1..].chars().peekable();
    let mut text = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' if !is_raw => match chars.next() {
                Some('\n') => while chars.next_if(|char| char.is_whitespace()).is_some() {},
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

/// The literals behind each of these words, with nothing but white space between.
fn literals_behind(code: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for word in words {
        for (at, _) in code.match_indices(word) {
            let rest = code[at + word.len()..].trim_start();
            let rest = rest
                .strip_prefix("target: \"dirpost\",")
                .unwrap_or(rest)
                .trim_start();
            if rest.starts_with('"') || rest.starts_with("r\"") {
                found.push(literal(rest));
            }
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// What is said: the lines of all notes, by their own test, and those of the shell.
fn said() -> Vec<String> {
    let tests = ["tests.rs", "tests/process.rs"].map(|file| {
        let notes = text(Path::new("src/io/logging/words").join(file));
        literals_behind(&notes, &["Error,", "Warn,", "Info,"])
    });
    let mut said = tests.concat();
    // Of a note that was sent to the wrong function.
    said.retain(|line| line != "MountedOver");
    let mut files = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let code = text(file);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let words = ["log::error!(", "log::warn!(", "log::info!("];
        said.extend(
            literals_behind(code, &words)
                .iter()
                .map(|line| filled(line)),
        );
    }
    // A sentence that is made elsewhere.
    said.retain(|line| line != "x");
    said
}

/// A format string with something in its places.
fn filled(format: &str) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some((front, behind)) = rest.split_once('{') {
        text += front;
        text += "x";
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    text + rest
}

/// Whether `line` is `pattern` with something for each `…`.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn a_pattern_fits_its_lines_alone() {
    for (pattern, line, does) in [
        ("stopping…", "stopping", true),
        ("folder: back after …", "folder: back after 90 s", true),
        ("folder: back after …", "folder: for 90 s now: x", false),
        ("…: a … b", "x: a y b", true),
        ("…: a … b", "x: a y", false),
        ("alone", "alone", true),
        ("alone", "alone not", false),
    ] {
        assert_eq!(fits(pattern, line), does, "{pattern} {line}");
    }
}

#[test]
fn every_message_is_documented_and_every_documented_message_is_said() {
    let (documented, said) = (documented(), said());
    assert!(documented.len() > 50 && said.len() > 60, "they were found");
    let is_told = |line: &&String| documented.iter().any(|pattern| fits(pattern, line));
    let missing: Vec<&String> = said.iter().filter(|line| !is_told(line)).collect();
    assert!(
        missing.is_empty(),
        "not in docs/operations.md: {missing:#?}"
    );
    let is_said = |pattern: &&String| said.iter().any(|line| fits(pattern, line));
    let stale: Vec<&String> = documented
        .iter()
        .filter(|pattern| !is_said(pattern))
        .collect();
    assert!(stale.is_empty(), "nothing says: {stale:#?}");
}
