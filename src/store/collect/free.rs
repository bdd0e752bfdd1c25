//! Giving space back: unlinking packs, and punching holes into those that stay.

use std::ops::Range;
use std::sync::Arc;

use super::NotFreeable;
use super::packs::{DeadSpace, Kept, PackSpace, cannot_punch, holes, open};
use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::gone::outside;
use crate::store::index::Forgotten;
use crate::store::inner::Inner;
use crate::store::pack::{PackFile, PackId, Row};

/// What was given back, and what was not.
#[derive(Debug, Default)]
pub(super) struct Freed {
    pub(super) disk_bytes: u64,
    /// Of that, what a snapshot by hard links has too.
    pub(super) linked_bytes: u64,
    pub(super) packs: u64,
    pub(super) ranges: u64,
    pub(super) kept: Kept,
    /// Blocks that files of the user's may have too, and are to be known by those then; not kept where nothing is
    /// referenced.
    pub(super) forgotten: Option<Forgotten>,
}

/// So many packs are unlinked before the folder is synced, and open until then.
const UNLINKED: usize = 16;

/// Unlinks packs in which nothing is live. It needs no space, so it comes first. One that stays is put back, all of
/// it dead; of several errors the first is told, after all were tried.
pub(super) fn unlink(store: &Inner, ids: &[PackId], freed: &mut Freed) -> Result<(), StoreError> {
    let mut failed = Ok(());
    for ids in ids.chunks(UNLINKED) {
        failed = failed.and(unlink_some(store, ids, freed));
        if store.is_poisoned() {
            break;
        }
    }
    failed
}

fn unlink_some(store: &Inner, ids: &[PackId], freed: &mut Freed) -> Result<(), StoreError> {
    let mut unlinked = Vec::with_capacity(ids.len());
    let mut failed = Ok(());
    for &id in ids {
        match unlink_one(store, id, freed) {
            Ok(pack) => unlinked.push((id, pack)),
            Err(e) => {
                tracing::warn!("stays: {e}");
                // Dead as it is, nobody finds what is in it: what lies elsewhere too is to be known from there.
                if let Ok(Some(pack)) = open(&store.core, id) {
                    drop_rows(store, &pack, |_| true, false, freed);
                }
                store.registry.put_back(id);
                failed = failed.and(Err(e));
            }
        }
    }
    if unlinked.is_empty() {
        return failed;
    }
    let synced = store.folder().files().sync_dir(&store.packs_folder());
    store.durable(synced.map_err(StoreError::from))?;
    store
        .registry
        .change_gone(|gone| unlinked.iter().for_each(|(id, _)| gone.forget(*id)));
    // A reader may still have one of them open, though it reads nothing of it any more: that keeps no space.
    for (pack, file) in unlinked.into_iter().filter_map(|(_, held)| held) {
        let payload = pack.payload();
        let _ = store
            .folder()
            .files()
            .punch(&file, payload.start, payload.end - payload.start);
    }
    failed
}

/// What is needed to punch a pack that was unlinked; none of one that was not there.
type Unlinked = Option<(Arc<PackFile>, std::fs::File)>;

fn unlink_one(store: &Inner, id: PackId, freed: &mut Freed) -> Result<Unlinked, StoreError> {
    let Some(pack) = open(&store.core, id)? else {
        return Ok(None);
    };
    let files = store.folder().files();
    let space = PackSpace::of(&store.core, &pack, true)?;
    let for_holes = files.open_sealed(pack.path());
    files.remove_file(pack.path())?;
    drop_rows(store, &pack, |_| true, true, freed);
    store.core.packs.close(id);
    freed.disk_bytes += space.disk_bytes;
    freed.packs += 1;
    // A snapshot by hard links keeps what it has.
    if space.is_linked {
        freed.linked_bytes += space.disk_bytes;
    }
    let for_holes = for_holes.ok().filter(|_| !space.is_linked);
    Ok(for_holes.map(|file| (pack, file)))
}

/// What is dead of a pack that stays.
#[derive(Debug)]
pub(super) struct DeadPart {
    pub(super) pack: PackId,
    pub(super) dead: Vec<Range<u64>>,
    /// What of it was not dead before.
    pub(super) new: Vec<Range<u64>>,
}

impl DeadPart {
    pub(super) fn of(pack: PackId, dead: Vec<Range<u64>>, before: &[Range<u64>]) -> Self {
        let new = dead.iter().flat_map(|range| outside(range, before));
        Self {
            pack,
            new: new.collect(),
            dead,
        }
    }
}

/// Punches what is dead of a pack: of ranges that were dead before only what may have been left by a collection
/// that was cut off.
pub(super) fn punch(store: &Inner, part: &DeadPart, freed: &mut Freed) -> Result<(), StoreError> {
    let Some(pack) = open(&store.core, part.pack)? else {
        return Ok(());
    };
    let space = PackSpace::of(&store.core, &pack, true)?;
    let taken = DeadSpace::of(&store.core, &pack, &part.dead)?;
    freed
        .kept
        .add(NotFreeable::PartialPages, taken.partial_pages);
    // Nothing new is dead, and nothing that is takes space: it was all given back before.
    if part.new.is_empty() && taken.bytes == 0 {
        return Ok(());
    }
    if let Some(why) = space.whole_only() {
        freed.kept.add(why, taken.bytes);
        return Ok(());
    }
    let files = store.folder().files();
    let file = files.open_sealed(pack.path())?;
    for hole in holes(&part.dead) {
        match files.punch(&file, hole.start, hole.end - hole.start) {
            Ok(()) => freed.ranges += 1,
            Err(e) if cannot_punch(&e) => {
                freed.kept.add(NotFreeable::NoHoles, taken.bytes);
                return Ok(());
            }
            Err(e) => return Err(FileError::new("punch a hole into", pack.path(), e).into()),
        }
    }
    let after = PackSpace::of(&store.core, &pack, true)?;
    freed.disk_bytes += space.disk_bytes.saturating_sub(after.disk_bytes);
    if !part.new.is_empty() {
        let is_gone = |row: &Row| {
            let range = row.offset..row.offset + u64::from(row.len);
            !range.is_empty() && outside(&range, &part.new).next() != Some(range.clone())
        };
        drop_rows(store, &pack, is_gone, false, freed);
    }
    Ok(())
}

/// Drops rows from the index, as far as it lets us: what stays costs space only.
fn drop_rows(
    store: &Inner,
    pack: &PackFile,
    is_gone: impl Fn(&Row) -> bool,
    whole: bool,
    freed: &mut Freed,
) {
    let dropped = pack.table().and_then(|table| {
        let rows: Vec<Row> = table.rows.into_iter().filter(is_gone).collect();
        if let Some(forgotten) = &mut freed.forgotten {
            rows.iter().for_each(|row| forgotten.add(row.cid.0.hash()));
        }
        store.index.forget(store, pack.id(), &rows, whole)
    });
    if let Err(e) = dropped {
        tracing::debug!("rows of dead blocks stay in the index: {e}");
    }
}
