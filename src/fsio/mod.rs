//! The operating system's files: atomic publishing, locks, positional access and maps.
//!
//! What a store does to its files it does through [`files`], and what must survive a power cut through
//! [`publish`] on top of it; everything that another process must see as held goes through [`lock`]. The only
//! `unsafe` code is in [`map`], [`region`], [`memory`] and [`writeback`].

mod disk;
mod file_system;
mod files;
mod lock;
mod map;
mod memory;
mod mount;
mod outside;
mod publish;
mod region;
mod regular;
mod tally;
mod threads;
mod writeback;

#[cfg(test)]
pub(crate) use disk::{Disk, RealDisk};
pub(crate) use file_system::{is_overlay, is_remote, overlay_layer};
pub(crate) use files::Files;
pub(crate) use lock::{
    Locked, exclusive_holder, is_alive, lock_shared, try_lock_exclusive, try_lock_shared,
};
pub(crate) use map::{MapError, Mapping, Piece, map_budget, stitches};
pub(crate) use memory::{Finished, Memory, Part, parts};
pub(crate) use mount::Mount;
pub(crate) use outside::{open_regular, open_without_waiting, rename_exchange, sync_outside};
pub(crate) use publish::{SyncedFile, TempFile};
pub(crate) use regular::{Unfit, kind};
pub use tally::{IoTally, io_tally};
pub(crate) use threads::thread_count;
pub(crate) use writeback::start_writeback;
