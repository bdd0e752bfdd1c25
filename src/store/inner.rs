//! The writing process's state: the lock, the index, which packs are there, and the guard of commits.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::cache::MemoryTier;
use super::error::StoreError;
use super::folder::StoreFolder;
use super::format::StoreId;
use super::index::{IndexSlot, PackTables};
use super::pack::{PackFile, PackId, Place, SealedPack};
use super::read::ReadCore;
use super::writable::StoreOptions;
use crate::block::Multihash;
use crate::error::FileError;
use crate::fsio::{self, Locked};

/// Tells the adds and sessions of this process apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriterId(u64);

pub(crate) struct Inner {
    pub(crate) core: Arc<ReadCore>,
    pub(crate) tier: MemoryTier,
    pub(crate) index: IndexSlot,
    packs: RwLock<Packs>,
    commit: Mutex<()>,
    seals: AtomicU64,
    writers: AtomicU64,
    poison: OnceLock<String>,
    options: StoreOptions,
    pool: OnceLock<rayon::ThreadPool>,
    /// Held for its drop; the last field, so that the lock goes after everything else is closed.
    _lock: Locked,
}

/// The packs that are there.
#[derive(Default)]
struct Packs {
    here: HashSet<PackId>,
    /// Those whose add has not committed yet, and whether another add found a block in them.
    unsettled: HashMap<PackId, (WriterId, bool)>,
}

impl Inner {
    /// Opens what `core` identified; the caller has the lock.
    pub(crate) fn open(
        core: ReadCore,
        lock: Locked,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        Self::open_over(core, lock, options, IndexSlot::open)
    }

    /// As [`Inner::open`], with an index of the caller's.
    pub(crate) fn open_over(
        core: ReadCore,
        lock: Locked,
        options: StoreOptions,
        index: impl FnOnce(&StoreFolder) -> IndexSlot,
    ) -> Result<Self, StoreError> {
        core.folder.refuse_links()?;
        core.folder.empty_tmp()?;
        // What a writer that was killed had renamed may not be durable yet, and from here on it counts.
        let files = core.folder.files();
        for folder in [
            core.folder.path().to_path_buf(),
            core.folder.packs(),
            core.folder.roots(),
            core.folder.names(),
        ] {
            files.sync_dir(&folder)?;
        }
        let inner = Self {
            tier: MemoryTier::new(options.memory_bytes),
            index: index(&core.folder),
            packs: RwLock::new(Packs {
                here: list(&core.folder)?,
                ..Packs::default()
            }),
            core: Arc::new(core),
            commit: Mutex::new(()),
            seals: AtomicU64::new(0),
            writers: AtomicU64::new(0),
            poison: OnceLock::new(),
            options,
            pool: OnceLock::new(),
            _lock: lock,
        };
        inner.index.catch_up(&inner)?;
        tracing::debug!("opened {} for writing", inner.folder().path().display());
        Ok(inner)
    }

    pub(crate) fn folder(&self) -> &StoreFolder {
        &self.core.folder
    }

    pub(crate) fn id(&self) -> StoreId {
        self.core.id
    }

    pub(crate) fn packs_folder(&self) -> PathBuf {
        self.folder().packs()
    }

    pub(crate) fn pack_bytes(&self) -> u64 {
        self.options.pack_bytes
    }

