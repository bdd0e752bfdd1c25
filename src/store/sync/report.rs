//! What a copy from another store did.

use std::ops::AddAssign;

use super::error::SyncObjectError;
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::read::EntryType;

/// Blocks, and the bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncCounts {
    /// Blocks that were not here before.
    pub new_blocks: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Blocks that were, or that came before; each place in an object counted.
    pub there_blocks: u64,
    /// Their bytes.
    pub there_bytes: u64,
}

impl SyncCounts {
    pub(super) fn count(&mut self, bytes: u64, is_new: bool) {
        let (blocks, sum) = match is_new {
            true => (&mut self.new_blocks, &mut self.new_bytes),
            false => (&mut self.there_blocks, &mut self.there_bytes),
        };
        *blocks += 1;
        *sum += bytes;
    }
}

impl AddAssign for SyncCounts {
    fn add_assign(&mut self, other: Self) {
        // What a root says of itself is not checked.
        for (sum, more) in [
            (&mut self.new_blocks, other.new_blocks),
            (&mut self.new_bytes, other.new_bytes),
            (&mut self.there_blocks, other.there_blocks),
            (&mut self.there_bytes, other.there_bytes),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What [`Store::sync_from`](crate::Store::sync_from) did, or in a dry run would do.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SyncReport {
    /// Every object that was looked at, in the order of the targets or of the CIDs.
    pub objects: Vec<SyncedObject>,
}

/// One object of the source.
#[derive(Debug)]
#[non_exhaustive]
pub struct SyncedObject {
    /// The object.
    pub cid: Cid,
    /// The name of the file or folder when it was first added; of a part of an object, its own.
    pub name: String,
    /// What it is; none for a root that cannot be read.
    pub kind: Option<EntryType>,
    /// Bytes of content.
    pub size: u64,
    /// What became of it.
    pub state: SyncState,
    /// Its blocks here.
    pub counts: SyncCounts,
    /// The pins that came with it.
    pub pins: Vec<SyncedPin>,
}

/// What became of an object.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncState {
    /// It was copied.
    Copied,
    /// It was here already.
    There,
    /// It was not copied, and nothing of it is here that was not before.
    Failed(SyncObjectError),
}

/// A pin that came with an object.
#[derive(Debug)]
#[non_exhaustive]
pub struct SyncedPin {
    /// Its name.
    pub name: String,
    /// What became of it; an error where the name is taken by another object, or cannot be set.
    pub change: Result<SyncedPinChange, StoreError>,
}

/// What became of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncedPinChange {
    /// There was none of that name.
    Set,
    /// It pointed there already.
    Kept,
    /// It pointed elsewhere.
    Moved {
        /// What it pointed to.
        was: Cid,
    },
}

impl SyncReport {
    /// The sums over all objects.
    pub fn counts(&self) -> SyncCounts {
        let mut sum = SyncCounts::default();
        for object in &self.objects {
            sum += object.counts;
        }
        sum
    }

    /// How many objects were copied.
    pub fn copied(&self) -> u64 {
        self.count(|state| matches!(state, SyncState::Copied))
    }

    /// How many objects were here already.
    pub fn there(&self) -> u64 {
        self.count(|state| matches!(state, SyncState::There))
    }

    /// How many objects were not copied.
    pub fn failed(&self) -> u64 {
        self.count(|state| matches!(state, SyncState::Failed(_)))
    }

    /// Whether every object is here now, and every pin points where it does in the source.
    pub fn is_complete(&self) -> bool {
        let mut pins = self.objects.iter().flat_map(|object| &object.pins);
        self.failed() == 0 && pins.all(|pin| pin.change.is_ok())
    }

    fn count(&self, is_it: impl Fn(&SyncState) -> bool) -> u64 {
        let objects = self.objects.iter();
        objects.filter(|object| is_it(&object.state)).count() as u64
    }
}
