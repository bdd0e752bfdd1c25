//! The store as its one writer has it.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::absorb::{self, AbsorbOptions, AbsorbReport};
use super::cache::CacheStats;
use super::collect::{self, GcOptions, GcPlan, GcReport};
use super::desired::{self, DesiredPins, PinPlan, PinSyncOptions, PinSyncReport};
use super::error::StoreError;
use super::folder::StoreFolder;
use super::heal::{self, HealOptions, HealReport};
use super::ingest::{self, AddOptions, AddReport, WriteSession};
use super::inner::Inner;
use super::lookup::{get_block, get_node, resolve};
use super::names::Pin;
use super::options::StoreOptions;
use super::overlay;
use super::pins::{self, PinOptions};
use super::read::{
    Entry, ExportOptions, ExportReport, FileReader, Object, ObjectInfo, ObjectStat, ReadCore,
    StoreReader,
};
use super::remove::{self, RemoveOptions, RemoveReport};
use super::repair::warn_of_damage;
use super::spare::Spared;
use super::sync::{self, SyncError, SyncOptions, SyncReport};
use super::target::Target;
use super::totals::StoreTotals;
use super::verify::{self, Access, VerifyOptions, VerifyReport};
use super::writer_lock;
use crate::block::{Block, Cid, inline_data};
use crate::dag::{Node, Profile};
use crate::fsio::Locked;

