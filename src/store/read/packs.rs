//! Open packs. A store may hold more of them than a process may hold descriptors, so only the most recently
//! used stay open.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rustix::process::{Resource, getrlimit};

use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::StoreId;
use crate::store::pack::{PackFile, PackId, Row};

/// So many, where the process may have four times as many files open.
const OPEN_PACKS: u64 = 64;
/// Tables of reference packs that are kept: at most some 10 MB each.
const KEPT_TABLES: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// Opens packs by id. An id is never used twice, so an open pack cannot be mistaken for another; whoever
/// reads from it holds a lease, or checks what it read against a hash.
#[derive(Debug)]
pub(crate) struct PackCache {
    folder: StoreFolder,
    store: StoreId,
    open: Mutex<LruCache<PackId, Arc<PackFile>>>,
    rows: Mutex<LruCache<PackId, Arc<[Row]>>>,
    /// Whether a pack is a reference pack, for all that were opened so far.
    kinds: Mutex<HashMap<PackId, bool>>,
}

impl PackCache {
    pub(crate) fn new(folder: StoreFolder, store: StoreId) -> Self {
        Self {
            folder,
            store,
            open: Mutex::new(LruCache::new(open_packs(
                getrlimit(Resource::Nofile).current,
            ))),
            rows: Mutex::new(LruCache::new(KEPT_TABLES)),
            kinds: Mutex::default(),
        }
    }

    pub(crate) fn open(&self, id: PackId) -> Result<Arc<PackFile>, StoreError> {
        if let Some(pack) = lock(&self.open).get(&id) {
            return Ok(Arc::clone(pack));
        }
        let pack = Arc::new(PackFile::open(&self.folder, id, self.store)?);
        lock(&self.open).put(id, Arc::clone(&pack));
        lock(&self.kinds).insert(id, pack.is_reference());
        Ok(pack)
    }

    /// Whether a pack's blocks lie in files of the user's; not so for one that cannot be opened.
    pub(crate) fn is_reference(&self, id: PackId) -> bool {
        let known = lock(&self.kinds).get(&id).copied();
        known.unwrap_or_else(|| self.open(id).is_ok_and(|pack| pack.is_reference()))
    }

    /// The rows of a reference pack, in the order of their offsets and apart.
    pub(crate) fn rows(&self, pack: &PackFile) -> Result<Arc<[Row]>, StoreError> {
        if let Some(rows) = lock(&self.rows).get(&pack.id()) {
            return Ok(Arc::clone(rows));
        }
        let mut rows = pack.table()?.rows;
        rows.retain(|row| row.len > 0);
        rows.sort_by_key(|row| row.offset);
        let sources = pack.sources();
        if !sources.is_some_and(|sources| sources.hold_apart(&rows)) {
            return Err(StoreError::Damaged {
                path: pack.path().to_path_buf(),
                what: "table",
                expected: "blocks apart, each in one source".into(),
                found: "others".into(),
            });
        }
        let rows: Arc<[Row]> = rows.into();
        lock(&self.rows).put(pack.id(), Arc::clone(&rows));
        Ok(rows)
    }

    /// Closes a pack, as far as nobody else has it open.
    pub(crate) fn close(&self, id: PackId) {
        lock(&self.open).pop(&id);
        lock(&self.rows).pop(&id);
        lock(&self.kinds).remove(&id);
    }
}

/// How many stay open in a process that may have so many files open, or any number. The rest is for roots, the index
/// and what the caller has.
fn open_packs(limit: Option<u64>) -> NonZeroUsize {
    let few = limit.map_or(OPEN_PACKS, |limit| OPEN_PACKS.min(limit / 4));
    NonZeroUsize::new(few as usize).unwrap_or(NonZeroUsize::MIN)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_take_a_quarter_of_the_files_that_a_process_may_have_open() {
        for (limit, open) in [
            (None, 64),
            (Some(1 << 20), 64),
            (Some(1_024), 64),
            (Some(128), 32),
            (Some(20), 5),
            (Some(3), 1),
        ] {
            assert_eq!(open_packs(limit).get(), open, "{limit:?}");
        }
    }
}
