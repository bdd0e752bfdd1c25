//! Write sessions: single blocks that count once they are committed.

use ipfs_accelerate::{
    Block, DagError, Explain, HashFunction, IDENTITY, Multihash, RAW, StoreError,
};

use super::store_kit::*;

fn block(seed: u64, len: usize) -> Block {
    Block::new(RAW, HashFunction::Sha2_256, bytes(seed, len))
}

#[test]
fn committed_blocks_are_there_after_reopening_and_pending_ones_are_not() {
    let stage = Stage::new();
    let store = stage.create();
    let blocks: Vec<Block> = (0..50).map(|i| block(i, 1_000 + i as usize)).collect();
    let mut session = store.session();
    for block in &blocks {
        assert_eq!(session.put_block(block).unwrap().uncommitted(), block.cid());
        assert!(!store.has_block(block.cid()).unwrap());
    }
    session.put_block(&blocks[3]).unwrap();
    let report = session.commit().unwrap();
    assert_eq!((report.new_blocks, report.cids.len()), (50, 51));
    assert_eq!(
        report.new_bytes,
        blocks.iter().map(|b| b.data().len() as u64).sum::<u64>()
    );
    drop(store);
    let store = stage.open();
    for block in &blocks {
        assert_eq!(store.get_block(block.cid()).unwrap(), *block);
    }
    assert_eq!(store.objects().unwrap(), []);
    assert_eq!(stage.stored("roots").len(), 1, "a loose root keeps them");
}

#[test]
fn a_dropped_session_leaves_nothing() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(200_000));
    let before = stage.on_disk();
    let mut session = store.session();
    for i in 0..20 {
        session.put_block(&block(i, 50_000)).unwrap();
    }
    assert!(stage.stored("packs").len() > 1);
    drop(session);
    assert_eq!(stage.on_disk(), before);
    assert!(!store.has_block(block(0, 50_000).cid()).unwrap());
}

#[test]
fn a_killed_session_leaves_its_sealed_packs_for_the_next() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(200_000));
    let mut session = store.session();
    for i in 0..20 {
        session.put_block(&block(i, 50_000)).unwrap();
    }
    let sealed = stage.stored("packs").len();
    assert!(sealed > 1 && !stage.stored("tmp").is_empty());
    std::mem::forget(session);
    drop(store);
    let store = stage.open();
    assert_eq!(
        (stage.stored("packs").len(), stage.stored("tmp").len()),
        (sealed, 0)
    );
    let mut session = store.session();
    for i in 0..20 {
        session.put_block(&block(i, 50_000)).unwrap();
    }
    let report = session.commit().unwrap();
    assert!(report.new_blocks < 8, "{report:?}");
    for i in 0..20 {
        let block = block(i, 50_000);
        assert_eq!(store.get_block(block.cid()).unwrap(), block);
    }
}

#[test]
fn a_commit_keeps_blocks_that_only_another_object_held() {
    let stage = Stage::new();
    let store = stage.create();
    let held = add_bytes(&store, &bytes(1, 5_000));
    let roots = stage.stored("roots").len();
    let mut session = store.session();
    session.put_block(&block(1, 5_000)).unwrap();
    let report = session.commit().unwrap();
    assert_eq!((report.new_blocks, report.new_bytes), (0, 0));
    // The object may go; what the session committed is covered by a root of its own.
    assert_eq!(stage.stored("roots").len(), roots + 1);
    let removed = store.remove(&of(held.cid), &Default::default()).unwrap();
    assert_eq!(removed.cid, held.cid);
    assert!(store.has_block(&held.cid).unwrap());
}

#[test]
fn what_a_session_committed_outlives_the_removal_of_a_file_of_the_same_blocks() {
    let stage = Stage::new();
    let store = stage.create();
    let block = block(1, 100_000);
    let mut session = store.session();
    session.put_block(&block).unwrap();
    session.commit().unwrap();
    drop(store);
    let store = stage.open();
    let added = add_bytes(&store, block.data());
    assert_eq!((added.cid, added.new_bytes), (*block.cid(), 0));
    super::gc::remove(&store, added.cid);
    super::gc::gc(&store);
    assert_eq!(store.get_block(block.cid()).unwrap(), block);
}

