//! Writing new blocks into packs, and deciding which blocks are new.

mod seal;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::left::unfinished_record;
use super::record::{Moves, RootBuilder};
use super::references::References;
use crate::block::{Cid, Multihash};
use crate::error::FileError;
use crate::store::collect::GcObject;
use crate::store::error::StoreError;
use crate::store::inner::Inner;
use crate::store::pack::{PackId, PackWriter, Place, SealedPack};
use crate::store::quota::{self, Taken};
use crate::store::registry::Holder;
use crate::store::root::{Head, ObjectKind, RootRecord};

/// Collects the new blocks of one add or session. Dropped before [`BlockWriter::finish`], it takes back
/// what nobody else has come to rely on.
pub(crate) struct BlockWriter<'s> {
    store: &'s Inner,
    pool: &'s ThreadPool,
    holder: Holder,
    pack: Option<PackWriter>,
    /// Blocks of the open pack, which the index does not know yet.
    open: HashMap<Multihash, Place>,
    /// Bytes that the open pack still waits for.
    unwritten: Vec<(u64, Vec<u8>)>,
    /// Where leaves of an add by reference lie.
    pub(super) references: References,
    sealed: Vec<SealedPack>,
    /// How many of them the index knows.
    indexed: usize,
    /// Covers the sealed packs until the commit.
    loose: Option<PathBuf>,
    /// The store's count of seals when the open pack's lookups began.
    seals_seen: u64,
    pub(super) moves: Moves,
    /// Packs whose blocks are written anew though they are there.
    instead_of: HashSet<PackId>,
    /// Blocks of the open pack that were left out, because another pack has them.
    elsewhere: Vec<(Cid, Place)>,
    /// The last block of the open pack was a leaf that the next one may follow.
    in_run: bool,
    /// Of the store's quota.
    pub(super) taken: Taken,
    finished: bool,
}

/// Where a block came to lie, and whether it was there before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) place: Place,
    pub(crate) is_new: bool,
}

impl<'s> BlockWriter<'s> {
    pub(crate) fn new(store: &'s Inner) -> Result<Self, StoreError> {
        Ok(Self {
            store,
            pool: store.pool()?,
            holder: store.registry.holder(),
            pack: None,
            open: HashMap::new(),
            unwritten: Vec::new(),
            references: References::default(),
            sealed: Vec::new(),
            indexed: 0,
            loose: None,
            seals_seen: store.seals(),
            moves: Moves::default(),
            instead_of: HashSet::new(),
            elsewhere: Vec::new(),
            in_run: false,
            taken: Taken::default(),
            finished: false,
        })
    }

    /// What these packs have does not count as present: it is to move to the packs that are written here.
    pub(crate) fn instead_of(mut self, packs: HashSet<PackId>) -> Self {
        self.instead_of = packs;
        self
    }

    /// Where a sealed block lies that is not to be written anew.
    fn find_sealed(&self, hash: &Multihash) -> Result<Option<Place>, StoreError> {
        let found = self.store.find(hash, &self.holder)?;
        Ok(found.filter(|place| !self.instead_of.contains(&place.pack)))
    }

    /// The next leaf begins a run of its own.
    pub(crate) fn end_run(&mut self) {
        self.in_run = false;
    }

    /// Where a block lies, of the open pack too.
    pub(crate) fn find(&self, hash: &Multihash) -> Result<Option<Place>, StoreError> {
        match self.open.get(hash) {
            Some(place) => Ok(Some(*place)),
            None => self.find_sealed(hash),
        }
    }

    /// Finds a block or takes a place for it; `run_bytes` is the length of the stretch it belongs to,
    /// `seen` what a lookup at `seen_at` seals found.
    pub(crate) fn put(
        &mut self,
        cid: &Cid,
        data: Vec<u8>,
        mut run_bytes: u64,
        seen: Option<Place>,
        seen_at: u64,
    ) -> Result<(Put, Option<Vec<u8>>), StoreError> {
        // Read before the lookup: a seal after this moves the count on, and is seen when the pack is sealed.
        let seals = self.store.seals();
        let mut known = seen.or_else(|| self.open.get(cid.hash()).copied());
        if known.is_none() && seen_at != seals {
            known = self.find_sealed(cid.hash())?;
        }
        if let Some(place) = known {
            return Ok((
                Put {
                    place,
                    is_new: false,
                },
                Some(data),
            ));
        }
        quota::take(self.store, &mut self.taken, data.len() as u64)?;
        if self
            .pack
            .as_ref()
            .is_some_and(|pack| pack.is_full(self.store.pack_bytes()))
        {
            self.seal_early()?;
        }
        let pack = match &mut self.pack {
            Some(pack) => pack,
            empty => {
                if self.in_run {
                    // The run goes on in another pack: aligned, however little is left of it, so that
                    // the two parts can be stitched.
                    run_bytes = u64::MAX;
                }
                self.in_run = false;
                self.seals_seen = seals;
                empty.insert(PackWriter::create(self.store.folder(), self.store.id())?)
            }
        };
        let place = pack.reserve(cid, data.len(), run_bytes, self.in_run);
        self.in_run = true;
        self.open.insert(*cid.hash(), place);
        self.unwritten.push((place.offset, data));
        Ok((
            Put {
                place,
                is_new: true,
            },
            None,
        ))
    }

