//! Names that are damaged.

use std::fs;

use ipfs_accelerate::{
    Defect, Explain, PinOptions, Remedy, RepairOptions, StoreError, StoreReader,
};

use super::*;

/// More than one byte of the CID that a name holds.
fn damage_cid(name: &Path) {
    let len = fs::read(name).unwrap().len();
    flip(name, len - 30);
    flip(name, len - 25);
}

#[test]
fn a_name_of_which_any_one_byte_was_changed_is_what_it_was() {
    let sample = Sample::small();
    let name = sample.store().join("names/model");
    let whole = fs::read(&name).unwrap();
    for at in 0..whole.len() {
        flip(&name, at);
        let report = sample.repair();
        assert_eq!(said(&report), [(Defect::Name, Remedy::Restored)], "{at}");
        assert_eq!(fs::read(&name).unwrap(), whole, "{at}");
    }
    sample.assert_whole();
}

#[test]
fn a_name_is_told_by_the_cid_that_is_left_of_it() {
    let sample = Sample::small();
    let name = sample.store().join("names/model");
    let cid = sample.object("model").cid;
    for damage in ["head", "cut"] {
        match damage {
            "head" => change(&name, |content| content[..40].fill(0)),
            // The kind and the time behind the CID.
            _ => change(&name, |content| content.truncate(content.len() - 10)),
        }
        let report = sample.repair();
        assert_eq!(
            said(&report),
            [(Defect::Name, Remedy::Restored)],
            "{damage}"
        );
        let pins = StoreReader::open(sample.store()).unwrap().pins().unwrap();
        assert!(pins.iter().any(|pin| pin.name == "model" && pin.cid == cid));
    }
    sample.assert_whole();
}

#[test]
fn a_damaged_name_stays_with_all_objects_until_it_is_dropped() {
    let sample = Sample::small();
    let name = sample.store().join("names/model");
    let whole = fs::read(&name).unwrap();
    for damage in ["bits", "cut", "empty", "foreign"] {
        match damage {
            "bits" => damage_cid(&name),
            "cut" => change(&name, |content| content.truncate(30)),
            "empty" => change(&name, Vec::clear),
            _ => fs::write(
                &name,
                fs::read(Sample::small().store().join("names/model")).unwrap(),
            )
            .unwrap(),
        }
        let report = sample.repair();
        assert_eq!(said(&report), [(Defect::Name, Remedy::Left)], "{damage}");
        assert_eq!(report.findings[0].path, name);
        assert!(report.findings[0].advice.unwrap().contains("--drop-names"));
        let store = sample.stage.open();
        let error = store.plan_gc(&Default::default()).unwrap_err();
        assert_eq!(error.kind(), "damaged");
        assert!(error.hint().unwrap().contains("repair"));
        drop(store);
        fs::write(&name, &whole).unwrap();
    }
    damage_cid(&name);
    let mut options = RepairOptions::default();
    options.drop_names = true;
    let report = sample.repair_with(&options);
    assert_eq!(said(&report), [(Defect::Name, Remedy::Removed)]);
    assert!(!name.exists());
    // The object stays.
    let store = sample.stage.open();
    store
        .pin(&of(sample.object("model").cid), &PinOptions::named("model"))
        .unwrap();
    drop(store);
    sample.assert_whole();
}

#[test]
fn a_damaged_name_that_is_called_like_its_object_is_set_again() {
    let sample = Sample::small();
    let cid = sample.object("unpinned").cid;
    let store = sample.stage.open();
    store.pin(&of(cid), &PinOptions::default()).unwrap();
    drop(store);
    let name = sample.store().join("names").join(cid.to_string());
    change(&name, |content| content.truncate(50));
    // Its root is lost too.
    fs::remove_file(sample.root("unpinned")).unwrap();
    let report = sample.repair();
    let expected = [
        (Defect::Name, Remedy::Restored),
        (Defect::RootMissing, Remedy::Restored),
    ];
    assert_eq!(said(&report), expected);
    let pins = StoreReader::open(sample.store()).unwrap().pins().unwrap();
    assert!(
        pins.iter()
            .any(|pin| pin.name == cid.to_string() && pin.cid == cid)
    );
    sample.stage.open().unpin(&of(cid)).unwrap();
    sample.assert_whole();
}

#[test]
fn a_name_whose_object_is_not_here_is_said() {
    let sample = Sample::small();
    // Packs and roots of it are gone.
    let store = sample.stage.open();
    let report = store
        .add_reader(&bytes(70, 30_000)[..], &AddOptions::default().named("lost"))
        .unwrap();
    drop(store);
    fs::remove_file(sample.pack_with(&bytes(70, 30_000)[..1_000])).unwrap();
    fs::remove_file(sample.store().join("roots").join(report.cid.to_string())).unwrap();
    let found = sample.repair();
    assert_eq!(said(&found), [(Defect::RootMissing, Remedy::Left)]);
    assert_eq!(found.findings[0].lacking, [report.cid]);
    assert_eq!(found.findings[0].objects[0].pins, ["lost"]);
    let store = sample.stage.open();
    store.unpin(&target("lost")).unwrap();
    drop(store);
    assert_eq!(sample.repair().findings, []);
    sample.assert_whole();
}

#[test]
fn a_name_that_cannot_be_read_is_an_error_and_stays() {
    let sample = Sample::small();
    let name = sample.store().join("names/model");
    fs::remove_file(&name).unwrap();
    // Following it fails for every user, as a file without permission would not.
    std::os::unix::fs::symlink("x".repeat(300), &name).unwrap();
    let mut options = RepairOptions::default();
    options.drop_names = true;
    let error = plan_repair(sample.store(), &options).unwrap_err();
    assert!(matches!(error, StoreError::File(_)), "{error}");
    assert!(error.to_string().contains("names/model"), "{error}");
    assert!(fs::symlink_metadata(&name).is_ok());
}

#[test]
fn a_link_that_leads_nowhere_or_in_a_circle_is_a_name_that_is_damaged() {
    for to in ["nowhere", "model"] {
        let sample = Sample::small();
        let name = sample.store().join("names/model");
        fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink(to, &name).unwrap();
        let error = sample
            .stage
            .open()
            .plan_gc(&Default::default())
            .unwrap_err();
        assert!(error.to_string().contains("leads nowhere"), "{error}");
        let report = sample.repair();
        assert_eq!(said(&report), [(Defect::Name, Remedy::Left)]);
        let mut options = RepairOptions::default();
        options.drop_names = true;
        let report = sample.repair_with(&options);
        assert_eq!(said(&report), [(Defect::Name, Remedy::Removed)]);
        assert!(fs::symlink_metadata(&name).is_err());
    }
}
