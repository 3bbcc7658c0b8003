//! "Did you mean": the nearest of several words.

/// The word of `all` that is nearest to `word`, if any is near.
pub fn nearest<'a>(word: &str, all: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let own = last(word);
    all.into_iter()
        .map(|known| {
            // A key may stand in the wrong table: then its last part is right.
            let whole = strsim::damerau_levenshtein(word, known);
            let part = strsim::damerau_levenshtein(own, last(known)) + usize::from(word != known);
            (whole.min(part), whole, known)
        })
        .filter(|(distance, _, known)| *distance <= 1 + last(known).len() / 4)
        .min()
        .map(|(_, _, known)| known)
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["watch.interval", "watch.dir", "send.url", "send.workers", "delivered.dir"];

    #[test]
    fn a_slip_and_a_wrong_table_are_recognised() {
        assert_eq!(nearest("watch.intervall", KEYS), Some("watch.interval"));
        assert_eq!(nearest("interval", KEYS), Some("watch.interval"));
        assert_eq!(nearest("watch.url", KEYS), Some("send.url"));
        assert_eq!(nearest("send.wrokers", KEYS), Some("send.workers"));
        assert_eq!(nearest("wacth.dir", KEYS), Some("watch.dir"));
        assert_eq!(nearest("frobnicate", KEYS), None);
    }
}
