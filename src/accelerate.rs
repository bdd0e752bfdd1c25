//! The names of the Python package that this crate replaces, with results that are true.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::checkpoint::{self, DeviceMap, Dispatched, LoadError, LoadOptions};
use crate::config::{CheckpointConfig, Config, ConfigError, DeviceMapSetting};
use crate::dag::{Profile, ProfileError};
use crate::error::{Explain, FileError};
use crate::store::{
    AddOptions, EntryType, ExportOptions, ObjectStat, ReaderOptions, Store, StoreError,
    StoreOptions, StoreReader, Target,
};

mod system;

pub use system::SystemInfo;

/// Any error of [`IpfsAccelerate`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configured profile is not known.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The checkpoint could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Explain for Error {
    fn kind(&self) -> &'static str {
        match self {
            Self::Config(e) => e.kind(),
            Self::Profile(e) => e.kind(),
            Self::Store(e) => e.kind(),
            Self::Load(e) => e.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) => e.hint(),
            Self::Profile(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Load(e) => e.hint(),
        }
    }
}

/// What [`IpfsAccelerate::add_file`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AddedFile {
    /// `success`; a failure is an `Err`.
    pub status: &'static str,
    /// The CID, as any IPFS node computes it under the configured profile.
    pub cid: String,
    /// The path that was added.
    pub file: PathBuf,
}

/// What [`IpfsAccelerate::get_file`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FetchedFile {
    /// `success`; a failure is an `Err`.
    pub status: &'static str,
    /// The CID.
    pub cid: String,
    /// Where the content was written.
    pub file: PathBuf,
}

/// Where a checkpoint came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LoadedFrom {
    /// The local store.
    Cache,
}

/// What [`IpfsAccelerate::load_checkpoint_and_dispatch`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoadedCheckpoint {
    /// `success`; a failure is an `Err`.
    pub status: &'static str,
    /// Where it came from.
    pub source: LoadedFrom,
    /// What was asked for.
    pub cid: String,
    /// The tensors.
    pub data: Dispatched,
}

/// What [`IpfsAccelerate::get_cid_metadata`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileMetadata {
    /// The CID.
    pub cid: String,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// Blocks of its DAG, each place in it counted.
    pub blocks: u64,
    /// `raw` or `dag-pb`.
    pub codec: &'static str,
    /// The hash function's name.
    pub hash: &'static str,
    /// Whether a pin keeps it.
    pub pinned: bool,
}

impl From<ObjectStat> for FileMetadata {
    fn from(stat: ObjectStat) -> Self {
        Self {
            cid: stat.cid.to_string(),
            kind: stat.kind,
            size: stat.size,
            blocks: stat.blocks,
            codec: stat.codec,
            hash: stat.hash,
            pinned: !stat.pinned_by.is_empty(),
        }
    }
}

/// A store behind the names of the Python package `ipfs_accelerate`.
///
/// Its example of basic usage reads the same here:
///
/// ```
/// use ipfs_accelerate::{Config, IpfsAccelerate};
/// # let dir = tempfile::tempdir()?;
/// # let example = dir.path().join("example.txt");
/// # std::fs::write(&example, b"hello world")?;
/// let mut config = Config::default();
/// config.set("store", "path", dir.path().join("store").to_str().unwrap())?;
///
/// let ipfs = IpfsAccelerate::open(&config)?;
/// let added = ipfs.add_file(&example)?;
/// assert_eq!(added.status, "success");
/// assert!(ipfs.cid_exists(&added.cid)?);
///
/// let fetched = ipfs.get_file(&added.cid, Some(&dir.path().join("copy.txt")))?;
/// assert_eq!(std::fs::read(fetched.file)?, b"hello world");
/// assert_eq!(ipfs.get_cid_metadata(&added.cid)?.size, 11);
///
/// let model = ipfs.add_file("fixtures/silero-vad".as_ref())?;
/// let loaded = ipfs.load_checkpoint_and_dispatch(&model.cid)?;
/// assert_eq!(loaded.data.len(), 15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It reads as a [`StoreReader`] does, so that any number of processes may use one store; the first
/// [`add_file`](IpfsAccelerate::add_file) opens it for writing, which one process at a time can.
#[derive(Clone, Debug)]
pub struct IpfsAccelerate {
    reader: StoreReader,
    /// Opened by the first call that writes.
    writer: Arc<Mutex<Option<Store>>>,
    options: StoreOptions,
    profile: Profile,
    checkpoint: CheckpointConfig,
}

