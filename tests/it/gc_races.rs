//! Collection beside adds, reads, pins and loads (I6, I8): each race that the design lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ipfs_accelerate::{
    AddOptions, AddProgress, Block, Cid, GcOptions, HashFunction, PinOptions, RAW, StoreError,
    StoreReader,
};

use super::gc::{gc, remove};
use super::store_kit::*;

/// An add whose progress is told to a callback, which may act in the middle of it.
fn add_with(
    store: &ipfs_accelerate::Store,
    content: &[u8],
    progress: impl Fn(AddProgress) + Send + Sync + 'static,
) -> Cid {
    let mut options = unpinned();
    options.progress = Some(Arc::new(progress));
    store.add_reader(content, &options).unwrap().cid
}

#[test]
fn a_hit_keeps_its_block_though_its_object_is_removed_and_collected_meanwhile() {
    let stage = Stage::new();
    let store = stage.create();
    let old = bytes(1, 40 << 20);
    let old_cid = add_bytes(&store, &old).cid;
    let mut new = old.clone();
    new.extend(bytes(2, 4 << 20));
    let (collector, once) = (store.clone(), AtomicBool::new(false));
    let cid = add_with(&store, &new, move |progress| {
        // The first batches have found their blocks by now.
        if progress.done_bytes >= 24 << 20 && !once.swap(true, Ordering::Relaxed) {
            remove(&collector, old_cid);
            gc(&collector);
        }
    });
    assert_eq!(read(&store, &of(cid)), new);
    gc(&store);
    assert_eq!(read(&store, &of(cid)), new);
    drop(store);
    let store = stage.open();
    assert_eq!(read(&store, &of(cid)), new);
}

#[test]
fn adds_of_the_same_content_beside_removals_and_collections_are_whole() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(256 << 10));
    let contents: Arc<Vec<Vec<u8>>> = Arc::new(
        (0..4)
            .map(|seed| {
                let mut content = bytes(99, 300_000);
                content.extend(bytes(seed, 200_000));
                content
            })
            .collect(),
    );
    let kept = {
        let content = bytes(7, 500_000);
        let options = AddOptions::default().named("kept");
        (
            store.add_reader(&content[..], &options).unwrap().cid,
            content,
        )
    };
    let stop = Arc::new(AtomicBool::new(false));
    let collections = Arc::new(AtomicU64::new(0));
    let collector = {
        let (store, stop, collections) = (store.clone(), stop.clone(), collections.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                gc(&store);
                collections.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let (store, contents) = (store.clone(), contents.clone());
            let path = stage.store_path();
            thread::spawn(move || {
                for round in 0..25 {
                    let content = &contents[(worker + round) % contents.len()];
                    let cid = add_bytes(&store, content).cid;
                    let reader = StoreReader::open(&path).unwrap();
                    // Another worker may have removed it; what is read is whole.
                    match reader.read(&of(cid)) {
                        Ok(read) => assert!(read == *content),
                        Err(StoreError::NotPublished { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    match store.remove(&of(cid), &Default::default()) {
                        Ok(_)
                        | Err(StoreError::NotPublished { .. } | StoreError::NotAnObject { .. }) => {
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    stop.store(true, Ordering::Relaxed);
    collector.join().unwrap();
    assert!(collections.load(Ordering::Relaxed) > 0);
    assert_eq!(read(&store, &of(kept.0)), kept.1);
    for content in contents.iter() {
        let cid = add_bytes(&store, content).cid;
        assert!(read(&store, &of(cid)) == *content);
    }
}

#[test]
fn get_block_beside_a_punch_is_the_block_or_absent() {
    let stage = Stage::new();
    let store = stage.create();
    for round in 0..30 {
        // The first half stays, so that the other half is punched and not unlinked.
        let (keep, drop) = (bytes(1_000 + round, 64 << 10), bytes(round, 2 << 20));
        let mut whole = keep.clone();
        whole.resize(1 << 20, 7);
        let both: Vec<u8> = [&whole[..], &drop[..]].concat();
        let cid = add_bytes(&store, &both).cid;
        add_bytes(&store, &whole);
        remove(&store, cid);
        let leaves: Vec<Block> = drop
            .chunks(1 << 20)
            .map(|chunk| Block::new(RAW, HashFunction::Sha2_256, chunk.to_vec()))
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| gc(&store));
            for leaf in &leaves {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..20 {
                        match store.get_block(leaf.cid()) {
                            Ok(block) => assert_eq!(block.data(), leaf.data()),
                            Err(StoreError::BlockAbsent { .. }) => return,
                            Err(e) => panic!("{e}"),
                        }
                    }
                });
            }
        });
        for leaf in &leaves {
            assert!(matches!(
                store.get_block(leaf.cid()),
                Err(StoreError::BlockAbsent { .. })
            ));
        }
    }
}

#[test]
fn gc_keeps_a_block_that_is_pinned_during_the_mark() {
    let stage = Stage::new();
    let store = stage.create();
    for round in 0..20 {
        let content = bytes(round, 600_000);
        let cid = add_bytes(&store, &content).cid;
        remove(&store, cid);
        let pinned = thread::scope(|scope| {
            scope.spawn(|| gc(&store));
            // From its blocks, which the collection is about to take.
            let pin = scope.spawn(|| store.pin(&of(cid), &PinOptions::named(format!("r{round}"))));
            pin.join().unwrap()
        });
        match pinned {
            Ok(_) => {
                gc(&store);
                assert!(read(&store, &of(cid)) == content);
            }
            Err(StoreError::NotPublished { .. } | StoreError::BlockAbsent { .. }) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn readers_in_other_processes_read_whole_or_not_at_all_beside_removal_and_collection() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 1 << 20);
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let cid = add_bytes(&store, &content).cid;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A reader of its own, as another process has it.
                    let reader = StoreReader::open(stage.store_path()).unwrap();
                    match reader.open_file(&of(cid)) {
                        Ok(file) => {
                            assert!(file.map().unwrap().get(0..1 << 20).unwrap() == content);
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(StoreError::NotPublished { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
        for _ in 0..40 {
            remove(&store, cid);
            gc(&store);
            add_bytes(&store, &content);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_plan_that_is_applied_twice_at_once_frees_everything_once() {
    let stage = Stage::new();
    let store = stage.create();
    let cid = add_bytes(&store, &bytes(1, 2 << 20)).cid;
    remove(&store, cid);
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    let freed: Vec<u64> = thread::scope(|scope| {
        let apply = || store.apply_gc(&plan).unwrap().freed_bytes;
        let both = [scope.spawn(apply), scope.spawn(apply)];
        both.map(|one| one.join().unwrap()).to_vec()
    });
    assert!(
        freed.iter().any(|bytes| *bytes >= 2 << 20) && freed.contains(&0),
        "{freed:?}"
    );
}
