//! A disk on which something else happens right after an operation: what another thread or process could do just
//! then, and seldom does.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::faults::Kind;
use crate::fsio::{Disk, Files, RealDisk};

/// Something that happens once.
struct Event {
    after: Kind,
    /// A part of the path that the operation is on.
    on: String,
    happens: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:?} on {}", self.after, self.on)
    }
}

/// The operating system's disk, and what is to happen on it.
#[derive(Debug, Default)]
pub(super) struct EventfulDisk(Mutex<Vec<Event>>);

impl EventfulDisk {
    pub(super) fn files(self: &Arc<Self>) -> Files {
        Files::on(Arc::<Self>::clone(self))
    }

    /// Lets something happen after the next operation of a kind on a path that holds `on`. The thread that did the
    /// operation does it, and goes on then.
    pub(super) fn once(
        &self,
        after: Kind,
        on: impl Into<String>,
        happens: impl FnOnce() + Send + 'static,
    ) {
        let event = Event {
            after,
            on: on.into(),
            happens: Box::new(happens),
        };
        self.events().push(event);
    }

    /// Checks that everything has happened.
    #[track_caller]
    pub(super) fn has_all_happened(&self) {
        let events = self.events();
        assert!(events.is_empty(), "{events:?} did not happen");
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after<T>(&self, kind: Kind, path: &Path, done: io::Result<T>) -> io::Result<T> {
        let met = |event: &Event| {
            done.is_ok() && event.after == kind && path.to_string_lossy().contains(&event.on)
        };
        // Taken out first: what happens does operations too.
        let event = {
            let mut events = self.events();
            let found = events.iter().position(met);
            found.map(|index| events.remove(index))
        };
        if let Some(event) = event {
            (event.happens)();
        }
        done
    }

    fn after_on_file<T>(&self, kind: Kind, file: &File, done: io::Result<T>) -> io::Result<T> {
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = std::fs::read_link(link).unwrap_or_else(|_| PathBuf::new());
        self.after(kind, &path, done)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Disk for EventfulDisk {
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.after(Kind::Create, path, RealDisk.create_new(path, mode))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.after(Kind::Open, path, RealDisk.open(path))
    }

    fn open_write(&self, path: &Path, create: Option<u32>) -> io::Result<File> {
        self.after(Kind::OpenWrite, path, RealDisk.open_write(path, create))
    }

    fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.after_on_file(Kind::Read, file, RealDisk.read_at(file, buf, offset))
    }

    fn read_ahead(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.after_on_file(Kind::Read, file, RealDisk.read_ahead(file, buf, offset))
    }

    fn copy_out(&self, file: &File, offset: u64, to: &File, len: usize) -> io::Result<usize> {
        let done = RealDisk.copy_out(file, offset, to, len);
        self.after_on_file(Kind::CopyOut, file, done)
    }

    fn before_map(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.after_on_file(Kind::Map, file, RealDisk.before_map(file, offset, len))
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.after_on_file(Kind::Write, file, RealDisk.write_at(file, bytes, offset))
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.after_on_file(Kind::SetLen, file, RealDisk.set_len(file, len))
    }

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        self.after_on_file(Kind::SetMode, file, RealDisk.set_mode(file, mode))
    }

    fn set_modified(&self, file: &File, time: SystemTime) -> io::Result<()> {
        self.after_on_file(Kind::SetModified, file, RealDisk.set_modified(file, time))
    }

    fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.after_on_file(Kind::Punch, file, RealDisk.punch(file, offset, len))
    }

    fn next_data(&self, file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.after_on_file(Kind::Stat, file, RealDisk.next_data(file, offset))
    }

    fn allocate(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.after_on_file(Kind::Allocate, file, RealDisk.allocate(file, offset, len))
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.after_on_file(Kind::SyncFile, file, RealDisk.sync_file(file))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.after(Kind::SyncDir, path, RealDisk.sync_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.after(Kind::Rename, to, RealDisk.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.after(Kind::Rename, to, RealDisk.rename_new(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.after(Kind::Link, to, RealDisk.link(from, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.after(Kind::Unlink, path, RealDisk.unlink(path))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.after(Kind::MakeDir, path, RealDisk.make_dir(path))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.after(Kind::RemoveTree, path, RealDisk.remove_tree(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.after(Kind::List, path, RealDisk.list(path))
    }

    fn has_entries(&self, path: &Path) -> io::Result<bool> {
        self.after(Kind::List, path, RealDisk.has_entries(path))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.after(Kind::Stat, path, RealDisk.metadata(path))
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.after(Kind::Stat, path, RealDisk.symlink_metadata(path))
    }

    fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
        self.after_on_file(Kind::Stat, file, RealDisk.file_metadata(file))
    }
}
