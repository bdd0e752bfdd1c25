//! Tensors on the host: in memory, or left on disk.

use std::ops::{Deref, Range};
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::error::LoadError;
use super::header::TensorInfo;
use super::select::SelectedBytes;
use crate::fsio::Memory;
use crate::store::{CopyReason, FileMap, FileSlice, Leaves, StoredFile};

/// A tensor in memory: in the store's map where that is possible, in a copy of its own otherwise.
///
/// Cheap to clone, and independent of the store, the checkpoint and the load it came from; the last clone
/// gives the map and the object's lease up.
#[derive(Clone, Debug)]
pub struct Tensor {
    info: Arc<TensorInfo>,
    bytes: FileSlice,
}

impl Tensor {
    pub(super) fn copied_from(info: Arc<TensorInfo>, bytes: Memory, why: CopyReason) -> Self {
        let bytes = FileSlice::copied_from(bytes, why);
        Self { info, bytes }
    }

    /// Name, type, shape, and the place of its bytes in the shard.
    pub fn info(&self) -> &TensorInfo {
        &self.info
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.info.dtype
    }

    /// Its shape, outermost dimension first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// Its bytes in row-major order, starting at a multiple of its element's size.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why its bytes were copied; none when they lie in the store's map.
    pub fn copied(&self) -> Option<CopyReason> {
        self.bytes.copied()
    }

    /// A view for code that works with the `safetensors` crate.
    ///
    /// # Errors
    /// [`safetensors::SafeTensorError`] never occurs: shape, type and length were checked.
    pub fn view(&self) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
        TensorView::new(self.info.dtype, self.info.shape.to_vec(), &self.bytes)
    }
}

impl Deref for Tensor {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A tensor left in the store: it takes no memory, and its bytes are there when they are asked for.
///
/// Holds the object's lease.
#[derive(Clone, Debug)]
pub struct LazyTensor {
    info: Arc<TensorInfo>,
    source: SelectedBytes,
    file: StoredFile,
    leaves: Option<Arc<Leaves>>,
}

impl LazyTensor {
    pub(super) fn new(
        info: Arc<TensorInfo>,
        source: SelectedBytes,
        file: StoredFile,
        leaves: Option<Arc<Leaves>>,
    ) -> Self {
        Self {
            info,
            source,
            file,
            leaves,
        }
    }

    /// Name, type, shape, and the place of its bytes in the shard.
    pub fn info(&self) -> &TensorInfo {
        &self.info
    }

    /// The tensor in memory, mapped where that is possible; verified if the load was.
    ///
    /// # Errors
    /// [`LoadError::Source`] when the file cannot be mapped or read, or is not what its CID names.
    pub fn load(&self) -> Result<Tensor, LoadError> {
        let range = &self.info.range;
        let map = FileMap::new(&self.file, std::slice::from_ref(range));
        let map = Arc::new(map.map_err(LoadError::from_source)?);
        let Some(why) = copies(&self.info, &self.source, &map) else {
            if let Some(leaves) = &self.leaves {
                let numbers = leaves.covering(range.clone()).map(|(number, _)| number);
                for number in numbers {
                    let leaf = leaves.read_leaf(number, &self.file);
                    leaf.map_err(LoadError::from_source)?;
                }
            }
            return borrow(&self.info, &map);
        };
        let memory = self.file.memory(self.source.bytes());
        let mut memory = memory.map_err(LoadError::from_source)?;
        match &self.leaves {
            None => gather(&self.source, range.clone(), &self.file, &mut memory)?,
            Some(leaves) => {
                let mut to = &mut memory[..];
                for (number, leaf) in leaves.covering(range.clone()) {
                    let len = self.source.before(leaf.end) - self.source.before(leaf.start);
                    let part;
                    (part, to) = to.split_at_mut(len as usize);
                    if len > 0 {
                        let bytes = leaves.read_leaf(number, &self.file);
                        let bytes = bytes.map_err(LoadError::from_source)?;
                        pick(&self.source, leaf, &bytes, part);
                    }
                }
            }
        }
        Ok(Tensor::copied_from(Arc::clone(&self.info), memory, why))
    }
}

/// Why a tensor cannot be borrowed from the map; none if it can.
pub(super) fn copies(
    info: &TensorInfo,
    source: &SelectedBytes,
    map: &FileMap,
) -> Option<CopyReason> {
    match source {
        SelectedBytes::Contiguous(range) => map.copies(range, alignment(info.dtype)),
        SelectedBytes::Pieces(_) => Some(CopyReason::Gathered),
    }
}

/// A tensor over a mapped shard that nothing keeps from being borrowed.
pub(super) fn borrow(info: &Arc<TensorInfo>, map: &Arc<FileMap>) -> Result<Tensor, LoadError> {
    let bytes = map
        .slice_aligned(info.range.clone(), alignment(info.dtype))
        .map_err(LoadError::from_source)?;
    Ok(Tensor {
        info: Arc::clone(info),
        bytes,
    })
}

/// Reads the selected bytes of a window of the file in their order into `to`, which is as long as they are.
pub(super) fn gather(
    source: &SelectedBytes,
    window: Range<u64>,
    file: &StoredFile,
    mut to: &mut [u8],
) -> Result<(), LoadError> {
    for range in source.inside(window) {
        let part;
        (part, to) = to.split_at_mut((range.end - range.start) as usize);
        let found = file
            .read_part_at(range.start, part)
            .map_err(LoadError::from_source)?;
        if found != part.len() {
            return Err(LoadError::ShortRead {
                shard: file.name().to_owned(),
                offset: range.start,
                expected: part.len() as u64,
                found: found as u64,
            });
        }
    }
    Ok(())
}

/// Copies the selected bytes of a window, whose bytes are at hand, into `to`, which is as long as they are.
pub(super) fn pick(source: &SelectedBytes, window: Range<u64>, bytes: &[u8], mut to: &mut [u8]) {
    for range in source.inside(window.clone()) {
        let part;
        (part, to) = to.split_at_mut((range.end - range.start) as usize);
        let from = (range.start - window.start) as usize;
        part.copy_from_slice(&bytes[from..from + part.len()]);
    }
}

/// Elements of a byte or more start at multiples of their own size, smaller ones anywhere. Complex numbers
/// are pairs, and align as their parts.
pub(super) fn alignment(dtype: Dtype) -> usize {
    match dtype {
        Dtype::C64 => 4,
        other => (other.bitsize() / 8).max(1),
    }
}
