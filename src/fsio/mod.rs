//! The operating system's files: atomic publishing, locks, positional access and maps.
//!
//! Everything that must survive a power cut goes through [`publish`]; everything that another process
//! must see as held goes through [`lock`]. The only `unsafe` code is in [`map`], [`region`], [`memory`] and
//! [`writeback`].

mod file_system;
mod lock;
mod map;
mod memory;
mod publish;
mod region;
mod tally;
mod threads;
mod writeback;

pub(crate) use file_system::is_remote;
pub(crate) use lock::{Locked, lock_shared, try_lock_exclusive};
pub(crate) use map::{MapError, Mapping, Piece, stitches};
pub(crate) use memory::{Finished, Memory, Part, parts};
pub(crate) use publish::{
    SyncedFile, TempFile, copy_range, is_same_file, make_dir, make_dirs, open_read, open_sealed,
    open_without_waiting, punch_hole, read_exact_at, read_file, read_range_at, remove_file, rename,
    rename_exchange, rename_new, sync_dir, write_all_at,
};
pub use tally::{IoTally, io_tally};
pub(crate) use threads::thread_count;
pub(crate) use writeback::start_writeback;