/// A content-addressed store, open for writing. One process has a store open for writing at a time; any
/// number read it through [`StoreReader`].
///
/// Cheap to clone; all clones are the same open store.
///
/// ```
/// use ipfs_accelerate::{AddOptions, Store};
/// use std::io::Read;
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("hello.txt");
/// # std::fs::write(&path, b"hello world")?;
/// let store = Store::create(dir.path().join("store"))?;
/// let added = store.add_path(&path, &AddOptions::default().named("greeting"))?;
/// assert_eq!(
///     added.cid.to_string(),
///     "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
/// );
/// let mut text = String::new();
/// store.reader(&"greeting".parse()?)?.read_to_string(&mut text)?;
/// assert_eq!(text, "hello world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store.
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is none, [`StoreError::NotAStore`] for a folder of other files,
    /// [`StoreError::Locked`] while another process has it open for writing, once
    /// [`lock_timeout`](StoreOptions::lock_timeout) is over, [`StoreError::NewerFormat`] for a store of a later version, [`StoreError::Overlay`] on an overlay file
    /// system that it was not written through before.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, StoreOptions::default())
    }

    /// As [`Store::open`], with options.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let core = ReadCore::open(path.as_ref())?;
        overlay::check(&core.folder, options.nobody_collects)?;
        let lock = writer_lock::take(&core.folder, &options)?;
        // Read anew: while the lock was waited for, the store may have been made again.
        let store = Self::open_locked(path.as_ref(), lock, options)?;
        warn_of_damage(&store.inner.core, &store.inner.left_out());
        Ok(store)
    }

    /// Makes an empty store in an absent or empty folder, and opens it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one, [`StoreError::NotAStore`] for a folder of other files.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::create_with(path, StoreOptions::default())
    }

    /// As [`Store::create`], with options.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let lock = StoreFolder::new(path.as_ref()).create(&options)?;
        Self::open_locked(path.as_ref(), lock, options)
    }

    fn open_locked(path: &Path, lock: Locked, options: StoreOptions) -> Result<Self, StoreError> {
        let folder = StoreFolder::new(path).standing_for(options.stands_for.clone());
        let core = ReadCore::on(folder)?;
        Ok(Self {
            inner: Arc::new(Inner::open(core, lock, options)?),
        })
    }

    /// Opens a store, making it first where the folder is absent or empty.
    ///
    /// # Errors
    /// As [`Store::open`], absence apart.
    pub fn open_or_create(
        path: impl AsRef<Path>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let folder = StoreFolder::new(path.as_ref());
        if folder.is_vacant()? {
            match folder.create(&options) {
                Ok(lock) => return Self::open_locked(path.as_ref(), lock, options),
                // Another process was faster, which is as good.
                Err(StoreError::Exists { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Self::open_with(path, options)
    }

    #[cfg(test)]
    pub(crate) fn over(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        Self { inner }
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        self.inner.folder().path()
    }

    /// The profile that the store was made with; for the caller to add under.
    pub fn profile(&self) -> &Profile {
        &self.inner.core.profile
    }

    /// A reader of the same store, such as another process would open.
    pub fn to_reader(&self) -> StoreReader {
        StoreReader::from_core(Arc::clone(&self.inner.core))
    }

    /// Adds a file or folder: hashed in parallel, in bounded memory, and committed in one step. Adding
    /// again what is there writes no payload and gives the same CID.
    ///
    /// # Errors
    /// [`StoreError::File`] for what cannot be read or written, [`StoreError::SourceChanged`] for a file
    /// that changes meanwhile, [`StoreError::NameTaken`] for a pin's name, [`StoreError::Dag`] for a folder
    /// too large for one block, [`StoreError::QuotaExceeded`] when there is no room and none can be made. After any
    /// error the store is as it was, but for unpinned objects that made way under [`StoreOptions::max_bytes`]: room
    /// is made as new blocks come, since how much of a path is new shows only once it was hashed.
    pub fn add_path(
        &self,
        path: impl AsRef<Path>,
        options: &AddOptions,
    ) -> Result<AddReport, StoreError> {
        ingest::add_path(&self.inner, path.as_ref(), options)
    }

    /// Adds a stream as one file.
    ///
    /// # Errors
    /// As [`Store::add_path`].
    pub fn add_reader(
        &self,
        reader: impl Read + Send,
        options: &AddOptions,
    ) -> Result<AddReport, StoreError> {
        ingest::add_reader(&self.inner, reader, options)
    }

    /// Copies objects from another store: what is missing of them, each block checked against its CID before it
    /// is written. An object is here whole or not at all. What the source cannot give is told in the report, and
    /// does not stop the other objects.
    ///
    /// ```
    /// use ipfs_accelerate::{AddOptions, Store, StoreReader, SyncOptions};
    /// # let dir = tempfile::tempdir()?;
    /// # let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    /// # let store = Store::create(&there)?;
    /// # store.add_reader(&b"hello world"[..], &AddOptions::default().named("greeting"))?;
    /// let source = StoreReader::open(&there)?;
    /// let store = Store::create(&here)?;
    /// let report = store.sync_from(&source, &SyncOptions::default())?;
    /// assert_eq!((report.copied(), report.counts().new_bytes), (1, 11));
    /// assert_eq!(store.to_reader().read(&"greeting".parse()?)?, b"hello world");
    ///
    /// let again = store.sync_from(&source, &SyncOptions::default())?;
    /// assert_eq!((again.there(), again.counts().new_bytes), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SyncError::SameStore`] for this store itself, [`SyncError::Cancelled`], and [`SyncError::Store`] for a
    /// target that the source does not have, and for what this store cannot read or write. Objects that were
    /// copied before stay.
    pub fn sync_from(
        &self,
        source: &StoreReader,
        options: &SyncOptions,
    ) -> Result<SyncReport, SyncError> {
        sync::sync_from(&self.inner, source, options)
    }

    /// Begins to write single blocks.
    pub fn session(&self) -> WriteSession<'_> {
        WriteSession::new(&self.inner)
    }

    /// Whether a block is here: a leaf, an inner node or the root of an object.
    ///
    /// # Errors
    /// [`StoreError::File`] when the index cannot be read nor made anew.
    pub fn has_block(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(inline_data(cid).is_some() || self.inner.place(cid.hash())?.is_some())
    }

    /// A block, checked against its CID: from the memory tier, or from its pack.
    ///
    /// # Errors
    /// [`StoreError::BlockAbsent`] when it is not here, [`StoreError::KnownDamage`] when it is recorded as
    /// damaged, [`StoreError::Block`] when its bytes are found to be.
    pub fn get_block(&self, cid: &Cid) -> Result<Block, StoreError> {
        get_block(&self.inner, cid)
    }

    /// A block decoded as a DAG node: from the memory tier, or from its pack.
    ///
    /// # Errors
    /// As [`Store::get_block`], and [`StoreError::Dag`] for a block that is no node.
    pub fn get_node(&self, cid: &Cid) -> Result<Arc<Node>, StoreError> {
        get_node(&self.inner, cid)
    }

    /// Finds a target among the published objects; failing that, puts a file or folder together from its
    /// blocks, which may belong to no object.
    ///
    /// # Errors
    /// As [`StoreReader::resolve`].
    pub fn resolve(&self, target: &Target) -> Result<Object, StoreError> {
        resolve(&self.inner, target)
    }

    /// Whether a target, or a block under its CID, is here.
    ///
    /// # Errors
    /// Any error of [`Store::resolve`] that is not plain absence.
    pub fn has(&self, target: &Target) -> Result<bool, StoreError> {
        if self.to_reader().has(target)? {
            return Ok(true);
        }
        match target.cid().filter(|_| target.path().is_empty()) {
            Some(cid) => self.has_block(cid),
            None => Ok(false),
        }
    }

    /// A file's bytes as `Read + Seek`, with slices that are not copied.
    ///
    /// # Errors
    /// As [`Store::resolve`] and [`Object::file`].
    pub fn reader(&self, target: &Target) -> Result<FileReader, StoreError> {
        let object = self.resolve(target)?;
        object.touch();
        Ok(object.file()?.reader())
    }

    /// What stands directly in a folder.
    ///
    /// # Errors
    /// As [`Store::resolve`] and [`Object::list`].
    pub fn list(&self, target: &Target) -> Result<Vec<Entry>, StoreError> {
        self.resolve(target)?.list()
    }

    /// Size, blocks, codec and pins of a target.
    ///
    /// # Errors
    /// As [`Store::resolve`].
    pub fn stat(&self, target: &Target) -> Result<ObjectStat, StoreError> {
        self.resolve(target)?.stat()
    }

    /// Writes a file or folder to `output`, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::OutputExists`] without `force`; [`StoreError::EscapingLink`] for a link that would
    /// lead out of the output; as [`Store::resolve`].
    pub fn export(
        &self,
        target: &Target,
        output: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<ExportReport, StoreError> {
        self.resolve(target)?.export(output, options)
    }

    /// Copies in what a target refers to, so that it needs no file outside the store; other objects that refer to
    /// the same places of these files are rewritten with it. The files are left alone.
    ///
    /// ```
    /// use ipfs_accelerate::{AddOptions, Store};
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("model");
    /// std::fs::write(&path, vec![7; 100_000])?;
    /// let store = Store::create(dir.path().join("store"))?;
    /// let mut options = AddOptions::default();
    /// options.reference = true;
    /// let target = store.add_path(&path, &options)?.cid.into();
    /// assert_eq!(store.absorb(&target, &Default::default())?.copied_bytes, 100_000);
    /// std::fs::remove_file(&path)?;
    /// assert_eq!(store.to_reader().read(&target)?, vec![7; 100_000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::SourceGone`] and [`StoreError::SourceDiffers`] for a file that is not as it was,
    /// [`StoreError::File`] when the disk refuses; the store is then as it was, unless the disk refused while
    /// objects were rewritten: then some of them are, and absorbing again goes on. As [`StoreReader::resolve`].
    pub fn absorb(
        &self,
        target: &Target,
        options: &AbsorbOptions,
    ) -> Result<AbsorbReport, StoreError> {
        absorb::absorb(&self.inner, target, options)
    }

    /// All published objects, in the order of their CIDs.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a root or a name that cannot be read.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.core.objects()
    }

    /// Removes an object; its space is freed by a collection.
    ///
    /// # Errors
    /// [`StoreError::Pinned`] unless `unpin` is set, [`StoreError::NotAnObject`] for a part of one.
    pub fn remove(
        &self,
        target: &Target,
        options: &RemoveOptions,
    ) -> Result<RemoveReport, StoreError> {
        remove::remove(&self.inner, target, options)
    }

    /// Pins a target.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] without `replace`, [`StoreError::BadName`], and those of
    /// [`Store::resolve`].
    pub fn pin(&self, target: &Target, options: &PinOptions) -> Result<Pin, StoreError> {
        let pin = pins::pin(&self.inner, target, options)?;
        Ok(self.inner.core.as_added(pin))
    }

    /// Removes one pin, by its name or by the CID it points to; returns it.
    ///
    /// # Errors
    /// [`StoreError::NotPinned`], and [`StoreError::ManyPins`] for a CID with several named pins.
    pub fn unpin(&self, target: &Target) -> Result<Pin, StoreError> {
        let pin = pins::unpin(&self.inner, target)?;
        Ok(self.inner.core.as_added(pin))
    }

    /// What has to be done so that the store has the pins that a file lists; nothing is changed. An entry that
    /// cannot be met is part of the plan.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a name that cannot be read.
    pub fn plan_pins(
        &self,
        desired: &DesiredPins,
        options: &PinSyncOptions,
    ) -> Result<PinPlan, StoreError> {
        desired::plan_pins(&self.inner, desired, options)
    }

    /// Carries a plan out. Each entry is met by itself, in one step; one that cannot be does not stop the others,
    /// but no pin is removed then.
    ///
    /// # Errors
    /// [`StoreError::File`] when the store's folders cannot be listed; nothing was changed then.
    pub fn apply_pins(
        &self,
        plan: PinPlan,
        options: &PinSyncOptions,
    ) -> Result<PinSyncReport, StoreError> {
        desired::apply_pins(&self.inner, plan, options)
    }

    /// All pins, in the order of their names.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a name that cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        self.to_reader().pins()
    }

    /// Counts and sizes of the store as a whole.
    ///
    /// # Errors
    /// [`StoreError::File`] when the store's folders cannot be listed.
    pub fn totals(&self) -> Result<StoreTotals, StoreError> {
        super::totals::totals(&self.inner.core)
    }

    /// Names objects that make no way for what is added until the value is dropped, as adding several of them
    /// without pins under a quota needs.
    pub fn spare(&self) -> Spared {
        Spared::new(&self.inner.spares)
    }

    /// What a collection would do; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a root or a name that cannot be read, and [`StoreError::NameWithoutRoot`]:
    /// what they keep is not known, so nothing is collected.
    pub fn plan_gc(&self, options: &GcOptions) -> Result<GcPlan, StoreError> {
        collect::plan_writing(&self.inner, options)
    }

    /// Carries a plan out, beside adds, reads and loads. What was pinned, used or changed since the plan was made
    /// stays; what somebody still uses is [`GcReport::pending`] and goes at a later collection.
    ///
    /// ```
    /// use ipfs_accelerate::{AddOptions, GcOptions, RemoveOptions, Store};
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::create(dir.path().join("store"))?;
    /// let added = store.add_reader(&vec![7; 1 << 20][..], &AddOptions::default())?;
    /// store.remove(&added.cid.into(), &RemoveOptions::with_unpin())?;
    /// let plan = store.plan_gc(&GcOptions::default())?;
    /// assert_eq!(plan.objects.len(), 1);
    /// let report = store.apply_gc(&plan)?;
    /// assert!(report.freed_bytes >= 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::plan_gc`]; [`StoreError::File`] when the disk refuses. What was freed by then stays freed, and
    /// collecting again goes on.
    pub fn apply_gc(&self, plan: &GcPlan) -> Result<GcReport, StoreError> {
        collect::collect(&self.inner, plan)
    }

    /// Hashes every block again and follows every object from its CID to its bytes. What is damaged is recorded:
    /// from then on every reader refuses it ([`StoreError::KnownDamage`]), and adding the same content writes it
    /// anew. A block that was recorded and reads well now is taken off the record.
    ///
    /// Goes on beside adds, reads, loads and collections. What the page cache holds is not read from the disk.
    ///
    /// ```
    /// use ipfs_accelerate::{AddOptions, Store, VerifyOptions};
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::create(dir.path().join("store"))?;
    /// store.add_reader(&b"hello world"[..], &AddOptions::default())?;
    /// let report = store.verify(&VerifyOptions::default())?;
    /// assert_eq!((report.findings.len(), report.blocks, report.objects), (0, 1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage is a finding, not an error. As [`Store::resolve`] for a target; [`StoreError::File`] when the
    /// store cannot be looked at, or what was found cannot be recorded.
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport, StoreError> {
        let access = Access {
            core: &self.inner.core,
            store: Some(&self.inner),
        };
        verify::verify(&access, options)
    }

    /// Heals what a verification found, as far as good bytes are there: in the store itself, or in `from`, which
    /// are files, folders and other stores. Files are cut as the damaged objects were, and the folders over them follow;
    /// each block is hashed before it is used. Healed blocks get a new place, the objects over them are rewritten in one step each, and readers
    /// that have one open keep what they have. What is not healed stays on record.
    ///
    /// ```
    /// use ipfs_accelerate::{AddOptions, HealOptions, Store, VerifyOptions};
    /// # let dir = tempfile::tempdir()?;
    /// # let original = dir.path().join("model.safetensors");
    /// # std::fs::write(&original, b"{}")?;
    /// let store = Store::create(dir.path().join("store"))?;
    /// store.add_path(&original, &AddOptions::default())?;
    /// let found = store.verify(&VerifyOptions::default())?;
    /// let report = store.heal(&found, &[original], &HealOptions::default())?;
    /// assert!(report.remaining.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::File`] for what cannot be read or written, [`StoreError::Cancelled`]. What was healed by then
    /// stays so.
    pub fn heal(
        &self,
        report: &VerifyReport,
        from: &[PathBuf],
        options: &HealOptions,
    ) -> Result<HealReport, StoreError> {
        heal::heal(&self.inner, report, from, options)
    }

    /// Counters of the memory tier since the store was opened.
    pub fn cache_stats(&self) -> CacheStats {
        self.inner.tier.stats()
    }
}

/// The CID of a file or folder, computed as [`Store::add_path`] would, without a store.
///
/// # Errors
/// As [`Store::add_path`], for what concerns reading.
pub fn hash_path(path: impl AsRef<Path>, options: &AddOptions) -> Result<AddReport, StoreError> {
    ingest::hash_path(path.as_ref(), options)
}

/// The CID of a stream, computed as [`Store::add_reader`] would, without a store.
///
/// # Errors
/// As [`Store::add_reader`], for what concerns reading.
pub fn hash_reader(
    reader: impl Read + Send,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    ingest::hash_reader(reader, options)
}
