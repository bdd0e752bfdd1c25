//! What in `db/` sled could not have made for this store, seen before it opens it: it writes through a link, waits
//! for a named pipe, and reads a file however long it is.

use std::path::Path;

use crate::error::FileError;
use crate::fsio::Files;
use crate::store::folder::StoreFolder;
use crate::store::pack::{MAX_ROWS, PackId};

/// The row of a table takes more.
const TABLE_ROW_BYTES: u64 = 40;
/// A row of the log takes some 170 bytes, and up to twice as many where much was removed.
const LOG_ROW_BYTES: u64 = 1 << 10;
/// The log of a store that had more packs once is not shortened.
const LOG_BYTES: u64 = 1 << 30;
/// A snapshot has less than 32 bytes for each page of the log, and a page many rows.
const SNAPSHOT_ROW_BYTES: u64 = 16;
const OTHER_BYTES: u64 = 1 << 20;

/// Why the database is not to be opened; an error where the system refuses to let it be looked at.
pub(crate) fn strange(folder: &StoreFolder) -> Result<Option<String>, FileError> {
    let (files, db) = (folder.files(), folder.db());
    match files.symlink_metadata(&db) {
        // It is made now.
        Err(_) => return Ok(None),
        Ok(there) if there.is_symlink() => return Ok(Some("a symbolic link".into())),
        Ok(there) if !there.is_dir() => return Ok(Some("a file".into())),
        Ok(_) => {}
    }
    let rows = rows_at_most(folder)?;
    match strange_in(files, &db, rows)? {
        None => strange_in(files, &db.join("blobs"), rows),
        found => Ok(found),
    }
}

fn strange_in(files: &Files, folder: &Path, rows: u64) -> Result<Option<String>, FileError> {
    let names = files.list_if_there(folder)?;
    Ok(names.iter().find_map(|name| {
        let there = files.symlink_metadata(&folder.join(name)).ok()?;
        let name = name.to_string_lossy();
        if there.is_symlink() {
            return Some(format!("a symbolic link, {name:?}"));
        }
        let limit = match &*name {
            "blobs" if there.is_dir() => return None,
            "db" => LOG_BYTES + rows * LOG_ROW_BYTES,
            text if text.starts_with("snap.") => OTHER_BYTES + rows * SNAPSHOT_ROW_BYTES,
            _ => OTHER_BYTES,
        };
        let len = there.len();
        if !there.is_file() {
            Some(format!("{name:?}, which is no file"))
        } else if len > limit {
            let more = "more than the blocks of the packs can take";
            Some(format!("{name:?} of {len} bytes, {more}"))
        } else {
            None
        }
    }))
}

/// No more blocks than this are in the tables of all packs.
fn rows_at_most(folder: &StoreFolder) -> Result<u64, FileError> {
    let (files, packs) = (folder.files(), folder.packs());
    let names = files.list_if_there(&packs)?;
    let lengths = names.iter().filter_map(|name| {
        PackId::from_file_name(name.to_str()?)?;
        files.metadata_if_there(&packs.join(name)).ok().flatten()
    });
    let rows = lengths.map(|pack| (pack.len() / TABLE_ROW_BYTES).min(MAX_ROWS as u64));
    Ok(rows.sum())
}
