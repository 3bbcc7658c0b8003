//! Which names are looked at: SCAN's policy, decided from the name alone.

use super::glob::{Case, Glob, GlobError};
use super::temporary::{is_system_folder, is_temporary};
use crate::config::Shard;
use crate::flow::file::Rel;
use crate::flow::marker::MarkerRule;

/// The policy; see `[watch]` in the configuration.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Empty: all.
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    ignore_temporary: bool,
    marker: Option<MarkerRule>,
    max_depth: Option<u32>,
    /// `watch.shard`.
    shard: Option<Shard>,
    /// Folders that are dirpost's own.
    own: Vec<Rel>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A file to be delivered.
    File,
    /// The marker of another file.
    Marker,
}

/// Why a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is dirpost's own folder.
    Own,
    /// It lies too deep.
    TooDeep,
    /// Its name is one of a hidden or temporary file, or of a system's folder.
    Temporary,
    /// `watch.exclude` matches.
    Excluded,
    /// No glob of `watch.include` matches.
    NotIncluded,
    /// It is the marker of another file.
    Marker,
    /// It is for the process of another part: `watch.shard`.
    OtherShard,
}

/// How many names are left alone, by rule; a folder counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Hidden and temporary names, and folders of a system.
    pub temporary: usize,
    /// `watch.exclude`.
    pub excluded: usize,
    /// `watch.include`.
    pub not_included: usize,
    /// Folders below `watch.max_depth`.
    pub too_deep: usize,
}

impl Ignored {
    /// Counts a name that is left alone by `rule`. What is dirpost's own, and markers, are not worth
    /// a word.
    pub fn count(&mut self, rule: Rule) {
        match rule {
            Rule::Temporary => self.temporary += 1,
            Rule::Excluded => self.excluded += 1,
            Rule::NotIncluded => self.not_included += 1,
            Rule::TooDeep => self.too_deep += 1,
            Rule::Own | Rule::Marker | Rule::OtherShard => {}
        }
    }

    /// Adds those of another folder.
    pub fn add(&mut self, other: Ignored) {
        self.temporary += other.temporary;
        self.excluded += other.excluded;
        self.not_included += other.not_included;
        self.too_deep += other.too_deep;
    }

    /// All of them.
    pub fn all(self) -> usize {
        self.temporary + self.excluded + self.not_included + self.too_deep
    }
}

/// The name of dirpost's own folder in the watched one: never scanned.
pub const OWN_FOLDER: &str = ".dirpost";

impl Filter {
    /// Reads the globs. `own` are folders in the watched one that are never entered,
    /// beside [`OWN_FOLDER`].
    ///
    /// # Errors
    /// A text that is not a glob.
    pub fn new(
        watch: &crate::config::Watch,
        marker: Option<&MarkerRule>,
        own: Vec<Rel>,
    ) -> Result<Filter, GlobError> {
        let case = Case::ignored_if(watch.ignore_case);
        Ok(Filter {
            include: globs(&watch.include, case)?,
            exclude: globs(&watch.exclude, case)?,
            ignore_temporary: watch.ignore_temporary,
            marker: marker.cloned(),
            max_depth: watch.max_depth,
            shard: watch.shard,
            own,
        })
    }

    /// How markers are called.
    pub fn marker(&self) -> Option<&MarkerRule> {
        self.marker.as_ref()
    }

    /// Whether the folder `name` in `folder` is entered.
    pub fn enters(&self, folder: &Rel, name: &[u8]) -> bool {
        self.rule_of_folder(folder, name).is_none()
    }

    /// The rule by which the file `path` is left alone, if there is one, and whether for its own sake or
    /// for that of a folder on its way.
    pub fn rule(&self, path: &Rel) -> Option<(Rule, Rel)> {
        let mut folder = Rel::root();
        let mut parts = path.parts().peekable();
        while let Some(name) = parts.next() {
            let here = folder.join(name);
            let is_file = parts.peek().is_none();
            let rule = if is_file {
                self.rule_of_file(&folder, name)
            } else {
                self.rule_of_folder(&folder, name)
            };
            if let Some(rule) = rule {
                return Some((rule, here));
            }
            folder = here;
        }
        None
    }

