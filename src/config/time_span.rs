//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Explain;

const SECOND: u128 = 1_000_000_000;

/// Names and nanoseconds, the longest first.
const UNITS: [(&str, u128); 23] = [
    ("w", 604_800 * SECOND),
    ("week", 604_800 * SECOND),
    ("weeks", 604_800 * SECOND),
    ("d", 86_400 * SECOND),
    ("day", 86_400 * SECOND),
    ("days", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("hour", 3_600 * SECOND),
    ("hours", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("min", 60 * SECOND),
    ("mins", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("minutes", 60 * SECOND),
    ("s", SECOND),
    ("sec", SECOND),
    ("secs", SECOND),
    ("second", SECOND),
    ("seconds", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// The units that a length is shown in. Weeks are read and not shown: fourteen days say more than two weeks.
const SHOWN: [&str; 7] = ["d", "h", "m", "s", "ms", "us", "ns"];

/// A length of time.
///
/// It is read from numbers with units, added up: `30s`, `500ms`, `1.5h`, `1h 30m`, `7 days`. A bare `0` needs no
/// unit, any other number does. Units are in lower case, so that nobody takes `5M` for months or for minutes, and
/// end at weeks, as months and years have no fixed length. Fractions are cut to whole nanoseconds.
///
/// `Display` is exact, in days and less.
///
/// ```
/// use ipfs_accelerate::TimeSpan;
/// use std::time::Duration;
///
/// let span: TimeSpan = "1h 30m".parse()?;
/// assert_eq!(span.duration(), Duration::from_secs(5_400));
/// assert_eq!("0".parse::<TimeSpan>()?, TimeSpan::ZERO);
/// assert_eq!("48 hours".parse::<TimeSpan>()?.to_string(), "2d");
/// assert!("30".parse::<TimeSpan>().is_err());
/// # Ok::<(), ipfs_accelerate::TimeSpanError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(Duration);

/// Text that is no [`TimeSpan`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeSpanError {
    /// Not numbers with units.
    #[error("`{text}` is not a length of time")]
    NotATimeSpan {
        /// What was given.
        text: String,
    },
    /// Less than nothing.
    #[error("`{text}` is negative; a length of time is not")]
    Negative {
        /// What was given.
        text: String,
    },
    /// A number alone, which could be seconds or anything.
    #[error("`{text}` lacks a unit")]
    NoUnit {
        /// What was given.
        text: String,
    },
    /// A unit that is not on the list, months and years among them.
    #[error("`{unit}` in `{text}` is not a unit of time")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// What stands behind the number.
        unit: String,
    },
    /// More than 2^64 − 1 seconds.
    #[error("`{text}` is longer than {} seconds", u64::MAX)]
    TooLong {
        /// What was given.
        text: String,
    },
}

impl Explain for TimeSpanError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotATimeSpan { .. } => "time_span_not_one",
            Self::Negative { .. } => "time_span_negative",
            Self::NoUnit { .. } => "time_span_no_unit",
            Self::UnknownUnit { .. } => "time_span_unknown_unit",
            Self::TooLong { .. } => "time_span_too_long",
        }
    }

    fn hint(&self) -> Option<String> {
        Some("write it as 500ms, 30s, 5m, 24h or 7d, or as a sum such as 1h 30m".into())
    }
}

impl TimeSpan {
    /// No time.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// That much time.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// How long it is.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<TimeSpan> for Duration {
    fn from(span: TimeSpan) -> Self {
        span.0
    }
}

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(given: &str) -> Result<Self, TimeSpanError> {
        let text = given.to_string();
        let mut rest = given.trim();
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if let Some(positive) = rest.strip_prefix('-') {
            let negative = positive
                .trim_start()
                .starts_with(|c: char| c.is_ascii_digit());
            return Err(match negative {
                true => TimeSpanError::Negative { text },
                false => TimeSpanError::NotATimeSpan { text },
            });
        }
        let mut sum = Some(0_u128);
        loop {
            let Some((number, behind)) = split_number(rest) else {
                return Err(TimeSpanError::NotATimeSpan { text });
            };
            let (unit, behind) = split_unit(behind.trim_start());
            if unit.is_empty() {
                // A sign that no unit begins with, or the end.
                return Err(
                    match behind.is_empty() || behind.starts_with(char::is_whitespace) {
                        true => TimeSpanError::NoUnit { text },
                        false => TimeSpanError::NotATimeSpan { text },
                    },
                );
            }
            let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                let unit = unit.to_string();
                return Err(TimeSpanError::UnknownUnit { text, unit });
            };
            sum = sum
                .zip(nanoseconds(number, *length))
                .and_then(|(sum, more)| sum.checked_add(more));
            rest = behind.trim_start();
            if rest.is_empty() {
                break;
            }
        }
        let seconds = |nanoseconds: u128| u64::try_from(nanoseconds / SECOND).ok();
        match sum.and_then(|sum| Some((seconds(sum)?, (sum % SECOND) as u32))) {
            Some((seconds, nanoseconds)) => Ok(Self(Duration::new(seconds, nanoseconds))),
            None => Err(TimeSpanError::TooLong { text }),
        }
    }
}

/// Whole and fractional digits of the number that the text begins with, and what follows it.
fn split_number(text: &str) -> Option<((&str, &str), &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, behind) = text.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        None => (number, ""),
        Some((_, "")) => return None,
        Some(parts) => parts,
    };
    (!whole.is_empty() && !fraction.contains('.')).then_some(((whole, fraction), behind))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `whole.fraction` of a unit, cut to nanoseconds; none past 2^128.
fn nanoseconds((whole, fraction): (&str, &str), unit: u128) -> Option<u128> {
    let digit = |byte: u8| u128::from(byte - b'0');
    let whole = whole.bytes().try_fold(0_u128, |number, byte| {
        number.checked_mul(10)?.checked_add(digit(byte))
    })?;
    // 18 digits decide every nanosecond of a week.
    let (part, scale) = fraction
        .bytes()
        .take(18)
        .fold((0_u128, 1_u128), |(part, scale), byte| {
            (part * 10 + digit(byte), scale * 10)
        });
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.pad("0s");
        }
        let mut parts = Vec::new();
        for (name, length) in UNITS.iter().filter(|(name, _)| SHOWN.contains(name)) {
            if left >= *length {
                parts.push(format!("{}{name}", left / length));
                left %= length;
            }
        }
        f.pad(&parts.join(" "))
    }
}

/// Text, as `Display` has it.
impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A string, or the number 0.
impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Reader)
        } else {
            deserializer.deserialize_str(Reader)
        }
    }
}

struct Reader;

impl de::Visitor<'_> for Reader {
    type Value = TimeSpan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time such as \"30s\" or \"24h\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<TimeSpan, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<TimeSpan, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeSpan, E> {
        text.parse().map_err(E::custom)
    }
}
