//! From a target to open shards with checked headers.

use rayon::prelude::*;

use super::error::LoadError;
use super::header::{Header, header_len};
use super::resolve::{CheckpointFiles, choose};
use super::shard_index::ShardIndex;
use super::source::{Located, Source};
use crate::store::{StoredFile, Target};

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
}

/// The files of a checkpoint, opened and not read yet.
#[derive(Debug)]
pub(super) struct Opened {
    index: Option<ShardIndex>,
    files: Vec<(String, StoredFile)>,
}

/// Finds the files that a target stands for.
pub(super) fn open(source: &impl Source, target: &Target) -> Result<Opened, LoadError> {
    let found = source.locate(target).map_err(LoadError::Source)?;
    if found.is_folder() {
        let names = found.files().map_err(LoadError::Source)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return match choose(&names)? {
            CheckpointFiles::Single(name) => open_single(&found, &name),
            CheckpointFiles::Index(name) => open_index(&found, &name),
        };
    }
    // An index that is named by its path stands for the folder it lies in. By its own CID it does
    // not: folders with other shards may hold the same index.
    match found.parent(target) {
        Some((folder, name)) if name.ends_with(INDEX) => open_index(&folder, &name),
        _ => open_single(&found, ""),
    }
}

fn open_single(found: &Located, name: &str) -> Result<Opened, LoadError> {
    let file = found.open(name).map_err(LoadError::Source)?;
    Ok(Opened {
        index: None,
        files: vec![(file.name().to_owned(), file)],
    })
}

fn open_index(folder: &Located, name: &str) -> Result<Opened, LoadError> {
    let file = folder.open(name).map_err(LoadError::Source)?;
    if file.size() > MAX_INDEX_BYTES {
        return Err(LoadError::MemoryCap {
            what: name.to_owned(),
            needed: file.size(),
            cap: MAX_INDEX_BYTES,
        });
    }
    let json = file.read().map_err(LoadError::from_source)?;
    if json.starts_with(b"version https://git-lfs") {
        return Err(LoadError::LfsPointer {
            shard: name.to_owned(),
            size: None,
        });
    }
    let index = ShardIndex::parse(name, &json)?;
    index.check_files(|shard| folder.has(shard))?;
    let open = |shard: &String| {
        folder
            .open(shard)
            .map(|file| (shard.clone(), file))
            .map_err(LoadError::Source)
    };
    let files = index.shards().iter().map(open).collect::<Result<_, _>>()?;
    Ok(Opened {
        index: Some(index),
        files,
    })
}

/// Reads and checks all headers side by side, and the index against them.
pub(super) fn read_headers(opened: Opened) -> Result<Vec<Shard>, LoadError> {
    let Opened { index, files } = opened;
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
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

fn read_header((name, file): (String, StoredFile)) -> Result<Shard, LoadError> {
    let mut bytes = vec![0; file.size().min(FIRST_READ) as usize];
    file.read_at(0, &mut bytes)
        .map_err(LoadError::from_source)?;
    let len = header_len(&name, &bytes, file.size())?;
    let end = 8 + len as usize;
    if let Some(missing) = end.checked_sub(bytes.len()).filter(|missing| *missing > 0) {
        let start = bytes.len();
        bytes.resize(start + missing, 0);
        file.read_at(start as u64, &mut bytes[start..])
            .map_err(LoadError::from_source)?;
    }
    let header = Header::parse(&name, &bytes[8..end], file.size())?;
    Ok(Shard { file, header })
}
