//! The store as a verification has it: as its writer, or beside it.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::inner::Inner;
use crate::store::lookup;
use crate::store::pack::{PackId, Place};
use crate::store::read::{Object, ReadCore};
use crate::store::target::Target;

pub(crate) struct Access<'a> {
    pub(crate) core: &'a Arc<ReadCore>,
    /// The writer's state; what it says is newer than what stands on the disk.
    pub(crate) store: Option<&'a Arc<Inner>>,
}

impl Access<'_> {
    pub(super) fn gone(&self) -> Result<Arc<Gone>, StoreError> {
        match self.store {
            Some(store) => Ok(store.registry.gone()),
            None => self.core.gone(),
        }
    }

    /// Whether a block was taken by a collection: then its bytes say nothing.
    pub(super) fn is_dead(&self, place: &Place) -> Result<bool, StoreError> {
        Ok(!self.is_here(place.pack)? || self.gone()?.is_dead(place))
    }

    pub(super) fn is_here(&self, pack: PackId) -> Result<bool, StoreError> {
        if let Some(store) = self.store {
            return Ok(store.registry.has_pack(pack));
        }
        let path = self.core.folder.packs().join(pack.file_name());
        let found = self.core.folder.files().metadata_if_there(&path);
        // What cannot be looked at is not known to be gone.
        Ok(!matches!(found, Ok(None)))
    }

    pub(super) fn resolve(&self, target: &Target) -> Result<Object, StoreError> {
        match self.store {
            Some(store) => lookup::resolve(store, target),
            None => self.core.resolve(target),
        }
    }
}

/// Whether an error says that a file of the store is missing, damaged or on a failing disk, rather than that it
/// could not be looked at.
pub(super) fn is_lost(e: &StoreError) -> bool {
    match e {
        StoreError::File(e) => e.source.kind() == ErrorKind::NotFound || e.is_of_the_medium(),
        StoreError::Damaged { .. } | StoreError::NewerFormat { .. } => true,
        _ => false,
    }
}
