//! The blocks of a pack whose header or table is lost: taken from the table that ends the file, from what is left of
//! the damaged one, and from the roots, and every one hashed.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::contest::Placed;
use super::hash::{Hashed, Hasher};
use super::pack::{Condition, Pack};
use super::raw::{Held, RawPack};
use super::survey::Survey;
use super::tables;
use crate::block::{Cid, HashFunction, canonical};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::format::{StoreId, StoredCid};
use crate::store::gone::outside;
use crate::store::pack::{
    Header, MAX_TABLE_BYTES, ObjectNote, PackId, PackKind, Place, Row, SMALL_ALIGN, Table,
};

/// What makes a damaged pack whole again.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) header: Header,
    /// Written before the header; none if the one in the file is good.
    pub(super) table: Option<Vec<u8>>,
    /// Blocks that roots place here and that are not here: they are to be recorded as damaged.
    pub(super) damaged: Vec<Range<u64>>,
    /// Those of them that the disk refused to be read.
    pub(super) unread: Vec<Range<u64>>,
    /// Blocks that the table listed, as far as that can be told, and that are lost.
    pub(super) lost: u64,
}

/// What came of a damaged pack.
#[derive(Debug)]
pub(super) enum Salvage {
    Rebuilt(Rebuilt),
    /// Nothing says what is in it.
    Nothing,
    /// What is in it is not what roots place in the pack of this name.
    Another,
}

impl From<Option<Rebuilt>> for Salvage {
    fn from(rebuilt: Option<Rebuilt>) -> Self {
        rebuilt.map_or(Self::Nothing, Self::Rebuilt)
    }
}

/// Far more than a pack has; a root that says more is not believed.
pub(super) const MAX_PACK_BYTES: u64 = 1 << 40;

/// What roots say of a pack.
#[derive(Debug, Default)]
pub(super) struct Stated {
    pub(super) blocks: Vec<(Cid, Place)>,
    pub(super) notes: Vec<ObjectNote>,
    /// What roots cover, whether it is known which blocks lie there or not.
    covered: Coverage,
}

impl Stated {
    /// What all readable roots, and what is left of the others, say of packs.
    pub(super) fn by_roots(
        survey: &Survey,
        packs: &HashSet<PackId>,
    ) -> Result<HashMap<PackId, Self>, StoreError> {
        let mut stated: HashMap<PackId, Self> = HashMap::new();
        for root in &survey.roots {
            let Some(record) = root.remains() else {
                continue;
            };
            if !record.packs.iter().any(|pack| packs.contains(pack)) {
                continue;
            }
            for (pack, range) in record.places() {
                if packs.contains(&pack) {
                    stated
                        .entry(pack)
                        .or_default()
                        .covered
                        .add_range(HERE, range);
                }
            }
            let top = canonical(&record.head.cid.0);
            let mut holds_top = HashSet::new();
            for (cid, place) in super::leaves::blocks_of(record, &survey.reader)? {
                if !packs.contains(&place.pack) {
                    continue;
                }
                let stated = stated.entry(place.pack).or_default();
                stated.blocks.push((cid, place));
                // The add of an object ended in the pack of its first block, which is written last.
                if root.is_object() && canonical(&cid) == top && holds_top.insert(place.pack) {
                    stated.notes.push(ObjectNote {
                        cid: record.head.cid,
                        profile: record.head.profile.clone(),
                        name: record.head.name.clone(),
                    });
                }
            }
        }
        stated
            .values_mut()
            .for_each(|stated| stated.covered.normalize());
        Ok(stated)
    }

    /// Whether a table can be that of the pack: it lists at least one of the blocks that roots place there.
    fn may_be_of(&self, table: &Table) -> bool {
        let listed = table.rows.iter();
        let listed: HashSet<_> = listed
            .map(|row| (*row.cid.0.hash(), row.offset, row.len))
            .collect();
        let is_listed =
            |(cid, place): &(Cid, Place)| listed.contains(&(*cid.hash(), place.offset, place.len));
        self.blocks.is_empty() || self.blocks.iter().any(is_listed)
    }
}

