//! Operations on the files of a store, each error with what was tried and on which path.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustix::fs::Advice;

use super::disk::{Disk, RealDisk};
use super::regular::Unfit;
use super::tally;
use crate::error::FileError;

/// The disk that a store lies on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Files(Arc<dyn Disk>);

impl Files {
    /// The operating system's.
    pub(crate) fn real() -> &'static Self {
        static REAL: OnceLock<Files> = OnceLock::new();
        REAL.get_or_init(|| Self(Arc::new(RealDisk)))
    }

    /// A disk that records or fails.
    #[cfg(test)]
    pub(crate) fn on(disk: Arc<dyn Disk>) -> Self {
        Self(disk)
    }

    /// Creates a file for reading and writing that must not exist yet.
    pub(crate) fn create_new(&self, path: &Path, mode: u32) -> Result<File, FileError> {
        let created = self.0.create_new(path, mode);
        created.map_err(FileError::at("create", path))
    }

    pub(crate) fn open(&self, path: &Path) -> Result<File, FileError> {
        self.followed("open", path, self.0.open(path))
    }

    /// As [`Files::open`]; none if nothing stands there. A link that leads nowhere is something.
    pub(crate) fn open_if_there(&self, path: &Path) -> Result<Option<File>, FileError> {
        if_there(self.open(path))
    }

    /// For reading and writing, never through a symbolic link; one that is not there is created if a mode
    /// says so.
    pub(crate) fn open_write(&self, path: &Path, create: Option<u32>) -> Result<File, FileError> {
        self.followed("open", path, self.0.open_write(path, create))
    }

    /// Opens a read-only file of ours for punching holes. Its owner may write it only after changing its mode,
    /// which is put back at once.
    pub(crate) fn open_sealed(&self, path: &Path) -> Result<File, FileError> {
        match self.open_write(path, None) {
            Err(e) if e.source.kind() == io::ErrorKind::PermissionDenied => {}
            opened => return opened,
        }
        let sealed = self.open(path)?;
        let mode = self.file_metadata(&sealed, path)?.mode();
        self.set_mode(&sealed, mode | 0o200, path)?;
        let opened = self.open_write(path, None);
        self.set_mode(&sealed, mode, path)?;
        opened
    }

    /// Reads a whole small file, refusing one over `limit` bytes.
    pub(crate) fn read_file(
        &self,
        file: &File,
        path: &Path,
        limit: u64,
    ) -> Result<Vec<u8>, FileError> {
        let len = self.file_metadata(file, path)?.len();
        if len > limit {
            return Err(FileError::new(
                "read",
                path,
                Unfit::Length { len, limit }.into(),
            ));
        }
        // From the start, wherever the position of a shared descriptor is.
        let mut bytes = vec![0; len as usize];
        let done = self.fill(file, &mut bytes, 0);
        let done = done.map_err(FileError::at("read", path))?;
        bytes.truncate(done);
        Ok(bytes)
    }

    /// Fills `buf` from `offset`; a file that ends before that is an error of kind `UnexpectedEof`.
    pub(crate) fn read_exact_at(
        &self,
        file: &File,
        buf: &mut [u8],
        offset: u64,
        path: &Path,
    ) -> Result<(), FileError> {
        let len = buf.len();
        let failed = |source: io::Error| {
            let at = ReadAt {
                len,
                offset,
                source,
            };
            FileError::new("read", path, io::Error::new(at.source.kind(), at))
        };
        match self.fill(file, buf, offset) {
            Ok(done) if done == len => Ok(()),
            Ok(_) => {
                let kind = io::ErrorKind::UnexpectedEof;
                Err(failed(io::Error::new(kind, "failed to fill whole buffer")))
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// As [`Files::read_exact_at`], for a long range that several threads read parts of: what is in memory is
    /// taken at once, and the rest is asked for as a whole before it is waited for. The reading ahead that the
    /// kernel does by itself goes by one position a file, which such threads keep moving.
    pub(crate) fn read_range_at(
        &self,
        file: &File,
        buf: &mut [u8],
        offset: u64,
        path: &Path,
    ) -> Result<(), FileError> {
        // What fails here fails again where it is waited for.
        let there = self.0.read_ahead(file, buf, offset).unwrap_or(0);
        if there == buf.len() {
            return Ok(());
        }
        self.read_exact_at(file, &mut buf[there..], offset + there as u64, path)
    }

    /// Asks for a range that will be read soon, without waiting for it. A hint, which changes nothing.
    pub(crate) fn ask_for(&self, file: &File, range: Range<u64>) {
        if let Some(len) = NonZeroU64::new(range.end.saturating_sub(range.start)) {
            let _ = rustix::fs::fadvise(file, range.start, Some(len), Advice::WillNeed);
        }
    }

    /// Reads until the buffer is full or the file ends, and says how much.
    fn fill(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(file, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Copies `len` bytes to a file outside the store: in the kernel where it can, by reading and writing
    /// where it cannot.
    pub(crate) fn copy_out(
        &self,
        file: &File,
        mut offset: u64,
        to: &mut File,
        len: u64,
    ) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            let step = left.min(1 << 30) as usize;
            match self.0.copy_out(file, offset, to, step) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(done) => {
                    offset += done as u64;
                    left -= done as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let mut buf = vec![0; left.min(1 << 20) as usize];
        while left > 0 {
            let step = left.min(buf.len() as u64) as usize;
            if self.fill(file, &mut buf[..step], offset)? < step {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to.write_all(&buf[..step])?;
            offset += step as u64;
            left -= step as u64;
        }
        Ok(())
    }

    /// See [`Disk::before_map`].
    pub(crate) fn before_map(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.0.before_map(file, offset, len)
    }

    pub(crate) fn write_all_at(
        &self,
        file: &File,
        mut bytes: &[u8],
        mut offset: u64,
        path: &Path,
    ) -> Result<(), FileError> {
        while !bytes.is_empty() {
            let failed = match self.0.write_at(file, bytes, offset) {
                Ok(0) => io::Error::new(io::ErrorKind::WriteZero, "failed to write whole buffer"),
                Ok(done) => {
                    bytes = &bytes[done..];
                    offset += done as u64;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            return Err(FileError::new("write", path, failed));
        }
        Ok(())
    }

    pub(crate) fn set_len(&self, file: &File, len: u64, path: &Path) -> Result<(), FileError> {
        let set = self.0.set_len(file, len);
        set.map_err(FileError::at("set the length of", path))
    }

    pub(crate) fn set_mode(&self, file: &File, mode: u32, path: &Path) -> Result<(), FileError> {
        let set = self.0.set_mode(file, mode);
        set.map_err(FileError::at("set the mode of", path))
    }

    /// When a file was last written, or was said to be.
    pub(crate) fn modified(&self, file: &File) -> io::Result<SystemTime> {
        self.0.file_metadata(file)?.modified()
    }

    pub(crate) fn set_modified(&self, file: &File, time: SystemTime) -> io::Result<()> {
        self.0.set_modified(file, time)
    }

    /// Gives the disk space of a range back; the bytes read as zeros from then on.
    pub(crate) fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch(file, offset, len)
    }

    /// How many bytes of a range take space.
    pub(crate) fn data_within(
        &self,
        file: &File,
        range: &Range<u64>,
        path: &Path,
    ) -> Result<u64, FileError> {
        let (mut at, mut bytes) = (range.start, 0);
        while at < range.end {
            let found = self.0.next_data(file, at);
            let found = found.map_err(FileError::at("look for holes in", path))?;
            let Some(data) = found.filter(|data| data.start < range.end) else {
                break;
            };
            at = data.end.min(range.end);
            bytes += at - data.start;
        }
        Ok(bytes)
    }

    /// Takes disk space for a range, which the file is as long as from then on.
    #[allow(dead_code, reason = "the reserve file is made with it")]
    pub(crate) fn allocate(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(file, offset, len)
    }

    /// Makes a file's bytes and length durable.
    pub(crate) fn sync_file(&self, file: &File, path: &Path) -> Result<(), FileError> {
        tally::count_file_sync();
        self.0.sync_file(file).map_err(FileError::at("sync", path))
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), FileError> {
        tally::count_folder_sync();
        self.0.sync_dir(path).map_err(FileError::at("sync", path))
    }

    /// What stands at `to` is replaced.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let renamed = self.0.rename(from, to);
        renamed.map_err(FileError::at("rename to", to))
    }

    /// Renames to a path that nothing stands at; something there is an error of kind `AlreadyExists`.
    pub(crate) fn rename_new(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let renamed = self.0.rename_new(from, to);
        renamed.map_err(FileError::at("rename to", to))
    }

    /// Gives a file a second name, which must be free.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.0.link(from, to).map_err(FileError::at("link to", to))
    }

    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), FileError> {
        self.0.unlink(path).map_err(FileError::at("remove", path))
    }

    /// Removes a folder and everything below it.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), FileError> {
        let removed = self.0.remove_tree(path);
        removed.map_err(FileError::at("remove", path))
    }

    /// Creates one folder; one that is there already is fine.
    pub(crate) fn make_dir(&self, path: &Path) -> Result<(), FileError> {
        match self.0.make_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && self.is_dir(path) => Ok(()),
            made => made.map_err(FileError::at("create the folder", path)),
        }
    }

    /// Creates a folder and those above it that are missing, each durable under its name.
    pub(crate) fn make_dirs(&self, path: &Path) -> Result<(), FileError> {
        let parent = match path.parent() {
            None => return Ok(()),
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
        };
        if self.is_dir(path) {
            // Whoever made it may have been killed before it was durable. It is not for that alone that a
            // folder has to be readable which somebody else made.
            return match self.sync_dir(parent) {
                Err(e) if cannot_be_synced(e.source.kind()) => Ok(()),
                synced => synced,
            };
        }
        self.make_dirs(parent)?;
        self.make_dir(path)?;
        self.sync_dir(parent)
    }

    /// The names in a folder, in no order.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<OsString>, FileError> {
        self.0.list(path).map_err(FileError::at("list", path))
    }

    /// As [`Files::list`]; none where no folder is.
    pub(crate) fn list_if_there(&self, path: &Path) -> Result<Vec<OsString>, FileError> {
        match self.list(path) {
            Err(e) if leads_nowhere(&e.source) => Ok(Vec::new()),
            Err(e) if e.source.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Whether anything stands in a folder.
    pub(crate) fn has_entries(&self, path: &Path) -> Result<bool, FileError> {
        self.0
            .has_entries(path)
            .map_err(FileError::at("list", path))
    }

    /// Whether a path leads to something.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.0.metadata(path).is_ok()
    }

    /// Whether a path leads to a folder.
    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.0.metadata(path).is_ok_and(|found| found.is_dir())
    }

    /// Of what stands at a path, which may be a symbolic link.
    pub(crate) fn symlink_metadata(&self, path: &Path) -> Result<Metadata, FileError> {
        let found = self.0.symlink_metadata(path);
        found.map_err(FileError::at("stat", path))
    }

    /// Of what a path leads to; none if nothing stands there. A link that leads nowhere is something.
    pub(crate) fn metadata_if_there(&self, path: &Path) -> Result<Option<Metadata>, FileError> {
        if_there(self.followed("stat", path, self.0.metadata(path)))
    }

    /// Ties what the system said to the path. A link that it could not follow, or was not to, is no file, which is no
    /// failure of the disk's.
    fn followed<T>(
        &self,
        action: &'static str,
        path: &Path,
        done: io::Result<T>,
    ) -> Result<T, FileError> {
        done.map_err(|e| {
            let source = match leads_nowhere(&e) && self.is_symlink(path) {
                true if self.exists(path) => Unfit::Kind("a symbolic link").into(),
                true => Unfit::Kind("a link that leads nowhere").into(),
                false => e,
            };
            FileError::new(action, path, source)
        })
    }

    /// Whether a symbolic link stands at a path.
    pub(crate) fn is_symlink(&self, path: &Path) -> bool {
        let found = self.0.symlink_metadata(path);
        found.is_ok_and(|found| found.is_symlink())
    }

    pub(crate) fn file_metadata(&self, file: &File, path: &Path) -> Result<Metadata, FileError> {
        let found = self.0.file_metadata(file);
        found.map_err(FileError::at("stat", path))
    }

    /// Whether an open file is the one that the path names now.
    pub(crate) fn is_same_file(&self, file: &File, path: &Path) -> Result<bool, FileError> {
        let held = self.file_metadata(file, path)?;
        match self.0.metadata(path) {
            Ok(named) => Ok(held.dev() == named.dev() && held.ino() == named.ino()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(FileError::new("stat", path, e)),
        }
    }
}

/// Whether the system found nothing at the end of a path, or only links.
fn leads_nowhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP)
}

