//! The value of a key, whatever its type.

use std::collections::BTreeMap;
use std::fmt;

use super::byte_size::ByteSize;
use super::secret::{MASK, Secret};
use super::time_span::TimeSpan;

/// The value of a key, for access by name: [`Config::get`](super::Config::get) and
/// [`Config::set`](super::Config::set).
///
/// ```
/// use ipfs_accelerate::{Config, ConfigValue};
///
/// let value = Config::default().get("cache", "max_size_mb");
/// assert_eq!(value, Some(ConfigValue::Integer(500)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Text, also for paths, log levels, byte sizes and time spans.
    String(String),
    /// Text that is not shown.
    Secret(Secret),
    /// A named endpoint, `max_memory`, or a whole section.
    Table(BTreeMap<String, ConfigValue>),
}

impl ConfigValue {
    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is text and no secret.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn as_table(&self) -> Option<&BTreeMap<String, ConfigValue>> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value for an error message: with its content only where that is no secret.
    pub(super) fn describe(&self, secret: bool) -> String {
        match self {
            Self::Bool(value) if !secret => format!("the boolean {value}"),
            Self::Integer(value) if !secret => format!("the integer {value}"),
            Self::String(value) if !secret => {
                let short: String = value.chars().take(60).collect();
                let more = if short.len() < value.len() { "…" } else { "" };
                format!("the string {short:?}{more}")
            }
            Self::Bool(_) => "a boolean".into(),
            Self::Integer(_) => "an integer".into(),
            Self::String(_) | Self::Secret(_) => "a string".into(),
            Self::Table(_) => "a table".into(),
        }
    }

    /// The value as TOML; a secret is in it only if `expose` says so.
    pub(super) fn to_toml(&self, expose: bool) -> toml_edit::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::String(value) => value.as_str().into(),
            Self::Secret(value) if expose => value.expose().into(),
            Self::Secret(_) => MASK.into(),
            Self::Table(table) => {
                let pairs = table
                    .iter()
                    .map(|(key, value)| (key, value.to_toml(expose)));
                pairs.collect::<toml_edit::InlineTable>().into()
            }
        }
    }
}

/// As TOML on one line, secrets masked.
impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_toml(false))
    }
}

impl From<bool> for ConfigValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for ConfigValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for ConfigValue {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for ConfigValue {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<&str> for ConfigValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_string())
    }
}

impl From<String> for ConfigValue {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

/// As text that parses to exactly this size.
impl From<ByteSize> for ConfigValue {
    fn from(value: ByteSize) -> Self {
        Self::String(value.to_exact())
    }
}

/// As text that parses to exactly this span.
impl From<TimeSpan> for ConfigValue {
    fn from(value: TimeSpan) -> Self {
        Self::String(value.to_string())
    }
}

impl From<Secret> for ConfigValue {
    fn from(value: Secret) -> Self {
        Self::Secret(value)
    }
}
