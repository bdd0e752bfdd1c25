//! What copying an object would write: the same walk, without reading payload.

use std::collections::HashSet;

use super::copy::Tell;
use super::error::Stop;
use super::report::SyncCounts;
use super::source::SourceObject;
use super::walk::{Step, Walk};
use crate::block::Cid;
use crate::store::error::StoreError;
use crate::store::ingest::BlockWriter;

/// Blocks that would be new, over all objects that were counted: 16 bytes of each hash. Nothing but figures depends
/// on them.
#[derive(Default)]
pub(super) struct Counted(HashSet<[u8; 16]>);

struct Counter<'c, 's> {
    writer: &'c mut BlockWriter<'s>,
    counted: &'c mut Counted,
    counts: SyncCounts,
}

/// What is found here is relied on until the writer is dropped.
pub(super) fn count(
    writer: &mut BlockWriter<'_>,
    source: &SourceObject,
    counted: &mut Counted,
    tell: &mut Tell<'_>,
) -> Result<SyncCounts, Stop> {
    let mut counter = Counter {
        writer,
        counted,
        counts: SyncCounts::default(),
    };
    if source.is_block() {
        let block = source.block(&source.cid)?;
        counter.block(&source.cid, block.data().len())?;
        return Ok(counter.counts);
    }
    let mut walk = Walk::new(source);
    let mut bytes = 0;
    loop {
        tell(counter.counts, bytes)?;
        let batch = walk.next_batch()?;
        if batch.is_empty() {
            return Ok(counter.counts);
        }
        for step in &batch {
            match step {
                Step::Leaf(leaf) => {
                    counter.block(&leaf.cid, leaf.block_len())?;
                    bytes += u64::from(leaf.len);
                }
                Step::File { nodes, .. } => {
                    for node in nodes {
                        counter.block(node.cid(), node.data().len())?;
                    }
                }
                Step::Node(block) | Step::Symlink { block, .. } => {
                    counter.block(block.cid(), block.data().len())?;
                }
                Step::Folder { .. } => {}
            }
        }
    }
}

impl Counter<'_, '_> {
    fn block(&mut self, cid: &Cid, len: usize) -> Result<(), StoreError> {
        let mut start = [0; 16];
        for (to, from) in start.iter_mut().zip(cid.hash().digest()) {
            *to = *from;
        }
        let is_new = self.writer.find(cid.hash())?.is_none() && self.counted.0.insert(start);
        self.counts.count(len as u64, is_new);
        Ok(())
    }
}
