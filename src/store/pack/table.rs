//! The table at a pack's end: from it alone the index can be rebuilt.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{PackId, Place};
use crate::store::error::StoreError;
use crate::store::format::{self, StoredCid};

/// A block of the pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) cid: StoredCid,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Row {
    /// Where it lies, as a block of that pack.
    pub(crate) fn place(&self, pack: PackId) -> Place {
        Place {
            pack,
            offset: self.offset,
            len: self.len,
        }
    }

    /// The bytes of the pack that it is.
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.len))
    }
}

/// An object whose add ended in this pack: what a lost root could be made again from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectNote {
    pub(crate) cid: StoredCid,
    pub(crate) profile: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) objects: Vec<ObjectNote>,
}

impl Table {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        format::section(self)
    }

    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        format::decode(bytes, path, "table")
    }
}
