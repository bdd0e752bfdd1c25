//! Packs whose blocks lie in files of the user's. What is read there is hashed each time, so a row of theirs needs no
//! other proof; only the list of files cannot be made again from anything.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3Default;

use super::pack::Pack;
use super::raw::RawPack;
use super::salvage::{Rebuilt, Stated, header, notes_of, remains_of_table, table_place};
use super::tables;
use crate::dag::MAX_BLOCK_BYTES;
use crate::store::error::StoreError;
use crate::store::format::{StoreId, StoredCid, array};
use crate::store::pack::{Header, PackKind, Row, SourceReader, Sources, Table};

/// The bytes before the list: its checksum and its length.
const HEAD: u64 = 16;
const MAX_LIST_BYTES: u64 = 512 << 20;
/// What is hashed of a list at once.
const PIECE: u64 = 1 << 20;

/// The list of files after the header, wherever the table begins. It is hashed in pieces before it is held as a whole:
/// a damaged length costs no memory.
pub(super) fn sources(raw: &RawPack) -> Result<Sources, StoreError> {
    let start = Header::BYTES as u64;
    let room = raw.len().saturating_sub(start);
    if room < HEAD {
        return Sources::parse(&raw.bytes(start, room as usize)?, raw.path());
    }
    let head = raw.bytes(start, HEAD as usize)?;
    let check = u64::from_le_bytes(array(&head[..8]));
    let list = u64::from_le_bytes(array(&head[8..]));
    let damaged = |expected, found| StoreError::Damaged {
        path: raw.path().to_owned(),
        what: "list of sources",
        expected,
        found,
    };
    let most = (room - HEAD).min(MAX_LIST_BYTES);
    if list > most {
        let (expected, found) = (format!("up to {most} bytes"), format!("{list} bytes"));
        return Err(damaged(expected, found));
    }
    let found = hashed(raw, start + HEAD, list)?;
    if found != check {
        let (expected, found) = (format!("checksum {check:016x}"), format!("{found:016x}"));
        return Err(damaged(expected, found));
    }
    Sources::parse(&raw.bytes(start, (HEAD + list) as usize)?, raw.path())
}

/// The checksum of a range, of which one piece is held at a time.
fn hashed(raw: &RawPack, mut at: u64, len: u64) -> Result<u64, StoreError> {
    let mut hasher = Xxh3Default::new();
    let end = at + len;
    while at < end {
        let piece = (end - at).min(PIECE);
        hasher.update(&raw.bytes(at, piece as usize)?);
        at += piece;
    }
    Ok(hasher.digest())
}

/// Whether every reader can use a table.
pub(super) fn is_sound(table: &Table, sources: &Sources) -> bool {
    match table.rows.is_sorted_by_key(|row| row.offset) {
        true => sources.hold_apart(&table.rows),
        false => {
            let mut rows = table.rows.clone();
            rows.sort_by_key(|row| row.offset);
            sources.hold_apart(&rows)
        }
    }
}

/// What is said of the bytes of the files, each of them once: by roots, then by rows whose blocks are there, and then
/// by rows of which that cannot be told. A row of a damaged table may be damaged itself.
fn rows(sources: &Sources, stated: &Stated, left: &[Row]) -> Vec<Row> {
    let mut taken = Taken::default();
    for (cid, place) in &stated.blocks {
        let (cid, offset, len) = (StoredCid(*cid), place.offset, place.len);
        taken.take(Row { cid, offset, len }, sources);
    }
    let mut reader: Option<(usize, SourceReader)> = None;
    let mut untold = Vec::new();
    for row in left {
        if !taken.is_free(row) {
            continue;
        }
        let Some((number, source)) = sources.locate(row.offset, u64::from(row.len)) else {
            continue;
        };
        if reader.as_ref().is_none_or(|(of, _)| *of != number) {
            reader = Some((number, SourceReader::new(source, "")));
        }
        let len = row.len as usize;
        let read = reader.as_ref().filter(|_| len <= MAX_BLOCK_BYTES);
        match read.map(|(_, reader)| reader.block(&row.cid.0, row.offset, len)) {
            Some(Ok(_)) => taken.take(*row, sources),
            Some(Err(StoreError::SourceDiffers { .. })) if source.looks_unchanged() => {}
            Some(Err(_)) => untold.push(*row),
            None => {}
        }
    }
    untold.into_iter().for_each(|row| taken.take(row, sources));
    taken.into_rows()
}

/// Rows that lie apart.
#[derive(Default)]
struct Taken {
    /// By their offsets; empty ones apart.
    rows: BTreeMap<u64, Row>,
    empty: Vec<Row>,
}

impl Taken {
    fn is_free(&self, row: &Row) -> bool {
        let end = row.offset.saturating_add(u64::from(row.len));
        let before = self.rows.range(..end).next_back();
        before.is_none_or(|(_, before)| before.offset + u64::from(before.len) <= row.offset)
    }

    fn take(&mut self, row: Row, sources: &Sources) {
        match row.len {
            0 if !self
                .empty
                .iter()
                .any(|one| one.cid.0.hash() == row.cid.0.hash()) =>
            {
                self.empty.push(row);
            }
            0 => {}
            _ if sources.holds(&row) && self.is_free(&row) => {
                self.rows.insert(row.offset, row);
            }
            _ => {}
        }
    }

    fn into_rows(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.into_values().chain(self.empty).collect();
        rows.sort_by_key(|row| row.offset);
        rows
    }
}

/// Rebuilds a pack from the list of files, its table or what is left of it, and what roots say.
pub(super) fn rebuild(
    store: StoreId,
    pack: &mut Pack,
    raw: &RawPack,
    stated: impl FnOnce() -> Result<Stated, StoreError>,
    sources: &Sources,
) -> Result<Option<Rebuilt>, StoreError> {
    let fits = |table: &Table, _: u64| is_sound(table, sources);
    let found = match pack.header {
        None => tables::find(raw, &fits)?,
        Some(_) => None,
    };
    let kind = PackKind::References;
    let (table_offset, table, written) = match found {
        Some((table_offset, table)) => (table_offset, table, false),
        None => {
            let (left, stated) = (remains_of_table(pack, raw)?, stated()?);
            let table = Table {
                rows: rows(sources, &stated, &left.rows),
                objects: notes_of(left.objects, stated.notes),
            };
            (table_place(pack, [].iter()), table, true)
        }
    };
    if table.rows.is_empty() {
        return Ok(None);
    }
    let bytes = match written {
        true => table.to_bytes(),
        false => raw.bytes(table_offset, (raw.len() - table_offset) as usize)?,
    };
    let header = header(
        (store, pack.id, kind),
        table_offset,
        &bytes,
        table.rows.len(),
    );
    let listed = pack.header.map_or(0, |header| header.blocks);
    let lost = listed.saturating_sub(table.rows.len() as u64);
    pack.kind = kind;
    pack.take(table);
    pack.is_proven = true;
    pack.is_rebuilt = true;
    Ok(Some(Rebuilt {
        header,
        table: written.then_some(bytes),
        damaged: Vec::new(),
        unread: Vec::new(),
        lost,
    }))
}