    /// The packs that were sealed so far.
    pub(crate) fn sealed(&self) -> Vec<PackId> {
        self.sealed.iter().map(|sealed| sealed.id).collect()
    }

    pub(super) fn store(&self) -> &'s Inner {
        self.store
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    pub(crate) fn open_pack(&self) -> Option<&PackWriter> {
        self.pack.as_ref()
    }

    /// Takes what is to be written, so that writing can go on beside the next batch's hashing.
    pub(crate) fn take_unwritten(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.unwritten)
    }

    /// Writes blocks side by side, and hands their buffers back.
    pub(crate) fn write(
        pack: Option<&PackWriter>,
        blocks: Vec<(u64, Vec<u8>)>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some(pack) = pack else {
            return Ok(Vec::new());
        };
        let written = blocks.into_par_iter().map(|(offset, data)| {
            pack.write_at(&data, offset)?;
            Ok(data)
        });
        written.collect()
    }

    pub(crate) fn note_written(&mut self) {
        if let Some(pack) = &mut self.pack {
            pack.written();
        }
    }

    /// Writes what waits. Done before the commit's guard is taken: a thread that waits for the pool may,
    /// when it belongs to a pool of the caller's, be handed other work that wants the guard.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        let blocks = self.take_unwritten();
        if !blocks.is_empty() {
            let pack = self.pack.as_ref();
            self.pool.install(|| Self::write(pack, blocks))?;
        }
        Ok(())
    }

    /// What made way for this so far, under a quota.
    pub(super) fn made_way(&mut self) -> Vec<GcObject> {
        self.taken.made_way()
    }

    /// Keeps what was written: the commit is done, or the loose root is to stay.
    pub(crate) fn finish(mut self) {
        self.finished = true;
        quota::settle(self.store, &mut self.taken, || {
            let packs: Vec<PackId> = self.sealed.iter().map(|sealed| sealed.id).collect();
            packs.iter().for_each(|pack| self.holder.settle(*pack));
            packs
        });
        if let Some(loose) = self.loose.take() {
            // The root covers the packs now. A loose root that stays behind only keeps them longer.
            let _ = self.store.folder().files().remove_file(&loose);
        }
    }
}

impl Drop for BlockWriter<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Nothing rests on these packs unless another add found a block in them.
        let mut left = Vec::new();
        quota::settle(self.store, &mut self.taken, || {
            let files = self.store.folder().files();
            let mut kept = Vec::new();
            for sealed in &self.sealed {
                let path = self.store.packs_folder().join(sealed.id.file_name());
                // One that cannot be removed is dead payload, which the next opening indexes again.
                let mut is_there = true;
                let remove = || is_there = files.remove_file(&path).is_err();
                if !self.holder.take_back(sealed.id, remove) {
                    kept.push(sealed.id);
                }
                if is_there {
                    left.push(sealed.id);
                }
            }
            kept
        });
        // What stays has a root, whatever becomes of those who came to rely on it.
        match self.loose.take() {
            None if left.is_empty() || self.store.is_poisoned() => {}
            // Failing that only leaves them without one.
            None => drop(self.publish_loose(&unfinished_record(left))),
            Some(loose) if left.is_empty() => drop(self.store.folder().files().remove_file(&loose)),
            Some(_) => {}
        }
    }
}

/// A root of no object, over whole packs and single blocks.
pub(crate) fn loose_record(packs: Vec<PackId>, blocks: Vec<(Cid, Place)>) -> RootRecord {
    let nothing = crate::dag::Profile::default();
    let empty = crate::dag::leaf(&[], &nothing).cid;
    let mut root = RootBuilder::default();
    for (cid, place) in blocks {
        root.node(cid, place);
    }
    root.build_over(
        packs,
        Head {
            cid: crate::store::format::StoredCid(empty),
            kind: ObjectKind::Loose,
            profile: String::new(),
            name: String::new(),
            created_ms: crate::store::time::now_ms(),
            size: 0,
            blocks: 0,
            tsize: 0,
        },
    )
}

/// Publishes a root file; what stands at the path is replaced.
pub(crate) fn write_root(
    store: &Inner,
    record: &RootRecord,
    path: &std::path::Path,
) -> Result<(), StoreError> {
    publish_root(store, record, path, None)
}

/// As [`write_root`], with the time of the last use that the root before it had.
pub(crate) fn rewrite_root(
    store: &Inner,
    record: &RootRecord,
    path: &std::path::Path,
    used: SystemTime,
) -> Result<(), StoreError> {
    publish_root(store, record, path, Some(used))
}

fn publish_root(
    store: &Inner,
    record: &RootRecord,
    path: &std::path::Path,
    used: Option<SystemTime>,
) -> Result<(), StoreError> {
    let mut temp = store.folder().temp_file()?;
    temp.write_all(&record.to_bytes(store.id()))?;
    if let Some(used) = used {
        let set = store.folder().files().set_modified(temp.file(), used);
        set.map_err(FileError::at("set the time of", path))?;
    }
    let published: Result<(), FileError> = temp.publish(path, 0o644, true);
    store.durable(published.map_err(StoreError::from))
}
