//! The bench `payload` on a few blocks, so that it does not rot: everything but the loop device and the processes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::load_plan::checkpoint;

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[path = "../../benches/payload/chunks.rs"]
mod chunks;
#[path = "../../benches/payload/disk.rs"]
#[expect(dead_code, reason = "the bench itself uses the rest")]
mod disk;
#[path = "../../benches/payload/measure.rs"]
mod measure;
#[path = "../../benches/payload/packs.rs"]
mod packs;
#[path = "../../benches/payload/side.rs"]
#[expect(dead_code, reason = "the bench itself uses the rest")]
mod side;
#[path = "../../benches/payload/sled_blocks.rs"]
mod sled_blocks;

use chunks::{Chunks, shuffled};
use side::{BlockStore, Side};
use sled_blocks::SledSetup;

/// Tests beside this one fork: until such a child reaches its `exec`, it holds the lock of a database that was closed.
fn open(side: &Side, path: &Path) -> Box<dyn BlockStore> {
    let begun = Instant::now();
    loop {
        match side.open(path) {
            Err(e) if e.to_string().contains("lock") && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn every_side_of_the_bench_payload_keeps_the_same_blocks() {
    let chunks = Chunks::of(1 << 20, 64 << 10);
    let more = Chunks {
        count: chunks.count + 1,
        ..chunks
    };
    let tuned = SledSetup::tuned(chunks.len);
    let batched = SledSetup {
        batch: 5,
        ..tuned.clone()
    };
    let sides = [SledSetup::documented(), tuned, batched].map(Side::Sled);
    for side in sides.into_iter().chain([Side::Packs]) {
        // As the bench hands it to its children.
        assert_eq!(side.to_string().parse::<Side>().unwrap(), side);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let seconds = measure::write(&*open(&side, &path), &chunks).unwrap();
        assert!(seconds > 0.0);

        let store = open(&side, &path);
        assert_eq!(measure::surviving(&*store, &more), chunks.count, "{side}");
        let cids: Vec<_> = more.blocks().map(|block| *block.cid()).collect();
        assert!(measure::read(&*store, &cids[..chunks.count]).unwrap() > 0.0);
        assert!(measure::read(&*store, &cids).is_err(), "{side}");
        for block in chunks.blocks() {
            assert_eq!(
                store.get(block.cid()).unwrap().unwrap().data(),
                block.data()
            );
        }
        drop(store);
        let (allocated, files) = disk::allocated(&path).unwrap();
        assert!(allocated >= chunks.bytes() && files > 0, "{side}");
        disk::cool(&path).unwrap();
        disk::warm(&path).unwrap();
    }
}

#[test]
fn the_bench_payload_reads_each_block_once() {
    let mut order = shuffled(1_000);
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert!(order.into_iter().eq(0..1_000));
}
