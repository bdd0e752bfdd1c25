//! Advisory locks (`flock`), which belong to the open file description: a lock lives until the last
//! copy of its descriptor is closed, in whatever process that is.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A file with a lock on it; dropping it closes the descriptor and gives the lock up.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// Takes the exclusive lock, or gives the file back when somebody else holds any lock on it.
pub(crate) fn try_lock_exclusive(file: File) -> io::Result<Result<Locked, File>> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Ok(Locked(file))),
        Err(Errno::WOULDBLOCK) => Ok(Err(file)),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the shared lock, waiting for an exclusive holder (a collector holds one only for a moment).
pub(crate) fn lock_shared(file: File) -> io::Result<Locked> {
    loop {
        match flock(&file, FlockOperation::LockShared) {
            Ok(()) => return Ok(Locked(file)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
