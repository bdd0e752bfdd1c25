//! Getting bytes in: walking, reading and hashing in parallel, writing packs, and the commit.

mod add;
mod feed;
mod hash;
mod options;
mod pin_as;
mod record;
mod session;
mod shared_with;
mod walk;
mod writer;

pub(crate) use add::{add_path, add_reader, hash_path, hash_reader, publish_root, sync_folder};
pub use options::{AddNote, AddOptions, AddProgress, AddReport, PinAs, SharedWith};
pub(crate) use pin_as::{check_pin, set_pin};
pub(crate) use record::{FileSpans, Moves, RootBuilder};
pub use session::{PendingCid, SessionReport, WriteSession};
pub(crate) use writer::BlockWriter;
