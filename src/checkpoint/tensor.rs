//! Tensors on the host: in memory, or left on disk.

use std::ops::Deref;
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::error::LoadError;
use super::header::TensorInfo;
use super::select::{SelectedBytes, Selection};
use crate::store::{AlignedBytes, CopyReason, FileMap, FileSlice, StoredFile};

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
}

impl LazyTensor {
    pub(super) fn new(selection: Selection, file: StoredFile) -> Self {
        Self {
            info: Arc::new(selection.info),
            source: selection.source,
            file,
        }
    }

    /// Name, type, shape, and the place of its bytes in the shard.
    pub fn info(&self) -> &TensorInfo {
        &self.info
    }

    /// The tensor in memory, mapped where that is possible.
    ///
    /// # Errors
    /// [`LoadError::Source`] when the file cannot be mapped or read.
    pub fn load(&self) -> Result<Tensor, LoadError> {
        let map = Arc::new(self.file.map().map_err(LoadError::from_source)?);
        place(&self.info, &self.source, &map)
    }
}

/// Whether [`place`] borrows the tensor from the map.
pub(super) fn is_borrowed(selection: &Selection, map: &FileMap) -> bool {
    let SelectedBytes::Contiguous(range) = &selection.source else {
        return false;
    };
    let aligned = |bytes: &[u8]| {
        bytes
            .as_ptr()
            .addr()
            .is_multiple_of(alignment(selection.info.dtype))
    };
    range.is_empty() || map.get(range.clone()).is_some_and(aligned)
}

/// A tensor over a mapped shard, borrowed where its bytes are contiguous and aligned, copied otherwise.
pub(super) fn place(
    info: &Arc<TensorInfo>,
    source: &SelectedBytes,
    map: &Arc<FileMap>,
) -> Result<Tensor, LoadError> {
    let info = Arc::clone(info);
    let bytes = match source {
        SelectedBytes::Contiguous(range) => map
            .slice_aligned(range.clone(), alignment(info.dtype))
            .map_err(LoadError::from_source)?,
        SelectedBytes::Pieces(_) => {
            let mut bytes = AlignedBytes::zeroed(total_bytes(source) as usize);
            gather(source, map.file(), bytes.as_mut_slice())?;
            FileSlice::copied_from(bytes, CopyReason::Gathered)
        }
    };
    Ok(Tensor { info, bytes })
}

/// Reads the selected bytes in their order into `to`, which is as long as they are.
pub(super) fn gather(
    source: &SelectedBytes,
    file: &StoredFile,
    to: &mut [u8],
) -> Result<(), LoadError> {
    let mut at = 0;
    let mut read = |range: std::ops::Range<u64>| {
        let len = (range.end - range.start) as usize;
        let into = &mut to[at..at + len];
        let found = file
            .read_at(range.start, into)
            .map_err(LoadError::from_source)?;
        at += len;
        match found == len {
            true => Ok(()),
            false => Err(LoadError::ShortRead {
                shard: file.name().to_owned(),
                offset: range.start,
                expected: len as u64,
                found: found as u64,
            }),
        }
    };
    match source {
        SelectedBytes::Contiguous(range) => read(range.clone()),
        SelectedBytes::Pieces(pieces) => pieces.clone().try_for_each(read),
    }
}

pub(super) fn total_bytes(source: &SelectedBytes) -> u64 {
    match source {
        SelectedBytes::Contiguous(range) => range.end - range.start,
        SelectedBytes::Pieces(pieces) => pieces.piece_len() * pieces.len() as u64,
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
