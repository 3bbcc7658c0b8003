//! What is shown to whoever asks: a status without paths of the file system, but for names in the folder.

use crate::flow::status::Status;

/// `status` without the paths of the folder and the configuration, of which the last parts stay, and
/// without those that errors and commands name.
pub(super) fn public(status: &Status) -> Status {
    let mut shown = status.clone();
    let dir = std::mem::take(&mut shown.process.dir);
    let name = last_part(&dir).to_string();
    let config = shown.process.config.take();
    shown.process.config = config.map(|path| last_part(&path).to_string());
    let hide = |text: &mut String| {
        // Also with spaces in it.
        let named = text.replace(&dir, &name);
        *text = without_paths(&named);
    };
    let work = &mut shown.work;
    work.faults.iter_mut().for_each(|it| hide(&mut it.why));
    work.failing.iter_mut().for_each(|it| hide(&mut it.why));
    work.failures.iter_mut().for_each(|it| hide(&mut it.why));
    work.endpoint
        .closed
        .iter_mut()
        .for_each(|it| hide(&mut it.why));
    shown.process.dir = name;
    shown
}

/// The last part of a path; all of it where there is none.
fn last_part(path: &str) -> &str {
    let path = path.trim_end_matches(is_separator);
    let name = path.rsplit(is_separator).next().unwrap_or_default();
    if name.is_empty() { path } else { name }
}

fn is_separator(char: char) -> bool {
    char == '/' || cfg!(windows) && char == '\\'
}

/// `text` with `…/name` for each absolute path of more than one part. A URL stays.
fn without_paths(text: &str) -> String {
    const AROUND: &str = " \t\"'`()[]<>=,;:";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let begins = AROUND.contains(before) && path_begins(rest);
        let end = rest[next.len_utf8()..].find(|char| AROUND.contains(char));
        let end = end.map_or(rest.len(), |end| end + next.len_utf8());
        // The colon of a drive is part of its path.
        let end = match rest[end..].strip_prefix(":\\") {
            Some(behind) if begins && end == 1 => {
                let len = behind.find(|char| AROUND.contains(char));
                len.map_or(rest.len(), |len| end + 2 + len)
            }
            _ => end,
        };
        let token = &rest[..end];
        let parts = token.split(is_separator).filter(|part| !part.is_empty());
        let taken = if begins && parts.count() > 1 {
            shown.push_str("…/");
            shown.push_str(last_part(token));
            token
        } else {
            shown.push(next);
            &rest[..next.len_utf8()]
        };
        before = taken.chars().next_back().unwrap_or(' ');
        rest = &rest[taken.len()..];
    }
    shown
}

fn path_begins(text: &str) -> bool {
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('/'), next, _) => next != Some('/'),
        (Some(drive), Some(':'), Some('\\')) => cfg!(windows) && drive.is_ascii_alphabetic(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::status::{Fault, Part, Process, VERSION, Work};
    use crate::flow::time::Wall;

    #[test]
    fn a_path_in_a_sentence_is_its_last_part_and_a_url_stays() {
        for (text, wanted) in [
            ("", ""),
            ("no path", "no path"),
            (
                "/srv/drop/.dirpost/journal: No space left",
                "…/journal: No space left",
            ),
            (
                "cannot open \"/etc/dirpost/token\" (2)",
                "cannot open \"…/token\" (2)",
            ),
            ("state.dir=/var/lib/x, and /", "state.dir=…/x, and /"),
            ("404 for /in of HTTP/1.1", "404 for /in of HTTP/1.1"),
            (
                "see http://h:80/a/b and in/x.csv",
                "see http://h:80/a/b and in/x.csv",
            ),
            ("größe/ä.csv: “/ü/ö”", "größe/ä.csv: “/ü/ö”"),
            ("/ü/ö", "…/ö"),
        ] {
            assert_eq!(without_paths(text), wanted);
        }
    }

    #[test]
    fn a_status_is_shown_without_where_it_lies() {
        let fault = Fault {
            what: Part::Share,
            path: None,
            count: 1,
            why: "/my share/drop is not there, nor is /etc/a/b".into(),
            since: Wall(0),
        };
        let status = Status {
            v: VERSION,
            process: Process {
                config: Some("/etc/dirpost/a.toml".into()),
                dir: "/my share/drop".into(),
                ..Process::example()
            },
            work: Work {
                faults: vec![fault],
                ..Work::default()
            },
        };
        let shown = public(&status);
        assert_eq!(shown.process.dir, "drop");
        assert_eq!(shown.process.config.as_deref(), Some("a.toml"));
        assert_eq!(shown.work.faults[0].why, "drop is not there, nor is …/b");
    }
}
