//! The bytes of one file of an object.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::map::{FileMap, FileSlice};
use super::referenced::Referenced;
use super::stream::FileReader;
use crate::block::Cid;
use crate::error::FileError;
use crate::fsio::{self, Files, Memory};
use crate::store::error::StoreError;
use crate::store::gone::Why;
use crate::store::pack::PackFile;
use crate::store::root::Lease;
use crate::store::sharing::Span;

/// A file that bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Backing {
    Pack(Arc<PackFile>),
    /// A source of a reference pack. Offsets are those of the pack.
    Referenced(Arc<Referenced>),
    /// A file of the user's, outside any store.
    Plain(Arc<(File, std::path::PathBuf)>),
}

/// How the bytes of a backing are had.
#[derive(Clone, Copy)]
enum Access<'b> {
    Direct(Direct<'b>),
    /// By whole blocks, which are hashed.
    Blocks(&'b Referenced),
}

/// A file whose bytes are taken as they are, and may be mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct<'b> {
    pub(crate) files: &'b Files,
    pub(crate) file: &'b File,
    pub(crate) path: &'b Path,
}

impl Backing {
    fn access(&self) -> Access<'_> {
        match self {
            Self::Pack(pack) => Access::Direct(Direct {
                files: pack.files(),
                file: pack.file(),
                path: pack.path(),
            }),
            Self::Referenced(source) => Access::Blocks(source),
            Self::Plain(plain) => Access::Direct(Direct {
                files: Files::real(),
                file: &plain.0,
                path: &plain.1,
            }),
        }
    }

    /// The file itself; none where only blocks that were checked are handed out.
    pub(crate) fn direct(&self) -> Option<Direct<'_>> {
        match self.access() {
            Access::Direct(direct) => Some(direct),
            Access::Blocks(_) => None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Pack(pack) => pack.path(),
            Self::Referenced(source) => source.path(),
            Self::Plain(plain) => &plain.1,
        }
    }
}

/// How bytes are read.
#[derive(Clone, Copy)]
enum How {
    Plain,
    /// Beside other threads that read other parts.
    Part,
    /// So too, and the caller checks them.
    Unchecked,
}

/// A range of a file that holds `start..start + len` of the content.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) backing: Backing,
    pub(crate) start: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// A file of an object, open for reading; holds the object's lease, so that what it reads from stays.
///
/// Cheap to clone; outlives the store it came from.
#[derive(Clone, Debug)]
pub struct StoredFile {
    name: Arc<str>,
    cid: Option<Cid>,
    size: u64,
    extents: Arc<[Extent]>,
    /// Which parts are not to be read, and why.
    refused: Arc<[(Range<u64>, Why)]>,
    #[expect(dead_code, reason = "held for its drop, which gives the object up")]
    lease: Option<Arc<Lease>>,
}

impl StoredFile {
    pub(crate) fn new(
        name: &str,
        cid: Option<Cid>,
        extents: Vec<Extent>,
        lease: Option<Arc<Lease>>,
    ) -> Self {
        let size = extents.last().map_or(0, |e| e.start + e.len);
        Self {
            name: name.into(),
            cid,
            size,
            extents: extents.into(),
            refused: Arc::default(),
            lease,
        }
    }

    /// The file with parts that are not to be read, in order.
    pub(crate) fn refusing(mut self, parts: Vec<(Range<u64>, Why)>) -> Self {
        self.refused = parts.into();
        self
    }

    /// What the file is called, for messages: its path below the object, or the object's CID.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's CID; none for a file outside any store.
    pub fn cid(&self) -> Option<&Cid> {
        self.cid.as_ref()
    }

    /// Length of the content in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Whether some of a range lies in a file of the user's that was added by reference.
    pub(crate) fn is_referenced(&self, range: &Range<u64>) -> bool {
        self.overlaps(range.clone())
            .any(|(extent, _)| matches!(extent.backing, Backing::Referenced(_)))
    }

