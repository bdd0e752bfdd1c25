//! The pins that come with an object.

use super::options::SyncOptions;
use super::report::{SyncedPin, SyncedPinChange};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::ingest::{PinAs, check_pin, set_pin};
use crate::store::inner::Inner;
use crate::store::names::{self, PinKind};

/// Sets the pins of an object that is here. A name that cannot be set is told, and does not stop the others.
pub(super) fn bring(
    store: &Inner,
    cid: &Cid,
    pins: &[(String, PinKind)],
    options: &SyncOptions,
) -> Result<Vec<SyncedPin>, StoreError> {
    let set = |(name, kind): &(String, PinKind)| {
        let change = match set(store, cid, name, *kind, options) {
            Err(
                e @ (StoreError::NameTaken { .. }
                | StoreError::BadName { .. }
                | StoreError::NotPublished { .. }),
            ) => Err(e),
            done => Ok(done?),
        };
        let name = name.clone();
        Ok(SyncedPin { name, change })
    };
    pins.iter().map(set).collect()
}

fn set(
    store: &Inner,
    cid: &Cid,
    name: &str,
    kind: PinKind,
    options: &SyncOptions,
) -> Result<SyncedPinChange, StoreError> {
    let wanted = PinAs::Named {
        name: name.to_owned(),
        replace: options.replace,
    };
    let guard = store.commit_guard()?;
    check_pin(store, &wanted, Some(cid))?;
    let change = match names::read_to_replace(store.folder(), store.id(), name)? {
        None => SyncedPinChange::Set,
        Some(there) if there.cid == *cid => SyncedPinChange::Kept,
        Some(there) => SyncedPinChange::Moved { was: there.cid },
    };
    if !options.dry_run {
        // A pin stands for a root, and somebody may have removed it since it was copied.
        if store.core.open_root(cid, false)?.is_none() {
            return Err(store.core.not_published(cid));
        }
        set_pin(store, name, cid, kind)?;
    }
    drop(guard);
    Ok(change)
}
