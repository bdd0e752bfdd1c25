//! How much the packs may take: an add takes room as it writes, and what nobody has pinned makes way for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::collect::{self, GcObject, GcReason};
use super::error::StoreError;
use super::inner::Inner;
use super::pack::PackId;

/// So much is asked for at once, so that room is made seldom.
const STEP_BYTES: u64 = 16 << 20;
/// How often a collection that gave back less than was reckoned is followed by another.
const TRIES: usize = 8;

/// The packs' space, if it is bounded.
#[derive(Debug)]
pub(crate) struct Quota {
    max_bytes: u64,
    used: Mutex<Used>,
    /// Held by who makes room, so that nobody takes what another has chosen for its own.
    turn: Mutex<()>,
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
    /// What made way for it.
    made_way: Vec<GcObject>,
}

impl Taken {
    /// What made way so far.
    pub(crate) fn made_way(&mut self) -> Vec<GcObject> {
        std::mem::take(&mut self.made_way)
    }
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
            turn: Mutex::new(()),
        }
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

    /// How much is lacking of room for so many bytes.
    fn lacks(&self, bytes: u64) -> u64 {
        let used = self.used();
        (used.settled + used.running + bytes).saturating_sub(self.max_bytes)
    }

    fn exceeded(&self, store: &Inner, needed_bytes: u64) -> StoreError {
        let used = self.used();
        StoreError::QuotaExceeded {
            path: store.folder().path().to_path_buf(),
            max_bytes: self.max_bytes,
            used_bytes: used.settled + used.running,
            needed_bytes,
        }
    }
}

/// Takes room for a block of so many bytes that is about to be written. The caller holds neither the guard of commits
/// nor that of collections: to make room one of each is run.
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
    // A step ahead where that can be had.
    let ahead = needed.max(STEP_BYTES.min(quota.max_bytes / 8));
    let is_made = make_room(store, quota, ahead, taken)?
        || (ahead > needed && make_room(store, quota, needed, taken)?);
    match quota.take(needed).filter(|_| is_made) {
        Some(step) => {
            taken.bytes += step;
            Ok(())
        }
        None => Err(quota.exceeded(store, needed)),
    }
}

/// Whether so many bytes that are yet to come would find room, before anything makes way for them.
pub(crate) fn foresee(store: &Inner, bytes: u64) -> Result<(), StoreError> {
    let Some(quota) = &store.quota else {
        return Ok(());
    };
    let lacking = quota.lacks(bytes);
    match lacking == 0 || collect::plan_room(store, lacking)?.is_some() {
        true => Ok(()),
        false => Err(quota.exceeded(store, bytes)),
    }
}

/// Collects, and takes unpinned objects until there is room for so many bytes; none where that would not be enough.
fn make_room(
    store: &Inner,
    quota: &Quota,
    bytes: u64,
    taken: &mut Taken,
) -> Result<bool, StoreError> {
    // A store that refuses writes is not full.
    drop(store.commit_guard()?);
    let _turn = quota.turn.lock().unwrap_or_else(PoisonError::into_inner);
    // What was reckoned last and not given back, as it came to be held meanwhile: it will not be the next time either.
    let mut missed = 0;
    for _ in 0..TRIES {
        let lacking = quota.lacks(bytes);
        if lacking == 0 {
            return Ok(true);
        }
        let Some(plan) = collect::plan_room(store, lacking + missed)? else {
            return Ok(false);
        };
        let report = collect::collect(store, &plan)?;
        tracing::debug!("made room for {bytes} bytes: {} freed", report.freed_bytes);
        let by_quota = |object: &GcObject| object.reason == GcReason::Quota;
        let went: Vec<GcObject> = report.objects.into_iter().filter(by_quota).collect();
        if let Some(told) = store.told_of_room() {
            went.iter().for_each(told);
        }
        taken.made_way.extend(went);
        missed = plan.freeable_bytes.saturating_sub(report.freed_bytes);
    }
    Ok(quota.lacks(bytes) == 0)
}

/// An add ends: `settle` makes its packs nobody's, or takes them away, and says which are kept.
pub(crate) fn settle(store: &Inner, taken: &mut Taken, settle: impl FnOnce() -> Vec<PackId>) {
    let Some(quota) = &store.quota else {
        settle();
        return;
    };
    // As one step, so that a recount has them neither twice nor not at all.
    let mut used = quota.used();
    let kept = settle();
    used.running -= taken.bytes;
    if !kept.is_empty() {
        used.settled += collect::used_bytes(store.folder(), kept).unwrap_or(taken.written);
    }
    *taken = Taken::default();
}

/// Counts anew what the packs take that no running add writes.
pub(crate) fn recount(store: &Inner) -> Result<(), StoreError> {
    let Some(quota) = &store.quota else {
        return Ok(());
    };
    let mut used = quota.used();
    used.settled = collect::used_bytes(store.folder(), store.registry.settled())?;
    Ok(())
}