impl IpfsAccelerate {
    /// Opens the configured store, making it where the folder is absent or empty. Its place is that of
    /// [`Config::store_path`], environment included.
    ///
    /// # Errors
    /// [`Error::Config`] without a place for the store, [`Error::Profile`] for an unknown profile,
    /// [`Error::Store`] as [`Store::open_or_create`].
    pub fn open(config: &Config) -> Result<Self, Error> {
        let path = config.store_path(None, std::env::vars_os())?;
        let mut options = StoreOptions {
            memory_bytes: config.cache.budget().bytes(),
            ..StoreOptions::default()
        };
        options.profile = config.store.profile.parse()?;
        options.max_bytes = config.store.max_size.map(|size| size.bytes());
        options.grace = config.store.grace.duration();
        options.lock_timeout = config.store.lock_timeout.duration();
        options.nobody_collects = config.store.nobody_collects;
        let reading = ReaderOptions {
            nobody_collects: options.nobody_collects,
            ..ReaderOptions::default()
        };
        let reader = match StoreReader::open_with(&path, &reading) {
            // Made, and given up at once for others to write to.
            Err(StoreError::Absent { .. }) => {
                Store::open_or_create(&path, options.clone())?.to_reader()
            }
            opened => opened?,
        };
        Ok(Self {
            profile: reader.profile().clone(),
            checkpoint: config.checkpoint.clone(),
            writer: Arc::default(),
            options,
            reader,
        })
    }

    /// The store's reader.
    pub fn reader(&self) -> &StoreReader {
        &self.reader
    }

    /// The store, open for writing from now on.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it open for writing, once `[store] lock_timeout` is over.
    pub fn store(&self) -> Result<Store, Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*writer {
            return Ok(store.clone());
        }
        let store = Store::open_with(self.reader.path(), self.options.clone())?;
        Ok(writer.insert(store).clone())
    }

    /// Adds a file or folder, and pins it.
    ///
    /// # Errors
    /// As [`Store::add_path`], and [`StoreError::Locked`] while another process has the store open for
    /// writing.
    pub fn add_file(&self, path: &Path) -> Result<AddedFile, Error> {
        let options = AddOptions::default().with_profile(self.profile.clone());
        let report = self.store()?.add_path(path, &options)?;
        Ok(AddedFile {
            status: "success",
            cid: report.cid.to_string(),
            file: path.to_path_buf(),
        })
    }

    /// Writes a file or folder to `output_path`, or to a new name in the system's folder for temporary
    /// files, which is then the caller's to remove.
    ///
    /// # Errors
    /// As [`Store::export`]; an existing `output_path` is one.
    pub fn get_file(&self, cid: &str, output_path: Option<&Path>) -> Result<FetchedFile, Error> {
        let target: Target = cid.parse().map_err(StoreError::from)?;
        let file = match output_path {
            Some(path) => path.to_path_buf(),
            None => temporary_path()?,
        };
        self.reader
            .export(&target, &file, &ExportOptions::default())?;
        Ok(FetchedFile {
            status: "success",
            cid: cid.to_owned(),
            file,
        })
    }

    /// Whether a file or folder is in the store.
    ///
    /// # Errors
    /// [`StoreError::Target`] for what is no CID, name or path.
    pub fn cid_exists(&self, cid: &str) -> Result<bool, Error> {
        let target: Target = cid.parse().map_err(StoreError::from)?;
        Ok(self.reader.has(&target)?)
    }

    /// Size, blocks, codec, hash function and pins.
    ///
    /// # Errors
    /// As [`StoreReader::stat`].
    pub fn get_cid_metadata(&self, cid: &str) -> Result<FileMetadata, Error> {
        let target: Target = cid.parse().map_err(StoreError::from)?;
        Ok(self.reader.stat(&target)?.into())
    }

    /// Loads a checkpoint to `cpu` and `disk`, with the configured device map and limits. For devices of
    /// one's own, selections and progress there is
    /// [`load_checkpoint_and_dispatch`](crate::load_checkpoint_and_dispatch).
    ///
    /// # Errors
    /// As [`load_checkpoint_and_dispatch`](crate::load_checkpoint_and_dispatch).
    pub fn load_checkpoint_and_dispatch(&self, cid: &str) -> Result<LoadedCheckpoint, Error> {
        let target: Target = cid.parse().map_err(StoreError::from)?;
        let mut options = LoadOptions::default().with_device_map(device_map(&self.checkpoint)?);
        options.threads = self.checkpoint.threads;
        options.max_memory = self
            .checkpoint
            .max_memory
            .iter()
            .map(|(device, limit)| (device.clone(), limit.bytes()))
            .collect();
        let data = checkpoint::load_checkpoint_and_dispatch(&self.reader, &target, options)?;
        let source = LoadedFrom::Cache;
        Ok(LoadedCheckpoint {
            status: "success",
            source,
            cid: cid.to_owned(),
            data,
        })
    }

    /// What machine this is.
    pub fn get_system_info(&self) -> SystemInfo {
        SystemInfo::read()
    }
}

fn device_map(config: &CheckpointConfig) -> Result<DeviceMap, Error> {
    match &config.device_map {
        DeviceMapSetting::Sequential => Ok(DeviceMap::Sequential),
        DeviceMapSetting::File(path) => Ok(DeviceMap::from_file(path)?),
        DeviceMapSetting::Auto => Ok(DeviceMap::Auto),
    }
}

/// A path that is not there yet; the export refuses one that comes to be there meanwhile.
fn temporary_path() -> Result<PathBuf, Error> {
    let mut id = [0_u8; 8];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(|e| {
        StoreError::from(FileError::new(
            "read",
            "the system's random source",
            e.into(),
        ))
    })?;
    let name = format!("ipfs-accelerate-{:016x}", u64::from_ne_bytes(id));
    Ok(std::env::temp_dir().join(name))
}
