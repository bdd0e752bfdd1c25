//! Everything that can go wrong between a target and its placed tensors.

mod explain;
mod parts;

use std::error::Error;
use std::str::Utf8Error;

use safetensors::Dtype;

pub use explain::SourceError;
pub(crate) use parts::Grouped;
use parts::{Byte, Count, InTensor, Listed, also, pointed};
pub use parts::{Foreign, LimitOf, TensorPlace};

/// Why a checkpoint could not be loaded.
///
/// Variants that belong to a file carry its path inside the target as `shard` (or `index`), those
/// that belong to a tensor its name. Offsets count bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store, its reader or the folder that was read from failed.
    #[error(transparent)]
    Source(#[from] SourceError),

    /// The caller's cancel flag was set.
    #[error("the load was cancelled")]
    Cancelled,

    /// A device refused or failed; what it had taken was aborted.
    #[error("device `{device}`: {source}")]
    Device {
        /// The device's name, as in the device map.
        device: String,
        /// What the device said.
        source: Box<dyn Error + Send + Sync>,
    },

    /// One piece of work needs more memory than the cap on the whole load.
    #[error(
        "{what} needs {} bytes at once, the memory cap is {}",
        Grouped(*.needed), Grouped(*.cap)
    )]
    MemoryCap {
        /// What needs the memory: a tensor's name, or a shard's header.
        what: String,
        /// Bytes needed at once.
        needed: u64,
        /// The cap in bytes.
        cap: u64,
    },

    /// Plain files have no CID that their bytes could be held against.
    #[error("{} has no CID, so its bytes cannot be verified", path.display())]
    NothingToVerify {
        /// The file or folder.
        path: std::path::PathBuf,
    },

    /// More would have to be copied into memory than there is.
    #[error(
        "{} bytes have to be copied for `cpu`, and {} bytes of memory are available",
        Grouped(*.needed), Grouped(*.available)
    )]
    NotEnoughMemory {
        /// Bytes to be copied.
        needed: u64,
        /// What the machine and the control groups of this process have left.
        available: u64,
    },

    /// A read returned fewer bytes than the file is said to have.
    #[error("{shard}: read {found} bytes at offset {offset}, expected {expected}")]
    ShortRead {
        /// The file.
        shard: String,
        /// Where the read began.
        offset: u64,
        /// Bytes asked for.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },

    /// The folder holds no safetensors checkpoint.
    #[error("no safetensors checkpoint in this folder{}", also(.candidates))]
    NoCheckpoint {
        /// Weights in other formats that lie there, sorted.
        candidates: Vec<String>,
    },

    /// The folder holds several checkpoints, and none has the name that decides.
    #[error("{} checkpoints in this folder: {}", .candidates.len(), Listed(.candidates))]
    AmbiguousCheckpoint {
        /// The files that could be meant, sorted.
        candidates: Vec<String>,
    },

    /// The file is a git-lfs pointer, not the file it points to.
    #[error("{shard}: this is a git-lfs pointer, not a model{}", pointed(*.size))]
    LfsPointer {
        /// The file.
        shard: String,
        /// Length in bytes of the real file, as the pointer says.
        size: Option<u64>,
    },

    /// The file is something else than safetensors.
    #[error("{shard}: not a safetensors file but {found}")]
    NotSafetensors {
        /// The file.
        shard: String,
        /// What its first bytes look like.
        found: Foreign,
    },

    /// The file is too short to hold even the length of its header.
    #[error("{shard}: {found} bytes long, a safetensors file begins with 8 bytes of header length")]
    FileTooShort {
        /// The file.
        shard: String,
        /// Its length in bytes.
        found: u64,
    },

    /// The header's length is over the format's limit.
    #[error(
        "{shard}: the first 8 bytes say a header of {} bytes, at most {} are allowed",
        Grouped(*.found), Grouped(*.limit)
    )]
    HeaderTooLarge {
        /// The file.
        shard: String,
        /// Length in bytes that the file's first 8 bytes say.
        found: u64,
        /// The most that the format allows.
        limit: u64,
    },

    /// The file ends inside its header.
    #[error(
        "{shard}: ends inside its header, at least {} bytes short: not downloaded whole",
        Grouped(.expected.saturating_sub(*.found))
    )]
    HeaderTruncated {
        /// The file.
        shard: String,
        /// Bytes up to the header's end.
        expected: u64,
        /// The file's length in bytes.
        found: u64,
    },

    /// The header does not begin with `{`.
    #[error("{shard}: the header must begin with `{{` at offset 8, found {}", Byte(*.found))]
    HeaderNotObject {
        /// The file.
        shard: String,
        /// The first byte of the header, none if the header is empty.
        found: Option<u8>,
    },

    /// The header is not UTF-8.
    #[error("{shard}: the header is not UTF-8 at offset {offset}")]
    HeaderNotUtf8 {
        /// The file.
        shard: String,
        /// The first wrong byte.
        offset: u64,
        /// What the check said; it counts from the header's start.
        source: Utf8Error,
    },

    /// The header is not the JSON that the format asks for.
    #[error("{shard}: wrong header{} at offset {offset}: {source}", InTensor(.tensor.as_deref()))]
    HeaderJson {
        /// The file.
        shard: String,
        /// The tensor whose entry is wrong, if the parser was inside one.
        tensor: Option<String>,
        /// Where the parser stood.
        offset: u64,
        /// What the parser said.
        source: serde_json::Error,
    },

    /// Two entries of one header have the same name.
    #[error("{shard}: tensor `{tensor}` stands twice in the header")]
    DuplicateTensor {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
    },

    /// A field stands twice in one entry of the header.
    #[error("{shard}: tensor `{tensor}`: `{field}` stands twice")]
    DuplicateField {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// The field.
        field: &'static str,
    },

    /// A field of a tensor's entry is absent.
    #[error("{shard}: tensor `{tensor}`: `{field}` is missing")]
    MissingField {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// The field.
        field: &'static str,
    },

    /// A key stands twice in `__metadata__`.
    #[error("{shard}: `{key}` stands twice in `__metadata__`")]
    DuplicateMetadata {
        /// The file.
        shard: String,
        /// The key.
        key: String,
    },

    /// An element type that this version does not know.
    #[error("{shard}: tensor `{tensor}`: unknown dtype `{found}`")]
    UnknownDtype {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// The name of the type.
        found: String,
    },

    /// The bits of a tensor do not fit into a machine word.
    #[error("{shard}: tensor `{tensor}`: shape {shape:?} of {dtype} overflows")]
    SizeOverflow {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: Dtype,
        /// Its shape.
        shape: Box<[usize]>,
    },

    /// A tensor of a type under one byte does not end on a byte.
    #[error("{shard}: tensor `{tensor}`: shape {shape:?} of {dtype} does not end on a byte")]
    PartialByte {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: Dtype,
        /// Its shape.
        shape: Box<[usize]>,
    },

    /// The offsets of a tensor span another length than its shape and type need.
    #[error(
        "{shard}: tensor `{tensor}` at offset {offset}: shape and dtype need {} bytes, \
         its offsets span {}",
        Grouped(*.expected), Grouped(*.found)
    )]
    TensorSize {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// Where its data begins.
        offset: u64,
        /// Bytes that shape and type need.
        expected: u64,
        /// Bytes between its offsets.
        found: u64,
    },

    /// A tensor's end lies before its begin.
    #[error("{shard}: tensor `{tensor}`: its data offsets run backwards, from {begin} to {end}")]
    ReversedOffsets {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// The begin in the header, counted from the end of the header.
        begin: u64,
        /// The end in the header, counted from the end of the header.
        end: u64,
    },

    /// Bytes that belong to no tensor.
    #[error(
        "{shard}: {} bytes before tensor `{tensor}` belong to no tensor \
         (data expected at offset {expected}, found at {found})",
        Grouped(.found.saturating_sub(*.expected))
    )]
    Hole {
        /// The file.
        shard: String,
        /// The tensor after the hole.
        tensor: String,
        /// Where the tensor should begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },

    /// Bytes that belong to two tensors.
    #[error(
        "{shard}: tensor `{tensor}` begins at offset {found} inside `{other}`, \
         which ends at {expected}"
    )]
    Overlap {
        /// The file.
        shard: String,
        /// The later tensor.
        tensor: String,
        /// The earlier tensor.
        other: String,
        /// Where the later tensor should begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },

    /// The file ends before its last tensor does.
    #[error(
        "{shard}: {} bytes short: not downloaded whole ({} of {})",
        Grouped(.expected.saturating_sub(*.found)), Grouped(*.found), Grouped(*.expected)
    )]
    DataTooShort {
        /// The file.
        shard: String,
        /// The file's length in bytes, as the header says.
        expected: u64,
        /// Its true length.
        found: u64,
    },

    /// The file goes on after its last tensor.
    #[error(
        "{shard}: {} bytes after the last tensor ({} where the header says {})",
        Grouped(.found.saturating_sub(*.expected)), Grouped(*.found), Grouped(*.expected)
    )]
    DataTooLong {
        /// The file.
        shard: String,
        /// The file's length in bytes, as the header says.
        expected: u64,
        /// Its true length.
        found: u64,
    },

    /// An index is not the JSON it should be.
    #[error("{index}: wrong index at offset {offset}: {source}")]
    IndexJson {
        /// The index file.
        index: String,
        /// Where the parser stood.
        offset: u64,
        /// What the parser said.
        source: serde_json::Error,
    },

    /// An index without a `weight_map`, or with an empty one.
    #[error("{index}: no tensor in its `weight_map`")]
    IndexWithoutTensors {
        /// The index file.
        index: String,
    },

    /// A tensor stands twice in an index.
    #[error("{index}: tensor `{tensor}` stands twice in the `weight_map`")]
    IndexDuplicate {
        /// The index file.
        index: String,
        /// The tensor.
        tensor: String,
    },

    /// An index names a shard by something else than a plain path below its own folder.
    #[error(
        "{index}: tensor `{tensor}` is said to lie in {shard:?}, which is no plain path below this folder"
    )]
    IndexShardName {
        /// The index file.
        index: String,
        /// The first tensor that names it.
        tensor: String,
        /// The name.
        shard: String,
    },

    /// Shards that an index names are not there.
    #[error(
        "{index}: {} not there: {}",
        Count(.shards.len(), "shard is", "shards are"), Listed(.shards)
    )]
    MissingShards {
        /// The index file.
        index: String,
        /// All that are missing, sorted.
        shards: Vec<String>,
    },

    /// Tensors that an index names are not in the shard it says.
    #[error(
        "{index}: {} not in the shard it says: {}",
        Count(.tensors.len(), "tensor is", "tensors are"), Listed(.tensors)
    )]
    MissingTensors {
        /// The index file.
        index: String,
        /// All that are missing, sorted.
        tensors: Vec<TensorPlace>,
    },

    /// Shards hold tensors that the index does not name.
    #[error(
        "{index}: {} not in the index: {}",
        Count(.tensors.len(), "tensor is", "tensors are"), Listed(.tensors)
    )]
    UnindexedTensors {
        /// The index file.
        index: String,
        /// All of them, in the order of the shards.
        tensors: Vec<TensorPlace>,
    },

    /// Tensors that more than one shard holds.
    #[error(
        "{index}: {} in more than one shard: {}",
        Count(.tensors.len(), "tensor is", "tensors are"), Listed(.tensors)
    )]
    TensorInTwoShards {
        /// The index file.
        index: String,
        /// Each place of each such tensor after its first one's, sorted.
        tensors: Vec<TensorPlace>,
    },

    /// A slice of a dimension that the tensor does not have.
    #[error("{shard}: tensor `{tensor}`: no dimension {dim} to slice, its shape is {shape:?}")]
    SliceDimension {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// The dimension asked for, from 0.
        dim: usize,
        /// The tensor's shape.
        shape: Box<[usize]>,
    },

    /// A slice that is empty, runs backwards or ends behind the dimension.
    #[error(
        "{shard}: tensor `{tensor}`: {start}..{end} is no range of dimension {dim}, \
         which has {len} elements"
    )]
    SliceRange {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// The dimension, from 0.
        dim: usize,
        /// First element asked for.
        start: usize,
        /// The element after the last one asked for.
        end: usize,
        /// Elements that the dimension has.
        len: usize,
    },

    /// A slice of a type under one byte that cuts through a byte.
    #[error(
        "{shard}: tensor `{tensor}`: {start}..{end} of dimension {dim} \
         cuts through a byte of {dtype}"
    )]
    SlicePartialByte {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: Dtype,
        /// The dimension, from 0.
        dim: usize,
        /// First element asked for.
        start: usize,
        /// The element after the last one asked for.
        end: usize,
    },

    /// A device map that is not the JSON it should be.
    #[error("wrong device map at offset {offset}: {source}")]
    DeviceMapJson {
        /// Where the parser stood.
        offset: u64,
        /// What the parser said.
        source: serde_json::Error,
    },

    /// A prefix stands twice in a device map.
    #[error("`{prefix}` stands twice in the device map")]
    DuplicatePrefix {
        /// The prefix.
        prefix: String,
    },

    /// Two devices have the same name.
    #[error("two devices are called `{device}`")]
    DuplicateDevice {
        /// The name.
        device: String,
    },

    /// A device map or a memory limit names a device that is not there.
    #[error("unknown device `{device}`; known: {}", Listed(.known))]
    UnknownDevice {
        /// The name.
        device: String,
        /// The names that there are, in order.
        known: Vec<String>,
    },

    /// A device map has no entry for a tensor.
    #[error("no device for tensor `{tensor}` in the device map")]
    NoDeviceFor {
        /// The tensor.
        tensor: String,
    },

    /// The device map puts more on a device than its limit allows.
    #[error(
        "device `{device}`: the device map puts {} bytes there, {} over its limit of {}",
        Grouped(*.needed), Grouped(.needed.saturating_sub(*.limit)), Grouped(*.limit)
    )]
    OverLimit {
        /// The device.
        device: String,
        /// Its limit in bytes.
        limit: u64,
        /// Bytes that the map puts there.
        needed: u64,
    },

    /// The checkpoint does not fit on the devices in the order of its modules.
    #[error(
        "{} bytes do not fit: no room left for `{tensor}` ({} bytes) on {}",
        Grouped(*.needed), Grouped(*.tensor_bytes), Listed(.limits)
    )]
    DoesNotFit {
        /// Bytes of the whole checkpoint, as selected.
        needed: u64,
        /// The first tensor without a place.
        tensor: String,
        /// Its bytes.
        tensor_bytes: u64,
        /// The devices and their limits, in order.
        limits: Vec<LimitOf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Explain, FileError};
    use std::io;

    #[test]
    fn a_source_error_keeps_its_own_kind_hint_message_and_cause() {
        let file = FileError::new("read", "/a/b", io::ErrorKind::PermissionDenied.into());
        let (message, hint) = (file.to_string(), file.hint());
        let load = LoadError::from_source(file);
        assert_eq!(load.kind(), "permission_denied");
        assert_eq!(load.hint(), hint);
        assert_eq!(load.to_string(), message);
        assert!(load.source().expect("a cause").is::<io::Error>());
    }

    #[test]
    fn a_short_file_says_how_much_is_missing() {
        let error = LoadError::DataTooShort {
            shard: "model.safetensors".into(),
            expected: 4_145_728,
            found: 1_000_000,
        };
        let message = error.to_string();
        assert!(
            message.contains("3,145,728 bytes short: not downloaded whole"),
            "{message}"
        );
        assert_eq!(error.kind(), "truncated");
    }

    #[test]
    fn a_long_list_shows_its_first_eight_and_counts_the_rest() {
        let shards = (0..1_010).map(|i| format!("s{i}")).collect();
        let error = LoadError::MissingShards {
            index: "i".into(),
            shards,
        };
        let message = error.to_string();
        assert!(message.ends_with("s6, s7 and 1,002 more"), "{message}");
        assert!(
            message.starts_with("i: 1,010 shards are not there: s0, "),
            "{message}"
        );
    }

    #[test]
    fn load_errors_are_small_and_may_cross_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<LoadError>();
        assert!(size_of::<LoadError>() <= 120, "{}", size_of::<LoadError>());
    }
}