#[test]
fn an_empty_session_commits_nothing() {
    let stage = Stage::new();
    let store = stage.create();
    let before = stage.on_disk();
    assert_eq!(store.session().commit().unwrap().cids, []);
    assert_eq!(stage.on_disk(), before);
}

#[test]
fn an_inline_block_is_read_from_its_cid_and_never_stored() {
    let stage = Stage::new();
    let store = stage.create();
    let before = stage.on_disk();
    let cid = ipfs_accelerate::Cid::new_v1(RAW, Multihash::wrap(IDENTITY, b"inline").unwrap());
    let mut session = store.session();
    session
        .put_block(&Block::verified(cid, &b"inline"[..]).unwrap())
        .unwrap();
    session.commit().unwrap();
    assert_eq!(stage.on_disk(), before);
    assert_eq!(store.get_block(&cid).unwrap().data(), b"inline");
    assert!(store.has_block(&cid).unwrap());
}

#[test]
fn a_block_over_2_mib_is_refused() {
    let stage = Stage::new();
    let store = stage.create();
    let error = refused(&stage, || {
        store.session().put_block(&block(1, (2 << 20) + 1))
    });
    assert!(
        matches!(&error, StoreError::Dag(DagError::BlockTooLarge { len, limit, .. })
            if (*len, *limit) == ((2 << 20) + 1, 2 << 20)),
        "{error}"
    );
    assert_eq!(error.kind(), "block_too_large");
    let mut session = store.session();
    session.put_block(&block(1, 2 << 20)).unwrap();
    session.commit().unwrap();
    assert!(store.get_block(block(1, 2 << 20).cid()).is_ok());
}

#[test]
fn a_file_whose_blocks_came_by_sessions_can_be_read_and_pinned() {
    let stage = Stage::new();
    let source = Stage::new();
    let (store, other) = (stage.create(), source.create());
    let content = bytes(9, 2_500_000);
    let added = other.add_reader(&content[..], &unpinned()).unwrap();
    let mut session = store.session();
    session
        .put_block(&other.get_block(&added.cid).unwrap())
        .unwrap();
    for chunk in content.chunks(1 << 20) {
        session
            .put_block(&Block::new(RAW, HashFunction::Sha2_256, chunk))
            .unwrap();
    }
    session.commit().unwrap();
    assert!(matches!(
        store.to_reader().read(&of(added.cid)),
        Err(StoreError::NotPublished { .. })
    ));
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut store.reader(&of(added.cid)).unwrap(), &mut got).unwrap();
    assert!(got == content);
    store
        .pin(
            &of(added.cid),
            &ipfs_accelerate::PinOptions::named("by-blocks"),
        )
        .unwrap();
    assert!(read(&store, &target("by-blocks")) == content);
}

#[test]
fn a_chain_of_nodes_deeper_than_any_file_is_an_error_and_no_stack_overflow() {
    use ipfs_accelerate::DAG_PB;
    let stage = Stage::new();
    let store = stage.create();
    let leaf = block(1, 1);
    let mut session = store.session();
    session.put_block(&leaf).unwrap();
    let mut top = *leaf.cid();
    for _ in 0..30_000 {
        // A UnixFS file of one byte with one link, written by hand.
        let cid = top.to_bytes();
        let mut link = vec![0x0a, cid.len() as u8];
        link.extend_from_slice(&cid);
        link.extend_from_slice(&[0x12, 0x00, 0x18, 0x01]);
        let mut node = vec![0x12, link.len() as u8];
        node.extend_from_slice(&link);
        node.extend_from_slice(&[0x0a, 0x06, 0x08, 0x02, 0x18, 0x01, 0x20, 0x01]);
        let node = Block::new(DAG_PB, HashFunction::Sha2_256, node);
        session.put_block(&node).unwrap();
        top = *node.cid();
    }
    session.commit().unwrap();
    assert!(store.get_node(&top).is_ok());
    let error = refused(&stage, || store.pin(&of(top), &Default::default()));
    assert!(error.to_string().contains("deep"), "{error}");
    assert!(store.resolve(&of(top)).is_err());
}
