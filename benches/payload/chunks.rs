//! The payload: chunks that depend on their number only, so that every process can make and name them.

use ipfs_accelerate::{Block, HashFunction, RAW};

use super::checkpoint::Payload;

/// Chunks of one length, numbered from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    pub(crate) len: usize,
    pub(crate) count: usize,
}

impl Chunks {
    /// As many whole chunks as fit in `bytes`.
    pub(crate) fn of(bytes: u64, len: usize) -> Self {
        let count = (bytes / len as u64) as usize;
        Self { len, count }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.len as u64 * self.count as u64
    }

    /// Makes and hashes one.
    pub(crate) fn block(&self, number: usize) -> Block {
        let mut data = vec![0; self.len];
        Payload::new(number as u64, "chunk").fill(&mut data);
        Block::new(RAW, HashFunction::Sha2_256, data)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        let chunks = *self;
        (0..self.count).map(move |number| chunks.block(number))
    }
}

/// The numbers below `count` in an order without a pattern, the same each time.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..count).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}
