//! Looking for blocks in files: each is cut as an add would cut it, and what is wanted is noted.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::feed::{Chunk, Feed, FilesFeed, From};
use super::options::{AddOptions, AddProgress};
use super::source::SourceFile;
use super::walk::walk_for_bytes;
use crate::block::{Block, Cid, Multihash};
use crate::dag::{FileBuilder, FileRoot, LeafBlock, Profile};
use crate::fsio;
use crate::store::error::StoreError;

/// Where in a file the content of a leaf lies.
#[derive(Clone, Debug)]
pub(crate) struct LeafSource {
    /// Not the open file: what is wanted may lie in more files than a process may have open.
    path: Arc<Path>,
    offset: u64,
    len: usize,
    profile: Arc<Profile>,
}

/// What was found in files.
#[derive(Debug, Default)]
pub(crate) struct InFiles {
    pub(crate) leaves: HashMap<Multihash, LeafSource>,
    /// Nodes, which stand in no file.
    pub(crate) nodes: HashMap<Multihash, Block>,
    /// What each file is, and the bytes of its blocks: the links of the folders over it say both.
    pub(crate) files: HashMap<Cid, u64>,
}

impl LeafSource {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The block, if the file has its bytes still.
    pub(crate) fn read(&self, cid: &Cid) -> Option<Block> {
        let mut data = vec![0; self.len];
        let file = fsio::open_regular(self.path()).ok()?;
        file.read_exact_at(&mut data, self.offset).ok()?;
        Block::verified(*cid, LeafBlock::new(data, &self.profile).data).ok()
    }
}

/// Cuts a file, or every file below a folder, and notes what each is, and those of the wanted blocks that are parts of
/// it.
pub(crate) fn search(
    path: &Path,
    profile: &Profile,
    wanted: &HashSet<Multihash>,
    options: &AddOptions,
    pool: &ThreadPool,
    found: &mut InFiles,
) -> Result<(), StoreError> {
    let walk = walk_for_bytes(path, options)?;
    let total_bytes = Some(walk.total_bytes);
    let mut feed = FilesFeed::new(walk.files, profile.chunker());
    let shared = Arc::new(profile.clone());
    let mut builder = FileBuilder::new(profile);
    let mut done_bytes = 0;
    let mut paths = Paths::default();
    loop {
        options.check_cancel()?;
        let batch = feed.next()?;
        if batch.is_empty() {
            return Ok(());
        }
        let hashed: Result<Vec<_>, StoreError> =
            pool.install(|| batch.par_iter().map(|chunk| hash(chunk, profile)).collect());
        let nodes = &mut found.nodes;
        let mut keep = |node: Block| {
            if wanted.contains(node.cid().hash()) {
                nodes.insert(*node.cid().hash(), node);
            }
        };
        for (chunk, root) in batch.iter().zip(hashed?) {
            done_bytes += chunk.len as u64;
            let hash = root.cid.hash();
            if let From::File { file, offset } = &chunk.from
                && wanted.contains(hash)
            {
                let path = paths.of(file);
                let source = LeafSource {
                    path,
                    offset: *offset,
                    len: chunk.len,
                    profile: Arc::clone(&shared),
                };
                found.leaves.insert(*hash, source);
            }
            builder.push_leaf(root, &mut keep);
            if chunk.last {
                let done = std::mem::replace(&mut builder, FileBuilder::new(profile));
                let file = done.finish(&mut keep);
                found.files.insert(file.cid, file.tsize);
            }
        }
        if let Some(progress) = &options.progress {
            progress(AddProgress {
                done_bytes,
                total_bytes,
                new_bytes: 0,
                shared_bytes: 0,
            });
        }
    }
}

/// The path of the file that is cut, shared by all that is found in it.
#[derive(Default)]
struct Paths(Option<(Arc<SourceFile>, Arc<Path>)>);

impl Paths {
    fn of(&mut self, file: &Arc<SourceFile>) -> Arc<Path> {
        let known = self.0.take_if(|(known, _)| !Arc::ptr_eq(known, file));
        drop(known);
        let new = || (Arc::clone(file), Arc::from(file.path.as_path()));
        Arc::clone(&self.0.get_or_insert_with(new).1)
    }
}

fn hash(chunk: &Chunk, profile: &Profile) -> Result<FileRoot, StoreError> {
    let From::File { file, offset } = &chunk.from else {
        unreachable!("the files of a walk are read from files");
    };
    let mut data = vec![0; chunk.len];
    file.read(&mut data, *offset)?;
    Ok(crate::dag::leaf(&data, profile))
}
