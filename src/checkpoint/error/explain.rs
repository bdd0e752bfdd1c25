//! Kinds, hints and causes of load errors.

use std::error::Error;
use std::fmt;

use super::{Foreign, LoadError};
use crate::error::Explain;

/// The error of a store, a reader or a folder, kept with its own kind, hint and causes.
#[derive(Debug)]
pub struct SourceError(Box<dyn Explain + Send + Sync>);

impl SourceError {
    /// Keeps the error as it is.
    pub fn new(error: impl Explain + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// The error itself.
    pub fn get(&self) -> &(dyn Explain + Send + Sync) {
        &*self.0
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl LoadError {
    /// Wraps the error of a store, a reader or a folder; for `map_err`.
    pub fn from_source(error: impl Explain + Send + Sync + 'static) -> Self {
        Self::Source(SourceError::new(error))
    }
}

impl Explain for LoadError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Source(source) => source.0.kind(),
            Self::Cancelled => "cancelled",
            Self::Device { .. } => "device",
            Self::MemoryCap { .. } => "memory_cap",
            Self::NothingToVerify { .. } => "nothing_to_verify",
            Self::NotEnoughMemory { .. } => "not_enough_memory",
            Self::ShortRead { .. } => "short_read",
            Self::NoCheckpoint { .. } => "no_checkpoint",
            Self::AmbiguousCheckpoint { .. } => "ambiguous_checkpoint",
            Self::LfsPointer { .. } => "git_lfs_pointer",
            Self::NotSafetensors { .. } => "not_safetensors",
            Self::FileTooShort { .. }
            | Self::HeaderTruncated { .. }
            | Self::DataTooShort { .. } => "truncated",
            Self::HeaderTooLarge { .. } => "header_too_large",
            Self::HeaderNotObject { .. }
            | Self::HeaderNotUtf8 { .. }
            | Self::HeaderJson { .. }
            | Self::DuplicateField { .. }
            | Self::MissingField { .. }
            | Self::DuplicateMetadata { .. } => "wrong_header",
            Self::DuplicateTensor { .. } => "duplicate_tensor",
            Self::UnknownDtype { .. } => "unknown_dtype",
            Self::SizeOverflow { .. } | Self::PartialByte { .. } | Self::TensorSize { .. } => {
                "wrong_tensor_size"
            }
            Self::ReversedOffsets { .. } | Self::Hole { .. } | Self::Overlap { .. } => {
                "wrong_tensor_offsets"
            }
            Self::DataTooLong { .. } => "trailing_data",
            Self::IndexJson { .. } | Self::IndexWithoutTensors { .. } => "wrong_index",
            Self::IndexDuplicate { .. } => "duplicate_tensor",
            Self::IndexShardName { .. } => "unsafe_shard_name",
            Self::MissingShards { .. } => "missing_shard",
            Self::MissingTensors { .. } => "missing_tensor",
            Self::UnindexedTensors { .. } => "unindexed_tensor",
            Self::TensorInTwoShards { .. } => "duplicate_tensor",
            Self::SliceDimension { .. }
            | Self::SliceRange { .. }
            | Self::SlicePartialByte { .. } => "wrong_slice",
            Self::DeviceMapJson { .. } | Self::DuplicatePrefix { .. } => "wrong_device_map",
            Self::DuplicateDevice { .. } => "duplicate_device",
            Self::UnknownDevice { .. } => "unknown_device",
            Self::NoDeviceFor { .. } => "no_device",
            Self::OverLimit { .. } | Self::DoesNotFit { .. } => "does_not_fit",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Source(source) => return source.0.hint(),
            Self::MemoryCap { .. } => "raise the memory cap, or load with residency `lazy`".into(),
            Self::NotEnoughMemory { .. } => {
                "load with residency `populate` or `lazy`, or leave more on the disk with a limit for `cpu`".into()
            }
            Self::NothingToVerify { .. } => {
                "add it to a store and load from there, or load without verification".into()
            }
            Self::NoCheckpoint { candidates } if candidates.is_empty() => {
                "name the folder or file that holds it as `CID/path`".into()
            }
            Self::NoCheckpoint { .. } => {
                "only safetensors is loaded: convert the weights to it".into()
            }
            Self::AmbiguousCheckpoint { candidates }
                if candidates.iter().all(|name| name.contains("-of-")) =>
            {
                "they look like shards of one checkpoint whose `model.safetensors.index.json` is \
                 missing: add it beside them"
                    .into()
            }
            Self::AmbiguousCheckpoint { candidates } => {
                let first = candidates.first().map_or("path", String::as_str);
                format!("name one as `CID/path`, for example `CID/{first}`")
            }
            Self::LfsPointer { .. } => "run `git lfs pull`, then add the files again".into(),
            Self::NotSafetensors {
                found: Foreign::Zip | Foreign::Pickle,
                ..
            } => "convert it to safetensors".into(),
            Self::NotSafetensors {
                found: Foreign::Json,
                ..
            } => "an index is loaded from its folder: name the folder, or the index as `CID/path`"
                .into(),
            Self::NotSafetensors {
                found: Foreign::Html | Foreign::Zeros,
                ..
            }
            | Self::FileTooShort { .. }
            | Self::HeaderTruncated { .. }
            | Self::DataTooShort { .. } => "download the file again, then add it again".into(),
            Self::MissingShards { .. } => {
                "download the missing shards, then add the whole folder again".into()
            }
            Self::NoDeviceFor { .. } => {
                "give the map an entry with the prefix \"\", which matches every tensor".into()
            }
            Self::OverLimit { .. } => "move a part to another device in the map".into(),
            Self::DoesNotFit { .. } => {
                "raise a limit, allow `disk`, or select fewer tensors".into()
            }
            _ => return None,
        })
    }
}
