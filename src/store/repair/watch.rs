//! How far a repair is, and whether it was told to stop.

use std::sync::atomic::{AtomicU64, Ordering};

use super::RepairOptions;
use crate::store::error::StoreError;

/// How far a repair is with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairProgress {
    /// Bytes that were read so far: tables of packs, and blocks that are hashed.
    pub done_bytes: u64,
    /// How many there will be, as far as it is known.
    pub total_bytes: u64,
}

impl RepairOptions {
    /// # Errors
    /// [`StoreError::Cancelled`] once the flag is set.
    pub(super) fn check_cancel(&self) -> Result<(), StoreError> {
        let flag = self.cancel.as_ref();
        match flag.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            true => Err(StoreError::Cancelled),
            false => Ok(()),
        }
    }
}

/// Told of what is read.
#[derive(Debug, Default)]
pub(super) struct Watch<'a> {
    /// None where nobody asks.
    options: Option<&'a RepairOptions>,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl<'a> Watch<'a> {
    pub(super) fn of(options: &'a RepairOptions) -> Self {
        Self {
            options: Some(options),
            ..Self::default()
        }
    }

    /// # Errors
    /// [`StoreError::Cancelled`] once it is to stop.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.options.map_or(Ok(()), RepairOptions::check_cancel)
    }

    /// So many more bytes will be read.
    pub(super) fn expect(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many more were.
    pub(super) fn read(&self, bytes: u64) {
        let done_bytes = bytes + self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        let progress = self.options.and_then(|options| options.progress.as_ref());
        if let Some(progress) = progress {
            let total_bytes = self.total_bytes.load(Ordering::Relaxed);
            progress(RepairProgress {
                done_bytes,
                total_bytes: total_bytes.max(done_bytes),
            });
        }
    }
}
