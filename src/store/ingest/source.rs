//! A file of the user's: what it was when it was listed, and reading it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::FileError;
use crate::fsio::Files;
use crate::store::error::StoreError;

/// A file to be read, as it was when it was listed.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    stamp: Stamp,
    /// Opened by whichever worker comes first.
    handle: OnceLock<File>,
    real_path: OnceLock<PathBuf>,
    /// Bytes that no worker has read yet.
    unread: AtomicU64,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn difference(&self, now: &Self) -> Option<String> {
        if (self.device, self.inode) != (now.device, now.inode) {
            Some("another file stands at its path".into())
        } else if self.size != now.size {
            Some(format!(
                "its length went from {} to {} bytes",
                self.size, now.size
            ))
        } else if self.modified != now.modified {
            Some("it was written to".into())
        } else {
            None
        }
    }
}

impl SourceFile {
    pub(super) fn new(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            path,
            size: metadata.len(),
            stamp: Stamp::of(metadata),
            handle: OnceLock::new(),
            real_path: OnceLock::new(),
            unread: AtomicU64::new(metadata.len()),
        }
    }

    /// When it was last written, in seconds and nanoseconds since 1970, as it was listed.
    pub(super) fn modified(&self) -> (i64, i64) {
        self.stamp.modified
    }

    /// Its absolute path without symbolic links, at which it stands as it was listed.
    pub(super) fn real_path(&self) -> Result<&Path, StoreError> {
        if let Some(path) = self.real_path.get() {
            return Ok(path);
        }
        let real = self.path.canonicalize();
        let real = real.map_err(FileError::at("open", &self.path))?;
        let now = Files::real().metadata_if_there(&real)?;
        let now = now.map(|now| Stamp::of(&now));
        let changed = match &now {
            Some(now) => self.stamp.difference(now),
            None => Some("it is gone".into()),
        };
        match changed {
            Some(what) => Err(StoreError::SourceChanged {
                path: self.path.clone(),
                what,
            }),
            None => Ok(self.real_path.get_or_init(|| real)),
        }
    }

    /// The open file; the first call opens it and sees whether it is still what was listed.
    pub(crate) fn file(&self) -> Result<&File, StoreError> {
        if let Some(file) = self.handle.get() {
            return Ok(file);
        }
        let file = crate::fsio::open_without_waiting(&self.path)?;
        self.check(&file)?;
        Ok(self.handle.get_or_init(|| file))
    }

    /// Fills `data` with the file's bytes from `offset`. Each byte is read once by whoever reads; with the
    /// last of them the file is refused if it is not what was listed.
    pub(super) fn read(&self, data: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let file = self.file()?;
        file.read_exact_at(data, offset)
            .map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => StoreError::SourceChanged {
                    path: self.path.clone(),
                    what: format!("it ends before byte {}", offset + data.len() as u64),
                },
                _ => FileError::new("read", &self.path, e).into(),
            })?;
        // Parts of one file are read side by side, so the last one in the file may not be the last read.
        let len = data.len() as u64;
        if self.unread.fetch_sub(len, Ordering::AcqRel) == len {
            self.check(file)?;
            self.check_end(file)?;
        }
        Ok(())
    }

    /// A file that goes on past its stated length (as those of `/proc` do) would be cut short silently.
    fn check_end(&self, file: &File) -> Result<(), StoreError> {
        match file.read_at(&mut [0], self.size) {
            Ok(0) => Ok(()),
            Ok(_) => Err(StoreError::SourceChanged {
                path: self.path.clone(),
                what: format!(
                    "it goes on after the {} bytes that it was listed with",
                    self.size
                ),
            }),
            Err(e) => Err(FileError::new("read", &self.path, e).into()),
        }
    }

    /// Refuses a file that is not what was listed.
    fn check(&self, file: &File) -> Result<(), StoreError> {
        let now = file.metadata().map_err(FileError::at("stat", &self.path))?;
        match self.stamp.difference(&Stamp::of(&now)) {
            Some(what) => Err(StoreError::SourceChanged {
                path: self.path.clone(),
                what,
            }),
            None => Ok(()),
        }
    }
}
