//! Roots that are lost are never a reason to collect.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ipfs_accelerate::{
    Explain, FindingKind, GcOptions, GcReport, PinAs, RemoveOptions, StoreOptions, VerifyOptions,
};

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
        let verified = reader(&sample).verify(&VerifyOptions::default()).unwrap();
        assert_eq!(verified.findings, []);
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

fn reader(sample: &Sample) -> StoreReader {
    StoreReader::open(sample.store()).unwrap()
}

/// Runs the program on the sample's store, and returns its exit code and all that it says.
fn run(sample: &Sample, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ipfs-accelerate"))
        .args(arguments)
        .arg("--store")
        .arg(sample.store())
        .env_clear()
        .env("HOME", sample.stage.path("home"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[test]
fn lost_roots_are_said_until_a_repair_and_not_after_it() {
    for is_opened in [false, true] {
        let sample = Sample::small();
        for folder in ["roots", "names"] {
            lose(&sample, folder);
        }
        if is_opened {
            add_bytes(&sample.stage.open(), &bytes(91, 60_000));
        }
        for command in ["ls", "doctor", "verify"] {
            let (code, said) = run(&sample, &[command]);
            assert_eq!(code, 1, "{command}: {said}");
            assert!(said.contains("repair"), "{command}: {said}");
            assert!(
                said.contains("roots are lost") || said.contains("roots of"),
                "{command}: {said}"
            );
        }
        let (code, said) = run(&sample, &["gc", "--dry-run"]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("whose roots are lost"), "{said}");
        let verified = reader(&sample).verify(&VerifyOptions::default()).unwrap();
        let kinds = verified.findings.iter().map(|finding| finding.kind);
        assert_eq!(
            kinds
                .filter(|kind| *kind == FindingKind::UnrootedPack)
                .count() as u64,
            reader(&sample).unrooted_packs().unwrap()
        );
        assert_eq!(sample.repair().left(), 0);
        let (code, said) = run(&sample, &["ls"]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(reader(&sample).unrooted_packs().unwrap(), 0);
    }
}

#[test]
fn an_opening_keeps_packs_before_anything_is_added_that_has_their_blocks() {
    let sample = Sample::small();
    for folder in ["roots", "names"] {
        lose(&sample, folder);
    }
    let before = packs(&sample);
    drop(sample.stage.open());
    let roots = sample.stage.stored("roots");
    assert_eq!(roots.len(), 1, "one over all of them");
    drop(sample.stage.open());
    assert_eq!(sample.stage.stored("roots"), roots);
    // Neither a collection of what is unpinned nor a quota takes what no repair has looked at.
    let unpinned = || {
        let store = sample.stage.open();
        let mut options = GcOptions::default();
        (options.unpinned, options.grace) = (true, Duration::ZERO);
        store.apply_gc(&store.plan_gc(&options).unwrap()).unwrap();
    };
    unpinned();
    assert_eq!(packs(&sample), before);
    let mut options = StoreOptions::default();
    options.max_bytes = Some(100_000);
    let store = Store::open_with(sample.store(), options).unwrap();
    let refused = store.add_reader(&bytes(91, 60_000)[..], &AddOptions::default());
    assert_eq!(refused.unwrap_err().kind(), "quota_exceeded");
    drop(store);
    assert_eq!(packs(&sample), before);
    assert_eq!(sample.repair().left(), 0);
    unpinned();
    assert_eq!(packs(&sample), BTreeSet::new());
}

/// Adds two objects, the second without a pin, and returns the pack and the root of that one.
fn two_objects(stage: &Stage) -> (Cid, PathBuf, PathBuf) {
    let store = stage.create();
    add_bytes(&store, &bytes(1, 300_000));
    let before = stage.stored("packs");
    let options = AddOptions::default().with_pin(PinAs::No);
    let added = store.add_reader(&bytes(2, 300_000)[..], &options).unwrap();
    let mut new = stage.stored("packs");
    new.retain(|pack| !before.contains(pack));
    let root = stage.store_path().join("roots").join(added.cid.to_string());
    (added.cid, new.remove(0), root)
}

#[test]
fn a_lost_root_is_no_unfinished_import_whatever_the_index_knows() {
    for is_older in [false, true] {
        let stage = Stage::new();
        let (cid, pack, root) = two_objects(&stage);
        fs::remove_file(root).unwrap();
        // The index knows nothing of the pack: it is older, or the pack was away for a while.
        let away = stage.path("away");
        fs::rename(&pack, &away).unwrap();
        match is_older {
            false => drop(stage.open()),
            true => {
                fs::remove_dir_all(stage.store_path().join("db")).unwrap();
                drop(stage.open());
            }
        }
        fs::rename(&away, &pack).unwrap();
        let store = stage.open();
        let mut options = GcOptions::default();
        options.grace = Duration::ZERO;
        let report = store.apply_gc(&store.plan_gc(&options).unwrap()).unwrap();
        assert_eq!((report.unrooted_packs, report.packs), (1, 0));
        drop(store);
        let path = stage.store_path();
        let reader = StoreReader::open(&path).unwrap();
        assert_eq!(reader.unrooted_packs().unwrap(), 1);
        let plan = plan_repair(path, &RepairOptions::default()).unwrap();
        assert_eq!(apply_repair(&plan).unwrap().left(), 0);
        assert_eq!(reader.read(&of(cid)).unwrap(), bytes(2, 300_000));
    }
}

#[test]
fn what_was_removed_stays_so_though_its_pack_could_not_be_read_when_it_was_collected() {
    let stage = Stage::new();
    let (cid, pack, _) = two_objects(&stage);
    let store = stage.open();
    store.remove(&of(cid), &RemoveOptions::default()).unwrap();
    drop(store);
    flip(&pack, 3);
    let collect = || {
        let store = stage.open();
        let plan = store.plan_gc(&GcOptions::default()).unwrap();
        store.apply_gc(&plan).unwrap()
    };
    assert_eq!(collect().freed_bytes, 0);
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    let report = apply_repair(&plan).unwrap();
    assert_eq!(
        (report.findings.len(), report.left()),
        (1, 0),
        "{report:#?}"
    );
    assert!(
        stage
            .open()
            .objects()
            .unwrap()
            .iter()
            .all(|object| object.cid != cid)
    );
    assert!(collect().freed_bytes >= 300_000);
    assert_eq!(stage.stored("packs").len(), 1);
    assert_eq!(stage.stored("roots").len(), 1);
}

#[test]
fn a_root_in_the_place_of_another_one_speaks_for_no_pack() {
    for is_swapped in [true, false] {
        let stage = Stage::new();
        let (cid, _, removed) = two_objects(&stage);
        let kept = stage.stored("roots");
        let kept = kept.iter().find(|root| **root != removed).unwrap();
        let store = stage.open();
        store.remove(&of(cid), &RemoveOptions::default()).unwrap();
        drop(store);
        let retired = stage.stored("roots");
        let retired = retired.iter().find(|root| *root != kept).unwrap();
        let aside = stage.path("aside");
        fs::rename(kept, &aside).unwrap();
        fs::rename(retired, kept).unwrap();
        if is_swapped {
            fs::rename(aside, retired).unwrap();
        }
        let repair = || {
            let options = RepairOptions::default();
            apply_repair(&plan_repair(stage.store_path(), &options).unwrap()).unwrap()
        };
        assert_eq!(repair().left(), 0);
        assert_eq!(repair().findings, []);
    }
}

/// Roots of no object have the CID of an empty file in their names, once they were replaced.
#[test]
fn what_a_replaced_root_of_single_blocks_was_is_no_object() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("top/empty", b"");
    stage.file("top/a", &bytes(3, 1_000));
    let options = AddOptions::default();
    store.add_path(stage.path("top"), &options).unwrap();
    let block = Block::new(RAW, HashFunction::Sha2_256, bytes(1, 90_000));
    let other = Store::create(stage.path("other")).unwrap();
    for store in [&store, &other] {
        let mut session = store.session();
        session.put_block(&block).unwrap();
        session.commit().unwrap();
    }
    drop(other);
    let packs = stage.stored("packs").into_iter();
    let largest = packs.max_by_key(|pack| fs::metadata(pack).unwrap().len());
    flip(&largest.unwrap(), 70_000);
    let found = store.verify(&VerifyOptions::default()).unwrap();
    let from = [stage.path("other")];
    let healed = store.heal(&found, &from, &Default::default()).unwrap();
    assert_eq!(healed.healed.len(), 1);
    drop(store);
    let empty = ipfs_accelerate::leaf(&[], &Profile::default())
        .cid
        .to_string();
    let names = stage.stored("roots").into_iter();
    let mut names = names.map(|root| root.file_name().unwrap().to_owned());
    assert!(names.any(|name| name.to_str().unwrap().starts_with(&empty)));
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    assert_eq!(plan.restorable, []);
}
