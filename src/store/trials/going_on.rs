//! A process that goes on after an operation of a collection has failed: what a later collection of its own gives
//! back is on record, and nothing stays for good.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::faults::{Failure, Fault, FaultyDisk};
use crate::block::Cid;
use crate::fsio::RealDisk;
use crate::store::index::MemoryIndex;
use crate::store::{
    AddOptions, GcOptions, GcReport, PinAs, RemoveOptions, Store, StoreError, StoreOptions,
    VerifyOptions,
};

/// Parts of a pack that are worth a hole.
const PART: usize = 300 << 10;

fn bytes(seed: u64) -> Vec<u8> {
    let hash = |at: usize| (seed << 32 | at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (0..PART).map(|at| hash(at) as u8).collect()
}

fn add(store: &Store, content: &[u8]) -> Cid {
    let options = AddOptions::default().with_pin(PinAs::No);
    store.add_reader(content, &options).unwrap().cid
}

fn gc(store: &Store) -> Result<GcReport, StoreError> {
    store.apply_gc(&store.plan_gc(&GcOptions::default())?)
}

fn remove(store: &Store, cid: Cid) {
    let options = RemoveOptions::with_unpin();
    store.remove(&cid.into(), &options).unwrap();
}

/// A folder of two files, one of which is an object too, and another file; the folder and that file are removed.
fn store_to_collect(dir: &Path) -> (Cid, [Vec<u8>; 3]) {
    let contents = [1, 2, 3].map(bytes);
    let top = dir.join("top");
    std::fs::create_dir(&top).unwrap();
    std::fs::write(top.join("a"), &contents[0]).unwrap();
    std::fs::write(top.join("b"), &contents[1]).unwrap();
    let store = Store::create(dir.join("store")).unwrap();
    let folder = store.add_path(&top, &AddOptions::default()).unwrap().cid;
    let kept = add(&store, &contents[0]);
    let other = add(&store, &contents[2]);
    remove(&store, folder);
    remove(&store, other);
    (kept, contents)
}

/// Collects on a disk with a fault, again and again, and in the end once more when nothing is needed. Says how many operations
/// were counted.
fn after(fault: Fault) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let (kept, contents) = store_to_collect(dir.path());
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let index = Box::<MemoryIndex>::default();
    let opened = super::open_over(&path, &disk.files(), StoreOptions::default(), index);
    let mut said = Vec::new();
    if let Ok(store) = opened {
        said.extend((0..3).map(|_| gc(&store).map(drop)));
        let failed = said.iter().filter_map(|said| said.as_ref().err());
        let failed = failed.filter(|e| !matches!(e, StoreError::Poisoned { .. }));
        assert!(failed.count() <= 1, "{fault:?}: {said:?}");
    }
    let counted = disk.counted();
    let store = Store::open(&path).unwrap();
    for content in &contents {
        let cid = add(&store, content);
        let read = store.to_reader().read(&cid.into()).unwrap();
        assert!(read == *content, "{fault:?}: other bytes; {said:?}");
    }
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{fault:?}: {report:?}");
    let objects = store.objects().unwrap();
    assert!(objects.iter().any(|object| object.cid == kept));
    for object in objects {
        remove(&store, object.cid);
    }
    gc(&store).unwrap();
    let left = std::fs::read_dir(path.join("packs")).unwrap().count();
    assert_eq!(left, 0, "{fault:?}: {said:?}");
    counted
}

#[test]
fn i6_gc_after_a_collection_that_failed_another_one_gives_nothing_back_that_is_not_on_record() {
    for errno in [Errno::IO, Errno::BUSY, Errno::NOSPC] {
        let fault = |nth| Fault {
            kinds: &[],
            nth,
            failure: Failure::Errno(errno),
            lasting: false,
        };
        let points = (1..).take_while(|nth| after(fault(*nth)) >= *nth);
        assert!(points.count() > 60);
    }
}