    /// What the file `name` in `folder` is: a file or a marker.
    ///
    /// # Errors
    /// The rule by which it is left alone.
    pub fn judge(&self, folder: &Rel, name: &[u8]) -> Result<Class, Rule> {
        let class = self.class(folder, name)?;
        let marker = self.marker.as_ref();
        match self.shard {
            Some(shard) if !shard.has(&folder.join(name), marker) => Err(Rule::OtherShard),
            _ => Ok(class),
        }
    }

    fn class(&self, folder: &Rel, name: &[u8]) -> Result<Class, Rule> {
        let marker = self.marker.as_ref();
        let marked = marker.and_then(|rule| Some((rule, rule.marked(name)?)));
        // A marker is as wanted as its file, whatever the globs say of its own name.
        let (class, subject) = match marked {
            // Its files have endings that nobody can tell from its name.
            Some((rule, stem)) if rule.is_shared() => {
                let is_wanted = !(self.ignore_temporary && is_temporary(stem));
                return is_wanted.then_some(Class::Marker).ok_or(Rule::Temporary);
            }
            Some((_, file)) => (Class::Marker, file),
            None => (Class::File, name),
        };
        if self.ignore_temporary && is_temporary(subject) {
            return Err(Rule::Temporary);
        }
        if self.include.is_empty() && self.exclude.is_empty() {
            return Ok(class);
        }
        let path = folder.join(subject);
        if any(&self.exclude, &path, subject) {
            Err(Rule::Excluded)
        } else if self.include.is_empty() || any(&self.include, &path, subject) {
            Ok(class)
        } else {
            Err(Rule::NotIncluded)
        }
    }

    fn rule_of_file(&self, folder: &Rel, name: &[u8]) -> Option<Rule> {
        match self.judge(folder, name) {
            Ok(Class::Marker) => Some(Rule::Marker),
            Ok(_) => None,
            Err(rule) => Some(rule),
        }
    }

    /// The rule by which the folder `name` in `folder` is not entered, if there is one.
    pub fn rule_of_folder(&self, folder: &Rel, name: &[u8]) -> Option<Rule> {
        let path = folder.join(name);
        let depth = folder.parts().count() as u32 + 2;
        if path.as_bytes() == OWN_FOLDER.as_bytes() || self.own.contains(&path) {
            Some(Rule::Own)
        } else if self.max_depth.is_some_and(|max| depth > max) {
            Some(Rule::TooDeep)
        } else if self.ignore_temporary && is_system_folder(name) {
            Some(Rule::Temporary)
        } else if any(&self.exclude, &path, name) {
            Some(Rule::Excluded)
        } else {
            None
        }
    }
}

/// Whether one of `globs` matches.
fn any(globs: &[Glob], path: &Rel, name: &[u8]) -> bool {
    globs.iter().any(|glob| glob.matches(path.as_bytes(), name))
}

