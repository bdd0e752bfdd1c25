//! Where blocks lie, by multihash: a hint that is checked against the packs at each use.
//!
//! Nothing durable rests on an index. One that fails, or whose library panics, is replaced by a memory
//! form made from the packs' tables, and the database is made anew when the store is next opened.

mod memory;
mod sled;
mod slot;
mod strange;

pub(crate) use memory::MemoryIndex;
pub(crate) use sled::SledIndex;
pub(crate) use slot::{Forgotten, IndexSlot, PackTables, REBUILD_MARK, clear};
pub(crate) use strange::strange;

use super::pack::{PackId, Place, Row};
use crate::block::Multihash;

/// Why an index did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("the index failed: {0}")]
    Failed(String),
    /// The system refuses to let it be opened, which says nothing of what is in it.
    #[error("the index cannot be opened: {0}")]
    Refused(String),
}

/// A block's place in another pack, which the index knows when it learns a pack that has the block too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rival {
    /// It stays what is known.
    pub(crate) keeps: bool,
    /// The one that is not known is needed once the other one is gone, so its pack is learned again then.
    pub(crate) both: bool,
}

/// Block to place, and one marker for each pack whose blocks are all in.
pub(crate) trait Index: Send + Sync {
    fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError>;

    /// Learns a pack's blocks, then its marker; `rival` says what becomes of a block's place in another pack. A
    /// pack has no marker while an other one is known for a block in its stead.
    fn insert(
        &self,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), IndexError>;

    /// The packs whose marker is there.
    fn marked(&self) -> Result<Vec<PackId>, IndexError>;

    /// Drops a pack's marker; its rows are refused by their check from then on.
    fn unmark(&self, pack: PackId) -> Result<(), IndexError>;

    /// Drops rows that still name this pack.
    fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError>;

    /// How many rows there are, markers left out. May take time in proportion to it.
    #[cfg(test)]
    fn len(&self) -> Result<u64, IndexError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, HashFunction, RAW};
    use crate::store::format::StoredCid;

    fn row(seed: u8) -> Row {
        let block = Block::new(RAW, HashFunction::Sha2_256, vec![seed; 10]);
        Row {
            cid: StoredCid(*block.cid()),
            offset: 64 * u64::from(seed),
            len: 10,
        }
    }

    fn conforms(index: &dyn Index) {
        let (a, b) = (PackId([1; 16]), PackId([2; 16]));
        let rows: Vec<Row> = (0..200).map(row).collect();
        assert_eq!(index.get(rows[0].cid.0.hash()).unwrap(), None);
        let rival = |keeps, both| move |_: &Place| Rival { keeps, both };
        index.insert(a, &rows, &rival(true, true)).unwrap();
        for row in &rows {
            let place = index.get(row.cid.0.hash()).unwrap().unwrap();
            assert_eq!(
                place,
                Place {
                    pack: a,
                    offset: row.offset,
                    len: 10
                }
            );
        }
        assert_eq!(index.marked().unwrap(), [a]);
        assert_eq!(index.len().unwrap(), 200);

        // A place that is still good stays, one that is not is replaced.
        index
            .insert(b, &rows[..2], &|place| Rival {
                keeps: place.offset == rows[0].offset,
                both: false,
            })
            .unwrap();
        assert_eq!(index.get(rows[0].cid.0.hash()).unwrap().unwrap().pack, a);
        assert_eq!(index.get(rows[1].cid.0.hash()).unwrap().unwrap().pack, b);
        assert_eq!(index.len().unwrap(), 200);

        // Only rows that still name the pack go.
        index.remove(a, &rows[..3]).unwrap();
        assert_eq!(index.get(rows[0].cid.0.hash()).unwrap(), None);
        assert_eq!(index.get(rows[1].cid.0.hash()).unwrap().unwrap().pack, b);
        assert_eq!(index.get(rows[2].cid.0.hash()).unwrap(), None);
        assert_eq!(index.len().unwrap(), 198);

        // A pack that is not known for a block that it has is learned again later.
        index.insert(a, &rows[..2], &rival(true, true)).unwrap();
        assert_eq!(index.marked().unwrap(), [b]);
        index.insert(a, &rows[..2], &rival(false, true)).unwrap();
        assert_eq!(index.marked().unwrap(), [a]);
        index.insert(b, &rows[..2], &rival(true, false)).unwrap();
        assert_eq!(index.marked().unwrap(), [a, b]);
        index.insert(b, &rows[..2], &rival(false, false)).unwrap();
        assert_eq!(index.marked().unwrap(), [a, b]);
        assert_eq!(index.get(rows[0].cid.0.hash()).unwrap().unwrap().pack, b);
        // Its own places are no rivals.
        index.insert(b, &rows[..2], &rival(true, true)).unwrap();
        assert_eq!(index.marked().unwrap(), [a, b]);

        index.unmark(a).unwrap();
        assert_eq!(index.marked().unwrap(), [b]);
    }

    #[test]
    fn the_memory_form_conforms() {
        conforms(&MemoryIndex::default());
    }

    #[test]
    fn the_sled_form_conforms_and_remembers() {
        let dir = tempfile::tempdir().unwrap();
        conforms(&SledIndex::open(&dir.path().join("db")).unwrap());
        let again = SledIndex::open(&dir.path().join("db")).unwrap();
        assert_eq!(again.len().unwrap(), 199);
        assert_eq!(again.marked().unwrap(), [PackId([2; 16])]);
    }
}
