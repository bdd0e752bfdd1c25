//! The memory tier as `Store` uses it.

use ipfs_accelerate::{Block, DagError, HashFunction, Node, RAW, StoreError, StoreOptions};

use super::store_kit::*;

fn store_with_tier(stage: &Stage, memory_bytes: u64) -> ipfs_accelerate::Store {
    let mut options = StoreOptions::default();
    options.memory_bytes = memory_bytes;
    stage.create_with(options)
}

#[test]
fn a_second_read_of_a_block_is_a_hit() {
    let stage = Stage::new();
    let store = store_with_tier(&stage, 10_000_000);
    let added = add_bytes(&store, &bytes(1, 10_000));
    assert_eq!(store.cache_stats().entries, 0, "adding bypasses the tier");
    for reads in 1..4 {
        assert_eq!(
            store.get_block(&added.cid).unwrap().data(),
            bytes(1, 10_000)
        );
        let stats = store.cache_stats();
        assert_eq!((stats.misses, stats.hits), (1, reads - 1));
    }
    assert_eq!(store.cache_stats().entries, 1);
    assert!(store.get_block(block(7).cid()).is_err());
    assert_eq!(store.cache_stats().misses, 2);
}

fn block(seed: u64) -> Block {
    Block::new(RAW, HashFunction::Sha2_256, bytes(seed, 1_000))
}

#[test]
fn the_tier_stays_under_its_budget_and_evicts() {
    let stage = Stage::new();
    let store = store_with_tier(&stage, 20_000);
    let mut session = store.session();
    for seed in 0..100 {
        session.put_block(&block(seed)).unwrap();
    }
    session.commit().unwrap();
    for seed in (0..100).chain(0..100) {
        assert_eq!(store.get_block(block(seed).cid()).unwrap(), block(seed));
        let stats = store.cache_stats();
        assert!(stats.bytes <= stats.budget_bytes, "{stats:?}");
        assert_eq!(stats.budget_bytes, 20_000);
    }
    let stats = store.cache_stats();
    assert_eq!(stats.misses, 200);
    assert_eq!(stats.evictions + stats.entries, 200);
}

#[test]
fn a_tier_of_no_bytes_keeps_nothing_and_works() {
    let stage = Stage::new();
    let store = store_with_tier(&stage, 0);
    let added = add_bytes(&store, b"x");
    for _ in 0..2 {
        assert_eq!(store.get_block(&added.cid).unwrap().data(), b"x");
    }
    let stats = store.cache_stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.entries, stats.bytes),
        (0, 2, 0, 0)
    );
}

#[test]
fn a_node_is_decoded_once_and_each_read_counts_once() {
    let stage = Stage::new();
    let store = store_with_tier(&stage, 10_000_000);
    let added = add_bytes(&store, &bytes(2, 3 << 20));
    let Node::File { children, .. } = &*store.get_node(&added.cid).unwrap() else {
        panic!("a file")
    };
    assert_eq!(children.len(), 3);
    let stats = store.cache_stats();
    assert_eq!((stats.hits, stats.misses), (0, 1));
    store.get_node(&added.cid).unwrap();
    let stats = store.cache_stats();
    assert_eq!((stats.hits, stats.misses), (1, 1));
}

#[test]
fn a_block_that_is_no_node_is_a_typed_error() {
    let stage = Stage::new();
    let store = stage.create();
    let block = Block::new(
        ipfs_accelerate::DAG_PB,
        HashFunction::Sha2_256,
        bytes(3, 100),
    );
    let mut session = store.session();
    session.put_block(&block).unwrap();
    session.commit().unwrap();
    let error = store.get_node(block.cid()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Dag(DagError::Malformed { cid, .. }) if cid == block.cid()),
        "{error}"
    );
}
