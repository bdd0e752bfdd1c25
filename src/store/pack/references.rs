//! A reference pack under construction.

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::header::{Header, PackKind};
use super::sources::{Source, Sources};
use super::table::{ObjectNote, Row, Table};
use super::writer::{RUN_ALIGN, SMALL_ALIGN, SealedPack};
use super::{PackId, Place};
use crate::block::Multihash;
use crate::fsio::TempFile;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{StoreId, StoredCid};

/// Fewer than in a pack with payload: readers keep the table in memory, some 10 MB of it then.
const MAX_ROWS: usize = 65_536;

/// Collects places in files of the user's. Nothing is written before it is sealed.
#[derive(Debug)]
pub(crate) struct ReferenceWriter {
    id: PackId,
    store: StoreId,
    sources: Vec<Source>,
    rows: Vec<Row>,
}

impl ReferenceWriter {
    pub(crate) fn new(store: StoreId) -> Result<Self, StoreError> {
        Ok(Self {
            id: PackId::random()?,
            store,
            sources: Vec::new(),
            rows: Vec::new(),
        })
    }

    pub(crate) fn id(&self) -> PackId {
        self.id
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= MAX_ROWS
    }

    /// The path of the source that blocks are taken from now.
    pub(crate) fn current(&self) -> Option<&Path> {
        self.sources.last().map(Source::path)
    }

    /// Begins with a file: its absolute path, its length, and when it was last written.
    pub(crate) fn begin(&mut self, path: &Path, len: u64, modified: (i64, i64)) {
        let base = self.sources.last().map_or(0, |last| {
            // A byte apart at least.
            (last.base + last.len + 1).next_multiple_of(RUN_ALIGN)
        });
        self.sources.push(Source::new(base, path, len, modified));
    }

    /// A block of the file that was begun last, at an offset in it.
    pub(crate) fn place(&mut self, cid: StoredCid, offset: u64, len: u32) -> Place {
        let source = self.sources.last_mut().expect("a file was begun");
        let offset = source.base + offset;
        self.rows.push(Row { cid, offset, len });
        Place {
            pack: self.id,
            offset,
            len,
        }
    }

    /// Leaves blocks out that a pack has by now.
    pub(crate) fn leave_out(&mut self, hashes: &HashSet<Multihash>) {
        self.rows.retain(|row| !hashes.contains(row.cid.0.hash()));
    }

    /// Writes everything, makes it durable and moves it into `packs/`.
    pub(crate) fn seal(
        mut self,
        folder: &StoreFolder,
        objects: Vec<ObjectNote>,
    ) -> Result<SealedPack, StoreError> {
        self.rows.sort_by_key(|row| row.offset);
        for row in &self.rows {
            let source = self.sources.partition_point(|s| s.base <= row.offset) - 1;
            self.sources[source].referenced_bytes += u64::from(row.len);
        }
        self.sources.retain(|source| source.referenced_bytes > 0);
        let sources = Sources::to_bytes(&self.sources);
        let table = Table {
            rows: self.rows,
            objects,
        };
        let bytes = table.to_bytes();
        let table_offset =
            (Header::BYTES as u64 + sources.len() as u64).next_multiple_of(SMALL_ALIGN);
        let header = Header {
            kind: PackKind::References,
            store: self.store,
            pack: self.id,
            table_offset,
            table_len: bytes.len() as u64,
            table_check: xxh3_64(&bytes),
            file_len: table_offset + bytes.len() as u64,
            blocks: table.rows.len() as u64,
        };
        let name = self.id.file_name();
        let temp = TempFile::create(folder.files(), folder.tmp().join(&name))?;
        temp.write_all_at(&sources, Header::BYTES as u64)?;
        temp.write_all_at(&bytes, table_offset)?;
        temp.write_all_at(&header.to_bytes(), 0)?;
        temp.publish(&folder.packs().join(name), 0o444, false)?;
        Ok(SealedPack {
            id: self.id,
            rows: table.rows,
        })
    }
}
