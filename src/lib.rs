//! An embedded, content-addressed store for model checkpoints, and the loader that maps their tensors
//! straight out of it.
//!
//! A file or folder goes in under the CIDv1 that any IPFS node computes for it ([`Store::add_path`]); a
//! checkpoint comes out as tensors borrowed from a map of the store, each on the device that a plan gave it
//! ([`load_checkpoint_and_dispatch`]). [`StoreReader`] reads beside the writer from any number of processes;
//! [`IpfsAccelerate`] has the names of the Python package that this one replaces. How it all hangs together
//! stands in [`architecture`].

mod accelerate;
#[doc = include_str!("architecture.md")]
pub mod architecture {}
mod block;
pub mod checkpoint;
mod config;
mod dag;
mod doctor;
pub mod error;
mod fsio;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod store;

pub use accelerate::{
    AddedFile, Error, FetchedFile, FileMetadata, IpfsAccelerate, LoadedCheckpoint, LoadedFrom,
    SystemInfo,
};
pub use block::{
    BLAKE3, Block, BlockError, Cid, CidError, CidFault, CidVersion, DAG_PB, HashFunction, IDENTITY,
    MIN_DIGEST_BYTES, Multihash, RAW, SHA2_256, UnknownHashName, canonical, cid_from_bytes,
    inline_data, parse_cid, verify,
};
pub use checkpoint::{
    Device, DeviceMap, Dispatched, LoadError, LoadOptions, LoadPlan, LoadReport, Placed,
    PlainFolder, Select, SharedTensors, Source, Tensor, compare_checkpoints,
    load_checkpoint_and_dispatch, plan_checkpoint,
};
pub use config::{
    ByteSize, ByteSizeError, CacheConfig, CheckpointConfig, Config, ConfigEntry, ConfigError,
    ConfigValue, DeviceMapSetting, DockerConfig, Endpoint, EndpointsConfig, GeneralConfig,
    LogLevel, Origin, Secret, StoreConfig, TimeSpan, TimeSpanError,
};
pub use dag::{
    Chunker, ChunkerError, DagError, FileBuilder, FileChild, FileRoot, FolderEntry, FolderLimit,
    FolderMeasure, FolderRoot, LeafFormat, MAX_BLOCK_BYTES, Malformed, NameError, NameFault, Node,
    Profile, ProfileError, ShardFault, ShardLink, ShardPosition, build_folder, check_name,
    cid_of_reader, cumulative_size, decode, leaf, symlink_node,
};
pub use doctor::{Examination, ExamineOptions, Health, HealthCheck, examine};
pub use error::{Explain, FileError};
pub use fsio::{IoTally, io_tally};
pub use store::{
    AbsorbOptions, AbsorbReport, AddNote, AddOptions, AddProgress, AddReport, Affected, CacheStats,
    CheckError, CheckOptions, CheckReport, ClearedBlock, ComputedCid, CopyReason, Counterpart,
    DAMAGE_LOG, Defect, DesiredPath, DesiredPin, DesiredPins, DesiredPinsError, DesiredSource,
    Difference, Entry, EntrySummary, EntryType, ExportOptions, ExportReport, FileMap, FileReader,
    FileSlice, Finding, FindingKind, GcHolder, GcObject, GcOptions, GcPending, GcPlan, GcReason,
    GcReport, HealOptions, HealReport, HealedBlock, HealedBy, Listing, NotFreeable, Object,
    ObjectInfo, ObjectSpace, ObjectStat, PartCount, PartTotals, PendingCid, Pin, PinAction, PinAs,
    PinChange, PinKind, PinOptions, PinPlan, PinSyncOptions, PinSyncProgress, PinSyncReport,
    ReaderOptions, Remedy, RemovalSpace, RemoveOptions, RemoveReport, RepairFinding, RepairObject,
    RepairOptions, RepairPlan, RepairProgress, RepairReport, SessionReport, SharedBytes,
    SharedPart, SharedWith, SharingSide, SpaceReport, Spared, Store, StoreError, StoreOptions,
    StoreReader, StoreTotals, StoredFile, SyncCounts, SyncError, SyncObjectError, SyncOptions,
    SyncProgress, SyncReport, SyncState, SyncedObject, SyncedPin, SyncedPinChange, Target,
    TargetError, UnsafeLinks, VerifyOptions, VerifyProgress, VerifyReport, WriteSession,
    apply_repair, check_path, check_reader, hash_path, hash_reader, plan_repair, utc_text,
};

/// Runs the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
