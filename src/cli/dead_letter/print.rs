//! How dead letters are printed: for people, for programs, and summed up.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::folder::{DeadFile, Reason};
use super::{fields_of, shown};
use crate::cli::output::{Output, Printed};
use crate::config::Config;
use crate::flow::escape::is_deceptive;
use crate::flow::shell_words::quote;
use crate::io::dir::{bytes_of, name_of};
use crate::io::logging::units::{bytes, files};

pub(super) const NO_REASON: &str = "no reason file";
pub(super) const UNREADABLE_REASON: &str = "its reason file cannot be read";

/// One line.
pub(super) fn list(file: &DeadFile, out: &mut Output<'_>) -> Printed {
    let dead_at = match &file.reason {
        Reason::Known(reason) => reason.dead_at.as_str(),
        Reason::Missing | Reason::Unreadable => "-",
    };
    // As wide as the times, so that the columns stay.
    out.line(&format!(
        "{dead_at:<24}  {}  {}  {}",
        shown(&file.place),
        bytes(file.look.stamp.size),
        why(file),
    ))
}

fn why(file: &DeadFile) -> &str {
    match &file.reason {
        Reason::Known(reason) => &reason.reason,
        Reason::Missing => NO_REASON,
        Reason::Unreadable => UNREADABLE_REASON,
    }
}

/// All that is known.
pub(super) fn show(config: &Config, file: &DeadFile, out: &mut Output<'_>) -> Printed {
    out.line(&shown(&file.place))?;
    let whole = config.dead_letter.dir.join(name_of(file.place.as_bytes()));
    let mut fields = vec![("file", quote(&bytes_of(whole.as_os_str())))];
    match &file.reason {
        Reason::Known(reason) => fields.extend(fields_of(reason)),
        Reason::Missing | Reason::Unreadable => fields.push(("reason", why(file).into())),
    }
    for (name, text) in fields {
        let mut lines = text.lines();
        out.line(&format!("  {name}: {}", lines.next().unwrap_or_default()))?;
        for line in lines {
            out.line(&format!("    {line}"))?;
        }
    }
    Ok(())
}

/// One object, with names as in the journal: `place` is where it lies in the dead-letter folder, `path`
/// where it came from.
pub(super) fn object(file: &DeadFile) -> Value {
    let mut object = json!({ "place": file.place, "path": file.origin() });
    match &file.reason {
        Reason::Known(reason) => {
            let known = serde_json::to_value(reason).expect("plain data becomes JSON");
            let known = known.as_object().expect("a reason has fields").clone();
            for (name, value) in known {
                if name != "path" {
                    object[name] = value;
                }
            }
        }
        Reason::Missing | Reason::Unreadable => object["reason"] = why(file).into(),
    }
    object["size"] = file.look.stamp.size.into();
    object
}

/// Prints an object as one line. What would deceive a reader of a terminal is escaped as JSON has it.
pub(super) fn json_line(object: &Value, out: &mut Output<'_>) -> Printed {
    let mut line = String::new();
    for char in object.to_string().chars() {
        if is_deceptive(char) {
            line += &format!("\\u{:04x}", u32::from(char));
        } else {
            line.push(char);
        }
    }
    line.push('\n');
    out.raw(line.as_bytes())
}

/// Dead letters with one reason.
#[derive(Default)]
struct Sum<'a> {
    files: u64,
    bytes: u64,
    oldest: &'a str,
    newest: &'a str,
    example: Option<&'a DeadFile>,
}

/// A line for each reason, the most frequent first. Of a reason only what stands before its particulars
/// counts: what an endpoint answered, or where a check stumbled, is another for each file.
pub(super) fn sum_up(all: &[&DeadFile], as_json: bool, out: &mut Output<'_>) -> Printed {
    let mut sums: BTreeMap<&str, Sum<'_>> = BTreeMap::new();
    for &file in all {
        let why = why(file);
        let reason = why.split_once(": ").map_or(why, |(start, _)| start);
        let sum = sums.entry(reason).or_default();
        sum.files += 1;
        sum.bytes = sum.bytes.saturating_add(file.look.stamp.size);
        let dead_at = match &file.reason {
            Reason::Known(reason) => reason.dead_at.as_str(),
            Reason::Missing | Reason::Unreadable => "",
        };
        if sum.oldest.is_empty() || !dead_at.is_empty() && dead_at < sum.oldest {
            sum.oldest = dead_at;
        }
        if sum.example.is_none() || dead_at > sum.newest {
            (sum.newest, sum.example) = (dead_at, Some(file));
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.files));
    for (reason, sum) in sums {
        let Sum {
            files: count,
            bytes: size,
            oldest,
            newest,
            example,
        } = sum;
        let place = example.map(|file| &file.place);
        if as_json {
            let sum = json!({
                "reason": reason, "files": count, "bytes": size, "oldest": oldest,
                "newest": newest, "example": place,
            });
            json_line(&sum, out)?;
            continue;
        }
        let when = match (oldest, newest) {
            ("", "") => String::new(),
            (oldest, newest) if oldest == newest => format!(", at {newest}"),
            _ => format!(", from {oldest} to {newest}"),
        };
        out.line(&format!(
            "{} ({}){when}, the last {}: {reason}",
            files(usize::try_from(count).unwrap_or(usize::MAX)),
            bytes(size),
            place.map(shown).unwrap_or_default(),
        ))?;
    }
    Ok(())
}
