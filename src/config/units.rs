//! Values with a notation of their own: durations, sizes, statuses, shards.
//!
//! Every function gives the value, or what is wrong and what to write instead.

use super::Shard;
use std::time::Duration;

/// Longer is nonsense, and would overflow when added to a point in time.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `"1h 30m"`, as humantime writes it; zero only where it has a meaning.
pub fn duration(text: &str, zero_allowed: bool) -> Result<Duration, String> {
    let value = humantime::parse_duration(text.trim()).map_err(|_| {
        format!("\"{text}\" is not a duration; write one such as \"500ms\", \"5s\" or \"1h 30m\"")
    })?;
    if value.is_zero() && !zero_allowed {
        return Err("must be longer than zero; write a duration such as \"5s\"".to_owned());
    }
    if value > LONGEST {
        return Err(format!(
            "\"{text}\" is too long; write at most \"100years\""
        ));
    }
    Ok(value)
}

const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `"10 MiB"`, `"1.5 GiB"`, `"1000"`: a number of bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "\"{text}\" is not a size; write one such as \"10 MiB\" (1024 * 1024), \"10 MB\" \
             (1000 * 1000) or a number of bytes"
        )
    };
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..end], trimmed[end..].trim_start());
    let unit = match unit {
        "" => 1,
        _ => {
            UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(bad)?
                .1
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine digits are exact enough, and cannot overflow below.
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
    let fraction: u128 = fraction.parse().map_err(|_| bad())?;
    let bytes = u128::from(whole) * u128::from(unit) + fraction * u128::from(unit) / scale;
    u64::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes <= i64::MAX as u64)
        .ok_or_else(|| format!("\"{text}\" is too large; write at most {} bytes", i64::MAX))
}

/// `"202-204"` or `"202"`: a range of HTTP statuses.
pub fn status_range(text: &str, redirects: Redirects) -> Result<(u16, u16), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.trim().parse::<i64>();
    let (Ok(low), Ok(high)) = (number(low), number(high)) else {
        return Err(format!(
            "\"{text}\" is not a status or a range of them; write 202 or \"202-204\""
        ));
    };
    status_bounds(low, high, redirects)
}

/// How a 3xx may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// One status, and not within a range.
    Singly,
    /// Not at all.
    Never,
}

/// Both bounds included; only final answers.
pub fn status_bounds(low: i64, high: i64, redirects: Redirects) -> Result<(u16, u16), String> {
    let shown = if low == high {
        low.to_string()
    } else {
        format!("\"{low}-{high}\"")
    };
    let bound = |n: i64| u16::try_from(n).ok().filter(|n| (100..=599).contains(n));
    let (Some(low), Some(high)) = (bound(low), bound(high)) else {
        return Err(format!(
            "{shown} is no HTTP status; write numbers from 200 to 599"
        ));
    };
    if low > high {
        return Err(format!("{shown} is an empty range; write \"{high}-{low}\""));
    }
    if low < 200 {
        return Err(format!(
            "{shown} has 1xx statuses in it, which are never the final answer; begin at 200"
        ));
    }
    let is_single = low == high && redirects == Redirects::Singly;
    if low < 400 && high >= 300 && !is_single {
        return Err(format!(
            "{shown} has 3xx statuses in it: redirects are never followed and close the gate; \
             leave them out, and put the address they lead to into send.url (in send.accept a 3xx \
             may be named singly: 303 where it says that the file is stored)"
        ));
    }
    Ok((low, high))
}

/// Redirects split what can be set into two blocks, so that the first common status says it.
pub fn overlap(a: &[(u16, u16)], b: &[(u16, u16)]) -> Option<u16> {
    a.iter()
        .flat_map(|&(low, high)| b.iter().map(move |&(l, h)| (low.max(l), high.min(h))))
        .filter(|(low, high)| low <= high)
        .map(|(low, _)| low)
        .min()
}

