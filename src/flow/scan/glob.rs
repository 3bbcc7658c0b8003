//! One glob of the configuration: what a user writes, checked and brought into the form that
//! fast_glob matches.
//!
//! The syntax is that of `.gitignore` and ripgrep. fast_glob reads a pattern on every match and
//! has no compiled form, so whatever is read otherwise by it is rewritten once, here.

use std::fmt;

use fast_glob::{ErrorKind, glob_match, validate};

/// A glob that is held against paths below the watched folder, as bytes: names need not be UTF-8.
///
/// Without a `/` it is held against the name at any depth, else against the whole path. `*` and
/// `?` stay within one part of the path, `**` as a whole part stands for any number of parts.
#[derive(Clone, Debug)]
pub struct Glob {
    pattern: Vec<u8>,
    /// Whether it is held against the whole path.
    on_path: bool,
    case: Case,
}

/// Whether upper and lower case differ (`watch.ignore_case`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `*.pdf` does not match `SCAN.PDF`.
    Matters,
    /// It does. Names that are UTF-8 are lowered as Unicode has it, others in their ASCII letters alone.
    Ignored,
}

/// Why a text is not a glob. Positions are bytes from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError {
    /// A `[`, `{` or `\` that is left open, or more braces than fast_glob can hold.
    Syntax(fast_glob::Error),
    /// A `}` that closes nothing.
    UnopenedBrace(usize),
    /// A range whose end is before its beginning: it would match nothing.
    EmptyRange(u8, u8),
}

impl Case {
    /// By `watch.ignore_case`.
    pub fn ignored_if(is_ignored: bool) -> Case {
        match is_ignored {
            true => Case::Ignored,
            false => Case::Matters,
        }
    }
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GlobError::Syntax(error) => match error.kind {
                ErrorKind::UnclosedBracket => {
                    f.write_str("its `[` has no `]`; a `[` that is meant as such is written `\\[`")
                }
                ErrorKind::UnclosedBrace => {
                    f.write_str("its `{` has no `}`; a `{` that is meant as such is written `\\{`")
                }
                ErrorKind::TrailingBackslash => f.write_str(
                    "the `\\` at its end stands before nothing; one that is meant as such is \
                     written `\\\\`",
                ),
                ErrorKind::BraceNestingTooDeep | ErrorKind::TooManyBraceGroups => {
                    f.write_str("it has more than 10 groups in braces; write several globs instead")
                }
                _ => error.fmt(f),
            },
            GlobError::UnopenedBrace(_) => {
                f.write_str("its `}` has no `{`; a `}` that is meant as such is written `\\}`")
            }
            GlobError::EmptyRange(low, high) => write!(
                f,
                "the range `{}-{}` ends before it begins",
                low.escape_ascii(),
                high.escape_ascii()
            ),
        }
    }
}

impl std::error::Error for GlobError {}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// The text is not a glob: a bracket, a brace or an escape is left open, or a range is empty.
    pub fn new(text: &str, case: Case) -> Result<Glob, GlobError> {
        let lowered;
        let text = match case {
            Case::Matters => text,
            Case::Ignored => {
                lowered = text.to_lowercase();
                &lowered
            }
        };
        validate(text).map_err(GlobError::Syntax)?;
        let pattern = Reader {
            text: text.as_bytes(),
            at: 0,
            depth: 0,
            pattern: Vec::with_capacity(text.len() + 1),
        };
        Ok(Glob {
            pattern: pattern.read()?,
            on_path: text.contains('/'),
            case,
        })
    }

    /// Whether it matches the file or folder of this path, whose last part is `name`.
    pub fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        let subject = if self.on_path { path } else { name };
        match self.case {
            Case::Matters => glob_match(&self.pattern, subject),
            Case::Ignored => glob_match(&self.pattern, lowered(subject)),
        }
    }
}

