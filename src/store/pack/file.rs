//! A sealed pack, open for reading.

use std::fs::File;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::PackId;
use super::header::{Header, PackKind};
use super::sources::{Source, Sources};
use super::table::Table;
use crate::dag::MAX_BLOCK_BYTES;
use crate::fsio::Files;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::StoreId;

/// Far more than the most rows of a pack take.
pub(crate) const MAX_TABLE_BYTES: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct PackFile {
    files: Files,
    file: File,
    path: PathBuf,
    header: Header,
    /// Where the blocks of a reference pack lie.
    sources: Option<Sources>,
}

impl PackFile {
    /// Opens a pack and checks its header; the payload and the table are not read, the list of sources is.
    pub(crate) fn open(
        folder: &StoreFolder,
        id: PackId,
        store: StoreId,
    ) -> Result<Self, StoreError> {
        let files = folder.files().clone();
        let path = folder.packs().join(id.file_name());
        let file = files.open(&path)?;
        let len = files.file_metadata(&file, &path)?.len();
        let mut bytes = [0; Header::BYTES];
        if len < Header::BYTES as u64 {
            return Err(StoreError::Damaged {
                path,
                what: "length",
                expected: format!("at least {} bytes", Header::BYTES),
                found: format!("{len} bytes"),
            });
        }
        files.read_exact_at(&file, &mut bytes, 0, &path)?;
        let header = Header::parse(&bytes, store, id, len, &path)?;
        let sources = match header.kind {
            PackKind::Payload => None,
            PackKind::References => Some(Sources::read(&files, &file, header.table_offset, &path)?),
        };
        Ok(Self {
            files,
            file,
            path,
            header,
            sources,
        })
    }

    /// The files that the blocks of a reference pack lie in; none for a pack with payload.
    pub(crate) fn sources(&self) -> Option<&Sources> {
        self.sources.as_ref()
    }

    pub(crate) fn is_reference(&self) -> bool {
        self.sources.is_some()
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn id(&self) -> PackId {
        self.header.pack
    }

    /// The length of the file, padding and table included.
    pub(crate) fn file_len(&self) -> u64 {
        self.header.file_len
    }

    /// What lies between the header and the table: blocks, or the list of sources.
    pub(crate) fn payload(&self) -> std::ops::Range<u64> {
        Header::BYTES as u64..self.header.table_offset
    }

    /// How many blocks the table lists.
    pub(crate) fn blocks(&self) -> u64 {
        self.header.blocks
    }

    /// Refuses a range that is neither payload nor within one source.
    pub(crate) fn check_range(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.source_of(offset, len).map(drop)
    }

    /// The source that a range lies in, and its number; none where the range is payload.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a range that is neither.
    pub(crate) fn source_of(
        &self,
        offset: u64,
        len: u64,
    ) -> Result<Option<(usize, &Source)>, StoreError> {
        if let Some(sources) = &self.sources {
            let located = sources.locate(offset, len).map(Some);
            let expected = || "a range within one source".to_owned();
            return located.ok_or_else(|| self.damaged("place", expected(), offset, len));
        }
        let end = offset.checked_add(len);
        let payload = self.payload();
        if offset >= payload.start && end.is_some_and(|end| end <= payload.end) {
            return Ok(None);
        }
        let expected = format!("a range within {}..{}", payload.start, payload.end);
        Err(self.damaged("place", expected, offset, len))
    }

    fn damaged(&self, what: &'static str, expected: String, offset: u64, len: u64) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
            expected,
            found: format!("{len} bytes from {offset}"),
        }
    }

    pub(crate) fn check_block_len(&self, offset: u64, len: usize) -> Result<(), StoreError> {
        if len <= MAX_BLOCK_BYTES {
            return Ok(());
        }
        let expected = format!("up to {MAX_BLOCK_BYTES} bytes");
        Err(self.damaged("length of a block", expected, offset, len as u64))
    }

    /// One block's bytes, as they lie in the pack. A reference pack has none.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        self.check_block_len(offset, len)?;
        if self.is_reference() {
            let expected = "a pack with payload".to_owned();
            return Err(self.damaged("place of a node", expected, offset, len as u64));
        }
        self.check_range(offset, len as u64)?;
        let mut bytes = vec![0; len];
        let files = &self.files;
        files.read_exact_at(&self.file, &mut bytes, offset, &self.path)?;
        Ok(bytes)
    }

    pub(crate) fn table(&self) -> Result<Table, StoreError> {
        read_table(&self.files, &self.file, &self.path, &self.header)
    }
}

/// The table of a pack with that header.
pub(crate) fn read_table(
    files: &Files,
    file: &File,
    path: &Path,
    header: &Header,
) -> Result<Table, StoreError> {
    if header.table_len > MAX_TABLE_BYTES {
        return Err(StoreError::Damaged {
            path: path.to_path_buf(),
            what: "length of the table",
            expected: format!("up to {MAX_TABLE_BYTES} bytes"),
            found: format!("{} bytes", header.table_len),
        });
    }
    let mut bytes = vec![0; header.table_len as usize];
    files.read_exact_at(file, &mut bytes, header.table_offset, path)?;
    let found = xxh3_64(&bytes);
    if found != header.table_check {
        return Err(StoreError::Damaged {
            path: path.to_path_buf(),
            what: "table checksum",
            expected: format!("{:016x}", header.table_check),
            found: format!("{found:016x}"),
        });
    }
    Table::parse(&bytes, path)
}
