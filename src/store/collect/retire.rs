//! Taking objects and their roots away: what was planned is checked again, and what is held stays.

use std::collections::HashSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::choice::age;
use super::holders;
use super::{GcHolder, GcObject, GcOptions, GcReason};
use crate::block::Cid;
use crate::error::FileError;
use crate::fsio::{self, Files, Locked, Unfit};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::ingest::sync_folder;
use crate::store::inner::Inner;
use crate::store::names;
use crate::store::reserve;
use crate::store::root::{self, ROOT_LIMIT, RootName, RootRecord};

/// Retires the planned objects that are still unpinned and were not used since; returns those that went, with
/// the paths of their roots now.
pub(super) fn retire(store: &Inner, planned: &[GcObject]) -> Result<Vec<GcObject>, StoreError> {
    let wanted = |object: &&GcObject| {
        matches!(object.reason, GcReason::Unpinned | GcReason::Quota) && object.cid.is_some()
    };
    let wanted: Vec<&GcObject> = planned.iter().filter(wanted).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let files = store.folder().files();
    let guard = store.commit_guard()?;
    let pins = names::list_strictly(store.folder(), store.id())?;
    let mut went = Vec::new();
    for object in wanted {
        let Some(cid) = object.cid else { continue };
        let Some(found) = files.metadata_if_there(&object.root)? else {
            continue;
        };
        let is_same_use = found.modified().is_ok_and(|used| used == object.used);
        if !is_same_use || pins.iter().any(|pin| pin.cid == cid) {
            continue;
        }
        let retired = root::retired_path(store.folder(), &cid)?;
        // A longer name may need space in the folder.
        reserve::with_space(store.folder(), || Ok(files.rename(&object.root, &retired)?))?;
        store.count_retirement();
        went.push(GcObject {
            root: retired,
            ..object.clone()
        });
    }
    sync_folder(store, &store.folder().roots())?;
    drop(guard);
    Ok(went)
}

/// A retired root that somebody holds.
#[derive(Debug)]
pub(super) struct HeldRoot {
    pub(super) path: PathBuf,
    pub(super) holders: Vec<GcHolder>,
}

/// The roots that are to go: those that do, and those that stay for somebody who holds them.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// Retired ones that somebody holds.
    pub(super) held: Vec<HeldRoot>,
    /// What the retired ones covered that go.
    pub(super) coverage: Coverage,
    /// Those that go once the packs have: until then they say that a pack which nothing else names went on purpose.
    going: Vec<Going>,
}

#[derive(Debug)]
struct Going {
    path: PathBuf,
    is_retired: bool,
}

/// Finds the retired roots whose lock is had at once, and the loose roots that have expired or were planned to go.
/// Nobody comes to hold a retired one whose lock was had: a reader who gets the lock compares the file with the path
/// that it opened, and starts over.
pub(super) fn release(
    store: &Inner,
    planned: &[GcObject],
    options: &GcOptions,
) -> Result<Released, StoreError> {
    let folder = store.folder().roots();
    let files = store.folder().files();
    let mut released = Released::default();
    for name in files.list(&folder)? {
        let path = folder.join(&name);
        match name.to_str().and_then(RootName::parse) {
            Some(RootName::Retired(cid)) => released.retired(store, &cid, path)?,
            Some(RootName::Loose) if goes(store, &path, planned, options) => {
                released.going.push(Going {
                    path,
                    is_retired: false,
                });
            }
            _ => {}
        }
    }
    Ok(released)
}

impl Released {
    fn retired(&mut self, store: &Inner, cid: &Cid, path: PathBuf) -> Result<(), StoreError> {
        let files = store.folder().files();
        match lock(files, &path)? {
            Lock::Gone => {}
            Lock::Held(holders) => self.held.push(HeldRoot { path, holders }),
            Lock::Had(locked) => {
                // One that is damaged keeps nothing, and says nothing of what it covered.
                let bytes = format::read_sealed(files, locked.file(), &path, ROOT_LIMIT);
                let record = bytes
                    .ok()
                    .and_then(|bytes| RootRecord::parse(&bytes, store.id(), cid, &path, true).ok());
                record.iter().for_each(|record| self.coverage.add(record));
                self.going.push(Going {
                    path,
                    is_retired: true,
                });
            }
        }
        Ok(())
    }

