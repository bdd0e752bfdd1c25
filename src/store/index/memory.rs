//! The index in memory: what stands in when the database fails.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Index, IndexError, Rival};
use crate::block::Multihash;
use crate::store::pack::{PackId, Place, Row};

#[derive(Default)]
pub(crate) struct MemoryIndex(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    places: HashMap<Multihash, Place>,
    marked: BTreeSet<PackId>,
}

impl MemoryIndex {
    /// As it is now.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        Self(Mutex::new(self.state().clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one map operation, so a panic elsewhere leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError> {
        Ok(self.state().places.get(hash).copied())
    }

    fn insert(
        &self,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), IndexError> {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut all = true;
        for row in rows {
            let place = row.place(pack);
            let known = state.places.entry(*row.cid.0.hash()).or_insert(place);
            if known.pack != pack {
                let Rival { keeps, both } = rival(known);
                if keeps {
                    all &= !both;
                    continue;
                }
                if both {
                    state.marked.remove(&known.pack);
                }
            }
            *known = place;
        }
        match all {
            true => state.marked.insert(pack),
            false => state.marked.remove(&pack),
        };
        Ok(())
    }

    fn marked(&self) -> Result<Vec<PackId>, IndexError> {
        Ok(self.state().marked.iter().copied().collect())
    }

    fn unmark(&self, pack: PackId) -> Result<(), IndexError> {
        self.state().marked.remove(&pack);
        Ok(())
    }

    fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError> {
        let mut state = self.state();
        for row in rows {
            let hash = row.cid.0.hash();
            if state
                .places
                .get(hash)
                .is_some_and(|place| place.pack == pack)
            {
                state.places.remove(hash);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn len(&self) -> Result<u64, IndexError> {
        Ok(self.state().places.len() as u64)
    }
}
