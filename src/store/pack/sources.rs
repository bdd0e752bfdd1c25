//! The files that a reference pack points into, and reading blocks from them.
//!
//! ```text
//! check   8  xxh3-64 of the list
//! length  8  of the list
//! list       of the sources
//! ```

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::header::Header;
use super::table::Row;
use crate::block::{Block, BlockError, Cid, verify};
use crate::dag::MAX_BLOCK_BYTES;
use crate::fsio::{self, Files};
use crate::store::error::StoreError;
use crate::store::format::{self, array};

/// Far more than the paths of the most sources of a pack take.
const MAX_LIST_BYTES: u64 = 512 << 20;
const HEAD: usize = 16;

/// A file of the user's as it was when it was added. Length and time are a hint for messages; what counts is the
/// hash of each block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Where its bytes begin among the offsets of the pack.
    pub(crate) base: u64,
    /// Its length.
    pub(crate) len: u64,
    /// When it was last written, in seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, i64),
    /// Bytes of it that the rows of the pack place.
    pub(crate) referenced_bytes: u64,
    path: Vec<u8>,
}

/// How a file differs from what was added, for messages.
#[derive(Debug)]
pub(crate) enum SourceFault {
    /// It is not there, or not as long as it was.
    Lost(String),
    /// It was written to; its bytes may be the same.
    Touched(String),
}

impl Source {
    pub(crate) fn new(base: u64, path: &Path, len: u64, modified: (i64, i64)) -> Self {
        Self {
            base,
            len,
            modified,
            referenced_bytes: 0,
            path: path.as_os_str().as_bytes().to_vec(),
        }
    }

    /// Absolute, and without symbolic links when the file was added.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn end(&self) -> Option<u64> {
        self.base.checked_add(self.len)
    }

    /// Whether its length and time are as they were.
    pub(crate) fn looks_unchanged(&self) -> bool {
        let now = Files::real().metadata_if_there(self.path());
        now.is_ok_and(|now| now.is_some_and(|now| self.is_like(&now)))
    }

    /// Whether it was added with this length and time.
    pub(crate) fn has_stamp(&self, len: u64, modified: (i64, i64)) -> bool {
        (self.len, self.modified) == (len, modified)
    }

    /// How the file differs from what was added, as far as its length and time tell.
    pub(crate) fn fault(&self) -> Option<SourceFault> {
        Some(match Files::real().metadata_if_there(self.path()) {
            Ok(None) => SourceFault::Lost("is gone".into()),
            Ok(Some(now)) if self.is_like(&now) => return None,
            Ok(Some(now)) if now.len() == self.len => {
                SourceFault::Touched(format!("is touched: {}", self.difference(&now)))
            }
            Ok(Some(now)) => SourceFault::Lost(format!("is changed: {}", self.difference(&now))),
            Err(e) => SourceFault::Lost(format!("cannot be looked at: {}", e.source)),
        })
    }

    fn is_like(&self, now: &Metadata) -> bool {
        now.len() == self.len && (now.mtime(), now.mtime_nsec()) == self.modified
    }

    /// What tells the file apart from what was added, as far as length and time do.
    fn difference(&self, now: &Metadata) -> String {
        if now.len() != self.len {
            let (now, then) = (now.len(), self.len);
            return format!("it has {now} bytes now, and had {then} when it was added");
        }
        if !self.is_like(now) {
            return "it was written to since it was added".into();
        }
        "though its length and time are as they were when it was added".into()
    }
}

