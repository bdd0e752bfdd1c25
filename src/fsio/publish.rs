//! Files that appear whole or not at all: written aside, synced, renamed, and the folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, CWD, FallocateFlags, RenameFlags};
use rustix::io::ReadWriteFlags;

use super::tally;
use crate::error::FileError;

/// A file under construction; dropping it before [`TempFile::publish`] removes it.
#[derive(Debug)]
pub(crate) struct TempFile {
    file: File,
    path: PathBuf,
    keep: bool,
}

impl TempFile {
    /// Creates a new file that nobody else has open.
    pub(crate) fn create(path: PathBuf) -> Result<Self, FileError> {
        let file = create_new(&path, 0o644)?;
        Ok(Self {
            file,
            path,
            keep: false,
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        (&self.file)
            .write_all(bytes)
            .map_err(FileError::at("write", &self.path))
    }

    /// Sets the mode and makes the bytes durable.
    pub(crate) fn sync(self, mode: u32) -> Result<SyncedFile, FileError> {
        rustix::fs::fchmod(&self.file, rustix::fs::Mode::from_raw_mode(mode))
            .map_err(|e| FileError::new("set the mode of", &self.path, e.into()))?;
        sync_file(&self.file, &self.path)?;
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
        if replace {
            rename(&self.0.path, target)?;
        } else {
            rename_new(&self.0.path, target)?;
        }
        self.0.keep = true;
        sync_dir(target.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.keep {
            // Best effort: what stays behind is removed when the store is next opened for writing.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file for reading and writing that must not exist yet.
pub(crate) fn create_new(path: &Path, mode: u32) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(FileError::at("create", path))
}

pub(crate) fn open_read(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(FileError::at("open", path))
}

/// As [`open_read`], for a path that may have become a named pipe: opening that would wait for a writer.
pub(crate) fn open_without_waiting(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(FileError::at("open", path))
}

/// Reads a whole small file, refusing one over `limit` bytes.
pub(crate) fn read_file(file: &File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let len = file.metadata().map_err(FileError::at("stat", path))?.len();
    if len > limit {
        let why = format!("it has {len} bytes, more than the {limit} that such a file can have");
        return Err(FileError::new(
            "read",
            path,
            io::Error::new(io::ErrorKind::InvalidData, why),
        ));
    }
    // From the start, wherever the position of a shared descriptor is.
    let mut bytes = vec![0; len as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FileError::new("read", path, e)),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Makes a file's bytes and length durable.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), FileError> {
    tally::count_file_sync();
    file.sync_all().map_err(FileError::at("sync", path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FileError> {
    tally::count_folder_sync();
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(FileError::at("sync", path))
}

/// Creates a folder and those above it that are missing, each durable under its name.
pub(crate) fn make_dirs(path: &Path) -> Result<(), FileError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_dirs(parent)?;
    make_dir(path)?;
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    sync_dir(parent)
}

/// Creates one folder; one that is there already is fine.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(FileError::at("create the folder", path)),
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::at("rename to", to))
}

/// Renames to a path that nothing stands at; something there is an error of kind `AlreadyExists`.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), FileError> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some network file systems cannot; there the look and the rename are two steps.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::symlink_metadata(to) {
            Ok(_) => {
                let source = io::ErrorKind::AlreadyExists.into();
                Err(FileError::new("rename to", to, source))
            }
            Err(_) => rename(from, to),
        },
        Err(e) => Err(FileError::new("rename to", to, e.into())),
    }
}

/// Swaps two paths in one step, so that neither is ever missing.
pub(crate) fn rename_exchange(a: &Path, b: &Path) -> Result<(), FileError> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => swap_in_steps(a, b),
        Err(e) => Err(FileError::new("replace", b, e.into())),
    }
}

/// Where the file system cannot swap, `b` is missing for a moment.
fn swap_in_steps(a: &Path, b: &Path) -> Result<(), FileError> {
    let mut between = a.as_os_str().to_owned();
    between.push(".old");
    let between = PathBuf::from(between);
    rename(b, &between)?;
    if let Err(e) = rename(a, b) {
        let _ = rename(&between, b);
        return Err(e);
    }
    rename(&between, a)
}

pub(crate) fn remove_file(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(FileError::at("remove", path))
}

/// Fills `buf` from `offset`; a file that ends before that is an error of kind `UnexpectedEof`.
pub(crate) fn read_exact_at(
    file: &File,
    buf: &mut [u8],
    offset: u64,
    path: &Path,
) -> Result<(), FileError> {
    file.read_exact_at(buf, offset).map_err(|source| {
        let len = buf.len();
        let at = ReadAt {
            len,
            offset,
            source,
        };
        FileError::new("read", path, io::Error::new(at.source.kind(), at))
    })
}