    /// The paths of the roots that go.
    pub(super) fn paths(&self) -> HashSet<PathBuf> {
        self.going.iter().map(|going| going.path.clone()).collect()
    }

    /// Unlinks the roots that go, but for those that `stays` says of, and those of blocks to which some were added
    /// since.
    pub(super) fn unlink(
        &self,
        store: &Inner,
        planned: &[GcObject],
        options: &GcOptions,
        stays: impl Fn(&Path) -> bool,
    ) -> Result<(), StoreError> {
        let files = store.folder().files();
        let mut unlinked = false;
        for Going { path, is_retired } in &self.going {
            if stays(path) || !(*is_retired || goes(store, path, planned, options)) {
                continue;
            }
            files.remove_file(path)?;
            unlinked = true;
        }
        if unlinked {
            sync_folder(store, &store.folder().roots())?;
        }
        Ok(())
    }
}

/// Whether a loose root goes; one that was written since the plan was made does not.
fn goes(store: &Inner, path: &Path, planned: &[GcObject], options: &GcOptions) -> bool {
    let files = store.folder().files();
    let found = files.metadata_if_there(path).ok().flatten();
    let Some(used) = found.and_then(|found| found.modified().ok()) else {
        return false;
    };
    let age = age(used, SystemTime::now());
    let is_planned = |object: &GcObject| object.root == path && object.used == used;
    planned.iter().any(is_planned) || (age >= options.grace && !is_remains(store, path))
}

/// What a repair left goes as planned only. One that cannot be read stays too.
fn is_remains(store: &Inner, path: &Path) -> bool {
    let files = store.folder().files();
    let file = files.open(path).ok();
    let bytes = file.and_then(|file| format::read_sealed(files, &file, path, ROOT_LIMIT).ok());
    let record = bytes.and_then(|b| RootRecord::parse_any(&b, store.id(), path, true).ok());
    record.is_none_or(|record| record.is_remains())
}

/// What came of asking for the lock of a retired root.
enum Lock {
    Had(Locked),
    Held(Vec<GcHolder>),
    Gone,
}

fn lock(files: &Files, path: &Path) -> Result<Lock, StoreError> {
    let file = match open(files, path) {
        Ok(file) => file,
        Err(e) if e.source.kind() == ErrorKind::NotFound => return Ok(Lock::Gone),
        Err(e) => return Err(e.into()),
    };
    let metadata = files.file_metadata(&file, path)?;
    let locked = fsio::try_lock_exclusive(file).map_err(FileError::at("lock", path))?;
    Ok(match locked {
        Ok(locked) => Lock::Had(locked),
        Err(_) => Lock::Held(holders::of(metadata.dev(), metadata.ino())),
    })
}

/// Whether somebody holds a root.
pub(super) fn is_held(files: &Files, path: &Path) -> Result<bool, StoreError> {
    Ok(holders(files, path)?.is_some())
}

/// Who holds a root, as far as the system says; none if nobody does.
pub(super) fn holders(files: &Files, path: &Path) -> Result<Option<Vec<GcHolder>>, StoreError> {
    let file = match open(files, path) {
        Ok(file) => file,
        Err(e) if e.source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let metadata = files.file_metadata(&file, path)?;
    let locked = fsio::try_lock_exclusive(file).map_err(FileError::at("lock", path))?;
    Ok(match locked {
        Ok(_free) => None,
        Err(_) => Some(holders::of(metadata.dev(), metadata.ino())),
    })
}

/// For writing where it may be: over NFS the exclusive lock needs that.
fn open(files: &Files, path: &Path) -> Result<File, FileError> {
    match files.open_write(path, None) {
        // Another uid, a mount for reading, or a link, which is followed for reading only.
        Err(e)
            if Unfit::of(&e.source).is_some()
                || matches!(
                    e.source.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                ) =>
        {
            files.open(path)
        }
        opened => opened,
    }
}
