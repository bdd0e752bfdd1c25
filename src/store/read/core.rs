//! What every reader needs: the roots, the names and the packs of one store.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::entry::{Listing, ObjectInfo};
use super::object::{Object, type_of};
use super::packs::PackCache;
use crate::block::{Block, Cid, DAG_PB, SHA2_256, canonical};
use crate::dag::Profile;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{self, StoreId};
use crate::store::gone::{Gone, GoneView, Why};
use crate::store::names::{self, Pin};
use crate::store::pack::{PackFile, PackId, Place, SourceReader};
use crate::store::root::{self, LeasedRoot, NodePlace, ObjectKind, ROOT_LIMIT, RootRecord};
use crate::store::target::{Head, Target};
use crate::store::time::unix_ms;

#[derive(Debug)]
pub(crate) struct ReadCore {
    pub(crate) folder: StoreFolder,
    pub(crate) id: StoreId,
    pub(crate) profile: Profile,
    pub(crate) packs: PackCache,
    gone: GoneView,
    /// Whether files that were added by reference are opened.
    pub(crate) opens_sources: bool,
}

impl ReadCore {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::on(StoreFolder::new(path))
    }

    pub(crate) fn on(folder: StoreFolder) -> Result<Self, StoreError> {
        let (id, profile) = folder.identify()?;
        let packs = PackCache::new(folder.clone(), id);
        Ok(Self {
            folder,
            id,
            profile,
            packs,
            gone: GoneView::default(),
            opens_sources: true,
        })
    }

    /// A block at a place, checked against its CID.
    pub(crate) fn block(&self, cid: &Cid, place: &Place) -> Result<Block, StoreError> {
        let pack = self.packs.open(place.pack)?;
        let len = place.len as usize;
        match pack.source_of(place.offset, u64::from(place.len))? {
            None => Ok(Block::verified(*cid, pack.read(place.offset, len)?)?),
            Some((_, source)) => {
                pack.check_block_len(place.offset, len)?;
                let reader = SourceReader::new(source, &cid.to_string());
                reader.block(cid, place.offset, len)
            }
        }
    }

    /// A pack that a root names by its number.
    pub(crate) fn pack_of(
        &self,
        record: &RootRecord,
        number: u32,
    ) -> Result<Arc<PackFile>, StoreError> {
        let id = record.pack(number);
        self.packs.open(id).map_err(|e| match e {
            StoreError::File(e) if e.source.kind() == std::io::ErrorKind::NotFound => {
                self.pack_missing(record, id)
            }
            other => other,
        })
    }

    pub(crate) fn pack_missing(&self, record: &RootRecord, pack: PackId) -> StoreError {
        StoreError::PackMissing {
            object: Box::new(record.head.cid.0),
            pack: self.folder.packs().join(pack.file_name()),
        }
    }

    pub(crate) fn open_root(
        &self,
        cid: &Cid,
        with_nodes: bool,
    ) -> Result<Option<LeasedRoot>, StoreError> {
        root::open_root(&self.folder, self.id, cid, with_nodes)
    }

    /// What is gone by now; see [`GoneView::now`].
    pub(crate) fn gone(&self) -> Result<Arc<Gone>, StoreError> {
        self.gone.now(&self.folder, self.id)
    }

    /// What is recorded as dead or damaged is refused without a look at it.
    pub(super) fn refuse_gone(
        &self,
        cid: &Cid,
        pack: PackId,
        node: &NodePlace,
    ) -> Result<(), StoreError> {
        let place = Place {
            pack,
            offset: node.offset,
            len: node.len,
        };
        match self.gone()?.why_not(&place) {
            None => Ok(()),
            Some(why) => Err(self.refusal(cid.to_string(), 0, pack, &place.range(), why)),
        }
    }

    /// The error for a block that is recorded as damaged.
    pub(crate) fn known_damage(&self, cid: &Cid, place: &Place) -> StoreError {
        self.refusal(cid.to_string(), 0, place.pack, &place.range(), Why::Damaged)
    }

    /// The error for bytes that are not to be read, which begin at `offset` of the file or block of that name.
    pub(crate) fn refusal(
        &self,
        name: String,
        offset: u64,
        pack: PackId,
        range: &Range<u64>,
        why: Why,
    ) -> StoreError {
        let len = range.end - range.start;
        let (pack, pack_offset) = (self.folder.packs().join(pack.file_name()), range.start);
        match why {
            Why::Damaged => StoreError::KnownDamage {
                name,
                offset,
                len,
                pack,
                pack_offset,
            },
            Why::Dead => StoreError::Collected {
                name,
                offset,
                len,
                pack,
                pack_offset,
            },
        }
    }

    pub(crate) fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        names::list(&self.folder, self.id)
    }

    pub(crate) fn not_published(&self, cid: &Cid) -> StoreError {
        StoreError::NotPublished {
            cid: *cid,
            path: self.folder.shown().to_path_buf(),
        }
    }

    /// The CID that a target's first part stands for.
    pub(crate) fn cid_of(&self, target: &Target) -> Result<Cid, StoreError> {
        match target.head() {
            Head::Cid(cid) => Ok(*cid),
            Head::Name(name) => match names::read(&self.folder, self.id, name)? {
                Some(pin) => Ok(pin.cid),
                None => {
                    let nearest = self.nearest_name(name)?;
                    Err(StoreError::NoSuchName {
                        name: name.clone(),
                        nearest,
                        titled: self.titled(name),
                    })
                }
            },
        }
    }

    /// The object that was called so when it was added, if it is the only one. Only a message rests on it.
    fn titled(&self, name: &str) -> Option<Cid> {
        let objects = self.objects().unwrap_or_default();
        let mut titled = objects.iter().filter(|object| object.name == name);
        titled
            .next()
            .filter(|_| titled.next().is_none())
            .map(|object| object.cid)
    }

    fn nearest_name(&self, name: &str) -> Result<Option<String>, StoreError> {
        // Those that cannot be read are not what was meant.
        let pins = self.list_pins()?.entries;
        let names = pins.iter().map(|pin| pin.name.as_str());
        Ok(crate::config::nearest(name, names).map(str::to_owned))
    }

    /// Finds a target among the published objects and everything below them.
    pub(crate) fn resolve(self: &Arc<Self>, target: &Target) -> Result<Object, StoreError> {
        loop {
            let cid = self.cid_of(target)?;
            match self.find(&cid)? {
                Some(object) => return object.join(target.path()),
                // The name moved and its old object went between the two steps.
                None if self.cid_of(target)? != cid => {}
                None => return Err(self.not_published(&cid)),
            }
        }
    }

    /// The object under a CID, or the first object that holds it at some path.
    fn find(self: &Arc<Self>, cid: &Cid) -> Result<Option<Object>, StoreError> {
        let object = |root, path| Object::new(Arc::clone(self), root, path);
        let mut own = self.open_root(cid, false)?;
        if let Some(root) = own.take_if(|root| root.record.head.kind != ObjectKind::Block) {
            return Ok(Some(object(root, String::new())));
        }
        for published in root::published(&self.folder)? {
            let root = match self.open_root(&published, false) {
                Ok(Some(root)) => root,
                Ok(None) => continue,
                Err(e @ StoreError::Damaged { .. }) => {
                    // One damaged object does not hide the others.
                    tracing::warn!("{e}");
                    continue;
                }
                Err(e) => return Err(e),
            };
            let wanted = canonical(cid);
            let found = root
                .record
                .paths
                .iter()
                .find(|e| canonical(&e.cid.0) == wanted);
            if let Some(path) = found.map(|entry| entry.path.clone()) {
                return Ok(Some(object(root, path).found_by(*cid)));
            }
        }
        // A direct pin keeps one block of something that no object holds whole.
        Ok(own.map(|root| object(root, String::new())))
    }

    /// All published objects, in the order of their CIDs.
    pub(crate) fn objects(&self) -> Result<Vec<ObjectInfo>, StoreError> {
        let listing = self.objects_with(&self.pins()?)?;
        // One damaged object does not hide the others.
        listing.damaged.iter().for_each(|e| tracing::warn!("{e}"));
        Ok(listing.entries)
    }

    /// As [`ReadCore::objects`], with what cannot be read.
    pub(crate) fn list_objects(&self) -> Result<Listing<ObjectInfo>, StoreError> {
        let pins = self.list_pins()?;
        let mut listing = self.objects_with(&pins.entries)?;
        listing.damaged.extend(pins.damaged);
        Ok(listing)
    }

    /// All pins, with the names that cannot be read.
    pub(crate) fn list_pins(&self) -> Result<Listing<Pin>, StoreError> {
        let (entries, damaged) = names::list_readable(&self.folder, self.id)?;
        Ok(Listing { entries, damaged })
    }

    /// A pin with the CID in the form in which its object was added; where no root says it, as it is.
    pub(crate) fn as_added(&self, pin: Pin) -> Pin {
        // Others have one form only.
        let has_v0 = pin.cid.codec() == DAG_PB && pin.cid.hash().code() == SHA2_256;
        let cid = if has_v0 { self.added(&pin.cid) } else { None };
        Pin {
            cid: cid.unwrap_or(pin.cid),
            ..pin
        }
    }

    /// What the root of an object says its CID is.
    fn added(&self, cid: &Cid) -> Option<Cid> {
        let files = self.folder.files();
        let path = root::object_path(&self.folder, cid);
        let file = files.open_if_there(&path).ok()??;
        let bytes = format::read_sealed(files, &file, &path, ROOT_LIMIT).ok()?;
        let head = RootRecord::parse_head(&bytes, self.id, cid, &path).ok()?;
        Some(head.cid.0)
    }

    fn objects_with(&self, pins: &[Pin]) -> Result<Listing<ObjectInfo>, StoreError> {
        let mut pins_of: HashMap<Cid, Vec<Pin>> = HashMap::new();
        for pin in pins {
            pins_of.entry(pin.cid).or_default().push(pin.clone());
        }
        // A store without the list has nothing on record.
        let gone = self.gone().ok();
        let gone = gone.filter(|gone| gone.damaged().next().is_some());
        let mut listing = Listing {
            entries: Vec::new(),
            damaged: Vec::new(),
        };
        for cid in root::published(&self.folder)? {
            match self.info(&cid, &mut pins_of, gone.as_deref()) {
                Ok(info) => listing.entries.extend(info),
                Err(e @ StoreError::Damaged { .. }) => listing.damaged.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok(listing)
    }

    /// None for an object that went meanwhile.
    fn info(
        &self,
        cid: &Cid,
        pins_of: &mut HashMap<Cid, Vec<Pin>>,
        gone: Option<&Gone>,
    ) -> Result<Option<ObjectInfo>, StoreError> {
        let files = self.folder.files();
        let path = root::object_path(&self.folder, cid);
        let Some(file) = files.open_if_there(&path)? else {
            return Ok(None);
        };
        let metadata = files.file_metadata(&file, &path)?;
        let bytes = format::read_sealed(files, &file, &path, ROOT_LIMIT)?;
        let head = RootRecord::parse_head(&bytes, self.id, cid, &path)?;
        let damaged_bytes = gone.map_or(0, |gone| self.damaged_bytes(&bytes, cid, &path, gone));
        Ok(Some(ObjectInfo {
            cid: head.cid.0,
            name: head.name,
            kind: type_of(head.kind),
            size: head.size,
            profile: head.profile,
            created_ms: head.created_ms,
            last_used_ms: metadata.modified().map_or(head.created_ms, unix_ms),
            pins: pins_of.remove(cid).unwrap_or_default(),
            damaged_bytes,
        }))
    }

    /// Of a root whose other parts cannot be read the head alone is told.
    fn damaged_bytes(&self, root: &[u8], cid: &Cid, path: &Path, gone: &Gone) -> u64 {
        let record = RootRecord::parse(root, self.id, cid, path, true);
        record.map_or(0, |record| {
            let mut covered = Coverage::default();
            covered.add(&record);
            covered.normalize();
            gone.bytes_within(&covered)
        })
    }
}
