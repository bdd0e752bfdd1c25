//! The folders and fixed files of a store, and the rules for making and recognising one.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::format::{self, Envelope, FileKind, StoreId, random_id};
use super::pack::PackId;
use super::writer_lock;
use crate::dag::Profile;
use crate::error::FileError;
use crate::fsio::{self, Locked, TempFile};

/// The format this release writes, and the newest it reads.
const VERSION: u32 = 1;
const FOLDERS: [&str; 5] = ["packs", "roots", "names", "db", "tmp"];
const SMALL_FILE_LIMIT: u64 = 1 << 20;

/// Paths inside one store.
#[derive(Clone, Debug)]
pub(crate) struct StoreFolder {
    root: PathBuf,
}

/// What `FORMAT` says.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Format {
    version: u32,
    required: Vec<String>,
    /// What is added under unless the caller says otherwise.
    profile: String,
}

/// The store and the profile that the bytes of `FORMAT` say; `root` is the store's folder, for messages.
pub(super) fn parse_format(
    bytes: &[u8],
    path: &Path,
    root: &Path,
) -> Result<(StoreId, Profile), StoreError> {
    let envelope = Envelope::open(bytes, FileKind::Format, None, path)?;
    let section = envelope.section(bytes, 0, path, "format")?;
    let format: Format = format::decode(section, path, "format")?;
    if format.version > VERSION {
        return Err(StoreError::NewerFormat {
            path: root.to_path_buf(),
            found: format.version,
            supported: VERSION,
        });
    }
    let missing = |feature| StoreError::MissingFeature {
        path: root.to_path_buf(),
        feature,
    };
    if let Some(feature) = format.required.into_iter().next() {
        return Err(missing(feature));
    }
    // A profile that is not known here is a feature of a later version.
    match format.profile.parse() {
        Ok(profile) => Ok((envelope.store, profile)),
        Err(_) => Err(missing(format!("profile {}", format.profile))),
    }
}

/// The bytes of `FORMAT`.
pub(super) fn format_bytes(store: StoreId, profile: &Profile) -> Vec<u8> {
    let format = Format {
        version: VERSION,
        required: Vec::new(),
        profile: profile.name().to_owned(),
    };
    format::seal(FileKind::Format, store, &[format::section(&format)])
}

