//! What a load did.

use std::collections::BTreeMap;

use serde::Serialize;

use super::options::Residency;
use crate::store::CopyReason;

/// What a load did: bytes and time for each device and stage, and what was copied and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// Shards that were read.
    pub shards: usize,
    /// Tensors that were placed.
    pub tensors: usize,
    /// Their bytes, as selected.
    pub bytes: u64,
    /// Bytes that lie in the store's map, were handed from it to a device, or stayed in the store.
    pub zero_copy_bytes: u64,
    /// Bytes that were copied into memory of this process, or of a device's choice.
    pub copied_bytes: u64,
    /// The copied bytes by their reason.
    pub copies: BTreeMap<CopyReason, u64>,
    /// How bytes came into memory; what [`Residency::Auto`] chose.
    pub residency: Residency,
    /// Mapped bytes that were read before the load returned.
    pub populated_bytes: u64,
    /// Mapped bytes that will be read at their first touch: all of them under [`Residency::Lazy`], and
    /// otherwise those that the memory, or the cap on it, had no room for.
    pub lazy_bytes: u64,
    /// Bytes that were hashed and found to be what the CID names: whole chunks, so more than was selected.
    pub verified_bytes: u64,
    /// The whole load in seconds.
    pub seconds: f64,
    /// Its stages in seconds.
    pub stages: StageSeconds,
    /// All devices in the order they are filled, unused ones too.
    pub devices: Vec<DeviceReport>,
}

/// How long each stage of a load took, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageSeconds {
    /// Finding the target and its files.
    pub resolve: f64,
    /// Reading and checking headers, and the index against them.
    pub headers: f64,
    /// Deciding which tensor goes where.
    pub plan: f64,
    /// Mapping, reading and placing.
    pub execute: f64,
}

/// What a load brought to one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeviceReport {
    /// The device's name.
    pub name: String,
    /// Tensors placed there.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The limit that the plan kept to, in bytes.
    pub limit: Option<u64>,
    /// Seconds that threads spent on it, added up over all of them.
    pub thread_seconds: f64,
}
