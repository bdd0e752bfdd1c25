//! Removing an object: its root is retired, and its space is freed by a collection.

use super::coverage::Coverage;
use super::error::StoreError;
use super::ingest::sync_folder;
use super::inner::Inner;
use super::names;
use super::reserve;
use super::root;
use super::target::Target;
use crate::block::Cid;

/// How [`Store::remove`](crate::Store::remove) works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// Remove the object's pins too, instead of refusing.
    pub unpin: bool,
}

impl RemoveOptions {
    /// Removes the object's pins too.
    pub fn with_unpin() -> Self {
        Self { unpin: true }
    }
}

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveReport {
    /// The object that was removed.
    pub cid: Cid,
    /// The pins that went with it.
    pub unpinned: Vec<String>,
    /// Bytes that no other object uses, which a collection will free.
    pub freeable_bytes: u64,
    /// Bytes that other objects go on using.
    pub shared_bytes: u64,
}

pub(crate) fn remove(
    store: &Inner,
    target: &Target,
    options: &RemoveOptions,
) -> Result<RemoveReport, StoreError> {
    let guard = store.commit_guard()?;
    let cid = store.core.cid_of(target)?;
    let there = store.core.open_root(&cid, true)?;
    let Some(there) = there.filter(|_| target.path().is_empty()) else {
        let object = store.core.resolve(target)?;
        let (target, object) = (target.to_string(), object.object_cid());
        return Err(StoreError::NotAnObject { target, object });
    };
    let pins: Vec<String> = names::list_strictly(store.folder(), store.id())?
        .into_iter()
        .filter(|pin| pin.cid == cid)
        .map(|pin| pin.name)
        .collect();
    if !pins.is_empty() && !options.unpin {
        return Err(StoreError::Pinned { cid, names: pins });
    }
    let (mut own, mut others) = (Coverage::default(), Coverage::default());
    own.add(&there.record);
    for other in root::published(store.folder())?
        .iter()
        .filter(|other| **other != cid)
    {
        match store.core.open_root(other, true) {
            Ok(Some(root)) => others.add(&root.record),
            Ok(None) => {}
            // Only the figures below depend on it.
            Err(e @ StoreError::Damaged { .. }) => tracing::warn!("{e}"),
            Err(e) => return Err(e),
        }
    }
    // Nothing of the user's files is ever freed.
    own.retain(|pack| !store.core.packs.is_reference(pack));
    own.normalize();
    others.normalize();
    let freeable_bytes = own.bytes_outside(&others);
    let shared_bytes = own.bytes_outside(&Coverage::default()) - freeable_bytes;

    // Names first: a name without a root is what stops a collection.
    for name in &pins {
        names::unlink(store.folder(), name)?;
    }
    if !pins.is_empty() {
        sync_folder(store, &store.folder().names())?;
    }
    let retired = root::retired_path(store.folder(), &cid)?;
    let path = root::object_path(store.folder(), &cid);
    let rename = || Ok(store.folder().files().rename(&path, &retired)?);
    // A longer name may need space in the folder.
    reserve::with_space(store.folder(), rename)?;
    store.count_retirement();
    sync_folder(store, &store.folder().roots())?;
    drop(guard);
    Ok(RemoveReport {
        cid,
        unpinned: pins,
        freeable_bytes,
        shared_bytes,
    })
}
