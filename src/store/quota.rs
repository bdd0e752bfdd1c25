//! How much the packs may take: an add takes room as it writes, and what nobody has pinned makes way for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::collect::{self, GcOptions};
use super::error::StoreError;
use super::inner::Inner;

/// So much is asked for at once, so that room is made seldom.
const STEP_BYTES: u64 = 16 << 20;

/// The packs' space, if it is bounded.
#[derive(Debug)]
pub(crate) struct Quota {
    max_bytes: u64,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    /// What packs take that no running add writes.
    settled: u64,
    /// What running adds have taken.
    running: u64,
}

/// What a block takes besides its bytes: its row in the table, and the page that it may begin.
const ROW_BYTES: u64 = 128;

/// What one add or session has taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    bytes: u64,
    written: u64,
}

impl Quota {
    pub(crate) fn new(max_bytes: u64, settled: u64) -> Self {
        let used = Used {
            settled,
            running: 0,
        };
        Self {
            max_bytes,
            used: Mutex::new(used),
        }
    }

    /// A collection counted what the packs take.
    pub(crate) fn set_settled(&self, bytes: u64) {
        self.used().settled = bytes;
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a step, or only what is needed where there is no room for more.
    fn take(&self, needed: u64) -> Option<u64> {
        let mut used = self.used();
        let room = self.max_bytes.saturating_sub(used.settled + used.running);
        let taken = needed.max(STEP_BYTES.min(room));
        (taken <= room).then(|| {
            used.running += taken;
            taken
        })
    }
}

/// Takes room for a block of so many bytes that is about to be written. The caller holds neither the guard of commits nor that of
/// collections: to make room one of each is run.
pub(crate) fn take(store: &Inner, taken: &mut Taken, bytes: u64) -> Result<(), StoreError> {
    let Some(quota) = &store.quota else {
        return Ok(());
    };
    taken.written += bytes + ROW_BYTES;
    let Some(needed) = taken.written.checked_sub(taken.bytes).filter(|n| *n > 0) else {
        return Ok(());
    };
    if let Some(step) = quota.take(needed) {
        taken.bytes += step;
        return Ok(());
    }
    make_room(store, quota, needed)?;
    match quota.take(needed) {
        Some(step) => {
            taken.bytes += step;
            Ok(())
        }
        None => {
            let used = quota.used();
            Err(StoreError::QuotaExceeded {
                path: store.folder().path().to_path_buf(),
                max_bytes: quota.max_bytes,
                used_bytes: used.settled + used.running,
                needed_bytes: needed,
            })
        }
    }
}

/// Collects, and takes unpinned objects until there is room for a step.
fn make_room(store: &Inner, quota: &Quota, needed: u64) -> Result<(), StoreError> {
    let running = quota.used().running;
    let wanted = needed.max(STEP_BYTES.min(quota.max_bytes / 8)) + running;
    let options = GcOptions {
        max_bytes: Some(quota.max_bytes.saturating_sub(wanted)),
        ..GcOptions::default()
    };
    let plan = collect::plan(&store.core, &options)?;
    let report = collect::collect(store, &plan)?;
    tracing::debug!("made room for {needed} bytes: {} freed", report.freed_bytes);
    Ok(())
}

/// An add ended: what it has written stays counted if it was `kept`.
pub(crate) fn give_back(store: &Inner, taken: &mut Taken, kept: bool) {
    let Some(quota) = &store.quota else {
        return;
    };
    let mut used = quota.used();
    used.running -= taken.bytes;
    if kept {
        used.settled += taken.written;
    }
    *taken = Taken::default();
}
