//! Counts and sizes of a whole store.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::StoreError;
use super::inner;
use super::pack::Sources;
use super::read::ReadCore;
use crate::fsio::Files;

/// Counts and sizes of a whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreTotals {
    /// Published objects.
    pub objects: u64,
    /// Pins.
    pub pins: u64,
    /// Packs.
    pub packs: u64,
    /// Blocks in the packs' tables.
    pub blocks: u64,
    /// Bytes of content of all objects, shared content counted for each.
    pub content_bytes: u64,
    /// Length of the packs.
    pub pack_bytes: u64,
    /// What the packs take on disk.
    pub pack_disk_bytes: u64,
    /// Bytes of files outside the store that its packs refer to.
    pub referenced_bytes: u64,
    /// What the index takes on disk; it can be made anew from the packs.
    pub index_disk_bytes: u64,
}

pub(crate) fn totals(core: &ReadCore) -> Result<StoreTotals, StoreError> {
    let mut totals = StoreTotals {
        pins: core.pins()?.len() as u64,
        ..StoreTotals::default()
    };
    for object in core.objects()? {
        totals.objects += 1;
        totals.content_bytes += object.size;
    }
    for id in inner::list(&core.folder)? {
        let pack = match core.packs.open(id) {
            Ok(pack) => pack,
            // Unlinked since the listing.
            Err(StoreError::File(e)) if e.source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        totals.packs += 1;
        totals.blocks += pack.blocks();
        totals.pack_bytes += pack.file_len();
        totals.referenced_bytes += pack.sources().map_or(0, Sources::referenced_bytes);
        let files = core.folder.files();
        let metadata = files.file_metadata(pack.file(), pack.path())?;
        totals.pack_disk_bytes += 512 * metadata.blocks();
    }
    totals.index_disk_bytes = disk_bytes(core.folder.files(), &core.folder.db())?;
    Ok(totals)
}

/// What a folder's files take on disk.
fn disk_bytes(files: &Files, folder: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for name in files.list_if_there(folder)? {
        let path = folder.join(name);
        // The writer's database may drop a file meanwhile.
        let Ok(metadata) = files.symlink_metadata(&path) else {
            continue;
        };
        bytes += match metadata.is_dir() {
            true => disk_bytes(files, &path)?,
            false => 512 * metadata.blocks(),
        };
    }
    Ok(bytes)
}
