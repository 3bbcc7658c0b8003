//! The `Idempotency-Key` of a version of a file.
//!
//! Every delivery of one version carries the same key, over retries, restarts and
//! hosts: it is made of the scope (the share's id), the relative path, the size and
//! the mtime, and of nothing else. The mtime is cut to 100 ns, for SMB keeps no more.

use sha2::{Digest, Sha256};

use crate::flow::file::{Rel, Stamp};

/// 32 hexadecimal digits: the first half of a SHA-256.
///
/// `round` is 0 but for a file that was taken out of the dead-letter folder to be
/// sent again: a server may replay its stored refusal to the old key.
pub fn key(scope: &str, path: &Rel, stamp: Stamp, round: u32) -> String {
    let mut hash = Sha256::new();
    // Lengths first, so that no two different inputs run together into one.
    for part in [scope.as_bytes(), path.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(stamp.size.to_le_bytes());
    hash.update(stamp.mtime.0.div_euclid(100).to_le_bytes());
    if round > 0 {
        hash.update(round.to_le_bytes());
    }
    hex(&hash.finalize()[..16])
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("four bits");
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::time::Wall;

    fn stamp(size: u64, mtime: i64) -> Stamp {
        Stamp {
            size,
            mtime: Wall(mtime),
        }
    }

    #[test]
    fn what_a_remount_over_smb_would_change_does_not_change_the_key() {
        let path = Rel::new(b"a.csv");
        let key_of = |mtime| key("s", &path, stamp(7, mtime), 0);
        assert_eq!(key_of(1_000_000_123), key_of(1_000_000_100));
        assert_ne!(key_of(1_000_000_200), key_of(1_000_000_100));
        assert_eq!(key_of(-50), key_of(-100));
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let base = key("s", &Rel::new(b"ab"), stamp(1, 100), 0);
        for other in [
            key("sa", &Rel::new(b"b"), stamp(1, 100), 0),
            key("s", &Rel::new(b"ab"), stamp(2, 100), 0),
            key("s", &Rel::new(b"ab"), stamp(1, 300), 0),
            key("s", &Rel::new(b"ab"), stamp(1, 100), 1),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base.len(), 32);
    }
}
