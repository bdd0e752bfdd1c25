//! A folder for what is measured, and what lies in it.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipfs_accelerate::{Cid, parse_cid};
use rustix::fs::Advice;

use super::chunks::Chunks;

/// Removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("ipfs-accelerate-payload-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Removes what an earlier round left, and waits until nothing of it is left to be written.
    pub(crate) fn clear(&self, name: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => rustix::fs::sync(),
        }
        Ok(())
    }

    /// Where [`Scratch::write_cids`] puts them.
    pub(crate) fn cids(&self) -> PathBuf {
        self.path("cids")
    }

    /// Writes the CIDs down for the children that read, which need not make the chunks again then.
    pub(crate) fn write_cids(&self, chunks: &Chunks) -> io::Result<()> {
        let lines: String = chunks.blocks().map(|b| format!("{}\n", b.cid())).collect();
        fs::write(self.cids(), lines)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What [`Scratch::write_cids`] wrote.
pub(crate) fn read_cids(path: &Path) -> Result<Vec<Cid>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    text.lines().map(|line| Ok(parse_cid(line)?)).collect()
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(files(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

/// What the files take on disk, and how many there are.
pub(crate) fn allocated(folder: &Path) -> io::Result<(u64, usize)> {
    let files = files(folder)?;
    let mut bytes = 0;
    for path in &files {
        // What is not written yet has no blocks yet.
        File::open(path)?.sync_all()?;
        bytes += path.metadata()?.blocks() * 512;
    }
    Ok((bytes, files.len()))
}

/// Brings the files into the page cache.
pub(crate) fn warm(folder: &Path) -> io::Result<()> {
    for path in files(folder)? {
        io::copy(&mut File::open(path)?, &mut io::sink())?;
    }
    Ok(())
}

/// Drops the files from the page cache, and leaves everybody else's where they are.
pub(crate) fn cool(folder: &Path) -> io::Result<()> {
    for path in files(folder)? {
        let file = File::open(path)?;
        // What is not written yet stays.
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
