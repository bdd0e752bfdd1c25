//! Taking objects and their roots away: what was planned is checked again, and what is held stays.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::holders;
use super::{GcHolder, GcObject, GcOptions, GcReason};
use crate::error::FileError;
use crate::fsio::{self, Files};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::ingest::sync_folder;
use crate::store::inner::Inner;
use crate::store::names;
use crate::store::reserve;
use crate::store::root::{self, ROOT_LIMIT, RootName, RootRecord};
use crate::store::time::unix_ms;

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
        let used = found.modified().map_or(u64::MAX, unix_ms);
        if used != object.last_used_ms || pins.iter().any(|pin| pin.cid == cid) {
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

/// What came of the retired roots.
#[derive(Debug, Default)]
pub(super) struct Unlinked {
    /// Those that stay, because somebody holds them.
    pub(super) held: Vec<HeldRoot>,
    /// What those covered that went.
    pub(super) released: Coverage,
}

/// Unlinks retired roots whose lock is had at once, and loose roots that have expired or were planned to go.
pub(super) fn unlink(
    store: &Inner,
    planned: &[GcObject],
    options: &GcOptions,
) -> Result<Unlinked, StoreError> {
    let folder = store.folder().roots();
    let Unlinked {
        mut held,
        mut released,
    } = Unlinked::default();
    let mut unlinked = false;
    let files = store.folder().files();
    for name in files.list(&folder)? {
        let path = folder.join(&name);
        match name.to_str().and_then(RootName::parse) {
            Some(RootName::Retired(cid)) => {
                // One that is damaged keeps nothing, and says nothing of what it covered.
                let record = files.open_if_there(&path)?.and_then(|file| {
                    let bytes = files.read_file(&file, &path, ROOT_LIMIT).ok()?;
                    RootRecord::parse(&bytes, store.id(), &cid, &path, true).ok()
                });
                match unlink_unless_held(files, &path)? {
                    Some(holders) => held.push(HeldRoot { path, holders }),
                    None => {
                        unlinked = true;
                        record.iter().for_each(|record| released.add(record));
                    }
                }
            }
            Some(RootName::Loose) if goes(files, &path, planned, options) => {
                files.remove_file(&path)?;
                unlinked = true;
            }
            _ => {}
        }
    }
    if unlinked {
        sync_folder(store, &folder)?;
    }
    Ok(Unlinked { held, released })
}

/// Whether a loose root goes; one that was written since the plan was made does not.
fn goes(files: &Files, path: &Path, planned: &[GcObject], options: &GcOptions) -> bool {
    let found = files.metadata_if_there(path).ok().flatten();
    let Some(used) = found.and_then(|found| found.modified().ok()) else {
        return false;
    };
    let age = SystemTime::now().duration_since(used);
    let is_planned =
        |object: &GcObject| object.root == path && object.last_used_ms == unix_ms(used);
    age.is_ok_and(|age| age >= options.grace) || planned.iter().any(is_planned)
}

/// Unlinks a retired root while its lock is held, so that a reader who has opened it and waits for the lock finds
/// the path gone and starts over. Says who holds it otherwise.
fn unlink_unless_held(files: &Files, path: &Path) -> Result<Option<Vec<GcHolder>>, StoreError> {
    let file = match open(files, path) {
        Ok(file) => file,
        Err(e) if e.source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let metadata = files.file_metadata(&file, path)?;
    match fsio::try_lock_exclusive(file).map_err(FileError::at("lock", path))? {
        Ok(locked) => {
            files.remove_file(path)?;
            drop(locked);
            Ok(None)
        }
        Err(_) => Ok(Some(holders::of(metadata.dev(), metadata.ino()))),
    }
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
        // Another uid, or a mount for reading.
        Err(e)
            if matches!(
                e.source.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            files.open(path)
        }
        opened => opened,
    }
}
