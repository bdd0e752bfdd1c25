//! Files that appear whole or not at all: written aside, synced, renamed, and the folder synced.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::files::Files;
use crate::error::FileError;

/// A file under construction; dropping it before [`TempFile::publish`] removes it.
#[derive(Debug)]
pub(crate) struct TempFile {
    files: Files,
    file: File,
    path: PathBuf,
    /// Where [`TempFile::write_all`] goes on.
    end: u64,
    keep: bool,
}

impl TempFile {
    /// Creates a new file that nobody else has open.
    pub(crate) fn create(files: &Files, path: PathBuf) -> Result<Self, FileError> {
        let file = files.create_new(&path, 0o644)?;
        Ok(Self {
            files: files.clone(),
            file,
            path,
            end: 0,
            keep: false,
        })
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes on from where the last such write ended.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let files = &self.files;
        files.write_all_at(&self.file, bytes, offset, &self.path)
    }

    /// Sets the mode and makes the bytes durable.
    pub(crate) fn sync(self, mode: u32) -> Result<SyncedFile, FileError> {
        self.files.set_mode(&self.file, mode, &self.path)?;
        self.files.sync_file(&self.file, &self.path)?;
        Ok(SyncedFile(self))
    }

    /// Syncs the file, renames it to `target` and syncs the folder it now stands in. With `replace`
    /// an existing file is replaced; without it, an existing one is an error and stays.
    pub(crate) fn publish(self, target: &Path, mode: u32, replace: bool) -> Result<(), FileError> {
        self.sync(mode)?.publish(target, replace)
    }
}

/// A [`TempFile`] whose bytes are durable; only its place is missing.
#[derive(Debug)]
pub(crate) struct SyncedFile(TempFile);

impl SyncedFile {
    /// The second half of [`TempFile::publish`].
    pub(crate) fn publish(mut self, target: &Path, replace: bool) -> Result<(), FileError> {
        let temp = &mut self.0;
        if replace {
            temp.files.rename(&temp.path, target)?;
        } else {
            temp.files.rename_new(&temp.path, target)?;
        }
        temp.keep = true;
        let folder = target.parent().unwrap_or(Path::new("."));
        temp.files.sync_dir(folder)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.keep {
            // Best effort: what stays behind is removed when the store is next opened for writing.
            let _ = self.files.remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_there_whole_and_an_existing_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        let create = || TempFile::create(Files::real(), dir.path().join("temp")).unwrap();
        for (content, replace, there) in
            [("12", false, "12"), ("34", false, "12"), ("5", true, "5")]
        {
            let mut temp = create();
            for part in content.as_bytes().chunks(1) {
                temp.write_all(part).unwrap();
            }
            let published = temp.publish(&target, 0o444, replace);
            assert_eq!(published.is_ok(), content == there);
            assert_eq!(fs::read_to_string(&target).unwrap(), there);
            assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o444);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        drop(create());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
