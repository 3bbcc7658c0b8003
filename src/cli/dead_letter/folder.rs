//! The dead-letter folder, read: which files lie there, and what is known of each.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use crate::flow::file::{Look, Rel};
use crate::flow::filing::reason::{REASON, ReasonFile};
use crate::flow::marker::MarkerRule;
use crate::io::dir::{DRAFT, Dir};
use crate::io::os::error::explain;

/// Upper bound on what is read of a reason file, in bytes; they hold a few KiB.
const REASON_MAX: u64 = 1 << 20;

/// One file that lies there.
#[derive(Debug)]
pub(super) struct DeadFile {
    /// Relative to the dead-letter folder.
    pub(super) place: Rel,
    pub(super) look: Look,
    pub(super) reason: Reason,
}

/// What is known of why a file lies there.
#[derive(Debug)]
pub(super) enum Reason {
    Known(Box<ReasonFile>),
    /// There is no reason file: somebody has removed it.
    Missing,
    /// There is one, and it says nothing.
    Unreadable,
}

/// All that lies there.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sorted by their places.
    pub(super) files: Vec<DeadFile>,
    /// What could not be read: sentences.
    pub(super) problems: Vec<String>,
}

impl DeadFile {
    /// Where it came from: in the folder that its own mirrors, by the name that its reason gives
    /// it, for its own may have got a number. No more than the last part of the path in the reason
    /// is believed, so that a forged one leads into no other folder.
    pub(super) fn origin(&self) -> Rel {
        let path = match &self.reason {
            Reason::Known(reason) => reason.path_bytes(),
            Reason::Missing | Reason::Unreadable => Vec::new(),
        };
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if Rel::new(name).is_plain() {
            self.place.parent().join(name)
        } else {
            self.place.clone()
        }
    }
}

/// Reads the folder and all below it. `marker` is the ending of markers' names: a marker lies
/// beside its file, and belongs to it.
///
/// # Errors
/// Those of opening and listing the folder itself; what is wrong below it is in
/// [`Listing::problems`].
pub(super) fn read(folder: &Dir, marker: Option<&MarkerRule>) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut folders = vec![Rel::root()];
    while let Some(path) = folders.pop() {
        match read_one(folder, &path, marker, &mut listing) {
            Ok(inner) => folders.extend(inner),
            Err(err) if path == Rel::root() => return Err(err),
            // It went since its parent was listed.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => listing.problems.push(format!("{path}: {}", explain(&err))),
        }
    }
    listing.files.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(listing)
}

/// Reads one folder; the folders in it.
fn read_one(
    folder: &Dir,
    path: &Rel,
    marker: Option<&MarkerRule>,
    listing: &mut Listing,
) -> io::Result<Vec<Rel>> {
    let here = folder.folder(path)?;
    let (mut looks, mut folders) = (Vec::new(), Vec::new());
    for name in here.names(&Rel::root())? {
        match here.look(&name) {
            Ok(Some(look)) => looks.push((name, look)),
            Ok(None) if here.folder(&Rel::new(&name)).is_ok() => folders.push(path.join(&name)),
            // A link, a socket: dirpost puts no such thing there.
            Ok(None) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => {
                let place = path.join(&name);
                listing.problems.push(format!("{place}: {}", explain(&err)));
            }
        }
    }
    let names: BTreeSet<&[u8]> = looks.iter().map(|(name, _)| name.as_slice()).collect();
    for (name, look) in &looks {
        if !is_dead_file(&here, &names, name, marker) {
            continue;
        }
        let reason = if names.contains(with_reason(name).as_slice()) {
            read_reason(&here, &with_reason(name))
        } else {
            Reason::Missing
        };
        listing.files.push(DeadFile {
            place: path.join(name),
            look: *look,
            reason,
        });
    }
    Ok(folders)
}

/// Whether `name`, one of the regular files `names` in `here`, is a file that was put there, and no
/// reason, marker or draft of one.
fn is_dead_file(
    here: &Dir,
    names: &BTreeSet<&[u8]>,
    name: &[u8],
    marker: Option<&MarkerRule>,
) -> bool {
    if names.contains(with_reason(name).as_slice()) {
        return true;
    }
    if name.starts_with(DRAFT.as_bytes()) {
        return false;
    }
    let reason_of = name.strip_suffix(REASON);
    if reason_of.is_some_and(|file| names.contains(file))
        || marker.is_some_and(|rule| is_marker_of_any(rule, names, name))
    {
        return false;
    }
    // The rest of a move that was broken off, or of a file that somebody took away; unless a file
    // that was sent here is only called so.
    !(name.ends_with(REASON) && matches!(read_reason(here, name), Reason::Known(_)))
}

