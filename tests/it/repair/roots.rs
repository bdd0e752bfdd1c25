//! Roots that are missing, damaged, or over blocks that are not there.

use std::fs;

use ipfs_accelerate::{Defect, GcOptions, Remedy, RemoveOptions, RepairOptions, StoreReader};

use super::*;

#[test]
fn a_missing_root_of_a_pinned_object_is_put_together() {
    let sample = Sample::new();
    let before = StoreReader::open(sample.store())
        .unwrap()
        .objects()
        .unwrap();
    for title in ["model", "framed", "tuned", "sharded"] {
        fs::remove_file(sample.root(title)).unwrap();
    }
    fs::remove_file(sample.store().join("roots").join(sample.direct.to_string())).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::RootMissing, Remedy::Restored); 5]);
    sample.assert_whole();
    let after = StoreReader::open(sample.store())
        .unwrap()
        .objects()
        .unwrap();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            (
                before.cid,
                &before.name,
                before.kind,
                before.size,
                &before.profile
            ),
            (
                after.cid,
                &after.name,
                after.kind,
                after.size,
                &after.profile
            )
        );
    }
}

#[test]
fn a_root_that_is_damaged_anywhere_is_put_together() {
    let sample = Sample::small();
    for title in ["model", "framed"] {
        let path = sample.root(title);
        let whole = fs::read(&path).unwrap();
        let places = (0..whole.len()).step_by(whole.len() / 24);
        // In the store's id, which does not make it another store's, too.
        for at in places.chain([16, 20, 31, whole.len() - 1]) {
            flip(&path, at);
            let report = sample.repair();
            assert_eq!(report.findings.len(), 1, "{at}: {:#?}", report.findings);
            let finding = &report.findings[0];
            assert_eq!(
                said(&report),
                [(Defect::RootDamaged, Remedy::Restored)],
                "{at}"
            );
            assert_eq!(titles(finding), [title]);
        }
        for len in [0, 20, whole.len() / 2] {
            change(&path, |content| content.truncate(len));
            assert_eq!(
                said(&sample.repair()),
                [(Defect::RootDamaged, Remedy::Restored)]
            );
        }
        let other = fs::read(sample.root("tuned")).unwrap();
        fs::write(&path, other).unwrap();
        assert_eq!(
            said(&sample.repair()),
            [(Defect::RootDamaged, Remedy::Restored)]
        );
    }
    sample.assert_whole();
}

#[test]
fn all_roots_lost_come_back_from_names_and_packs() {
    for with_folder in [true, false] {
        let sample = Sample::new();
        fs::remove_dir_all(sample.store().join("roots")).unwrap();
        if with_folder {
            fs::create_dir(sample.store().join("roots")).unwrap();
        }
        let report = sample.repair();
        let lost = report
            .findings
            .iter()
            .find(|f| f.defect == Defect::RootsLost)
            .unwrap();
        assert_eq!(titles(lost), ["unpinned"]);
        assert!(lost.found.contains("removed ones may be among them"));
        let restored = report
            .findings
            .iter()
            .filter(|f| f.defect == Defect::RootMissing);
        assert_eq!(restored.count(), 5);
        assert_eq!(report.left(), 0, "{:#?}", report.findings);
        // Blocks of no object are kept for the grace time.
        assert!(
            sample
                .stage
                .stored("roots")
                .iter()
                .any(|path| path.to_str().unwrap().contains("loose-"))
        );
        sample.assert_whole();
    }
}

#[test]
fn an_object_without_root_and_name_is_listed_and_comes_back_on_request() {
    let sample = Sample::small();
    let store = sample.stage.open();
    let cid = add_bytes(&store, &bytes(50, 60_000)).cid;
    // Another object needs its pack too, so that nothing tells whether it was removed.
    sample.stage.file("folder/part", &bytes(50, 60_000));
    let folder = sample.stage.path("folder");
    let unpinned = AddOptions::default().with_pin(ipfs_accelerate::PinAs::No);
    store.add_path(folder, &unpinned).unwrap();
    drop(store);
    fs::remove_file(sample.store().join("roots").join(cid.to_string())).unwrap();
    let report = sample.repair();
    assert_eq!(report.findings, []);
    assert_eq!(report.restorable.len(), 1);
    assert_eq!(report.restorable[0].cid, cid);
    let mut options = RepairOptions::default();
    options.restore = true;
    let report = sample.repair_with(&options);
    assert_eq!(said(&report), [(Defect::RootMissing, Remedy::Restored)]);
    sample.assert_whole();
}

#[test]
fn an_object_without_a_name_whose_pack_no_other_root_names_comes_back_by_itself() {
    let sample = Sample::small();
    fs::remove_file(sample.root("unpinned")).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::RootsLost, Remedy::Restored)]);
    assert_eq!(report.restorable, []);
    sample.assert_whole();
}

