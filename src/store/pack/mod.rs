//! Packs: sealed files that hold the payload of blocks, and a table of what lies where.
//!
//! ```text
//! header   128 bytes, see `header.rs`
//! payload  blocks; a run of 64 KiB or more starts on 65,536 bytes, others on 64 (padding is a hole)
//! table    CID, offset and length of each block; the objects whose add ended here
//! ```
//!
//! A *reference pack* has no payload: its blocks lie in files of the user's, and in place of the payload stands the
//! list of these files. There is one for each add by reference, not one for each file, so that a folder of ten
//! thousand files costs one file and one sync more than a file does. To keep a place three numbers as everywhere
//! else, every file has a range of the pack's offsets to itself, which begins at a multiple of 65,536 and at least
//! a byte after the one before, so that no extent runs from one file into the next.
//!
//! A pack from elsewhere can name any path of this machine. What is read there is handed out only after it was
//! hashed and found to be the block that was asked for, so nothing is learnt that was not known; only regular files
//! are opened, without waiting; and nothing is ever written, cut, punched or removed there.

mod file;
mod header;
mod references;
mod sources;
mod table;
mod writer;

pub(crate) use file::{MAX_TABLE_BYTES, PackFile, read_table};
pub(crate) use header::{Header, MAGIC, PackKind};
pub(crate) use references::ReferenceWriter;
pub(crate) use sources::{Source, SourceFault, SourceReader, Sources};
pub(crate) use table::{ObjectNote, Row, Table};
pub(crate) use writer::{MAX_ROWS, PackWriter, SMALL_ALIGN, SealedPack, is_padding};

use std::ops::Range;

use super::error::StoreError;
use super::format::{hex, random_id, unhex};

/// The file name's ending.
const SUFFIX: &str = ".pack";

/// A pack's 128 random bits.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct PackId(pub(crate) [u8; 16]);

impl PackId {
    pub(crate) fn random() -> Result<Self, StoreError> {
        random_id().map(Self)
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{self}{SUFFIX}")
    }

    /// The id in a file name of ours; none for any other name.
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        name.strip_suffix(SUFFIX).and_then(unhex).map(Self)
    }
}

impl std::fmt::Display for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::fmt::Debug for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackId({self})")
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) pack: PackId,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Place {
    pub(crate) const ROW_BYTES: usize = 16 + 8 + 4;

    /// The bytes of the pack that it is.
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.len))
    }

    /// A part of the block, which `range` lies in.
    pub(crate) fn part(self, range: &Range<usize>) -> Self {
        Self {
            offset: self.offset + range.start as u64,
            len: range.len() as u32,
            ..self
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::ROW_BYTES] {
        let mut out = [0; Self::ROW_BYTES];
        out[..16].copy_from_slice(&self.pack.0);
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::ROW_BYTES {
            return None;
        }
        Some(Self {
            pack: PackId(bytes[..16].try_into().ok()?),
            offset: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
            len: u32::from_le_bytes(bytes[24..].try_into().ok()?),
        })
    }
}
