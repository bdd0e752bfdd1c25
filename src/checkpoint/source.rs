//! Where checkpoints are loaded from: a store, a reader of one, or a plain folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{LoadError, SourceError};
use crate::error::FileError;
use crate::store::{
    Backing, EntryType, Extent, Leaves, Object, Prover, Store, StoreError, StoreReader, StoredFile,
    Target,
};

/// Something that targets can be found in.
pub trait Source: Sync {
    /// Finds a file or folder.
    ///
    /// # Errors
    /// The source's own error when the target is not there or cannot be read.
    fn locate(&self, target: &Target) -> Result<Located, SourceError>;
}

/// A file or folder of a source.
#[derive(Clone, Debug)]
pub struct Located(Place);

#[derive(Clone, Debug)]
enum Place {
    Object(Object),
    Plain(PathBuf),
}

impl Located {
    /// What was resolved before.
    pub(super) fn of(object: Object) -> Self {
        Self(Place::Object(object))
    }

    /// Whether it is a folder rather than a file.
    pub fn is_folder(&self) -> bool {
        match &self.0 {
            Place::Object(object) => object.kind() == EntryType::Folder,
            Place::Plain(path) => path.is_dir(),
        }
    }

    /// The folder that the target's path goes through last, and the name in it; none where the target
    /// has no path, and the folder is not known.
    pub(super) fn parent(&self, target: &Target) -> Option<(Self, String)> {
        match &self.0 {
            Place::Object(object) => {
                let name = target
                    .path()
                    .rsplit('/')
                    .next()
                    .filter(|name| !name.is_empty())?;
                Some((Self(Place::Object(object.parent()?)), name.to_owned()))
            }
            Place::Plain(path) => {
                let name = path.file_name()?.to_str()?;
                Some((
                    Self(Place::Plain(path.parent()?.to_path_buf())),
                    name.to_owned(),
                ))
            }
        }
    }

    /// The names of the files directly in the folder, in byte order; links to files count outside a store.
    ///
    /// # Errors
    /// The source's error when the folder cannot be listed.
    pub fn files(&self) -> Result<Vec<String>, SourceError> {
        match &self.0 {
            Place::Object(object) => {
                let entries = object.list().map_err(SourceError::new)?;
                let files = entries
                    .into_iter()
                    .filter(|entry| entry.kind == EntryType::File);
                Ok(files.map(|entry| entry.path).collect())
            }
            Place::Plain(path) => list(path).map_err(SourceError::new),
        }
    }

    /// Whether there is such a file below the folder.
    pub fn has(&self, path: &str) -> bool {
        match &self.0 {
            Place::Object(object) => object
                .join(path)
                .is_ok_and(|found| found.kind() == EntryType::File),
            Place::Plain(folder) => folder.join(path).is_file(),
        }
    }

    /// What proves the bytes of the files of the target's object.
    pub(super) fn prover(&self) -> Result<Prover, LoadError> {
        match &self.0 {
            Place::Object(object) => object.prover().map_err(LoadError::from_source),
            Place::Plain(path) => Err(LoadError::NothingToVerify { path: path.clone() }),
        }
    }

    /// Checks that the folder holds the names that [`Located::files`] goes by.
    pub(super) fn check_names(&self, prover: &Prover) -> Result<(), LoadError> {
        match &self.0 {
            Place::Object(object) => prover.check_names(object).map_err(LoadError::from_source),
            Place::Plain(path) => Err(LoadError::NothingToVerify { path: path.clone() }),
        }
    }

    /// What the bytes of the file at a path below must hash to.
    pub(super) fn leaves(
        &self,
        path: &str,
        file: &StoredFile,
        prover: &Prover,
    ) -> Result<Leaves, LoadError> {
        let leaves = match &self.0 {
            Place::Object(object) => object
                .join(path)
                .and_then(|object| prover.leaves(&object, file)),
            Place::Plain(path) => {
                return Err(LoadError::NothingToVerify { path: path.clone() });
            }
        };
        leaves.map_err(LoadError::from_source)
    }

