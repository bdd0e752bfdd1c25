//! What is done to a store while the clock runs.

use std::error::Error;
use std::time::Instant;

use ipfs_accelerate::{Block, Cid};

use super::chunks::{Chunks, shuffled};
use super::side::BlockStore;

/// Seconds until everything is durable, with the chunks made and hashed beforehand.
pub(crate) fn write(store: &dyn BlockStore, chunks: &Chunks) -> Result<f64, Box<dyn Error>> {
    let blocks: Vec<Block> = chunks.blocks().collect();
    let begun = Instant::now();
    store.write(&mut blocks.iter().cloned())?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds for all blocks in random order, each checked against its CID.
pub(crate) fn read(store: &dyn BlockStore, cids: &[Cid]) -> Result<f64, Box<dyn Error>> {
    let order = shuffled(cids.len());
    let begun = Instant::now();
    for number in order {
        let cid = &cids[number];
        let block = store.get(cid)?.ok_or_else(|| format!("{cid} is absent"))?;
        std::hint::black_box(block);
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// How many of the chunks are there, whole.
pub(crate) fn surviving(store: &dyn BlockStore, chunks: &Chunks) -> usize {
    let found =
        |cid: &Cid| store.has(cid).is_ok_and(|has| has) && matches!(store.get(cid), Ok(Some(_)));
    chunks.blocks().filter(|block| found(block.cid())).count()
}
