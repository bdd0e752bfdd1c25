//! The store: packs, roots, names, the index, the memory tier, ingest and reading.

mod absorb;
mod assemble;
mod cache;
mod check;
mod collect;
mod coverage;
mod desired;
mod error;
mod folder;
mod format;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod gone;
mod heal;
mod index;
mod ingest;
mod inner;
mod lookup;
mod names;
mod options;
mod overlaps;
mod overlay;
mod pack;
mod pins;
mod quota;
mod read;
mod registry;
mod relocate;
mod remove;
mod repair;
mod reserve;
mod root;
mod sharing;
mod spare;
mod survey;
mod sync;
mod target;
mod time;
mod totals;
#[cfg(test)]
mod trials;
mod verify;
mod writable;
mod writer_lock;

pub use absorb::{AbsorbOptions, AbsorbReport};
pub use cache::CacheStats;
pub use check::{
    CheckError, CheckOptions, CheckReport, ComputedCid, Difference, EntrySummary, check_path,
    check_reader,
};
pub use collect::{
    GcHolder, GcObject, GcOptions, GcPending, GcPlan, GcReason, GcReport, NotFreeable, ObjectSpace,
    RemovalSpace, SpaceReport,
};
pub use desired::{
    DesiredPath, DesiredPin, DesiredPins, DesiredPinsError, DesiredSource, PinAction, PinChange,
    PinPlan, PinSyncOptions, PinSyncProgress, PinSyncReport,
};
pub use error::StoreError;
pub(crate) use folder::VERSION as FORMAT_VERSION;
pub use heal::{HealOptions, HealReport, HealedBlock, HealedBy};
pub use ingest::{
    AddNote, AddOptions, AddProgress, AddReport, PendingCid, PinAs, SessionReport, SharedWith,
    WriteSession,
};
pub use names::{Pin, PinKind};
pub use options::StoreOptions;
pub use pins::PinOptions;
pub(crate) use read::{Backing, Extent, Leaves, Prover};
pub use read::{
    CopyReason, Entry, EntryType, ExportOptions, ExportReport, FileMap, FileReader, FileSlice,
    Listing, Object, ObjectInfo, ObjectStat, ReaderOptions, StoreReader, StoredFile, UnsafeLinks,
};
pub use remove::{RemoveOptions, RemoveReport};
pub use repair::{
    DAMAGE_LOG, Defect, Remedy, RepairFinding, RepairObject, RepairOptions, RepairPlan,
    RepairProgress, RepairReport, apply_repair, plan_repair,
};
pub(crate) use repair::{Fault, Sight};
pub use sharing::{Counterpart, PartCount, PartTotals, SharedBytes, SharedPart, SharingSide};
pub(crate) use sharing::{Part, Side, match_parts};
pub use spare::Spared;
pub(crate) use survey::{Counts, Survey, Writer};
pub use sync::{
    SyncCounts, SyncError, SyncObjectError, SyncOptions, SyncProgress, SyncReport, SyncState,
    SyncedObject, SyncedPin, SyncedPinChange,
};
pub use target::{Target, TargetError};
pub use time::utc_text;
pub use totals::StoreTotals;
pub use verify::{
    Affected, ClearedBlock, Finding, FindingKind, VerifyOptions, VerifyProgress, VerifyReport,
};
pub use writable::{Store, hash_path, hash_reader};
pub(crate) use writer_lock::Holder;
