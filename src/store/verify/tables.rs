//! Which block lies where, from the packs' tables: as many as memory allows are kept at hand.

use std::collections::HashMap;
use std::sync::Arc;

use super::access::{Access, is_lost};
use crate::dag::MAX_BLOCK_BYTES;
use crate::store::error::StoreError;
use crate::store::pack::{PackFile, PackId, Place, Row};

/// Rows that are kept; some 120 bytes each.
const MAX_ROWS: usize = 400_000;

/// What is known of a pack.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// Its rows, in the order of their offsets.
    Rows(Arc<PackFile>, Arc<[Row]>),
    /// The table is damaged; blocks may be read all the same.
    NoTable(Arc<PackFile>, Arc<StoreError>),
    /// It is missing or its header is damaged, so nothing of it can be read.
    Lost(Arc<StoreError>),
}

/// What is kept of it. The pack itself is open as long as it is among the last used ones only: there may be more of
/// them than a process may have files open.
#[derive(Clone, Debug)]
enum Kept {
    Rows(Arc<[Row]>),
    NoTable(Arc<StoreError>),
    Lost(Arc<StoreError>),
}

pub(crate) struct Tables<'a> {
    access: &'a Access<'a>,
    kept: HashMap<PackId, (Kept, u64)>,
    rows: usize,
    clock: u64,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(access: &'a Access<'a>) -> Self {
        Self {
            access,
            kept: HashMap::new(),
            rows: 0,
            clock: 0,
        }
    }

    /// # Errors
    /// What says nothing of the pack: too many open files, for instance.
    pub(crate) fn of(&mut self, pack: PackId) -> Result<Known, StoreError> {
        self.clock += 1;
        if let Some((kept, used)) = self.kept.get_mut(&pack) {
            *used = self.clock;
            return again(self.access, pack, kept.clone());
        }
        let known = open(self.access, pack)?;
        let kept = Kept::from(&known);
        let rows = count(&kept);
        while self.rows + rows > MAX_ROWS && !self.kept.is_empty() {
            let oldest = self.kept.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.rows -= self
                .kept
                .remove(&oldest)
                .map_or(0, |(gone, _)| count(&gone));
        }
        self.rows += rows;
        self.kept.insert(pack, (kept, self.clock));
        Ok(known)
    }
}

impl From<&Known> for Kept {
    fn from(known: &Known) -> Self {
        match known {
            Known::Rows(_, rows) => Self::Rows(Arc::clone(rows)),
            Known::NoTable(_, error) => Self::NoTable(Arc::clone(error)),
            Known::Lost(error) => Self::Lost(Arc::clone(error)),
        }
    }
}

fn count(kept: &Kept) -> usize {
    match kept {
        Kept::Rows(rows) => rows.len(),
        // Small, but there may be many.
        Kept::NoTable(_) | Kept::Lost(_) => 16,
    }
}

/// What was known of a pack, with the pack, which may have been closed since.
fn again(access: &Access<'_>, id: PackId, kept: Kept) -> Result<Known, StoreError> {
    if let Kept::Lost(error) = kept {
        return Ok(Known::Lost(error));
    }
    Ok(match (access.core.packs.open(id), kept) {
        (Ok(pack), Kept::Rows(rows)) => Known::Rows(pack, rows),
        (Ok(pack), Kept::NoTable(error)) => Known::NoTable(pack, error),
        (_, Kept::Lost(error)) => Known::Lost(error),
        (Err(e), _) if is_lost(&e) => Known::Lost(Arc::new(e)),
        (Err(e), _) => return Err(e),
    })
}

/// Opens a pack and reads its table.
pub(super) fn open(access: &Access<'_>, id: PackId) -> Result<Known, StoreError> {
    let pack = match access.core.packs.open(id) {
        Ok(pack) => pack,
        Err(e) if is_lost(&e) => return Ok(Known::Lost(Arc::new(e))),
        Err(e) => return Err(e),
    };
    match pack.table() {
        Ok(table) => {
            let mut rows = table.rows;
            rows.sort_by_key(|row| (row.offset, row.len));
            Ok(Known::Rows(pack, rows.into()))
        }
        Err(e) if is_lost(&e) => Ok(Known::NoTable(pack, Arc::new(e))),
        Err(e) => Err(e),
    }
}

/// The rows that begin at a place and are as long.
pub(super) fn at<'r>(rows: &'r [Row], place: &Place) -> impl Iterator<Item = &'r Row> {
    let (offset, len) = (place.offset, place.len);
    let first = rows.partition_point(|row| (row.offset, row.len) < (offset, len));
    let rest = rows[first..].iter();
    rest.take_while(move |row| (row.offset, row.len) == (offset, len))
}

/// Whether no row lies over any byte of a place: what a root places there is lost, while over the bytes of other blocks
/// it would contradict the table.
pub(super) fn is_free(rows: &[Row], place: &Place) -> bool {
    let range = place.range();
    let before = &rows[..rows.partition_point(|row| row.offset < range.end)];
    // None is longer, so what begins further ahead ends before.
    let may_reach = |row: &&Row| row.offset.saturating_add(MAX_BLOCK_BYTES as u64) > range.start;
    let mut near = before.iter().rev().take_while(may_reach);
    range.is_empty()
        || !near.any(|row| row.len > 0 && row.offset + u64::from(row.len) > range.start)
}
