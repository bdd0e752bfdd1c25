//! How many threads a pool of this library has.

/// More than this many wait for each other only, and starting them takes seconds.
const MAX_THREADS: usize = 256;

/// Zero stands for one a core; what the environment says to rayon is meant for the caller's pools.
pub(crate) fn thread_count(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some.min(MAX_THREADS),
    }
}
