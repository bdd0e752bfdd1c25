//! A file as a list of keys, each with its line.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::origin::Origin;
use super::put::{Given, Put};
use super::schema;
use super::value::ConfigValue;
use crate::error::FileError;

/// The largest file that is read; the shipped one has a few KiB.
const LIMIT_BYTES: u64 = 1 << 20;

/// The text of the file; none if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(FileError::at("open", path))?,
    };
    let mut bytes = Vec::new();
    let limited = file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes);
    limited.map_err(FileError::at("read", path))?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.into(),
            limit: LIMIT_BYTES,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            Err(syntax(
                path,
                &before,
                before.len(),
                "this byte is not UTF-8",
            ))
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// Line and character of a byte of a text, from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = 1 + before[start..].chars().count();
    (line_of(text, offset), column)
}

pub(super) fn syntax(path: &Path, text: &str, offset: usize, message: &str) -> ConfigError {
    let (line, column) = position(text, offset);
    ConfigError::Syntax {
        path: path.into(),
        line,
        column,
        message: message.to_string(),
    }
}

/// The keys of the file in the order in which they stand there.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Put>, ConfigError> {
    let root = DeTable::parse(text).map_err(|error| {
        syntax(
            path,
            text,
            error.span().map_or(0, |span| span.start),
            error.message(),
        )
    })?;
    let mut keys = Keys {
        path,
        text,
        puts: Vec::new(),
    };
    keys.table("", root.get_ref());
    keys.puts.sort_by_key(|(offset, _)| *offset);
    Ok(keys.puts.into_iter().map(|(_, put)| put).collect())
}

struct Keys<'a> {
    path: &'a Path,
    text: &'a str,
    /// With the place of each in the text.
    puts: Vec<(usize, Put)>,
}

impl Keys<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let inner = schema::dotted(section, key.get_ref());
            // A dot inside a quoted name makes no section of it.
            let opens = (section.is_empty() && !key.get_ref().contains('.'))
                || (section == "endpoints" && key.get_ref() != "default")
                || (section == "checkpoint" && inner == schema::MAX_MEMORY);
            match value.get_ref() {
                DeValue::Table(table) if opens => {
                    self.push(key.span().start, &inner, "", Given::Section);
                    if schema::is_section(&inner) {
                        self.table(&inner, table);
                    }
                }
                value => self.push(key.span().start, section, key.get_ref(), given(value)),
            }
        }
    }

    fn push(&mut self, offset: usize, section: &str, key: &str, value: Given) {
        let at = Origin::File {
            path: self.path.into(),
            line: line_of(self.text, offset),
        };
        let (section, key) = (section.to_string(), key.to_string());
        self.puts.push((
            offset,
            Put {
                section,
                key,
                value,
                at,
            },
        ));
    }
}

fn given(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::Boolean(value) => Given::Value(ConfigValue::Bool(*value)),
        DeValue::String(value) => Given::Value(ConfigValue::String(value.to_string())),
        DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => Given::Value(ConfigValue::Integer(value)),
            Err(_) => Given::Other("an integer beyond 64 bits"),
        },
        DeValue::Float(_) => Given::Other("a float"),
        DeValue::Datetime(_) => Given::Other("a date or time"),
        DeValue::Array(_) => Given::Other("an array"),
        DeValue::Table(_) => Given::Other("a table"),
    }
}
