//! Getting bytes in: walking, reading and hashing in parallel, writing packs, and the commit.

mod add;
mod feed;
mod hash;
mod options;
mod record;
mod session;
mod walk;
mod writer;

pub(crate) use add::{
    add_path, add_reader, check_pin, hash_path, hash_reader, publish_root, set_pin, sync_folder,
};
pub use options::{AddNote, AddOptions, AddProgress, AddReport, PinAs};
pub(crate) use record::{FileSpans, Moves, RootBuilder};
pub use session::{PendingCid, SessionReport, WriteSession};
pub(crate) use writer::BlockWriter;
