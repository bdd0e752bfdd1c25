//! The first 128 bytes of a pack.
//!
//! ```text
//! magic          8  "IPFSPACK"
//! version        4  1 with payload, 2 a reference pack, which earlier releases then refuse
//! kind           4  0 payload, 1 references
//! store         16
//! pack          16
//! table offset   8
//! table length   8
//! table check    8  xxh3-64
//! file length    8
//! blocks         8  rows of the table
//! header check   8  xxh3-64 of the 88 bytes above
//! zeros         to 128
//! ```

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::PackId;
use crate::store::error::StoreError;
use crate::store::format::{StoreId, array, hex};

pub(crate) const MAGIC: &[u8; 8] = b"IPFSPACK";
/// The newest version this release reads.
const NEWEST: u32 = 2;
const CHECKED: usize = 88;

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackKind {
    /// The bytes of its blocks.
    Payload,
    /// Places of its blocks in files of the user's.
    References,
}

impl PackKind {
    fn version_and_tag(self) -> (u32, u32) {
        match self {
            Self::Payload => (1, 0),
            Self::References => (2, 1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: PackKind,
    pub(crate) store: StoreId,
    pub(crate) pack: PackId,
    pub(crate) table_offset: u64,
    pub(crate) table_len: u64,
    pub(crate) table_check: u64,
    pub(crate) file_len: u64,
    pub(crate) blocks: u64,
}

impl Header {
    pub(crate) const BYTES: usize = 128;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(MAGIC);
        let (version, tag) = self.kind.version_and_tag();
        out[8..12].copy_from_slice(&version.to_le_bytes());
        out[12..16].copy_from_slice(&tag.to_le_bytes());
        out[16..32].copy_from_slice(&self.store.0);
        out[32..48].copy_from_slice(&self.pack.0);
        let numbers = [
            self.table_offset,
            self.table_len,
            self.table_check,
            self.file_len,
            self.blocks,
        ];
        for (slot, number) in out[48..CHECKED].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        let check = xxh3_64(&out[..CHECKED]);
        out[CHECKED..CHECKED + 8].copy_from_slice(&check.to_le_bytes());
        out
    }

    /// Checks the header against itself, the store, the id in the file's name and the file's length.
    pub(crate) fn parse(
        bytes: &[u8; Self::BYTES],
        store: StoreId,
        pack: PackId,
        file_len: u64,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let header = Self::decode(bytes, path)?;
        header.check(store, pack, file_len, path)?;
        Ok(header)
    }

    /// Checks the header against itself only.
    pub(crate) fn decode(bytes: &[u8; Self::BYTES], path: &Path) -> Result<Self, StoreError> {
        let damaged = |what, expected: String, found: String| StoreError::Damaged {
            path: path.to_path_buf(),
            what,
            expected,
            found,
        };
        if &bytes[..8] != MAGIC {
            let found = format!("{:?}", String::from_utf8_lossy(&bytes[..8]));
            return Err(damaged("magic", format!("{:?}", "IPFSPACK"), found));
        }
        let number = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
        let (expected, found) = (number(CHECKED), xxh3_64(&bytes[..CHECKED]));
        if expected != found {
            let (expected, found) = (format!("{expected:016x}"), format!("{found:016x}"));
            return Err(damaged("header checksum", expected, found));
        }
        let version = u32::from_le_bytes(array(&bytes[8..12]));
        if version > NEWEST {
            return Err(StoreError::NewerFormat {
                path: path.to_path_buf(),
                found: version,
                supported: NEWEST,
            });
        }
        let tag = u32::from_le_bytes(array(&bytes[12..16]));
        let kinds = [PackKind::Payload, PackKind::References];
        let kind = kinds
            .into_iter()
            .find(|kind| kind.version_and_tag() == (version, tag))
            .ok_or_else(|| {
                let found = format!("kind {tag} in version {version}");
                damaged("kind of pack", "one of that version".into(), found)
            })?;
        Ok(Self {
            kind,
            store: StoreId(array(&bytes[16..32])),
            pack: PackId(array(&bytes[32..48])),
            table_offset: number(48),
            table_len: number(56),
            table_check: number(64),
            file_len: number(72),
            blocks: number(80),
        })
    }

    fn check(
        &self,
        store: StoreId,
        pack: PackId,
        file_len: u64,
        path: &Path,
    ) -> Result<(), StoreError> {
        let damaged = |what, expected: String, found: String| StoreError::Damaged {
            path: path.to_path_buf(),
            what,
            expected,
            found,
        };
        if self.store != store {
            return Err(damaged("store id", hex(&store.0), hex(&self.store.0)));
        }
        if self.pack != pack {
            return Err(damaged("pack id", pack.to_string(), self.pack.to_string()));
        }
        if self.file_len != file_len {
            let (expected, found) = (self.file_len, file_len);
            return Err(damaged(
                "length",
                format!("{expected} bytes"),
                format!("{found} bytes"),
            ));
        }
        let table_end = self.table_offset.checked_add(self.table_len);
        if table_end != Some(file_len) || self.table_offset < Self::BYTES as u64 {
            let found = format!("{} from {}", self.table_len, self.table_offset);
            return Err(damaged("table place", format!("up to {file_len}"), found));
        }
        Ok(())
    }
}
