//! "Did you mean …?": which known word is nearest to one that is not known.

/// How many characters must be inserted, removed, replaced or swapped with
/// their neighbour (optimal string alignment).
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut steps = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                steps = steps.min(before[j - 2] + 1);
            }
            row.push(steps);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The known dotted keys that are nearest to the unknown `key`, three at most.
///
/// Compared is the last part, so a key in the wrong table is found as well;
/// with equal distance the one in the same table comes first.
pub fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let (table, last) = split(key);
    let last = simplified(last);
    let mut scored: Vec<(usize, bool, &str)> = known
        .filter_map(|candidate| {
            let (its_table, its_last) = split(candidate);
            let score = score(&last, &simplified(its_last))?;
            let is_elsewhere = its_table != table;
            // A key of another table is meant only where it is all but the same: `send.retries` is not
            // `watch.rewrites`.
            (score <= 1 || !is_elsewhere).then_some((score, is_elsewhere, candidate))
        })
        .collect();
    scored.sort();
    let Some(&(best, elsewhere, _)) = scored.first() else {
        return Vec::new();
    };
    scored.retain(|&(score, other, _)| (score, other) == (best, elsewhere));
    scored
        .into_iter()
        .take(3)
        .map(|(_, _, candidate)| candidate)
        .collect()
}

/// Lower is nearer; `None` is too far to be worth a word.
fn score(word: &str, candidate: &str) -> Option<usize> {
    let steps = distance(word, candidate);
    if steps
        <= word
            .chars()
            .count()
            .min(candidate.chars().count())
            .div_ceil(3)
    {
        return Some(steps);
    }
    // `timeout` for `stall_timeout`: far in letters, near in sense.
    let part = |whole: &str, part: &str| part.len() >= 3 && whole.split('_').any(|p| p == part);
    (part(candidate, word) || part(word, candidate)).then_some(100)
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

fn simplified(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// The allowed words, quoted, the nearest to `word` first.
pub fn allowed<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let mut words: Vec<&str> = words.collect();
    words.sort_by_key(|candidate| distance(&word, &candidate.to_lowercase()));
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    either(&quoted)
}

/// `a, b or c`.
pub fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("interval", "intervall"), 1);
        assert_eq!(distance("dri", "dir"), 1);
    }

    const KNOWN: [&str; 6] = [
        "watch.interval",
        "watch.dir",
        "state.dir",
        "send.stall_timeout",
        "send.connect_timeout",
        "send.workers",
    ];

    fn nearest_to(key: &str) -> Vec<&str> {
        nearest(key, KNOWN.into_iter())
    }

    #[test]
    fn finds_the_nearest_key() {
        assert_eq!(nearest_to("send.wokers"), ["send.workers"]);
        assert_eq!(nearest_to("interval"), ["watch.interval"]);
        assert_eq!(nearest_to("send.interval"), ["watch.interval"]);
        assert_eq!(nearest_to("watch.dri"), ["watch.dir"]);
        assert_eq!(nearest_to("watch.dirs"), ["watch.dir"]);
        assert_eq!(nearest_to("dir"), ["state.dir", "watch.dir"]);
        assert_eq!(nearest_to("send.stall-timeout"), ["send.stall_timeout"]);
        assert_eq!(
            nearest_to("send.timeout"),
            ["send.connect_timeout", "send.stall_timeout"]
        );
        assert!(nearest_to("send.zzz").is_empty());
    }

    #[test]
    fn lists_what_is_allowed() {
        assert_eq!(
            allowed("psot", ["PUT", "POST"].into_iter()),
            "\"POST\" or \"PUT\""
        );
        assert_eq!(
            allowed("gz", ["none", "zip", "gzip"].into_iter()),
            "\"gzip\", \"zip\" or \"none\""
        );
    }
}
