//! Which part of a tensor is loaded, and where its bytes lie.

use std::iter::FusedIterator;
use std::ops::Range;

use super::error::LoadError;
use super::header::TensorInfo;

/// What to load of a tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Select {
    /// All of it.
    #[default]
    Whole,
    /// Nothing: the tensor is left out.
    Skip,
    /// A part of one dimension and all of the others, as tensor parallelism needs it.
    Slice {
        /// The dimension, 0 the outermost.
        dim: usize,
        /// The elements of that dimension; neither empty nor beyond its length.
        range: Range<usize>,
    },
}

/// A tensor as it will be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Name, type and the shape after the selection; the range is the shortest one of the file
    /// that holds all selected bytes.
    pub info: TensorInfo,
    /// Where the bytes lie.
    pub source: SelectedBytes,
}

impl Selection {
    /// Length of the selected data in bytes.
    pub fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// The selected ranges of the file in the order in which they make up the tensor.
    pub fn ranges(&self) -> Pieces {
        match &self.source {
            SelectedBytes::Contiguous(range) => Pieces {
                next: range.start,
                piece_len: range.end - range.start,
                stride: 0,
                left: 1,
            },
            SelectedBytes::Pieces(pieces) => pieces.clone(),
        }
    }
}

/// Where the bytes of a selected tensor lie, counted from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectedBytes {
    /// In one range: the tensor can be mapped.
    Contiguous(Range<u64>),
    /// In two or more ranges that do not touch: they have to be gathered.
    Pieces(Pieces),
}

impl SelectedBytes {
    /// Length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Contiguous(range) => range.end - range.start,
            Self::Pieces(pieces) => pieces.piece_len * pieces.left,
        }
    }

    /// How many of the selected bytes lie before a place in the file.
    pub(super) fn before(&self, place: u64) -> u64 {
        match self {
            Self::Contiguous(range) => place.clamp(range.start, range.end) - range.start,
            Self::Pieces(pieces) => {
                let Some(past) = place.checked_sub(pieces.next) else {
                    return 0;
                };
                let (whole, rest) = (past / pieces.stride, past % pieces.stride);
                match whole < pieces.left {
                    true => whole * pieces.piece_len + rest.min(pieces.piece_len),
                    false => pieces.left * pieces.piece_len,
                }
            }
        }
    }

    /// The selected ranges inside a window of the file, in order.
    pub(super) fn inside(&self, window: Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let (mut pieces, skip) = match self {
            Self::Contiguous(range) => {
                let (start, end) = (range.start, range.end);
                let whole = Pieces {
                    next: start,
                    piece_len: end - start,
                    stride: 1,
                    left: 1,
                };
                (whole, 0)
            }
            Self::Pieces(pieces) => {
                let past = window.start.saturating_sub(pieces.next);
                (pieces.clone(), past / pieces.stride)
            }
        };
        let first = pieces.nth(usize::try_from(skip).unwrap_or(usize::MAX));
        first
            .into_iter()
            .chain(pieces)
            .take_while(move |piece| piece.start < window.end)
            .map(move |piece| piece.start.max(window.start)..piece.end.min(window.end))
            .filter(|part| !part.is_empty())
    }
}

/// Ranges of equal length at equal distances; an iterator over them that needs no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    next: u64,
    piece_len: u64,
    stride: u64,
    left: u64,
}

impl Pieces {
    /// Length of each piece in bytes.
    pub fn piece_len(&self) -> u64 {
        self.piece_len
    }

    /// Distance in bytes from the start of a piece to the start of the next one.
    pub fn stride(&self) -> u64 {
        self.stride
    }
}

impl Iterator for Pieces {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let start = self.next;
        // After the last piece it may leave the range of numbers; then nobody reads it.
        self.next = start.wrapping_add(self.stride);
        Some(start..start + self.piece_len)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left);
        (left.unwrap_or(usize::MAX), left.ok())
    }

    /// Jumps in constant time, so that the pieces can be shared out among threads.
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let skipped = self.left.min(n as u64);
        self.left -= skipped;
        self.next = self.next.wrapping_add(self.stride.wrapping_mul(skipped));
        self.next()
    }
}

impl ExactSizeIterator for Pieces {}
impl FusedIterator for Pieces {}

impl Select {
    /// What of a tensor is loaded; none if it is skipped. `shard` is its file, for messages.
    ///
    /// The ranges equal those of `safetensors::slice::slice_byte_ranges`, which lists them in
    /// memory (a shape may ask for any number of empty ones) and runs into an overflow where a
    /// range runs backwards.
    ///
    /// # Errors
    /// If the tensor has no such dimension, the range is empty, runs backwards or is too long, or
    /// it cuts through a byte of a type under one byte.
    pub fn apply(&self, shard: &str, info: &TensorInfo) -> Result<Option<Selection>, LoadError> {
        match self {
            Self::Skip => Ok(None),
            Self::Whole => {
                let source = SelectedBytes::Contiguous(info.range.clone());
                Ok(Some(Selection {
                    info: info.clone(),
                    source,
                }))
            }
            Self::Slice { dim, range } => slice(shard, info, *dim, range).map(Some),
        }
    }
}

