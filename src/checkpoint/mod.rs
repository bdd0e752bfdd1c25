//! Loading: from a target to tensors on devices.
//!
//! [`load_checkpoint_and_dispatch`] resolves a target to its shards, reads and checks their headers, plans
//! which tensor goes where ([`plan_devices`], a pure function) and carries the plan out. The parts are
//! public, so that a caller can use the planner or the header reader alone.

mod capacity;
mod device;
mod device_map;
mod dispatched;
mod error;
mod execute;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod header;
mod json;
mod load;
mod modules;
mod options;
mod plan;
mod report;
mod resolve;
mod select;
mod shard_index;
mod shards;
mod sharing;
mod source;
mod tensor;
mod threads;

pub(crate) use capacity::MemoryFigures;
pub use device::{
    Device, DeviceError, DevicePlan, NoDevice, StagingBuf, StagingMemory, TensorBytes, TensorData,
};
pub use device_map::{DeviceKind, DeviceLimit, DeviceMap, apply_max_memory};
pub use dispatched::{Dispatched, Placed};
pub use error::{Foreign, LimitOf, LoadError, SourceError, TensorPlace};
pub use header::{Header, MAX_HEADER_BYTES, TensorInfo, header_len};
pub use load::{LoadPlan, PlannedTensor, load_checkpoint_and_dispatch, plan_checkpoint};
pub use modules::PlanItem;
pub use options::{LoadOptions, LoadProgress, Residency};
pub use plan::{Plan, PlannedDevice, collapse, plan_devices};
pub use report::{DeviceReport, LoadReport, StageSeconds};
pub use resolve::{CheckpointFiles, choose};
pub use safetensors::Dtype;
pub use select::{Pieces, Select, SelectedBytes, Selection};
pub use shard_index::ShardIndex;
pub use sharing::{SharedTensors, compare_checkpoints};
pub use source::{Located, PlainFolder, Source};
pub use tensor::{LazyTensor, Tensor};
