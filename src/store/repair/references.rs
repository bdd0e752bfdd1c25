//! Packs whose blocks lie in files of the user's. What is read there is hashed each time, so a row of theirs needs no
//! other proof; only the list of files cannot be made again from anything.

use std::collections::HashSet;

use super::pack::Pack;
use super::raw::RawPack;
use super::salvage::{Rebuilt, Stated, header, notes_of, remains_of_table, table_place};
use super::tables;
use crate::store::error::StoreError;
use crate::store::format::{StoreId, StoredCid, array};
use crate::store::pack::{Header, PackKind, Row, Sources, Table};

/// The bytes before the list: its checksum and its length.
const HEAD: u64 = 16;
const MAX_LIST_BYTES: u64 = 512 << 20;

/// The list of files after the header, wherever the table begins.
pub(super) fn sources(raw: &RawPack) -> Result<Sources, StoreError> {
    let start = Header::BYTES as u64;
    let room = raw.len().saturating_sub(start);
    let mut len = room.min(HEAD);
    if room >= HEAD {
        let head = raw.bytes(start, HEAD as usize)?;
        let list = u64::from_le_bytes(array(&head[8..]));
        len = HEAD.saturating_add(list.min(MAX_LIST_BYTES)).min(room);
    }
    Sources::parse(&raw.bytes(start, len as usize)?, raw.path())
}

/// Rebuilds a pack from the list of files, its table or what is left of it, and what roots say.
pub(super) fn rebuild(
    store: StoreId,
    pack: &mut Pack,
    raw: &RawPack,
    stated: impl FnOnce() -> Result<Stated, StoreError>,
    sources: &Sources,
) -> Result<Option<Rebuilt>, StoreError> {
    let lies = |row: &Row| sources.locate(row.offset, u64::from(row.len)).is_some();
    let fits = |table: &Table, _: u64| table.rows.iter().all(lies);
    let found = match pack.header {
        None => tables::find(raw, &fits)?,
        Some(_) => None,
    };
    let kind = PackKind::References;
    let (table_offset, table, written) = match found {
        Some((table_offset, table)) => (table_offset, table, false),
        None => {
            let (left, stated) = (remains_of_table(pack, raw)?, stated()?);
            let rooted = stated.blocks.iter().map(|(cid, place)| Row {
                cid: StoredCid(*cid),
                offset: place.offset,
                len: place.len,
            });
            // Of two that say something else of the same bytes a root's counts.
            let mut seen = HashSet::new();
            let rows = rooted.chain(left.rows.iter().copied()).filter(lies);
            let mut rows: Vec<Row> = rows
                .filter(|row| seen.insert((row.offset, row.len)))
                .collect();
            rows.sort_by_key(|row| row.offset);
            let table = Table {
                rows,
                objects: notes_of(left.objects, stated.notes),
            };
            (table_place(pack, &[]), table, true)
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
