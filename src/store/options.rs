//! How a store works.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::collect::{GcObject, GcOptions};
use crate::dag::Profile;

/// Told of an object that made way for something else.
pub(crate) type ToldOfRoom = dyn Fn(&GcObject) + Send + Sync;

/// How a [`Store`](super::Store) works.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Budget of the memory tier in bytes; zero keeps nothing. 500 MB unless set.
    pub memory_bytes: u64,
    /// Threads for hashing and writing; zero is one a core.
    pub threads: usize,
    /// A pack is sealed at the first leaf after this many bytes. 4 GiB unless set.
    pub pack_bytes: u64,
    /// The most bytes of disk that the packs may take; unbounded unless set. An add that needs room takes what
    /// nobody has pinned, those objects first that were used least recently, and is refused when that is not enough.
    pub max_bytes: Option<u64>,
    /// Told of each object that makes way under `max_bytes` once it has, whatever becomes of what it made way for; what
    /// is added then says so too ([`AddNote::MadeRoom`](crate::AddNote::MadeRoom)).
    pub made_way: Option<Arc<ToldOfRoom>>,
    /// How long single blocks, and what an import left that was cut off, stay when room is made under `max_bytes`
    /// and something else can go. A day unless set, as [`GcOptions::grace`].
    pub grace: Duration,
    /// Of a store that is made: what is added under unless the caller says otherwise, kept in the store as
    /// [`Store::profile`](super::Store::profile).
    pub profile: Profile,
    /// How long an opening waits for another process that has the store open for writing; whoever waits is
    /// served in no particular order. Zero, as it is unless set, does not wait.
    pub lock_timeout: Duration,
    /// Looked at while an opening waits; once set, the wait ends with [`StoreError::Cancelled`](super::StoreError::Cancelled).
    pub cancel: Option<Arc<AtomicBool>>,
    /// Nobody removes content from the store below the overlay file system that it is seen through; see
    /// [`StoreError::Overlay`](super::StoreError::Overlay). Of no effect elsewhere.
    pub nobody_collects: bool,
    /// The folder that is named where something is not in the store: for an empty store that stands in for one that
    /// is not made yet. The store's own unless set.
    pub stands_for: Option<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 500_000_000,
            threads: 0,
            pack_bytes: 4 << 30,
            max_bytes: None,
            made_way: None,
            grace: GcOptions::default().grace,
            profile: Profile::default(),
            lock_timeout: Duration::ZERO,
            cancel: None,
            nobody_collects: false,
            stands_for: None,
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("memory_bytes", &self.memory_bytes)
            .field("threads", &self.threads)
            .field("pack_bytes", &self.pack_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("grace", &self.grace)
            .field("profile", &self.profile)
            .field("lock_timeout", &self.lock_timeout)
            .field("nobody_collects", &self.nobody_collects)
            .finish_non_exhaustive()
    }
}
