//! Standard input that gives way to a signal, also while nothing arrives.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a signal may wait.
const LOOK_NS: i64 = 100_000_000;

/// Standard input; fails once the flag is set, so that a stream cut off is never taken for a whole one.
pub(crate) struct Stdin {
    file: File,
    cancel: Arc<AtomicBool>,
}

impl Stdin {
    pub(crate) fn new(cancel: Arc<AtomicBool>) -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { file, cancel })
    }

    /// Waits until there is something to read, or the end.
    fn wait(&self) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_NS,
        };
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(io::Error::other("cancelled"));
            }
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.read(buf)
    }
}
