//! What can still be read of a pack's table without its header, or when it is damaged. Nothing vouches for it: every
//! block that is taken from here is hashed.

use super::raw::RawPack;
use crate::block::cid_from_bytes;
use crate::dag::MAX_BLOCK_BYTES;
use crate::store::error::StoreError;
use crate::store::format::{self, StoredCid, array};
use crate::store::pack::{Header, MAX_TABLE_BYTES, ObjectNote, Row, SMALL_ALIGN, Table};

/// A CID in its binary form: a digest of 20 to 64 bytes and up to four numbers before it.
const CID_BYTES: std::ops::RangeInclusive<u64> = 22..=104;
/// Offset and length after the CID.
const AFTER_CID: usize = 8 + 4;
const WINDOW: u64 = 1 << 20;
/// Places that look like the beginning of a table and are none, before it is given up.
const MAX_TRIES: usize = 64;

/// Whether the rows of a table that begins at an offset lie where they may.
pub(super) type Fits<'a> = &'a dyn Fn(&Table, u64) -> bool;

/// The table that ends where the file does, and where it begins.
pub(super) fn find(pack: &RawPack, fits: Fits<'_>) -> Result<Option<(u64, Table)>, StoreError> {
    let (first, end) = (Header::BYTES as u64, pack.len());
    let first = first.max(end.saturating_sub(MAX_TABLE_BYTES));
    let first = first.next_multiple_of(SMALL_ALIGN);
    let mut tries = 0;
    // From the end on: a table begins somewhere before it, at a multiple of 64.
    let mut below = end;
    while below > first {
        let from = below
            .saturating_sub(WINDOW)
            .max(first)
            .next_multiple_of(SMALL_ALIGN);
        // The candidates' first words may reach into the window after this one.
        let window_end = (below + 32).min(end);
        let window = pack.bytes(from, (window_end - from) as usize)?;
        let count = (below - from).div_ceil(SMALL_ALIGN);
        for number in (0..count).rev() {
            let at = from + number * SMALL_ALIGN;
            if !may_begin(&window[(at - from) as usize..], end - at) {
                continue;
            }
            if let Some(table) = whole(pack, at, fits)? {
                return Ok(Some((at, table)));
            }
            tries += 1;
            if tries == MAX_TRIES {
                return Ok(None);
            }
        }
        if from == first {
            break;
        }
        below = from;
    }
    Ok(None)
}

/// Whether a table of `len` bytes may begin with these.
fn may_begin(bytes: &[u8], len: u64) -> bool {
    if bytes.len() < 18 {
        return false;
    }
    let word = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
    let (rows, cid_bytes) = (word(0), word(8));
    let least = CID_BYTES.start() + 8 + AFTER_CID as u64;
    (1..=len / least).contains(&rows)
        && CID_BYTES.contains(&cid_bytes)
        && matches!(bytes[16..18], [0x01, _] | [0x12, 0x20])
}

/// The table between a place and the end, if it decodes and its rows lie where they may.
fn whole(pack: &RawPack, at: u64, fits: Fits<'_>) -> Result<Option<Table>, StoreError> {
    let bytes = pack.bytes(at, (pack.len() - at) as usize)?;
    let table = Table::parse(&bytes, pack.path()).ok();
    Ok(table.filter(|table| fits(table, at)))
}

/// Whether all rows lie between the header and an offset.
pub(super) fn fits(table: &Table, end: u64) -> bool {
    table.rows.iter().all(|row| row_fits(row, end))
}

pub(super) fn row_fits(row: &Row, end: u64) -> bool {
    row.offset >= Header::BYTES as u64
        && row.len as usize <= MAX_BLOCK_BYTES
        && (row.offset.checked_add(u64::from(row.len))).is_some_and(|row_end| row_end <= end)
}

/// The rows that can be told in the bytes of a damaged table. Rows of one kind of CID are equally long, so the one
/// after a damaged row is found.
pub(super) fn rows_in(pack: &RawPack, bytes: &[u8]) -> Table {
    let mut table = Table::default();
    let mut at = 8;
    let mut stride = 0;
    while at < bytes.len() {
        if let Some((row, len)) = row_at(&bytes[at..]) {
            table.rows.push(row);
            stride = len;
            at += len;
            continue;
        }
        let notes = format::decode::<Vec<ObjectNote>>(&bytes[at..], pack.path(), "table");
        if let Ok(notes) = notes {
            table.objects = notes;
            break;
        }
        if stride == 0 {
            // The first row is damaged: where the next one is readable is its end.
            let ends = CID_BYTES.map(|cid_bytes| cid_bytes as usize + 8 + AFTER_CID);
            let is_end = |len: &usize| {
                bytes
                    .get(at + len..)
                    .is_some_and(|rest| row_at(rest).is_some())
            };
            match ends.into_iter().find(is_end) {
                Some(len) => stride = len,
                None => break,
            }
        }
        at += stride;
    }
    table
}

/// A row at the beginning of these bytes, and how many it takes.
fn row_at(bytes: &[u8]) -> Option<(Row, usize)> {
    let cid_bytes = u64::from_le_bytes(array(bytes.get(..8)?));
    if !CID_BYTES.contains(&cid_bytes) {
        return None;
    }
    let end = 8 + cid_bytes as usize;
    let cid = cid_from_bytes(bytes.get(8..end)?).ok()?;
    let offset = u64::from_le_bytes(array(bytes.get(end..end + 8)?));
    let len = u32::from_le_bytes(array(bytes.get(end + 8..end + AFTER_CID)?));
    let row = Row {
        cid: StoredCid(cid),
        offset,
        len,
    };
    Some((row, end + AFTER_CID))
}
