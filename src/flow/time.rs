//! Time as the core knows it: plain integers, handed in.
//!
//! The core never asks for the time. Each input comes with a [`Now`], read once
//! by the shell, and the core answers with the [`Mono`] at which it wants to be
//! woken.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds on a clock that never steps, from the start of the process.
/// Negative values are moments before the start.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Mono(pub i64);

/// Nanoseconds since 1970-01-01 UTC, as file systems and HTTP dates count.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Wall(pub i64);

/// One reading of all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock. It may stand still while the machine is suspended.
    pub mono: Mono,
    /// The wall clock. Anybody may set it.
    pub wall: Wall,
    /// The boot clock, where there is one: for how long (ms) the machine has been up, suspended or not.
    pub up: Option<i64>,
}

const NANOS_PER_MILLI: i64 = 1_000_000;

impl Mono {
    /// How long before `self` the moment `earlier` was; zero if it was not.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    /// Rounds up to whole milliseconds, so that nothing becomes due early.
    fn add(self, span: Duration) -> Mono {
        let millis = span.as_nanos().div_ceil(NANOS_PER_MILLI as u128);
        Mono(
            self.0
                .saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;

    fn sub(self, span: Duration) -> Mono {
        Mono(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Now {
    /// Where `wall` lies on the other clock, going by this one reading of both.
    /// Rounded up: never earlier than it was.
    pub fn mono_of(self, wall: Wall) -> Mono {
        let ago = self.wall.0.saturating_sub(wall.0);
        Mono(self.mono.0.saturating_sub(ago.div_euclid(NANOS_PER_MILLI)))
    }

    /// Where `mono` lies on the other clock, going by this one reading of both.
    pub fn wall_of(self, mono: Mono) -> Wall {
        let ago = self.mono.0.saturating_sub(mono.0);
        Wall(
            self.wall
                .0
                .saturating_sub(ago.saturating_mul(NANOS_PER_MILLI)),
        )
    }

    /// The wall clock's lead over the monotonic one, in milliseconds. It is constant
    /// unless somebody sets the clock or the machine sleeps.
    pub fn lead(self) -> i64 {
        (self.wall.0 / NANOS_PER_MILLI).saturating_sub(self.mono.0)
    }

    /// The boot clock's lead over the monotonic one, in milliseconds. It is constant unless the
    /// machine is suspended.
    pub fn up_lead(self) -> Option<i64> {
        self.up.map(|up| up.saturating_sub(self.mono.0))
    }
}

impl Wall {
    /// How long before `self` the moment `earlier` was; zero if it was not.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, span: Duration) -> Wall {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Wall(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;

    fn sub(self, span: Duration) -> Wall {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Wall(self.0.saturating_sub(nanos))
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const RFC3339_LENGTH: usize = "2023-11-14T22:13:20.123456789Z".len();

impl Wall {
    /// RFC 3339 in UTC, with as many digits of a second as it needs: `2023-11-14T22:13:20.12Z`.
    pub fn rfc3339(self) -> String {
        let mut text = String::with_capacity(RFC3339_LENGTH);
        self.push_rfc3339(&mut text);
        text
    }

    /// Writes [`rfc3339`](Wall::rfc3339) to the end of `text`.
    pub fn push_rfc3339(self, text: &mut String) {
        let nanos = self.push_seconds(text);
        if nanos > 0 {
            text.push('.');
            push_padded(text, nanos, 9);
            text.truncate(text.trim_end_matches('0').len());
        }
        text.push('Z');
    }

    /// RFC 3339 in UTC, cut to the millisecond: `2023-11-14T22:13:20.120Z`.
    pub fn rfc3339_millis(self) -> String {
        let mut text = String::with_capacity(RFC3339_LENGTH);
        let nanos = self.push_seconds(&mut text);
        text.push('.');
        push_padded(&mut text, nanos / NANOS_PER_MILLI, 3);
        text.push('Z');
        text
    }

    /// Writes date and time to the second, and gives the nanoseconds beyond it.
    fn push_seconds(self, text: &mut String) -> i64 {
        push_date_time(text, self.0.div_euclid(NANOS_PER_SECOND));
        self.0.rem_euclid(NANOS_PER_SECOND)
    }
}

/// The date and time in UTC of a moment in seconds since 1970, as RFC 3339 writes them:
/// `2023-11-14T22:13:20`. What is before the year 0 or after 9999 is cut to what can be written.
pub fn date_time(seconds: i64) -> String {
    let mut text = String::with_capacity(RFC3339_LENGTH);
    push_date_time(&mut text, seconds);
    text
}

fn push_date_time(text: &mut String, seconds: i64) {
    const FIRST: i64 = -62_167_219_200;
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds.clamp(FIRST, LAST);
    let (days, time) = (
        seconds.div_euclid(SECONDS_PER_DAY),
        seconds.rem_euclid(SECONDS_PER_DAY),
    );
    let (year, month, day) = civil(days);
    let parts = [
        (year, 4, '-'),
        (month, 2, '-'),
        (day, 2, 'T'),
        (time / 3600, 2, ':'),
        (time / 60 % 60, 2, ':'),
    ];
    for (value, digits, behind) in parts {
        push_padded(text, value, digits);
        text.push(behind);
    }
    push_padded(text, time % 60, 2);
}

/// The last `digits` decimal digits of a number that is not negative, with zeros before it. A file has three
/// such dates, in which the formatter of the standard library takes more time than all of their arithmetic.
fn push_padded(text: &mut String, value: i64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        text.push(char::from(b'0' + digit as u8));
    }
}

/// Year, month and day, in the Gregorian calendar, of a day counted from 1970-01-01. Years are
/// taken to begin in March, so that a leap day is the last of one; 146,097 days are 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    /// From 0000-03-01 to 1970-01-01.
    const BEFORE_1970: i64 = 719_468;
    let days = days + BEFORE_1970;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A [`Wall`] as text in RFC 3339, to the millisecond: `#[serde(with = "rfc3339")]`.
pub mod rfc3339 {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Wall;

    /// Writes it.
    ///
    /// # Errors
    /// Of `serializer`.
    pub fn serialize<S: Serializer>(wall: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&wall.rfc3339_millis())
    }

    /// Reads it.
    ///
    /// # Errors
    /// Of `deserializer`, and for what is no time after 1970.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Wall, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    fn parse(text: &str) -> Result<Wall, String> {
        let time = humantime::parse_rfc3339(text).map_err(|err| err.to_string())?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.map_err(|err| err.to_string())?.as_nanos();
        i64::try_from(nanos)
            .map(Wall)
            .map_err(|err| err.to_string())
    }

    /// The same for a moment that there may not be.
    pub mod option {
        use serde::de::Error as _;
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        use super::super::Wall;

        /// Writes it.
        ///
        /// # Errors
        /// Of `serializer`.
        pub fn serialize<S: Serializer>(
            wall: &Option<Wall>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            wall.map(Wall::rfc3339_millis).serialize(serializer)
        }

        /// Reads it.
        ///
        /// # Errors
        /// Of `deserializer`, and for what is no time after 1970.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Wall>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            let wall = text.map(|text| super::parse(&text));
            wall.transpose().map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_the_digits_they_need_also_before_1970() {
        let cases = [
            (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            (
                -1,
                "1969-12-31T23:59:59.999999999Z",
                "1969-12-31T23:59:59.999Z",
            ),
            (
                951_782_400_000_000_000,
                "2000-02-29T00:00:00Z",
                "2000-02-29T00:00:00.000Z",
            ),
            (
                1_709_251_199_500_000_000,
                "2024-02-29T23:59:59.5Z",
                "2024-02-29T23:59:59.500Z",
            ),
            (
                1_709_251_200_000_000_100,
                "2024-03-01T00:00:00.0000001Z",
                "2024-03-01T00:00:00.000Z",
            ),
            (
                -2_203_891_200_000_000_000,
                "1900-03-01T00:00:00Z",
                "1900-03-01T00:00:00.000Z",
            ),
            (
                i64::MIN,
                "1677-09-21T00:12:43.145224192Z",
                "1677-09-21T00:12:43.145Z",
            ),
            (
                i64::MAX,
                "2262-04-11T23:47:16.854775807Z",
                "2262-04-11T23:47:16.854Z",
            ),
        ];
        for (nanos, needed, millis) in cases {
            assert_eq!(Wall(nanos).rfc3339(), needed);
            assert_eq!(Wall(nanos).rfc3339_millis(), millis);
        }
    }

    #[test]
    fn dates_beyond_four_digits_are_cut_to_what_can_be_written() {
        assert_eq!(date_time(4_107_542_400), "2100-03-01T00:00:00");
        assert_eq!(date_time(i64::MAX), "9999-12-31T23:59:59");
        assert_eq!(date_time(i64::MIN), "0000-01-01T00:00:00");
    }

    #[test]
    fn a_moment_of_the_wall_clock_is_never_placed_too_early() {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(5_000_000_000),
            up: None,
        };
        assert_eq!(now.mono_of(Wall(4_999_000_001)), Mono(1_000));
        assert_eq!(now.mono_of(Wall(4_000_000_000)), Mono(0));
        assert_eq!(now.mono_of(Wall(6_000_000_000)), Mono(2_000));
    }

    #[test]
    fn adding_rounds_up_and_never_overflows() {
        assert_eq!(Mono(0) + Duration::from_micros(1), Mono(1));
        assert_eq!(Mono(5) + Duration::MAX, Mono(i64::MAX));
    }
}
