//! What a certificate says of itself (X.509, RFC 5280), as far as messages, pins and self-signed
//! certificates need it: webpki shows none of it, and reads no certificate of version 1.
//!
//! Whoever answers has made it, so every length is checked, and what is not understood is `None`.

use sha2::{Digest as _, Sha256};

const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// 2.5.4.3, 2.5.4.10, 2.5.29.17 and 2.5.29.19.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];

/// A certificate, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate {
    /// 1 to 3.
    pub version: u8,
    /// The common name, else the organization, of whom it is for and of who has signed it.
    pub subject: String,
    pub issuer: String,
    pub is_self_issued: bool,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// It is that of an authority (`CA:TRUE`).
    pub is_authority: bool,
    /// It names hosts in the place where they belong today.
    pub has_alternative_names: bool,
    /// SubjectPublicKeyInfo whole, and its two parts: what is in the algorithm's sequence, and the key.
    pub key_info: Vec<u8>,
    pub key_algorithm: Vec<u8>,
    pub key: Vec<u8>,
}

/// `SHA256:` and the digest of a certificate as openssl writes it.
pub(super) fn fingerprint(der: &[u8]) -> String {
    shown(&digest(der))
}

pub(super) fn digest(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

fn shown(digest: &[u8]) -> String {
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("SHA256:{}", pairs.join(":"))
}

/// Takes a certificate apart.
pub(super) fn parse(der: &[u8]) -> Option<Certificate> {
    let mut whole = Der(der);
    let mut outer = Der(whole.expect(SEQUENCE)?);
    let mut body = Der(outer.expect(SEQUENCE)?);
    let mut found = Certificate {
        version: 1,
        ..Certificate::default()
    };
    if let Some(version) = body.optional(VERSION) {
        let (_, number) = Der(version).next()?;
        found.version = number.last()?.checked_add(1)?;
    }
    body.next()?; // The serial number.
    body.expect(SEQUENCE)?; // The algorithm that it is signed with.
    let issuer = body.expect(SEQUENCE)?;
    let mut validity = Der(body.expect(SEQUENCE)?);
    found.not_before = moment(validity.next()?)?;
    found.not_after = moment(validity.next()?)?;
    let subject = body.expect(SEQUENCE)?;
    found.is_self_issued = issuer == subject;
    (found.issuer, found.subject) = (name(issuer), name(subject));
    let before = body.0;
    let mut key = Der(body.expect(SEQUENCE)?);
    found.key_info = before[..before.len() - body.0.len()].to_vec();
    found.key_algorithm = key.expect(SEQUENCE)?.to_vec();
    // The first byte says how many bits of the last are not used: none, in a key.
    found.key = key.expect(BIT_STRING)?.get(1..)?.to_vec();
    while let Some((tag, content)) = body.next() {
        if tag == EXTENSIONS {
            extensions(content, &mut found);
        }
    }
    Some(found)
}

fn extensions(content: &[u8], found: &mut Certificate) -> Option<()> {
    let mut list = Der(Der(content).expect(SEQUENCE)?);
    while let Some((_, extension)) = list.next() {
        let mut parts = Der(extension);
        let id = parts.expect(OBJECT_ID)?;
        parts.optional(BOOLEAN);
        let value = parts.expect(OCTET_STRING)?;
        if id == ALTERNATIVE_NAMES {
            found.has_alternative_names = true;
        } else if id == BASIC_CONSTRAINTS {
            let constraints = Der(value).expect(SEQUENCE)?;
            found.is_authority = Der(constraints)
                .optional(BOOLEAN)
                .is_some_and(|value| value != [0]);
        }
    }
    Some(())
}

/// The common name, else the organization.
fn name(content: &[u8]) -> String {
    let mut sets = Der(content);
    let (mut common, mut organization) = (None, None);
    while let Some((_, set)) = sets.next() {
        let mut pairs = Der(set);
        while let Some((_, pair)) = pairs.next() {
            let mut parts = Der(pair);
            let id = parts.next().map(|(_, id)| id);
            let text = parts
                .next()
                .map(|(_, text)| String::from_utf8_lossy(text).into_owned());
            match id {
                Some(COMMON_NAME) => common = text,
                Some(ORGANIZATION) => organization = text,
                _ => {}
            }
        }
    }
    common
        .or(organization)
        .unwrap_or_else(|| "nobody (it has no name)".into())
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280, 4.1.2.5), in seconds since 1970.
fn moment((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let seconds = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    Some(days(year, month, day) * 86_400 + seconds)
}

/// Days since 1970-01-01 of the Gregorian calendar: years that begin in March, in eras of 400.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// What is still to be read of the content of one value (ITU-T X.690, distinguished encoding).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (bytes, behind) = rest.split_at_checked(count)?;
            len = bytes
                .iter()
                .fold(0, |len, &byte| len << 8 | usize::from(byte));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, content)| content)
    }

    /// The next value if it has this tag, else nothing is read.
    fn optional(&mut self, wanted: u8) -> Option<&'a [u8]> {
        match self.0.first() {
            Some(&tag) if tag == wanted => self.expect(wanted),
            _ => None,
        }
    }
}

impl Certificate {
    /// Whether it is for `host` by its common name, as certificates without alternative names are
    /// still read by OpenSSL; a `*` stands for the first part of a name.
    pub fn common_name_is(&self, host: &str) -> bool {
        let name = &self.subject;
        if name.eq_ignore_ascii_case(host) {
            return true;
        }
        match (name.strip_prefix("*."), host.split_once('.')) {
            (Some(domain), Some((_, rest))) => {
                domain.contains('.') && domain.eq_ignore_ascii_case(rest)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 27), 20_784),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
        assert_eq!(moment((UTC_TIME, b"700101000001Z")), Some(1));
        assert_eq!(moment((UTC_TIME, b"491231235959Z")), Some(2_524_607_999));
        assert_eq!(
            moment((GENERALIZED_TIME, b"20500101000000Z")),
            Some(2_524_608_000)
        );
        for wrong in [&b"7001Z"[..], b"700101000001", b"", b"\xff"] {
            assert_eq!(moment((UTC_TIME, wrong)), None);
        }
    }

    #[test]
    fn a_common_name_fits_its_host_alone() {
        let of = |subject: &str| Certificate {
            subject: subject.into(),
            ..Certificate::default()
        };
        assert!(of("nas.plant").common_name_is("NAS.plant"));
        assert!(of("*.plant.example").common_name_is("nas.plant.example"));
        for host in ["plant.example", "a.nas.plant.example", "plant", ""] {
            assert!(!of("*.plant.example").common_name_is(host), "{host}");
        }
        assert!(!of("*.example").common_name_is("nas.example"));
    }

    #[test]
    fn nothing_that_a_peer_sends_is_read_beyond_its_end() {
        for bytes in [
            &b""[..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 3, 0x30, 0x82, 1],
        ] {
            assert_eq!(parse(bytes), None);
        }
    }
}