fn slice(
    shard: &str,
    info: &TensorInfo,
    dim: usize,
    range: &Range<usize>,
) -> Result<Selection, LoadError> {
    let named = || (shard.to_owned(), info.name.to_string());
    let Some(&len) = info.shape.get(dim) else {
        let (shard, tensor) = named();
        let shape = info.shape.clone();
        return Err(LoadError::SliceDimension {
            shard,
            tensor,
            dim,
            shape,
        });
    };
    let Range { start, end } = *range;
    if start >= end || end > len {
        let (shard, tensor) = named();
        return Err(LoadError::SliceRange {
            shard,
            tensor,
            dim,
            start,
            end,
            len,
        });
    }

    let mut shape = info.shape.clone();
    shape[dim] = end - start;
    let selection = |range: Range<u64>, source| Selection {
        info: TensorInfo {
            shape,
            range,
            ..info.clone()
        },
        source,
    };
    // Before any product: beside a dimension of 0 the others may be of any size. And before any
    // look at the bytes: a full range cuts nothing.
    if info.bytes() == 0 || end - start == len {
        let whole = info.range.clone();
        return Ok(selection(whole.clone(), SelectedBytes::Contiguous(whole)));
    }

    // No product below exceeds the bits of the whole tensor, which the header's check has proved
    // to fit.
    let element_bits = info.shape[dim + 1..].iter().product::<usize>() * info.dtype.bitsize();
    let (start_bits, end_bits) = (element_bits * start, element_bits * end);
    let stride_bits = element_bits * len;
    let count: usize = info.shape[..dim].iter().product();
    let whole = |bits: usize| bits.is_multiple_of(8);
    if !whole(start_bits) || !whole(end_bits) || (count > 1 && !whole(stride_bits)) {
        let (shard, tensor) = named();
        let dtype = info.dtype;
        return Err(LoadError::SlicePartialByte {
            shard,
            tensor,
            dtype,
            dim,
            start,
            end,
        });
    }

    let first = info.range.start + (start_bits / 8) as u64;
    let piece_len = ((end_bits - start_bits) / 8) as u64;
    let (stride, count) = ((stride_bits / 8) as u64, count as u64);
    let last_end = first + stride * (count - 1) + piece_len;
    let source = if count == 1 {
        SelectedBytes::Contiguous(first..last_end)
    } else {
        SelectedBytes::Pieces(Pieces {
            next: first,
            piece_len,
            stride,
            left: count,
        })
    };
    Ok(selection(first..last_end, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;
    use proptest::prelude::*;
    use safetensors::Dtype;
    use safetensors::slice::{TensorIndexer, slice_byte_ranges};
    use std::num::NonZeroUsize;
    use std::ops::Bound;

    fn tensor(dtype: Dtype, shape: &[usize], start: u64) -> TensorInfo {
        let bytes = (shape.iter().product::<usize>() * dtype.bitsize() / 8) as u64;
        TensorInfo {
            name: "t".into(),
            dtype,
            shape: shape.into(),
            range: start..start + bytes,
        }
    }

    fn cut(info: &TensorInfo, dim: usize, range: Range<usize>) -> Result<Selection, LoadError> {
        Ok(Select::Slice { dim, range }
            .apply("s", info)?
            .expect("not skipped"))
    }

    #[test]
    fn the_outermost_dimension_is_one_range() {
        let selection = cut(&tensor(Dtype::F32, &[4, 3], 100), 0, 1..3).unwrap();
        assert_eq!(*selection.info.shape, [2, 3]);
        assert_eq!(selection.source, SelectedBytes::Contiguous(112..136));
        assert_eq!(selection.info.range, 112..136);
        assert_eq!(selection.bytes(), 24);
    }

    #[test]
    fn an_inner_dimension_is_gathered_in_order() {
        let selection = cut(&tensor(Dtype::BF16, &[3, 4], 10), 1, 1..3).unwrap();
        assert_eq!(*selection.info.shape, [3, 2]);
        assert_eq!(
            selection.ranges().collect::<Vec<_>>(),
            [12..16, 20..24, 28..32]
        );
        assert_eq!(selection.ranges().len(), 3);
        assert_eq!(selection.ranges().nth(2), Some(28..32));
        assert_eq!(selection.ranges().nth(3), None);
        assert_eq!(
            (selection.bytes(), selection.info.range.clone()),
            (12, 12..32)
        );
    }

    #[test]
    fn a_full_range_stays_in_one_piece() {
        let info = tensor(Dtype::U8, &[3, 4], 7);
        let selection = cut(&info, 1, 0..4).unwrap();
        assert_eq!(selection, Select::Whole.apply("s", &info).unwrap().unwrap());
        assert_eq!(Select::Skip.apply("s", &info).unwrap(), None);
    }

    #[test]
    fn an_empty_tensor_of_any_shape_is_sliced_without_work() {
        let info = tensor(Dtype::U8, &[0, 1 << 62, 1 << 62, 8], 7);
        let selection = cut(&info, 3, 1..2).unwrap();
        assert_eq!(
            (selection.bytes(), *selection.info.shape.last().unwrap()),
            (0, 1)
        );
    }

    #[test]
    fn slices_that_do_not_exist_are_typed() {
        let info = tensor(Dtype::F4, &[4, 6], 0);
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = 3..1;
        for range in [backwards, 2..2, 0..5, 4..5, 0..usize::MAX] {
            let error = cut(&info, 0, range.clone()).unwrap_err();
            assert!(
                matches!(error, LoadError::SliceRange { len: 4, .. }),
                "{range:?}: {error:?}"
            );
        }
        assert!(matches!(
            cut(&info, 2, 0..1),
            Err(LoadError::SliceDimension { dim: 2, .. })
        ));
        let error = cut(&info, 1, 1..3).unwrap_err();
        assert!(
            matches!(error, LoadError::SlicePartialByte { .. }),
            "{error:?}"
        );
        assert_eq!(error.kind(), "wrong_slice");
    }

    /// A tensor of whole bytes, a dimension of it and a range that may end beyond it, but neither
    /// is empty nor runs backwards: that crate takes the one and overflows at the other. The outer
    /// dimensions are not empty: that crate refuses their full range then.
    fn slices() -> impl Strategy<Value = (Dtype, Vec<usize>, usize, Range<usize>)> {
        let dtypes = [
            Dtype::F4,
            Dtype::F6_E2M3,
            Dtype::U8,
            Dtype::BF16,
            Dtype::F32,
            Dtype::I64,
        ];
        let outer = prop::collection::vec(1..6_usize, 0..3);
        let inner = prop::collection::vec(0..6_usize, 1..4);
        (
            prop::sample::select(dtypes.to_vec()),
            outer,
            inner,
            0..5_usize,
            1..4_usize,
        )
            .prop_map(|(dtype, mut shape, inner, start, len)| {
                let dim = shape.len();
                shape.extend(inner);
                if !(shape.iter().product::<usize>() * dtype.bitsize()).is_multiple_of(8) {
                    shape[dim] *= 4;
                }
                (dtype, shape, dim, start..start + len)
            })
    }

    proptest! {
        #[test]
        fn windows_hold_what_lies_in_them(
            (dtype, shape, dim, range) in slices(), a in 0..400_u64, len in 0..200_u64,
        ) {
            let Ok(selection) = cut(&tensor(dtype, &shape, 64), dim, range) else { return Ok(()) };
            let all: Vec<u64> = selection.ranges().flatten().collect();
            let before = |place| all.iter().filter(|at| **at < place).count() as u64;
            prop_assert_eq!(selection.source.before(a), before(a));
            let window = a..a + len;
            let inside: Vec<u64> = selection.source.inside(window.clone()).flatten().collect();
            let expected: Vec<u64> = all.iter().copied().filter(|at| window.contains(at)).collect();
            prop_assert_eq!(inside, expected);
        }

        #[test]
        fn ranges_equal_those_of_the_safetensors_crate((dtype, shape, dim, range) in slices()) {
            let Range { start, end } = range;
            let mut slices = vec![TensorIndexer::from(..); dim];
            slices.push(TensorIndexer::Narrow(
                Bound::Included(start), Bound::Excluded(end), NonZeroUsize::MIN,
            ));
            let theirs = slice_byte_ranges(dtype, &shape, &slices);
            let info = tensor(dtype, &shape, 64);
            match (cut(&info, dim, start..end), theirs) {
                (Err(_), Err(_)) => {}
                (Ok(ours), Ok((ranges, shape))) => {
                    prop_assert_eq!(&*ours.info.shape, &*shape);
                    let ranges: Vec<_> = ranges
                        .into_iter()
                        .filter(|(start, end)| start < end)
                        .map(|(start, end)| 64 + start as u64..64 + end as u64)
                        .collect();
                    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                    prop_assert_eq!(ours.bytes(), bytes);
                    if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
                        prop_assert_eq!(ours.info.range.clone(), first.start..last.end);
                        prop_assert_eq!(ours.ranges().collect::<Vec<_>>(), ranges);
                    }
                }
                (ours, theirs) => prop_assert!(false, "{ours:?} but {theirs:?}"),
            }
        }
    }
}
