//! A folder for what is measured, removed at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("ipfs-accelerate-reach-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Removes what an earlier round left.
    pub(crate) fn clear(&self, name: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until nothing of earlier rounds is left to be written.
pub(crate) fn settle() {
    rustix::fs::sync();
}

/// Empties the page cache where this process may.
pub(crate) fn drop_caches() -> bool {
    settle();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}
