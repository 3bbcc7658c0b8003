//! Sizes and statuses as people write them. Durations are humantime's.

/// Bytes: "10 MiB", "1.5 GB", "512".
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    // Up to 2^53 bytes every whole number is exact.
    (value.is_finite() && (0.0..9.0e15).contains(&value)).then_some(value.round() as u64)
}

/// A status or a range: "200", "200-299".
pub fn statuses(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_families_of_units() {
        let all = ["0", "512", "10 MiB", "10MB", "1.5 GiB", "2 TiB", "1 kB"].map(size);
        assert_eq!(all, [0, 512, 10 << 20, 10_000_000, 3 << 29, 2 << 40, 1000].map(Some));
        for bad in ["", "MiB", "1 mb", "-1", "1 MiB x", "99999999999 TiB"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn statuses_are_single_or_a_range() {
        assert_eq!(statuses("204"), Some((204, 204)));
        assert_eq!(statuses("200 - 299"), Some((200, 299)));
        assert_eq!(statuses("299-200"), None);
        assert_eq!(statuses("2xx"), None);
    }
}