fn lowered(name: &[u8]) -> Vec<u8> {
    match str::from_utf8(name) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// Goes once through a text that fast_glob has found valid.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// How many braces are open.
    depth: usize,
    pattern: Vec<u8>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<u8>, GlobError> {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                // At the beginning it would turn the meaning round; nobody else reads it so.
                b'!' if self.at == 0 => self.put(b"\\!", 1),
                b'\\' => {
                    self.escape();
                }
                b'[' => self.class()?,
                b'*' => self.stars(),
                b'{' => {
                    self.depth += 1;
                    self.put(b"{", 1);
                }
                b'}' if self.depth == 0 => return Err(GlobError::UnopenedBrace(self.at)),
                b'}' => {
                    self.depth -= 1;
                    self.put(b"}", 1);
                }
                _ => self.put(&[byte], 1),
            }
        }
        Ok(self.pattern)
    }

    fn put(&mut self, bytes: &[u8], taken: usize) {
        self.pattern.extend_from_slice(bytes);
        self.at += taken;
    }

    /// `\n` is an n: fast_glob knows the escapes of C for `a`, `b`, `n`, `r` and `t`, others do
    /// not.
    fn escape(&mut self) -> u8 {
        let byte = self.text[self.at + 1];
        if b"abnrt".contains(&byte) {
            self.put(&[byte], 2);
        } else {
            self.put(&[b'\\', byte], 2);
        }
        byte
    }

    /// `[…]`: the first member may be a `]`.
    fn class(&mut self) -> Result<(), GlobError> {
        self.put(b"[", 1);
        if let b'!' | b'^' = self.text[self.at] {
            self.put(b"!", 1);
        }
        let first = self.at;
        while self.at == first || self.text[self.at] != b']' {
            let low = self.member();
            // A `-` before the end stands for itself.
            if self.text[self.at] == b'-' && self.text[self.at + 1] != b']' {
                self.put(b"-", 1);
                let high = self.member();
                if high < low {
                    return Err(GlobError::EmptyRange(low, high));
                }
            }
        }
        self.put(b"]", 1);
        Ok(())
    }

    fn member(&mut self) -> u8 {
        let byte = self.text[self.at];
        if byte == b'\\' {
            return self.escape();
        }
        self.put(&[byte], 1);
        byte
    }

    /// `**` is one only as a whole part of the path; elsewhere, and three of them, are a `*`.
    fn stars(&mut self) {
        let count = self.text[self.at..]
            .iter()
            .take_while(|&&byte| byte == b'*')
            .count();
        let before = self.at.checked_sub(1).map(|at| self.text[at]);
        let after = self.text.get(self.at + count).copied();
        let is_edge = |byte: Option<u8>, brace: u8| match byte {
            None | Some(b'/') => true,
            Some(byte) => self.depth > 0 && (byte == b',' || byte == brace),
        };
        let is_whole = count == 2 && is_edge(before, b'{') && is_edge(after, b'}');
        self.put(if is_whole { b"**" } else { b"*" }, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::rng::Rng;

    fn matches(glob: &str, path: impl AsRef<[u8]>) -> bool {
        let path = path.as_ref();
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap();
        Glob::new(glob, Case::Matters).unwrap().matches(path, name)
    }

    #[test]
    fn case_is_ignored_where_that_is_asked_for() {
        let matches = |glob: &str, name: &str, case: Case| {
            Glob::new(glob, case)
                .unwrap()
                .matches(name.as_bytes(), name.as_bytes())
        };
        for (glob, name) in [
            ("*.pdf", "SCAN.PDF"),
            ("*.PDF", "scan.pdf"),
            ("ä*", "Äpfel.csv"),
            ("[A-C]*.Csv", "b.CSV"),
            ("{IN,out}/**", "Out/x"),
            ("\\A\\B*", "ab.csv"),
        ] {
            assert!(matches(glob, name, Case::Ignored), "{glob} {name}");
            assert!(!matches(glob, name, Case::Matters), "{glob} {name}");
        }
        assert!(!matches("[!a]*", "A.csv", Case::Ignored));
        assert!(matches("[!a]*", "A.csv", Case::Matters));
        assert!(!matches("*.pdf", "a.pdfx", Case::Ignored));
        // Not UTF-8: its ASCII letters.
        let glob = Glob::new("*.pdf", Case::Ignored).unwrap();
        assert!(glob.matches(b"\xff.PDF", b"\xff.PDF"));
    }

    #[test]
    fn a_glob_without_a_slash_is_held_against_the_name_at_any_depth() {
        for path in ["a.csv", "in/a.csv", "in/deep/a.csv"] {
            assert!(matches("*.csv", path), "{path}");
        }
        assert!(!matches("*.csv", "in.csv/a") && !matches("in", "in/a"));
        assert!(matches("{a,b}[0-9]?.csv", "x/b7z.csv"));
    }

    #[test]
    fn a_glob_with_a_slash_is_held_against_the_whole_path() {
        assert!(matches("in/*.csv", "in/a.csv"));
        assert!(!matches("in/*.csv", "x/in/a.csv") && !matches("in/*.csv", "in/deep/a.csv"));
        assert!(matches("in/**", "in/deep/a") && !matches("in/**", "in"));
        assert!(matches("**/old/**", "old/a") && matches("**/old/**", "x/old/y/a"));
        assert!(matches("a/**/b", "a/b") && matches("a/**/b", "a/x/y/b"));
        assert!(matches("{in,**/out}/*", "in/a") && matches("{in,**/out}/*", "x/out/a"));
    }

    #[test]
    fn names_that_are_not_utf_8_match_as_bytes() {
        assert!(matches("*.csv", b"\xff\xfe.csv"));
        assert!(matches("a?b", b"a\xe4b") && !matches("a?b", b"a/b"));
        assert!(matches("[!a]x", b"\xffx"));
        assert!(matches("größe*", "größe.csv"));
        assert!(matches("*", "a\nb"));
    }

    #[test]
    fn what_only_fast_glob_reads_in_its_own_way_means_itself() {
        assert!(matches("!a", "!a") && !matches("!a", "b"));
        assert!(matches("!in/*", "!in/a") && !matches("!in/*", "x/a"));
        assert!(matches("\\n\\t", "nt") && !matches("\\n", "\n"));
        assert!(matches("[\\n]", "n") && !matches("[\\n]", "\n"));
        assert!(matches("a**b", "axb") && matches("a***", "ax"));
        assert!(matches("x/a**", "x/ab") && !matches("x/a**", "x/ab/c"));
        assert!(matches("\\{\\}\\*", "{}*") && matches("[]a]", "]") && matches("[a-]", "-"));
    }

    #[test]
    fn a_text_that_is_no_glob_is_refused_with_its_reason() {
        for (text, reason) in [
            ("a[", "its `[` has no `]`"),
            ("a[!", "its `[` has no `]`"),
            ("a[]", "its `[` has no `]`"),
            ("a[\\]", "its `[` has no `]`"),
            ("{a,b", "its `{` has no `}`"),
            ("a}", "its `}` has no `{`"),
            ("{a}}", "its `}` has no `{`"),
            ("a\\", "the `\\` at its end stands before nothing"),
            ("[z-a]", "the range `z-a` ends before it begins"),
            (
                "{a}{b}{c}{d}{e}{f}{g}{h}{i}{j}{k}",
                "more than 10 groups in braces",
            ),
        ] {
            let error = Glob::new(text, Case::Matters).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    const PIECES: [&str; 17] = [
        "a",
        "b",
        "é",
        "*",
        "*",
        "?",
        "/",
        "/**/",
        "[ab]",
        "[!a]",
        "[a-b]",
        "{a,b}",
        "{a*,b/a}",
        "{a,{b,ab}}",
        ".",
        "\\*",
        "\\{",
    ];
    const PARTS: [&[u8]; 9] = [
        b"a",
        b"b",
        b"/",
        b"/",
        b".",
        b"ab",
        b"*",
        b"\xc3\xa9",
        b"\xff",
    ];

    /// ripgrep's crate is the oracle. Left out is what the two read differently on purpose: an
    /// empty choice in braces (globset passes it over), and stars next to a brace, of which one
    /// choice makes `**` a whole part and another does not.
    #[test]
    fn it_matches_what_globset_matches() {
        let mut rng = Rng::new(7);
        let mut pick = |count: usize| rng.below(count as u64) as usize;
        let mut matched = 0;
        for _ in 0..4_000 {
            let mut text: String = (0..1 + pick(5)).map(|_| PIECES[pick(17)]).collect();
            match pick(6) {
                0 => text.insert_str(0, "**/"),
                1 => text.push_str("/**"),
                _ => {}
            }
            if text.contains("//") || text.starts_with('/') || text.ends_with('/') {
                continue;
            }
            let glob = Glob::new(&text, Case::Matters).unwrap();
            let whole = if text.contains('/') {
                text.clone()
            } else {
                format!("**/{text}")
            };
            let oracle = globset::GlobBuilder::new(&whole)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .unwrap()
                .compile_matcher();
            for _ in 0..10 {
                let path: Vec<u8> = (0..1 + pick(7))
                    .flat_map(|_| PARTS[pick(9)].to_vec())
                    .collect();
                let mut parts = path.split(|&byte| byte == b'/');
                if parts.any(<[u8]>::is_empty) {
                    continue;
                }
                let name = path.rsplit(|&byte| byte == b'/').next().unwrap();
                let candidate = globset::Candidate::from_bytes(&path);
                let expected = oracle.is_match_candidate(&candidate);
                matched += usize::from(expected);
                assert_eq!(
                    glob.matches(&path, name),
                    expected,
                    "{text} against {}",
                    path.escape_ascii()
                );
            }
        }
        assert!(matched > 1_000, "{matched} of the pairs match");
    }
}
