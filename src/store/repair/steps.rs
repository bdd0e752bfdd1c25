//! What a plan does, in the order in which it is done, and what the store looked like when it was made.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use super::salvage::Rebuilt;
use crate::block::{Cid, canonical};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::StoreId;
use crate::store::gone::Gone;
use crate::store::names::Pin;
use crate::store::root::RootRecord;

#[derive(Debug)]
pub(super) struct Steps {
    pub(super) id: StoreId,
    pub(super) folders: Vec<PathBuf>,
    pub(super) format: Option<Vec<u8>>,
    pub(super) gone: Option<Gone>,
    pub(super) packs: Vec<PackStep>,
    /// Over all packs without a root, until the others are published.
    pub(super) remains_first: Option<RootStep>,
    pub(super) roots: Vec<RootStep>,
    /// What is left of those packs then.
    pub(super) remains_last: Option<RootStep>,
    /// Roots of what was left before, and is not any more or stands elsewhere.
    pub(super) used_up: Vec<PathBuf>,
    pub(super) names: Vec<NameStep>,
    /// Damaged roots of removed objects.
    pub(super) retired: Vec<PathBuf>,
    /// The index is to be made anew.
    pub(super) index: bool,
}

#[derive(Debug)]
pub(super) enum PackStep {
    Rename { from: PathBuf, to: PathBuf },
    Cut { path: PathBuf, len: u64 },
    Rebuild { path: PathBuf, rebuilt: Rebuilt },
}

/// A root to be published.
#[derive(Debug)]
pub(super) struct RootStep {
    pub(super) path: PathBuf,
    pub(super) record: RootRecord,
    /// The one that stands there can be read, and somebody may read by it.
    pub(super) keeps_old: bool,
}

impl RootStep {
    /// The object; of a loose root that of nothing.
    pub(super) fn cid(&self) -> Cid {
        canonical(&self.record.head.cid.0)
    }
}

#[derive(Debug)]
pub(super) enum NameStep {
    Set(Pin),
    Drop(String),
}

impl Steps {
    pub(super) fn new(id: StoreId) -> Self {
        Self {
            id,
            folders: Vec::new(),
            format: None,
            gone: None,
            packs: Vec::new(),
            remains_first: None,
            roots: Vec::new(),
            remains_last: None,
            used_up: Vec::new(),
            names: Vec::new(),
            retired: Vec::new(),
            index: false,
        }
    }
}

/// Which files there were, told by their numbers and lengths, and by their times but for roots, whose time is that of
/// their last use: a number is given again. A file of a store never changes in place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen(Vec<(PathBuf, u64, u64, Option<SystemTime>)>);

impl Seen {
    pub(super) fn of(folder: &StoreFolder) -> Result<Self, StoreError> {
        use std::os::unix::fs::MetadataExt;
        let files = folder.files();
        let mut paths = vec![folder.format(), folder.gone()];
        for path in [folder.packs(), folder.roots(), folder.names()] {
            if files.is_dir(&path) {
                let names = files.list(&path)?;
                paths.extend(names.into_iter().map(|name| path.join(name)));
            }
        }
        paths.sort();
        let mut seen = Vec::with_capacity(paths.len());
        for path in paths {
            let found = match files.symlink_metadata(&path) {
                Err(e) if e.source.kind() == ErrorKind::NotFound => None,
                found => Some(found?),
            };
            if let Some(found) = found {
                let is_root = path.parent() == Some(&*folder.roots());
                let written = found.modified().ok().filter(|_| !is_root);
                seen.push((path, found.ino(), found.len(), written));
            }
        }
        Ok(Self(seen))
    }
}
