//! Sealing packs, and the loose root that covers them until the commit.

use std::collections::HashSet;

use super::super::left::unfinished_record;
use super::super::record::Moves;
use super::{BlockWriter, loose_record, write_root};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::pack::{ObjectNote, PackId, PackWriter, Place, SealedPack};
use crate::store::root::{self, RootRecord};

impl BlockWriter<'_> {
    /// Seals a full pack before the commit.
    pub(super) fn seal_early(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let guard = self.store.commit_guard()?;
        let Some(mut pack) = self.pack.take() else {
            return Ok(());
        };
        self.open.clear();
        self.leave_out_known(&mut pack)?;
        if !pack.rows().is_empty() {
            self.publish_pack(pack, Vec::new())?;
            self.index_last()?;
        }
        drop(guard);
        Ok(())
    }

    /// Seals the last pack and publishes it; the caller holds the commit's guard. Returns the moves that
    /// the root has to follow.
    pub(crate) fn seal_last(&mut self, notes: Vec<ObjectNote>) -> Result<&Moves, StoreError> {
        debug_assert!(
            self.unwritten.is_empty(),
            "flushed before the guard was taken"
        );
        let references = self.take_references()?;
        let mut pack = self.pack.take();
        if let Some(pack) = &mut pack {
            self.leave_out_known(pack)?;
        }
        let pack = pack.filter(|pack| !pack.rows().is_empty());
        // They stand in the pack that is sealed last.
        let (notes, last) = match &pack {
            Some(_) => (Vec::new(), notes),
            None => (notes, Vec::new()),
        };
        if let Some(references) = references {
            self.publish_references(references, notes)?;
        }
        if let Some(pack) = pack {
            self.publish_pack(pack, last)?;
        }
        Ok(&self.moves)
    }

    /// Two adds may have written the same block; the pack that is sealed first keeps it.
    fn leave_out_known(&mut self, pack: &mut PackWriter) -> Result<(), StoreError> {
        if self.seals_seen == self.store.seals() {
            return Ok(());
        }
        let mut known = HashSet::new();
        for row in pack.rows() {
            let hash = row.cid.0.hash();
            if let Some(place) = self.find_sealed(hash)? {
                known.insert(*hash);
                self.moves.add(pack.id(), row.offset, place);
                self.elsewhere.push((row.cid.0, place));
            }
        }
        pack.leave_out(&known);
        Ok(())
    }

    fn publish_pack(&mut self, pack: PackWriter, notes: Vec<ObjectNote>) -> Result<(), StoreError> {
        let folder = self.store.packs_folder();
        self.publish(pack.id(), || pack.seal(&folder, notes))
    }

    /// Publishes a pack. A loose root covers it before it is there, so that an import that is killed keeps it, and a
    /// pack that no root names has lost the one it had.
    pub(crate) fn publish(
        &mut self,
        id: PackId,
        seal: impl FnOnce() -> Result<SealedPack, StoreError>,
    ) -> Result<(), StoreError> {
        self.publish_loose_over(id)?;
        self.holder.announce(id);
        let sealed = self.store.durable(seal());
        if sealed.is_err() {
            self.store.registry.withdraw(id);
        }
        let sealed = sealed?;
        tracing::debug!("sealed pack {id} with {} blocks", sealed.rows.len());
        self.sealed.push(sealed);
        Ok(())
    }

    /// Makes the blocks of the pack that was sealed last known to the others. The caller holds the commit's
    /// guard, and the count moves after the index: who seals next either finds them, or looks again.
    pub(crate) fn index_last(&mut self) -> Result<(), StoreError> {
        let Some(sealed) = self.sealed.get(self.indexed..) else {
            return Ok(());
        };
        for sealed in sealed {
            self.store.index_pack(sealed, &self.instead_of)?;
            self.indexed += 1;
            self.store.count_seal();
        }
        Ok(())
    }

    /// Covers what was sealed, and the pack that is next, which stands last, until the commit.
    fn publish_loose_over(&mut self, next: PackId) -> Result<(), StoreError> {
        let sealed = self.sealed.iter().map(|sealed| sealed.id);
        let covered = sealed.chain([next]).collect();
        self.publish_loose(&unfinished_record(covered))
    }

    pub(super) fn publish_loose(&mut self, record: &RootRecord) -> Result<(), StoreError> {
        let path = match &self.loose {
            Some(path) => path.clone(),
            None => root::loose_path(self.store.folder())?,
        };
        // Noted first: should the rename succeed and its sync fail, the drop removes it with the packs.
        self.loose = Some(path.clone());
        write_root(self.store, record, &path)
    }

    /// Publishes a loose root over everything sealed, and over `found`, which other packs have, in place of
    /// an object's root.
    pub(crate) fn keep_loose(&mut self, found: &[(Cid, Place)]) -> Result<(), StoreError> {
        let packs: Vec<PackId> = self.sealed.iter().map(|sealed| sealed.id).collect();
        let mut blocks = std::mem::take(&mut self.elsewhere);
        // What lay in a pack of this session that was never sealed was left out of it, and stands there.
        let theirs = found.iter().filter(|(_, place)| {
            !packs.contains(&place.pack) && self.store.registry.has_pack(place.pack)
        });
        blocks.extend(theirs);
        if !packs.is_empty() || !blocks.is_empty() {
            self.publish_loose(&loose_record(packs, blocks))?;
        }
        // It stays after `finish`.
        self.loose = None;
        Ok(())
    }
}
