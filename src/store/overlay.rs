//! Stores that are seen through overlayfs, as in most containers.
//!
//! A lock on a file of an overlay belongs to the overlay's own inode. All who open a store through one overlay
//! see each other's locks, across the copying up of a file, its renaming and the setting of its times. Who opens
//! the same file in a layer, the writable one included, or through another overlay over the same layers, does
//! not see them (`tests/it/store_overlay.rs` tries each). A collector that works there would free what a reader
//! here holds, and what a writer here builds upon.
//!
//! Nobody can be seen collecting below, so the rule goes by who wrote last: every writer on an overlay notes its
//! writable layer in the lock file. Where the note names the layer of the overlay that the store is opened
//! through, the store is worked on from here. Any other store came with a layer below, or was last written in
//! one: it is refused unless the caller says that nobody collects there.

use super::error::StoreError;
use super::folder::StoreFolder;
use super::writer_lock;
use crate::fsio;

/// Refuses a store on overlayfs that may be collected where our locks are not seen.
pub(crate) fn check(folder: &StoreFolder, nobody_collects: bool) -> Result<(), StoreError> {
    if nobody_collects || !fsio::is_overlay(folder.path()) || is_written_here(folder) {
        return Ok(());
    }
    Err(StoreError::Overlay {
        path: folder.path().to_path_buf(),
    })
}

/// Whether the last writer saw the store through the same overlay.
fn is_written_here(folder: &StoreFolder) -> bool {
    let here = fsio::overlay_layer(folder.path());
    let last = writer_lock::last_holder(folder).and_then(|holder| holder.layer);
    here.is_some() && here == last
}
