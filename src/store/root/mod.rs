//! Roots: one file for each object that says what is alive and where it lies.

mod lease;
mod record;

pub(crate) use lease::{Lease, LeasedRoot, open_root};
pub(crate) use record::{
    EntryKind, Head, LOST, NodePlace, ObjectKind, PathEntry, REMAINS, Remains, RootExtent,
    RootRecord, UNFINISHED, is_of_lost, is_remains,
};

use std::path::PathBuf;

use super::error::StoreError;
use super::folder::StoreFolder;
use super::format::{hex, random_id};
use crate::block::{Cid, canonical, parse_cid};

const LOOSE: &str = "loose-";
/// A root file is bounded only so that a foreign file is not read into memory whole.
pub(crate) const ROOT_LIMIT: u64 = 4 << 30;

/// What a file name in `roots/` stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RootName {
    /// A published object.
    Object(Cid),
    /// A removed or replaced root of an object, alive until nobody holds its lock.
    Retired(Cid),
    /// Packs of an unfinished import or of a write session.
    Loose,
}

impl RootName {
    /// None for a name that is not ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name.starts_with(LOOSE) {
            return Some(Self::Loose);
        }
        let (head, tail) = name
            .split_once('.')
            .map_or((name, None), |(h, t)| (h, Some(t)));
        let cid = parse_cid(head)
            .ok()
            .filter(|cid| canonical(cid).to_string() == head)?;
        match tail {
            None => Some(Self::Object(cid)),
            Some(random) if super::format::unhex(random).is_some() => Some(Self::Retired(cid)),
            Some(_) => None,
        }
    }
}

pub(crate) fn object_path(folder: &StoreFolder, cid: &Cid) -> PathBuf {
    folder.roots().join(canonical(cid).to_string())
}

pub(crate) fn retired_path(folder: &StoreFolder, cid: &Cid) -> Result<PathBuf, StoreError> {
    Ok(folder
        .roots()
        .join(format!("{}.{}", canonical(cid), hex(&random_id()?))))
}

pub(crate) fn loose_path(folder: &StoreFolder) -> Result<PathBuf, StoreError> {
    Ok(folder
        .roots()
        .join(format!("{LOOSE}{}", hex(&random_id()?))))
}

/// The CIDs of all published objects, in the order of their text.
pub(crate) fn published(folder: &StoreFolder) -> Result<Vec<Cid>, StoreError> {
    let mut cids = Vec::new();
    for name in folder.files().list(&folder.roots())? {
        if let Some(RootName::Object(cid)) = name.to_str().and_then(RootName::parse) {
            cids.push(cid);
        }
    }
    cids.sort_by_cached_key(Cid::to_string);
    Ok(cids)
}
