//! How the type of a key reads and writes values.

use std::path::{Path, PathBuf};

use super::byte_size::ByteSize;
use super::log_level::LogLevel;
use super::paths::Base;
use super::secret::{MASK, Secret};
use super::sections::DeviceMapSetting;
use super::time_span::TimeSpan;
use super::value::ConfigValue;

/// What a path takes, for messages.
pub(super) const PATH: &str = "a path, in which only `~/` stands for the folder HOME names";

/// What the text of a variable or a flag is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Integer,
    Text,
}

impl Shape {
    /// The text as a value; text that does not fit stays text, which the key then refuses.
    pub(super) fn value(self, text: &str) -> ConfigValue {
        let parsed = match self {
            Self::Bool => match text {
                "true" | "1" => Some(ConfigValue::Bool(true)),
                "false" | "0" => Some(ConfigValue::Bool(false)),
                _ => None,
            },
            Self::Integer => text.parse().ok().map(ConfigValue::Integer),
            Self::Text => None,
        };
        parsed.unwrap_or_else(|| text.into())
    }
}

/// A type that a key can have.
pub(super) trait Setting: Sized {
    const SHAPE: Shape = Shape::Text;
    /// Completes "must be …".
    const EXPECTED: &'static str;
    /// Whether the value stays out of messages.
    const SECRET: bool = false;

    /// None if the value is not one of this type.
    fn read(value: &ConfigValue, base: &Base<'_>) -> Option<Self>;
    /// None if it is not set.
    fn write(&self) -> Option<ConfigValue>;
}

impl Setting for bool {
    const SHAPE: Shape = Shape::Bool;
    const EXPECTED: &'static str = "true or false";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> Option<ConfigValue> {
        Some((*self).into())
    }
}

/// TOML's integers end at 2^63 − 1, and so does what can be configured.
fn integer(value: impl TryInto<i64>) -> Option<ConfigValue> {
    Some(ConfigValue::Integer(value.try_into().unwrap_or(i64::MAX)))
}

impl Setting for u64 {
    const SHAPE: Shape = Shape::Integer;
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn write(&self) -> Option<ConfigValue> {
        integer(*self)
    }
}

impl Setting for usize {
    const SHAPE: Shape = Shape::Integer;
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn write(&self) -> Option<ConfigValue> {
        integer(*self)
    }
}

/// A port.
impl Setting for Option<u16> {
    const SHAPE: Shape = Shape::Integer;
    const EXPECTED: &'static str = "a port, 1 to 65535";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        let port: u16 = value.as_integer()?.try_into().ok()?;
        (port != 0).then_some(Some(port))
    }

    fn write(&self) -> Option<ConfigValue> {
        self.map(|port| ConfigValue::Integer(port.into()))
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a string that is not empty";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_string)
    }

    fn write(&self) -> Option<ConfigValue> {
        Some(self.as_str().into())
    }
}

impl Setting for Option<String> {
    const EXPECTED: &'static str = String::EXPECTED;

    fn read(value: &ConfigValue, base: &Base<'_>) -> Option<Self> {
        String::read(value, base).map(Some)
    }

    fn write(&self) -> Option<ConfigValue> {
        self.as_deref().map(ConfigValue::from)
    }
}

impl Setting for Option<Secret> {
    const EXPECTED: &'static str = "the key itself, as a string: not empty, and not its mask";
    const SECRET: bool = true;

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        let secret = match value {
            ConfigValue::String(text) => Secret::new(text.as_str()),
            ConfigValue::Secret(secret) => secret.clone(),
            _ => return None,
        };
        // The mask gets into a file when the output of `config show` is made one.
        (!secret.expose().is_empty() && secret.expose() != MASK).then_some(Some(secret))
    }

    fn write(&self) -> Option<ConfigValue> {
        self.clone().map(ConfigValue::Secret)
    }
}

fn path_text(path: &Path) -> ConfigValue {
    ConfigValue::String(path.to_string_lossy().into_owned())
}

impl Setting for Option<PathBuf> {
    const EXPECTED: &'static str = PATH;

    fn read(value: &ConfigValue, base: &Base<'_>) -> Option<Self> {
        base.resolve(Path::new(value.as_str()?)).map(Some)
    }

    fn write(&self) -> Option<ConfigValue> {
        self.as_deref().map(path_text)
    }
}

impl Setting for LogLevel {
    const EXPECTED: &'static str = "one of TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        Self::from_name(value.as_str()?)
    }

    fn write(&self) -> Option<ConfigValue> {
        Some(self.name().into())
    }
}

impl Setting for DeviceMapSetting {
    const EXPECTED: &'static str = "\"auto\", \"sequential\" or the path of a .json file";

    fn read(value: &ConfigValue, base: &Base<'_>) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "sequential" => Some(Self::Sequential),
            // The ending tells a path from a misspelt name.
            path if path.ends_with(".json") => base.resolve(Path::new(path)).map(Self::File),
            _ => None,
        }
    }

    fn write(&self) -> Option<ConfigValue> {
        Some(match self {
            Self::Auto => "auto".into(),
            Self::Sequential => "sequential".into(),
            Self::File(path) => path_text(path),
        })
    }
}

impl Setting for ByteSize {
    const EXPECTED: &'static str =
        "a byte size such as \"16GiB\" or \"16GB\", or a number of bytes";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        match value {
            ConfigValue::Integer(bytes) => u64::try_from(*bytes).ok().map(Self::new),
            ConfigValue::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn write(&self) -> Option<ConfigValue> {
        Some((*self).into())
    }
}

impl Setting for Option<ByteSize> {
    const EXPECTED: &'static str = ByteSize::EXPECTED;

    fn read(value: &ConfigValue, base: &Base<'_>) -> Option<Self> {
        ByteSize::read(value, base).map(Some)
    }

    fn write(&self) -> Option<ConfigValue> {
        (*self)?.write()
    }
}

impl Setting for TimeSpan {
    const EXPECTED: &'static str = "a length of time such as \"30s\", \"5m\" or \"24h\"";

    fn read(value: &ConfigValue, _: &Base<'_>) -> Option<Self> {
        match value {
            // Of any other number it could not be told what it counts.
            ConfigValue::Integer(0) => Some(Self::ZERO),
            ConfigValue::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn write(&self) -> Option<ConfigValue> {
        Some((*self).into())
    }
}