/// Rebuilds a pack as far as it can be: its rows are then those that were found good.
pub(super) fn rebuild(
    hasher: &Hasher<'_>,
    store: StoreId,
    pack: &mut Pack,
    raw: &RawPack,
    stated: impl FnOnce() -> Result<Stated, StoreError>,
) -> Result<Salvage, StoreError> {
    if matches!(pack.condition, Condition::NoHeader { .. })
        && let Some((table_offset, table)) = tables::find(raw, &tables::fits)?
    {
        return with_table(hasher, store, pack, raw, (table_offset, table), stated);
    }
    let (left, stated) = (remains_of_table(pack, raw)?, stated()?);
    let listed = pack.header.map(|header| header.blocks);
    let mut seen = HashSet::new();
    let mut candidates: Vec<(Row, bool)> = Vec::new();
    let rooted = stated.blocks.iter().map(|(cid, place)| {
        let (cid, offset, len) = (StoredCid(*cid), place.offset, place.len);
        (Row { cid, offset, len }, true)
    });
    for (row, is_rooted) in rooted.chain(left.rows.iter().map(|row| (*row, false))) {
        if seen.insert((*row.cid.0.hash(), row.offset, row.len)) {
            candidates.push((row, is_rooted));
        }
    }
    let rows: Vec<Row> = candidates.iter().map(|(row, _)| *row).collect();
    let held = hasher.held(raw, &rows)?;
    let mut unknown = Vec::new();
    let mut unchecked = Vec::new();
    let mut doubtful = Vec::new();
    let mut unread = Vec::new();
    // They stay in the table, for who brings their bytes back, or reads them after all.
    let mut bad = Vec::new();
    let mut kept = Vec::with_capacity(rows.len());
    for ((row, is_rooted), held) in candidates.into_iter().zip(held) {
        match (held, is_rooted) {
            (Held::Good, _) | (Held::Unchecked, true) => kept.push(row),
            (Held::Unchecked, false) => unchecked.push(row),
            (Held::Other, false) => unknown.push(row),
            (Held::Other, true) => bad.push(row),
            (Held::Unreadable, true) => {
                unread.push(row.range());
                bad.push(row);
            }
            (Held::Unreadable, false) => doubtful.push(row),
        }
    }
    take_recognized(raw, &mut kept, &mut unchecked)?;
    // A damaged row says nothing of a place that another one knows.
    let known = places(kept.iter().chain(&bad));
    unchecked.retain(|row| is_free(row, &known));
    doubtful.retain(|row| is_free(row, &known));
    kept.append(&mut unchecked);
    unread.extend(doubtful.iter().map(Row::range));
    bad.append(&mut doubtful);
    let mut damaged: Vec<Range<u64>> = bad.iter().map(Row::range).collect();
    // What a root covers is what its nodes say it is, and not what happens to lie there.
    let is_covered = |row: &Row| stated.covered.bytes_within(HERE, &row.range()) > 0;
    unknown.retain(|row| !is_covered(row));
    take_by_place(raw, &mut kept, unknown, &bad)?;
    if kept.is_empty() {
        return Ok(Salvage::Nothing);
    }
    let table_offset = table_place(pack, damaged.iter().chain(stated.covered.of(HERE)));
    if let Some(header) = pack.header.filter(|header| pack.len < header.table_offset) {
        let from = pack.len.max(Header::BYTES as u64);
        damaged.push(from..header.table_offset);
    }
    let mut rows = kept.clone();
    rows.extend(bad);
    rows.sort_by_key(|row| row.offset);
    let lost = listed.map_or(0, |listed| listed.saturating_sub(rows.len() as u64));
    let mut table = Table {
        rows,
        objects: notes_of(left.objects, stated.notes),
    };
    let bytes = table.to_bytes();
    let of = (store, pack.id, PackKind::Payload);
    let header = header(of, table_offset, &bytes, table.rows.len());
    table.rows = kept;
    pack.take(table);
    pack.payload_end = table_offset;
    pack.is_proven = true;
    pack.is_rebuilt = true;
    Ok(Salvage::Rebuilt(Rebuilt {
        header,
        table: Some(bytes),
        damaged,
        unread,
        lost,
    }))
}

/// Adds the blocks of whose hash only the function is damaged: the digest is that of their bytes under another one.
fn take_recognized(
    raw: &RawPack,
    kept: &mut Vec<Row>,
    rows: &mut Vec<Row>,
) -> Result<(), StoreError> {
    let known = places(kept.iter());
    let mut failed = Ok(());
    rows.retain(|row| {
        let (cid, bytes) = match raw.bytes(row.offset, row.len as usize) {
            Ok(bytes) => (row.cid.0, bytes),
            Err(e) => {
                failed = Err(e);
                return true;
            }
        };
        let stated = cid.hash();
        let hashes = HashFunction::ALL
            .iter()
            .map(|function| function.digest(&bytes));
        let mut hashes = hashes.map(|hash| hash.truncate(stated.size()));
        let hash = hashes.find(|hash| hash.digest() == stated.digest());
        // One that a root knows is known.
        kept.extend(hash.filter(|_| is_free(row, &known)).map(|hash| Row {
            cid: StoredCid(Cid::new_v1(cid.codec(), hash)),
            ..*row
        }));
        hash.is_none()
    });
    failed
}

/// Adds the blocks whose place a damaged row still tells though not their hash, where nothing else is known to lie: what
/// they are is what their bytes say. The rows are in the order of their offsets then.
fn take_by_place(
    raw: &RawPack,
    kept: &mut Vec<Row>,
    rows: Vec<Row>,
    bad: &[Row],
) -> Result<(), StoreError> {
    // What a root knows to be damaged is not content for lying there.
    let known = places(kept.iter().chain(bad));
    for row in rows {
        let is_free = is_free(&row, &known);
        let (cid, function) = (row.cid.0, HashFunction::from_code(row.cid.0.hash().code()));
        let Some(function) = function.filter(|_| is_free && tables::row_fits(&row, raw.len()))
        else {
            continue;
        };
        let bytes = raw.bytes(row.offset, row.len as usize)?;
        let cid = StoredCid(Cid::new_v1(cid.codec(), function.digest(&bytes)));
        kept.push(Row { cid, ..row });
    }
    kept.sort_by_key(|row| row.offset);
    Ok(())
}

