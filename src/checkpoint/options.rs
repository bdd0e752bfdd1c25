//! What a load is told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::device::{Device, NoDevice};
use super::device_map::DeviceMap;
use super::error::LoadError;
use super::header::TensorInfo;
use super::select::Select;

/// How the bytes of tensors come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Residency {
    /// Mapped; a page is read at its first touch. A disk that fails under a map then raises SIGBUS.
    #[default]
    Lazy,
    /// Mapped, and read before the load returns, side by side and in the order of use; what the disk cannot
    /// read is an error. Stops at the memory that there is (of the machine, of the control group, of
    /// `memory_cap`) and says how many bytes stayed lazy.
    Populate,
    /// Read into memory of this process, or of a device that lends some; what the disk cannot read is an error.
    /// Nothing is mapped.
    Copy,
    /// [`Copy`](Self::Copy) where the bytes lie on a file system of the network and there is memory for them;
    /// otherwise [`Populate`](Self::Populate).
    Auto,
}

impl Residency {
    /// Every residency, the default first.
    pub const ALL: &'static [Self] = &[Self::Lazy, Self::Populate, Self::Copy, Self::Auto];

    /// `lazy`, `populate`, `copy` or `auto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lazy => "lazy",
            Self::Populate => "populate",
            Self::Copy => "copy",
            Self::Auto => "auto",
        }
    }
}

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadProgress {
    /// Tensors placed so far.
    pub tensors: usize,
    /// Tensors in all.
    pub total_tensors: usize,
    /// Bytes placed so far.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Chooses what of each tensor is loaded.
pub(super) type SelectFn = dyn Fn(&TensorInfo) -> Select + Send + Sync;

/// How [`load_checkpoint_and_dispatch`](super::load_checkpoint_and_dispatch) works.
///
/// ```
/// use ipfs_accelerate::checkpoint::{LoadOptions, Select};
///
/// // The second of four ranks takes its rows of each matrix, and whole vectors.
/// let options = LoadOptions::default()
///     .with_max_memory("cpu", 8 << 30)
///     .with_select(|tensor| match tensor.shape[..] {
///         [rows, _] => Select::Slice { dim: 0, range: rows / 4..rows / 2 },
///         _ => Select::Whole,
///     });
/// # let _ = options;
/// ```
#[non_exhaustive]
pub struct LoadOptions<D: Device = NoDevice> {
    /// The caller's devices and their names, in the order in which they are filled; `cpu` and `disk`
    /// follow them.
    pub devices: Vec<(String, Arc<D>)>,
    /// Which tensor goes where.
    pub device_map: DeviceMap,
    /// Bytes that may be placed on a device, by its name. Without an entry a device's own capacity holds,
    /// for `cpu` the memory that is available to this process, and for `disk` no limit.
    pub max_memory: BTreeMap<String, u64>,
    /// How bytes come into memory.
    pub residency: Residency,
    /// Bytes of memory that the load may take, all tensors together: copies, of which more are an error,
    /// and what is read ahead, of which more stays lazy. None for no limit.
    pub memory_cap: Option<u64>,
    /// Hash every chunk that is loaded, as it is read, and the DAG above it from the target's object down.
    /// A tensor is placed only when all its bytes are what the CID names. One that is left on the disk is
    /// verified when it is loaded from there; a page of a map that memory gave up is not hashed again when it
    /// is read again.
    pub verify: bool,
    /// Threads of this load; zero for a thread a core, or 8 if they are more, as most of them wait for the
    /// disk.
    pub threads: usize,
    /// What of each tensor is loaded; all of it by default.
    pub select: Option<Arc<SelectFn>>,
    /// Checked as the load goes; once set, it ends with [`LoadError::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told as tensors are placed, from several threads.
    pub progress: Option<Arc<dyn Fn(LoadProgress) + Send + Sync>>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::with_devices(Vec::new())
    }
}

impl<D: Device> LoadOptions<D> {
    /// Options with devices of the caller's, in the order in which they are filled.
    pub fn with_devices(devices: Vec<(String, Arc<D>)>) -> Self {
        Self {
            devices,
            device_map: DeviceMap::default(),
            max_memory: BTreeMap::new(),
            residency: Residency::default(),
            memory_cap: None,
            verify: false,
            threads: 0,
            select: None,
            cancel: None,
            progress: None,
        }
    }

    /// The same with another device map.
    #[must_use]
    pub fn with_device_map(mut self, map: DeviceMap) -> Self {
        self.device_map = map;
        self
    }

    /// The same with a limit for one device, in bytes.
    #[must_use]
    pub fn with_max_memory(mut self, device: impl Into<String>, bytes: u64) -> Self {
        self.max_memory.insert(device.into(), bytes);
        self
    }

    /// The same with another way into memory.
    #[must_use]
    pub fn with_residency(mut self, residency: Residency) -> Self {
        self.residency = residency;
        self
    }

    /// The same, with every chunk hashed as it is loaded.
    #[must_use]
    pub fn with_verification(mut self) -> Self {
        self.verify = true;
        self
    }

    /// The same with a choice of what is loaded of each tensor.
    #[must_use]
    pub fn with_select(
        mut self,
        select: impl Fn(&TensorInfo) -> Select + Send + Sync + 'static,
    ) -> Self {
        self.select = Some(Arc::new(select));
        self
    }

    pub(super) fn check_cancel(&self) -> Result<(), LoadError> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(LoadError::Cancelled),
            _ => Ok(()),
        }
    }
}

impl<D: Device> Clone for LoadOptions<D> {
    fn clone(&self) -> Self {
        Self {
            devices: self.devices.clone(),
            device_map: self.device_map.clone(),
            max_memory: self.max_memory.clone(),
            residency: self.residency,
            memory_cap: self.memory_cap,
            verify: self.verify,
            threads: self.threads,
            select: self.select.clone(),
            cancel: self.cancel.clone(),
            progress: self.progress.clone(),
        }
    }
}

impl<D: Device> fmt::Debug for LoadOptions<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices: Vec<&str> = self.devices.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("LoadOptions")
            .field("devices", &devices)
            .field("device_map", &self.device_map)
            .field("max_memory", &self.max_memory)
            .field("residency", &self.residency)
            .field("memory_cap", &self.memory_cap)
            .field("verify", &self.verify)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
