//! Advisory locks (`flock`), which belong to the open file description: a lock lives until the last
//! copy of its descriptor is closed, in whatever process that is, or until one of them unlocks it.
//!
//! A shared lock keeps what a process reads, and what its forked children read: it goes with the last copy.
//! An exclusive one is given up by the process that took it when that drops it. Left to the copies, one in a
//! child that another thread has forked and that has not reached its `exec` would hold it a moment longer,
//! and a store that was just closed could not be opened again.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A file with a lock on it; dropping it closes the descriptor and gives the lock up.
#[derive(Debug)]
pub(crate) struct Locked {
    file: File,
    /// The process that took it, if it is exclusive.
    owner: Option<u32>,
}

impl Locked {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Not in a forked child, whose copy of the value is not what holds the lock.
        if self.owner == Some(std::process::id()) {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Takes the exclusive lock, or gives the file back when somebody else holds any lock on it.
pub(crate) fn try_lock_exclusive(file: File) -> io::Result<Result<Locked, File>> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Ok(Locked {
            file,
            owner: Some(std::process::id()),
        })),
        Err(Errno::WOULDBLOCK) => Ok(Err(file)),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the shared lock, or gives the file back when somebody else holds the exclusive one.
pub(crate) fn try_lock_shared(file: File) -> io::Result<Result<Locked, File>> {
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Ok(Locked { file, owner: None })),
        Err(Errno::WOULDBLOCK) => Ok(Err(file)),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the shared lock, waiting for an exclusive holder (a collector holds one only for a moment).
pub(crate) fn lock_shared(file: File) -> io::Result<Locked> {
    loop {
        match flock(&file, FlockOperation::LockShared) {
            Ok(()) => return Ok(Locked { file, owner: None }),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file, and the same one opened again, as another process would.
    fn twice() -> (File, impl Fn() -> File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = file.reopen().unwrap();
        (first, move || file.reopen().unwrap())
    }

    #[test]
    fn an_exclusive_lock_goes_with_its_value_even_if_a_child_has_a_copy() {
        let (file, again) = twice();
        let in_a_child = file.try_clone().unwrap();
        let locked = try_lock_exclusive(file).unwrap().unwrap();
        assert!(try_lock_exclusive(again()).unwrap().is_err());
        drop(locked);
        assert!(try_lock_exclusive(again()).unwrap().is_ok());
        drop(in_a_child);
    }

    #[test]
    fn a_shared_lock_stays_until_the_last_copy_is_closed() {
        let (file, again) = twice();
        let in_a_child = file.try_clone().unwrap();
        drop(lock_shared(file).unwrap());
        assert!(try_lock_exclusive(again()).unwrap().is_err());
        drop(in_a_child);
        assert!(try_lock_exclusive(again()).unwrap().is_ok());
    }
}
