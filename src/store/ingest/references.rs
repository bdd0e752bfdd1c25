//! Adding by reference: leaves stay in the user's files, and the store learns where.
//!
//! What the store has as payload already is taken from there. Beyond that an object rests on its own files only: a
//! leaf that another file holds too, or the same file under another name, gets a place of its own, which costs a row
//! and no payload. Otherwise moving one file would break objects that were added from others; and a file that was
//! moved is added again like any other, without a look at where it was.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::source::SourceFile;
use super::walk::Walk;
use super::writer::{BlockWriter, Put};
use crate::block::{Cid, Multihash};
use crate::dag::LeafFormat;
use crate::error::FileError;
use crate::fsio;
use crate::store::error::StoreError;
use crate::store::format::StoredCid;
use crate::store::ingest::AddOptions;
use crate::store::inner::Inner;
use crate::store::pack::{ObjectNote, Place, ReferenceWriter};
use crate::store::quota;
use crate::store::registry::Holder;

/// Where a chunk was read.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) file: Arc<SourceFile>,
    pub(super) offset: u64,
}

/// What an add by reference has noted so far.
#[derive(Debug, Default)]
pub(super) struct References {
    /// The pack that is being put together.
    pack: Option<ReferenceWriter>,
    /// The store's count of seals when its lookups began.
    seals_seen: u64,
    /// The file that leaves come from now, and where leaves of it lie in it.
    file: Option<Arc<SourceFile>>,
    of_file: HashMap<Multihash, Place>,
}

/// A leaf that repeats after so many others of its file gets a place of its own.
const REMEMBERED: usize = 65_536;

impl References {
    fn begin(&mut self, file: &Arc<SourceFile>) {
        let is_same = self.file.as_ref().is_some_and(|now| Arc::ptr_eq(now, file));
        if !is_same || self.of_file.len() >= REMEMBERED {
            self.of_file.clear();
        }
        if !is_same {
            self.file = Some(Arc::clone(file));
        }
    }
}

/// Refuses what cannot be referred to, before anything is read.
pub(super) fn check(
    store: &Inner,
    path: &Path,
    walk: &Walk,
    options: &AddOptions,
) -> Result<(), StoreError> {
    if options.profile.leaves() == LeafFormat::DagPb {
        let name = options.profile.name();
        return Err(StoreError::NotReferable {
            path: path.to_path_buf(),
            why: format!("{name} frames leaves in dag-pb, so that no block is bytes of the file"),
            hint: "use a profile with raw leaves, as unixfs-v1-2025 or kubo-cidv1",
        });
    }
    let folder = store.folder().path();
    let folder = folder
        .canonicalize()
        .map_err(FileError::at("open", folder))?;
    for file in &walk.files {
        if file.real_path()?.starts_with(&folder) {
            return Err(StoreError::NotReferable {
                path: file.path.clone(),
                why: "it lies in the folder of the store".into(),
                hint: "add it without --reference, or from a copy elsewhere",
            });
        }
    }
    Ok(())
}

/// The error for a stream.
pub(super) fn refuse_stream() -> StoreError {
    StoreError::NotReferable {
        path: "the stream".into(),
        why: "its bytes lie in no file".into(),
        hint: "add it without --reference, or write it to a file first",
    }
}

/// Where a leaf lies that needs no new place: in a pack with payload, or where it was just read.
pub(super) fn find(
    store: &Inner,
    holder: &Holder,
    cid: &Cid,
    origin: &Origin,
) -> Result<Option<Place>, StoreError> {
    let Some(place) = store.find_or_referenced(cid.hash(), holder)? else {
        return Ok(None);
    };
    let pack = store.core.packs.open(place.pack)?;
    let Some((_, source)) = pack.source_of(place.offset, u64::from(place.len))? else {
        return Ok(Some(place));
    };
    // Without its table nothing of a reference pack can be read.
    match store.core.packs.rows(&pack) {
        Err(StoreError::Damaged { .. }) => return Ok(None),
        rows => drop(rows?),
    }
    // With another time, the file has a new source once it was read again: what is noted of it is as it was read last.
    let is_origin = source.path() == origin.file.real_path()?
        && source.has_stamp(origin.file.size, origin.file.modified())
        && place.offset - source.base == origin.offset;
    Ok(is_origin.then_some(place))
}

impl BlockWriter<'_> {
    /// Finds a leaf or takes the place where it was read for its own; `seen` is what a lookup at `seen_at` seals
    /// found.
    pub(super) fn put_referenced(
        &mut self,
        cid: &Cid,
        origin: &Origin,
        len: usize,
        seen: Option<Place>,
        seen_at: u64,
    ) -> Result<Put, StoreError> {
        let seals = self.store().seals();
        let mut known = seen;
        if known.is_none() && seen_at != seals {
            known = find(self.store(), self.holder(), cid, origin)?;
        }
        self.references.begin(&origin.file);
        if let Some(place) = known
            && self.store().core.packs.is_reference(place.pack)
        {
            self.references.of_file.insert(*cid.hash(), place);
        }
        // The same chunk, which stands at two places of the file.
        let known = known.or_else(|| self.references.of_file.get(cid.hash()).copied());
        if let Some(place) = known {
            return Ok(Put {
                place,
                is_new: false,
            });
        }
        // Its row takes space.
        quota::take(self.store(), &mut self.taken, 0)?;
        let is_full = |pack: &ReferenceWriter| pack.is_full();
        if self.references.pack.as_ref().is_some_and(is_full) {
            self.seal_references_early()?;
        }
        let id = self.store().id();
        let references = &mut self.references;
        let pack = match &mut references.pack {
            Some(pack) => pack,
            none => {
                references.seals_seen = seals;
                none.insert(ReferenceWriter::new(id)?)
            }
        };
        let path = origin.file.real_path()?;
        if pack.current() != Some(path) {
            // The object is to survive a power cut, and so must the bytes that it is over.
            fsio::sync_outside(origin.file.file()?, path)?;
            pack.begin(path, origin.file.size, origin.file.modified());
        }
        let len = u32::try_from(len).expect("a block is far below 4 GiB");
        let place = pack.place(StoredCid(*cid), origin.offset, len);
        references.of_file.insert(*cid.hash(), place);
        Ok(Put {
            place,
            is_new: true,
        })
    }

    /// As [`BlockWriter::seal_early`].
    fn seal_references_early(&mut self) -> Result<(), StoreError> {
        let guard = self.store().commit_guard()?;
        if let Some(pack) = self.take_references()? {
            self.publish_references(pack, Vec::new())?;
            self.index_last()?;
        }
        drop(guard);
        Ok(())
    }

    /// Takes the reference pack to be sealed, without what a pack with payload has by now; none if nothing is left.
    pub(super) fn take_references(&mut self) -> Result<Option<ReferenceWriter>, StoreError> {
        let Some(mut pack) = self.references.pack.take() else {
            return Ok(None);
        };
        if self.references.seals_seen != self.store().seals() {
            let mut known = HashSet::new();
            for row in pack.rows() {
                let hash = row.cid.0.hash();
                if let Some(place) = self.store().find(hash, self.holder())? {
                    known.insert(*hash);
                    self.moves.add(pack.id(), row.offset, place);
                }
            }
            pack.leave_out(&known);
        }
        Ok((!pack.rows().is_empty()).then_some(pack))
    }

    pub(super) fn publish_references(
        &mut self,
        pack: ReferenceWriter,
        notes: Vec<ObjectNote>,
    ) -> Result<(), StoreError> {
        let store = self.store();
        self.publish(pack.id(), || pack.seal(store.folder(), notes))
    }
}
