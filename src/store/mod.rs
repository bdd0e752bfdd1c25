//! The store: packs, roots, names, the index, the memory tier, ingest and reading.

mod assemble;
mod cache;
mod check;
mod collect;
mod coverage;
mod error;
mod folder;
mod format;
mod gone;
mod heal;
mod index;
mod ingest;
mod inner;
mod names;
mod overlay;
mod pack;
mod pins;
mod quota;
mod read;
mod registry;
mod relocate;
mod remove;
mod reserve;
mod root;
mod sharing;
mod survey;
mod target;
mod time;
mod totals;
#[cfg(test)]
mod trials;
mod verify;
mod writable;
mod writer_lock;

pub use cache::CacheStats;
pub use check::{
    CheckError, CheckOptions, CheckReport, ComputedCid, Difference, EntrySummary, check_path,
    check_reader,
};
pub use collect::{
    GcHolder, GcObject, GcOptions, GcPending, GcPlan, GcReason, GcReport, NotFreeable, ObjectSpace,
    RemovalSpace, SpaceReport,
};
pub use error::StoreError;
pub(crate) use folder::VERSION as FORMAT_VERSION;
pub use heal::{HealOptions, HealReport, HealedBlock, HealedBy};
pub use ingest::{
    AddNote, AddOptions, AddProgress, AddReport, PendingCid, PinAs, SessionReport, SharedWith,
    WriteSession,
};
pub use names::{Pin, PinKind};
pub use pins::PinOptions;
pub(crate) use read::{Backing, Extent, Leaves, Prover};
pub use read::{
    CopyReason, Entry, EntryType, ExportOptions, ExportReport, FileMap, FileReader, FileSlice,
    Object, ObjectInfo, ObjectStat, ReaderOptions, StoreReader, StoredFile,
};
pub use remove::{RemoveOptions, RemoveReport};
pub use sharing::{Counterpart, PartCount, PartTotals, SharedBytes, SharedPart, SharingSide};
pub(crate) use sharing::{Part, Side, match_parts};
pub(crate) use survey::{Counts, Survey, Writer};
pub use target::{Target, TargetError};
pub use time::utc_text;
pub use totals::StoreTotals;
pub use verify::{
    Affected, ClearedBlock, Finding, FindingKind, VerifyOptions, VerifyProgress, VerifyReport,
};
pub use writable::{Store, StoreOptions, hash_path, hash_reader};
pub(crate) use writer_lock::Holder;
