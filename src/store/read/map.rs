//! Content as memory: maps of packs, stitched where pages allow it, gathered where they do not.

use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::file::StoredFile;
use super::stitch::{Segment, is_one_run, segments};
use crate::fsio::{Mapping, Memory};
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
    /// The caller asked for copies.
    Requested,
    /// They lie in a file that was added by reference, which is read and hashed, and never mapped.
    Referenced,
}

impl CopyReason {
    /// `fragmented`, `misaligned`, `gathered`, `device_memory`, `map_budget`, `requested` or `referenced`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fragmented => "fragmented",
            Self::Misaligned => "misaligned",
            Self::Gathered => "gathered",
            Self::DeviceMemory => "device_memory",
            Self::MapBudget => "map_budget",
            Self::Requested => "requested",
            Self::Referenced => "referenced",
        }
    }
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
        bytes: Arc<Memory>,
        why: CopyReason,
    },
}

impl FileMap {
    /// Maps what of a file is wanted, and what comes with it.
    pub(crate) fn new(file: &StoredFile, wanted: &[Range<u64>]) -> Result<Self, StoreError> {
        Ok(Self {
            file: file.clone(),
            segments: segments(file, wanted)?,
        })
    }

    /// The file that is mapped.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// The bytes of a range, if they are contiguous in memory and none is known to be damaged.
    pub fn get(&self, range: Range<u64>) -> Option<&[u8]> {
        self.file.check_good(&range).ok()?;
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
        let why = match (self.copies(&range, align), self.find(&range)) {
            (None, Some((segment, range))) => {
                let map = Arc::clone(self);
                return Ok(FileSlice(Bytes::Mapped {
                    map,
                    segment,
                    range,
                }));
            }
            (why, _) => why.unwrap_or(CopyReason::Fragmented),
        };
        let mut bytes = self.file.memory(range.end - range.start)?;
        self.file.read_at(range.start, &mut bytes)?;
        Ok(FileSlice::copied_from(bytes, why))
    }

    /// Why a range cannot be borrowed with its first byte at a multiple of `align`; none if it can.
    pub(crate) fn copies(&self, range: &Range<u64>, align: usize) -> Option<CopyReason> {
        if range.is_empty() {
            return None;
        }
        match self.find(range) {
            Some((segment, found)) => {
                let address = self.segments[segment].memory[found].as_ptr().addr();
                (!address.is_multiple_of(align.max(1))).then_some(CopyReason::Misaligned)
            }
            None if self.file.is_referenced(range) => Some(CopyReason::Referenced),
            None if is_one_run(&self.file, range) => Some(CopyReason::MapBudget),
            None => Some(CopyReason::Fragmented),
        }
    }

    /// All of what is mapped will be read: has it read in large steps, whoever reads which part first.
    pub(crate) fn expect_all(&self) {
        for segment in &self.segments {
            segment.memory.prefer_huge_pages();
        }
    }

    /// Brings what of a range is mapped into memory. What the disk cannot read is an error here, and a
    /// SIGBUS at the first touch.
    ///
    /// # Errors
    /// [`StoreError::File`] with the file and the offset.
    pub fn populate(&self, range: Range<u64>) -> Result<(), StoreError> {
        let first = self.segments.partition_point(|s| s.end() <= range.start);
        for segment in &self.segments[first..] {
            let part = range.start.max(segment.start)..range.end.min(segment.end());
            if part.is_empty() {
                break;
            }
            let inside = (part.start - segment.start) as usize..(part.end - segment.start) as usize;
            let Err(source) = segment.memory.populate(inside) else {
                continue;
            };
            // The kernel says only that a page could not be had; reading says which and why.
            self.file.probe(part)?;
            if source.kind() != io::ErrorKind::Unsupported {
                return Err(StoreError::Map {
                    name: self.file.name().to_owned(),
                    source,
                });
            }
        }
        Ok(())
    }
}

impl FileSlice {
    pub(crate) fn copied_from(bytes: Memory, why: CopyReason) -> Self {
        Self(Bytes::Copied {
            bytes: Arc::new(bytes),
            why,
        })
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
