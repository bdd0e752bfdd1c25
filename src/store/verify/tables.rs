//! Which block lies where, from the packs' tables: as many as memory allows are kept at hand.

use std::collections::HashMap;
use std::sync::Arc;

use super::access::{Access, is_lost};
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

pub(crate) struct Tables<'a> {
    access: &'a Access<'a>,
    known: HashMap<PackId, (Known, u64)>,
    rows: usize,
    clock: u64,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(access: &'a Access<'a>) -> Self {
        Self {
            access,
            known: HashMap::new(),
            rows: 0,
            clock: 0,
        }
    }

    /// # Errors
    /// What says nothing of the pack: too many open files, for instance.
    pub(crate) fn of(&mut self, pack: PackId) -> Result<Known, StoreError> {
        self.clock += 1;
        if let Some((known, used)) = self.known.get_mut(&pack) {
            *used = self.clock;
            return Ok(known.clone());
        }
        let known = open(self.access, pack)?;
        let rows = count(&known);
        while self.rows + rows > MAX_ROWS && !self.known.is_empty() {
            let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.rows -= self
                .known
                .remove(&oldest)
                .map_or(0, |(gone, _)| count(&gone));
        }
        self.rows += rows;
        self.known.insert(pack, (known.clone(), self.clock));
        Ok(known)
    }
}

fn count(known: &Known) -> usize {
    match known {
        Known::Rows(_, rows) => rows.len(),
        // Small, but there may be many.
        Known::NoTable(..) | Known::Lost(_) => 16,
    }
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
