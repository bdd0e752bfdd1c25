//! Counters of the operations that make data durable.
//!
//! What a commit costs is decided by its number of fsyncs, so they are counted where they are made.

use std::sync::atomic::{AtomicU64, Ordering};

static FILE_SYNCS: AtomicU64 = AtomicU64::new(0);
static FOLDER_SYNCS: AtomicU64 = AtomicU64::new(0);

/// How often this process asked the operating system to make something durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoTally {
    /// `fsync` calls on files.
    pub file_syncs: u64,
    /// `fsync` calls on folders, which make renames and new names durable.
    pub folder_syncs: u64,
}

impl IoTally {
    /// What was counted since an `earlier` reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            file_syncs: self.file_syncs - earlier.file_syncs,
            folder_syncs: self.folder_syncs - earlier.folder_syncs,
        }
    }
}

/// The counts of this process so far, over all stores (sled's own files are outside of it).
pub fn io_tally() -> IoTally {
    IoTally {
        file_syncs: FILE_SYNCS.load(Ordering::Relaxed),
        folder_syncs: FOLDER_SYNCS.load(Ordering::Relaxed),
    }
}

pub(super) fn count_file_sync() {
    FILE_SYNCS.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn count_folder_sync() {
    FOLDER_SYNCS.fetch_add(1, Ordering::Relaxed);
}
