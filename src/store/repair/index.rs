//! The index, against the packs.

use std::collections::HashMap;

use super::finding::{Defect, Remedy, RepairFinding};
use super::survey::Survey;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::StoreId;
use crate::store::gone::{self, Gone};
use crate::store::index::{Index, IndexError, REBUILD_MARK, SledIndex, strange};
use crate::store::inner;
use crate::store::overlaps;
use crate::store::pack::{PackFile, PackId, Place, Row};

/// What can be said of the index without opening it, which would change it.
pub(super) fn look_at(folder: &StoreFolder, survey: &Survey) -> Option<RepairFinding> {
    let (files, db) = (folder.files(), folder.db());
    match strange(folder) {
        Ok(Some(found)) => return Some(finding(folder, &found)),
        Err(e) => {
            let found = format!("what cannot be looked at: {}", e.source);
            return Some(finding(folder, &found).advised(REFUSED));
        }
        Ok(None) => {}
    }
    let found = match files.symlink_metadata(&db) {
        Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => "nothing",
        Err(_) => "what cannot be looked at",
        Ok(_) if files.exists(&db.join(REBUILD_MARK)) => "one that failed before",
        // A store that was never written to has an empty one.
        Ok(_) if files.exists(&db.join("db")) || survey.packs.is_empty() => return None,
        Ok(_) => "an empty folder",
    };
    Some(finding(folder, found))
}

/// What is done about a database that the system lets nobody look at.
const REFUSED: &str =
    "where it cannot be removed the repair ends with that: check who owns it and its permissions";

fn finding(folder: &StoreFolder, found: &str) -> RepairFinding {
    let said = ("index", "a database".to_owned(), found.to_owned());
    RepairFinding::new(Defect::Index, &folder.db(), said, Remedy::Made)
}

/// Opens the index and compares it with the tables; the caller has the store's lock. What it does not know yet it
/// learns when the store is opened, which is no defect.
pub(super) fn compare(
    folder: &StoreFolder,
    store: StoreId,
) -> Result<Option<RepairFinding>, StoreError> {
    let mut tables: HashMap<PackId, Vec<Row>> = HashMap::new();
    for id in inner::list(folder)? {
        if let Ok(table) = PackFile::open(folder, id, store).and_then(|pack| pack.table()) {
            let mut rows = table.rows;
            rows.sort_by_key(|row| row.offset);
            tables.insert(id, rows);
        }
    }
    let gone = gone::read(folder, store)?;
    let checked = match SledIndex::open(&folder.db()) {
        // The opening of the store says it; nothing is known of what is in it.
        Err(IndexError::Refused(_)) => return Ok(None),
        Err(e) => Err(e.to_string()),
        Ok(index) => check(&index, &tables, &gone),
    };
    Ok(checked.err().map(|found| finding(folder, &found)))
}

fn check(index: &dyn Index, tables: &HashMap<PackId, Vec<Row>>, gone: &Gone) -> Result<(), String> {
    for id in index.marked().map_err(|e| e.to_string())? {
        let rows = tables.get(&id).map_or(&[][..], Vec::as_slice);
        let shared = overlaps::shared(rows.iter().map(Row::range));
        for row in rows {
            let hash = row.cid.0.hash();
            let place = index.get(hash).map_err(|e| e.to_string())?;
            match place {
                // A collection drops the rows of what it took, and a verification those that others read well over.
                None if gone.why(id, &row.range()).is_some() => {}
                None if overlaps::touches(&row.range(), &shared) => {}
                None => return Err(format!("nothing of {}, which is in pack {id}", row.cid.0)),
                Some(place) if stands_there(tables, &place, row) => {}
                Some(place) => {
                    return Err(format!(
                        "{} at {} of pack {}, where it is not",
                        row.cid.0, place.offset, place.pack
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether a table lists the block at that place. What is said of a pack that is not here is never used.
fn stands_there(tables: &HashMap<PackId, Vec<Row>>, place: &Place, row: &Row) -> bool {
    let Some(rows) = tables.get(&place.pack) else {
        return true;
    };
    let first = rows.partition_point(|other| other.offset < place.offset);
    let mut there = rows[first..]
        .iter()
        .take_while(|other| other.offset == place.offset);
    there.any(|other| other.len == place.len && other.cid.0.hash() == row.cid.0.hash())
}
