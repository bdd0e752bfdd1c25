//! Holds the index, and replaces one that fails.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::{Index, IndexError, MemoryIndex, Rival, SledIndex, strange};
use crate::block::Multihash;
use crate::error::FileError;
use crate::fsio::Files;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::pack::{PackFile, PackId, Place, Row};
use crate::store::repair::{DAMAGE_LOG, advised};

/// Stands in `db/` from a failure on: whoever opens the store next makes the database anew.
pub(crate) const REBUILD_MARK: &str = "rebuild";

pub(crate) struct IndexSlot {
    index: RwLock<Box<dyn Index>>,
    db: PathBuf,
    files: Files,
}

impl IndexSlot {
    /// Opens the database, making a damaged one anew; where that fails too, or it may not be opened now, memory stands in.
    pub(crate) fn open(folder: &StoreFolder) -> Self {
        let (files, db) = (folder.files(), folder.db());
        let first = match strange(folder) {
            Ok(Some(found)) => Err(IndexError::Failed(format!("it is {found}"))),
            Ok(None) if files.exists(&db.join(REBUILD_MARK)) => {
                Err(IndexError::Failed("it failed before".into()))
            }
            Ok(None) => SledIndex::open(&db),
            Err(e) => Err(IndexError::Refused(e.to_string())),
        };
        let opened = first.or_else(|first| {
            if let IndexError::Refused(_) = first {
                return Err(first);
            }
            tracing::warn!("{first}; it is rebuilt from the packs");
            clear(files, &db).map_err(|e| IndexError::Failed(e.to_string()))?;
            SledIndex::open(&db)
        });
        let index: Box<dyn Index> = match opened {
            Ok(index) => Box::new(index),
            Err(second) => {
                tracing::warn!("{second}; the index stays in memory this time");
                Box::new(MemoryIndex::default())
            }
        };
        Self::with(index, folder)
    }

    pub(crate) fn with(index: Box<dyn Index>, folder: &StoreFolder) -> Self {
        Self {
            index: RwLock::new(index),
            db: folder.db(),
            files: folder.files().clone(),
        }
    }

    /// Asks the index; when it fails, it is replaced by one made from the packs, which is then asked.
    pub(crate) fn ask<T>(
        &self,
        packs: &dyn PackTables,
        question: impl Fn(&dyn Index) -> Result<T, IndexError>,
    ) -> Result<T, StoreError> {
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            match question(&**index) {
                Ok(answer) => return Ok(answer),
                Err(e) => tracing::warn!("{e}; it is rebuilt in memory from the packs"),
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let memory = MemoryIndex::default();
        fill(&memory, packs)?;
        // The mark only saves the next opening from a second failure, so losing it loses nothing.
        let _ = self.files.create_new(&self.db.join(REBUILD_MARK), 0o644);
        let answer = question(&memory);
        *index = Box::new(memory);
        answer.map_err(|e| {
            let source = std::io::Error::other(e);
            StoreError::File(FileError::new("read the index in", &self.db, source))
        })
    }

    pub(crate) fn get(
        &self,
        packs: &dyn PackTables,
        hash: &Multihash,
    ) -> Result<Option<Place>, StoreError> {
        self.ask(packs, |index| index.get(hash))
    }

    pub(crate) fn insert(
        &self,
        packs: &dyn PackTables,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), StoreError> {
        self.ask(packs, |index| index.insert(pack, rows, rival))
    }
}

impl IndexSlot {
    /// Drops the rows of blocks that are gone from a pack, and the marker of one that is gone as a whole. What
    /// stays behind costs space only: a row is checked at each use.
    pub(crate) fn forget(
        &self,
        packs: &dyn PackTables,
        pack: PackId,
        rows: &[Row],
        whole: bool,
    ) -> Result<(), StoreError> {
        self.ask(packs, |index| {
            // First, so that a pack of which a killed process had only the rows dropped is learned again.
            if whole {
                index.unmark(pack)?;
            }
            index.remove(pack, rows)
        })
    }
}

/// Blocks that an index forgot, in eight bytes each: of one that it did not forget it may be said too.
#[derive(Debug, Default)]
pub(crate) struct Forgotten(HashSet<u64>);

impl Forgotten {
    pub(crate) fn add(&mut self, hash: &Multihash) {
        self.0.insert(short(hash));
    }

