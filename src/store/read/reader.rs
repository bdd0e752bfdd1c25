//! The reader that needs neither sled nor the writer's lock.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::core::ReadCore;
use super::entry::{Entry, Listing, ObjectInfo, ObjectStat};
use super::export::{ExportOptions, ExportReport};
use super::file::StoredFile;
use super::object::Object;
use crate::dag::Profile;
use crate::store::collect::{self, GcOptions, GcPlan, RemovalSpace, SpaceReport};
use crate::store::error::StoreError;
use crate::store::names::Pin;
use crate::store::overlay;
use crate::store::repair;
use crate::store::sharing::{SharedBytes, Side};
use crate::store::survey::{self, Writer};
use crate::store::target::Target;
use crate::store::totals::{StoreTotals, totals};
use crate::store::verify::{self, Access, VerifyOptions, VerifyReport};

/// How a [`StoreReader`] opens a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderOptions {
    /// Nobody removes content from the store below the overlay file system that it is seen through, so that
    /// leases need not be seen there; see [`StoreError::Overlay`]. Of no effect elsewhere.
    pub nobody_collects: bool,
    /// Open no file outside the store. A store that came from somebody else may name any file of this machine in
    /// its reference packs. Nothing of one is handed out unless it is the block that was asked for, but it is
    /// opened and read; objects that need that are [`StoreError::ReferenceRefused`] then.
    pub no_references: bool,
}

/// Reads a store beside its writer, from any number of processes, from a read-only mount and under another
/// uid.
///
/// Who may read is what the store's folders say, which are made as the writer's umask has it: under `umask 077` only
/// its own user. The files in them are made for all to read and for their owner to write, whatever the umask, so
/// opening the folders is enough: `chmod a+rx STORE STORE/packs STORE/roots STORE/names`. Where only reading is
/// allowed the use of an object is not noted.
///
/// What a reader holds is kept from being collected as long as any process has it: a forked child goes on reading
/// what its parent has dropped.
///
/// It knows the published objects, every path and CID of a file or folder below them, and the pins; inner
/// nodes and leaves are [`NotPublished`](StoreError::NotPublished) here.
///
/// ```
/// use ipfs_accelerate::{AddOptions, Store, StoreReader};
/// # let dir = tempfile::tempdir()?;
/// # let (path, file) = (dir.path().join("store"), dir.path().join("config.json"));
/// # std::fs::write(&file, b"{}")?;
/// let store = Store::create(&path)?;
/// let added = store.add_path(&file, &AddOptions::default())?;
///
/// let reader = StoreReader::open(&path)?;
/// assert_eq!(reader.read(&added.cid.into())?, b"{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoreReader {
    core: Arc<ReadCore>,
}

