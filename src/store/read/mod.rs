//! Reading: resolving targets, the bytes of files, and the reader that needs no writer.

mod core;
mod count;
mod entry;
mod export;
mod file;
mod map;
mod object;
mod packs;
mod proof;
mod reader;
mod referenced;
mod stitch;
mod stream;

pub(crate) use core::ReadCore;
pub use entry::{Entry, EntryType, Listing, ObjectInfo, ObjectStat};
pub use export::{ExportOptions, ExportReport, UnsafeLinks};
pub use file::StoredFile;
pub(crate) use file::{Backing, Extent};
pub use map::{CopyReason, FileMap, FileSlice};
pub use object::Object;
pub(crate) use object::type_of;
pub(crate) use proof::{Leaves, Prover};
pub use reader::{ReaderOptions, StoreReader};
pub use stream::FileReader;
