//! Amounts of memory as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Explain;

const UNITS: [(&str, u64); 13] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("EB", 1_000_000_000_000_000_000),
];

/// A number of bytes.
///
/// It is read from a bare number of bytes or from a number with a unit: powers of 1,000 (`KB`,
/// `MB`, `GB`, `TB`, `PB`, `EB`) and of 1,024 (`KiB`, `MiB`, `GiB`, `TiB`, `PiB`, `EiB`), in any
/// case. `Gb` and its like are refused, because they are bits to some readers. Fractions are cut
/// to whole bytes.
///
/// `Display` rounds to one digit in binary units; [`to_exact`](ByteSize::to_exact) does not round.
///
/// ```
/// use ipfs_accelerate::ByteSize;
///
/// let size: ByteSize = "1.5 GiB".parse()?;
/// assert_eq!(size.bytes(), 1_610_612_736);
/// assert_eq!(size.to_string(), "1.5 GiB");
/// assert_eq!("10GB".parse::<ByteSize>()?.bytes(), 10_000_000_000);
/// assert_eq!("512".parse::<ByteSize>()?, ByteSize::new(512));
/// # Ok::<(), ipfs_accelerate::ByteSizeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// Text that is no [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ByteSizeError {
    /// Neither a number nor a number with a unit.
    #[error("`{text}` is not a byte size")]
    NotANumber {
        /// What was given.
        text: String,
    },
    /// Less than nothing.
    #[error("`{text}` is negative; a byte size is not")]
    Negative {
        /// What was given.
        text: String,
    },
    /// A part of a byte.
    #[error("`{text}` is not a whole number of bytes")]
    PartOfAByte {
        /// What was given.
        text: String,
    },
    /// A unit that is not on the list, bits among them.
    #[error("`{unit}` in `{text}` is not a unit of byte sizes")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// The part behind the number.
        unit: String,
    },
    /// More than 2^64 − 1 bytes.
    #[error("`{text}` is more than {} bytes", u64::MAX)]
    TooLarge {
        /// What was given.
        text: String,
    },
}

impl Explain for ByteSizeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotANumber { .. } => "byte_size_not_a_number",
            Self::Negative { .. } => "byte_size_negative",
            Self::PartOfAByte { .. } => "byte_size_part_of_a_byte",
            Self::UnknownUnit { .. } => "byte_size_unknown_unit",
            Self::TooLarge { .. } => "byte_size_too_large",
        }
    }

    fn hint(&self) -> Option<String> {
        let units: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
        Some(format!(
            "write a number of bytes, or a number and one of {}",
            units.join(", ")
        ))
    }
}

impl ByteSize {
    /// That many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Text that parses to exactly this size, in the largest binary unit that divides it.
    ///
    /// ```
    /// use ipfs_accelerate::ByteSize;
    ///
    /// assert_eq!(ByteSize::new(16 << 30).to_exact(), "16GiB");
    /// assert_eq!(ByteSize::new(1_000).to_exact(), "1000");
    /// ```
    pub fn to_exact(self) -> String {
        let unit = UNITS[1..7]
            .iter()
            .rev()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match unit {
            Some((name, unit)) => format!("{}{name}", self.0 / unit),
            None => self.0.to_string(),
        }
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(given: &str) -> Result<Self, ByteSizeError> {
        let text = given.trim();
        let owned = || given.to_string();
        let not_a_number = || ByteSizeError::NotANumber { text: owned() };
        if let Some(rest) = text.strip_prefix('-') {
            let negative = rest.trim_start().starts_with(|c: char| c.is_ascii_digit());
            return Err(if negative {
                ByteSizeError::Negative { text: owned() }
            } else {
                not_a_number()
            });
        }
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = (&text[..end], text[end..].trim_start());
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(not_a_number());
        }
        let unit = unit_bytes(unit).ok_or_else(|| ByteSizeError::UnknownUnit {
            text: owned(),
            unit: unit.to_string(),
        })?;
        let fraction = fraction.trim_end_matches('0');
        if unit == 1 && !fraction.is_empty() {
            return Err(ByteSizeError::PartOfAByte { text: owned() });
        }
        let bytes = scaled(whole, fraction, unit).and_then(|bytes| u64::try_from(bytes).ok());
        bytes
            .map(Self)
            .ok_or_else(|| ByteSizeError::TooLarge { text: owned() })
    }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let bits = unit.len() == 2 && unit.ends_with('b') && unit.starts_with(char::is_uppercase);
    if unit.is_empty() {
        return Some(1);
    }
    UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit) && !bits)
        .map(|(_, bytes)| *bytes)
}

/// `whole.fraction` times `unit`, exactly, cut to whole bytes; both are decimal digits.
fn scaled(whole: &str, fraction: &str, unit: u64) -> Option<u128> {
    let whole = whole.bytes().try_fold(0u128, |n, digit| {
        n.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
    })?;
    // 18 digits decide every byte of the largest unit but the last.
    let digits = fraction.bytes().take(18);
    let (part, scale) = digits.fold((0u128, 1u128), |(n, scale), digit| {
        (n * 10 + u128::from(digit - b'0'), scale * 10)
    });
    whole
        .checked_mul(u128::from(unit))?
        .checked_add(part * u128::from(unit) / scale)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths =
            |unit: u64| (u128::from(self.0) * 10 + u128::from(unit) / 2) / u128::from(unit);
        // What would round to 1024.0 of a unit is 1.0 of the next one.
        let unit = UNITS[1..7].iter().find(|(_, unit)| tenths(*unit) < 10_240);
        let text = match unit {
            _ if self.0 < 1_024 => format!("{} B", self.0),
            Some((name, unit)) => {
                format!("{}.{} {name}", tenths(*unit) / 10, tenths(*unit) % 10)
            }
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

/// A number of bytes, whatever the unit it was read from.
impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A string with or without a unit, or a number of bytes; formats that do not describe
/// themselves hold a number.
impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Reader)
        } else {
            deserializer.deserialize_u64(Reader)
        }
    }
}

struct Reader;

impl de::Visitor<'_> for Reader {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a string such as \"16GiB\"")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes).map(ByteSize).map_err(|_| {
            E::custom(ByteSizeError::Negative {
                text: bytes.to_string(),
            })
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}