/// None where nothing stands.
fn if_there<T>(found: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match found {
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Whether a folder was not synced because it never can be, by this user or on its file system.
fn cannot_be_synced(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(
        kind,
        InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported
    )
}

/// What of a file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{len} bytes at offset {offset}: {source}")]
struct ReadAt {
    len: usize,
    offset: u64,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_or_in_a_circle_is_no_file_and_nothing_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let files = Files::real();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(at(to), at(name)).unwrap();
        link("nothing", "dangling");
        link("loop", "loop");
        std::fs::write(at("file"), "x").unwrap();
        link("file", "link");
        let said = |error: FileError| match Unfit::of(&error.source) {
            Some(Unfit::Kind(kind)) => *kind,
            _ => panic!("{error}"),
        };
        for name in ["dangling", "loop"] {
            let nowhere = "a link that leads nowhere";
            assert_eq!(said(files.open(&at(name)).unwrap_err()), nowhere);
            assert_eq!(said(files.open_if_there(&at(name)).unwrap_err()), nowhere);
            let found = files.metadata_if_there(&at(name));
            assert_eq!(said(found.unwrap_err()), nowhere);
            for create in [None, Some(0o644)] {
                let opened = files.open_write(&at(name), create);
                assert_eq!(said(opened.unwrap_err()), nowhere);
            }
            assert!(files.list_if_there(&at(name)).unwrap().is_empty());
        }
        let opened = files.open_write(&at("link"), None);
        assert_eq!(said(opened.unwrap_err()), "a symbolic link");
        files.open(&at("link")).unwrap();
        assert!(files.open_if_there(&at("nothing")).unwrap().is_none());
        assert!(files.metadata_if_there(&at("nothing")).unwrap().is_none());
        for name in ["nothing", "file"] {
            assert!(files.list_if_there(&at(name)).unwrap().is_empty());
        }
    }

    #[test]
    fn a_file_is_read_from_its_start_wherever_its_position_is() {
        use std::io::Read;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "whole").unwrap();
        let files = Files::real();
        let mut file = files.open(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(files.read_file(&file, &path, 5).unwrap(), b"whole");
            file.read_exact(&mut [0; 2]).unwrap();
        }
        let error = files.read_file(&file, &path, 4).unwrap_err();
        assert!(error.to_string().contains("5 bytes"), "{error}");
    }
}