/// All of a pack's, in the order of their offsets.
#[derive(Debug)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    pub(crate) fn to_bytes(list: &[Source]) -> Vec<u8> {
        let list = format::section(&list);
        let mut bytes = xxh3_64(&list).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(list.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&list);
        bytes
    }

    /// Reads the list from between the header and the table.
    pub(super) fn read(
        files: &Files,
        file: &File,
        end: u64,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let start = Header::BYTES as u64;
        let room = end - start;
        if room > MAX_LIST_BYTES {
            let expected = format!("up to {MAX_LIST_BYTES} bytes");
            return Err(damaged(path, expected, format!("{room} bytes")));
        }
        let mut bytes = vec![0; room as usize];
        files.read_exact_at(file, &mut bytes, start, path)?;
        Self::parse(&bytes, path)
    }

    /// Reads the list; what stands after it is padding.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let damaged = |expected, found| damaged(path, expected, found);
        let room = bytes.len();
        if room < HEAD {
            return Err(damaged(format!("{HEAD} bytes"), format!("{room} bytes")));
        }
        let number = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
        let (check, len) = (number(0), number(8));
        let list = usize::try_from(len)
            .ok()
            .and_then(|len| bytes[HEAD..].get(..len))
            .ok_or_else(|| damaged(format!("up to {room} bytes"), format!("{len} bytes")))?;
        let found = xxh3_64(list);
        if found != check {
            let (expected, found) = (format!("{check:016x}"), format!("{found:016x}"));
            return Err(damaged(format!("checksum {expected}"), found));
        }
        let sources: Vec<Source> = format::decode(list, path, "list of sources")?;
        let is_sound = |source: &Source| {
            let path = source.path();
            path.is_absolute() && !source.path.contains(&0) && source.end().is_some()
        };
        // No extent may run from one file into the next.
        let apart = |pair: &[Source]| pair[0].end().is_some_and(|end| end < pair[1].base);
        if !sources.iter().all(is_sound) || !sources.windows(2).all(apart) {
            let expected = "files with absolute paths, in order and apart".into();
            return Err(damaged(expected, "others".into()));
        }
        Ok(Self(sources))
    }

    pub(crate) fn list(&self) -> &[Source] {
        &self.0
    }

    /// The source that a range lies in as a whole, and the number of it.
    pub(crate) fn locate(&self, offset: u64, len: u64) -> Option<(usize, &Source)> {
        let number = self.0.partition_point(|source| source.base <= offset);
        let number = number.checked_sub(1)?;
        let source = &self.0[number];
        let end = offset.checked_add(len)?;
        (Some(end) <= source.end()).then_some((number, source))
    }

    /// Whether rows, in the order of their offsets, lie in one source each and apart, as every reader needs them. Empty
    /// ones have no place.
    pub(crate) fn hold_apart(&self, rows: &[Row]) -> bool {
        let mut end = 0;
        rows.iter().filter(|row| row.len > 0).all(|row| {
            let is_apart = row.offset >= end;
            end = row.offset.saturating_add(u64::from(row.len));
            is_apart && self.holds(row)
        })
    }

    /// Whether a row lies in one source, and is no longer than a block may be.
    pub(crate) fn holds(&self, row: &Row) -> bool {
        let len = row.len as usize;
        len <= MAX_BLOCK_BYTES && self.locate(row.offset, u64::from(row.len)).is_some()
    }

    /// Bytes of all of them that the pack places.
    pub(crate) fn referenced_bytes(&self) -> u64 {
        let bytes = self.0.iter().map(|source| source.referenced_bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

fn damaged(path: &Path, expected: String, found: String) -> StoreError {
    StoreError::Damaged {
        path: path.to_path_buf(),
        what: "list of sources",
        expected,
        found,
    }
}

/// Reads blocks of one source. The file is opened when the first of them is read.
#[derive(Debug)]
pub(crate) struct SourceReader {
    source: Source,
    /// What is read, for messages: an object and a path below it, or a block.
    target: Box<str>,
    handle: OnceLock<File>,
}

impl SourceReader {
    pub(crate) fn new(source: &Source, target: &str) -> Self {
        Self {
            source: source.clone(),
            target: target.into(),
            handle: OnceLock::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    /// Fills `buf` with a block that begins at an offset of the pack, and checks it. Whatever an error leaves in
    /// `buf` is not to be used.
    ///
    /// # Errors
    /// [`StoreError::SourceGone`] when the file cannot be read, [`StoreError::SourceDiffers`] when it holds other
    /// bytes.
    pub(crate) fn read_block(
        &self,
        cid: &Cid,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), StoreError> {
        self.read_unchecked(cid, offset, buf)?;
        match verify(cid, buf) {
            Ok(()) => Ok(()),
            Err(BlockError::Mismatch { .. }) => Err(self.differs(cid, offset, buf.len())),
            Err(e) => Err(e.into()),
        }
    }

    /// As [`SourceReader::read_block`], as a block.
    pub(crate) fn block(&self, cid: &Cid, offset: u64, len: usize) -> Result<Block, StoreError> {
        let mut bytes = vec![0; len];
        self.read_unchecked(cid, offset, &mut bytes)?;
        match Block::verified(*cid, bytes) {
            Err(BlockError::Mismatch { .. }) => Err(self.differs(cid, offset, len)),
            checked => Ok(checked?),
        }
    }

    /// As [`SourceReader::read_block`], for a caller who checks what was read.
    pub(crate) fn read_unchecked(
        &self,
        cid: &Cid,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), StoreError> {
        let at = offset - self.source.base;
        let gone = |source| StoreError::SourceGone {
            target: self.target.to_string(),
            path: self.path().to_path_buf(),
            offset: at,
            block: Box::new(*cid),
            source,
        };
        let file = self.file().map_err(gone)?;
        match Files::real().read_range_at(file, buf, at, self.path()) {
            Ok(()) => Ok(()),
            Err(e) if e.source.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.differs(cid, offset, buf.len()))
            }
            Err(e) => Err(gone(e.source)),
        }
    }

    /// The error for bytes that are not those of a block.
    pub(crate) fn differs(&self, cid: &Cid, offset: u64, len: usize) -> StoreError {
        let now = self.file().and_then(File::metadata);
        StoreError::SourceDiffers {
            target: self.target.to_string(),
            path: self.path().to_path_buf(),
            offset: offset - self.source.base,
            len: len as u64,
            block: Box::new(*cid),
            what: now.map_or_else(|e| e.to_string(), |now| self.source.difference(&now)),
        }
    }

    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.handle.get() {
            return Ok(file);
        }
        let file = fsio::open_regular(self.path())?;
        Ok(self.handle.get_or_init(|| file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &[Source]) -> Result<Sources, StoreError> {
        Sources::parse(&Sources::to_bytes(list), Path::new("packs/x.pack"))
    }

    fn source(base: u64, len: u64, path: &str) -> Source {
        Source::new(base, Path::new(path), len, (0, 0))
    }

    #[test]
    fn a_range_is_found_in_the_one_source_that_holds_all_of_it() {
        let list = [
            source(0, 100, "/a"),
            source(65_536, 0, "/b"),
            source(131_072, 9, "/c"),
        ];
        let sources = read(&list).unwrap();
        let path = |offset, len| sources.locate(offset, len).map(|(_, found)| found.path());
        assert_eq!(path(0, 100), Some(Path::new("/a")));
        assert_eq!(path(99, 1), Some(Path::new("/a")));
        assert_eq!(path(99, 2), None);
        assert_eq!(path(65_536, 1), None);
        assert_eq!(path(131_080, 1), Some(Path::new("/c")));
        assert_eq!(path(131_081, u64::MAX), None);
    }

    /// Checksums hold in all of these: somebody wrote them on purpose.
    #[test]
    fn a_hostile_list_is_refused() {
        assert!(read(&[source(0, 1, "/a"), source(2, 1, "/b")]).is_ok());
        for list in [
            [source(0, 1, "relative"), source(65_536, 1, "/b")],
            [source(0, 1, ""), source(65_536, 1, "/b")],
            [source(0, 1, "/a\0b"), source(65_536, 1, "/b")],
            [source(0, 1, "/a"), source(1, 1, "/b")],
            [source(9, 1, "/a"), source(0, 1, "/b")],
            [source(0, 1, "/a"), source(2, u64::MAX, "/b")],
        ] {
            let error = read(&list).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
    }
}
