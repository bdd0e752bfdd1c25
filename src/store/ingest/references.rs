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
use crate::store::registry::Holder;

/// Where a chunk was read.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) file: Arc<SourceFile>,
    pub(super) offset: u64,
}

/// The reference pack that is being put together.
#[derive(Debug)]
pub(super) struct OpenReferences {
    pack: ReferenceWriter,
    /// Its blocks, each where it was seen last.
    open: HashMap<Multihash, Place>,
    /// The store's count of seals when its lookups began.
    seals_seen: u64,
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
    let is_origin =
        source.path() == origin.file.real_path()? && place.offset - source.base == origin.offset;
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
        let there = |place| Put {
            place,
            is_new: false,
        };
        if let Some(place) = known {
            return Ok(there(place));
        }
        if self.references.as_ref().is_some_and(|r| r.pack.is_full()) {
            self.seal_references_early()?;
        }
        let store = self.store();
        let references = match &mut self.references {
            Some(references) => references,
            none => none.insert(OpenReferences {
                pack: ReferenceWriter::new(store.id())?,
                open: HashMap::new(),
                seals_seen: seals,
            }),
        };
        let path = origin.file.real_path()?;
        if references.pack.current() != Some(path) {
            // The object is to survive a power cut, and so must the bytes that it is over.
            fsio::sync_outside(origin.file.file()?, path)?;
            let (len, modified) = (origin.file.size, origin.file.modified());
            references.pack.begin(path, len, modified);
        }
        let again = references.open.get(cid.hash());
        if let Some(place) = again.filter(|place| references.pack.is_in_current(place)) {
            return Ok(there(*place));
        }
        let len = u32::try_from(len).expect("a block is far below 4 GiB");
        let place = references.pack.place(StoredCid(*cid), origin.offset, len);
        references.open.insert(*cid.hash(), place);
        Ok(Put {
            place,
            is_new: true,
        })
    }

    /// As [`BlockWriter::seal_early`].
    fn seal_references_early(&mut self) -> Result<(), StoreError> {
        let guard = self.store().commit_guard()?;
        if let Some(pack) = self.take_references()? {
            self.publish_loose_over(pack.id())?;
            self.publish_references(pack, Vec::new())?;
            self.index_last()?;
        }
        drop(guard);
        Ok(())
    }

    /// Takes the reference pack to be sealed, without what a pack with payload has by now; none if nothing is left.
    pub(super) fn take_references(&mut self) -> Result<Option<ReferenceWriter>, StoreError> {
        let Some(OpenReferences {
            mut pack,
            seals_seen,
            ..
        }) = self.references.take()
        else {
            return Ok(None);
        };
        if seals_seen != self.store().seals() {
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
