//! One object of the source, read block by block, each checked against its CID.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::SyncObjectError;
use crate::block::{Block, BlockError, Cid, Multihash, verify};
use crate::dag::{Chunker, Profile};
use crate::store::error::StoreError;
use crate::store::pack::{PackFile, Place};
use crate::store::read::{Object, ReadCore, StoredFile};
use crate::store::root::{self, ObjectKind, RootRecord};

/// Where a block that is not a raw leaf lies in the source.
#[derive(Clone, Debug)]
pub(super) struct BlockPlace {
    pack: Arc<PackFile>,
    offset: u64,
    pub(super) len: u32,
}

pub(super) struct SourceObject {
    /// As the source names it: of the same version.
    pub(super) cid: Cid,
    core: Arc<ReadCore>,
    record: Arc<RootRecord>,
    /// Holds the lease, so that nothing of it is collected while it is read.
    object: Object,
    places: HashMap<Multihash, (u32, u64, u32)>,
}

impl SourceObject {
    /// Opens what stands at a path of a published object; none if that was removed meanwhile.
    pub(super) fn open(
        core: &Arc<ReadCore>,
        published: &Cid,
        path: &str,
    ) -> Result<Option<Self>, SyncObjectError> {
        let unreadable = |source| unreadable(published, source);
        let Some(root) = core.open_root(published, true).map_err(unreadable)? else {
            return Ok(None);
        };
        let record = Arc::clone(&root.record);
        let object = Object::new(Arc::clone(core), root, String::new());
        let object = object.join(path).map_err(unreadable)?;
        let place = |node: &root::NodePlace| {
            let (pack, offset, len) = (node.pack, node.offset, node.len);
            (*node.cid.0.hash(), (pack, offset, len))
        };
        Ok(Some(Self {
            cid: object.cid(),
            core: Arc::clone(core),
            places: record.nodes.iter().map(place).collect(),
            record,
            object,
        }))
    }

    /// Whether it is the one block that a direct pin keeps.
    pub(super) fn is_block(&self) -> bool {
        self.record.head.kind == ObjectKind::Block
    }

    /// The name that it was first added under; of a part of an object, its own.
    pub(super) fn name(&self) -> &str {
        name_at(self.object.path(), &self.record.head.name)
    }

    pub(super) fn profile(&self) -> &str {
        &self.record.head.profile
    }

    /// How its files were cut, if it says so: where their runs begin follows from it.
    pub(super) fn chunker(&self) -> Option<Chunker> {
        let profile: Result<Profile, _> = self.profile().parse();
        profile.ok().map(|profile| profile.chunker())
    }

    /// The file at a path below it.
    pub(super) fn file(&self, path: &str) -> Result<StoredFile, SyncObjectError> {
        self.object.open(path).map_err(|e| self.unreadable(e))
    }

    /// Where a block lies that is a node, or an empty or framed leaf.
    pub(super) fn place(&self, cid: &Cid) -> Result<Option<BlockPlace>, SyncObjectError> {
        let Some(&(pack, offset, len)) = self.places.get(cid.hash()) else {
            return Ok(None);
        };
        let pack = self.core.packs.open(self.record.pack(pack));
        let pack = pack.map_err(|e| self.unreadable(e))?;
        Ok(Some(BlockPlace { pack, offset, len }))
    }

    /// A block that is a node, or an empty or framed leaf.
    pub(super) fn block(&self, cid: &Cid) -> Result<Block, SyncObjectError> {
        let place = self.place(cid)?.ok_or_else(|| {
            let path = self.core.folder.path().to_path_buf();
            self.unreadable(StoreError::BlockAbsent { cid: *cid, path })
        })?;
        self.read(cid, &place)
    }

    /// Reads a block where it lies, and checks it.
    pub(super) fn read(&self, cid: &Cid, place: &BlockPlace) -> Result<Block, SyncObjectError> {
        if place.pack.is_reference() {
            // A leaf that a direct pin keeps, in a file of the user's.
            let (pack, offset, len) = (place.pack.id(), place.offset, place.len);
            let place = Place { pack, offset, len };
            let block = self.core.block(cid, &place);
            return block.map_err(|e| self.unreadable(e));
        }
        let bytes = place.pack.read(place.offset, place.len as usize);
        let bytes = bytes.map_err(|e| self.unreadable(e))?;
        Block::verified(*cid, bytes)
            .map_err(|e| self.mismatch(e, || (place.pack.path().to_path_buf(), place.offset)))
    }

    /// Reads a leaf that is a range of a file into a buffer of its length, and checks it.
    pub(super) fn read_leaf(
        &self,
        cid: &Cid,
        file: &StoredFile,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), SyncObjectError> {
        file.read_at(start, into).map_err(|e| self.unreadable(e))?;
        verify(cid, into).map_err(|e| {
            self.mismatch(e, || {
                let at = file.overlaps(start..start + 1).next();
                at.map_or_else(Default::default, |(extent, part)| {
                    let offset = extent.offset + (part.start - extent.start);
                    (extent.backing.path().to_path_buf(), offset)
                })
            })
        })
    }

    /// Whether the root says that so many bytes of a file lie in one piece inside a block. Then it is a leaf, and
    /// need not be read to know what is below it; that it is one is seen when it is read.
    pub(super) fn holds(
        &self,
        place: &BlockPlace,
        file: &StoredFile,
        start: u64,
        size: u64,
    ) -> bool {
        let Some((extent, part)) = file.overlaps(start..start.saturating_add(size)).next() else {
            return false;
        };
        let offset = extent.offset + (part.start - extent.start);
        part.end - part.start == size
            && place.offset <= offset
            && offset + size <= place.offset + u64::from(place.len)
            && place.pack.path() == extent.backing.path()
    }

    /// What the root says is not what the DAG says.
    pub(super) fn damaged(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> SyncObjectError {
        self.unreadable(StoreError::Damaged {
            path: root::object_path(&self.core.folder, &self.record.head.cid.0),
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }

    pub(super) fn unreadable(&self, source: StoreError) -> SyncObjectError {
        unreadable(&self.cid, source)
    }

    fn mismatch(&self, e: BlockError, at: impl FnOnce() -> (PathBuf, u64)) -> SyncObjectError {
        match e {
            BlockError::Mismatch { cid, found } => {
                let (pack, pack_offset) = at();
                SyncObjectError::Corrupt {
                    object: Box::new(self.cid),
                    block: Box::new(cid),
                    found,
                    pack,
                    pack_offset,
                }
            }
            other => self.unreadable(other.into()),
        }
    }
}

pub(super) fn unreadable(object: &Cid, source: StoreError) -> SyncObjectError {
    SyncObjectError::Unreadable {
        object: Box::new(*object),
        source: Box::new(source),
    }
}

/// What an object is called: as it was when it was first added, or by its path inside another one.
pub(super) fn name_at<'n>(path: &'n str, first: &'n str) -> &'n str {
    match path.rsplit('/').next() {
        Some("") | None => first,
        Some(own) => own,
    }
}
