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

/// The process that took the exclusive lock on a file, as the system lists it; none where it does not, as on some
/// file systems, or where the process is in another namespace.
pub(crate) fn exclusive_holder(file: &File) -> Option<u32> {
    let of = rustix::fs::fstat(file).ok()?;
    let (major, minor) = (rustix::fs::major(of.st_dev), rustix::fs::minor(of.st_dev));
    let id = format!("{major:02x}:{minor:02x}:{}", of.st_ino);
    let list = std::fs::read_to_string("/proc/locks").ok()?;
    list.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 708 fd:01:13368 0 EOF`; who waits has `->` before the kind.
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", pid, place, ..] if place == id => {
                pid.parse().ok().filter(|pid| *pid > 0)
            }
            _ => None,
        }
    })
}

/// Whether there is such a process here, one of another user's too.
pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        matches!(
            rustix::process::test_kill_process(pid),
            Ok(()) | Err(Errno::PERM)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_an_exclusive_lock_is_told() {
        let (file, again) = twice();
        assert_eq!(exclusive_holder(&file), None);
        let locked = try_lock_exclusive(file).unwrap().unwrap();
        // Not everywhere: an overlay has other numbers than the file below it.
        let found = exclusive_holder(&again());
        assert!(found.is_none_or(|found| found == std::process::id()));
        assert!(is_alive(std::process::id()) && !is_alive(u32::MAX));
        drop(locked);
    }

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