    /// A range cut where the blocks of its referenced parts begin and end, which are read as a whole; for the parts
    /// in packs, as long as they are. Says for each whether it is such a block.
    pub(crate) fn referenced_blocks(&self, range: Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut parts: Vec<(Range<u64>, bool)> = Vec::new();
        for (extent, part) in self.overlaps(range) {
            let Backing::Referenced(source) = &extent.backing else {
                parts.push((part, false));
                continue;
            };
            let of_file = |offset: u64| {
                let inside = offset.clamp(extent.offset, extent.offset + extent.len);
                extent.start + (inside - extent.offset)
            };
            let from = extent.offset + (part.start - extent.start);
            let mut at = part.start;
            // Where there is no block though the root says so, whoever reads says it.
            let mut pass = |parts: &mut Vec<_>, to: u64| {
                if at < to {
                    parts.push((at..to, false));
                }
                at = to;
            };
            for block in source.blocks(from..from + (part.end - part.start)) {
                let block = of_file(block.start)..of_file(block.end);
                pass(&mut parts, block.start.max(part.start));
                pass(&mut Vec::new(), block.end);
                parts.push((block, true));
            }
            pass(&mut parts, part.end);
        }
        parts
    }

    /// A `Read + Seek` over the content.
    pub fn reader(&self) -> FileReader {
        FileReader::new(self.clone())
    }