impl StoreFolder {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }
    pub(crate) fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }
    pub(crate) fn roots(&self) -> PathBuf {
        self.root.join("roots")
    }
    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }
    pub(crate) fn db(&self) -> PathBuf {
        self.root.join("db")
    }
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    /// A fresh path in `tmp/`.
    pub(crate) fn temp_path(&self) -> Result<PathBuf, StoreError> {
        Ok(self.tmp().join(format::hex(&random_id()?)))
    }

    /// Reads `FORMAT`; an absent store and a folder that is none are told apart.
    pub(crate) fn identify(&self) -> Result<(StoreId, Profile), StoreError> {
        let path = self.format();
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(self.absence()?),
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                let found = "a file, not a folder".to_owned();
                return Err(StoreError::NotAStore {
                    path: self.root.clone(),
                    found,
                });
            }
            Err(e) => return Err(FileError::new("open", &path, e).into()),
        };
        let bytes = fsio::read_file(&file, &path, SMALL_FILE_LIMIT)?;
        parse_format(&bytes, &path, &self.root)
    }

    /// Whether a store may be made here: the folder is absent, or holds nothing but our own empty folders
    /// and an abandoned lock (a creation that was cut off).
    pub(crate) fn is_vacant(&self) -> Result<bool, StoreError> {
        Ok(self.foreign_entry()?.is_none() && !self.format().exists())
    }

    /// Makes a store and returns the lock that it was made under. `FORMAT` comes last, so that a creation
    /// cut off leaves a vacant folder.
    pub(crate) fn create(&self, profile: &Profile) -> Result<Locked, StoreError> {
        self.check_vacant()?;
        fsio::make_dirs(&self.root)?;
        let lock = writer_lock::take(self)?;
        // Another process may have made it before the lock was had.
        self.check_vacant()?;
        for folder in FOLDERS {
            fsio::make_dir(&self.root.join(folder))?;
        }
        self.empty_tmp()?;
        let id = StoreId(random_id()?);
        self.publish_format(&format_bytes(id, profile))?;
        Ok(lock)
    }

    fn check_vacant(&self) -> Result<(), StoreError> {
        let found = self.foreign_entry()?;
        // Looked at last: while a store is being made and first used, what is in it looks foreign.
        if self.format().exists() {
            let path = self.root.clone();
            return Err(StoreError::Exists { path });
        }
        match found {
            Some(found) => {
                let path = self.root.clone();
                Err(StoreError::NotAStore { path, found })
            }
            None => Ok(()),
        }
    }

    fn publish_format(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temp = TempFile::create(self.temp_path()?)?;
        temp.write_all(bytes)?;
        Ok(temp.publish(&self.format(), 0o644, false)?)
    }

    /// Refuses a store whose folders are symbolic links: writing through one would change or delete files
    /// elsewhere. A link in place of the database is removed when that is opened.
    pub(crate) fn refuse_links(&self) -> Result<(), StoreError> {
        for path in [self.tmp(), self.packs(), self.roots(), self.names()] {
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
                return Err(StoreError::Damaged {
                    path,
                    what: "kind of file",
                    expected: "a folder of the store's own".into(),
                    found: "a symbolic link".into(),
                });
            }
        }
        Ok(())
    }

    /// Empties `tmp/`; only the holder of the lock may.
    pub(crate) fn empty_tmp(&self) -> Result<(), StoreError> {
        let tmp = self.tmp();
        fsio::make_dir(&tmp)?;
        for entry in fs::read_dir(&tmp).map_err(FileError::at("list", &tmp))? {
            let entry = entry.map_err(FileError::at("list", &tmp))?;
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| {
                format::unhex(name).is_some() || PackId::from_file_name(name).is_some()
            });
            if !ours {
                // Only what bears a name of ours is ever deleted.
                continue;
            }
            let path = entry.path();
            match fsio::remove_file(&path) {
                Err(e) if e.source.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn absence(&self) -> Result<StoreError, StoreError> {
        let path = self.root.clone();
        Ok(match self.foreign_entry()? {
            Some(found) => StoreError::NotAStore { path, found },
            None => StoreError::Absent { path },
        })
    }

    /// Something in the folder that an unfinished creation cannot have left.
    fn foreign_entry(&self) -> Result<Option<String>, StoreError> {
        let list = |path: &Path| -> Result<Vec<String>, StoreError> {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                    let found = "a file, not a folder".to_owned();
                    let path = self.root.clone();
                    return Err(StoreError::NotAStore { path, found });
                }
                Err(e) => return Err(FileError::new("list", path, e).into()),
            };
            let names = entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()));
            let names: Result<Vec<String>, _> = names.collect();
            Ok(names.map_err(FileError::at("list", path))?)
        };
        for name in list(&self.root)? {
            let path = self.root.join(&name);
            let ours = match name.as_str() {
                "lock" | "FORMAT" => true,
                // What a fresh file system holds.
                "lost+found" => true,
                // An unfinished FORMAT may lie in tmp/, named by 32 hex digits.
                "tmp" => list(&path)?.iter().all(|n| format::unhex(n).is_some()),
                known if FOLDERS.contains(&known) => path.is_dir() && list(&path)?.is_empty(),
                _ => false,
            };
            if !ours {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;
    use crate::store::{Store, StoreReader};

    /// Changes what the FORMAT of a store says.
    fn reformat(path: &Path, change: impl Fn(&mut Format)) {
        let folder = StoreFolder::new(path);
        let bytes = fs::read(folder.format()).unwrap();
        let envelope = Envelope::open(&bytes, FileKind::Format, None, path).unwrap();
        let section = envelope.section(&bytes, 0, path, "format").unwrap();
        let mut format: Format = format::decode(section, path, "format").unwrap();
        change(&mut format);
        let bytes = format::seal(
            FileKind::Format,
            envelope.store,
            &[format::section(&format)],
        );
        fs::write(folder.format(), bytes).unwrap();
    }

    #[test]
    fn a_store_of_a_later_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        drop(Store::create(&path).unwrap());
        reformat(&path, |format| format.version += 1);
        let before = fs::read(path.join("lock")).unwrap();
        for error in [
            Store::open(&path).unwrap_err(),
            Store::open_or_create(&path, Default::default()).unwrap_err(),
            StoreReader::open(&path).unwrap_err(),
        ] {
            assert!(
                matches!(&error, StoreError::NewerFormat { found: 2, supported: 1, path: p } if *p == path),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("newer"));
        }
        assert!(matches!(
            Store::create(&path),
            Err(StoreError::Exists { .. })
        ));
        assert_eq!(
            fs::read(path.join("lock")).unwrap(),
            before,
            "not even locked"
        );
    }

    #[test]
    fn a_store_that_needs_an_unknown_feature_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        drop(Store::create(&path).unwrap());
        reformat(&path, |format| format.required.push("teleport".into()));
        let error = StoreReader::open(&path).unwrap_err();
        assert!(
            matches!(&error, StoreError::MissingFeature { feature, .. } if feature == "teleport"),
            "{error}"
        );
    }
}
