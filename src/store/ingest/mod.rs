//! Getting bytes in: walking, reading and hashing in parallel, writing packs, and the commit; and computing
//! CIDs without a store.

mod add;
mod compute;
mod cuts;
mod feed;
mod hash;
mod left;
mod options;
mod pin_as;
mod record;
mod references;
mod search;
mod session;
mod shared_with;
mod source;
mod tree;
mod walk;
mod window;
mod writer;

pub(crate) use add::{
    add_path, add_reader, commit, is_whole, is_whole_object, publish_root, refers, sync_folder,
};
pub(crate) use compute::{
    Listing, compute_path, compute_reader, hash_path, hash_reader, list_path,
};
pub(crate) use hash::Buffers;
pub(crate) use left::LeftRoots;
pub use options::{AddNote, AddOptions, AddProgress, AddReport, PinAs, SharedWith};
pub(crate) use pin_as::{check_pin, set_pin};
pub(crate) use record::{FileSpans, Moves, RootBuilder};
pub(crate) use search::{InFiles, search};
pub use session::{PendingCid, SessionReport, WriteSession};
pub(crate) use tree::Built;
pub(crate) use walk::{Found, Walk, globs};
pub(crate) use writer::{BlockWriter, loose_record, rewrite_root};
