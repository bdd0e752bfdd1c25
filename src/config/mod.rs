//! The configuration: typed sections, the seed's access by name, and the file behind it.
//!
//! `schema` lists the keys; `document` turns a file into (section, key, value, line), `layers`
//! does so for the environment and flags, and `put` is the one way in which either reaches a
//! field. `save` edits the text of the file, so that comments stay.

mod byte_size;
mod document;
mod error;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod layers;
mod log_level;
mod nearest;
mod origin;
mod paths;
mod put;
mod save;
mod schema;
mod secret;
mod sections;
mod setting;
mod show;
mod time_span;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use byte_size::{ByteSize, ByteSizeError};
pub(crate) use document::position;
pub use error::ConfigError;
pub use log_level::LogLevel;
pub(crate) use nearest::nearest;
pub use origin::Origin;
pub(crate) use paths::Base;
pub use secret::Secret;
pub use sections::{
    CacheConfig, CheckpointConfig, DeviceMapSetting, DockerConfig, Endpoint, EndpointsConfig,
    GeneralConfig, StoreConfig,
};
pub use show::ConfigEntry;
pub use time_span::{TimeSpan, TimeSpanError};
pub use value::ConfigValue;

use put::{Given, Put};
use schema::{ENDPOINT_KEYS, KEYS, MAX_MEMORY};

/// Section and key.
type Name = (String, String);

/// The configuration, from `config.toml`, the environment and flags.
///
/// The sections are typed fields; [`get`](Config::get) and [`set`](Config::set) reach the same
/// values by name. Two configurations are equal if all their values are, wherever these come from.
/// `Debug` shows no secrets.
///
/// Paths are ready for use: `~/` is replaced, and what stands relative in a file is relative to
/// the folder of that file.
///
/// ```
/// use ipfs_accelerate::Config;
///
/// let mut config = Config::default();
/// assert_eq!(config.cache.max_size_mb, 500);
/// config.set("cache", "max_size_mb", 200)?;
/// assert_eq!(config.cache.max_size_mb, 200);
/// # Ok::<(), ipfs_accelerate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Config {
    /// What is logged.
    pub general: GeneralConfig,
    /// Where the store is.
    pub store: StoreConfig,
    /// The memory tier in front of it.
    pub cache: CacheConfig,
    /// The nodes and gateways content may come from.
    pub endpoints: EndpointsConfig,
    /// Containers.
    pub docker: DockerConfig,
    /// How tensors are spread over devices.
    pub checkpoint: CheckpointConfig,
    source: Source,
}

/// Where a configuration comes from.
#[derive(Clone, Default)]
struct Source {
    /// The file, whether it exists or not.
    path: Option<PathBuf>,
    /// What was in it; none if it does not exist.
    text: Option<String>,
    /// What `~` stands for.
    home: Option<PathBuf>,
    /// The keys that are not from the defaults. [`Origin::Default`] stands for a key that was
    /// unset, which has to leave the file.
    origins: BTreeMap<Name, Origin>,
    /// The values as the layers gave them: what differs was changed by the program.
    settled: BTreeMap<Name, ConfigValue>,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            general: GeneralConfig::default(),
            store: StoreConfig::default(),
            cache: CacheConfig::default(),
            endpoints: EndpointsConfig::default(),
            docker: DockerConfig::default(),
            checkpoint: CheckpointConfig::default(),
            source: Source {
                home: std::env::var_os("HOME").map(PathBuf::from),
                ..Source::default()
            },
        };
        config.settle();
        config
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.general == other.general
            && self.store == other.store
            && self.cache == other.cache
            && self.endpoints == other.endpoints
            && self.docker == other.docker
            && self.checkpoint == other.checkpoint
    }
}

impl Eq for Config {}

/// The sections and the path of the file; not its text, which may hold secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("general", &self.general)
            .field("store", &self.store)
            .field("cache", &self.cache)
            .field("endpoints", &self.endpoints)
            .field("docker", &self.docker)
            .field("checkpoint", &self.checkpoint)
            .field("config_path", &self.source.path)
            .field("loaded", &self.loaded())
            .finish()
    }
}

impl Config {
    /// The file this was loaded from or would have been, had it existed.
    pub fn config_path(&self) -> Option<&Path> {
        self.source.path.as_deref()
    }

