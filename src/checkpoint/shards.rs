//! From a target to open shards with checked headers.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::error::LoadError;
use super::header::{Header, header_len};
use super::resolve::{CheckpointFiles, choose};
use super::shard_index::ShardIndex;
use super::source::{Located, Source};
use crate::store::{Leaves, Prover, StoredFile, Target};

/// How the names of indexes end.
pub(super) const INDEX: &str = ".safetensors.index.json";
/// What a header and the length before it usually fit in; longer headers take a second read.
const FIRST_READ: u64 = 64 << 10;
/// An index of a hundred thousand tensors has about ten megabytes.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// An open shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) file: StoredFile,
    pub(super) header: Header,
    /// What its bytes must hash to, if that is to be checked.
    pub(super) leaves: Option<Arc<Leaves>>,
}

/// The files of a checkpoint, opened and not read yet.
#[derive(Debug)]
pub(super) struct Opened {
    index: Option<ShardIndex>,
    files: Vec<OpenFile>,
}

/// A file, and what its bytes must hash to if that is to be checked.
#[derive(Debug)]
struct OpenFile {
    name: String,
    file: StoredFile,
    leaves: Option<Arc<Leaves>>,
}

impl OpenFile {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, LoadError> {
        let bytes = match &self.leaves {
            Some(leaves) => leaves.read(&self.file, range),
            None => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                let read = self.file.read_at(range.start, &mut bytes);
                read.map(|len| {
                    bytes.truncate(len);
                    bytes
                })
            }
        };
        bytes.map_err(LoadError::from_source)
    }
}

/// Opens files of one source, with or without what proves their bytes.
struct Opener<'o> {
    found: &'o Located,
    prover: Option<&'o Prover>,
}

impl Opener<'_> {
    fn open(&self, path: &str) -> Result<OpenFile, LoadError> {
        let file = self.found.open(path).map_err(LoadError::Source)?;
        let leaves = self
            .prover
            .map(|prover| self.found.leaves(path, &file, prover));
        Ok(OpenFile {
            name: match path {
                "" => file.name().to_owned(),
                path => path.to_owned(),
            },
            leaves: leaves.transpose()?.map(Arc::new),
            file,
        })
    }

    fn open_single(&self, name: &str) -> Result<Opened, LoadError> {
        let mut file = self.open(name)?;
        file.name = file.file.name().to_owned();
        Ok(Opened {
            index: None,
            files: vec![file],
        })
    }

    fn open_index(&self, name: &str) -> Result<Opened, LoadError> {
        let open = self.open(name)?;
        let size = open.file.size();
        if size > MAX_INDEX_BYTES {
            return Err(LoadError::MemoryCap {
                what: name.to_owned(),
                needed: size,
                cap: MAX_INDEX_BYTES,
            });
        }
        let json = open.read(0..size)?;
        if json.starts_with(b"version https://git-lfs") {
            return Err(LoadError::LfsPointer {
                shard: name.to_owned(),
                size: None,
            });
        }
        let index = ShardIndex::parse(name, &json)?;
        index.check_files(|shard| self.found.has(shard))?;
        let shards = index.shards().iter();
        let files = shards
            .map(|shard| self.open(shard))
            .collect::<Result<_, _>>()?;
        Ok(Opened {
            index: Some(index),
            files,
        })
    }
}

/// Finds the files that a target stands for.
pub(super) fn open(
    source: &impl Source,
    target: &Target,
    verify: bool,
) -> Result<Opened, LoadError> {
    let found = source.locate(target).map_err(LoadError::Source)?;
    let prover = if verify { Some(found.prover()?) } else { None };
    let opener = |found| Opener {
        found,
        prover: prover.as_ref(),
    };
    if found.is_folder() {
        if let Some(prover) = &prover {
            found.check_names(prover)?;
        }
        let names = found.files().map_err(LoadError::Source)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return match choose(&names)? {
            CheckpointFiles::Single(name) => opener(&found).open_single(&name),
            CheckpointFiles::Index(name) => opener(&found).open_index(&name),
        };
    }
    // An index that is named by its path stands for the folder it lies in. By its own CID it does
    // not: folders with other shards may hold the same index.
    match found.parent(target) {
        Some((folder, name)) if name.ends_with(INDEX) => opener(&folder).open_index(&name),
        _ => opener(&found).open_single(""),
    }
}

/// Reads and checks all headers side by side, and the index against them.
pub(super) fn read_headers(opened: Opened) -> Result<Vec<Shard>, LoadError> {
    let Opened { index, files } = opened;
    let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
    let shards: Vec<Shard> = match files.len() {
        // Not worth waking other threads for.
        1 => files
            .into_iter()
            .map(read_header)
            .collect::<Result<_, _>>()?,
        _ => files
            .into_par_iter()
            .map(read_header)
            .collect::<Result<_, _>>()?,
    };
    if let Some(index) = index {
        let headers: Vec<(&str, &Header)> = names
            .iter()
            .map(String::as_str)
            .zip(shards.iter().map(|s| &s.header))
            .collect();
        index.check(&headers)?;
    }
    Ok(shards)
}

fn read_header(open: OpenFile) -> Result<Shard, LoadError> {
    let size = open.file.size();
    let mut bytes = open.read(0..size.min(FIRST_READ))?;
    let len = header_len(&open.name, &bytes, size)?;
    let end = 8 + len;
    if end > bytes.len() as u64 {
        bytes.extend(open.read(bytes.len() as u64..end)?);
    }
    let header = Header::parse(&open.name, &bytes[8..end as usize], size)?;
    Ok(Shard {
        file: open.file,
        header,
        leaves: open.leaves,
    })
}
