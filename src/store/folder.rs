//! The folders and fixed files of a store, and the rules for making and recognising one.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::format::{self, Envelope, FileKind, StoreId, random_id};
use super::gone::Gone;
use super::options::StoreOptions;
use super::pack::{self, PackId};
use super::writer_lock;
use crate::dag::Profile;
use crate::error::FileError;
use crate::fsio::{self, Files, Locked, TempFile, Unfit};

/// The format this release writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// What a store consists of besides files.
pub(crate) const FOLDERS: [&str; 5] = ["packs", "roots", "names", "db", "tmp"];
const SMALL_FILE_LIMIT: u64 = 1 << 20;

/// Paths inside one store, and the disk that they lie on.
#[derive(Clone, Debug)]
pub(crate) struct StoreFolder {
    root: PathBuf,
    files: Files,
    /// The store that it stands in for, which is not made yet.
    stands_for: Option<PathBuf>,
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
) -> Result<(u32, StoreId, Profile), StoreError> {
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
        Ok(profile) => Ok((format.version, envelope.store, profile)),
        Err(_) => Err(missing(format!("profile {}", format.profile))),
    }
}

/// The bytes of `FORMAT`.
pub(crate) fn format_bytes(store: StoreId, profile: &Profile) -> Vec<u8> {
    let format = Format {
        version: VERSION,
        required: Vec::new(),
        profile: profile.name().to_owned(),
    };
    format::seal(FileKind::Format, store, &[format::section(&format)])
}

impl StoreFolder {
    pub(crate) fn new(root: &Path) -> Self {
        Self::on(root, Files::real().clone())
    }

    /// On another disk than the operating system's.
    pub(crate) fn on(root: &Path, files: Files) -> Self {
        Self {
            root: root.to_path_buf(),
            files,
            stands_for: None,
        }
    }

    /// Named for another store where it says that something is not in it.
    pub(crate) fn standing_for(self, stands_for: Option<PathBuf>) -> Self {
        Self { stands_for, ..self }
    }

    /// The folder to name where something is not in the store.
    pub(crate) fn shown(&self) -> &Path {
        self.stands_for.as_deref().unwrap_or(&self.root)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
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
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }
    pub(crate) fn gone(&self) -> PathBuf {
        self.root.join("gone")
    }
    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    /// A fresh path in `tmp/`.
    pub(crate) fn temp_path(&self) -> Result<PathBuf, StoreError> {
        Ok(self.tmp().join(format::hex(&random_id()?)))
    }

    /// A fresh file in `tmp/`.
    pub(crate) fn temp_file(&self) -> Result<TempFile, StoreError> {
        Ok(TempFile::create(&self.files, self.temp_path()?)?)
    }

    /// Reads `FORMAT`; an absent store, one that lost it and a folder that is none are told apart.
    pub(crate) fn identify(&self) -> Result<(StoreId, Profile), StoreError> {
        let (_, id, profile) = self.identify_format()?;
        Ok((id, profile))
    }

    /// As [`StoreFolder::identify`], with the version of the format.
    pub(crate) fn identify_format(&self) -> Result<(u32, StoreId, Profile), StoreError> {
        let path = self.format();
        let file = match self.files.open(&path) {
            Ok(file) => file,
            Err(e) if e.source.kind() == ErrorKind::NotFound => match self.absence()? {
                // It was made between the two looks.
                StoreError::Damaged { .. } if self.files.exists(&path) => self.files.open(&path)?,
                absence => return Err(absence),
            },
            Err(e) if e.source.kind() == ErrorKind::NotADirectory => {
                let found = "a file, not a folder".to_owned();
                return Err(StoreError::NotAStore {
                    path: self.root.clone(),
                    found,
                });
            }
            Err(e) => return Err(e.into()),
        };
        let bytes = format::read_sealed(&self.files, &file, &path, SMALL_FILE_LIMIT)?;
        parse_format(&bytes, &path, &self.root)
    }

    /// Whether a store may be made here: the folder is absent, or holds nothing but our own empty folders
    /// and an abandoned lock (a creation that was cut off).
    pub(crate) fn is_vacant(&self) -> Result<bool, StoreError> {
        Ok(!self.files.exists(&self.format()) && self.foreign_entry()?.is_none())
    }

