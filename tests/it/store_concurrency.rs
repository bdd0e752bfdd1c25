//! Several threads at one store: each block once, nothing wrong, nothing stuck.

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use ipfs_accelerate::{
    AddOptions, Block, HashFunction, PinOptions, Profile, RAW, RemoveOptions, Store, StoreOptions,
};

use super::store_kit::*;

fn one_thread() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.threads = 1;
    options
}

/// Fails the test instead of hanging it.
fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(work()));
    match ended.recv_timeout(Duration::from_secs(30)) {
        Ok(value) => value,
        Err(e) => panic!("{what}: {e}"),
    }
}

#[test]
fn what_threads_add_at_once_is_stored_once() {
    within("adds at once", || {
        let stage = Stage::new();
        let store = stage.create();
        let profile = Profile::default().with_chunk_bytes(2_000).unwrap();
        let mut distinct = std::collections::HashSet::new();
        for round in 0..60_u64 {
            // Two files that share their first half; every third round they are the same.
            let shared = bytes(round, 40_000);
            let contents: Vec<Vec<u8>> = (0..3)
                .map(|i| {
                    let tail = if round % 3 == 0 { 0 } else { i };
                    [&shared[..], &bytes(1_000 + 10 * round + tail, 9_000)].concat()
                })
                .collect();
            let barrier = Barrier::new(contents.len());
            std::thread::scope(|scope| {
                for content in &contents {
                    let (store, barrier, profile) = (&store, &barrier, profile.clone());
                    scope.spawn(move || {
                        barrier.wait();
                        let options = unpinned().with_profile(profile);
                        let added = store.add_reader(&content[..], &options).unwrap();
                        assert!(read(store, &of(added.cid)) == *content);
                    });
                }
            });
            for content in &contents {
                distinct.extend(
                    content
                        .chunks(2_000)
                        .map(|c| ipfs_accelerate::leaf(c, &profile).cid),
                );
                distinct.insert(
                    ipfs_accelerate::cid_of_reader(&content[..], &profile)
                        .unwrap()
                        .cid,
                );
            }
        }
        assert_eq!(store.totals().unwrap().blocks, distinct.len() as u64);
        drop(store);
        let store = stage.open();
        for cid in &distinct {
            assert_eq!(store.get_block(cid).unwrap().cid(), cid);
        }
    });
}

/// Runs `during` while an add of `folder` has everything hashed and nothing committed.
fn beside(
    store: &Store,
    folder: &std::path::Path,
    during: impl FnOnce() + Send,
) -> ipfs_accelerate::Cid {
    let (hashed, reached) = channel();
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let mut options = unpinned();
    options.progress = Some(Arc::new(move |_| {
        hashed.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
    }));
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| store.add_path(folder, &options).unwrap().cid);
        reached.recv().unwrap();
        during();
        go.send(()).unwrap();
        adding.join().unwrap()
    })
}

#[test]
fn an_add_takes_the_places_of_what_another_sealed_meanwhile() {
    let stage = Stage::new();
    let store = stage.create();
    let (one, two, three) = (bytes(1, 100_000), bytes(2, 100_000), bytes(3, 100_000));
    stage.file("a/1", &one);
    stage.file("a/2", &two);
    stage.file("a/3", &three);
    let during = || {
        stage.file("b/2", &two);
        store.add_path(stage.path("b"), &unpinned()).unwrap();
    };
    let cid = beside(&store, &stage.path("a"), during);
    for (name, content) in [("1", &one), ("2", &two), ("3", &three)] {
        assert!(
            read(&store, &target(format!("{cid}/{name}"))) == *content,
            "{name}"
        );
    }
    // Three leaves and two folders.
    assert_eq!(store.totals().unwrap().blocks, 5);
}

#[test]
fn an_empty_file_that_another_add_sealed_does_not_move_its_neighbour() {
    let stage = Stage::new();
    let store = stage.create();
    // The empty leaf takes no room, so the folder's node has the same offset in the pack.
    stage.file("a/sub/one", b"");
    let during = || {
        stage.file("b/two", b"");
        store.add_path(stage.path("b"), &unpinned()).unwrap();
    };
    let cid = beside(&store, &stage.path("a"), during);
    // Counting blocks reads the nodes where the root says that they are.
    assert_eq!(store.stat(&target(format!("{cid}/sub"))).unwrap().blocks, 2);
    store.remove(&of(cid), &RemoveOptions::default()).unwrap();
}

