//! A file that holds nothing but space: when the disk is full it goes, so that a collection can say what is gone
//! before it gives the space back.

use super::error::StoreError;
use super::folder::StoreFolder;

/// A list of 50,000 ranges.
const LEAST_BYTES: u64 = 1 << 20;

/// Takes the space if it is not taken yet, twice of what the list takes now. A disk that is full already, or that
/// cannot set space aside, goes without.
pub(crate) fn keep(folder: &StoreFolder) {
    let (files, path) = (folder.files(), folder.reserve());
    let list = files.metadata_if_there(&folder.gone()).ok().flatten();
    let bytes = LEAST_BYTES.max(2 * list.map_or(0, |list| list.len()));
    let there = files.metadata_if_there(&path).ok().flatten();
    if there.is_some_and(|there| there.len() >= bytes) {
        return;
    }
    let kept = files
        .open_write(&path, Some(0o600))
        .map(|file| files.allocate(&file, 0, bytes).is_ok());
    if !kept.unwrap_or(true) {
        // What was taken of it is worth nothing.
        give(folder);
    }
}

/// Gives the space up; says whether there was any.
fn give(folder: &StoreFolder) -> bool {
    folder.files().remove_file(&folder.reserve()).is_ok()
}

/// Does something that needs little space; where the disk is full, again without the reserve.
pub(crate) fn with_space<T>(
    folder: &StoreFolder,
    work: impl Fn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match work() {
        Err(e) if is_full(&e) && give(folder) => {
            tracing::debug!("the disk is full, so the reserve is used: {e}");
            work()
        }
        done => done,
    }
}

/// Whether an error is of a disk, or an allotment of it, that is full.
pub(crate) fn is_full(error: &StoreError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, StoreError::File(e) if matches!(e.source.kind(), StorageFull | QuotaExceeded))
}