/// `"2/8"`.
pub fn shard(text: &str) -> Result<Shard, String> {
    let bad = || {
        format!(
            "\"{text}\" is not a shard; write \"2/8\" for part 2 of 8 \
             (parts count from 1, 1024 at most)"
        )
    };
    let (index, count) = text.split_once('/').ok_or_else(bad)?;
    let number = |part: &str| part.trim().parse::<u32>().map_err(|_| bad());
    let (index, count) = (number(index)?, number(count)?);
    if index < 1 || index > count || count > 1024 {
        return Err(bad());
    }
    Ok(Shard { index, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("1h 30m", false), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("500ms", false), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0s", true), Ok(Duration::ZERO));
        assert!(
            duration("0s", false)
                .unwrap_err()
                .contains("longer than zero")
        );
        assert!(duration("5", false).unwrap_err().contains("not a duration"));
        assert!(
            duration("-5s", false)
                .unwrap_err()
                .contains("not a duration")
        );
        assert!(duration("", false).is_err());
        assert!(
            duration("1000years", false)
                .unwrap_err()
                .contains("too long")
        );
        assert!(duration("99999999999999999999y", false).is_err());
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("7 B", 7),
            ("1kB", 1000),
            ("1 KB", 1000),
            ("10 MiB", 10 << 20),
            ("10MB", 10_000_000),
            ("1.5 GiB", 3 << 29),
            (" 2 TiB ", 2 << 40),
            ("0.1 kB", 100),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "MiB", "10 mb", "10M", "1.2.3 MB", "-1", "1. MB", ".5 MB", "1e6", "1 MB/s",
        ] {
            assert!(size(text).unwrap_err().contains("not a size"), "{text}");
        }
        assert!(size("99999999 TiB").unwrap_err().contains("too large"));
        assert!(size("99999999999999999999999").is_err());
    }

    #[test]
    fn statuses() {
        assert_eq!(status_range("200-299", Redirects::Never), Ok((200, 299)));
        assert_eq!(status_range("404", Redirects::Never), Ok((404, 404)));
        assert_eq!(status_range("400 - 599", Redirects::Never), Ok((400, 599)));
        assert_eq!(status_range("303", Redirects::Singly), Ok((303, 303)));
        assert!(status_range("302-303", Redirects::Singly).is_err());
        assert!(
            status_range("299-200", Redirects::Never)
                .unwrap_err()
                .contains("\"200-299\"")
        );
        assert!(
            status_range("200-399", Redirects::Never)
                .unwrap_err()
                .contains("redirects are never followed")
        );
        assert!(
            status_range("200-599", Redirects::Never)
                .unwrap_err()
                .contains("3xx")
        );
        assert!(
            status_bounds(302, 302, Redirects::Never)
                .unwrap_err()
                .contains("302 has 3xx")
        );
        assert!(
            status_bounds(100, 200, Redirects::Never)
                .unwrap_err()
                .contains("1xx")
        );
        assert!(
            status_bounds(600, 600, Redirects::Never)
                .unwrap_err()
                .contains("no HTTP status")
        );
        assert!(
            status_bounds(-1, 70_000, Redirects::Never)
                .unwrap_err()
                .contains("no HTTP status")
        );
        assert!(
            status_range("2xx", Redirects::Never)
                .unwrap_err()
                .contains("\"202-204\"")
        );
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap(&[(200, 299)], &[(400, 400), (422, 422)]), None);
        assert_eq!(
            overlap(&[(200, 299), (410, 430)], &[(422, 422), (415, 415)]),
            Some(415)
        );
    }

    #[test]
    fn shards() {
        assert_eq!(shard("2/8"), Ok(Shard { index: 2, count: 8 }));
        assert_eq!(shard("1/1"), Ok(Shard { index: 1, count: 1 }));
        for text in ["", "2", "0/8", "9/8", "1/1025", "a/b", "1/2/3", "-1/2"] {
            assert!(shard(text).is_err(), "{text}");
        }
    }
}
