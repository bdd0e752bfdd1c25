//! A disk that notes down, in order, what is done to a folder.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::fsio::{Disk, Files, RealDisk};

/// A file, whatever its names are. Inodes are used again, so each file that is made has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(u64);

/// Something that was done; paths are below the recorded folder.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Create {
        file: FileId,
        path: PathBuf,
        mode: u32,
    },
    Write {
        file: FileId,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        file: FileId,
        len: u64,
    },
    Punch {
        file: FileId,
        offset: u64,
        len: u64,
    },
    Allocate {
        file: FileId,
        offset: u64,
        len: u64,
    },
    SetMode {
        file: FileId,
        mode: u32,
    },
    SyncFile {
        file: FileId,
    },
    SyncDir {
        path: PathBuf,
    },
    Rename {
        file: FileId,
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        file: FileId,
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        file: FileId,
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { file, path, .. } => write!(f, "create {} as {}", path.display(), file.0),
            Self::Write {
                file,
                offset,
                bytes,
            } => write!(f, "write {} at {offset} of {}", bytes.len(), file.0),
            Self::SetLen { file, len } => write!(f, "set the length of {} to {len}", file.0),
            Self::Punch { file, offset, len } => {
                write!(f, "punch {len} at {offset} of {}", file.0)
            }
            Self::Allocate { file, offset, len } => {
                write!(f, "allocate {len} at {offset} of {}", file.0)
            }
            Self::SetMode { file, mode } => write!(f, "set the mode of {} to {mode:o}", file.0),
            Self::SyncFile { file } => write!(f, "sync {}", file.0),
            Self::SyncDir { path } => write!(f, "sync the folder {:?}", path.display()),
            Self::Rename { from, to, .. } => {
                write!(f, "rename {} to {}", from.display(), to.display())
            }
            Self::Link { from, to, .. } => write!(f, "link {} to {}", from.display(), to.display()),
            Self::Unlink { path, .. } => write!(f, "unlink {}", path.display()),
            Self::MakeDir { path } => write!(f, "make the folder {}", path.display()),
        }
    }
}

/// The operating system's disk, and a record of what changes below one folder, which begins empty. Failed
/// operations are not in it, nor are times of files, which are hints, nor the removal of whole folders: only
/// the database's is ever removed, and what is in it counts for nothing.
#[derive(Debug)]
pub(crate) struct RecordingDisk {
    root: PathBuf,
    /// Held while an operation is done, so that the record has the order in which they were done.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ops: Vec<Op>,
    files: HashMap<u64, FileId>,
    made: u64,
}

impl State {
    fn new_file(&mut self, inode: u64) -> FileId {
        let id = FileId(self.made);
        self.made += 1;
        self.files.insert(inode, id);
        id
    }

    fn file(&self, file: &Metadata) -> FileId {
        self.files[&file.ino()]
    }
}