/// Whether `name` is that of the marker of any of `names`.
fn is_marker_of_any(rule: &MarkerRule, names: &BTreeSet<&[u8]>, name: &[u8]) -> bool {
    let Some(subject) = rule.marked(name) else {
        return false;
    };
    let behind = names.range(subject..).map(|file| ((), *file));
    rule.files_of(subject, behind)
        .any(|((), file)| file != name && !file.ends_with(REASON))
}

/// Whether the marker of the file `name`, which is not in `here` any more, vouches for others there.
///
/// # Errors
/// Whatever reading the folder answers.
pub(super) fn vouches_for_others(here: &Dir, rule: &MarkerRule, name: &[u8]) -> io::Result<bool> {
    let mut others = false;
    if rule.is_shared() {
        let subject = rule.subject(name);
        here.each_name(&mut |other, _| {
            let is_file = other != name && !other.ends_with(REASON) && rule.marked(other).is_none();
            others |= is_file && rule.subject(other) == subject;
        })?;
    }
    Ok(others)
}

/// The name of the reason file of `name`.
pub(super) fn with_reason(name: &[u8]) -> Vec<u8> {
    [name, REASON].concat()
}

fn read_reason(folder: &Dir, name: &[u8]) -> Reason {
    let mut text = Vec::new();
    let read = folder
        .file(name)
        .and_then(|file| file.take(REASON_MAX).read_to_end(&mut text));
    match read.map(|_| ReasonFile::read(&text)) {
        Ok(Ok(reason)) => Reason::Known(Box::new(reason)),
        _ => Reason::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    const GENUINE: &str = r#"{"path": "x", "reason": "bad", "dead_at": "2026-01-01T00:00:00Z"}"#;

    fn places(dir: &TempDir, marker: Option<&MarkerRule>) -> Vec<String> {
        let listing = read(&Dir::at(dir.path()).unwrap(), marker).unwrap();
        assert_eq!(listing.problems, Vec::<String>::new());
        let text = |file: DeadFile| {
            let reason = match file.reason {
                Reason::Known(_) => "",
                Reason::Missing => " missing",
                Reason::Unreadable => " unreadable",
            };
            format!("{}{reason}", file.place)
        };
        listing.files.into_iter().map(text).collect()
    }

    #[test]
    fn files_are_told_from_what_belongs_to_them() {
        let dir = TempDir::new();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        write("a.csv", "a");
        write("a.csv.reason.json", GENUINE);
        write("a.csv.done", "");
        write("sub/bare.csv", "b");
        write("torn.csv", "c");
        write("torn.csv.reason.json", "{\"path");
        // Of a move that was broken off.
        write("gone.csv.reason.json", GENUINE);
        write(".draft-0123-4", "half");
        // Sent by somebody under such a name, and its own reason was removed.
        write("report.reason.json", "{\"reason\": 1}");
        // Sent under such a name.
        write("x.reason.json", "[]");
        write("x.reason.json.reason.json", GENUINE);
        assert_eq!(
            places(&dir, Some(&MarkerRule::of_name(".done"))),
            [
                "a.csv",
                "report.reason.json missing",
                "sub/bare.csv missing",
                "torn.csv unreadable",
                "x.reason.json"
            ]
        );
        assert!(places(&dir, None).contains(&"a.csv.done missing".to_string()));
    }

    #[test]
    fn of_the_path_in_a_reason_only_the_last_part_is_believed() {
        let origin = |place: &str, path: &str| {
            let text = serde_json::json!({ "path": path, "reason": "bad" }).to_string();
            let reason = ReasonFile::read(text.as_bytes()).unwrap();
            let file = DeadFile {
                place: Rel::new(place.as_bytes()),
                look: Look::default(),
                reason: Reason::Known(Box::new(reason)),
            };
            file.origin().to_string()
        };
        assert_eq!(origin("sub/x.1.csv", "sub/x.csv"), "sub/x.csv");
        assert_eq!(origin("sub/x.csv", "other/folder/x.csv"), "sub/x.csv");
        assert_eq!(origin("x.csv", "../../etc/passwd"), "passwd");
        assert_eq!(origin("x.csv", "/etc/passwd"), "passwd");
        assert_eq!(origin("sub/x%0A.csv", "sub/x%250A.csv"), "sub/x%250A.csv");
        // A name that was escaped for the reason, and one that hides a separator or leads up.
        assert_eq!(origin("sub/x", "sub/50%25.csv"), "sub/50%25.csv");
        assert_eq!(origin("sub/x", "a%2Fb"), "sub/b");
        for nothing in ["..", "a/..", ".", "", "a/", "%2E%2E", "a%00b"] {
            assert_eq!(origin("sub/x", nothing), "sub/x", "{nothing}");
        }
    }
}
