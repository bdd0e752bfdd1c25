//! Removing an object: its root is retired, and its space is freed by a collection.

use super::collect::{self, RemovalSpace};
use super::error::StoreError;
use super::ingest::sync_folder;
use super::inner::Inner;
use super::names;
use super::reserve;
use super::root;
use super::target::{Head, Target};
use crate::block::Cid;

/// How [`Store::remove`](crate::Store::remove) works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// Remove the object's pins too, instead of refusing. By a name only if that is its only pin: the others are
    /// somebody's word to keep it too.
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
    /// The object that was removed, as it was added.
    pub cid: Cid,
    /// The pins that went with it.
    pub unpinned: Vec<String>,
    /// Bytes of disk that a collection will give back.
    pub freeable_bytes: u64,
    /// Bytes that other objects go on using.
    pub shared_bytes: u64,
    /// Bytes that will be free once nobody uses the object any more.
    pub pending_bytes: u64,
    /// Bytes that will keep their space for a reason of [`NotFreeable`](super::NotFreeable).
    pub not_freeable_bytes: u64,
}

pub(crate) fn remove(
    store: &Inner,
    target: &Target,
    options: &RemoveOptions,
) -> Result<RemoveReport, StoreError> {
    let guard = store.commit_guard()?;
    let cid = store.core.cid_of(target)?;
    let there = store.core.open_root(&cid, true)?;
    if there.is_none() || !target.path().is_empty() {
        let object = store.core.resolve(target)?;
        let (target, object) = (target.to_string(), object.object_cid());
        return Err(StoreError::NotAnObject { target, object });
    }
    // As it was added. Whoever holds it is asked below.
    let given = there.map_or(cid, |root| root.record.head.cid.0);
    let pins: Vec<String> = names::list_strictly(store.folder(), store.id())?
        .into_iter()
        .filter(|pin| pin.cid == cid)
        .map(|pin| pin.name)
        .collect();
    if !pins.is_empty() && !options.unpin {
        return Err(StoreError::Pinned {
            cid: given,
            names: pins,
        });
    }
    if let Head::Name(name) = target.head()
        && pins.len() > 1
    {
        let (name, mut others) = (name.clone(), pins);
        others.retain(|other| *other != name);
        return Err(StoreError::OtherNames {
            name,
            cid: given,
            others,
        });
    }
    let space = match collect::removal(&store.core, Some(store), &[cid]) {
        // Where a root or a name cannot be read nothing is collected, so nothing would be free.
        Err(e @ (StoreError::Damaged { .. } | StoreError::NameWithoutRoot { .. })) => {
            tracing::warn!("{e}");
            RemovalSpace::default()
        }
        space => space?,
    };

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
        cid: given,
        unpinned: pins,
        freeable_bytes: space.freeable_bytes,
        shared_bytes: space.shared_bytes,
        pending_bytes: space.pending_bytes,
        not_freeable_bytes: space.not_freeable_bytes,
    })
}