    /// Whether that file was there.
    pub fn loaded(&self) -> bool {
        self.source.text.is_some()
    }

    /// All values that are set, as tables by section; the seed's `config_data`.
    pub fn config_data(&self) -> BTreeMap<String, ConfigValue> {
        let mut data = BTreeMap::new();
        for ((section, key), value) in self.values() {
            let (outer, inner) = section.split_once('.').unwrap_or((&section, ""));
            let mut table = subtable(&mut data, outer);
            if let Some(outer) = table.take_if(|_| !inner.is_empty()) {
                table = subtable(outer, inner);
            }
            if let Some(table) = table {
                table.insert(key, value);
            }
        }
        data
    }

    /// The value of a key; none if the key is unknown or not set. Sections within sections are
    /// written with a dot, and a section can itself be asked for.
    ///
    /// ```
    /// use ipfs_accelerate::{Config, ConfigValue};
    ///
    /// let config = Config::default();
    /// assert_eq!(config.get("endpoints.local", "port"), Some(ConfigValue::Integer(8000)));
    /// assert!(config.get("endpoints", "local").is_some_and(|local| local.as_table().is_some()));
    /// assert_eq!(config.get("store", "path"), None);
    /// ```
    pub fn get(&self, section: &str, key: &str) -> Option<ConfigValue> {
        let data = ConfigValue::Table(self.config_data());
        let (outer, inner) = section.split_once('.').unwrap_or((section, ""));
        let names = [outer, inner, key]
            .into_iter()
            .filter(|name| !name.is_empty());
        names
            .into_iter()
            .try_fold(data, |value, name| value.as_table()?.get(name).cloned())
    }

    /// The value of a key, or `default` where [`get`](Config::get) finds none.
    ///
    /// ```
    /// use ipfs_accelerate::{Config, ConfigValue};
    ///
    /// let config = Config::default();
    /// assert_eq!(config.get_or("store", "path", "/data"), ConfigValue::from("/data"));
    /// ```
    pub fn get_or(&self, section: &str, key: &str, default: impl Into<ConfigValue>) -> ConfigValue {
        self.get(section, key).unwrap_or_else(|| default.into())
    }

    /// Sets a key, checked as when it is loaded; after an error nothing is changed.
    ///
    /// A new name in `endpoints.NAME` makes an endpoint, one in `checkpoint.max_memory` a limit.
    /// To set one of the two paths of the store while the other says something else is an error;
    /// [`unset`](Config::unset) that first.
    ///
    /// # Errors
    /// An unknown section or key, a wrong value, or two paths of the store.
    pub fn set(
        &mut self,
        section: &str,
        key: &str,
        value: impl Into<ConfigValue>,
    ) -> Result<(), ConfigError> {
        self.change(section, key, Given::Value(value.into()))
    }

    /// Sets a key from text, which is read as the type of the key: what a command line needs.
    ///
    /// # Errors
    /// As [`set`](Config::set).
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    ///
    /// let mut config = Config::default();
    /// config.set_text("cache", "enabled", "false")?;
    /// assert!(!config.cache.enabled);
    /// # Ok::<(), ipfs_accelerate::ConfigError>(())
    /// ```
    pub fn set_text(&mut self, section: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        self.change(section, key, Given::Text(text.to_string()))
    }

    fn change(&mut self, section: &str, key: &str, value: Given) -> Result<(), ConfigError> {
        let mut next = self.clone();
        let base = Base {
            folder: None,
            home: self.source.home.as_deref(),
        };
        let (section, key) = (section.to_string(), key.to_string());
        next.put(
            &Put {
                section,
                key,
                value,
                at: Origin::Set,
            },
            &base,
        )?;
        next.check_paths()?;
        *self = next;
        Ok(())
    }