#[test]
fn reading_goes_on_beside_adding() {
    within("reads beside adds", || {
        let stage = Stage::new();
        let store = stage.create();
        let content = bytes(4, 3 << 20);
        let kept = add_bytes(&store, &content).cid;
        let stop = AtomicBool::new(false);
        let reads = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        assert!(read(&store, &of(kept)) == content);
                        assert!(store.has(&of(kept)).unwrap());
                        assert!(store.objects().unwrap().iter().any(|o| o.cid == kept));
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for i in 0..30 {
                let cid = add_bytes(&store, &bytes(100 + i, 200_000)).cid;
                if i % 2 == 0 {
                    store.remove(&of(cid), &RemoveOptions::default()).unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(reads.into_inner() > 0);
    });
}

/// A stream whose bytes come when somebody sends them.
struct Slow(Receiver<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let Ok(piece) = self.0.recv() else {
            return Ok(0);
        };
        out[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[test]
fn streams_that_wait_for_input_do_not_hold_other_adds_up() {
    within("adds beside waiting streams", || {
        let stage = Stage::new();
        let store = stage.create_with(one_thread());
        let mut feeds = Vec::new();
        std::thread::scope(|scope| {
            let mut slow = Vec::new();
            for i in 0..3_u8 {
                let (feed, line) = channel();
                feed.send(vec![i; 10]).unwrap();
                feeds.push(feed);
                let store = &store;
                slow.push(scope.spawn(move || store.add_reader(Slow(line), &unpinned()).unwrap()));
            }
            // Only once this one is through do the streams get the rest of their bytes.
            let through = add_bytes(&store, &bytes(5, 5 << 20));
            assert_eq!(through.new_bytes, 5 << 20);
            for (i, feed) in feeds.drain(..).enumerate() {
                feed.send(vec![i as u8 + 100; 10]).unwrap();
            }
            for (i, add) in slow.into_iter().enumerate() {
                let content = [vec![i as u8; 10], vec![i as u8 + 100; 10]].concat();
                assert!(read(&store, &of(add.join().unwrap().cid)) == content);
            }
        });
    });
}

#[test]
fn the_store_can_be_used_from_within_a_progress_callback() {
    for threads in [1, 2] {
        within("the store within a callback", move || {
            let stage = Stage::new();
            let mut options = StoreOptions::default();
            options.threads = threads;
            options.pack_bytes = 4 << 20;
            let store = stage.create_with(options);
            let inner = store.clone();
            let calls = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&calls);
            let mut options = AddOptions::default().named("outer");
            options.progress = Some(Arc::new(move |p| {
                let n = count.fetch_add(1, Ordering::Relaxed);
                let added = inner
                    .add_reader(&bytes(n, 100_000)[..], &AddOptions::default())
                    .unwrap();
                inner
                    .pin(&of(added.cid), &PinOptions::named(format!("n{n}")))
                    .unwrap();
                assert!(inner.get_block(&added.cid).is_ok());
                let mut session = inner.session();
                let data = p.done_bytes.to_le_bytes();
                session
                    .put_block(&Block::new(RAW, HashFunction::Sha2_256, data))
                    .unwrap();
                session.commit().unwrap();
                inner
                    .remove(&of(added.cid), &RemoveOptions::with_unpin())
                    .unwrap();
            }));
            let content = bytes(999, 40 << 20);
            let added = store.add_reader(&content[..], &options).unwrap();
            assert!(calls.load(Ordering::Relaxed) > 1);
            assert!(read(&store, &of(added.cid)) == content);
        });
    }
}

#[test]
fn the_store_can_be_used_from_within_the_callers_rayon_pool() {
    within("the store within a rayon pool", || {
        let stage = Stage::new();
        let store = stage.create_with(small_packs(300_000));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        let cids = Mutex::new(Vec::new());
        pool.scope(|scope| {
            for i in 0..16_u64 {
                let (store, cids) = (&store, &cids);
                scope.spawn(move |_| {
                    let content = bytes(i % 5, 1_200_000);
                    let added = store
                        .add_reader(&content[..], &AddOptions::default())
                        .unwrap();
                    assert!(read(store, &of(added.cid)) == content);
                    let mut session = store.session();
                    for k in 0..5 {
                        let block =
                            Block::new(RAW, HashFunction::Sha2_256, bytes(i * 10 + k, 150_000));
                        session.put_block(&block).unwrap();
                    }
                    session.commit().unwrap();
                    cids.lock().unwrap().push(added.cid);
                });
            }
        });
        let mut cids = cids.into_inner().unwrap();
        cids.sort();
        cids.dedup();
        assert_eq!(cids.len(), 5);
        assert_eq!(store.objects().unwrap().len(), 5);
    });
}

#[test]
fn names_move_while_readers_resolve_them_and_are_never_missing() {
    within("names that move", || {
        let stage = Stage::new();
        let store = stage.create();
        let options = |n: u64| {
            let pin = ipfs_accelerate::PinAs::Named {
                name: "latest".into(),
                replace: n > 0,
            };
            AddOptions::default().with_pin(pin)
        };
        let add = |n: u64| {
            store
                .add_reader(&bytes(n, 5_000)[..], &options(n))
                .unwrap()
                .cid
        };
        let mut last = add(0);
        let started = Instant::now();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reader = store.to_reader();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(reader.read(&target("latest")).unwrap().len(), 5_000);
                }
            });
            for n in 1..60 {
                let next = add(n);
                store.remove(&of(last), &RemoveOptions::default()).unwrap();
                last = next;
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(
            fs::read_dir(stage.store_path().join("names"))
                .unwrap()
                .count(),
            1
        );
    });
}
