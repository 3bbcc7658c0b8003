//! Values that may hold a secret: `Debug` shows nothing of it, and there is no `Display`.
//!
//! A secret gets into them by `${NAME}`, or as a part of a presigned URL. Whoever needs the text
//! asks for it (`&*value`), so that no line of a log and no panic can show it by chance.

use std::fmt;
use std::ops::Deref;

/// Stands where a secret was left out.
const LEFT_OUT: &str = "***";

/// A URL, whose query may hold a secret: a token, or the signature of a presigned one.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

/// Text that may hold a secret, such as the value of a header.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

/// A command with its arguments, of which all but the program may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Argv(Vec<String>);

impl Url {
    /// Without the query.
    pub fn shown(&self) -> &str {
        self.0.split('?').next().unwrap_or_default()
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((shown, _)) => write!(f, "{:?}", format!("{shown}?{LEFT_OUT}")),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LEFT_OUT)
    }
}

impl fmt::Debug for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(at, arg)| if at == 0 { arg } else { LEFT_OUT };
        f.debug_list()
            .entries(self.0.iter().map(String::as_str).enumerate().map(shown))
            .finish()
    }
}

impl Deref for Url {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for Hidden {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for Argv {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl From<String> for Url {
    fn from(text: String) -> Url {
        Url(text)
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Url {
        Url(text.into())
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Hidden {
        Hidden(text)
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Hidden {
        Hidden(text.into())
    }
}

impl From<Vec<String>> for Argv {
    fn from(argv: Vec<String>) -> Argv {
        Argv(argv)
    }
}
