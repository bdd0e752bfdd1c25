//! The store: packs, roots, names, the index, the memory tier, ingest and reading.

mod assemble;
mod cache;
mod check;
mod coverage;
mod desired;
mod error;
mod folder;
mod format;
mod index;
mod ingest;
mod inner;
mod names;
mod pack;
mod pins;
mod read;
mod remove;
mod root;
mod sharing;
mod sync;
mod target;
mod time;
mod totals;
mod writable;
mod writer_lock;

pub use cache::CacheStats;
pub use check::{
    CheckError, CheckOptions, CheckReport, ComputedCid, Difference, EntrySummary, check_path,
    check_reader,
};
pub use desired::{
    DesiredPath, DesiredPin, DesiredPins, DesiredPinsError, DesiredSource, PinAction, PinChange,
    PinPlan, PinSyncOptions, PinSyncProgress, PinSyncReport,
};
pub use error::StoreError;
pub use ingest::{
    AddNote, AddOptions, AddProgress, AddReport, PendingCid, PinAs, SessionReport, SharedWith,
    WriteSession,
};
pub use names::{Pin, PinKind};
pub use pins::PinOptions;
pub(crate) use read::{Backing, Extent, Leaves, Prover};
pub use read::{
    CopyReason, Entry, EntryType, ExportOptions, ExportReport, FileMap, FileReader, FileSlice,
    Object, ObjectInfo, ObjectStat, StoreReader, StoredFile,
};
pub use remove::{RemoveOptions, RemoveReport};
pub use sharing::{Counterpart, PartCount, PartTotals, SharedBytes, SharedPart, SharingSide};
pub(crate) use sharing::{Part, Side, match_parts};
pub use sync::{
    SyncCounts, SyncError, SyncObjectError, SyncOptions, SyncProgress, SyncReport, SyncState,
    SyncedObject, SyncedPin, SyncedPinChange,
};
pub use target::{Target, TargetError};
pub use time::utc_text;
pub use totals::StoreTotals;
pub use writable::{Store, StoreOptions, hash_path, hash_reader};
