//! The core is pure: this reads its sources and holds what they name to a list.
//!
//! Clippy sees calls (`.clippy.toml`); this sees imports and whole paths. What is not listed
//! is refused, so that a new dependency of the core is a decision.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What the core may use of std: data, text, integers, spans of time.
const STD: [&str; 23] = [
    "std::borrow",
    "std::collections",
    "std::fmt",
    "std::vec",
    "std::sync::Arc",
    "std::time::Duration",
    "std::time::SystemTime",
    "std::ops",
    "std::cmp",
    "std::error::Error",
    // The hasher that is made by name, and always the same: no keys are drawn for it.
    "std::hash::Hash",
    "std::hash::DefaultHasher",
    "std::mem",
    "std::iter",
    "std::str",
    "std::array",
    "std::slice",
    "std::num",
    // A filing is an async fn that is polled by hand, on one thread and without a runtime.
    "std::cell",
    "std::future",
    "std::pin",
    "std::rc",
    "std::task",
];
/// What it may use of other crates: parsers, encoders, a hash.
const CRATES: [&str; 7] = [
    "fast_glob",
    "httpdate",
    "humantime",
    "percent_encoding",
    "serde",
    "serde_json",
    "sha2",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The code without comments, attributes of documentation, and unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// All `name::…` paths that begin with a word of `starts`.
fn paths<'a>(code: &'a str, start: &str) -> Vec<&'a str> {
    code.match_indices(start)
        .filter(|(at, _)| {
            !code[..*at].ends_with(|before: char| {
                before.is_alphanumeric() || before == '_' || before == ':'
            })
        })
        .map(|(at, _)| {
            let rest = &code[at..];
            let end = rest
                .find(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':'))
                .unwrap_or(rest.len());
            rest[..end].trim_end_matches(':')
        })
        .collect()
}

#[test]
fn the_core_names_nothing_that_reads_clocks_files_networks_threads_or_the_environment() {
    let mut files = Vec::new();
    sources(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/flow")),
        &mut files,
    );
    // Unit tests may use what they like.
    let is_test = |part: &OsStr| part == "tests" || part == "tests.rs";
    files.retain(|file| !file.iter().skip_while(|part| *part != "flow").any(is_test));
    assert!(files.len() >= 20, "only {} files", files.len());
    for file in files {
        let code = code(&std::fs::read_to_string(&file).expect("a source"));
        for path in paths(&code, "std::") {
            assert!(
                STD.iter().any(|good| path.starts_with(good)),
                "{}: {path}",
                file.display()
            );
        }
        for bad in [
            "crate::io",
            "crate::daemon",
            "crate::cli",
            "crate::cli::check",
            "crate::cli::progress",
            "log::",
            "ureq",
            "walkdir",
            "rustix",
            "println!",
            "unsafe",
        ] {
            assert!(paths(&code, bad).is_empty(), "{}: {bad}", file.display());
        }
        for line in code
            .lines()
            .filter_map(|line| line.trim().strip_prefix("use "))
        {
            let root = line.split("::").next().unwrap_or("").trim_end_matches(';');
            assert!(
                ["std", "crate", "super", "self"].contains(&root) || CRATES.contains(&root),
                "{}: use {line}",
                file.display()
            );
        }
    }
}

#[test]
fn the_shell_does_not_know_the_engine() {
    let mut files = Vec::new();
    sources(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/io")),
        &mut files,
    );
    assert!(files.len() >= 20, "only {} files", files.len());
    for file in files {
        let code = code(&std::fs::read_to_string(&file).expect("a source"));
        assert!(!code.contains("flow::engine"), "{}", file.display());
    }
}