    /// Reads up to `buf.len()` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// [`StoreError::File`] when the operating system fails to read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, StoreError> {
        self.read_with(offset, buf, How::Plain)
    }

    /// As [`StoredFile::read_at`], where several threads read parts of the file.
    pub(crate) fn read_part_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, StoreError> {
        self.read_with(offset, buf, How::Part)
    }

    /// As [`StoredFile::read_part_at`], for a caller who hashes what was read: referenced bytes are not hashed here
    /// too.
    pub(crate) fn read_unchecked_at(
        &self,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, StoreError> {
        self.read_with(offset, buf, How::Unchecked)
    }

    fn read_with(&self, offset: u64, buf: &mut [u8], how: How) -> Result<usize, StoreError> {
        let end = self.size.min(offset.saturating_add(buf.len() as u64));
        self.check_good(&(offset..end))?;
        let mut done = 0;
        for (extent, range) in self.overlaps(offset..end) {
            let len = (range.end - range.start) as usize;
            let from = extent.offset + (range.start - extent.start);
            let to = &mut buf[done..done + len];
            match (extent.backing.access(), how) {
                (Access::Direct(Direct { files, file, path }), How::Plain) => {
                    files.read_exact_at(file, to, from, path)?;
                }
                (Access::Direct(Direct { files, file, path }), _) => {
                    files.read_range_at(file, to, from, path)?;
                }
                (Access::Blocks(source), How::Unchecked) => source.read_unchecked(from, to)?,
                (Access::Blocks(source), _) => source.read(from, to)?,
            }
            done += len;
        }
        Ok(done)
    }

    /// The whole content in memory.
    ///
    /// # Errors
    /// [`StoreError::File`] when the operating system fails to read.
    pub fn read(&self) -> Result<Vec<u8>, StoreError> {
        let too_large = |_| FileError::new("read", &*self.name, io::ErrorKind::FileTooLarge.into());
        let mut bytes = vec![0; usize::try_from(self.size).map_err(too_large)?];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Maps the whole content read-only, stitched into contiguous memory where pages allow it.
    ///
    /// # Errors
    /// [`StoreError::Map`] when the operating system refuses.
    pub fn map(&self) -> Result<FileMap, StoreError> {
        FileMap::new(self, std::slice::from_ref(&(0..self.size)))
    }

    /// A range of the content: borrowed from a map where it is contiguous, copied otherwise
    /// ([`FileSlice::copied`] says which and why).
    ///
    /// # Errors
    /// [`StoreError::File`] of kind `UnexpectedEof` when the range passes the end of the file.
    pub fn slice(&self, range: Range<u64>) -> Result<FileSlice, StoreError> {
        self.check_range(&range)?;
        Arc::new(FileMap::new(self, std::slice::from_ref(&range))?).slice(range)
    }

    /// Memory for so many bytes of the content.
    pub(crate) fn memory(&self, len: u64) -> Result<Memory, StoreError> {
        let memory = usize::try_from(len)
            .map_err(|_| io::ErrorKind::OutOfMemory.into())
            .and_then(Memory::zeroed);
        memory.map_err(|source| {
            let why = io::Error::new(source.kind(), format!("{len} bytes of memory: {source}"));
            FileError::new("copy", &*self.name, why).into()
        })
    }

    /// Reads a range and keeps nothing of it: an error says which bytes the disk does not give.
    pub(crate) fn probe(&self, range: Range<u64>) -> Result<(), StoreError> {
        const STEP: u64 = 64 << 10;
        let mut buffer = vec![0; STEP.min(range.end - range.start) as usize];
        let mut at = range.start;
        while at < range.end {
            let len = STEP.min(range.end - at);
            self.read_at(at, &mut buffer[..len as usize])?;
            at += len;
        }
        Ok(())
    }

    /// Whether the bytes lie on a file system of the network or of another process, where touching a map is
    /// slow and every failing page a SIGBUS.
    pub(crate) fn is_remote(&self) -> bool {
        let mut direct = self.extents.iter().filter_map(|e| e.backing.direct());
        direct
            .next()
            .is_some_and(|first| fsio::is_remote(first.file))
    }

    pub(crate) fn check_range(&self, range: &Range<u64>) -> Result<(), StoreError> {
        if range.start <= range.end && range.end <= self.size {
            return self.check_good(range);
        }
        let why = format!("it has {} bytes, and {range:?} was asked for", self.size);
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, why);
        Err(FileError::new("read", &*self.name, source).into())
    }

    /// Refuses a range of which something is not to be read.
    pub(super) fn check_good(&self, range: &Range<u64>) -> Result<(), StoreError> {
        let first = self
            .refused
            .partition_point(|(bad, _)| bad.end <= range.start);
        let Some((bad, why)) = self.refused[first..]
            .first()
            .filter(|(bad, _)| bad.start < range.end && !range.is_empty())
        else {
            return Ok(());
        };
        let place = self.overlaps(bad.clone()).next();
        let (pack, pack_offset) = place.map_or_else(Default::default, |(extent, part)| {
            let offset = extent.offset + (part.start - extent.start);
            (extent.backing.path().to_path_buf(), offset)
        });
        let name = self.name.to_string();
        let (offset, len) = (bad.start, bad.end - bad.start);
        Err(match why {
            Why::Damaged => StoreError::KnownDamage {
                name,
                offset,
                len,
                pack,
                pack_offset,
            },
            Why::Dead => StoreError::Collected {
                name,
                offset,
                len,
                pack,
                pack_offset,
            },
        })
    }

    /// Where a range of the content lies in packs; nothing of a file outside a store.
    pub(crate) fn spans(&self, range: Range<u64>) -> impl Iterator<Item = Span> + '_ {
        self.overlaps(range)
            .filter_map(|(extent, part)| match &extent.backing {
                Backing::Pack(pack) => Some(Span {
                    pack: pack.id(),
                    offset: extent.offset + (part.start - extent.start),
                    len: part.end - part.start,
                }),
                Backing::Referenced(source) => Some(Span {
                    pack: source.pack(),
                    offset: extent.offset + (part.start - extent.start),
                    len: part.end - part.start,
                }),
                Backing::Plain(_) => None,
            })
    }

    /// The extents that hold a range of the content, with the part of the content each holds.
    pub(crate) fn overlaps(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = (&Extent, Range<u64>)> + '_ {
        let first = self
            .extents
            .partition_point(|e| e.start + e.len <= range.start);
        self.extents[first..].iter().map_while(move |extent| {
            let part = range.start.max(extent.start)..range.end.min(extent.start + extent.len);
            (part.start < part.end).then_some((extent, part))
        })
    }
}
