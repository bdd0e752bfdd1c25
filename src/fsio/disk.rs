//! The operations on files that a store is made of, behind one trait: a test can record them, to replay a
//! power cut, and can let any of them fail.
//!
//! Outside of it are locks and hints (early writeback), which change nothing that a power cut could lose, and
//! the files of sled.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{Advice, CWD, FallocateFlags, Mode, RenameFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::regular;

/// One method for each operation. A file is known by its handle, or by the inode behind it, since its path
/// may change while it is open.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Creates a file for reading and writing that must not exist yet.
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<File>;

    /// Opens a file for reading. What is no file is an error, and is never waited for; so with writing.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Opens a file for reading and writing, never through a symbolic link; one that is not there is created
    /// if a mode says so.
    fn open_write(&self, path: &Path, create: Option<u32>) -> io::Result<File>;

    /// Reads up to `buf.len()` bytes; none at the end of the file.
    fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads what is in memory already, which may be nothing, and asks for the rest without waiting for it.
    fn read_ahead(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Copies up to `len` bytes to the position of a file outside the store, in the kernel.
    fn copy_out(&self, file: &File, offset: u64, to: &File, len: usize) -> io::Result<usize>;

    /// Called before a range of a file is mapped; an error stands for the map's own.
    fn before_map(&self, file: &File, offset: u64, len: u64) -> io::Result<()>;

    /// Writes up to `bytes.len()` bytes and says how many.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize>;

    fn set_len(&self, file: &File, len: u64) -> io::Result<()>;

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()>;

    fn set_modified(&self, file: &File, time: SystemTime) -> io::Result<()>;

    /// Gives the space of a range back; the bytes read as zeros from then on.
    fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<()>;

    /// The first range from an offset on that takes space; none where the rest is a hole. What cannot tell holes says
    /// that all is.
    fn next_data(&self, file: &File, offset: u64) -> io::Result<Option<Range<u64>>>;

    /// Takes space for a range, which the file is as long as from then on.
    #[allow(dead_code, reason = "the reserve file is made with it")]
    fn allocate(&self, file: &File, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a file's bytes and length durable.
    fn sync_file(&self, file: &File) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// What stands at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// What stands at `to` stays, and is an error of kind `AlreadyExists`.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn unlink(&self, path: &Path) -> io::Result<()>;

    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and everything below it.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Whether anything stands in a folder.
    fn has_entries(&self, path: &Path) -> io::Result<bool>;

    /// Of what a path leads to.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Of what stands at a path, which may be a symbolic link.
    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Of an open file.
    fn file_metadata(&self, file: &File) -> io::Result<Metadata>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct RealDisk;

#[deny(clippy::missing_trait_methods)]
impl Disk for RealDisk {
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        regular::open(OpenOptions::new().read(true), 0, path)
    }

    fn open_write(&self, path: &Path, create: Option<u32>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if let Some(mode) = create {
            options.create(true).truncate(false).mode(mode);
        }
        // What is written must not land in another file.
        regular::open(&mut options, libc::O_NOFOLLOW, path)
    }

    fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    fn read_ahead(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let now = IoSliceMut::new(buf);
        // Where the kernel cannot tell what is in memory, nothing is.
        let there =
            rustix::io::preadv2(file, &mut [now], offset, ReadWriteFlags::NOWAIT).unwrap_or(0);
        if let Some(rest) = NonZeroU64::new((buf.len() - there) as u64) {
            // A hint: where it is not taken, reading begins with the read.
            let from = offset + there as u64;
            let _ = rustix::fs::fadvise(file, from, Some(rest), Advice::WillNeed);
        }
        Ok(there)
    }

    fn copy_out(&self, file: &File, mut offset: u64, to: &File, len: usize) -> io::Result<usize> {
        Ok(rustix::fs::copy_file_range(
            file,
            Some(&mut offset),
            to,
            None,
            len,
        )?)
    }

    fn before_map(&self, _: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
    }

    fn set_modified(&self, file: &File, time: SystemTime) -> io::Result<()> {
        file.set_modified(time)
    }

    fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(file, flags, offset, len)?)
    }

    fn next_data(&self, file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
        // The position of the handle, which this moves, is what nothing here reads at.
        let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                let all = offset..file.metadata()?.len();
                return Ok((!all.is_empty()).then_some(all));
            }
            found => found?,
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        Ok(Some(start..end))
    }

    fn allocate(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(
            file,
            FallocateFlags::empty(),
            offset,
            len,
        )?)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(path)?;
        folder.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some network file systems cannot; there the look and the rename are two steps.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(from, to),
            },
            done => Ok(done?),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn has_entries(&self, path: &Path) -> io::Result<bool> {
        Ok(fs::read_dir(path)?.next().transpose()?.is_some())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(path)?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::metadata(path)
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::symlink_metadata(path)
    }

    fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
        file.metadata()
    }
}