/// Stands for the one pack that is looked at.
const HERE: PackId = PackId([0; 16]);

fn places<'a>(rows: impl Iterator<Item = &'a Row>) -> Coverage {
    let mut places = Coverage::default();
    rows.for_each(|row| places.add_range(HERE, row.range()));
    places.normalize();
    places
}

/// Whether nothing is known of any byte of a row's place.
fn is_free(row: &Row, known: &Coverage) -> bool {
    let range = row.range();
    outside(&range, known.of(HERE)).next() == Some(range)
}

fn unread_of(rows: &[Row], held: &[Held]) -> Vec<Range<u64>> {
    let all = rows.iter().zip(held);
    let unread = all.filter(|(_, held)| **held == Held::Unreadable);
    unread.map(|(row, _)| row.range()).collect()
}

/// A pack of which only the header is lost. Nothing vouches for the table, so every row is hashed; one that is not
/// good stays in it and is recorded.
fn with_table(
    hasher: &Hasher<'_>,
    store: StoreId,
    pack: &mut Pack,
    raw: &RawPack,
    (table_offset, mut table): (u64, Table),
    stated: impl FnOnce() -> Result<Stated, StoreError>,
) -> Result<Salvage, StoreError> {
    let stated = stated();
    // Only its header would say whose name it bears.
    if stated
        .as_ref()
        .is_ok_and(|stated| !stated.may_be_of(&table))
    {
        return Ok(Salvage::Another);
    }
    let bytes = raw.bytes(table_offset, (raw.len() - table_offset) as usize)?;
    let of = (store, pack.id, PackKind::Payload);
    let header = header(of, table_offset, &bytes, table.rows.len());
    table.rows.sort_by_key(|row| row.offset);
    let held = hasher.held(raw, &table.rows)?;
    let unread = unread_of(&table.rows, &held);
    let hashed = Hashed::of(pack.id, &table.rows, &held);
    let placed = match hashed.well.of(pack.id) {
        [] => Placed::default(),
        _ => Placed::of(stated?.blocks.iter().map(|(cid, at)| (*cid.hash(), *at))),
    };
    let damaged = placed.damaged(pack.id, &hashed);
    let mut held = held.iter();
    table
        .rows
        .retain(|_| held.next().is_some_and(|held| !held.is_bad()));
    pack.take(table);
    pack.payload_end = table_offset;
    pack.is_proven = true;
    pack.is_rebuilt = true;
    Ok(Salvage::Rebuilt(Rebuilt {
        header,
        table: None,
        damaged,
        unread,
        lost: 0,
    }))
}

pub(super) fn header(
    (store, pack, kind): (StoreId, PackId, PackKind),
    table_offset: u64,
    table: &[u8],
    blocks: usize,
) -> Header {
    Header {
        kind,
        store,
        pack,
        table_offset,
        table_len: table.len() as u64,
        table_check: xxh3_64(table),
        file_len: table_offset + table.len() as u64,
        blocks: blocks as u64,
    }
}

/// What is left of a table's notes, and what roots tell besides.
pub(super) fn notes_of(left: Vec<ObjectNote>, stated: Vec<ObjectNote>) -> Vec<ObjectNote> {
    let mut notes = left;
    for note in stated {
        let cid = canonical(&note.cid.0);
        if !notes.iter().any(|known| canonical(&known.cid.0) == cid) {
            notes.push(note);
        }
    }
    notes
}

/// Where a new table goes: behind everything that is there. What lay beyond the end of a file that was cut off is gone;
/// its place stays, so that all others do.
pub(super) fn table_place<'r>(pack: &Pack, placed: impl Iterator<Item = &'r Range<u64>>) -> u64 {
    match pack.header {
        Some(header) if pack.len <= header.table_offset => header.table_offset,
        Some(header) => header.file_len.next_multiple_of(SMALL_ALIGN),
        None => end_of(pack.len, placed).next_multiple_of(SMALL_ALIGN),
    }
}

/// Where the payload of a pack without a header ends: with the file, or with what roots place behind its end.
fn end_of<'r>(len: u64, placed: impl Iterator<Item = &'r Range<u64>>) -> u64 {
    let placed = placed.map(|range| range.end);
    let placed = placed.filter(|end| *end <= MAX_PACK_BYTES).max();
    placed.unwrap_or_default().max(len)
}

/// What can be read of the table where the header says that it is.
pub(super) fn remains_of_table(pack: &Pack, raw: &RawPack) -> Result<Table, StoreError> {
    let Some(header) = pack.header else {
        return Ok(Table::default());
    };
    let end = header.file_len.min(raw.len());
    let len = end.saturating_sub(header.table_offset).min(MAX_TABLE_BYTES);
    if len == 0 {
        return Ok(Table::default());
    }
    let bytes = raw.bytes(header.table_offset, len as usize)?;
    Ok(tables::rows_in(raw, &bytes))
}

#[cfg(test)]
mod tests;
