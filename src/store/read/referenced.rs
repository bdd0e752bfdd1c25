//! Files that were added by reference: read by whole blocks, each hashed before anything of it is handed out, and
//! never mapped. What is mapped can change after it was hashed, and a file that is cut off would end the process.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::pack::{PackFile, PackId, Row, Source, SourceReader};

/// One source of a reference pack, and which blocks lie in it. Offsets are those of the pack.
#[derive(Debug)]
pub(crate) struct Referenced {
    pack: PackId,
    pack_path: PathBuf,
    /// In order and apart.
    rows: Arc<[Row]>,
    reader: SourceReader,
}

impl Referenced {
    pub(super) fn new(pack: &PackFile, source: &Source, rows: Arc<[Row]>, target: &str) -> Self {
        Self {
            pack: pack.id(),
            pack_path: pack.path().to_path_buf(),
            rows,
            reader: SourceReader::new(source, target),
        }
    }

    pub(super) fn pack(&self) -> PackId {
        self.pack
    }

    /// The user's file.
    pub(super) fn path(&self) -> &Path {
        self.reader.path()
    }

    /// The blocks that a range touches.
    pub(super) fn blocks(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.rows.partition_point(|row| end(row) <= range.start);
        let touched = self.rows[first..]
            .iter()
            .take_while(move |row| row.offset < range.end && !range.is_empty());
        touched.map(|row| row.offset..end(row))
    }

    /// Reads a range: every block that it touches is read and hashed as a whole.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let mut whole = Vec::new();
        self.by_blocks(offset, buf, |row, at, part| {
            if part.len() == row.len as usize {
                return self.reader.read_block(&row.cid.0, row.offset, part);
            }
            whole.resize(row.len as usize, 0);
            self.reader.read_block(&row.cid.0, row.offset, &mut whole)?;
            let from = (at - row.offset) as usize;
            part.copy_from_slice(&whole[from..from + part.len()]);
            Ok(())
        })
    }

    /// As [`Referenced::read`], for a caller who hashes what was read.
    pub(super) fn read_unchecked(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.by_blocks(offset, buf, |row, at, part| {
            self.reader.read_unchecked(&row.cid.0, at, part)
        })
    }

    /// The error for bytes that are not those of a block.
    pub(super) fn differs(&self, cid: &Cid, offset: u64, len: usize) -> StoreError {
        self.reader.differs(cid, offset, len)
    }

    fn by_blocks(
        &self,
        offset: u64,
        mut buf: &mut [u8],
        mut read: impl FnMut(&Row, u64, &mut [u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut at = offset;
        while !buf.is_empty() {
            let row = self.row(at, buf.len())?;
            let len = buf.len().min((end(row) - at) as usize);
            let (part, rest) = buf.split_at_mut(len);
            read(row, at, part)?;
            at += len as u64;
            buf = rest;
        }
        Ok(())
    }

    fn row(&self, at: u64, len: usize) -> Result<&Row, StoreError> {
        let next = self.rows.partition_point(|row| row.offset <= at);
        let row = next.checked_sub(1).map(|last| &self.rows[last]);
        row.filter(|row| at < end(row))
            .ok_or_else(|| StoreError::Damaged {
                path: self.pack_path.clone(),
                what: "place",
                expected: "blocks of the pack's table".into(),
                found: format!("none for {len} bytes from {at}"),
            })
    }
}

fn end(row: &Row) -> u64 {
    row.offset + u64::from(row.len)
}