    /// Opens the file itself (with an empty path), or one below the folder.
    ///
    /// # Errors
    /// The source's error when there is no such file, or it cannot be opened.
    pub fn open(&self, path: &str) -> Result<StoredFile, SourceError> {
        match &self.0 {
            Place::Object(object) => object.open(path).map_err(SourceError::new),
            Place::Plain(folder) if path.is_empty() => open_plain(folder, None),
            Place::Plain(folder) => open_plain(&folder.join(path), Some(path)),
        }
    }
}

fn list(folder: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::at("list", folder))? {
        let entry = entry.map_err(FileError::at("list", folder))?;
        // A name that is not UTF-8 is no shard's.
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn open_plain(path: &Path, name: Option<&str>) -> Result<StoredFile, SourceError> {
    let failed = |action| move |e| SourceError::new(FileError::new(action, path, e));
    // Looked at first: opening a pipe waits for its writer.
    let kind = fs::metadata(path).map_err(failed("open"))?;
    if !kind.is_file() {
        let target = path.display().to_string();
        let found = if kind.is_dir() {
            "folder"
        } else {
            "special file"
        };
        return Err(SourceError::new(StoreError::NotAFile { target, found }));
    }
    let file = fs::File::open(path).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("stat"))?;
    let backing = Backing::Plain(Arc::new((file, path.to_path_buf())));
    let extents = match metadata.len() {
        0 => Vec::new(),
        len => vec![Extent {
            backing,
            start: 0,
            offset: 0,
            len,
        }],
    };
    let shown = path.display().to_string();
    Ok(StoredFile::new(name.unwrap_or(&shown), None, extents, None))
}

impl Source for StoreReader {
    fn locate(&self, target: &Target) -> Result<Located, SourceError> {
        let object = self.resolve(target).map_err(SourceError::new)?;
        object.touch();
        Ok(Located(Place::Object(object)))
    }
}

impl Source for Store {
    fn locate(&self, target: &Target) -> Result<Located, SourceError> {
        let object = self.resolve(target).map_err(SourceError::new)?;
        object.touch();
        Ok(Located(Place::Object(object)))
    }
}

/// Plain files, to compare a store with and to move over to one step by step.
///
/// A target's text is a path below the folder; `.` is the folder itself. Nothing is verified, and the files
/// are mapped where they lie: **whoever changes or shortens one while a tensor over it lives changes the
/// tensor, or ends the process with SIGBUS**. A store has neither risk.
///
/// ```
/// use ipfs_accelerate::checkpoint::{LoadOptions, PlainFolder, load_checkpoint_and_dispatch};
///
/// let folder = PlainFolder::assume_unchanging("fixtures/silero-vad");
/// let loaded = load_checkpoint_and_dispatch(&folder, &".".parse()?, LoadOptions::default())?;
/// assert_eq!(loaded.len(), 15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PlainFolder {
    root: PathBuf,
}

impl PlainFolder {
    /// Loads from a folder whose files the caller promises not to change meanwhile.
    pub fn assume_unchanging(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Source for PlainFolder {
    fn locate(&self, target: &Target) -> Result<Located, SourceError> {
        let text = target.to_string();
        let below = match text.as_str() {
            "." => self.root.clone(),
            // The rest of a target never holds such a component.
            escaping if escaping == ".." || escaping.starts_with("../") => {
                let error = crate::store::TargetError::Path {
                    text: text.clone(),
                    component: "..".into(),
                };
                return Err(SourceError::new(error));
            }
            below => self.root.join(below),
        };
        match fs::metadata(&below) {
            Ok(_) => Ok(Located(Place::Plain(below))),
            Err(e) => Err(SourceError::new(FileError::new("open", &below, e))),
        }
    }
}
