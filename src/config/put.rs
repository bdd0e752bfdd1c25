//! One key given a value, by whatever layer.

use super::Config;
use super::byte_size::ByteSize;
use super::error::ConfigError;
use super::origin::Origin;
use super::paths::Base;
use super::schema::{self, ENDPOINT_KEYS, KEYS, MAX_MEMORY, dotted};
use super::setting::{Setting, Shape};
use super::value::ConfigValue;

/// What a layer gives.
pub(super) enum Given {
    Value(ConfigValue),
    /// To be read as the type of the key.
    Text(String),
    /// What no key takes, in words.
    Other(&'static str),
    /// The header of a section.
    Section,
}

/// A key that a layer gives.
pub(super) struct Put {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: Given,
    pub(super) at: Origin,
}

impl Put {
    fn wrong(&self, expected: &'static str, secret: bool) -> ConfigError {
        let found = match &self.value {
            Given::Value(value) => value.describe(secret),
            Given::Text(text) => ConfigValue::from(text.as_str()).describe(secret),
            Given::Other(kind) => (*kind).to_string(),
            Given::Section => "a table".to_string(),
        };
        let key = dotted(&self.section, &self.key);
        ConfigError::WrongValue {
            at: self.at.clone(),
            key,
            expected,
            found,
        }
    }

    fn unknown_section(&self) -> ConfigError {
        let nearest = schema::nearest_section(&self.section).map(|near| format!("[{near}]"));
        ConfigError::UnknownSection {
            at: self.at.clone(),
            section: self.section.clone(),
            nearest,
        }
    }

    fn unknown_key(&self) -> ConfigError {
        let nearest =
            schema::nearest_key(&self.section, &self.key).map(|(section, key)| match &self.at {
                Origin::Environment { .. } => {
                    format!("`{}`", super::layers::variable(&section, key))
                }
                _ if section == self.section => format!("`{key}`"),
                _ => format!("`{key}` in [{section}]"),
            });
        // Before the first section, `[[cachee]]` too is a key.
        let section = || schema::nearest_section(&self.key).map(|near| format!("[{near}]"));
        let nearest = nearest.or_else(|| section().filter(|_| self.section.is_empty()));
        ConfigError::UnknownKey {
            at: self.at.clone(),
            section: self.section.clone(),
            key: self.key.clone(),
            nearest,
        }
    }

    /// The value for a key of that shape; none if no key takes it.
    fn value(&self, shape: Shape) -> Option<ConfigValue> {
        match &self.value {
            Given::Value(value) => Some(value.clone()),
            Given::Text(text) => Some(shape.value(text)),
            Given::Other(_) | Given::Section => None,
        }
    }
}

const SECTION: &str = "a section";
const ENDPOINT: &str = "a section with host, port, gateway or api_key";
const DEVICES: &str = "a section with a byte size for each device";

impl Config {
    /// Gives a key its value, or says what is wrong and changes nothing.
    pub(super) fn put(&mut self, put: &Put, base: &Base<'_>) -> Result<(), ConfigError> {
        let (section, key) = (put.section.as_str(), put.key.as_str());
        if let Given::Section = put.value {
            return self.open_section(put);
        }
        if section.is_empty() {
            // A value where a section belongs.
            return Err(if schema::SECTIONS.contains(&key) {
                put.wrong(SECTION, true)
            } else {
                put.unknown_key()
            });
        }
        if let Some(known) = KEYS
            .iter()
            .find(|known| (known.section, known.name) == (section, key))
        {
            let value = put.value(known.shape);
            let done = value.and_then(|value| (known.put)(self, &value, base));
            done.ok_or_else(|| put.wrong(known.expected, known.secret))?;
        } else if let Some(name) = schema::endpoint_name(section) {
            let Some(known) = ENDPOINT_KEYS.iter().find(|known| known.name == key) else {
                return Err(put.unknown_key());
            };
            let mut endpoint = self.endpoints.named.get(name).cloned().unwrap_or_default();
            let value = put.value(known.shape);
            let done = value.and_then(|value| (known.put)(&mut endpoint, &value, base));
            done.ok_or_else(|| put.wrong(known.expected, known.secret))?;
            self.endpoints.named.insert(name.to_string(), endpoint);
        } else if section == MAX_MEMORY && !key.is_empty() {
            let value = put.value(ByteSize::SHAPE);
            let size = value.and_then(|value| ByteSize::read(&value, base));
            let size = size.ok_or_else(|| put.wrong(ByteSize::EXPECTED, false))?;
            self.checkpoint.max_memory.insert(key.to_string(), size);
        } else if !schema::is_section(section) {
            return Err(put.unknown_section());
        } else if dotted(section, key) == MAX_MEMORY {
            return Err(put.wrong(DEVICES, false));
        } else if section == "endpoints" && schema::nearest_key(section, key).is_none() {
            // Not shown: it may be a key of an endpoint, in the wrong place.
            return Err(put.wrong(ENDPOINT, true));
        } else {
            return Err(put.unknown_key());
        }
        self.record(section, key, put.at.clone());
        Ok(())
    }

    fn open_section(&mut self, put: &Put) -> Result<(), ConfigError> {
        if !schema::is_section(&put.section) {
            return Err(put.unknown_section());
        }
        if let Some(name) = schema::endpoint_name(&put.section) {
            self.endpoints.named.entry(name.to_string()).or_default();
        }
        Ok(())
    }
}
