//! The quota: an add takes room as it writes, unpinned content makes way, and pinned content never.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipfs_accelerate::{
    AddOptions, Block, Cid, Explain, GcObject, HashFunction, RAW, Store, StoreError, StoreOptions,
};

use super::gc::{age, disk_bytes};
use super::store_kit::*;

fn quota(bytes: u64) -> StoreOptions {
    let mut options = small_packs(4 << 20);
    options.max_bytes = Some(bytes);
    options
}

#[test]
fn an_add_over_the_quota_makes_room_by_the_least_recently_used() {
    let stage = Stage::new();
    let store = stage.create_with(quota(40 << 20));
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| bytes(seed, 9 << 20)).collect();
    let mut cids = Vec::new();
    for (i, content) in contents.iter().enumerate() {
        let cid = add_bytes(&store, content).cid;
        assert!(disk_bytes(&stage) <= 40 << 20, "after add {i}");
        age(&stage, cid, Duration::from_secs(1_000 - 100 * i as u64));
        cids.push(cid);
    }
    let there: Vec<bool> = cids
        .iter()
        .map(|cid| store.has(&of(*cid)).unwrap())
        .collect();
    assert!(!there[0] && !there[1], "the oldest made way: {there:?}");
    assert!(there[4] && there[5], "the newest stay: {there:?}");
    for (cid, content) in cids
        .iter()
        .zip(&contents)
        .filter(|(cid, _)| store.has(&of(**cid)).unwrap())
    {
        assert!(read(&store, &of(*cid)) == *content);
    }
}

#[test]
fn an_add_that_finds_no_room_stops_and_leaves_nothing() {
    let stage = Stage::new();
    let store = stage.create_with(quota(20 << 20));
    let kept = bytes(1, 12 << 20);
    let pinned = store
        .add_reader(&kept[..], &AddOptions::default().named("kept"))
        .unwrap();
    let error = refused(&stage, || {
        store.add_reader(&bytes(2, 30 << 20)[..], &unpinned())
    });
    assert_eq!(error.kind(), "quota_exceeded");
    let StoreError::QuotaExceeded {
        max_bytes,
        used_bytes,
        needed_bytes,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(max_bytes, 20 << 20);
    let all = (max_bytes, used_bytes, needed_bytes);
    assert!(used_bytes + needed_bytes > max_bytes, "{all:?}");
    assert_eq!(read(&store, &of(pinned.cid)), kept);
    // What fits still goes in, as often as it is tried.
    for seed in 3..20 {
        let content = bytes(seed, 5 << 20);
        let cid = add_bytes(&store, &content).cid;
        assert!(read(&store, &of(cid)) == content);
        assert!(disk_bytes(&stage) <= 20 << 20);
    }
    assert_eq!(read(&store, &of(pinned.cid)), kept);
}

/// A store of 20 MiB with 8 MiB that may make way, and what is told of it; `then` is done when something has.
fn told(stage: &Stage, then: impl Fn() + Send + Sync + 'static) -> (Store, Arc<Mutex<Vec<Cid>>>) {
    let went = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&went);
    let mut options = quota(20 << 20);
    options.made_way = Some(Arc::new(move |object: &GcObject| {
        told.lock().unwrap().extend(object.cid);
        then();
    }));
    (stage.create_with(options), went)
}

#[test]
fn what_made_way_is_told_though_the_add_is_refused_in_the_end() {
    let stage = Stage::new();
    let (store, went) = told(&stage, || {});
    let old = add_bytes(&store, &bytes(1, 8 << 20)).cid;
    let error = store
        .add_reader(&bytes(2, 30 << 20)[..], &unpinned())
        .unwrap_err();
    assert_eq!(error.kind(), "quota_exceeded");
    assert_eq!(*went.lock().unwrap(), [old]);
    assert!(!store.has(&of(old)).unwrap());
}

#[test]
fn what_made_way_is_told_though_the_add_is_cancelled() {
    let stage = Stage::new();
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    let (store, went) = told(&stage, move || flag.store(true, Ordering::Relaxed));
    let old = add_bytes(&store, &bytes(1, 8 << 20)).cid;
    let mut options = unpinned();
    options.cancel = Some(cancel);
    let error = store
        .add_reader(&bytes(2, 18 << 20)[..], &options)
        .unwrap_err();
    assert!(matches!(error, StoreError::Cancelled), "{error}");
    assert_eq!(*went.lock().unwrap(), [old]);
    assert!(!error.to_string().contains("nothing was changed"));
}

#[test]
fn what_is_there_already_takes_no_room() {
    let stage = Stage::new();
    let store = stage.create_with(quota(20 << 20));
    let content = bytes(1, 15 << 20);
    let options = AddOptions::default().named("a");
    let cid = store.add_reader(&content[..], &options).unwrap().cid;
    for _ in 0..5 {
        assert_eq!(store.add_reader(&content[..], &options).unwrap().cid, cid);
    }
}

#[test]
fn a_session_stops_at_the_quota_too() {
    let stage = Stage::new();
    let store = stage.create_with(quota(4 << 20));
    let mut session = store.session();
    let mut put = 0;
    let error = loop {
        let block = Block::new(RAW, HashFunction::Sha2_256, bytes(put, 1 << 20));
        match session.put_block(&block) {
            Ok(_) => put += 1,
            Err(e) => break e,
        }
        assert!(put < 10);
    };
    assert_eq!(error.kind(), "quota_exceeded", "{error}");
    drop(session);
    assert!(stage.stored("packs").is_empty());
}

#[test]
fn a_quota_that_is_lowered_counts_from_the_next_add_on() {
    let stage = Stage::new();
    let store = stage.create();
    let old: Vec<_> = (0..4)
        .map(|seed| add_bytes(&store, &bytes(seed, 4 << 20)).cid)
        .collect();
    for (i, cid) in old.iter().enumerate() {
        age(&stage, *cid, Duration::from_secs(1_000 - i as u64));
    }
    drop(store);
    let store = Store::open_with(stage.store_path(), quota(10 << 20)).unwrap();
    assert!(disk_bytes(&stage) > 15 << 20, "opening removes nothing");
    let content = bytes(9, 4 << 20);
    let cid = add_bytes(&store, &content).cid;
    assert!(disk_bytes(&stage) <= 10 << 20);
    assert!(read(&store, &of(cid)) == content);
    assert!(!store.has(&of(old[0])).unwrap());
}
