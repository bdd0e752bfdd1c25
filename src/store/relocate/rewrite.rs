//! Rewriting the roots that place moved blocks.

use std::collections::HashSet;
use std::path::Path;
use std::time::SystemTime;

use super::Relocated;
use crate::block::Cid;
use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::ingest::{Moves, rewrite_root};
use crate::store::inner::Inner;
use crate::store::pack::{PackId, Place};
use crate::store::root::{self, ObjectKind, ROOT_LIMIT, RootName, RootRecord};

/// The caller holds the guard of commits, so that no root comes or moves meanwhile.
pub(super) struct Rewriting<'s> {
    store: &'s Inner,
    moved: &'s [(Relocated, Place)],
    moves: Moves,
    /// Packs of which nothing stays.
    given_up: HashSet<PackId>,
    /// How many roots were rewritten, or may have been.
    pub(super) roots: u64,
}

impl<'s> Rewriting<'s> {
    pub(super) fn new(
        store: &'s Inner,
        moved: &'s [(Relocated, Place)],
        given_up: HashSet<PackId>,
    ) -> Self {
        let mut sorted: Vec<(Place, Place)> = moved.iter().map(|(b, to)| (b.from, *to)).collect();
        sorted.sort_by_key(|(from, _)| (from.pack, from.offset, from.len));
        let mut moves = Moves::default();
        for (from, to) in sorted {
            moves.add(from.pack, from.offset, to);
        }
        Self {
            store,
            moved,
            moves,
            given_up,
            roots: 0,
        }
    }

    /// Rewrites every root that places something of it, one after the other.
    pub(super) fn run(&mut self) -> Result<(), StoreError> {
        let folder = self.store.folder().roots();
        for name in self.store.folder().files().list(&folder)? {
            let path = folder.join(&name);
            let rewritten = match name.to_str().and_then(RootName::parse) {
                Some(RootName::Object(cid)) => self.rewrite(&path, Some(cid)),
                Some(RootName::Loose) => self.rewrite(&path, None),
                // Who reads through a retired root reads on from the old places.
                Some(RootName::Retired(_)) | None => Ok(()),
            };
            match rewritten {
                // It leads nowhere before a repair.
                Err(e @ StoreError::Damaged { .. }) => tracing::warn!("left as it is: {e}"),
                other => other?,
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, path: &Path, cid: Option<Cid>) -> Result<(), StoreError> {
        let files = self.store.folder().files();
        let Some(file) = files.open_if_there(path)? else {
            return Ok(());
        };
        let used = files.modified(&file).map_err(FileError::at("stat", path))?;
        let bytes = format::read_sealed(files, &file, path, ROOT_LIMIT)?;
        let id = self.store.id();
        let record = match &cid {
            Some(cid) => RootRecord::parse(&bytes, id, cid, path, true)?,
            None => RootRecord::parse_any(&bytes, id, path, true)?,
        };
        let Some(new) = self.moved_record(&record) else {
            return Ok(());
        };
        self.replace(path, &new, used)
    }

    /// The record as it is to be; none if nothing of it moved.
    fn moved_record(&self, record: &RootRecord) -> Option<RootRecord> {
        let places = record.places();
        let is_placed = places
            .into_iter()
            .any(|(pack, range)| self.moves.touch(pack, &range));
        let (mut whole, mut further) = (Vec::new(), Vec::new());
        if record.head.kind == ObjectKind::Loose {
            let covered = record.whole_packs();
            let of_it = self.moved.iter();
            let of_it = of_it.filter(|(block, _)| covered.contains(&block.from.pack));
            let left: HashSet<PackId> = of_it.clone().map(|(block, _)| block.from.pack).collect();
            further.extend(of_it.map(|(block, to)| (block.cid, *to)));
            for pack in covered.into_iter().filter(|p| !self.given_up.contains(p)) {
                match left.contains(&pack).then(|| self.staying(pack)).flatten() {
                    Some(blocks) => further.extend(blocks),
                    None => whole.push(pack),
                }
            }
        }
        if !is_placed && further.is_empty() {
            return None;
        }
        Some(self.moves.follow_all(record, &whole, &further))
    }

    /// What stays of a pack that some blocks left: covered as a whole, what they left would be alive for ever. None for
    /// one whose table cannot be read, and for one whose blocks lie in files of the user's.
    fn staying(&self, id: PackId) -> Option<Vec<(Cid, Place)>> {
        let pack = self.store.core.packs.open(id).ok()?;
        if pack.is_reference() {
            return None;
        }
        let gone = self.store.registry.gone();
        let rows = pack.table().ok()?.rows.into_iter();
        let blocks = rows.map(|row| (row.cid.0, row.place(id)));
        let stays =
            |(_, place): &(Cid, Place)| self.moves.place(*place) == *place && !gone.is_dead(place);
        Some(blocks.filter(stays).collect())
    }

    /// One that is read through is kept under another name, until nobody does.
    fn replace(
        &mut self,
        path: &Path,
        record: &RootRecord,
        used: SystemTime,
    ) -> Result<(), StoreError> {
        let files = self.store.folder().files();
        // One of no object too: until its packs are collected something says that they went on purpose.
        let retired = root::retired_path(self.store.folder(), &record.head.cid.0)?;
        files.link(path, &retired)?;
        self.store.count_retirement();
        let written = rewrite_root(self.store, record, path, used);
        // Where only the sync after the rename failed, the new root is there.
        if written.is_ok() || self.stands(path, record) {
            self.roots += 1;
        } else {
            let _ = files.remove_file(&retired);
        }
        written
    }

    fn stands(&self, path: &Path, record: &RootRecord) -> bool {
        let files = self.store.folder().files();
        let file = files.open_if_there(path).ok().flatten();
        let bytes = file.and_then(|file| format::read_sealed(files, &file, path, ROOT_LIMIT).ok());
        // One that cannot be looked at may be there.
        bytes.is_none_or(|bytes| bytes == record.to_bytes(self.store.id()))
    }
}
