//! `ready.marker`: how the marker of a file is called.

use super::file::Rel;

/// What a marker's name is made of, beside its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// "{name}": the whole name of its file.
    Name,
    /// "{stem}": the name up to its last dot. Such a marker vouches for all files of its stem.
    Stem,
}

/// The rule by which markers are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerRule {
    base: Base,
    ending: Vec<u8>,
}

impl MarkerRule {
    /// `a.csv` has the marker `a.csv` + `ending`.
    pub fn of_name(ending: &str) -> MarkerRule {
        MarkerRule {
            base: Base::Name,
            ending: ending.into(),
        }
    }

    /// `a.csv` and `a.xml` have the marker `a` + `ending`.
    pub fn of_stem(ending: &str) -> MarkerRule {
        MarkerRule {
            base: Base::Stem,
            ending: ending.into(),
        }
    }

    /// What is added to a name or a stem.
    pub fn ending(&self) -> &[u8] {
        &self.ending
    }

    /// Whether a marker can vouch for more than one file.
    pub fn is_shared(&self) -> bool {
        self.base == Base::Stem
    }

    /// What the marker of the file `name` is called after: the part of `name` that is in both.
    pub fn subject<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        match self.base {
            Base::Name => name,
            // The dot of a hidden file begins its name.
            Base::Stem => match name.iter().rposition(|&byte| byte == b'.') {
                Some(dot) if dot > 0 => &name[..dot],
                _ => name,
            },
        }
    }

    /// Of the sorted names from `subject` on, each with what belongs to it: those whose markers are called
    /// after `subject`. They begin with that, and so they stand together.
    pub fn files_of<'a, T>(
        &self,
        subject: &[u8],
        behind: impl Iterator<Item = (T, &'a [u8])>,
    ) -> impl Iterator<Item = (T, &'a [u8])> {
        behind
            .take_while(move |(_, name)| name.starts_with(subject))
            .filter(move |(_, name)| self.subject(name) == subject)
    }

    /// The name of the marker of the file `name`.
    pub fn name_of(&self, name: &[u8]) -> Vec<u8> {
        [self.subject(name), &self.ending].concat()
    }

    /// The path of the marker of the file `path`.
    pub fn path_of(&self, path: &Rel) -> Rel {
        path.parent().join(&self.name_of(path.name()))
    }

    /// If `name` is that of a marker: what it is called after, as [`MarkerRule::subject`] gives it.
    pub fn marked<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        let subject = name.strip_suffix(&self.ending[..])?;
        (!subject.is_empty()).then_some(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_called_after_the_whole_name_or_after_what_is_before_its_last_dot() {
        for (name, whole, stem) in [
            ("a.csv", "a.csv.done", "a.done"),
            ("a", "a.done", "a.done"),
            ("a.tar.gz", "a.tar.gz.done", "a.tar.done"),
            (".env", ".env.done", ".env.done"),
            ("a.", "a..done", "a.done"),
        ] {
            let rules = [
                (MarkerRule::of_name(".done"), whole),
                (MarkerRule::of_stem(".done"), stem),
            ];
            for (rule, marker) in rules {
                assert_eq!(rule.name_of(name.as_bytes()), marker.as_bytes(), "{name}");
                assert_eq!(
                    rule.marked(marker.as_bytes()),
                    Some(rule.subject(name.as_bytes()))
                );
            }
        }
        assert_eq!(MarkerRule::of_stem(".done").marked(b".done"), None);
        assert_eq!(MarkerRule::of_stem(".done").marked(b"a.csv"), None);
    }
}
