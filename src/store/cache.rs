//! The memory tier: a byte-budgeted least-recently-used cache in front of the index and the packs.
//!
//! `lru` behind one mutex: a hit costs a lookup and a list move, and waits for memory more than it computes.
//! Its hash is keyed for each process. moka held twice its budget and took several times as long for a hit when
//! it was measured; `cargo bench --bench reach -- block` prints the figure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::block::{Block, Cid, Multihash};
use crate::dag::Node;

/// What an entry costs besides its bytes: keys, list links and the map's slack.
const ENTRY_OVERHEAD: u64 = 256;

/// What an entry is found by. Entries are small, as a hit fetches them from memory: the multihash stands in one
/// once, and a block's value is its bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    hash: Multihash,
    /// Of a decoded node the codec that it was decoded by.
    node: Option<u64>,
}

impl Key {
    fn block(cid: &Cid) -> Self {
        Self {
            hash: *cid.hash(),
            node: None,
        }
    }

    fn node(cid: &Cid) -> Self {
        Self {
            hash: *cid.hash(),
            node: Some(cid.codec()),
        }
    }
}

#[derive(Clone)]
enum Value {
    /// The bytes of a block with the key's multihash.
    Block(Arc<[u8]>),
    Node(Arc<Node>),
}

/// Counters and fill of the memory tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that the tier answered.
    pub hits: u64,
    /// Reads that went on to the packs.
    pub misses: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Entries held.
    pub entries: u64,
    /// Bytes held, bookkeeping included; never over the budget.
    pub bytes: u64,
    /// The budget in bytes.
    pub budget_bytes: u64,
}

pub(crate) struct MemoryTier {
    state: Mutex<State>,
    budget: u64,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    clears: AtomicU64,
}

struct State {
    entries: LruCache<Key, (Value, u64)>,
    bytes: u64,
}

impl MemoryTier {
    /// A tier of `budget` bytes; zero keeps nothing.
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            state: Mutex::new(State {
                entries: LruCache::unbounded(),
                bytes: 0,
            }),
            budget,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            clears: AtomicU64::new(0),
        }
    }

    pub(crate) fn block(&self, cid: &Cid) -> Option<Block> {
        match self.get(&Key::block(cid))? {
            // The same bytes under another codec are the same block to the store.
            Value::Block(data) => Some(Block::of_checked_data(*cid, data)),
            Value::Node(_) => None,
        }
    }

    /// How often the tier was emptied. Asked before a block is looked up: what was found before a collection is
    /// not kept after it.
    pub(crate) fn clears(&self) -> u64 {
        self.clears.load(Ordering::Acquire)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        // Under the lock, so that nothing older comes in behind it.
        self.clears.fetch_add(1, Ordering::Release);
        state.entries.clear();
        state.bytes = 0;
    }

    /// Keeps a block that was looked up when the tier had been emptied `since` times.
    pub(crate) fn put_block(&self, block: &Block, since: u64) {
        let cost = block.data().len() as u64;
        let data = block.clone().into_data();
        self.put(Key::block(block.cid()), Value::Block(data), cost, since);
    }

    /// A miss is not counted here: the block is asked for next.
    pub(crate) fn node(&self, cid: &Cid) -> Option<Arc<Node>> {
        match self.look(&Key::node(cid))? {
            Value::Node(node) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Some(node)
            }
            Value::Block(_) => None,
        }
    }

    /// As [`MemoryTier::put_block`].
    pub(crate) fn put_node(&self, cid: &Cid, node: Arc<Node>, cost: u64, since: u64) {
        self.put(Key::node(cid), Value::Node(node), cost, since);
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let state = self.state();
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            entries: state.entries.len() as u64,
            bytes: state.bytes,
            budget_bytes: self.budget,
        }
    }

    fn look(&self, key: &Key) -> Option<Value> {
        let mut state = self.state();
        state.entries.get(key).map(|(value, _)| value.clone())
    }

    fn get(&self, key: &Key) -> Option<Value> {
        let found = self.look(key);
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Makes room first, so that the tier is never over its budget.
    fn put(&self, key: Key, value: Value, bytes: u64, since: u64) {
        let cost = bytes + ENTRY_OVERHEAD;
        if cost > self.budget {
            return;
        }
        let mut state = self.state();
        if self.clears() != since {
            return;
        }
        if let Some((_, old)) = state.entries.pop(&key) {
            state.bytes -= old;
        }
        while state.bytes + cost > self.budget {
            let Some((_, (_, freed))) = state.entries.pop_lru() else {
                break;
            };
            state.bytes -= freed;
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        state.bytes += cost;
        state.entries.put(key, (value, cost));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{HashFunction, RAW};

    fn block(seed: u32, len: usize) -> Block {
        let mut data = vec![0; len];
        data[..4].copy_from_slice(&seed.to_le_bytes());
        Block::new(RAW, HashFunction::Sha2_256, data)
    }

    #[test]
    fn the_tier_is_never_over_its_budget_and_the_least_recent_goes_first() {
        let tier = MemoryTier::new(10_000);
        let blocks: Vec<Block> = (0..20).map(|i| block(i, 1_000)).collect();
        for b in &blocks {
            tier.put_block(b, 0);
            assert!(tier.block(blocks[0].cid()).is_some(), "kept by being used");
            assert!(tier.stats().bytes <= 10_000);
        }
        let stats = tier.stats();
        assert_eq!(stats.entries, 7);
        assert_eq!(stats.evictions, 13);
        assert_eq!(stats.hits, 20);
        assert!(tier.block(blocks[1].cid()).is_none());
        assert_eq!(tier.stats().misses, 1);
        let last = tier.block(blocks[19].cid()).unwrap();
        assert_eq!(last.data(), blocks[19].data());
    }

    #[test]
    fn what_was_looked_up_before_the_tier_was_emptied_is_not_kept_after_it() {
        let tier = MemoryTier::new(10_000);
        let since = tier.clears();
        let old = block(1, 1_000);
        tier.put_block(&old, since);
        tier.clear();
        assert!(tier.block(old.cid()).is_none());
        tier.put_block(&old, since);
        assert_eq!((tier.stats().entries, tier.stats().bytes), (0, 0));
        tier.put_block(&old, tier.clears());
        assert!(tier.block(old.cid()).is_some());
    }

    #[test]
    fn what_is_larger_than_the_budget_is_not_kept() {
        let tier = MemoryTier::new(1_000);
        tier.put_block(&block(1, 2_000), 0);
        assert_eq!(tier.stats().entries, 0);
        assert_eq!(MemoryTier::new(0).stats().budget_bytes, 0);
    }
}