    /// The store's own threads; rayon's global ones belong to the caller.
    pub(crate) fn pool(&self) -> Result<&rayon::ThreadPool, StoreError> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let pool = build_pool(self.options.threads)?;
        Ok(self.pool.get_or_init(|| pool))
    }

    pub(crate) fn next_writer(&self) -> WriterId {
        WriterId(self.writers.fetch_add(1, Ordering::Relaxed))
    }

    /// How many packs were sealed since the store was opened; a lookup made before the count moved may
    /// have missed a block.
    pub(crate) fn seals(&self) -> u64 {
        self.seals.load(Ordering::Acquire)
    }

    pub(crate) fn count_seal(&self) {
        self.seals.fetch_add(1, Ordering::Release);
    }

    /// Where a block lies, if it is here. A block found in a pack whose add may still fail is noted, so
    /// that the pack stays.
    pub(crate) fn find(
        &self,
        hash: &Multihash,
        writer: WriterId,
    ) -> Result<Option<Place>, StoreError> {
        let Some(place) = self.index.get(self, hash)? else {
            return Ok(None);
        };
        Ok((self.claim(place.pack, writer) && self.is_sound(place)?).then_some(place))
    }

    /// Notes that `writer` relies on a pack; false when it is not here.
    fn claim(&self, pack: PackId, writer: WriterId) -> bool {
        {
            let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
            match packs.unsettled.get(&pack) {
                Some((owner, hit)) if *owner != writer && !hit => {}
                _ => return packs.here.contains(&pack),
            }
        }
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, hit)) = packs.unsettled.get_mut(&pack) {
            *hit = true;
        }
        packs.here.contains(&pack)
    }

    /// Whether a pack can be read at a place. What a new root would rest on is not taken on trust: blocks
    /// of a pack that is damaged or gone count as absent from then on, and adding them writes them again.
    fn is_sound(&self, place: Place) -> Result<bool, StoreError> {
        let checked = self.core.packs.open(place.pack).and_then(|pack| {
            // An empty block has no bytes to be damaged.
            match place.len {
                0 => Ok(()),
                len => pack.check_range(place.offset, u64::from(len)),
            }
        });
        match checked {
            Ok(()) => Ok(true),
            Err(e @ StoreError::Damaged { .. }) => {
                tracing::warn!("its blocks count as absent: {e}");
                self.withdraw(place.pack);
                Ok(false)
            }
            Err(StoreError::File(e)) if e.source.kind() == std::io::ErrorKind::NotFound => {
                self.withdraw(place.pack);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Whether a pack is here.
    pub(crate) fn has_pack(&self, pack: PackId) -> bool {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        packs.here.contains(&pack)
    }

    /// Where a block lies, for reading.
    pub(crate) fn place(&self, hash: &Multihash) -> Result<Option<Place>, StoreError> {
        let place = self.index.get(self, hash)?;
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        Ok(place.filter(|place| packs.here.contains(&place.pack)))
    }

    /// A pack is about to stand in `packs/`; its add may still fail.
    pub(crate) fn announce(&self, pack: PackId, writer: WriterId) {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        packs.here.insert(pack);
        packs.unsettled.insert(pack, (writer, false));
    }

    /// It does not stand there after all.
    pub(crate) fn withdraw(&self, pack: PackId) {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        packs.here.remove(&pack);
        packs.unsettled.remove(&pack);
    }

    /// Its add committed.
    pub(crate) fn settle(&self, pack: PackId) {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        packs.unsettled.remove(&pack);
    }

    /// Its add failed: removes the pack, unless another add found a block in it. Says whether it went.
    pub(crate) fn take_back(&self, pack: PackId) -> bool {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, true)) = packs.unsettled.remove(&pack) {
            return false;
        }
        packs.here.remove(&pack);
        // One that cannot be removed is dead payload, which the next opening indexes again.
        let path = self.packs_folder().join(pack.file_name());
        let _ = self.folder().files().remove_file(&path);
        true
    }

    pub(crate) fn index_pack(&self, sealed: &SealedPack) -> Result<(), StoreError> {
        let here = |place: &Place| {
            let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
            packs.here.contains(&place.pack)
        };
        self.index.insert(self, sealed.id, &sealed.rows, &here)
    }

    /// One commit at a time, and none after a failed one.
    pub(crate) fn commit_guard(&self) -> Result<MutexGuard<'_, ()>, StoreError> {
        let guard = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        match self.poison.get() {
            None => Ok(guard),
            Some(cause) => Err(StoreError::Poisoned {
                path: self.folder().path().to_path_buf(),
                cause: cause.clone(),
            }),
        }
    }

    /// Notes a failed fsync: what the kernel has of the file since then is unknown, so nothing more is
    /// written until the store is opened again.
    pub(crate) fn durable<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::File(FileError { action: "sync", .. })) = &result {
            let cause = result
                .as_ref()
                .err()
                .map(ToString::to_string)
                .unwrap_or_default();
            let _ = self.poison.set(cause);
        }
        result
    }
}

impl PackTables for Inner {
    fn ids(&self) -> Vec<PackId> {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        packs.here.iter().copied().collect()
    }

    fn open(&self, id: PackId) -> Result<Arc<PackFile>, StoreError> {
        self.core.packs.open(id)
    }
}

pub(crate) fn build_pool(threads: usize) -> Result<rayon::ThreadPool, StoreError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(fsio::thread_count(threads))
        .thread_name(|i| format!("ipfs-store-{i}"))
        .build()
        .map_err(|e| {
            FileError::new(
                "start threads for",
                Path::new("the store"),
                std::io::Error::other(e),
            )
            .into()
        })
}

/// The packs of a store; other files are left alone.
pub(crate) fn list(folder: &StoreFolder) -> Result<HashSet<PackId>, StoreError> {
    let names = folder.files().list(&folder.packs())?;
    let ids = names.iter().filter_map(|name| name.to_str());
    Ok(ids.filter_map(PackId::from_file_name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Inner {
        let lock = crate::store::writer_lock::take(&StoreFolder::new(path)).unwrap();
        Inner::open(ReadCore::open(path).unwrap(), lock, StoreOptions::default()).unwrap()
    }

    #[test]
    fn after_a_failed_sync_nothing_more_is_written_until_the_store_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        drop(crate::store::Store::create(&path).unwrap());
        let inner = open(&path);
        let failed = |action| {
            let source = std::io::Error::other("the disk is gone");
            Err::<(), _>(StoreError::File(FileError::new(action, "packs/x", source)))
        };
        // A failed write leaves nothing that counts behind; a failed sync leaves what nobody knows.
        assert!(inner.durable(failed("write")).is_err());
        assert!(inner.commit_guard().is_ok());
        assert!(inner.durable(failed("sync")).is_err());
        let error = inner.commit_guard().map(drop).unwrap_err();
        assert!(
            matches!(&error, StoreError::Poisoned { cause, .. } if cause.contains("the disk is gone")),
            "{error}"
        );
        let options = crate::store::AddOptions::default();
        let error = crate::store::ingest::add_reader(&inner, &b"x"[..], &options).unwrap_err();
        assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
        assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
        assert_eq!(list(&StoreFolder::new(&path)).unwrap().len(), 0);
        drop(inner);
        let inner = open(&path);
        crate::store::ingest::add_reader(&inner, &b"x"[..], &options).unwrap();
    }
}
