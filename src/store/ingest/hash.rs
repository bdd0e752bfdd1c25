//! Reading and hashing batches of chunks side by side, and building files from them in order.

use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::feed::{BATCH_BYTES, Chunk, Feed, From};
use super::options::{AddOptions, AddProgress};
use super::record::{FileSpans, RootBuilder};
use super::references::{self, Origin};
use super::writer::BlockWriter;
use crate::block::{Block, Cid, RAW};
use crate::dag::{FileBuilder, FileRoot, LeafBlock, Profile};
use crate::store::error::StoreError;
use crate::store::inner::Inner;
use crate::store::pack::Place;

/// Buffers of this size or more are used again; memory fresh from the system costs a page fault each.
const KEPT_BUFFER: usize = 128 << 10;

/// A finished file.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) root: FileRoot,
    pub(crate) spans: FileSpans,
    pub(crate) blocks: u64,
}

/// A chunk that was hashed, and what the index knew of it.
struct Leaf {
    block: LeafBlock,
    seen: Option<Place>,
    /// Where it was read, if it is to stay there.
    origin: Option<Origin>,
    starts_run: bool,
    run_bytes: u64,
    last: bool,
}

/// Counts of content bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bytes {
    pub(crate) new: u64,
    pub(crate) shared: u64,
    pub(crate) referenced: u64,
}

/// Where blocks go.
pub(crate) struct Sink<'w, 's> {
    pub(crate) store: &'s Inner,
    pub(crate) writer: &'w mut BlockWriter<'s>,
    pub(crate) root: &'w mut RootBuilder,
}

impl Sink<'_, '_> {
    /// Puts a block that is not a leaf.
    pub(super) fn put_node(&mut self, block: Block) -> Result<(), StoreError> {
        let cid = *block.cid();
        let seals = self.store.seals();
        let seen = self.store.find(cid.hash(), self.writer.holder())?;
        self.writer.end_run();
        let (put, _) = self.writer.put(
            &cid,
            block.data().to_vec(),
            block.data().len() as u64,
            seen,
            seals,
        )?;
        self.writer.end_run();
        self.root.node(cid, put.place);
        Ok(())
    }
}

/// Hashes everything the feed has; returns the files in its order.
///
/// Only hashing and writing go to the pool. The rest stays on the caller's thread, so that an add whose
/// input or whose progress callback waits keeps no thread from the others.
pub(crate) fn hash_all(
    feed: &mut dyn Feed,
    options: &AddOptions,
    total_bytes: Option<u64>,
    pool: &ThreadPool,
    sink: &mut Sink<'_, '_>,
) -> Result<(Vec<Hashed>, Bytes), StoreError> {
    let profile = &options.profile;
    let buffers = Buffers::default();
    let mut files = Vec::new();
    let mut bytes = Bytes::default();
    let mut current = Current::new(profile);
    let mut unwritten = Vec::new();
    let mut done_bytes = 0;
    loop {
        options.check_cancel()?;
        let batch = feed.next()?;
        let finished = batch.is_empty();
        // The batch before is written while this one is hashed.
        let Sink { store, writer, .. } = sink;
        let seals = store.seals();
        let (pack, holder) = (writer.open_pack(), writer.holder());
        let find = |cid: &Cid, origin: Option<&Origin>| match origin {
            None => store.find(cid.hash(), holder),
            Some(origin) => references::find(store, holder, cid, origin),
        };
        let before = std::mem::take(&mut unwritten);
        let (written, leaves) = pool.install(|| {
            rayon::join(
                || BlockWriter::write(pack, before),
                || hash_batch(batch, options, &buffers, &find),
            )
        });
        written?.into_iter().for_each(|buffer| buffers.put(buffer));
        writer.note_written();
        let leaves = leaves?;
        if finished {
            return Ok((files, bytes));
        }
        for leaf in leaves {
            let LeafBlock {
                root,
                data,
                content,
            } = leaf.block;
            let FileRoot { cid, size, .. } = root;
            let mut nodes = Vec::new();
            current
                .builder
                .push_leaf(root, &mut |node| nodes.push(node));
            current.blocks += 1;
            let writer = &mut sink.writer;
            if leaf.starts_run {
                writer.end_run();
            }
            let is_referenced = leaf.origin.is_some();
            let (put, unused) = match &leaf.origin {
                None => writer.put(&cid, data, leaf.run_bytes, leaf.seen, seals)?,
                Some(origin) => {
                    let put = writer.put_referenced(&cid, origin, data.len(), leaf.seen, seals)?;
                    (put, Some(data))
                }
            };
            unused.into_iter().for_each(|buffer| buffers.put(buffer));
            // What is no extent by itself is remembered as a node: an empty leaf, or a framed one.
            if size == 0 || cid.codec() != RAW {
                current.leaf_nodes.push((cid, put.place));
            }
            current.spans.push(put.place.part(&content));
            *match (put.is_new, is_referenced) {
                (true, false) => &mut bytes.new,
                (true, true) => &mut bytes.referenced,
                (false, _) => &mut bytes.shared,
            } += size;
            done_bytes += size;
            current.nodes.append(&mut nodes);
            if leaf.last {
                files.push(std::mem::replace(&mut current, Current::new(profile)).finish(sink)?);
            }
        }
        unwritten = sink.writer.take_unwritten();
        if let Some(progress) = &options.progress {
            progress(AddProgress {
                done_bytes,
                total_bytes,
                new_bytes: bytes.new,
                shared_bytes: bytes.shared,
            });
        }
    }
}

