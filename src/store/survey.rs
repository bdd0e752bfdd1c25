//! What a store's folder holds, found without the writer's lock and without changing anything.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::folder::StoreFolder;
use super::format::StoreId;
use super::names;
use super::pack::PackId;
use super::read::{ReaderOptions, StoreReader};
use super::repair::{self, Sight};
use super::root::RootName;
use super::writer_lock::{self, Holder};
use crate::error::FileError;
use crate::fsio;

/// Who has a store open for writing.
#[derive(Debug)]
pub(crate) enum Writer {
    Nobody,
    Somebody(Holder),
}

/// How many files a store's folders hold, by what they are.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) packs: u64,
    pub(crate) objects: u64,
    /// Roots that were removed or replaced and are not collected yet.
    pub(crate) retired: u64,
    /// Packs of unfinished imports and of sessions.
    pub(crate) loose: u64,
    pub(crate) names: u64,
    /// Files of work in progress, or of a writer that was killed.
    pub(crate) unfinished: u64,
    /// What they take on disk.
    pub(crate) unfinished_bytes: u64,
    /// Files that are not the store's, relative to its folder.
    pub(crate) foreign: Vec<PathBuf>,
    /// Pins that cannot be read.
    pub(crate) damaged: Vec<StoreError>,
}

/// A store's folder, looked at.
pub(crate) struct Survey {
    pub(crate) folder: StoreFolder,
    /// The format that the store has and the profile that it adds under, or why it cannot be told.
    pub(crate) identity: Result<(u32, String), StoreError>,
    /// Whether it opens for reading.
    pub(crate) reading: Result<(), StoreError>,
    /// Whether a writer would take its folders for its own.
    pub(crate) folders: Result<(), StoreError>,
    pub(crate) writer: Result<Writer, FileError>,
    pub(crate) counts: Result<Counts, StoreError>,
    /// What is wrong with its files; nothing of a store that cannot be told.
    pub(crate) sight: Result<Sight, StoreError>,
    /// Whether the database stands there; it can be made anew.
    pub(crate) has_index: bool,
}

impl Survey {
    pub(crate) fn of(path: &Path, options: &ReaderOptions) -> Self {
        let folder = StoreFolder::new(path);
        let identity = folder.identify_format();
        let counts = match &identity {
            Ok((_, id, _)) => count(&folder, *id),
            // Nothing in it is the store's, so nothing is foreign.
            Err(_) => Ok(Counts::default()),
        };
        let sight = match &identity {
            Ok((_, id, _)) => repair::look(&folder, *id),
            Err(_) => Ok(Sight::default()),
        };
        Self {
            identity: identity.map(|(version, _, profile)| (version, profile.name().to_owned())),
            reading: StoreReader::open_with(path, options).map(drop),
            folders: folder.refuse_others(),
            writer: writer(&folder),
            counts,
            sight,
            has_index: folder.db().join("db").is_file(),
            folder,
        }
    }
}

/// Looks at the lock by holding it shared for a moment, which a writer that comes just then sits out.
pub(crate) fn writer(folder: &StoreFolder) -> Result<Writer, FileError> {
    let path = folder.lock();
    let file = match folder.files().open(&path) {
        Ok(file) => file,
        // Nobody has opened it yet.
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Ok(Writer::Nobody),
        Err(e) => return Err(e),
    };
    match fsio::try_lock_shared(file).map_err(FileError::at("lock", &path))? {
        Ok(_free) => Ok(Writer::Nobody),
        Err(file) => Ok(Writer::Somebody(writer_lock::note_in(
            folder.files(),
            &file,
            &path,
        ))),
    }
}

fn count(folder: &StoreFolder, store: StoreId) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    for (name, path) in list(folder, folder.path())? {
        if !StoreFolder::is_own_entry(&name) {
            counts.foreign.push(path);
        }
    }
    for (name, path) in list(folder, &folder.packs())? {
        match PackId::from_file_name(&name) {
            Some(_) => counts.packs += 1,
            None => counts.foreign.push(path),
        }
    }
    for (name, path) in list(folder, &folder.roots())? {
        match RootName::parse(&name) {
            Some(RootName::Object(_)) => counts.objects += 1,
            Some(RootName::Retired(_)) => counts.retired += 1,
            Some(RootName::Loose) => counts.loose += 1,
            None => counts.foreign.push(path),
        }
    }
    for (name, path) in list(folder, &folder.names())? {
        match names::read(folder, store, &name) {
            Ok(Some(_)) => counts.names += 1,
            // Unlinked since the listing.
            Ok(None) if !folder.files().exists(&path) => {}
            Ok(None) => counts.foreign.push(path),
            // Whatever it is: a collection stops at it.
            Err(e) => counts.damaged.push(e),
        }
    }
    for (name, path) in list(folder, &folder.tmp())? {
        // A writer may have published or removed it meanwhile.
        let Ok(found) = folder.files().symlink_metadata(&path) else {
            continue;
        };
        match StoreFolder::is_unfinished(&name, &found) {
            true => {
                counts.unfinished += 1;
                counts.unfinished_bytes += 512 * found.blocks();
            }
            false => counts.foreign.push(path),
        }
    }
    for path in &mut counts.foreign {
        if let Ok(relative) = path.strip_prefix(folder.path()) {
            *path = relative.to_path_buf();
        }
    }
    counts.foreign.sort();
    Ok(counts)
}

/// Names, as far as they are text, and paths; nothing where the folder is not there.
fn list(store: &StoreFolder, folder: &Path) -> Result<Vec<(String, PathBuf)>, FileError> {
    let names = store.files().list_if_there(folder)?;
    let named = |name: OsString| {
        let path = folder.join(&name);
        (name.to_string_lossy().into_owned(), path)
    };
    Ok(names.into_iter().map(named).collect())
}
