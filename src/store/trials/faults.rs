//! A disk on which single operations fail.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::io::Errno;

use crate::fsio::{Disk, Files};

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Open,
    OpenWrite,
    Read,
    CopyOut,
    Map,
    Write,
    SetLen,
    SetMode,
    SetModified,
    Punch,
    Allocate,
    SyncFile,
    SyncDir,
    Rename,
    Link,
    Unlink,
    MakeDir,
    RemoveTree,
    List,
    Stat,
}

/// What a process does that lives, and one that was killed does no more.
pub(crate) const CHANGES: [Kind; 14] = [
    Kind::Create,
    Kind::OpenWrite,
    Kind::Write,
    Kind::SetLen,
    Kind::SetMode,
    Kind::SetModified,
    Kind::Punch,
    Kind::Allocate,
    Kind::SyncFile,
    Kind::SyncDir,
    Kind::Rename,
    Kind::Link,
    Kind::Unlink,
    Kind::MakeDir,
];

pub(crate) const SYNCS: [Kind; 2] = [Kind::SyncFile, Kind::SyncDir];

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is not done.
    Errno(Errno),
    /// A write or a read is done by half, and says so; any other operation is done.
    Short,
}

/// Which operations fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Those that are counted; all if it is empty.
    pub(crate) kinds: &'static [Kind],
    /// Counted from one.
    pub(crate) nth: u64,
    pub(crate) failure: Failure,
    /// All later ones fail too.
    pub(crate) lasting: bool,
}

/// A disk of which some operations fail.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    disk: Arc<dyn Disk>,
    fault: Fault,
    counted: AtomicU64,
}

impl FaultyDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            disk,
            fault,
            counted: AtomicU64::new(0),
        })
    }

    pub(crate) fn files(self: &Arc<Self>) -> Files {
        Files::on(Arc::<Self>::clone(self))
    }

    /// How many operations of the kinds were begun.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Whether an operation has failed, or was to.
    pub(crate) fn has_failed(&self) -> bool {
        self.counted() >= self.fault.nth
    }

    /// Counts an operation; an error if it fails, true if it is to fall short.
    fn meet(&self, kind: Kind) -> io::Result<bool> {
        let Fault {
            kinds,
            nth,
            failure,
            lasting,
        } = self.fault;
        if !kinds.is_empty() && !kinds.contains(&kind) {
            return Ok(false);
        }
        let number = self.counted.fetch_add(1, Ordering::Relaxed) + 1;
        if number != nth && !(lasting && number > nth) {
            return Ok(false);
        }
        match failure {
            Failure::Errno(errno) => Err(errno.into()),
            Failure::Short => Ok(true),
        }
    }

    /// How many of `len` bytes an operation is let do.
    fn meet_bytes(&self, kind: Kind, len: usize) -> io::Result<usize> {
        match self.meet(kind)? {
            true => Ok(len.div_ceil(2)),
            false => Ok(len),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Disk for FaultyDisk {
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.meet(Kind::Create)?;
        self.disk.create_new(path, mode)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.meet(Kind::Open)?;
        self.disk.open(path)
    }

    fn open_write(&self, path: &Path, create: Option<u32>) -> io::Result<File> {
        self.meet(Kind::OpenWrite)?;
        self.disk.open_write(path, create)
    }

    fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.meet_bytes(Kind::Read, buf.len())?;
        self.disk.read_at(file, &mut buf[..len], offset)
    }

    fn read_ahead(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.meet_bytes(Kind::Read, buf.len())?;
        self.disk.read_ahead(file, &mut buf[..len], offset)
    }

    fn copy_out(&self, file: &File, offset: u64, to: &File, len: usize) -> io::Result<usize> {
        let len = self.meet_bytes(Kind::CopyOut, len)?;
        self.disk.copy_out(file, offset, to, len)
    }

    fn before_map(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.meet(Kind::Map)?;
        self.disk.before_map(file, offset, len)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let len = self.meet_bytes(Kind::Write, bytes.len())?;
        self.disk.write_at(file, &bytes[..len], offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.meet(Kind::SetLen)?;
        self.disk.set_len(file, len)
    }

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        self.meet(Kind::SetMode)?;
        self.disk.set_mode(file, mode)
    }

    fn set_modified(&self, file: &File, time: SystemTime) -> io::Result<()> {
        self.meet(Kind::SetModified)?;
        self.disk.set_modified(file, time)
    }

    fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.meet(Kind::Punch)?;
        self.disk.punch(file, offset, len)
    }

    fn next_data(&self, file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.meet(Kind::Stat)?;
        self.disk.next_data(file, offset)
    }

    fn allocate(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.meet(Kind::Allocate)?;
        self.disk.allocate(file, offset, len)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.meet(Kind::SyncFile)?;
        self.disk.sync_file(file)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.meet(Kind::SyncDir)?;
        self.disk.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet(Kind::Rename)?;
        self.disk.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet(Kind::Rename)?;
        self.disk.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet(Kind::Link)?;
        self.disk.link(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.meet(Kind::Unlink)?;
        self.disk.unlink(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.meet(Kind::MakeDir)?;
        self.disk.make_dir(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.meet(Kind::RemoveTree)?;
        self.disk.remove_tree(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.meet(Kind::List)?;
        self.disk.list(path)
    }

    fn has_entries(&self, path: &Path) -> io::Result<bool> {
        self.meet(Kind::List)?;
        self.disk.has_entries(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.meet(Kind::Stat)?;
        self.disk.metadata(path)
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.meet(Kind::Stat)?;
        self.disk.symlink_metadata(path)
    }

    fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
        self.meet(Kind::Stat)?;
        self.disk.file_metadata(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::RealDisk;

    fn faulty(fault: Fault) -> (tempfile::TempDir, Arc<FaultyDisk>) {
        let dir = tempfile::tempdir().unwrap();
        (dir, FaultyDisk::new(Arc::new(RealDisk), fault))
    }

    #[test]
    fn the_nth_operation_of_its_kinds_fails_once_or_from_then_on() {
        for lasting in [false, true] {
            let (dir, disk) = faulty(Fault {
                kinds: &[Kind::MakeDir],
                nth: 2,
                failure: Failure::Errno(Errno::NOSPC),
                lasting,
            });
            let path = |name: &str| dir.path().join(name);
            disk.make_dir(&path("a")).unwrap();
            disk.sync_dir(&path("a")).unwrap();
            assert!(!disk.has_failed());
            let error = disk.make_dir(&path("b")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(disk.has_failed());
            assert_eq!(disk.make_dir(&path("b")).is_err(), lasting);
            assert_eq!(disk.metadata(&path("b")).is_err(), lasting);
            assert_eq!(disk.counted(), 3);
        }
    }

    #[test]
    fn a_short_write_and_a_short_read_do_half_and_say_so() {
        let (dir, disk) = faulty(Fault {
            kinds: &[Kind::Write, Kind::Read],
            nth: 1,
            failure: Failure::Short,
            lasting: true,
        });
        let path = dir.path().join("f");
        let file = disk.create_new(&path, 0o644).unwrap();
        assert_eq!(disk.write_at(&file, b"12345", 0).unwrap(), 3);
        assert_eq!(std::fs::read(&path).unwrap(), b"123");
        assert_eq!(disk.read_at(&file, &mut [0; 3], 0).unwrap(), 2);
        // Whoever goes on until all is done gets there.
        let files = disk.files();
        files.write_all_at(&file, b"12345", 0, &path).unwrap();
        let mut read = [0; 5];
        files.read_exact_at(&file, &mut read, 0, &path).unwrap();
        assert_eq!(&read, b"12345");
    }
}
