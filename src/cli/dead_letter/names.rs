//! Which dead letters a PATH of the command line names.
//!
//! A name is what stands on the disk. It is read in several ways, one after the other, and the
//! first that names something counts; what the log prints for it is the last one, and only for
//! looking: a file may be called as another one is printed.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::Action;
use super::folder::DeadFile;
use crate::flow::escape::unescape;
use crate::flow::file::Rel;
use crate::io::dir::{below, bytes_of, name_of};

/// The name of the dead-letter folder in the log.
const LOGGED_AS: &[u8] = b"dead-letter";

/// Where names may begin.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) watch: PathBuf,
    pub(super) dead_letter: PathBuf,
    /// Where the program was called.
    pub(super) current: Option<PathBuf>,
}

/// What a name comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Files(Vec<&'a DeadFile>),
    /// Nothing that it may name; files that it is likely to mean.
    Nothing {
        perhaps: Vec<&'a DeadFile>,
    },
    /// All that lies there, which must be asked for by `--all`.
    Everything,
}

/// One way to read a name.
enum Reading {
    /// A file in the dead-letter folder, or a folder with all in it.
    Place(Rel),
    /// Where a file came from.
    Origin(Rel),
}

impl PartialEq for DeadFile {
    fn eq(&self, other: &DeadFile) -> bool {
        self.place == other.place
    }
}

impl Eq for DeadFile {}

impl Folders {
    /// The files that `name` names for `action`.
    pub(super) fn find<'a>(
        &self,
        name: &OsStr,
        action: Action,
        files: &'a [DeadFile],
    ) -> Found<'a> {
        let name = Path::new(name);
        let mut perhaps = Vec::new();
        for reading in self.readings(name) {
            match reading {
                Reading::Place(place) if place == Rel::root() && action.changes() => {
                    return Found::Everything;
                }
                Reading::Place(place) => {
                    let found = at_place(files, &place);
                    if !found.is_empty() {
                        return Found::Files(found);
                    }
                }
                Reading::Origin(origin) => {
                    let found: Vec<&DeadFile> = files
                        .iter()
                        .filter(|file| file.origin() == origin)
                        .collect();
                    let may = match action {
                        Action::List | Action::Show => !found.is_empty(),
                        Action::Retry => found.len() == 1,
                        // Who says it twice must not delete two files.
                        Action::Discard => false,
                    };
                    if may {
                        return Found::Files(found);
                    }
                    perhaps.extend(found);
                }
            }
        }
        let logged = as_logged(name, files);
        if action == Action::Show && !logged.is_empty() {
            return Found::Files(logged);
        }
        if perhaps.is_empty() {
            perhaps = logged;
        }
        Found::Nothing { perhaps }
    }

    /// The ways to read a name, in their order.
    fn readings(&self, name: &Path) -> Vec<Reading> {
        if name.as_os_str().is_empty() {
            return Vec::new();
        }
        if name.is_absolute() {
            return match below_really(&self.dead_letter, name) {
                Some(place) => vec![Reading::Place(place)],
                None => {
                    below_really(&self.watch, name).map_or(Vec::new(), |path| self.relative(path))
                }
            };
        }
        let mut readings = match plain(name) {
            Some(path) => self.relative(path),
            None => Vec::new(),
        };
        // As a shell completes it: from outside, and into the dead-letter folder.
        if let Some(current) = &self.current
            && below_really(&self.dead_letter, current).is_none()
            && let Some(place) = below_really(&self.dead_letter, &current.join(name))
        {
            readings.push(Reading::Place(place));
        }
        readings
    }

    /// Of a path in the dead-letter folder or the watched one.
    fn relative(&self, path: Rel) -> Vec<Reading> {
        let mut readings = vec![Reading::Place(path.clone())];
        let whole = self.watch.join(name_of(path.as_bytes()));
        if let Some(place) = below(&self.dead_letter, &whole) {
            readings.push(Reading::Place(place));
        }
        readings.extend(logged_place(&path).map(Reading::Place));
        readings.push(Reading::Origin(path));
        readings
    }
}

/// The file at `place`, or all in the folder `place`.
fn at_place<'a>(files: &'a [DeadFile], place: &Rel) -> Vec<&'a DeadFile> {
    let folder = [place.as_bytes(), b"/"].concat();
    let is_in = |file: &&DeadFile| {
        file.place == *place || *place == Rel::root() || file.place.as_bytes().starts_with(&folder)
    };
    files.iter().filter(is_in).collect()
}