fn globs(texts: &[String], case: Case) -> Result<Vec<Glob>, GlobError> {
    texts.iter().map(|text| Glob::new(text, case)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(
        include: &[&str],
        exclude: &[&str],
        marker: Option<&MarkerRule>,
        max_depth: Option<u32>,
    ) -> Filter {
        let globs = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Glob::new(text, Case::Matters).unwrap())
                .collect()
        };
        Filter {
            include: globs(include),
            exclude: globs(exclude),
            ignore_temporary: true,
            marker: marker.cloned(),
            max_depth,
            shard: None,
            own: vec![Rel::new(b"state")],
        }
    }

    #[test]
    fn globs_are_matched_on_the_relative_path() {
        let filter = filter(&["*.csv", "in/**"], &["**/old/**", "x*"], None, None);
        let class =
            |folder: &str, name: &str| filter.judge(&Rel::new(folder.as_bytes()), name.as_bytes());
        assert_eq!(class("", "a.csv"), Ok(Class::File));
        assert_eq!(class("deep/down", "a.csv"), Ok(Class::File));
        assert_eq!(class("deep/in", "a.txt"), Err(Rule::NotIncluded));
        assert_eq!(class("in", "a.txt"), Ok(Class::File));
        assert_eq!(class("", "a.txt"), Err(Rule::NotIncluded));
        assert_eq!(class("in/old", "a.csv"), Err(Rule::Excluded));
        assert_eq!(class("", "x.csv"), Err(Rule::Excluded));
    }

    #[test]
    fn each_rule_by_which_a_file_is_left_alone_is_told_with_the_folder_that_it_is_about() {
        let filter = filter(
            &["*.csv"],
            &["old"],
            Some(&MarkerRule::of_name(".done")),
            Some(2),
        );
        let rule = |path: &str| {
            let found = filter.rule(&Rel::new(path.as_bytes()));
            found.map(|(rule, which)| (rule, which.to_string()))
        };
        assert_eq!(rule("a.csv"), None);
        assert_eq!(rule("sub/a.csv"), None);
        for (path, wanted, which) in [
            ("a.txt", Rule::NotIncluded, "a.txt"),
            ("a.tmp", Rule::Temporary, "a.tmp"),
            (".a.csv", Rule::Temporary, ".a.csv"),
            ("a.csv.done", Rule::Marker, "a.csv.done"),
            ("old/a.csv", Rule::Excluded, "old"),
            ("a/b/c.csv", Rule::TooDeep, "a/b"),
            (".git/a.csv", Rule::Temporary, ".git"),
            (".dirpost/done/a.csv", Rule::Own, ".dirpost"),
            ("state/a.csv", Rule::Own, "state"),
        ] {
            assert_eq!(rule(path), Some((wanted, which.into())), "{path}");
        }
    }

    #[test]
    fn a_marker_is_wanted_when_its_file_is() {
        let filter = filter(&["*.csv"], &[], Some(&MarkerRule::of_name(".done")), None);
        let class = |name: &str| filter.judge(&Rel::root(), name.as_bytes());
        assert_eq!(class("a.csv.done"), Ok(Class::Marker));
        assert_eq!(class("a.txt.done"), Err(Rule::NotIncluded));
        assert_eq!(class(".done"), Err(Rule::Temporary));
        assert_eq!(class("a.csv"), Ok(Class::File));
    }

    #[test]
    fn depth_one_is_this_folder_only_and_own_folders_are_never_entered() {
        let root = Rel::root();
        assert!(!filter(&[], &[], None, Some(1)).enters(&root, b"sub"));
        let two = filter(&[], &[], None, Some(2));
        assert!(two.enters(&root, b"sub") && !two.enters(&Rel::new(b"sub"), b"deeper"));
        let mut any = filter(&[], &["skip"], None, None);
        any.ignore_temporary = false;
        assert!(any.enters(&root, b".git") && !any.enters(&root, b".dirpost"));
        assert!(!any.enters(&root, b"state") && !any.enters(&root, b"skip"));
        assert!(any.enters(&Rel::new(b"sub"), b"state"));
    }

    #[test]
    fn each_shard_wants_its_own_files_and_their_markers_and_enters_every_folder() {
        for rule in [MarkerRule::of_name(".ok"), MarkerRule::of_stem(".ok")] {
            for number in 0..50 {
                let name = format!("f{number}.csv");
                let marker = rule.name_of(name.as_bytes());
                let wanting = Shard::all(3).filter(|shard| {
                    let filter = Filter {
                        shard: Some(*shard),
                        ..filter(&[], &["x*"], Some(&rule), None)
                    };
                    assert!(filter.enters(&Rel::root(), b"in"));
                    let file = filter.judge(&Rel::new(b"in"), name.as_bytes());
                    let beside = filter.judge(&Rel::new(b"in"), &marker);
                    assert_eq!(file.is_ok(), beside.is_ok(), "a marker goes with its file");
                    assert_eq!(beside.ok(), file.ok().map(|_| Class::Marker));
                    file.is_ok()
                });
                assert_eq!(wanting.count(), 1);
            }
        }
    }
}
