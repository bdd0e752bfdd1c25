//! What can be wrong with a configuration.

use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::schema;
use crate::error::{Explain, FileError};

/// A configuration that cannot be used, or a file of one that cannot be read or written.
///
/// ```
/// use ipfs_accelerate::Config;
///
/// let mut config = Config::default();
/// let error = config.set("cache", "max_siz_mb", 200).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "set by the program: unknown key `max_siz_mb` in [cache]; did you mean `max_size_mb`?"
/// );
/// assert_eq!(error.key().as_deref(), Some("cache.max_siz_mb"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no TOML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line of the fault, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
        /// What the parser says. The line itself is not shown: it may hold a secret.
        message: String,
    },
    /// The file is much larger than a configuration is.
    #[error("{} is larger than {limit} bytes, which no configuration is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A section that does not exist.
    #[error("{at}: unknown section [{section}]{}", did_you_mean(nearest.as_deref()))]
    UnknownSection {
        /// Where it was given.
        at: Origin,
        /// Its name.
        section: String,
        /// A known one like it.
        nearest: Option<String>,
    },
    /// A key that does not exist.
    #[error("{at}: unknown key `{key}`{}{}", in_section(section), did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// Where it was given.
        at: Origin,
        /// The section it was given in; empty before the first one.
        section: String,
        /// Its name.
        key: String,
        /// A known one like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type or outside what is allowed.
    #[error("{at}: `{key}` must be {expected}, found {found}")]
    WrongValue {
        /// Where it was given.
        at: Origin,
        /// Section and key.
        key: String,
        /// What the key takes.
        expected: &'static str,
        /// What was given, without the text of secrets.
        found: String,
    },
    /// `[store] path` and its other name `[cache] path` disagree.
    #[error(
        "the store has two paths: `store.path` is {} ({store_at}), `cache.path` is {} ({cache_at})",
        store.display(), cache.display()
    )]
    PathConflict {
        /// The value of `[store] path`.
        store: PathBuf,
        /// Where that was given.
        store_at: Origin,
        /// The value of `[cache] path`.
        cache: PathBuf,
        /// Where that was given.
        cache_at: Origin,
    },
    /// Somebody else wrote the file after it was loaded.
    #[error("{} has changed since it was loaded", path.display())]
    ChangedOnDisk {
        /// The file.
        path: PathBuf,
    },
    /// `save` was given no path, and the configuration came from no file.
    #[error("there is no file to save the configuration to")]
    NoFile,
    /// Nothing names the folder of the store, and its default place needs a home folder.
    #[error(
        "no place for the store: it is not configured, and neither XDG_DATA_HOME nor HOME is set"
    )]
    NoStorePath,
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

fn in_section(section: &str) -> String {
    if section.is_empty() {
        " outside of any section".into()
    } else {
        format!(" in [{section}]")
    }
}

impl ConfigError {
    /// Where the fault is, if it is at one place.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::UnknownSection { at, .. }
            | Self::UnknownKey { at, .. }
            | Self::WrongValue { at, .. } => Some(at),
            Self::PathConflict { cache_at, .. } => Some(cache_at),
            _ => None,
        }
    }

    /// The file that is at fault, if one is.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(error) => Some(&error.path),
            Self::Syntax { path, .. }
            | Self::TooLarge { path, .. }
            | Self::ChangedOnDisk { path } => Some(path),
            _ => match self.origin()? {
                Origin::File { path, .. } => Some(path),
                _ => None,
            },
        }
    }

    /// The line of the file that is at fault, from 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Syntax { line, .. } => Some(*line),
            _ => match self.origin()? {
                Origin::File { line, .. } => Some(*line),
                _ => None,
            },
        }
    }

    /// Section and key that are at fault, with a dot between them.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::UnknownSection { section, .. } => Some(section.clone()),
            Self::UnknownKey { section, key, .. } => Some(schema::dotted(section, key)),
            Self::WrongValue { key, .. } => Some(key.clone()),
            Self::PathConflict { .. } => Some("cache.path".into()),
            _ => None,
        }
    }
}

impl Explain for ConfigError {
    fn kind(&self) -> &'static str {
        match self {
            Self::File(error) => error.kind(),
            Self::Syntax { .. } => "config_syntax",
            Self::TooLarge { .. } => "config_too_large",
            Self::UnknownSection { .. } => "config_unknown_section",
            Self::UnknownKey { .. } => "config_unknown_key",
            Self::WrongValue { .. } => "config_wrong_value",
            Self::PathConflict { .. } => "config_path_conflict",
            Self::ChangedOnDisk { .. } => "config_changed_on_disk",
            Self::NoFile => "config_no_file",
            Self::NoStorePath => "config_no_store_path",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::UnknownSection { .. } => {
                Some(format!("the sections are {}", schema::SECTIONS.join(", ")))
            }
            Self::UnknownKey { section, .. } => {
                let keys = schema::keys_of(section);
                (!keys.is_empty())
                    .then(|| format!("the keys of [{section}] are {}", keys.join(", ")))
            }
            Self::PathConflict { .. } => {
                Some("`[cache] path` is the old name of `[store] path`: remove one of them".into())
            }
            Self::ChangedOnDisk { .. } => Some("load it again, then make the change again".into()),
            Self::NoFile => Some("name a file".into()),
            Self::NoStorePath => Some("pass --store, or set IPFS_ACCELERATE_STORE".into()),
            _ => None,
        }
    }
}
