//! What can be wrong with a file of pins.

use std::path::{Path, PathBuf};

use super::document::{ENTRY_KEYS, SECTION};
use crate::block::CidError;
use crate::dag::ProfileError;
use crate::error::{Explain, FileError};

/// A file of pins that cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DesiredPinsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no TOML, or says something twice.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line of the fault, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// There is no `[pins]`, which an empty list would have.
    #[error("{} has no [pins]", path.display())]
    NoPins {
        /// The file.
        path: PathBuf,
    },
    /// A key that does not exist.
    #[error(
        "{}:{line}: unknown key `{key}`{}{}", path.display(), of(pin.as_deref()), did_you_mean(nearest.as_deref())
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin whose table it stands in; none outside of them.
        pin: Option<String>,
        /// The key.
        key: String,
        /// A known one like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{}:{line}: `{key}`{} must be {expected}, found {found}", path.display(), of(pin.as_deref()))]
    WrongValue {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin whose table it stands in; none outside of them.
        pin: Option<String>,
        /// The key.
        key: String,
        /// What it takes.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A name that no pin can have.
    #[error("{}:{line}: {name:?} cannot be the name of a pin: {why}", path.display())]
    BadName {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// What is to be a CID is none.
    #[error("{}:{line}: the CID of pin {pin:?}: {source}", path.display())]
    NotACid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin.
        pin: String,
        /// What is wrong with it.
        source: CidError,
    },
    /// The path cannot be used as it is written.
    #[error("{}:{line}: the path of pin {pin:?}, {given:?}, {why}", path.display())]
    BadPath {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin.
        pin: String,
        /// The path as it is written.
        given: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The profile of an entry does not exist.
    #[error("{}:{line}: the profile of pin {pin:?}: {source}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin.
        pin: String,
        /// What is wrong with it.
        source: ProfileError,
    },
    /// A pattern of an entry is no glob.
    #[error("{}:{line}: {pattern:?} in `ignore` of pin {pin:?} is no pattern: {why}", path.display())]
    Pattern {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin.
        pin: String,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry says neither where its object is nor which it is.
    #[error("{}:{line}: pin {pin:?} has neither `path` nor `cid`", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin.
        pin: String,
    },
    /// An entry says how to add what it does not add.
    #[error("{}:{line}: `{key}` of pin {pin:?} says how to add it, and there is no `path`", path.display())]
    NothingToAdd {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pin.
        pin: String,
        /// The key.
        key: String,
    },
}

fn of(pin: Option<&str>) -> String {
    pin.map(|pin| format!(" of pin {pin:?}"))
        .unwrap_or_default()
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

impl DesiredPinsError {
    /// The file that is at fault.
    pub fn file(&self) -> &Path {
        match self {
            Self::File(e) => &e.path,
            Self::Syntax { path, .. }
            | Self::NoPins { path }
            | Self::UnknownKey { path, .. }
            | Self::WrongValue { path, .. }
            | Self::BadName { path, .. }
            | Self::NotACid { path, .. }
            | Self::BadPath { path, .. }
            | Self::Profile { path, .. }
            | Self::Pattern { path, .. }
            | Self::Nothing { path, .. }
            | Self::NothingToAdd { path, .. } => path,
        }
    }

    /// The line that is at fault, from 1, if one is.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File(_) | Self::NoPins { .. } => None,
            Self::Syntax { line, .. }
            | Self::UnknownKey { line, .. }
            | Self::WrongValue { line, .. }
            | Self::BadName { line, .. }
            | Self::NotACid { line, .. }
            | Self::BadPath { line, .. }
            | Self::Profile { line, .. }
            | Self::Pattern { line, .. }
            | Self::Nothing { line, .. }
            | Self::NothingToAdd { line, .. } => Some(*line),
        }
    }
}

impl Explain for DesiredPinsError {
    fn kind(&self) -> &'static str {
        match self {
            Self::File(e) => e.kind(),
            Self::Syntax { .. } => "pins_syntax",
            Self::NoPins { .. } => "pins_missing",
            Self::UnknownKey { .. } => "pins_unknown_key",
            Self::WrongValue { .. } => "pins_wrong_value",
            Self::BadName { .. } => "bad_name",
            Self::NotACid { source, .. } => source.kind(),
            Self::BadPath { .. } => "pins_bad_path",
            Self::Profile { source, .. } => source.kind(),
            Self::Pattern { .. } => "bad_pattern",
            Self::Nothing { .. } => "pins_nothing",
            Self::NothingToAdd { .. } => "pins_nothing_to_add",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::File(e) => return e.hint(),
            Self::NotACid { .. } => "name a CID whole; a path of that name is written ./NAME",
            Self::Profile { source, .. } => return source.hint(),
            Self::Syntax { .. } => "a name with a dot or a space is quoted: \"llama-3.1\" = …",
            Self::NoPins { .. } => "write [pins] above the list; below it, NAME = \"CID or path\"",
            Self::UnknownKey { pin: None, .. } => {
                return Some(format!("the list of pins stands below [{SECTION}]"));
            }
            // A dot that is not quoted opens a table.
            Self::UnknownKey {
                pin: Some(pin),
                key,
                nearest: None,
                ..
            } => {
                return Some(format!(
                    "a name with a dot is quoted: \"{pin}.{key}\" = …; the keys of a pin are {}",
                    ENTRY_KEYS.join(", ")
                ));
            }
            Self::UnknownKey { .. } => {
                return Some(format!("the keys of a pin are {}", ENTRY_KEYS.join(", ")));
            }
            Self::WrongValue { .. } | Self::Nothing { .. } => {
                "write NAME = \"CID or path\", or NAME = { path = \"…\", cid = \"…\" }"
            }
            Self::BadName { .. } => "choose another name",
            Self::BadPath { .. } => "write it from /, from ~/, or relative to the file",
            Self::Pattern { .. } => "write it as for a shell: *.bin, logs/**",
            Self::NothingToAdd { .. } => "name the path, or leave the key out",
        };
        Some(text.to_owned())
    }
}
