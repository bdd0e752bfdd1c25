//! The loader's threads: a pool of its own, never rayon's global one, which is the caller's.

use std::io;
use std::sync::OnceLock;

use super::error::LoadError;
use crate::error::FileError;
use crate::fsio::thread_count;

/// Runs `work` on the shared pool, or on one made for it.
pub(super) fn run<T: Send>(
    threads: usize,
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    static SHARED: OnceLock<rayon::ThreadPool> = OnceLock::new();
    if threads > 0 {
        return build(threads)?.install(work);
    }
    let pool = match SHARED.get() {
        Some(pool) => pool,
        None => {
            let pool = build(0)?;
            SHARED.get_or_init(|| pool)
        }
    };
    pool.install(work)
}

fn build(threads: usize) -> Result<rayon::ThreadPool, LoadError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(thread_count(threads))
        .thread_name(|i| format!("ipfs-load-{i}"))
        .build()
        .map_err(|e| {
            let source = io::Error::other(e);
            LoadError::from_source(FileError::new("start threads for", "the load", source))
        })
}
