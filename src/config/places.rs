//! Folders that must not lie in one another: what dirpost writes must never
//! look like something to send.

use super::Config;
use super::read::Source;
use std::path::{Component, Path, PathBuf};

/// Records every pair of folders that would get into each other's way.
///
/// Compared is how the paths are written (links are not followed), with `.`
/// and `..` resolved.
pub fn check(config: &Config, source: &Source<'_>) {
    let watched = normal(&config.watch.dir);
    let state = normal(&config.state.dir);
    if watched.starts_with(&state) {
        source.problem(
            "state.dir",
            "the watched folder is this folder or lies in it, and would never be scanned; \
             write a folder beside the watched one or below it",
        );
        // All others depend on these two.
        return;
    }
    let delivered = ("delivered.dir", normal(&config.delivered.dir));
    let dead_letter = ("dead_letter.dir", normal(&config.dead_letter.dir));
    for (key, dir) in [&delivered, &dead_letter] {
        if *dir == state {
            source.problem(key, "is the state folder itself; write a folder of its own");
        } else if dir.starts_with(&watched) && !dir.starts_with(&state) {
            source.problem(
                key,
                format!(
                    "lies in the watched folder, so its files would be sent again; write a \
                     folder outside of {} or one in the state folder {}",
                    watched.display(),
                    state.display()
                ),
            );
        } else if watched.starts_with(dir) {
            source.problem(
                key,
                "the watched folder lies in it, so its files could be sent again; \
                 write a folder of its own",
            );
        }
    }
    let nested = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    if delivered.1 == dead_letter.1 {
        source.problem(
            "dead_letter.dir",
            "is the same folder as delivered.dir, so nobody could tell what was delivered; \
             write another one",
        );
    } else if nested(&delivered.1, &dead_letter.1) {
        source.problem(
            "dead_letter.dir",
            "this folder and delivered.dir lie in one another; write two separate folders",
        );
    }
    if let Some(file) = config.report.metrics_file.as_deref().map(normal)
        && file.starts_with(&watched)
        && !file.starts_with(&state)
    {
        source.problem(
            "report.metrics_file",
            "lies in the watched folder, so it would be sent; write a path outside of it",
        );
    }
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::normal;
    use std::path::Path;

    #[test]
    fn resolves_dots() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(normal(Path::new("/../../a/")), Path::new("/a"));
    }
}
