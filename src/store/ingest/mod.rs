//! Getting bytes in: walking, reading and hashing in parallel, writing packs, and the commit; and computing
//! CIDs without a store.

mod add;
mod compute;
mod cuts;
mod feed;
mod hash;
mod options;
mod record;
mod session;
mod source;
mod tree;
mod walk;
mod window;
mod writer;

pub(crate) use add::{add_path, add_reader, check_pin, publish_root, set_pin, sync_folder};
pub(crate) use compute::{compute_path, compute_reader, hash_path, hash_reader};
pub use options::{AddNote, AddOptions, AddProgress, AddReport, PinAs};
pub(crate) use record::{FileSpans, Moves, RootBuilder};
pub use session::{PendingCid, SessionReport, WriteSession};
pub(crate) use tree::Built;
pub(crate) use walk::{Found, Walk};
pub(crate) use writer::BlockWriter;