/// The file that is being put together.
struct Current {
    builder: FileBuilder,
    spans: FileSpans,
    /// Kept until the file ends, so that its leaves stay one run.
    nodes: Vec<Block>,
    /// Leaves that extents do not tell.
    leaf_nodes: Vec<(Cid, Place)>,
    blocks: u64,
}

impl Current {
    fn new(profile: &Profile) -> Self {
        Self {
            builder: FileBuilder::new(profile),
            spans: FileSpans::default(),
            nodes: Vec::new(),
            leaf_nodes: Vec::new(),
            blocks: 0,
        }
    }

    fn finish(mut self, sink: &mut Sink<'_, '_>) -> Result<Hashed, StoreError> {
        let root = self.builder.finish(&mut |node| self.nodes.push(node));
        for (cid, place) in self.leaf_nodes {
            sink.root.node(cid, place);
        }
        self.blocks += self.nodes.len() as u64;
        for node in self.nodes {
            sink.put_node(node)?;
        }
        sink.writer.end_run();
        Ok(Hashed {
            root,
            spans: self.spans,
            blocks: self.blocks,
        })
    }
}

type Find<'f> = dyn Fn(&Cid, Option<&Origin>) -> Result<Option<Place>, StoreError> + Sync + 'f;

fn hash_batch(
    batch: Vec<Chunk>,
    options: &AddOptions,
    buffers: &Buffers,
    find: &Find<'_>,
) -> Result<Vec<Leaf>, StoreError> {
    let hash = |chunk: Chunk| {
        let (data, origin) = match chunk.from {
            From::Memory(data) => (data, None),
            From::File { file, offset } => {
                let mut data = buffers.take(chunk.len);
                file.read(&mut data, offset)?;
                // An empty file has no bytes to refer to.
                let stays = options.reference && chunk.len > 0;
                (data, stays.then_some(Origin { file, offset }))
            }
        };
        let block = LeafBlock::new(data, &options.profile);
        let seen = find(&block.root.cid, origin.as_ref())?;
        Ok(Leaf {
            block,
            seen,
            origin,
            starts_run: chunk.starts_run,
            run_bytes: chunk.run_bytes,
            last: chunk.last,
        })
    };
    batch.into_par_iter().map(hash).collect()
}

/// Buffers of chunks, used again.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let kept = (len >= KEPT_BUFFER)
            .then(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).pop())
            .flatten();
        let mut buffer = kept.unwrap_or_default();
        // Within the capacity this fills only what was cut off by a shorter chunk.
        buffer.resize(len, 0);
        buffer
    }

    pub(crate) fn put(&self, buffer: Vec<u8>) {
        // A stream brings buffers of its own and takes none, so what is kept has an end.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() >= KEPT_BUFFER && (kept.len() + 1) * buffer.len() <= 3 * BATCH_BYTES {
            kept.push(buffer);
        }
    }
}