    /// Takes a key back to its default; [`save`](Config::save) takes it out of the file.
    ///
    /// # Errors
    /// An unknown section or key.
    pub fn unset(&mut self, section: &str, key: &str) -> Result<(), ConfigError> {
        let defaults = Self::default();
        if let Some(known) = KEYS
            .iter()
            .find(|known| (known.section, known.name) == (section, key))
        {
            (known.copy)(self, &defaults);
        } else if let (Some(name), Some(known)) = (
            schema::endpoint_name(section),
            ENDPOINT_KEYS.iter().find(|known| known.name == key),
        ) {
            let default = defaults
                .endpoints
                .named
                .get(name)
                .cloned()
                .unwrap_or_default();
            if let Some(endpoint) = self.endpoints.named.get_mut(name) {
                (known.copy)(endpoint, &default);
            }
        } else if section == MAX_MEMORY {
            self.checkpoint.max_memory.remove(key);
        } else {
            // No key takes nothing, so this names what is wrong with the key.
            return self.clone().change(section, key, Given::Other("nothing"));
        }
        let name = name(section, key);
        match self.value(section, key) {
            Some(value) => self.source.settled.insert(name, value),
            None => self.source.settled.remove(&name),
        };
        self.record(section, key, Origin::Default);
        Ok(())
    }

    /// Where the value of a key comes from; none if there is no such key.
    ///
    /// ```
    /// use ipfs_accelerate::{Config, Origin};
    ///
    /// let mut config = Config::default();
    /// assert_eq!(config.origin("cache", "max_size_mb"), Some(Origin::Default));
    /// config.cache.max_size_mb = 200;
    /// assert_eq!(config.origin("cache", "max_size_mb"), Some(Origin::Set));
    /// ```
    pub fn origin(&self, section: &str, key: &str) -> Option<Origin> {
        let known = match schema::endpoint_name(section) {
            Some(name) => {
                self.endpoints.named.contains_key(name)
                    && ENDPOINT_KEYS.iter().any(|known| known.name == key)
            }
            None if section == MAX_MEMORY => self.checkpoint.max_memory.contains_key(key),
            None => KEYS
                .iter()
                .any(|known| (known.section, known.name) == (section, key)),
        };
        known.then(|| self.origin_of(section, key))
    }

    /// The origin of what may be no key at all: a field can hold a name that is none.
    fn origin_of(&self, section: &str, key: &str) -> Origin {
        let name = name(section, key);
        if self.value(section, key).as_ref() != self.source.settled.get(&name) {
            return Origin::Set;
        }
        let recorded = self.source.origins.get(&name);
        recorded.cloned().unwrap_or(Origin::Default)
    }

    /// The keys that are set and their values, in the order of the shipped file.
    fn values(&self) -> Vec<(Name, ConfigValue)> {
        let mut values = Vec::new();
        for section in schema::SECTIONS {
            for known in KEYS.iter().filter(|known| known.section == *section) {
                values.extend((known.get)(self).map(|value| (name(section, known.name), value)));
            }
            if *section == "endpoints" {
                for (endpoint, known) in
                    self.endpoints.named.iter().flat_map(|endpoint| {
                        ENDPOINT_KEYS.iter().map(move |known| (endpoint, known))
                    })
                {
                    let section = format!("endpoints.{}", endpoint.0);
                    let value = (known.get)(endpoint.1);
                    values.extend(value.map(|value| (name(&section, known.name), value)));
                }
            }
            if *section == "checkpoint" {
                for (device, size) in &self.checkpoint.max_memory {
                    let value = setting::Setting::write(size);
                    values.extend(value.map(|value| (name(MAX_MEMORY, device), value)));
                }
            }
        }
        values
    }

    fn value(&self, section: &str, key: &str) -> Option<ConfigValue> {
        let found = self
            .values()
            .into_iter()
            .find(|((s, k), _)| s == section && k == key);
        found.map(|(_, value)| value)
    }

    /// Takes the values as they are for what the layers gave.
    fn settle(&mut self) {
        self.source.settled = self.values().into_iter().collect();
    }

    fn record(&mut self, section: &str, key: &str, origin: Origin) {
        self.source.origins.insert(name(section, key), origin);
    }

    fn forget(&mut self, section: &str, key: &str) {
        self.source.origins.remove(&name(section, key));
    }
}

fn name(section: &str, key: &str) -> Name {
    (section.to_string(), key.to_string())
}

/// The table of that name, made if need be; none if something else has the name.
fn subtable<'a>(
    table: &'a mut BTreeMap<String, ConfigValue>,
    name: &str,
) -> Option<&'a mut BTreeMap<String, ConfigValue>> {
    let empty = || ConfigValue::Table(BTreeMap::new());
    match table.entry(name.to_string()).or_insert_with(empty) {
        ConfigValue::Table(table) => Some(table),
        _ => None,
    }
}
