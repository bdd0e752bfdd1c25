//! Indexes that remember what they were, and ones that fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::recorder::RecordingDisk;
use crate::block::Multihash;
use crate::store::index::{Index, IndexError, MemoryIndex, Rival};
use crate::store::pack::{PackId, Place, Row};

/// One index for all openings of a store.
pub(super) struct SharedIndex(pub(super) Arc<dyn Index>);

#[deny(clippy::missing_trait_methods)]
impl Index for SharedIndex {
    fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError> {
        self.0.get(hash)
    }

    fn insert(
        &self,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), IndexError> {
        self.0.insert(pack, rows, rival)
    }

    fn marked(&self) -> Result<Vec<PackId>, IndexError> {
        self.0.marked()
    }

    fn unmark(&self, pack: PackId) -> Result<(), IndexError> {
        self.0.unmark(pack)
    }

    fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError> {
        self.0.remove(pack, rows)
    }

    fn len(&self) -> Result<u64, IndexError> {
        self.0.len()
    }
}

/// Keeps every state that it was in, with how much was recorded of the disk by then.
pub(super) struct RememberingIndex {
    index: MemoryIndex,
    disk: Arc<RecordingDisk>,
    states: Mutex<Vec<(usize, MemoryIndex)>>,
}

impl RememberingIndex {
    pub(super) fn new(disk: &Arc<RecordingDisk>) -> Arc<Self> {
        Arc::new(Self {
            index: MemoryIndex::default(),
            disk: Arc::clone(disk),
            states: Mutex::new(vec![(0, MemoryIndex::default())]),
        })
    }

    /// All states, the empty one first, each with the position in the record from which on it can be met.
    pub(super) fn take_states(&self) -> Vec<(usize, MemoryIndex)> {
        std::mem::take(&mut self.states.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn remember(&self, state: MemoryIndex) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.push((self.disk.len(), state));
    }
}

#[deny(clippy::missing_trait_methods)]
impl Index for RememberingIndex {
    fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError> {
        self.index.get(hash)
    }

    fn insert(
        &self,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), IndexError> {
        // A database that takes rows by the batch may keep some of them, without the marker.
        let half = self.index.copy();
        half.insert(pack, &rows[..rows.len() / 2], rival)?;
        half.unmark(pack)?;
        self.remember(half);
        self.index.insert(pack, rows, rival)?;
        self.remember(self.index.copy());
        Ok(())
    }

    fn marked(&self) -> Result<Vec<PackId>, IndexError> {
        self.index.marked()
    }

    fn unmark(&self, pack: PackId) -> Result<(), IndexError> {
        self.index.unmark(pack)?;
        self.remember(self.index.copy());
        Ok(())
    }

    fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError> {
        self.index.remove(pack, rows)?;
        self.remember(self.index.copy());
        Ok(())
    }

    fn len(&self) -> Result<u64, IndexError> {
        self.index.len()
    }
}

/// Fails at its n-th call, counted from one, and from then on if it is `lasting`.
pub(super) struct FaultyIndex {
    index: MemoryIndex,
    nth: u64,
    lasting: bool,
    counted: AtomicU64,
}

impl FaultyIndex {
    pub(super) fn new(nth: u64, lasting: bool) -> Arc<Self> {
        Arc::new(Self {
            index: MemoryIndex::default(),
            nth,
            lasting,
            counted: AtomicU64::new(0),
        })
    }

    /// How many calls were begun.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    fn meet(&self) -> Result<&MemoryIndex, IndexError> {
        let number = self.counted.fetch_add(1, Ordering::Relaxed) + 1;
        match number == self.nth || (self.lasting && number > self.nth) {
            true => Err(IndexError::Failed(format!("call {number}"))),
            false => Ok(&self.index),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Index for FaultyIndex {
    fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError> {
        self.meet()?.get(hash)
    }

    fn insert(
        &self,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), IndexError> {
        self.meet()?.insert(pack, rows, rival)
    }

    fn marked(&self) -> Result<Vec<PackId>, IndexError> {
        self.meet()?.marked()
    }

    fn unmark(&self, pack: PackId) -> Result<(), IndexError> {
        self.meet()?.unmark(pack)
    }

    fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError> {
        self.meet()?.remove(pack, rows)
    }

    fn len(&self) -> Result<u64, IndexError> {
        self.meet()?.len()
    }
}