impl StoreReader {
    /// Opens a store for reading.
    ///
    /// # Errors
    /// [`StoreError::Absent`], [`StoreError::NotAStore`], [`StoreError::NewerFormat`] or
    /// [`StoreError::Damaged`] when there is no store that this version can read; [`StoreError::Overlay`] on an
    /// overlay file system that the store was not written through.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, &ReaderOptions::default())
    }

    /// As [`StoreReader::open`], with options.
    ///
    /// # Errors
    /// As [`StoreReader::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &ReaderOptions) -> Result<Self, StoreError> {
        let mut core = ReadCore::open(path.as_ref())?;
        core.opens_sources = !options.no_references;
        overlay::check(&core.folder, options.nobody_collects)?;
        // Without these little can be read, so it is said at once.
        core.folder.check_folders()?;
        core.gone()?;
        collect::warn_of_lost(&core.folder);
        Ok(Self {
            core: Arc::new(core),
        })
    }

    pub(crate) fn from_core(core: Arc<ReadCore>) -> Self {
        Self { core }
    }

    pub(crate) fn core(&self) -> &Arc<ReadCore> {
        &self.core
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        self.core.folder.path()
    }

    /// The profile that the store was made with.
    pub fn profile(&self) -> &Profile {
        &self.core.profile
    }

    /// Finds a target and takes its object's lease.
    ///
    /// # Errors
    /// [`StoreError::NotPublished`], [`StoreError::NoSuchName`], [`StoreError::NoSuchPath`], or
    /// [`StoreError::Damaged`] for a root that cannot be read.
    pub fn resolve(&self, target: &Target) -> Result<Object, StoreError> {
        self.core.resolve(target)
    }

    /// Whether the target is there.
    ///
    /// # Errors
    /// Any error of [`StoreReader::resolve`] that is not plain absence.
    pub fn has(&self, target: &Target) -> Result<bool, StoreError> {
        match self.resolve(target) {
            Ok(_) => Ok(true),
            Err(
                StoreError::NotPublished { .. }
                | StoreError::NoSuchName { .. }
                | StoreError::NoSuchPath { .. },
            ) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// What stands directly in a folder.
    ///
    /// # Errors
    /// As [`StoreReader::resolve`] and [`Object::list`].
    pub fn list(&self, target: &Target) -> Result<Vec<Entry>, StoreError> {
        self.resolve(target)?.list()
    }

    /// Size, blocks, codec and pins of a target.
    ///
    /// # Errors
    /// As [`StoreReader::resolve`] and [`Object::stat`].
    pub fn stat(&self, target: &Target) -> Result<ObjectStat, StoreError> {
        self.resolve(target)?.stat()
    }

    /// What two files or folders share, by file and by byte. Reads their roots, and no payload.
    ///
    /// # Errors
    /// As [`StoreReader::resolve`]; [`StoreError::NotAFile`] for a link or a single block.
    pub fn compare(&self, a: &Target, b: &Target) -> Result<SharedBytes, StoreError> {
        let (a, b) = (self.resolve(a)?, self.resolve(b)?);
        Ok(SharedBytes::of(&Side::of(a)?, &Side::of(b)?))
    }

    /// The file at a target, open for reading.
    ///
    /// # Errors
    /// As [`StoreReader::resolve`] and [`Object::file`].
    pub fn open_file(&self, target: &Target) -> Result<StoredFile, StoreError> {
        let object = self.resolve(target)?;
        object.touch();
        object.file()
    }

    /// The whole content of a (small) file.
    ///
    /// # Errors
    /// As [`StoreReader::open_file`] and [`StoredFile::read`].
    pub fn read(&self, target: &Target) -> Result<Vec<u8>, StoreError> {
        self.open_file(target)?.read()
    }

    /// Writes a file or folder out of the store; see [`Store::export`](crate::Store::export).
    ///
    /// # Errors
    /// As [`Store::export`](crate::Store::export).
    pub fn export(
        &self,
        target: &Target,
        output: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<ExportReport, StoreError> {
        self.resolve(target)?.export(output, options)
    }

    /// All published objects, in the order of their CIDs.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a root or a name that cannot be read.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>, StoreError> {
        self.core.objects()
    }

    /// As [`StoreReader::objects`], and says which roots and names cannot be read instead of stopping at one.
    ///
    /// # Errors
    /// [`StoreError::File`] when the disk refuses.
    pub fn list_objects(&self) -> Result<Listing<ObjectInfo>, StoreError> {
        self.core.list_objects()
    }

    /// As [`StoreReader::pins`], and says which names cannot be read instead of stopping at one.
    ///
    /// # Errors
    /// [`StoreError::File`] when the disk refuses.
    pub fn list_pins(&self) -> Result<Listing<Pin>, StoreError> {
        let Listing { entries, damaged } = self.core.list_pins()?;
        let entries = entries.into_iter().map(|pin| self.core.as_added(pin));
        Ok(Listing {
            entries: entries.collect(),
            damaged,
        })
    }

    /// Counts and sizes of the store as a whole.
    ///
    /// # Errors
    /// [`StoreError::File`] when the store's folders cannot be listed.
    pub fn totals(&self) -> Result<StoreTotals, StoreError> {
        totals(&self.core)
    }

    /// As [`Store::verify`](crate::Store::verify), beside the writer: what is found is not recorded.
    ///
    /// # Errors
    /// As [`Store::verify`](crate::Store::verify).
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport, StoreError> {
        let access = Access {
            core: &self.core,
            store: None,
        };
        verify::verify(&access, options)
    }

    /// Whose bytes the store's space holds.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a root or a name that cannot be read, and
    /// [`StoreError::NameWithoutRoot`].
    pub fn space(&self) -> Result<SpaceReport, StoreError> {
        let space = collect::space(&self.core)?;
        repair::warn_of_damage(&self.core, &HashSet::new());
        Ok(space)
    }

    /// What would be free if these objects went, all of them together.
    ///
    /// # Errors
    /// As [`StoreReader::space`]; [`StoreError::NotAnObject`] for a part of an object, and as
    /// [`StoreReader::resolve`].
    pub fn space_of_removal(&self, targets: &[Target]) -> Result<RemovalSpace, StoreError> {
        let mut cids = Vec::with_capacity(targets.len());
        for target in targets {
            let object = self.resolve(target)?;
            let cid = object.object_cid();
            if !object.path().is_empty() {
                let (target, object) = (target.to_string(), cid);
                return Err(StoreError::NotAnObject { target, object });
            }
            cids.push(crate::block::canonical(&cid));
        }
        collect::removal(&self.core, None, &cids)
    }

    /// What a collection would do; see [`Store::plan_gc`](crate::Store::plan_gc).
    ///
    /// # Errors
    /// As [`Store::plan_gc`](crate::Store::plan_gc).
    pub fn plan_gc(&self, options: &GcOptions) -> Result<GcPlan, StoreError> {
        let mut plan = collect::plan(&self.core, options)?;
        repair::warn_of_damage(&self.core, &HashSet::new());
        if let Writer::Nobody = survey::writer(&self.core.folder)? {
            plan.unfinished_bytes = self.core.folder.unfinished_bytes()?;
        }
        Ok(plan)
    }

    /// How many packs no root names: their roots are lost, and [`apply_repair`](crate::apply_repair) puts together
    /// again what lies in them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a root or a name that cannot be read, and [`StoreError::NameWithoutRoot`].
    pub fn unrooted_packs(&self) -> Result<u64, StoreError> {
        Ok(collect::unrooted_packs(&self.core, None)?.len() as u64)
    }

    /// All pins, in the order of their names.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a name that cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let pins = self.core.pins()?.into_iter();
        Ok(pins.map(|pin| self.core.as_added(pin)).collect())
    }
}
