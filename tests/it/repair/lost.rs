//! Roots that are lost are never a reason to collect.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ipfs_accelerate::{Defect, GcOptions, GcReport, Remedy, RemoveOptions};

use super::*;

fn packs(sample: &Sample) -> BTreeSet<PathBuf> {
    sample.stage.stored("packs").into_iter().collect()
}

/// An ordinary collection, long after the grace time.
fn collect(sample: &Sample) -> GcReport {
    let store = sample.stage.open();
    let mut options = GcOptions::default();
    options.grace = Duration::ZERO;
    let plan = store.plan_gc(&options).unwrap();
    let report = store.apply_gc(&plan).unwrap();
    assert_eq!(plan.unrooted_packs, report.unrooted_packs);
    assert_eq!(plan.unrooted_bytes, report.unrooted_bytes);
    report
}

fn lose(sample: &Sample, folder: &str) {
    let folder = sample.store().join(folder);
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
}

/// Every object of the sample is there.
fn assert_listed(sample: &Sample) {
    let store = sample.stage.open();
    let listed = store.objects().unwrap();
    for object in &sample.objects {
        assert!(
            listed
                .iter()
                .any(|listed| canonical(&listed.cid) == object.cid),
            "{}",
            object.title
        );
    }
}

#[test]
fn no_collection_takes_packs_whose_roots_are_lost() {
    for with_names in [true, false] {
        let sample = Sample::small();
        lose(&sample, "roots");
        if !with_names {
            lose(&sample, "names");
        }
        let before = packs(&sample);
        // A name without its root stops a collection before it begins.
        if !with_names {
            let report = collect(&sample);
            assert_eq!(report.unrooted_packs, before.len() as u64);
            assert!(report.unrooted_bytes > 0);
            assert_eq!(report.freed_bytes, 0);
        }
        assert_eq!(packs(&sample), before);
        let report = sample.repair();
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.defect == Defect::RootsLost),
            "{report:#?}"
        );
        assert_eq!(report.left(), 0, "{report:#?}");
        match with_names {
            true => sample.assert_whole(),
            false => assert_listed(&sample),
        }
    }
}

#[test]
fn what_was_added_since_makes_nothing_else_dead() {
    let sample = Sample::small();
    for folder in ["roots", "names"] {
        lose(&sample, folder);
    }
    let before = packs(&sample);
    let store = sample.stage.open();
    let added = add_bytes(&store, &bytes(91, 60_000)).cid;
    drop(store);
    let report = collect(&sample);
    assert_eq!(report.unrooted_packs, before.len() as u64);
    assert!(packs(&sample).is_superset(&before));
    let report = sample.repair();
    assert_eq!(report.left(), 0, "{report:#?}");
    assert_listed(&sample);
    assert_eq!(read(&sample.stage.open(), &of(added)), bytes(91, 60_000));
}

#[test]
fn what_is_left_of_an_object_that_lacks_a_block_stays_and_is_said_each_time() {
    let sample = Sample::small();
    let store = sample.stage.open();
    add_bytes(&store, &bytes(92, 900_000));
    drop(store);
    let packs_before = packs(&sample);
    for folder in ["roots", "names"] {
        lose(&sample, folder);
    }
    // In the middle of the largest pack.
    let largest = packs_before
        .iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let len = fs::metadata(largest).unwrap().len() as usize;
    flip(largest, len / 2);
    let mut options = ipfs_accelerate::RepairOptions::default();
    options.rehash = true;
    for _ in 0..3 {
        let report = sample.repair_with(&options);
        let left = report.findings.iter().filter(|finding| {
            finding.defect == Defect::RootMissing && finding.remedy == Remedy::Left
        });
        assert!(left.count() > 0, "{report:#?}");
        let report = collect(&sample);
        assert_eq!((report.freed_bytes, report.unrooted_packs), (0, 0));
        assert_eq!(packs(&sample), packs_before);
    }
}

#[test]
fn the_last_object_goes_with_its_packs_and_leaves_nothing_to_repair() {
    let sample = Sample::small();
    let store = sample.stage.open();
    for object in store.objects().unwrap() {
        store
            .remove(&of(object.cid), &RemoveOptions::with_unpin())
            .unwrap();
    }
    drop(store);
    let report = collect(&sample);
    assert_eq!(report.unrooted_packs, 0);
    assert_eq!(packs(&sample), BTreeSet::new());
    assert_eq!(sample.stage.stored("roots"), Vec::<PathBuf>::new());
    assert_eq!(sample.repair().findings, []);
}
