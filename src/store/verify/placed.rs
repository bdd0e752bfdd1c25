//! Whether a block lies where a root places it: by the table of the pack, or by its bytes where there is no table.

use std::sync::Arc;

use super::proof::Proof;
use super::report::FindingKind;
use super::tables::{self, Known};
use crate::block::{Block, BlockError, Cid};
use crate::store::error::StoreError;
use crate::store::pack::{PackFile, Place};

impl Proof<'_, '_> {
    /// A block's bytes, if they are its own.
    pub(super) fn read_block(
        &mut self,
        cid: &Cid,
        place: Place,
        pack: &Arc<PackFile>,
        path: &str,
    ) -> Result<Option<Arc<[u8]>>, StoreError> {
        let (kind, found) = match pack.read(place.offset, place.len as usize) {
            Ok(data) => match Block::verified(*cid, data) {
                Ok(block) => return Ok(Some(block.into_data())),
                Err(BlockError::Mismatch { found, .. }) => {
                    (FindingKind::CorruptBlock, found.to_string())
                }
                Err(e) => (FindingKind::CorruptBlock, e.to_string()),
            },
            Err(StoreError::File(e)) if e.is_of_the_medium() => {
                (FindingKind::UnreadableBlock, e.to_string())
            }
            Err(e @ StoreError::Damaged { .. }) => {
                self.differs(path, Some(*cid), cid.to_string(), e.to_string());
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        if !self.access.is_dead(&place)? {
            let affected = self.affected(path);
            self.findings
                .block(kind, *cid, place, pack.path(), found, Some(&affected));
        }
        Ok(None)
    }

    /// Checks that a block is a row of its pack's table that is not dead, and returns the pack. Of a pack without a
    /// table the block itself is read.
    pub(super) fn check_row(
        &mut self,
        cid: &Cid,
        place: Place,
        path: &str,
    ) -> Result<Option<Arc<PackFile>>, StoreError> {
        if let Some(placed) = &mut self.placed {
            placed.note(cid, place);
        }
        if self.gone.is_dead(&place) {
            let found = "nothing: a collection gave the bytes back".into();
            self.missing(cid, place, path, found);
            return Ok(None);
        }
        match self.tables.of(place.pack)? {
            Known::Rows(pack, rows) => {
                let mut found = tables::at(&rows, &place).peekable();
                let other = found.peek().map(|row| row.cid.0.to_string());
                if found.any(|row| row.cid.0.hash() == cid.hash()) {
                    return Ok(Some(pack));
                }
                if tables::is_free(&rows, &place) {
                    let found = "nothing: the table of its pack has no block there".into();
                    self.missing(cid, place, path, found);
                    return Ok(None);
                }
                let Place { offset, len, .. } = place;
                let expected = format!("{cid} at {offset} of {}", pack.path().display());
                let other = other.unwrap_or_else(|| format!("no block of {len} bytes"));
                self.differs(path, Some(*cid), expected, other);
                Ok(None)
            }
            Known::NoTable(pack, error) => {
                let affected = self.affected(path);
                self.findings
                    .pack(place.pack, pack.path(), &error, Some(&affected));
                let read = self.read_block(cid, place, &pack, path)?;
                Ok(read.map(|_| pack))
            }
            Known::Lost(error) => {
                let affected = self.affected(path);
                let file = self.access.core.folder.packs().join(place.pack.file_name());
                self.findings
                    .pack(place.pack, &file, &error, Some(&affected));
                let found = "nothing: its pack cannot be opened".into();
                self.missing(cid, place, path, found);
                Ok(None)
            }
        }
    }

    fn missing(&mut self, cid: &Cid, place: Place, path: &str, found: String) {
        let affected = self.affected(path);
        let file = self.access.core.folder.packs().join(place.pack.file_name());
        let kind = FindingKind::MissingBlock;
        self.findings
            .block(kind, *cid, place, &file, found, Some(&affected));
    }
}
