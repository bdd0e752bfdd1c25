//! `Read + Seek` over a stored file.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::file::StoredFile;
use super::map::FileSlice;
use crate::store::error::StoreError;

/// Reads a stored file from a position of its own.
#[derive(Clone, Debug)]
pub struct FileReader {
    file: StoredFile,
    position: u64,
}

impl FileReader {
    pub(crate) fn new(file: StoredFile) -> Self {
        Self { file, position: 0 }
    }

    /// The file that is read.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// A range of the content without copying where it is contiguous; the position stays.
    ///
    /// # Errors
    /// As [`StoredFile::slice`].
    pub fn slice(&self, range: Range<u64>) -> Result<FileSlice, StoreError> {
        self.file.slice(range)
    }
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let done = self.file.read_at(self.position, buf).map_err(|e| match e {
            StoreError::File(e) => io::Error::new(e.source.kind(), e),
            other => io::Error::other(other),
        })?;
        self.position += done as u64;
        Ok(done)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(by) => (self.file.size(), by),
            SeekFrom::Current(by) => (self.position, by),
        };
        let position = base.checked_add_signed(by).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{by} from {base} is no position"),
            )
        })?;
        self.position = position;
        Ok(position)
    }
}