    /// Makes a store and returns the lock that it was made under. `FORMAT` comes last, so that a creation
    /// cut off leaves a vacant folder.
    pub(crate) fn create(&self, options: &StoreOptions) -> Result<Locked, StoreError> {
        self.check_vacant()?;
        self.files.make_dirs(&self.root)?;
        let lock = writer_lock::take(self, options)?;
        // Another process may have made it before the lock was had.
        self.check_vacant()?;
        for folder in FOLDERS {
            self.files.make_dir(&self.root.join(folder))?;
        }
        // A power cut must not leave FORMAT without them.
        self.files.sync_dir(&self.root)?;
        self.empty_tmp()?;
        let id = StoreId(random_id()?);
        let bytes = format_bytes(id, &options.profile);
        // Its place shows an unfinished creation, so it comes before the last step.
        self.publish(&self.gone(), &Gone::default().to_bytes(id))?;
        self.publish(&self.format(), &bytes)?;
        Ok(lock)
    }

    fn check_vacant(&self) -> Result<(), StoreError> {
        let found = self.foreign_entry()?;
        // Looked at last: while a store is being made and first used, what is in it looks foreign.
        if self.files.exists(&self.format()) {
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

    /// Publishes a fixed file of the store, whole.
    pub(crate) fn publish(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temp = self.temp_file()?;
        temp.write_all(bytes)?;
        Ok(temp.publish(path, 0o644, true)?)
    }

    /// Refuses a store whose folders are symbolic links: writing through one would change or delete files
    /// elsewhere. A link in place of the database is removed when that is opened.
    pub(crate) fn refuse_links(&self) -> Result<(), StoreError> {
        for path in [self.tmp(), self.packs(), self.roots(), self.names()] {
            if self.files.is_symlink(&path) {
                return Err(not_a_folder(path, "a symbolic link"));
            }
        }
        Ok(())
    }

    /// Refuses a store in which something else stands for a folder that a writer works in.
    pub(crate) fn refuse_others(&self) -> Result<(), StoreError> {
        self.refuse_links()?;
        for path in [self.tmp(), self.packs(), self.roots(), self.names()] {
            self.is_there(path)?;
        }
        Ok(())
    }

    /// Refuses a store that lacks a folder, or has something else in its place.
    pub(crate) fn check_folders(&self) -> Result<(), StoreError> {
        for path in [self.packs(), self.roots(), self.names()] {
            if !self.is_there(path.clone())? {
                return Err(StoreError::Damaged {
                    path,
                    what: "folder",
                    expected: "a folder of the store's own".into(),
                    found: "nothing".into(),
                });
            }
        }
        Ok(())
    }

    /// Whether a folder is there; something else in its place is an error.
    fn is_there(&self, path: PathBuf) -> Result<bool, StoreError> {
        match self.files.metadata_if_there(&path) {
            Ok(Some(found)) if found.is_dir() => Ok(true),
            Ok(Some(found)) if found.is_file() => Err(not_a_folder(path, "a file")),
            Ok(Some(found)) => Err(not_a_folder(path, fsio::kind(found.file_type()))),
            Ok(None) => Ok(false),
            Err(e) => Err(match Unfit::of(&e.source) {
                Some(Unfit::Kind(found)) => not_a_folder(path, found),
                _ => e.into(),
            }),
        }
    }

    /// Empties `tmp/`, which only the holder of the lock may; says how many bytes of disk that freed.
    pub(crate) fn empty_tmp(&self) -> Result<u64, StoreError> {
        self.files.make_dir(&self.tmp())?;
        let mut bytes = 0;
        for (path, found) in self.unfinished_files()? {
            match self.files.remove_file(&path) {
                Err(e) if e.source.kind() != ErrorKind::NotFound => return Err(e.into()),
                _ => bytes += 512 * found.blocks(),
            }
        }
        Ok(bytes)
    }

    /// What the files of work in progress, or of a writer that was killed, take on disk.
    pub(crate) fn unfinished_bytes(&self) -> Result<u64, FileError> {
        let files = self.unfinished_files()?;
        Ok(files.iter().map(|(_, found)| 512 * found.blocks()).sum())
    }

    fn unfinished_files(&self) -> Result<Vec<(PathBuf, Metadata)>, FileError> {
        let tmp = self.tmp();
        let mut unfinished = Vec::new();
        for name in self.files.list_if_there(&tmp)? {
            let path = tmp.join(&name);
            let found = match self.files.symlink_metadata(&path) {
                Err(e) if e.source.kind() == ErrorKind::NotFound => continue,
                found => found?,
            };
            let is_ours = |name| Self::is_unfinished(name, &found);
            if name.to_str().is_some_and(is_ours) {
                unfinished.push((path, found));
            }
        }
        Ok(unfinished)
    }

    /// Whether something in `tmp/` is a file of ours. Nothing else there is ever deleted, whatever it is called.
    pub(crate) fn is_unfinished(name: &str, found: &Metadata) -> bool {
        let is_name = format::unhex(name).is_some() || PackId::from_file_name(name).is_some();
        is_name && found.is_file()
    }

    /// Whether a name stands for a file or folder of the store's own, or for what a fresh file system holds.
    pub(crate) fn is_own_entry(name: &str) -> bool {
        FOLDERS.contains(&name)
            || ["lock", "FORMAT", "gone", "reserve", "lost+found"].contains(&name)
    }

    fn absence(&self) -> Result<StoreError, StoreError> {
        let path = self.root.clone();
        Ok(match self.foreign_entry()? {
            Some(_) if self.holds_files_of_a_store() => StoreError::Damaged {
                path: self.format(),
                what: "file",
                expected: "what says which store this is".into(),
                found: "no such file".into(),
            },
            Some(found) => StoreError::NotAStore { path, found },
            None => StoreError::Absent { path },
        })
    }

    /// Whether something in `packs/`, `roots/` or `names/` begins as such a file does.
    pub(crate) fn holds_files_of_a_store(&self) -> bool {
        [self.packs(), self.roots(), self.names()]
            .iter()
            .any(|folder| {
                let names = self.files.list(folder).unwrap_or_default();
                names
                    .iter()
                    .any(|name| self.is_of_a_store(&folder.join(name)))
            })
    }

    /// Whether something that begins as `FORMAT` does stands there.
    pub(crate) fn has_format(&self) -> bool {
        self.is_of_a_store(&self.format())
    }

    fn is_of_a_store(&self, path: &Path) -> bool {
        let mut magic = [0; 8];
        let read = self
            .files
            .open(path)
            .and_then(|file| self.files.read_exact_at(&file, &mut magic, 0, path));
        read.is_ok() && (&magic == format::MAGIC || &magic == pack::MAGIC)
    }

    /// Something in the folder that an unfinished creation cannot have left.
    fn foreign_entry(&self) -> Result<Option<String>, StoreError> {
        let list = |path: &Path| -> Result<Vec<String>, StoreError> {
            let names = match self.files.list(path) {
                Ok(names) => names,
                Err(e) if e.source.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(e) if e.source.kind() == ErrorKind::NotADirectory => {
                    let found = "a file, not a folder".to_owned();
                    let path = self.root.clone();
                    return Err(StoreError::NotAStore { path, found });
                }
                Err(e) => return Err(e.into()),
            };
            let text = |name: &OsString| name.to_string_lossy().into_owned();
            Ok(names.iter().map(text).collect())
        };
        let is_folder = |path: &Path| {
            let found = self.files.symlink_metadata(path);
            found.is_ok_and(|found| found.is_dir())
        };
        for name in list(&self.root)? {
            let path = self.root.join(&name);
            let ours = match name.as_str() {
                "lock" | "FORMAT" => true,
                // Written just before FORMAT; it lists nothing as long as there are no packs.
                "gone" | "reserve" => true,
                // What a fresh file system holds.
                "lost+found" => true,
                // An unfinished FORMAT may lie in tmp/, named by 32 hex digits.
                "tmp" => {
                    is_folder(&path) && list(&path)?.iter().all(|n| format::unhex(n).is_some())
                }
                known if FOLDERS.contains(&known) => is_folder(&path) && list(&path)?.is_empty(),
                _ => false,
            };
            if !ours {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// The error of a folder that is none.
pub(crate) fn not_a_folder(path: PathBuf, found: &str) -> StoreError {
    StoreError::Damaged {
        path,
        what: "kind of file",
        expected: "a folder of the store's own".into(),
        found: found.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
