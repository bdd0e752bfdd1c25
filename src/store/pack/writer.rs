//! A pack under construction.

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::header::{Header, PackKind};
use super::table::{ObjectNote, Row, Table};
use super::{PackId, Place};
use crate::block::{Cid, Multihash};
use crate::fsio::{self, TempFile};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{StoreId, StoredCid};

/// A run of this many bytes or more starts on a multiple of it, which every page size divides.
pub(super) const RUN_ALIGN: u64 = 65_536;
/// Every block and the table begin on a multiple of this at least.
pub(crate) const SMALL_ALIGN: u64 = 64;
/// Whether a gap between two blocks may be there only so that the second one is aligned.
pub(crate) fn is_padding(gap: &std::ops::Range<u64>) -> bool {
    [SMALL_ALIGN, RUN_ALIGN]
        .iter()
        .any(|align| gap.start.next_multiple_of(*align) == gap.end)
}

/// So that the table stays a few tens of megabytes.
pub(crate) const MAX_ROWS: usize = 262_144;
/// How much is written before the kernel is asked to begin writing it out.
const WRITEBACK_STEP: u64 = 16 << 20;

#[derive(Debug)]
pub(crate) struct PackWriter {
    temp: TempFile,
    id: PackId,
    store: StoreId,
    cursor: u64,
    written_back: u64,
    rows: Vec<Row>,
}

impl PackWriter {
    pub(crate) fn create(folder: &StoreFolder, store: StoreId) -> Result<Self, StoreError> {
        let id = PackId::random()?;
        let temp = TempFile::create(folder.files(), folder.tmp().join(id.file_name()))?;
        Ok(Self {
            temp,
            id,
            store,
            cursor: Header::BYTES as u64,
            written_back: 0,
            rows: Vec::new(),
        })
    }

    pub(crate) fn id(&self) -> PackId {
        self.id
    }

    /// Writes bytes of a block to its place.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        Ok(self.temp.write_all_at(bytes, offset)?)
    }

    pub(crate) fn is_full(&self, limit_bytes: u64) -> bool {
        self.cursor >= limit_bytes || self.rows.len() >= MAX_ROWS
    }

    /// Decides where a block goes. With `continues_run` it follows the block before it, because it is the
    /// next leaf of the same file; otherwise it begins a run of up to `run_bytes`. The caller writes the bytes, in any order, before it seals.
    pub(crate) fn reserve(
        &mut self,
        cid: &Cid,
        len: usize,
        run_bytes: u64,
        continues_run: bool,
    ) -> Place {
        let offset = if continues_run {
            self.cursor
        } else if run_bytes >= RUN_ALIGN {
            self.cursor.next_multiple_of(RUN_ALIGN)
        } else {
            self.cursor.next_multiple_of(SMALL_ALIGN)
        };
        self.cursor = offset + len as u64;
        let len = u32::try_from(len).expect("a block is far below 4 GiB");
        self.rows.push(Row {
            cid: StoredCid(*cid),
            offset,
            len,
        });
        Place {
            pack: self.id,
            offset,
            len,
        }
    }

    /// The bytes up to here were written: lets the kernel begin with the disk.
    pub(crate) fn written(&mut self) {
        if self.cursor >= self.written_back + WRITEBACK_STEP {
            fsio::start_writeback(
                self.temp.file(),
                self.written_back,
                self.cursor - self.written_back,
            );
            self.written_back = self.cursor;
        }
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Leaves blocks out that another pack sealed meanwhile, and gives their space back.
    pub(crate) fn leave_out(&mut self, hashes: &HashSet<Multihash>) {
        let page = rustix::param::page_size() as u64;
        let (files, file) = (self.temp.files(), self.temp.file());
        self.rows.retain(|row| {
            if !hashes.contains(row.cid.0.hash()) {
                return true;
            }
            let start = row.offset.next_multiple_of(page);
            let end = (row.offset + u64::from(row.len)) / page * page;
            if start < end {
                // Where holes cannot be punched the bytes stay, unused.
                let _ = files.punch(file, start, end - start);
            }
            false
        });
    }

    /// Writes table and header, makes the file durable and moves it into `folder`.
    pub(crate) fn seal(
        mut self,
        folder: &Path,
        objects: Vec<ObjectNote>,
    ) -> Result<SealedPack, StoreError> {
        let table = Table {
            rows: std::mem::take(&mut self.rows),
            objects,
        };
        let bytes = table.to_bytes();
        let table_offset = self.cursor.next_multiple_of(SMALL_ALIGN);
        self.temp.write_all_at(&bytes, table_offset)?;
        let header = Header {
            kind: PackKind::Payload,
            store: self.store,
            pack: self.id,
            table_offset,
            table_len: bytes.len() as u64,
            table_check: xxh3_64(&bytes),
            file_len: table_offset + bytes.len() as u64,
            blocks: table.rows.len() as u64,
        };
        self.temp.write_all_at(&header.to_bytes(), 0)?;
        self.temp
            .publish(&folder.join(self.id.file_name()), 0o444, false)?;
        Ok(SealedPack {
            id: self.id,
            rows: table.rows,
        })
    }
}

/// A pack that stands in `packs/`, with the rows that the index is to learn.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub(crate) id: PackId,
    pub(crate) rows: Vec<Row>,
}