/// The files that the log prints as `name`, in whatever folder it says that they lie.
fn as_logged<'a>(name: &Path, files: &'a [DeadFile]) -> Vec<&'a DeadFile> {
    let Some(path) = plain(name) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    let meant = Rel::new(&unescape(&text));
    if meant == path || !meant.is_plain() {
        return Vec::new();
    }
    let placed = logged_place(&meant);
    let found = |is_it: &dyn Fn(&DeadFile) -> bool| -> Vec<&'a DeadFile> {
        files.iter().filter(|file| is_it(file)).collect()
    };
    let by_place = found(&|file| file.place == meant || Some(&file.place) == placed.as_ref());
    if by_place.is_empty() {
        return found(&|file| file.origin() == meant);
    }
    by_place
}

/// The place that the log means by `dead-letter/…`.
fn logged_place(path: &Rel) -> Option<Rel> {
    let rest = path.as_bytes().strip_prefix(LOGGED_AS)?;
    match rest {
        [] => Some(Rel::root()),
        [b'/', place @ ..] => Some(Rel::new(place)),
        _ => None,
    }
}

/// A relative path without `.` and `..`; `None` if it leads out.
pub(in crate::cli) fn plain(path: &Path) -> Option<Rel> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(bytes_of(name)),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(Rel::new(&parts.join(&b'/')))
}

/// Where `path`, absolute, lies in `folder`, also where one of them is written by way of a link.
pub(in crate::cli) fn below_really(folder: &Path, path: &Path) -> Option<Rel> {
    let path = normal(path);
    if let Some(rel) = below(folder, &path) {
        return Some(rel);
    }
    let folder = folder.canonicalize().ok()?;
    // The name itself may be anything; of the folders on the way those that exist are resolved.
    let (parent, name) = (path.parent()?, path.file_name()?);
    let parent = parent.canonicalize().ok()?;
    below(&folder, &parent.join(name))
}

