//! The sections of the configuration, a field for each key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::byte_size::ByteSize;
use super::log_level::LogLevel;
use super::secret::Secret;
use super::time_span::TimeSpan;

/// `[general]`: what is logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GeneralConfig {
    /// Log at `DEBUG` at least, whatever `log_level` says.
    pub debug: bool,
    /// How much is logged.
    pub log_level: LogLevel,
}

impl GeneralConfig {
    /// The level that `debug` and `log_level` make together.
    pub fn level(&self) -> LogLevel {
        if self.debug {
            self.log_level.min(LogLevel::Debug)
        } else {
            self.log_level
        }
    }
}

/// `[store]`: where the store is, how files are cut and hashed, and how it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder of the store; [`Config::store_path`](super::Config::store_path) says which one
    /// is used, also when this is not set.
    pub path: Option<PathBuf>,
    /// The name of the UnixFS profile.
    pub profile: String,
    /// The most that the packs may take on disk; unbounded if not set.
    pub max_size: Option<ByteSize>,
    /// How long what nobody has pinned stays when it is collected.
    pub grace: TimeSpan,
    /// How long a second writer waits for the first one.
    pub lock_timeout: TimeSpan,
    /// Whether nobody removes content below the overlay file system that the store is seen through.
    pub nobody_collects: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: None,
            profile: "unixfs-v1-2025".into(),
            max_size: None,
            grace: TimeSpan::new(std::time::Duration::from_secs(24 * 3_600)),
            lock_timeout: TimeSpan::ZERO,
            nobody_collects: false,
        }
    }
}

/// `[cache]`: the memory tier in front of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Whether blocks, DAG nodes and layouts are kept in memory.
    pub enabled: bool,
    /// The most that is kept, in megabytes (10^6 bytes).
    pub max_size_mb: u64,
    /// The seed's name for `[store] path`.
    pub path: Option<PathBuf>,
}

impl CacheConfig {
    /// The budget of the memory tier: nothing if it is not enabled.
    ///
    /// ```
    /// use ipfs_accelerate::{ByteSize, Config};
    ///
    /// assert_eq!(Config::default().cache.budget(), ByteSize::new(500_000_000));
    /// ```
    pub fn budget(&self) -> ByteSize {
        let bytes = self.max_size_mb.saturating_mul(1_000_000);
        ByteSize::new(if self.enabled { bytes } else { 0 })
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_size_mb: 500,
            path: None,
        }
    }
}

/// `[endpoints]`: the nodes and gateways content may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointsConfig {
    /// The name of the one to use when none is named.
    pub default: String,
    /// `[endpoints.NAME]`, by name. `local` is always there.
    pub named: BTreeMap<String, Endpoint>,
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        let local = Endpoint {
            port: Some(8000),
            ..Endpoint::default()
        };
        Self {
            default: "local".into(),
            named: BTreeMap::from([("local".into(), local)]),
        }
    }
}

/// `[endpoints.NAME]`: one node or gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its host name or address.
    pub host: String,
    /// Its port, where that is not the one of the protocol.
    pub port: Option<u16>,
    /// The URL that paths of content are put behind.
    pub gateway: Option<String>,
    /// What it asks of its users.
    pub api_key: Option<Secret>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: None,
            gateway: None,
            api_key: None,
        }
    }
}

/// `[docker]`: containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// Whether containers may be started.
    pub enable: bool,
    /// How long to wait for the container daemon, in seconds.
    pub timeout: u64,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            enable: false,
            timeout: 60,
        }
    }
}

/// `[checkpoint]`: how tensors are spread over devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointConfig {
    /// How a device is found for each tensor.
    pub device_map: DeviceMapSetting,
    /// How many threads load; 0 means one for each core.
    pub threads: usize,
    /// The most that each device may hold, by the device's name.
    pub max_memory: BTreeMap<String, ByteSize>,
}

/// `[checkpoint] device_map`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceMapSetting {
    /// Spread over the devices as their memory allows.
    #[default]
    Auto,
    /// Fill one device after the other.
    Sequential,
    /// A JSON file that maps modules to devices.
    File(PathBuf),
}