#[test]
fn a_root_that_lacks_blocks_stays_and_says_which() {
    let sample = Sample::small();
    let store = sample.stage.open();
    let cid = add_bytes(&store, &bytes(50, 60_000)).cid;
    let root = sample.store().join("roots").join(cid.to_string());
    let saved = fs::read(&root).unwrap();
    store.remove(&of(cid), &RemoveOptions::default()).unwrap();
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    store.apply_gc(&plan).unwrap();
    drop(store);
    // Somebody brings the root back without its blocks.
    fs::write(&root, &saved).unwrap();
    let report = sample.repair();
    let left = [
        (Defect::PackMissing, Remedy::Left),
        (Defect::RootPlaces, Remedy::Left),
    ];
    assert_eq!(said(&report), left);
    assert_eq!(report.findings[1].lacking, [cid]);
    assert!(fs::read(&root).unwrap() == saved);
    // The content comes back, elsewhere.
    let store = sample.stage.open();
    assert_eq!(add_bytes(&store, &bytes(50, 60_000)).new_bytes, 60_000);
    drop(store);
    fs::write(&root, &saved).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::RootPlaces, Remedy::Restored)]);
    sample.assert_whole();
}

#[test]
fn damaged_roots_of_single_blocks_are_replaced_by_one_over_all_that_nothing_covers() {
    let sample = Sample::small();
    let loose: Vec<_> = sample
        .stage
        .stored("roots")
        .into_iter()
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("loose-")
        })
        .collect();
    assert_eq!(loose.len(), 1);
    change(&loose[0], |content| {
        let last = content.len() - 1;
        content[last / 2] ^= 1;
        content.truncate(last);
    });
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::LooseRoot, Remedy::Covered)]);
    let store = sample.stage.open();
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    store.apply_gc(&plan).unwrap();
    drop(store);
    sample.assert_whole();
}

#[test]
fn a_damaged_root_of_a_removed_object_goes_unless_somebody_reads_by_it() {
    let sample = Sample::small();
    let store = sample.stage.open();
    let content = bytes(60, 50_000);
    let cid = add_bytes(&store, &content).cid;
    let file = store.to_reader().open_file(&of(cid)).unwrap();
    store.remove(&of(cid), &RemoveOptions::default()).unwrap();
    drop(store);
    let retired = sample.stage.stored("roots").into_iter();
    let retired = retired
        .into_iter()
        .find(|path| path.extension().is_some())
        .unwrap();
    flip(&retired, 200);
    let plan = sample.plan();
    assert_eq!(
        said(&plan.report()),
        [
            (Defect::RootsLost, Remedy::Restored),
            (Defect::RetiredRoot, Remedy::Removed)
        ],
        "nothing else names its pack"
    );
    let report = apply_repair(&plan).unwrap();
    assert_eq!(
        said(&report),
        [
            (Defect::RootsLost, Remedy::Restored),
            (Defect::RetiredRoot, Remedy::Left)
        ]
    );
    assert!(file.read().unwrap() == content);
    drop(file);
    let report = apply_repair(&sample.plan()).unwrap();
    assert_eq!(said(&report), [(Defect::RetiredRoot, Remedy::Removed)]);
    assert!(!retired.exists());
    assert_eq!(sample.plan().findings, []);
    sample.assert_whole();
}

#[test]
fn what_is_no_root_is_left_and_said() {
    let sample = Sample::small();
    let notes = sample.store().join("roots/notes.txt");
    fs::write(&notes, "notes").unwrap();
    let other = Sample::small();
    let theirs = fs::read(other.root("unpinned")).unwrap();
    let own = fs::read(sample.root("unpinned")).unwrap();
    fs::write(sample.root("unpinned"), &theirs).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::Foreign, Remedy::Left); 2]);
    assert!(fs::read(sample.root("unpinned")).unwrap() == theirs);
    fs::write(sample.root("unpinned"), own).unwrap();
    fs::remove_file(notes).unwrap();
    assert_eq!(sample.repair().findings, []);
    sample.assert_whole();
}

#[test]
fn a_removed_object_comes_back_on_request_while_its_root_is_there() {
    let sample = Sample::small();
    let model = sample.object("model").cid;
    let store = sample.stage.open();
    // Another object has all that it has, so no pack speaks of it.
    let inner = store
        .add_path(
            sample.stage.path("model/weights"),
            &chunked(Profile::default()).with_pin(ipfs_accelerate::PinAs::No),
        )
        .unwrap();
    assert_eq!(inner.new_bytes, 0);
    for cid in [model, inner.cid] {
        store
            .remove(&of(cid), &RemoveOptions::with_unpin())
            .unwrap();
    }
    drop(store);
    let plan = plan_repair(sample.store(), &RepairOptions::default()).unwrap();
    assert_eq!(plan.findings, []);
    let mut listed: Vec<(Cid, &str)> = plan
        .restorable
        .iter()
        .map(|object| (object.cid, object.name.as_str()))
        .collect();
    listed.sort_by_key(|(_, name)| *name);
    assert_eq!(listed, [(model, "model"), (inner.cid, "weights")]);
    let mut options = RepairOptions::default();
    options.restore = true;
    let report = apply_repair(&plan_repair(sample.store(), &options).unwrap()).unwrap();
    assert_eq!(said(&report), [(Defect::RootMissing, Remedy::Restored); 2]);
    let store = sample.stage.open();
    // The retired roots go, and what came back stays.
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    store.apply_gc(&plan).unwrap();
    for (path, content) in &sample.object("model").files {
        assert_eq!(read(&store, &target(format!("{model}/{path}"))), *content);
    }
    drop(store);
    let plan = plan_repair(sample.store(), &RepairOptions::default()).unwrap();
    assert_eq!((plan.findings.len(), plan.restorable.len()), (0, 0));
}
