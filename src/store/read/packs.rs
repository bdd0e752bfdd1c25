//! Open packs. A store may hold more of them than a process may hold descriptors, so only the most recently
//! used stay open.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::StoreId;
use crate::store::pack::{PackFile, PackId};

const OPEN_PACKS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Opens packs by id. An id is never used twice, so an open pack cannot be mistaken for another; whoever
/// reads from it holds a lease, or checks what it read against a hash.
#[derive(Debug)]
pub(crate) struct PackCache {
    folder: StoreFolder,
    store: StoreId,
    open: Mutex<LruCache<PackId, Arc<PackFile>>>,
}

impl PackCache {
    pub(crate) fn new(folder: StoreFolder, store: StoreId) -> Self {
        Self {
            folder,
            store,
            open: Mutex::new(LruCache::new(OPEN_PACKS)),
        }
    }

    pub(crate) fn open(&self, id: PackId) -> Result<Arc<PackFile>, StoreError> {
        if let Some(pack) = self.lock().get(&id) {
            return Ok(Arc::clone(pack));
        }
        let pack = Arc::new(PackFile::open(&self.folder, id, self.store)?);
        self.lock().put(id, Arc::clone(&pack));
        Ok(pack)
    }

    /// Closes a pack, as far as nobody else has it open.
    pub(crate) fn close(&self, id: PackId) {
        self.lock().pop(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<PackId, Arc<PackFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
