//! The index in sled, the one file that names it.
//!
//! Rows are small (sled moves large values into files that it never syncs) and go in by batches of 64
//! (larger ones cost gigabytes of memory at a million rows); the cache is small, because the rows are read
//! a few microseconds each and the memory tier stands in front.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use super::{Index, IndexError, Rival};
use crate::block::Multihash;
use crate::error::is_of_a_limit;
use crate::store::pack::{PackId, Place, Row};

const BATCH_ROWS: usize = 64;
const CACHE_BYTES: u64 = 16 << 20;
/// How sled says that its lock is held. Whoever opens has the store's own lock, so it is a copy of the descriptor in a
/// child that another thread has forked and that has not reached its `exec`: it goes in a moment.
const LOCKED: &str = "could not acquire lock";
const LOCK_TRIES: usize = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// No stored multihash begins with zero (the identity's code), so markers have that to themselves.
const MARKER: u8 = 0;

pub(crate) struct SledIndex {
    db: ::sled::Db,
}

impl SledIndex {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let mut tries = LOCK_TRIES;
        loop {
            let opened = guarded(|| {
                ::sled::Config::new()
                    .path(path)
                    .cache_capacity(CACHE_BYTES)
                    .mode(::sled::Mode::LowSpace)
                    .flush_every_ms(Some(1_000))
                    .open()
                    .map(|db| Self { db })
            });
            match opened {
                Err(IndexError::Failed(e)) if tries > 0 && e.contains(LOCKED) => {
                    tries -= 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                opened => return opened,
            }
        }
    }
}

/// Turns an error, and a panic inside sled, into a value.
fn guarded<T>(work: impl FnOnce() -> ::sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(::sled::Error::Io(e))) if is_of_a_limit(&e) => {
            Err(IndexError::Refused(e.to_string()))
        }
        Ok(result) => result.map_err(|e| IndexError::Failed(e.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Err(IndexError::Failed(format!(
                "sled panicked: {}",
                text.unwrap_or_default()
            )))
        }
    }
}

fn marker_key(pack: PackId) -> [u8; 17] {
    let mut key = [MARKER; 17];
    key[1..].copy_from_slice(&pack.0);
    key
}

impl Index for SledIndex {
    fn get(&self, hash: &Multihash) -> Result<Option<Place>, IndexError> {
        let found = guarded(|| self.db.get(hash.to_bytes()))?;
        Ok(found.and_then(|value| Place::from_bytes(&value)))
    }

    fn insert(
        &self,
        pack: PackId,
        rows: &[Row],
        rival: &dyn Fn(&Place) -> Rival,
    ) -> Result<(), IndexError> {
        let mut all = true;
        let mut chunks = rows.chunks(BATCH_ROWS).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let mut batch = ::sled::Batch::default();
            for row in chunk {
                let hash = row.cid.0.hash();
                if let Some(known) = self.get(hash)?.filter(|known| known.pack != pack) {
                    let Rival { keeps, both } = rival(&known);
                    if keeps {
                        all &= !both;
                        continue;
                    }
                    if both {
                        batch.remove(marker_key(known.pack).as_slice());
                    }
                }
                let place = row.place(pack);
                batch.insert(hash.to_bytes(), place.to_bytes().as_slice());
            }
            let last = chunks.peek().is_none();
            match (last, all) {
                (false, _) => {}
                (true, true) => batch.insert(marker_key(pack).as_slice(), &[]),
                (true, false) => batch.remove(marker_key(pack).as_slice()),
            }
            guarded(|| self.db.apply_batch(batch))?;
            if last {
                return Ok(());
            }
        }
    }

    fn marked(&self) -> Result<Vec<PackId>, IndexError> {
        guarded(|| {
            let keys = self.db.scan_prefix([MARKER]).keys();
            let ids = keys.map(|key| key.map(|k| k.get(1..).and_then(|id| id.try_into().ok())));
            let ids: Result<Vec<Option<[u8; 16]>>, _> = ids.collect();
            Ok(ids?.into_iter().flatten().map(PackId).collect())
        })
    }

    fn unmark(&self, pack: PackId) -> Result<(), IndexError> {
        guarded(|| self.db.remove(marker_key(pack)).map(drop))
    }

    fn remove(&self, pack: PackId, rows: &[Row]) -> Result<(), IndexError> {
        for chunk in rows.chunks(BATCH_ROWS) {
            let mut batch = ::sled::Batch::default();
            for row in chunk {
                let hash = row.cid.0.hash();
                if self.get(hash)?.is_some_and(|place| place.pack == pack) {
                    batch.remove(hash.to_bytes());
                }
            }
            guarded(|| self.db.apply_batch(batch))?;
        }
        Ok(())
    }

    #[cfg(test)]
    fn len(&self) -> Result<u64, IndexError> {
        guarded(|| {
            let mut rows = 0;
            for key in self.db.iter().keys() {
                rows += u64::from(key?.first() != Some(&MARKER));
            }
            Ok(rows)
        })
    }
}
