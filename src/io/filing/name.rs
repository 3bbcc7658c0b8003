//! Names for files that are filed away: free ones, and short enough.

use std::io;

use crate::io::dir::Dir;

/// The longest name (bytes) that file systems take: `NAME_MAX` of Linux, macOS and the BSDs.
const NAME_MAX: usize = 255;
/// A reason file is called after its file.
pub const REASON: &[u8] = b".reason.json";

/// `name`, or with a number before its extension, so that nothing in `folder` is called so.
/// `beside` are suffixes whose names must be free as well; `claimed` says which names are
/// promised to others.
///
/// # Errors
/// Of looking.
pub fn free(
    folder: &Dir,
    name: &[u8],
    beside: &[&[u8]],
    claimed: &dyn Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let room = NAME_MAX.saturating_sub(beside.iter().map(|suffix| suffix.len()).max().unwrap_or(0));
    let is_free = |number: u64| -> io::Result<Option<Vec<u8>>> {
        let candidate = numbered(name, number, room);
        for suffix in std::iter::once(&b""[..]).chain(beside.iter().copied()) {
            let name = [&candidate, suffix].concat();
            if claimed(&name) || exists(folder, &name)? {
                return Ok(None);
            }
        }
        Ok(Some(candidate))
    };
    for number in 0..8 {
        if let Some(name) = is_free(number)? {
            return Ok(name);
        }
    }
    // A name that comes every day: look for the end of the numbers in growing strides.
    let (mut taken, mut free) = (7, 16);
    while is_free(free)?.is_none() {
        (taken, free) = (free, free * 2);
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_free(middle)?.is_some() {
            free = middle
        } else {
            taken = middle
        }
    }
    is_free(free)?.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

fn exists(folder: &Dir, name: &[u8]) -> io::Result<bool> {
    match folder.look(name) {
        Ok(_) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

/// `name` with `.number` before its extension (none for 0), cut to `room` bytes.
fn numbered(name: &[u8], number: u64, room: usize) -> Vec<u8> {
    if number == 0 && name.len() <= room {
        return name.to_vec();
    }
    let dot = name
        .iter()
        .rposition(|&byte| byte == b'.')
        .filter(|&at| at > 0 && name.len() - at < 32);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let number = if number == 0 {
        String::new()
    } else {
        format!(".{number}")
    };
    let mut end = stem
        .len()
        .min(room.saturating_sub(extension.len() + number.len()));
    // Not in the middle of a character of UTF-8.
    while end > 0 && end < stem.len() && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [&stem[..end], number.as_bytes(), extension].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    #[test]
    fn the_number_goes_before_the_extension() {
        let text =
            |name: &str, number| String::from_utf8(numbered(name.as_bytes(), number, 255)).unwrap();
        assert_eq!(text("x.csv", 0), "x.csv");
        assert_eq!(text("x.csv", 1), "x.1.csv");
        assert_eq!(text("x.tar.gz", 12), "x.tar.12.gz");
        assert_eq!(text("README", 1), "README.1");
        assert_eq!(text(".env", 1), ".env.1");
    }

    #[test]
    fn a_long_name_is_cut_before_its_extension_and_between_characters() {
        let long = format!("{}.csv", "ü".repeat(125));
        let cut = numbered(long.as_bytes(), 3, 243);
        assert!(cut.len() <= 243 && cut.ends_with(b".3.csv"));
        std::str::from_utf8(&cut).unwrap();
    }

    #[test]
    fn a_free_name_is_found_among_thousands_in_few_looks() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        for number in 0..3000 {
            let name = numbered(b"x.csv", number, 255);
            std::fs::write(dir.path().join(String::from_utf8(name).unwrap()), "").unwrap();
        }
        assert_eq!(
            free(&folder, b"x.csv", &[], &|_| false).unwrap(),
            b"x.3000.csv"
        );
    }

    #[test]
    fn a_name_whose_reason_file_is_taken_is_not_free() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        std::fs::write(dir.path().join("x.csv.reason.json"), "").unwrap();
        assert_eq!(
            free(&folder, b"x.csv", &[REASON], &|_| false).unwrap(),
            b"x.1.csv"
        );
    }
}
