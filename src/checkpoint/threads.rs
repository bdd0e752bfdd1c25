//! The loader's threads: pools of its own, never rayon's global one, which is the caller's.

use std::io;
use std::sync::OnceLock;

use rayon::ThreadPool;

use super::error::LoadError;
use crate::error::FileError;
use crate::fsio::thread_count;

/// Reading waits for the disk most of the time, so a core has work for several threads.
const READERS: usize = 8;

/// The threads of one load.
pub(super) enum Threads {
    /// As many as the caller said.
    Own(ThreadPool),
    /// What is short runs on a pool that all loads share; what reads a checkpoint has a pool of its own, so
    /// that a small load does not wait for a large one.
    Shared(OnceLock<ThreadPool>),
}

impl Threads {
    /// Zero leaves the number to this module.
    pub(super) fn new(threads: usize) -> Result<Self, LoadError> {
        match threads {
            0 => Ok(Self::Shared(OnceLock::new())),
            some => Ok(Self::Own(build(some)?)),
        }
    }

    /// Runs what is short.
    pub(super) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LoadError> + Send,
    ) -> Result<T, LoadError> {
        static SHARED: OnceLock<ThreadPool> = OnceLock::new();
        let pool = match self {
            Self::Own(pool) => pool,
            Self::Shared(_) => match SHARED.get() {
                Some(pool) => pool,
                None => {
                    let pool = build(0)?;
                    SHARED.get_or_init(|| pool)
                }
            },
        };
        apart(|| pool.install(work))
    }

    /// Runs one and the same work on every thread until each has come to its end.
    pub(super) fn run_on_each(&self, work: impl Fn() + Sync) -> Result<(), LoadError> {
        let pool = match self {
            Self::Own(pool) => pool,
            Self::Shared(readers) => match readers.get() {
                Some(pool) => pool,
                None => {
                    let pool = build(thread_count(0).max(READERS))?;
                    readers.get_or_init(|| pool)
                }
            },
        };
        apart(|| pool.broadcast(|_| work()));
        Ok(())
    }
}

/// Waits for another pool. A thread of a pool of rayon's would take up other work of its own pool meanwhile, loads
/// among it, one on top of the other until the stack ends; so there a thread of its own waits.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    let waited = std::thread::scope(|scope| scope.spawn(work).join());
    waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn build(threads: usize) -> Result<ThreadPool, LoadError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(thread_count(threads))
        .thread_name(|i| format!("ipfs-load-{i}"))
        .build()
        .map_err(|e| {
            let source = io::Error::other(e);
            LoadError::from_source(FileError::new("start threads for", "the load", source))
        })
}
