//! Content as memory: maps of packs, stitched where pages allow it, gathered where they do not.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::file::StoredFile;
use crate::fsio::{self, MapError, Mapping, Piece};
use crate::store::error::StoreError;

/// A file's content, mapped read-only.
///
/// Holds the object's lease. A failing disk under a map raises SIGBUS when the page is touched; `read_at`
/// of [`StoredFile`] returns an error instead.
#[derive(Debug)]
pub struct FileMap {
    file: StoredFile,
    segments: Vec<Segment>,
}

/// A stretch of the content that is contiguous in memory.
#[derive(Debug)]
struct Segment {
    start: u64,
    memory: Mapping,
}

/// Why bytes were copied rather than borrowed from a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopyReason {
    /// They lie in pieces that do not meet at page boundaries.
    Fragmented,
    /// They do not start at a multiple of their element's size.
    Misaligned,
    /// The slice asked for is not contiguous in the file.
    Gathered,
    /// A device lent memory of its own for it.
    DeviceMemory,
    /// The process holds as many maps as it may.
    MapBudget,
}

/// A range of a file's content, as a slice of bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileSlice(Bytes);

#[derive(Clone, Debug)]
enum Bytes {
    Mapped {
        map: Arc<FileMap>,
        segment: usize,
        range: Range<usize>,
    },
    Copied {
        bytes: AlignedBytes,
        why: CopyReason,
    },
}

impl FileMap {
    pub(crate) fn new(file: &StoredFile) -> Result<Self, StoreError> {
        let mut segments = Vec::new();
        let extents = file.extents();
        let mut first = 0;
        for next in 1..=extents.len() {
            let joined = extents.get(next).is_some_and(|extent| {
                let last = &extents[next - 1];
                fsio::stitches(last.offset + last.len, extent.offset)
            });
            if joined {
                continue;
            }
            let run = &extents[first..next];
            let pieces: Vec<Piece<'_>> = run
                .iter()
                .map(|e| Piece {
                    file: e.backing.file(),
                    offset: e.offset,
                    len: e.len,
                })
                .collect();
            match Mapping::new(&pieces) {
                Ok(memory) => segments.push(Segment {
                    start: run[0].start,
                    memory,
                }),
                // What has no map is copied when it is asked for.
                Err(MapError::Budget { .. } | MapError::Unaligned) => {}
                Err(MapError::Io(source)) => {
                    return Err(StoreError::Map {
                        name: file.name().to_owned(),
                        source,
                    });
                }
            }
            first = next;
        }
        Ok(Self {
            file: file.clone(),
            segments,
        })
    }

    /// The file that is mapped.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// The bytes of a range, if they are contiguous in memory.
    pub fn get(&self, range: Range<u64>) -> Option<&[u8]> {
        let (segment, range) = self.find(&range)?;
        self.segments[segment].memory.get(range)
    }

    fn find(&self, range: &Range<u64>) -> Option<(usize, Range<usize>)> {
        let index = self
            .segments
            .partition_point(|s| s.start <= range.start)
            .checked_sub(1)?;
        let segment = &self.segments[index];
        let start = usize::try_from(range.start - segment.start).ok()?;
        let len = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let end = start
            .checked_add(len)
            .filter(|&end| end <= segment.memory.len())?;
        Some((index, start..end))
    }

    /// A range of the content, borrowed where it is contiguous and copied otherwise.
    ///
    /// # Errors
    /// [`StoreError::File`] when the range passes the end of the file, or reading fails.
    pub fn slice(self: &Arc<Self>, range: Range<u64>) -> Result<FileSlice, StoreError> {
        self.slice_aligned(range, 1)
    }

    /// As [`FileMap::slice`], copying too when the bytes do not start at a multiple of `align` in memory.
    ///
    /// # Errors
    /// As [`FileMap::slice`].
    pub fn slice_aligned(
        self: &Arc<Self>,
        range: Range<u64>,
        align: usize,
    ) -> Result<FileSlice, StoreError> {
        self.file.check_range(&range)?;
        if range.is_empty() {
            return Ok(FileSlice::empty());
        }
        let why = match self.find(&range) {
            Some((segment, found)) => {
                let address = self.segments[segment].memory[found.clone()].as_ptr().addr();
                if address.is_multiple_of(align.max(1)) {
                    let map = Arc::clone(self);
                    return Ok(FileSlice(Bytes::Mapped {
                        map,
                        segment,
                        range: found,
                    }));
                }
                CopyReason::Misaligned
            }
            None if self.unmapped(&range) => CopyReason::MapBudget,
            None => CopyReason::Fragmented,
        };
        let mut bytes = AlignedBytes::zeroed((range.end - range.start) as usize);
        self.file.read_at(range.start, bytes.as_mut_slice())?;
        Ok(FileSlice::copied_from(bytes, why))
    }

    fn unmapped(&self, range: &Range<u64>) -> bool {
        let mapped: u64 = self
            .segments
            .iter()
            .map(|s| {
                let end = s.start + s.memory.len() as u64;
                range.end.min(end).saturating_sub(range.start.max(s.start))
            })
            .sum();
        mapped < range.end - range.start
    }
}

impl FileSlice {
    pub(crate) fn copied_from(bytes: AlignedBytes, why: CopyReason) -> Self {
        Self(Bytes::Copied { bytes, why })
    }

    /// No bytes, which need neither a map nor a copy.
    fn empty() -> Self {
        static EMPTY: std::sync::OnceLock<Arc<FileMap>> = std::sync::OnceLock::new();
        let map = EMPTY.get_or_init(|| {
            let file = StoredFile::new("", None, Vec::new(), None);
            Arc::new(FileMap {
                file,
                segments: vec![Segment {
                    start: 0,
                    memory: Mapping::empty(),
                }],
            })
        });
        Self(Bytes::Mapped {
            map: Arc::clone(map),
            segment: 0,
            range: 0..0,
        })
    }

    /// Why the bytes were copied; none when they are borrowed from a map.
    pub fn copied(&self) -> Option<CopyReason> {
        match &self.0 {
            Bytes::Mapped { .. } => None,
            Bytes::Copied { why, .. } => Some(*why),
        }
    }
}

impl Deref for FileSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped {
                map,
                segment,
                range,
            } => &map.segments[*segment].memory[range.clone()],
            Bytes::Copied { bytes, .. } => bytes,
        }
    }
}

impl AsRef<[u8]> for FileSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Shared bytes that start at a multiple of 64, more than any element's size.
#[derive(Clone)]
pub(crate) struct AlignedBytes {
    words: Arc<Vec<u8>>,
    start: usize,
    len: usize,
}

const COPY_ALIGN: usize = 64;

impl AlignedBytes {
    pub(crate) fn zeroed(len: usize) -> Self {
        let words = vec![0_u8; len + COPY_ALIGN];
        let start = words.as_ptr().align_offset(COPY_ALIGN).min(COPY_ALIGN);
        Self {
            words: Arc::new(words),
            start,
            len,
        }
    }

    /// The bytes for filling; only before the value is cloned.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        let (start, len) = (self.start, self.len);
        &mut Arc::get_mut(&mut self.words).expect("filled before it is shared")[start..start + len]
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBytes")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.words[self.start..self.start + self.len]
    }
}
