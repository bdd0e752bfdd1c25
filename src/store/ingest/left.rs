//! What imports that were killed left behind.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::writer::loose_record;
use crate::block::Cid;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::inner::Inner;
use crate::store::pack::PackId;
use crate::store::root::{ROOT_LIMIT, RootName, RootRecord, UNFINISHED};

/// The loose roots that stood there when the store was opened. Nobody is at work on them.
#[derive(Debug, Default)]
pub(crate) struct LeftRoots(Mutex<Vec<PathBuf>>);

impl LeftRoots {
    pub(crate) fn of(folder: &StoreFolder) -> Result<Self, StoreError> {
        let roots = folder.roots();
        let listed = folder.files().list(&roots)?.into_iter();
        let is_loose = |name: &std::ffi::OsString| {
            let name = name.to_str().and_then(RootName::parse);
            name == Some(RootName::Loose)
        };
        let left = listed.filter(is_loose).map(|name| roots.join(name));
        Ok(Self(Mutex::new(left.collect())))
    }

    /// Removes those of unfinished imports that an object has used up, whose root is durable and covers all that they
    /// cover. One that stays, or cannot be looked at, only keeps it longer. What a session committed stays for its
    /// time, whatever else covers it meanwhile. The caller holds the guard of commits.
    pub(crate) fn drop_used_up(&self, store: &Inner, object: &Cid) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            return;
        }
        let Ok(Some(root)) = store.core.open_root(object, true) else {
            return;
        };
        let mut covered = Coverage::default();
        covered.add(&root.record);
        covered.normalize();
        left.retain(|path| match is_used_up(store, path, &covered) {
            Ok(false) => true,
            Ok(true) => store.folder().files().remove_file(path).is_err(),
            Err(e) => {
                tracing::debug!("stays: {e}");
                true
            }
        });
    }
}

fn is_used_up(store: &Inner, path: &Path, covered: &Coverage) -> Result<bool, StoreError> {
    let files = store.folder().files();
    let Some(file) = files.open_if_there(path)? else {
        return Ok(true);
    };
    let bytes = files.read_file(&file, path, ROOT_LIMIT)?;
    let loose = RootRecord::parse_any(&bytes, store.id(), path, true)?;
    let is_covered = |(pack, range)| covered.bytes_within(pack, &range) == range.end - range.start;
    if !loose.is_unfinished() || !loose.places().all(is_covered) {
        return Ok(false);
    }
    let mut packs = loose.whole_packs();
    // Of those that were announced only the last may never have come, and has nothing. Any other one was there, and
    // may come back.
    if let Some(last) = packs.pop_if(|last| covered.of(*last).is_empty()) {
        let path = store.packs_folder().join(last.file_name());
        if store.folder().files().metadata_if_there(&path)?.is_some() {
            return Ok(false);
        }
    }
    for pack in packs {
        if !is_pack_covered(store, pack, covered)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_pack_covered(store: &Inner, pack: PackId, covered: &Coverage) -> Result<bool, StoreError> {
    if covered.of(pack).is_empty() {
        return Ok(false);
    }
    let rows = store.core.packs.open(pack)?.table()?.rows;
    let mut ranges = rows.iter().map(|row| row.place(pack).range());
    Ok(ranges.all(|range| covered.bytes_within(pack, &range) == range.end - range.start))
}

/// A root over the packs of an import that is under way, or was cut off.
pub(super) fn unfinished_record(packs: Vec<PackId>) -> RootRecord {
    let mut record = loose_record(packs, Vec::new());
    record.head.name = UNFINISHED.to_owned();
    record
}
