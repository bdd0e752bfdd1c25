//! The writing process's state: the lock, the index, which packs are there, and the guard of commits.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::cache::MemoryTier;
use super::collect;
use super::error::StoreError;
use super::folder::StoreFolder;
use super::format::{StoreId, StoredCid};
use super::gone;
use super::index::{Forgotten, IndexSlot, PackTables, Rival};
use super::ingest::LeftRoots;
use super::options::{StoreOptions, ToldOfRoom};
use super::pack::{PackFile, PackId, Place, Row, SealedPack};
use super::quota::Quota;
use super::read::ReadCore;
use super::registry::{Holder, Registry};
use super::reserve;
use super::spare::Spares;
use crate::block::{Cid, Multihash, RAW};
use crate::error::FileError;
use crate::fsio::{self, Locked};

pub(crate) struct Inner {
    pub(crate) core: Arc<ReadCore>,
    pub(crate) tier: MemoryTier,
    pub(crate) index: IndexSlot,
    pub(crate) registry: Arc<Registry>,
    commit: Mutex<()>,
    /// Taken by whoever writes `gone`, so that an older state never replaces a newer one.
    gone_file: Mutex<()>,
    pub(crate) collector: Mutex<()>,
    /// Loose roots that stood there when the store was opened.
    pub(crate) left: LeftRoots,
    seals: AtomicU64,
    retirements: AtomicU64,
    poison: OnceLock<String>,
    pub(crate) quota: Option<Quota>,
    pub(crate) spares: Arc<Spares>,
    /// Bytes of disk that the opening freed of what a killed writer had left, until it was told.
    unfinished: AtomicU64,
    options: StoreOptions,
    pool: OnceLock<rayon::ThreadPool>,
    /// Held for its drop; the last field, so that the lock goes after everything else is closed.
    lock: Locked,
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
        core.folder.refuse_others()?;
        core.folder.check_folders()?;
        let unfinished = core.folder.empty_tmp()?;
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
        let gone = gone::read(&core.folder, core.id)?;
        let mut inner = Self {
            tier: MemoryTier::new(options.memory_bytes),
            index: index(&core.folder),
            registry: Registry::new(list(&core.folder)?, gone),
            left: LeftRoots::default(),
            core: Arc::new(core),
            commit: Mutex::new(()),
            gone_file: Mutex::new(()),
            collector: Mutex::new(()),
            seals: AtomicU64::new(0),
            retirements: AtomicU64::new(0),
            poison: OnceLock::new(),
            quota: None,
            spares: Arc::default(),
            unfinished: AtomicU64::new(unfinished),
            options,
            pool: OnceLock::new(),
            lock,
        };
        if let Some(max_bytes) = inner.options.max_bytes {
            let used = collect::used_bytes(inner.folder(), inner.registry.packs())?;
            inner.quota = Some(Quota::new(max_bytes, used));
        }
        collect::keep_lost(&inner)?;
        inner.left = LeftRoots::of(inner.folder())?;
        inner.index.catch_up(&inner)?;
        reserve::keep(inner.folder());
        tracing::debug!("opened {} for writing", inner.folder().path().display());
        Ok(inner)
    }

    /// No longer finds a block at a place: it is not there, and what is cannot be refused for that. An index that is
    /// made anew has it again.
    pub(crate) fn forget(&self, cid: Cid, place: Place) -> Result<(), StoreError> {
        let row = Row {
            cid: StoredCid(cid),
            offset: place.offset,
            len: place.len,
        };
        self.index.forget(self, place.pack, &[row], false)
    }

    /// The packs that the opening could not index, and warned of.
    pub(crate) fn left_out(&self) -> HashSet<PackId> {
        self.index.left_out(self).unwrap_or_default()
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

    /// How long what no object took up stays when room is made.
    pub(crate) fn grace(&self) -> Duration {
        self.options.grace
    }

    /// Who is told of what made way.
    pub(crate) fn told_of_room(&self) -> Option<&ToldOfRoom> {
        self.options.made_way.as_deref()
    }

    /// The file that the lock of the one writer is on.
    pub(crate) fn lock_file(&self) -> &File {
        self.lock.file()
    }

    /// The store's own threads; rayon's global ones belong to the caller.
    pub(crate) fn pool(&self) -> Result<&rayon::ThreadPool, StoreError> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let pool = build_pool(self.options.threads)?;
        Ok(self.pool.get_or_init(|| pool))
    }

    /// How many packs were sealed since the store was opened; a lookup made before the count moved may
    /// have missed a block.
    pub(crate) fn seals(&self) -> u64 {
        self.seals.load(Ordering::Acquire)
    }

    pub(crate) fn count_seal(&self) {
        self.seals.fetch_add(1, Ordering::Release);
    }

    /// How many roots were retired since the store was opened: whoever lists the roots while the count moves may
    /// miss one that is on its way from one name to another.
    pub(crate) fn retirements(&self) -> u64 {
        self.retirements.load(Ordering::Acquire)
    }

    pub(crate) fn count_retirement(&self) {
        self.retirements.fetch_add(1, Ordering::Release);
    }

    /// How many bytes the opening freed of what a killed writer had left in `tmp/`; told once.
    pub(crate) fn take_unfinished(&self) -> u64 {
        self.unfinished.swap(0, Ordering::Relaxed)
    }

    /// Where a block lies, if it is here and good. From then on `holder` relies on it. One that lies in a file of
    /// the user's only is not here: whoever writes would rest on that file too.
    pub(crate) fn find(
        &self,
        hash: &Multihash,
        holder: &Holder,
    ) -> Result<Option<Place>, StoreError> {
        let place = self.find_or_referenced(hash, holder)?;
        Ok(place.filter(|place| !self.core.packs.is_reference(place.pack)))
    }

    /// As [`Inner::find`], for one who rests on files of the user's knowingly.
    pub(crate) fn find_or_referenced(
        &self,
        hash: &Multihash,
        holder: &Holder,
    ) -> Result<Option<Place>, StoreError> {
        let Some(place) = self.index.get(self, hash)? else {
            return Ok(None);
        };
        Ok((holder.claim(&place) && self.is_sound(hash, place)?).then_some(place))
    }

    /// Whether a pack can be read at a place, and has no hole there that is none in the block. What a new root would
    /// rest on is not taken on trust: blocks of a pack that is damaged or gone count as absent from then on, and adding
    /// them writes them again.
    fn is_sound(&self, hash: &Multihash, place: Place) -> Result<bool, StoreError> {
        let has_holes = self.core.packs.open(place.pack).and_then(|pack| {
            let len = u64::from(place.len);
            // An empty block has no bytes to be damaged.
            if len == 0 {
                return Ok(false);
            }
            pack.check_range(place.offset, len)?;
            // What lies in files of the user's is read and hashed at each use.
            if pack.is_reference() {
                return Ok(false);
            }
            let files = self.folder().files();
            let bytes = files.data_within(pack.file(), &place.range(), pack.path())?;
            Ok(bytes < len)
        });
        match has_holes {
            Ok(false) => Ok(true),
            Ok(true) => self.is_block(hash, place),
            Err(e @ StoreError::Damaged { .. }) => {
                tracing::warn!("its blocks count as absent: {e}");
                self.registry.withdraw(place.pack);
                Ok(false)
            }
            Err(StoreError::File(e)) if e.source.kind() == std::io::ErrorKind::NotFound => {
                self.registry.withdraw(place.pack);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Whether a place has the bytes of a block. Where it has holes instead, a list of what is gone says too little: an
    /// older one than the packs.
    fn is_block(&self, hash: &Multihash, place: Place) -> Result<bool, StoreError> {
        let cid = Cid::new_v1(RAW, *hash);
        match self.core.block(&cid, &place) {
            Ok(_) => Ok(true),
            Err(StoreError::Block(_)) => {
                tracing::debug!("there is a hole, which counts as absent: {place:?}");
                self.forget(cid, place)?;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Where a block lies, for reading.
    pub(crate) fn place(&self, hash: &Multihash) -> Result<Option<Place>, StoreError> {
        let place = self.index.get(self, hash)?;
        Ok(place.filter(|place| self.registry.is_good(place)))
    }

    /// The error for a block that is here and recorded as damaged; none for any other.
    pub(crate) fn known_damage(&self, cid: &Cid) -> Result<Option<StoreError>, StoreError> {
        let place = self.index.get(self, cid.hash())?;
        let is_damaged = |place: &Place| {
            self.registry.has_pack(place.pack) && self.registry.gone().is_damaged(place)
        };
        let damaged = place.filter(is_damaged);
        Ok(damaged.map(|place| self.core.known_damage(cid, &place)))
    }

    /// Lets the index learn a pack; blocks that it has in one of the packs `instead_of` moved from there. What was
    /// just written also takes the place of what is referenced: a file that was added again may have moved.
    pub(crate) fn index_pack(
        &self,
        sealed: &SealedPack,
        instead_of: &HashSet<PackId>,
    ) -> Result<(), StoreError> {
        let rival = |known: &Place| {
            let is_reference = self.core.packs.is_reference(known.pack);
            let moved = instead_of.contains(&known.pack);
            Rival {
                keeps: self.registry.is_good(known) && !moved && !is_reference,
                ..self.rival(known, sealed.id)
            }
        };
        self.index.insert(self, sealed.id, &sealed.rows, &rival)
    }

    /// Lets the index learn reference packs again, now or when the store is next opened: of a block that another pack
    /// has too it knows that one only, and is about to forget it.
    pub(crate) fn unmark_references(&self) -> HashSet<PackId> {
        let marked = self.index.ask(self, |index| index.marked());
        let marked = marked.unwrap_or_default().into_iter();
        let references: HashSet<PackId> = marked
            .filter(|id| self.core.packs.is_reference(*id))
            .collect();
        for id in &references {
            if let Err(e) = self.index.forget(self, *id, &[], true) {
                tracing::debug!("the marker of reference pack {id} stays in the index: {e}");
            }
        }
        references
    }

    /// Makes blocks of reference packs known again that the index forgot with a pack that had them too, and marks those
    /// packs again.
    pub(crate) fn index_references(
        &self,
        packs: &HashSet<PackId>,
        forgotten: &Forgotten,
    ) -> Result<(), StoreError> {
        for &id in packs.iter().filter(|id| self.registry.has_pack(**id)) {
            let mut rows = self.core.packs.open(id)?.table()?.rows;
            rows.retain(|row| forgotten.may_have(row.cid.0.hash()));
            let rival = |known: &Place| self.rival(known, id);
            self.index.insert(self, id, &rows, &rival)?;
        }
        Ok(())
    }

    /// Writes what is gone by now to its file, unless that says so.
    pub(crate) fn publish_gone(&self) -> Result<(), StoreError> {
        let _turn = self
            .gone_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(gone) = self.registry.begin_publishing() else {
            return Ok(());
        };
        let bytes = gone.to_bytes(self.id());
        let publish = || self.folder().publish(&self.folder().gone(), &bytes);
        self.durable(reserve::with_space(self.folder(), publish))?;
        self.registry.published(gone);
        Ok(())
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

    /// Whether a write failed in a way that lets nothing be written any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
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
        self.registry.packs()
    }

    fn rival(&self, known: &Place, pack: PackId) -> Rival {
        let references = [known.pack, pack].map(|pack| self.core.packs.is_reference(pack));
        Rival {
            keeps: self.keeps(known, pack),
            // A large list of files is not learned again at each opening.
            both: references == [false, false] && !self.is_dead(known),
        }
    }

    fn is_dead(&self, place: &Place) -> bool {
        self.registry.gone().is_dead(place)
    }

    fn open(&self, id: PackId) -> Result<Arc<PackFile>, StoreError> {
        self.core.packs.open(id)
    }
}

impl Inner {
    fn keeps(&self, known: &Place, pack: PackId) -> bool {
        let packs = &self.core.packs;
        if !self.registry.is_good(known) || !packs.is_reference(known.pack) {
            return self.registry.is_good(known);
        }
        // Of two files the one that looks as it did when it was added.
        let looks_unchanged = |pack: Arc<PackFile>| {
            let found = pack.source_of(known.offset, u64::from(known.len));
            found.is_ok_and(|found| found.is_some_and(|(_, source)| source.looks_unchanged()))
        };
        packs.is_reference(pack) && packs.open(known.pack).is_ok_and(looks_unchanged)
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
    use crate::store::index::{Index, IndexError};
    use crate::store::pack::Row;

    fn open(path: &Path) -> Inner {
        let lock =
            crate::store::writer_lock::take(&StoreFolder::new(path), &StoreOptions::default())
                .unwrap();
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

    /// Counts the rows that it learns.
    #[derive(Default)]
    struct Counting {
        index: crate::store::index::MemoryIndex,
        learned: AtomicU64,
    }

    struct Shared(Arc<Counting>);

    impl Index for Shared {
        fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError> {
            self.0.index.get(hash)
        }
        fn insert(
            &self,
            pack: PackId,
            rows: &[Row],
            rival: &dyn Fn(&Place) -> Rival,
        ) -> Result<(), IndexError> {
            let learned = &self.0.learned;
            learned.fetch_add(rows.len() as u64, Ordering::Relaxed);
            self.0.index.insert(pack, rows, rival)
        }
        fn marked(&self) -> Result<Vec<PackId>, IndexError> {
            self.0.index.marked()
        }
        fn unmark(&self, pack: PackId) -> Result<(), IndexError> {
            self.0.index.unmark(pack)
        }
        fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError> {
            self.0.index.remove(pack, rows)
        }
        fn len(&self) -> Result<u64, IndexError> {
            self.0.index.len()
        }
    }

    #[test]
    fn a_collection_learns_of_what_is_referenced_only_what_was_forgotten() {
        use crate::store::{AddOptions, PinAs, ingest, root};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        drop(crate::store::Store::create(&path).unwrap());
        let counting = Arc::<Counting>::default();
        let options = StoreOptions {
            lock_timeout: std::time::Duration::from_secs(30),
            ..StoreOptions::default()
        };
        let lock = crate::store::writer_lock::take(&StoreFolder::new(&path), &options).unwrap();
        let index =
            |folder: &StoreFolder| IndexSlot::with(Box::new(Shared(Arc::clone(&counting))), folder);
        let core = ReadCore::open(&path).unwrap();
        let store = Inner::open_over(core, lock, options, index).unwrap();
        let profile = crate::dag::Profile::default()
            .with_chunk_bytes(10_000)
            .unwrap();
        let unpinned = AddOptions::default()
            .with_profile(profile)
            .with_pin(PinAs::No);
        let content: Vec<u8> = (0..200_000_u32).map(|n| (n / 7 + n) as u8).collect();
        let file = dir.path().join("file");
        std::fs::write(&file, &content).unwrap();
        let by_reference = AddOptions {
            reference: true,
            ..unpinned.clone()
        };
        ingest::add_path(&store, &file, &by_reference).unwrap();
        let learned_by = |removed: Cid| {
            let retired = root::retired_path(&store.core.folder, &removed).unwrap();
            std::fs::rename(path.join("roots").join(removed.to_string()), retired).unwrap();
            let before = counting.learned.load(Ordering::Relaxed);
            let plan = collect::plan(&store.core, &crate::store::GcOptions::default()).unwrap();
            assert!(collect::collect(&store, &plan).unwrap().packs > 0);
            counting.learned.load(Ordering::Relaxed) - before
        };
        let other = ingest::add_reader(&store, &[7; 30_000][..], &unpinned).unwrap();
        assert_eq!(learned_by(other.cid), 0);
        // Two of its blocks, which the store then has itself for a while.
        let part = ingest::add_reader(&store, &content[..20_000], &unpinned).unwrap();
        assert_eq!(part.new_bytes, 20_000);
        assert_eq!(learned_by(part.cid), 2);
        let hash = crate::block::HashFunction::default().digest(&content[..10_000]);
        let place = store.place(&hash).unwrap().unwrap();
        assert!(store.core.packs.is_reference(place.pack));
        let marked = store.index.ask(&store, |index| index.marked()).unwrap();
        assert_eq!(marked.len(), store.registry.packs().len());
    }
}
