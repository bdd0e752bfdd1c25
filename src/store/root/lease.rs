//! Opening a root so that the collector keeps off.
//!
//! The lease is the shared lock on the root's inode. It counts only when the path still names that inode
//! after the lock was had: between opening and locking a remover may have renamed the root and a collector
//! freed its packs (a lock on the packs instead let a reader map zeros).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::ROOT_LIMIT;
use super::record::RootRecord;
use crate::block::Cid;
use crate::error::FileError;
use crate::fsio::{self, Files, Locked};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{self, StoreId};
use crate::store::registry::Holder;

/// A use is noted at most this often.
const USE_STEP: Duration = Duration::from_secs(3_600);

/// Keeps an object's bytes from being collected while it is held.
#[derive(Debug)]
pub(crate) enum Lease {
    /// The shared lock on a published root.
    Locked(Locked, Files),
    /// What the writing process put together from blocks that no root covers.
    Held(#[expect(dead_code, reason = "held for its drop")] Holder),
}

#[derive(Clone, Debug)]
pub(crate) struct LeasedRoot {
    pub(crate) record: Arc<RootRecord>,
    pub(crate) lease: Arc<Lease>,
}

impl Lease {
    /// Notes that the object was used, for "least recently used first". A reader under another uid or on a
    /// read-only mount cannot, and need not.
    pub(crate) fn touch(&self) {
        let Self::Locked(locked, files) = self else {
            return;
        };
        let file = locked.file();
        let modified = files.modified(file);
        let now = SystemTime::now();
        // A time to come, of a clock that was wrong, is put right.
        let is_due = |then| now.duration_since(then).map_or(true, |age| age >= USE_STEP);
        if modified.is_ok_and(is_due) {
            let _ = files.set_modified(file, now);
        }
    }

    /// As [`Lease::touch`], however short a time ago it was used before: what was planned without this use is off.
    pub(crate) fn use_now(&self) {
        if let Self::Locked(locked, files) = self {
            let _ = files.set_modified(locked.file(), SystemTime::now());
        }
    }
}

impl LeasedRoot {
    /// The record with the places of its nodes, from the file that the lease is on: its path may name
    /// another one by now, or none.
    pub(crate) fn with_nodes(
        &self,
        folder: &StoreFolder,
        store: StoreId,
    ) -> Result<Arc<RootRecord>, StoreError> {
        let (locked, files) = match &*self.lease {
            Lease::Locked(locked, files) => (locked, files),
            Lease::Held(_) => return Ok(Arc::clone(&self.record)),
        };
        let cid = self.record.head.cid.0;
        let path = super::object_path(folder, &cid);
        let bytes = format::read_sealed(files, locked.file(), &path, ROOT_LIMIT)?;
        RootRecord::parse(&bytes, store, &cid, &path, true).map(Arc::new)
    }
}

/// Opens a published object's root under a lease; none if there is no such object.
pub(crate) fn open_root(
    folder: &StoreFolder,
    store: StoreId,
    cid: &Cid,
    with_nodes: bool,
) -> Result<Option<LeasedRoot>, StoreError> {
    let path = super::object_path(folder, cid);
    let files = folder.files();
    loop {
        let Some(file) = files.open_if_there(&path)? else {
            return Ok(None);
        };
        let locked = fsio::lock_shared(file).map_err(FileError::at("lock", &path))?;
        // Another inode, or none: the object was removed or replaced meanwhile, so start over.
        if !files.is_same_file(locked.file(), &path)? {
            continue;
        }
        let bytes = format::read_sealed(files, locked.file(), &path, ROOT_LIMIT)?;
        let record = RootRecord::parse(&bytes, store, cid, &path, with_nodes)?;
        let files = files.clone();
        return Ok(Some(LeasedRoot {
            record: Arc::new(record),
            lease: Arc::new(Lease::Locked(locked, files)),
        }));
    }
}
