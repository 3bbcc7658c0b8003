//! A key or a table that is there twice: where the first one is, and what to write instead.

/// What is set in a line.
#[derive(Debug, PartialEq, Eq)]
enum Set<'a> {
    /// `[table]`.
    Table(&'a str),
    /// A key, with the table that it is under; empty at the top.
    Key(&'a str, &'a str),
}

impl Set<'_> {
    /// The whole name, with dots.
    fn name(&self) -> String {
        match self {
            Set::Table(name) | Set::Key("", name) => (*name).into(),
            Set::Key(table, key) => format!("{table}.{key}"),
        }
    }
}

/// Says what `line` (from 1) repeats. Only names are shown: values may be secrets.
pub(super) fn hint(text: &str, line: usize) -> Option<String> {
    let sets = sets(text);
    let (_, second) = sets.iter().find(|(at, _)| *at == line)?;
    let name = second.name();
    let within = format!("{name}.");
    let earlier = |(at, first): &&(usize, Set<'_>)| {
        let first = first.name();
        *at < line && (first == name || first.starts_with(&within))
    };
    let (at, first) = sets.iter().find(earlier)?;
    Some(match (second, first) {
        (Set::Table(_), Set::Table(_)) if first.name() == name => {
            format!("[{name}] is begun in line {at} already: put its keys together there")
        }
        (Set::Table(_), Set::Key("", key)) => format!(
            "[{name}] is begun by `{key}` in line {at} already: write all its keys as {name}.…, or all \
             under [{name}]"
        ),
        _ => format!("{name} is set in line {at} already"),
    })
}

/// The lines that begin a table or set a key. Lines within a string of several lines may be taken for
/// such; that costs no more than a hint.
fn sets(text: &str) -> Vec<(usize, Set<'_>)> {
    let (mut table, mut sets) = ("", Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let set = if let Some(rest) = line.strip_prefix('[') {
            let Some((name, _)) = rest.split_once(']') else {
                continue;
            };
            table = name.trim();
            Set::Table(table)
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            Set::Key(table, key.trim())
        } else {
            continue;
        };
        sets.push((at + 1, set));
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_is_named_with_the_line_of_the_first() {
        for (text, line, said) in [
            (
                "watch.dir = 'x'\nsend.url = 's3cret'\n[send]\nworkers = 1\n",
                3,
                Some(
                    "[send] is begun by `send.url` in line 2 already: write all its keys as send.…, or \
                     all under [send]",
                ),
            ),
            (
                "[watch]\ndir = 'x'\n[send]\n[watch]\n",
                4,
                Some("[watch] is begun in line 1 already: put its keys together there"),
            ),
            (
                "[send]\nurl = 'a'\n# url = 'b'\nurl = 'c'\n",
                4,
                Some("send.url is set in line 2 already"),
            ),
            ("a = 1\nb = 2\n", 2, None),
        ] {
            assert_eq!(hint(text, line).as_deref(), said, "{text}");
        }
    }
}
