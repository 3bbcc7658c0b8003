//! Names as a shell reads them back: what is printed can be copied into a command line.

use std::fmt::Write as _;

use crate::flow::escape::is_deceptive;

/// `name` as one word of a shell: as it is, in single quotes (POSIX.1-2024, Shell Command
/// Language, 2.2.2), or, where something in it cannot be shown, as `$'a\nb'` (2.2.4). A name that
/// would be taken for an option begins with `./`.
pub fn quote(name: &[u8]) -> String {
    let dash = if name.starts_with(b"-") { "./" } else { "" };
    let Ok(text) = std::str::from_utf8(name) else {
        return format!("$'{dash}{}'", escaped(name));
    };
    if text
        .chars()
        .any(|char| is_deceptive(char) || is_blank(char))
    {
        format!("$'{dash}{}'", escaped(name))
    } else if !text.is_empty() && text.chars().enumerate().all(is_plain) {
        format!("{dash}{text}")
    } else {
        format!("'{dash}{}'", text.replace('\'', r"'\''"))
    }
}

/// White space that looks like a space and is none, or like nothing.
fn is_blank(char: char) -> bool {
    char != ' ' && char.is_whitespace() || matches!(char, '\u{200b}'..='\u{200d}' | '\u{feff}')
}

/// Whether no shell sees more in a character than itself. `~` and `=` mean something to some at the
/// beginning of a word.
fn is_plain((at, char): (usize, char)) -> bool {
    char.is_alphanumeric() || "/._-+,:@%".contains(char) || at > 0 && "=~".contains(char)
}

/// For `$'…'`. Octal numbers have three digits at most in every shell; hexadecimal ones swallow
/// what follows in some.
fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' => text.push_str(r"\n"),
                '\t' => text.push_str(r"\t"),
                '\r' => text.push_str(r"\r"),
                '\\' => text.push_str(r"\\"),
                '\'' => text.push_str(r"\'"),
                _ if is_deceptive(char) || is_blank(char) => {
                    octal(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => text.push(char),
            }
        }
        octal(&mut text, chunk.invalid());
    }
    text
}

fn octal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\{byte:03o}").expect("writing to a string");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names with everything that a name can have in it.
    fn awkward() -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = (1..=255u8)
            .filter(|&byte| byte != b'/')
            .flat_map(|byte| [vec![byte], vec![byte, b'7', byte], vec![b'a', byte]])
            .collect();
        let texts = [
            "sale 50%.csv",
            "größe.csv",
            "it's $HOME `x` \"y\" \\n",
            "-rf",
            "--all",
            "~root",
            "a=b",
            "=ls",
            "a\nb\t\r\u{1b}[2J",
            "\u{202e}txt.exe",
            "a\u{a0}b\u{200b}c",
            "sub/x y.csv",
            "!history",
            "[ab]*?{c,d}",
            "#comment",
        ];
        names.extend(texts.map(|text| text.as_bytes().to_vec()));
        names.push(b"latin1-\xe4\xf6.csv".to_vec());
        names
    }

    #[test]
    fn plain_names_stay_as_they_are_and_others_are_quoted() {
        assert_eq!(quote(b"sub/x-1_2.tar.gz"), "sub/x-1_2.tar.gz");
        assert_eq!(quote("größe.csv".as_bytes()), "größe.csv");
        assert_eq!(quote(b"100%25.csv"), "100%25.csv");
        assert_eq!(quote(b"sale 50%.csv"), "'sale 50%.csv'");
        assert_eq!(quote(b"it's"), r"'it'\''s'");
        assert_eq!(quote(b"a\nb"), r"$'a\nb'");
        assert_eq!(quote(b"a\xff7"), r"$'a\3777'");
        assert_eq!(quote("\u{202e}x".as_bytes()), r"$'\342\200\256x'");
        assert_eq!(quote(b"-rf"), "./-rf");
        assert_eq!(quote(b""), "''");
    }

    #[test]
    fn nothing_that_is_printed_deceives_a_terminal() {
        for name in awkward() {
            let quoted = quote(&name);
            assert!(!quoted.chars().any(is_deceptive), "{quoted:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_every_name_back() {
        // dash has no $'…'; bash is what people type into, and is everywhere that tests run.
        let names = awkward();
        let words: Vec<String> = names.iter().map(|name| quote(name)).collect();
        let script = format!("printf '%s\\0' {}", words.join(" "));
        let printed = std::process::Command::new("bash")
            .args(["--norc", "-c", &script])
            .output();
        let Ok(printed) = printed else {
            eprintln!("SKIPPED: bash is not installed");
            return;
        };
        let mut read: Vec<&[u8]> = printed.stdout.split(|&byte| byte == 0).collect();
        read.pop();
        assert_eq!(read.len(), names.len());
        for (name, read) in names.iter().zip(read) {
            let read = if name.starts_with(b"-") {
                read.strip_prefix(b"./").expect("no option")
            } else {
                read
            };
            assert_eq!(read, &name[..]);
        }
    }
}
