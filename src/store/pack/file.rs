//! A sealed pack, open for reading.

use std::fs::File;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::PackId;
use super::header::Header;
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
}

impl PackFile {
    /// Opens a pack and checks its header; the payload and the table are not read.
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
        Ok(Self {
            files,
            file,
            path,
            header,
        })
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

    /// Where blocks may lie, between the header and the table.
    pub(crate) fn payload(&self) -> std::ops::Range<u64> {
        Header::BYTES as u64..self.header.table_offset
    }

    /// How many blocks the table lists.
    pub(crate) fn blocks(&self) -> u64 {
        self.header.blocks
    }

    /// Refuses a range that is not payload.
    pub(crate) fn check_range(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let end = offset.checked_add(len);
        let payload = self.payload();
        if offset >= payload.start && end.is_some_and(|end| end <= payload.end) {
            return Ok(());
        }
        Err(StoreError::Damaged {
            path: self.path.clone(),
            what: "place",
            expected: format!("a range within {}..{}", payload.start, payload.end),
            found: format!("{len} bytes from {offset}"),
        })
    }

    /// One block's bytes.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        if len > MAX_BLOCK_BYTES {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                what: "length of a block",
                expected: format!("up to {MAX_BLOCK_BYTES} bytes"),
                found: format!("{len} bytes from {offset}"),
            });
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