impl RecordingDisk {
    pub(crate) fn new(root: &Path) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_path_buf(),
            state: Mutex::default(),
        })
    }

    pub(crate) fn files(self: &Arc<Self>) -> Files {
        Files::on(Arc::<Self>::clone(self))
    }

    /// How many operations were recorded so far.
    pub(crate) fn len(&self) -> usize {
        self.state().ops.len()
    }

    /// What was recorded so far.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.state().ops.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix(&self.root);
        below.expect("inside the recorded folder").to_path_buf()
    }

    /// Does something to an open file and records it.
    fn on_file<T>(
        &self,
        file: &File,
        done: impl FnOnce() -> io::Result<T>,
        op: impl FnOnce(FileId, &T) -> Op,
    ) -> io::Result<T> {
        let mut state = self.state();
        let out = done()?;
        let op = op(state.file(&file.metadata()?), &out);
        state.ops.push(op);
        Ok(out)
    }

    /// Does something to the name of a file and records it.
    fn on_name(
        &self,
        path: &Path,
        done: impl FnOnce() -> io::Result<()>,
        op: impl FnOnce(FileId, PathBuf) -> Op,
    ) -> io::Result<()> {
        let mut state = self.state();
        // Looked at before, when it still has the name.
        let named = RealDisk.symlink_metadata(path);
        done()?;
        let op = op(state.file(&named?), self.below(path));
        state.ops.push(op);
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl Disk for RecordingDisk {
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<File> {
        let mut state = self.state();
        let created = RealDisk.create_new(path, mode)?;
        let file = state.new_file(created.metadata()?.ino());
        let path = self.below(path);
        state.ops.push(Op::Create { file, path, mode });
        Ok(created)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        RealDisk.open(path)
    }

    fn open_write(&self, path: &Path, create: Option<u32>) -> io::Result<File> {
        if let Some(mode) = create {
            match self.create_new(path, mode) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
        RealDisk.open_write(path, None)
    }

    fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        RealDisk.read_at(file, buf, offset)
    }

    fn read_ahead(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        RealDisk.read_ahead(file, buf, offset)
    }

    fn copy_out(&self, file: &File, offset: u64, to: &File, len: usize) -> io::Result<usize> {
        RealDisk.copy_out(file, offset, to, len)
    }

    fn before_map(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        RealDisk.before_map(file, offset, len)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.on_file(
            file,
            || RealDisk.write_at(file, bytes, offset),
            |file, written| Op::Write {
                file,
                offset,
                bytes: bytes[..*written].to_vec(),
            },
        )
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        let done = || RealDisk.set_len(file, len);
        self.on_file(file, done, |file, ()| Op::SetLen { file, len })
    }

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        let done = || RealDisk.set_mode(file, mode);
        self.on_file(file, done, |file, ()| Op::SetMode { file, mode })
    }

    fn set_modified(&self, file: &File, time: SystemTime) -> io::Result<()> {
        RealDisk.set_modified(file, time)
    }

    fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        let done = || RealDisk.punch(file, offset, len);
        self.on_file(file, done, |file, ()| Op::Punch { file, offset, len })
    }

    fn next_data(&self, file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
        RealDisk.next_data(file, offset)
    }

    fn allocate(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        let done = || RealDisk.allocate(file, offset, len);
        self.on_file(file, done, |file, ()| Op::Allocate { file, offset, len })
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        let done = || RealDisk.sync_file(file);
        self.on_file(file, done, |file, ()| Op::SyncFile { file })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        RealDisk.sync_dir(path)?;
        // The folders above are synced too when a store is made.
        if let Ok(path) = path.strip_prefix(&self.root) {
            let path = path.to_path_buf();
            state.ops.push(Op::SyncDir { path });
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let done = || RealDisk.rename(from, to);
        let to = self.below(to);
        self.on_name(from, done, |file, from| Op::Rename { file, from, to })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let done = || RealDisk.rename_new(from, to);
        let to = self.below(to);
        self.on_name(from, done, |file, from| Op::Rename { file, from, to })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let done = || RealDisk.link(from, to);
        let to = self.below(to);
        self.on_name(from, done, |file, from| Op::Link { file, from, to })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let done = || RealDisk.unlink(path);
        self.on_name(path, done, |file, path| Op::Unlink { file, path })
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        RealDisk.make_dir(path)?;
        let path = self.below(path);
        state.ops.push(Op::MakeDir { path });
        Ok(())
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_tree(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(path)
    }

    fn has_entries(&self, path: &Path) -> io::Result<bool> {
        RealDisk.has_entries(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealDisk.metadata(path)
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealDisk.symlink_metadata(path)
    }

    fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
        RealDisk.file_metadata(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_recorded_in_order_and_failed_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RecordingDisk::new(dir.path());
        let path = |name| dir.path().join(name);
        let a = disk.create_new(&path("a"), 0o644).unwrap();
        assert!(disk.create_new(&path("a"), 0o644).is_err());
        assert_eq!(disk.write_at(&a, b"text", 2).unwrap(), 4);
        disk.sync_file(&a).unwrap();
        disk.rename(&path("a"), &path("b")).unwrap();
        assert!(disk.rename(&path("a"), &path("b")).is_err());
        assert!(disk.unlink(&path("a")).is_err());
        disk.set_len(&a, 3).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        disk.unlink(&path("b")).unwrap();
        drop(a);
        // May have the inode of the first one, and is another file.
        disk.open_write(&path("a"), Some(0o600)).unwrap();
        disk.open_write(&path("a"), Some(0o600)).unwrap();
        let (first, second) = (FileId(0), FileId(1));
        let ops = [
            Op::Create {
                file: first,
                path: "a".into(),
                mode: 0o644,
            },
            Op::Write {
                file: first,
                offset: 2,
                bytes: b"text".to_vec(),
            },
            Op::SyncFile { file: first },
            Op::Rename {
                file: first,
                from: "a".into(),
                to: "b".into(),
            },
            Op::SetLen {
                file: first,
                len: 3,
            },
            Op::SyncDir { path: "".into() },
            Op::Unlink {
                file: first,
                path: "b".into(),
            },
            Op::Create {
                file: second,
                path: "a".into(),
                mode: 0o600,
            },
        ];
        assert_eq!(disk.ops(), ops);
        assert_eq!(disk.len(), ops.len());
    }
}
