//! A content store for model checkpoints, and the loader that maps their tensors straight out of it.

mod block;
mod config;
mod dag;
pub mod error;
mod fsio;
mod store;

pub use block::*;
pub use config::{
    ByteSize, ByteSizeError, CacheConfig, CheckpointConfig, Config, ConfigEntry, ConfigError,
    ConfigValue, DeviceMapSetting, DockerConfig, Endpoint, EndpointsConfig, GeneralConfig,
    LogLevel, Origin, Secret, StoreConfig,
};
pub use dag::*;
pub use error::{Explain, FileError};
pub use fsio::{IoTally, io_tally};
pub use store::*;
