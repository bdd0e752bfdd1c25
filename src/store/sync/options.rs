//! What a copy from another store is told, and how far it says it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::SyncError;
use crate::store::target::Target;

/// How [`Store::sync_from`](crate::Store::sync_from) works.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SyncOptions {
    /// What to copy; with none, every published object. A target inside an object becomes one of its own.
    pub targets: Vec<Target>,
    /// Leave the pins behind. Otherwise a name brings its pin along, a CID is pinned under itself, and a copy of
    /// everything brings every pin.
    pub no_pins: bool,
    /// Move names that point elsewhere here; otherwise they stay, and the report says so.
    pub replace: bool,
    /// Only say what would be copied.
    pub dry_run: bool,
    /// Checked as the copying goes; once set, it stops, and nothing of the object at hand is kept.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told from time to time how far the copying is.
    pub progress: Option<Arc<dyn Fn(SyncProgress) + Send + Sync>>,
}

impl SyncOptions {
    /// The same for some targets only.
    #[must_use]
    pub fn with_targets(mut self, targets: Vec<Target>) -> Self {
        self.targets = targets;
        self
    }

    pub(super) fn check_cancel(&self, copied: u64) -> Result<(), SyncError> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(SyncError::Cancelled { copied }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for SyncOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncOptions")
            .field("targets", &self.targets)
            .field("no_pins", &self.no_pins)
            .field("replace", &self.replace)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncProgress {
    /// Objects that are done.
    pub done_objects: u64,
    /// All that are to be looked at.
    pub total_objects: u64,
    /// Content bytes of what is done, of the object at hand too.
    pub done_bytes: u64,
    /// Content bytes of all objects.
    pub total_bytes: u64,
    /// Bytes of blocks that were not here before.
    pub new_bytes: u64,
}