    pub(crate) fn may_have(&self, hash: &Multihash) -> bool {
        self.0.contains(&short(hash))
    }
}

fn short(hash: &Multihash) -> u64 {
    xxhash_rust::xxh3::xxh3_64(hash.digest())
}

/// The packs that an index is made from.
pub(crate) trait PackTables {
    fn ids(&self) -> Vec<PackId>;
    /// What becomes of the place that is known for a block that a pack has too: it stays if it can be read there,
    /// and is not in a file of the user's while the pack has payload.
    fn rival(&self, known: &Place, pack: PackId) -> Rival;
    /// Whether nothing is there any more.
    fn is_dead(&self, place: &Place) -> bool;
    fn open(&self, id: PackId) -> Result<std::sync::Arc<PackFile>, StoreError>;
}

/// Brings an index up to date: packs without a marker are indexed, markers without a pack dropped.
/// A pack that cannot be read is left out and said; its blocks are then absent, and roots over it say so.
pub(crate) fn fill(index: &dyn Index, packs: &dyn PackTables) -> Result<(), StoreError> {
    let failed = |e: IndexError| {
        StoreError::File(FileError::new(
            "write",
            "the index",
            std::io::Error::other(e),
        ))
    };
    let ids = packs.ids();
    let marked = index.marked().map_err(failed)?;
    let here: HashSet<PackId> = ids.iter().copied().collect();
    for gone in marked.iter().filter(|id| !here.contains(id)) {
        index.unmark(*gone).map_err(failed)?;
    }
    learn(index, packs, &ids).map_err(failed)
}

/// Learns those of some packs that have no marker.
fn learn(index: &dyn Index, packs: &dyn PackTables, ids: &[PackId]) -> Result<(), IndexError> {
    let marked: HashSet<PackId> = index.marked()?.into_iter().collect();
    for &id in ids.iter().filter(|id| !marked.contains(id)) {
        match packs.open(id).and_then(|pack| pack.table()) {
            Ok(mut table) => {
                table.rows.retain(|row| !packs.is_dead(&row.place(id)));
                index.insert(id, &table.rows, &|known| packs.rival(known, id))?;
            }
            Err(e) => {
                let said = advised(&e, "; none of its blocks is known");
                tracing::warn!(target: DAMAGE_LOG, "{said}");
                // So it goes with the others: they are learned when the store is next opened.
                if matches!(e, StoreError::File(e) if e.is_of_a_limit()) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

impl IndexSlot {
    /// Learns packs again that were not known for all of their blocks, because others had them too: of those the
    /// ones that a collection took are not known any more.
    pub(crate) fn learn_again(
        &self,
        packs: &dyn PackTables,
        ids: &[PackId],
    ) -> Result<(), StoreError> {
        self.ask(packs, |index| learn(index, packs, ids))
    }

    /// The packs that could not be learnt, which was said.
    pub(crate) fn left_out(&self, packs: &dyn PackTables) -> Result<HashSet<PackId>, StoreError> {
        let marked = self.ask(packs, |index| index.marked())?;
        let marked: HashSet<PackId> = marked.into_iter().collect();
        let ids = packs.ids().into_iter();
        Ok(ids.filter(|id| !marked.contains(id)).collect())
    }

    /// See [`fill`].
    pub(crate) fn catch_up(&self, packs: &dyn PackTables) -> Result<(), StoreError> {
        self.ask(packs, |index| {
            fill(index, packs).map_err(|e| IndexError::Failed(e.to_string()))
        })
    }
}

/// Removes the database, or whatever stands in its place.
pub(crate) fn clear(files: &Files, db: &Path) -> Result<(), FileError> {
    let cleared = match files.symlink_metadata(db) {
        Ok(there) if there.is_dir() => files.remove_tree(db),
        Ok(_) => files.remove_file(db),
        Err(e) => Err(e),
    };
    match cleared {
        Err(e) if e.source.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::HashFunction;
    use crate::store::read::ReadCore;
    use crate::store::{AddOptions, Store, inner};

    /// Fails at everything, as a database on a dying disk does.
    struct Failing;

    impl Index for Failing {
        fn get(&self, _: &Multihash) -> Result<Option<Place>, IndexError> {
            Err(IndexError::Failed("get".into()))
        }
        fn insert(
            &self,
            _: PackId,
            _: &[Row],
            _: &dyn Fn(&Place) -> Rival,
        ) -> Result<(), IndexError> {
            Err(IndexError::Failed("insert".into()))
        }
        fn marked(&self) -> Result<Vec<PackId>, IndexError> {
            Err(IndexError::Failed("marked".into()))
        }
        fn unmark(&self, _: PackId) -> Result<(), IndexError> {
            Err(IndexError::Failed("unmark".into()))
        }
        fn remove(&self, _: PackId, _: &[Row]) -> Result<(), IndexError> {
            Err(IndexError::Failed("remove".into()))
        }
        fn len(&self) -> Result<u64, IndexError> {
            Err(IndexError::Failed("len".into()))
        }
    }

    #[test]
    fn an_index_that_a_limit_of_the_process_keeps_closed_is_left_as_it_is() {
        use crate::fsio::RealDisk;
        use crate::store::trials::faults::{Failure, Fault, FaultyDisk, Kind};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Store::create(&path).unwrap();
        store
            .add_reader(&b"content"[..], &AddOptions::default())
            .unwrap();
        drop(store);
        let fault = Fault {
            kinds: &[Kind::List],
            nth: 1,
            failure: Failure::Errno(rustix::io::Errno::MFILE),
            lasting: true,
        };
        let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
        let slot = IndexSlot::open(&StoreFolder::on(&path, disk.files()));
        let known = |slot: &IndexSlot| slot.index.read().unwrap().len().unwrap();
        assert!(disk.has_failed() && known(&slot) == 0);
        drop(slot);
        let folder = StoreFolder::new(&path);
        assert!(!folder.db().join(REBUILD_MARK).exists());
        let slot = IndexSlot::open(&folder);
        assert!(known(&slot) > 0);
        let tables = Tables(ReadCore::open(&path).unwrap());
        let hash = HashFunction::Sha2_256.digest(b"content");
        assert!(slot.get(&tables, &hash).unwrap().is_some());
    }

    struct Tables(ReadCore);

    impl PackTables for Tables {
        fn ids(&self) -> Vec<PackId> {
            let packs = inner::list(&self.0.folder).unwrap();
            packs.into_iter().collect()
        }
        fn rival(&self, known: &Place, _: PackId) -> Rival {
            Rival {
                keeps: self.ids().contains(&known.pack),
                both: true,
            }
        }
        fn is_dead(&self, _: &Place) -> bool {
            false
        }
        fn open(&self, id: PackId) -> Result<Arc<PackFile>, StoreError> {
            self.0.packs.open(id)
        }
    }

    #[test]
    fn an_index_that_fails_is_replaced_from_the_packs_and_made_anew_at_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Store::create(&path).unwrap();
        store
            .add_reader(&b"content"[..], &AddOptions::default())
            .unwrap();
        drop(store);
        let tables = Tables(ReadCore::open(&path).unwrap());
        let db = path.join("db");

        let slot = IndexSlot::with(Box::new(Failing), &tables.0.folder);
        let hash = HashFunction::Sha2_256.digest(b"content");
        let place = slot.get(&tables, &hash).unwrap().unwrap();
        let found = tables.open(place.pack).unwrap();
        let read = found.read(place.offset, place.len as usize).unwrap();
        assert_eq!(read, b"content");
        assert!(db.join(REBUILD_MARK).exists());

        let slot = IndexSlot::open(&tables.0.folder);
        assert!(!db.join(REBUILD_MARK).exists());
        assert_eq!(
            slot.get(&tables, &hash).unwrap(),
            None,
            "made anew, and empty"
        );
        slot.catch_up(&tables).unwrap();
        assert_eq!(slot.get(&tables, &hash).unwrap(), Some(place));
    }
}
