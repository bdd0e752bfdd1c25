//! Collections where a file system gives back no part of a file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::block::Cid;
use crate::fsio::{Files, RealDisk};
use crate::store::error::StoreError;
use crate::store::index::MemoryIndex;
use crate::store::trials::faults::{Failure, Fault, FaultyDisk, Kind};
use crate::store::trials::{open_over, scratch};
use crate::store::{AddOptions, PinAs, PinOptions, RemoveOptions, Store, StoreOptions};

fn without_holes() -> Files {
    let fault = Fault {
        kinds: &[Kind::Punch],
        nth: 1,
        failure: Failure::Errno(Errno::OPNOTSUPP),
        lasting: true,
    };
    FaultyDisk::new(Arc::new(RealDisk), fault).files()
}

fn bounded(mib: u64) -> StoreOptions {
    StoreOptions {
        max_bytes: Some(mib << 20),
        lock_timeout: Duration::from_secs(30),
        ..StoreOptions::default()
    }
}

/// Of which no two chunks are alike.
fn content(seed: u32, mib: usize) -> Vec<u8> {
    let words = (0..(mib << 18) as u32).flat_map(|i| (i ^ (seed << 24)).to_le_bytes());
    words.collect()
}

fn unpinned() -> AddOptions {
    AddOptions::default().with_pin(PinAs::No)
}

/// A folder of which a part is pinned by itself.
fn half_pinned(store: &Store, folder: &Path) -> Cid {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("kept"), content(1, 1)).unwrap();
    std::fs::write(folder.join("rest"), content(2, 6)).unwrap();
    let top = store.add_path(folder, &unpinned()).unwrap().cid;
    let kept = format!("{top}/kept").parse().unwrap();
    store.pin(&kept, &PinOptions::named("kept")).unwrap();
    top
}

#[test]
fn where_no_hole_can_be_punched_only_whole_packs_make_way() {
    let dir = scratch();
    let index = Box::<MemoryIndex>::default();
    let path = dir.path().join("store");
    let store = open_over(&path, &without_holes(), bounded(16), index).unwrap();
    let top = half_pinned(&store, &dir.path().join("top"));
    let plan = store.plan_gc(&GcOptions {
        max_bytes: Some(1 << 20),
        ..GcOptions::default()
    });
    let plan = plan.unwrap();
    assert_eq!(
        (plan.objects.len(), plan.freeable_bytes),
        (0, 0),
        "{plan:?}"
    );
    let full = store.add_reader(&content(3, 10)[..], &AddOptions::default());
    assert!(
        matches!(full, Err(StoreError::QuotaExceeded { .. })),
        "{full:?}"
    );
    assert!(
        store
            .objects()
            .unwrap()
            .iter()
            .any(|object| object.cid == top)
    );

    let whole = store.add_reader(&content(4, 7)[..], &unpinned());
    let whole = whole.unwrap().cid;
    let next = store.add_reader(&content(5, 7)[..], &AddOptions::default());
    next.unwrap();
    let there = |cid| {
        store
            .objects()
            .unwrap()
            .iter()
            .any(|object| object.cid == cid)
    };
    assert!(there(top) && !there(whole));

    let removed = store.remove(&top.into(), &RemoveOptions::with_unpin());
    let removed = removed.unwrap();
    assert_eq!(removed.freeable_bytes, 0);
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    let report = store.apply_gc(&plan).unwrap();
    assert_eq!((plan.freeable_bytes, report.freed_bytes), (0, 0));
    assert_eq!(plan.not_freeable, report.not_freeable);
    let kept = report.not_freeable.iter().map(|(_, bytes)| bytes);
    assert_eq!(kept.sum::<u64>(), removed.not_freeable_bytes);
    let why = report.not_freeable.iter().map(|(why, _)| *why);
    assert!(why.into_iter().any(|why| why == NotFreeable::NoHoles));
}
