//! What in `db/` sled could not have made for this store, seen before it opens it: it writes through a link, waits
//! for a named pipe, and reads a file however long it is.

use std::path::Path;

use crate::fsio::Files;
use crate::store::folder::StoreFolder;
use crate::store::inner;
use crate::store::pack::MAX_ROWS;

/// The row of a table takes more.
const TABLE_ROW_BYTES: u64 = 40;
/// A row of the log takes some 170 bytes, and up to twice as many where much was removed.
const LOG_ROW_BYTES: u64 = 1 << 10;
/// The log of a store that had more packs once is not shortened.
const LOG_BYTES: u64 = 1 << 30;
/// A snapshot has less than 32 bytes for each page of the log, and a page many rows.
const SNAPSHOT_ROW_BYTES: u64 = 16;
const OTHER_BYTES: u64 = 1 << 20;

/// Why the database is not to be opened.
pub(crate) fn strange(folder: &StoreFolder) -> Option<String> {
    let (files, db) = (folder.files(), folder.db());
    match files.symlink_metadata(&db) {
        // It is made now.
        Err(_) => return None,
        Ok(there) if there.is_symlink() => return Some("a symbolic link".into()),
        Ok(there) if !there.is_dir() => return Some("a file".into()),
        Ok(_) => {}
    }
    let rows = rows_at_most(folder);
    let blobs = db.join("blobs");
    strange_in(files, &db, rows).or_else(|| strange_in(files, &blobs, rows))
}

fn strange_in(files: &Files, folder: &Path, rows: u64) -> Option<String> {
    let names = files.list(folder).unwrap_or_default();
    names.iter().find_map(|name| {
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
    })
}

/// No more blocks than this are in the tables of all packs.
fn rows_at_most(folder: &StoreFolder) -> u64 {
    let files = folder.files();
    let packs = inner::list(folder).unwrap_or_default();
    let lengths = packs.iter().filter_map(|id| {
        let path = folder.packs().join(id.file_name());
        files.metadata_if_there(&path).ok().flatten()
    });
    let rows = lengths.map(|pack| (pack.len() / TABLE_ROW_BYTES).min(MAX_ROWS as u64));
    rows.sum()
}
