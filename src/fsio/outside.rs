//! Files outside any store: what is added, and what is written out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::files::Files;
use super::regular;
use crate::error::FileError;

/// Opens a path that may have become a named pipe: opening that would wait for a writer.
pub(crate) fn open_without_waiting(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(FileError::at("open", path))
}

/// Opens a regular file for reading. Nothing else is opened: not even to look at it, since opening a device may do
/// something, and opening a pipe waits.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    regular::open(OpenOptions::new().read(true), 0, path)
}

/// Makes the bytes of a file of the user's durable, and its name.
pub(crate) fn sync_outside(file: &File, path: &Path) -> Result<(), FileError> {
    // A file system that cannot be written to has nothing that is not durable.
    let is_fixed = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::EROFS | libc::EINVAL));
    match file.sync_all() {
        Err(e) if !is_fixed(&e) => return Err(FileError::new("sync", path, e)),
        _ => {}
    }
    // Its folder may be one that we cannot open; then the name is as durable as it is.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Swaps two paths in one step, so that neither is ever missing.
pub(crate) fn rename_exchange(a: &Path, b: &Path) -> Result<(), FileError> {
    match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => swap_in_steps(a, b),
        Err(e) => Err(FileError::new("replace", b, e.into())),
    }
}

/// Where the file system cannot swap, `b` is missing for a moment.
fn swap_in_steps(a: &Path, b: &Path) -> Result<(), FileError> {
    let files = Files::real();
    let mut between = a.as_os_str().to_owned();
    between.push(".old");
    let between = PathBuf::from(between);
    files.rename(b, &between)?;
    if let Err(e) = files.rename(a, b) {
        let _ = files.rename(&between, b);
        return Err(e);
    }
    files.rename(&between, a)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
}