/// Without `.` and `..`, as they are written.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use crate::cli::dead_letter::folder::Reason;
    use crate::flow::file::Look;
    use crate::flow::filing::reason::ReasonFile;
    use crate::io::testing::TempDir;

    /// Dead letters, by place and origin.
    fn files(files: &[(&str, &str)]) -> Vec<DeadFile> {
        let file = |&(place, origin): &(&str, &str)| DeadFile {
            place: Rel::new(place.as_bytes()),
            look: Look::default(),
            reason: {
                let path = crate::flow::escape::escape(origin.as_bytes());
                let text = serde_json::json!({ "path": path, "reason": "bad" }).to_string();
                Reason::Known(Box::new(ReasonFile::read(text.as_bytes()).unwrap()))
            },
        };
        files.iter().map(file).collect()
    }

    fn folders() -> Folders {
        Folders {
            watch: "/srv/in".into(),
            dead_letter: "/srv/in/.dirpost/dead-letter".into(),
            current: Some("/srv".into()),
        }
    }

    /// The places of what is found, or what else came of it.
    fn found(name: &str, action: Action, files: &[DeadFile]) -> Vec<String> {
        match folders().find(OsStr::from_bytes(name.as_bytes()), action, files) {
            Found::Files(files) => files.iter().map(|file| file.place.to_string()).collect(),
            Found::Nothing { perhaps } => perhaps
                .iter()
                .map(|file| format!("perhaps {}", file.place))
                .collect(),
            Found::Everything => vec!["everything".into()],
        }
    }

    #[test]
    fn a_name_is_the_one_on_the_disk_in_all_its_ways_of_writing() {
        let files = files(&[("sub/x.csv", "sub/x.csv"), ("y.csv", "y.csv")]);
        for name in [
            "sub/x.csv",
            "./sub/x.csv",
            "sub//x.csv",
            "sub/./x.csv",
            "y/../sub/x.csv",
            "dead-letter/sub/x.csv",
            "./dead-letter/sub/x.csv",
            ".dirpost/dead-letter/sub/x.csv",
            "/srv/in/.dirpost/dead-letter/sub/x.csv",
            "/srv/in/./.dirpost/../.dirpost/dead-letter/sub/x.csv",
            "/srv/in/sub/x.csv",
            "in/.dirpost/dead-letter/sub/x.csv",
        ] {
            for action in [Action::List, Action::Show, Action::Retry, Action::Discard] {
                assert_eq!(found(name, action, &files), ["sub/x.csv"], "{name}");
            }
        }
        for name in [
            "x.csv",
            "ub/x.csv",
            "../x.csv",
            "/srv/x.csv",
            "/sub/x.csv",
            "",
            "sub/x",
        ] {
            assert!(found(name, Action::Show, &files).is_empty(), "{name}");
        }
    }

    #[test]
    fn the_real_name_goes_before_what_the_log_prints_for_another_file() {
        // As reported: the log prints the first as the second is called.
        let both = files(&[
            ("sale 50%.csv", "sale 50%.csv"),
            ("sale 50%25.csv", "sale 50%25.csv"),
        ]);
        for action in [Action::Show, Action::Retry, Action::Discard] {
            assert_eq!(found("sale 50%25.csv", action, &both), ["sale 50%2525.csv"]);
            assert_eq!(found("sale 50%.csv", action, &both), ["sale 50%25.csv"]);
        }
        let one = files(&[("sale 50%.csv", "sale 50%.csv")]);
        // `Rel` prints it in the form of the log.
        assert_eq!(
            found("sale 50%25.csv", Action::Show, &one),
            ["sale 50%25.csv"]
        );
        for action in [Action::Retry, Action::Discard, Action::List] {
            assert_eq!(
                found("sale 50%25.csv", action, &one),
                ["perhaps sale 50%25.csv"]
            );
        }
        let odd = files(&[("a\nb/\u{1b}x", "a\nb/\u{1b}x")]);
        assert_eq!(found("a%0Ab/%1Bx", Action::Show, &odd), ["a%0Ab/%1Bx"]);
        assert_eq!(
            found("dead-letter/a%0Ab/%1Bx", Action::Show, &odd),
            ["a%0Ab/%1Bx"]
        );
        assert_eq!(found("a\nb/\u{1b}x", Action::Discard, &odd), ["a%0Ab/%1Bx"]);
    }

    #[test]
    fn a_folder_means_all_in_it_and_all_must_be_asked_for_by_name() {
        let files = files(&[("a/x", "a/x"), ("a/b/y", "a/b/y"), ("ab", "ab")]);
        for name in ["a", "a/", "./a", "dead-letter/a", "/srv/in/a"] {
            assert_eq!(
                found(name, Action::Discard, &files),
                ["a/x", "a/b/y"],
                "{name}"
            );
        }
        for name in [
            ".",
            "./",
            "dead-letter/",
            "/srv/in",
            "/srv/in/.dirpost/dead-letter",
        ] {
            assert_eq!(
                found(name, Action::Discard, &files),
                ["everything"],
                "{name}"
            );
            assert_eq!(found(name, Action::Retry, &files), ["everything"], "{name}");
            assert_eq!(found(name, Action::List, &files).len(), 3, "{name}");
        }
        // As of a variable that is not set.
        assert!(found("", Action::Discard, &files).is_empty());
    }

    #[test]
    fn a_suffixed_file_is_shown_and_retried_by_where_it_came_from_but_discarded_by_its_own_name() {
        let one = files(&[("x.1.csv", "x.csv")]);
        assert_eq!(found("x.csv", Action::Show, &one), ["x.1.csv"]);
        assert_eq!(found("x.csv", Action::Retry, &one), ["x.1.csv"]);
        assert_eq!(found("x.csv", Action::Discard, &one), ["perhaps x.1.csv"]);
        let two = files(&[("x.1.csv", "x.csv"), ("x.2.csv", "x.csv")]);
        assert_eq!(found("x.csv", Action::Show, &two).len(), 2);
        assert_eq!(
            found("x.csv", Action::Retry, &two),
            ["perhaps x.1.csv", "perhaps x.2.csv"]
        );
        let all = files(&[("x.1.csv", "x.csv"), ("x.csv", "x.csv")]);
        for action in [Action::Show, Action::Retry, Action::Discard] {
            assert_eq!(found("x.csv", action, &all), ["x.csv"]);
        }
        // A file whose own name is another one's with a number.
        let real = files(&[("x.1.csv", "x.1.csv"), ("x.csv", "x.csv")]);
        assert_eq!(found("x.1.csv", Action::Discard, &real), ["x.1.csv"]);
    }

    #[test]
    fn a_watched_folder_that_is_called_as_the_log_calls_dead_letter_goes_first() {
        let files = files(&[("dead-letter/x", "dead-letter/x"), ("x", "x")]);
        assert_eq!(
            found("dead-letter/x", Action::Discard, &files),
            ["dead-letter/x"]
        );
        assert_eq!(found("x", Action::Discard, &files), ["x"]);
    }

    #[test]
    fn links_on_the_way_to_a_folder_are_seen_through() {
        let dir = TempDir::new();
        std::fs::create_dir_all(dir.path().join("real/.dirpost/dead-letter/sub")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let folders = |watch: &str| {
            let watch = dir.path().join(watch);
            Folders {
                dead_letter: watch.join(".dirpost/dead-letter"),
                watch,
                current: None,
            }
        };
        let files = files(&[("sub/x", "sub/x")]);
        for (watch, named) in [("real", "link"), ("link", "real")] {
            let name = dir.path().join(named).join(".dirpost/dead-letter/sub/x");
            let found = folders(watch).find(name.as_os_str(), Action::Discard, &files);
            assert_eq!(found, Found::Files(vec![&files[0]]), "{watch}");
        }
    }
}
