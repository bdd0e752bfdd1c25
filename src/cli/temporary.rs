//! A temporary folder: for the demo, and for a store that is not made.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipfs_accelerate::FileError;

/// A folder of this process's own, removed when dropped.
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(crate) fn new(what: &str) -> Result<Self, FileError> {
        // Seeded by the system anew for each process; and `create` refuses a folder that is there.
        let suffix = RandomState::new().build_hasher().finish();
        let path = std::env::temp_dir().join(format!("ipfs-accelerate-{what}-{suffix:016x}"));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(FileError::at("create the folder", &path))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
