//! Reading packs whatever their headers say.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::block::{Cid, verify};
use crate::dag::MAX_BLOCK_BYTES;
use crate::error::FileError;
use crate::fsio::Files;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::pack::{Header, PackId, Place, Table, read_table};

/// A file in `packs/`, open for reading.
#[derive(Debug)]
pub(super) struct RawPack {
    files: Files,
    file: File,
    path: PathBuf,
    len: u64,
}

impl RawPack {
    pub(super) fn open(folder: &StoreFolder, path: PathBuf) -> Result<Self, StoreError> {
        let files = folder.files().clone();
        let file = files.open(&path)?;
        let metadata = files.file_metadata(&file, &path)?;
        Ok(Self {
            len: metadata.len(),
            files,
            file,
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len];
        let files = &self.files;
        files.read_exact_at(&self.file, &mut bytes, offset, &self.path)?;
        Ok(bytes)
    }

    /// The header, checked against itself only.
    pub(super) fn header(&self) -> Result<Header, StoreError> {
        if self.len < Header::BYTES as u64 {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                what: "length",
                expected: format!("at least {} bytes", Header::BYTES),
                found: format!("{} bytes", self.len),
            });
        }
        let mut bytes = [0; Header::BYTES];
        let files = &self.files;
        files.read_exact_at(&self.file, &mut bytes, 0, &self.path)?;
        Header::decode(&bytes, &self.path)
    }

    pub(super) fn table(&self, header: &Header) -> Result<Table, StoreError> {
        read_table(&self.files, &self.file, &self.path, header)
    }

    fn reaches(&self, offset: u64, len: u32) -> bool {
        offset.saturating_add(u64::from(len)) <= self.len
    }

    /// Whether the bytes at a place are those of a block.
    pub(super) fn holds(&self, cid: &Cid, offset: u64, len: u32) -> Held {
        use crate::block::BlockError::Mismatch;
        if len as usize > MAX_BLOCK_BYTES || !self.reaches(offset, len) {
            return Held::Other;
        }
        match self.bytes(offset, len as usize) {
            Err(_) => Held::Unreadable,
            Ok(bytes) => match verify(cid, &bytes) {
                Ok(()) => Held::Good,
                Err(Mismatch { .. }) => Held::Other,
                Err(_) => Held::Unchecked,
            },
        }
    }
}

/// What stands at the place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Good,
    Other,
    /// Its hash cannot be computed here, so nothing says that it is wrong.
    Unchecked,
    /// The disk refuses to say it now.
    Unreadable,
}

impl Held {
    /// Whether it is known not to be the block, or cannot be had.
    pub(super) fn is_bad(self) -> bool {
        matches!(self, Self::Other | Self::Unreadable)
    }
}

pub(super) fn pack_path(folder: &StoreFolder, id: PackId) -> PathBuf {
    folder.packs().join(id.file_name())
}

/// Reads single blocks; the pack that was read last stays open.
#[derive(Debug)]
pub(super) struct RawReader {
    folder: StoreFolder,
    /// Packs that stand under another name.
    misnamed: HashMap<PackId, PathBuf>,
    last: Mutex<Option<(PackId, Arc<RawPack>)>>,
}

impl RawReader {
    pub(super) fn new(folder: &StoreFolder) -> Self {
        Self {
            folder: folder.clone(),
            misnamed: HashMap::new(),
            last: Mutex::new(None),
        }
    }

    /// From now on a pack is read at another path than its own.
    pub(super) fn misname(&mut self, id: PackId, path: PathBuf) {
        self.misnamed.insert(id, path);
    }

    pub(super) fn open(&self, id: PackId) -> Result<Arc<RawPack>, StoreError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((open, pack)) = &*last
            && *open == id
        {
            return Ok(Arc::clone(pack));
        }
        let path = self.misnamed.get(&id).cloned();
        let path = path.unwrap_or_else(|| pack_path(&self.folder, id));
        let pack = Arc::new(RawPack::open(&self.folder, path)?);
        *last = Some((id, Arc::clone(&pack)));
        Ok(pack)
    }

    /// A block's bytes, if they are its; an error where the disk refuses to say it.
    pub(super) fn block(&self, cid: &Cid, place: Place) -> Result<Option<Vec<u8>>, StoreError> {
        let pack = match self.open(place.pack) {
            Err(e) if is_absent(&e) || matches!(e, StoreError::Damaged { .. }) => return Ok(None),
            opened => opened?,
        };
        if place.len as usize > MAX_BLOCK_BYTES || !pack.reaches(place.offset, place.len) {
            return Ok(None);
        }
        let bytes = pack.bytes(place.offset, place.len as usize)?;
        Ok(verify(cid, &bytes).is_ok().then_some(bytes))
    }

    /// Whether a block is at a place; an error where the disk refuses to say it.
    pub(super) fn holds(&self, cid: &Cid, place: Place) -> Result<bool, StoreError> {
        let pack = self.open(place.pack)?;
        match pack.holds(cid, place.offset, place.len) {
            Held::Good | Held::Unchecked => Ok(true),
            Held::Other => Ok(false),
            // For what the system says of it.
            Held::Unreadable => pack.bytes(place.offset, place.len as usize).map(|_| false),
        }
    }
}

/// Whether an error says that nothing stands there.
pub(super) fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::File(FileError { source, .. })
        if source.kind() == std::io::ErrorKind::NotFound)
}