/// What of a file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{len} bytes at offset {offset}: {source}")]
struct ReadAt {
    len: usize,
    offset: u64,
    source: io::Error,
}

pub(crate) fn write_all_at(
    file: &File,
    bytes: &[u8],
    offset: u64,
    path: &Path,
) -> Result<(), FileError> {
    file.write_all_at(bytes, offset)
        .map_err(FileError::at("write", path))
}

/// As [`read_exact_at`], for a long range that several threads read parts of: what is in memory is taken at
/// once, and the rest is asked for as a whole before it is waited for. The reading ahead that the kernel does
/// by itself goes by one position a file, which such threads keep moving.
pub(crate) fn read_range_at(
    file: &File,
    buf: &mut [u8],
    offset: u64,
    path: &Path,
) -> Result<(), FileError> {
    let now = io::IoSliceMut::new(buf);
    let there = rustix::io::preadv2(file, &mut [now], offset, ReadWriteFlags::NOWAIT).unwrap_or(0);
    if there == buf.len() {
        return Ok(());
    }
    let (offset, rest) = (offset + there as u64, &mut buf[there..]);
    let len = std::num::NonZeroU64::new(rest.len() as u64);
    // A hint: where it is not taken, reading begins with the read.
    let _ = rustix::fs::fadvise(file, offset, len, Advice::WillNeed);
    read_exact_at(file, rest, offset, path)
}

/// Opens a read-only file of ours for punching holes. Its owner may write it only after changing its mode, which
/// is put back at once.
pub(crate) fn open_sealed(path: &Path) -> Result<File, FileError> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    let opened = open().or_else(|e| {
        if e.kind() != io::ErrorKind::PermissionDenied {
            return Err(e);
        }
        let mode = fs::metadata(path)?.mode();
        let set =
            |mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
        set(mode | 0o200)?;
        let opened = open();
        set(mode)?;
        opened
    });
    opened.map_err(FileError::at("open for writing", path))
}

/// Gives the disk space of a range back; the bytes read as zeros from then on.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, len).map_err(io::Error::from)
}

/// Copies `len` bytes between files in the kernel where it can, by reading and writing where it cannot.
pub(crate) fn copy_range(from: &File, from_offset: u64, to: &mut File, len: u64) -> io::Result<()> {
    let mut source_offset = from_offset;
    let mut left = len;
    while left > 0 {
        let step = left.min(1 << 30) as usize;
        match rustix::fs::copy_file_range(from, Some(&mut source_offset), &*to, None, step) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => left -= done as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let mut buf = vec![0; left.min(1 << 20) as usize];
    while left > 0 {
        let step = left.min(buf.len() as u64) as usize;
        from.read_exact_at(&mut buf[..step], source_offset)?;
        to.write_all(&buf[..step])?;
        source_offset += step as u64;
        left -= step as u64;
    }
    Ok(())
}

/// Whether an open file is the one that the path names now.
pub(crate) fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok(held.dev() == named.dev() && held.ino() == named.ino()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_in_steps_ends_as_one_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for swap in [rename_exchange, swap_in_steps] {
            fs::write(&a, "new").unwrap();
            fs::write(&b, "old").unwrap();
            swap(&a, &b).unwrap();
            assert_eq!(fs::read(&a).unwrap(), b"old");
            assert_eq!(fs::read(&b).unwrap(), b"new");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        }
        fs::remove_file(&a).unwrap();
        assert!(swap_in_steps(&a, &b).is_err());
        assert_eq!(fs::read(&b).unwrap(), b"new", "put back");
    }

    #[test]
    fn a_file_is_there_whole_and_an_existing_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        for (content, replace, there) in [("1", false, "1"), ("2", false, "1"), ("3", true, "3")] {
            let mut temp = TempFile::create(dir.path().join("temp")).unwrap();
            temp.write_all(content.as_bytes()).unwrap();
            let published = temp.publish(&target, 0o444, replace);
            assert_eq!(published.is_ok(), content == there);
            assert_eq!(fs::read_to_string(&target).unwrap(), there);
            assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o444);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        drop(TempFile::create(dir.path().join("temp")).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_read_from_its_start_wherever_its_position_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "whole").unwrap();
        let file = open_read(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(read_file(&file, &path, 5).unwrap(), b"whole");
        }
        let error = read_file(&file, &path, 4).unwrap_err();
        assert!(error.to_string().contains("5 bytes"), "{error}");
    }
}
