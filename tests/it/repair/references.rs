//! Packs whose blocks lie in files of the user's.

use std::fs;

use ipfs_accelerate::{Defect, Remedy, StoreReader};

use super::*;

fn by_reference() -> AddOptions {
    let mut options = chunked(Profile::default()).with_pin(ipfs_accelerate::PinAs::No);
    options.reference = true;
    options
}

/// A store with one folder that was added by reference, and the reference pack.
fn referring() -> (Sample, Stored, PathBuf) {
    let sample = Sample::small();
    let before = sample.stage.stored("packs");
    let files = [
        ("r/one.bin", bytes(90, 90_000)),
        ("two.bin", bytes(91, 30_000)),
    ];
    for (path, content) in &files {
        sample.stage.file(&format!("outside/{path}"), content);
    }
    let options = by_reference();
    let store = sample.stage.open();
    let cid = store
        .add_path(sample.stage.path("outside"), &options)
        .unwrap()
        .cid;
    drop(store);
    let packs = sample.stage.stored("packs").into_iter();
    let mut new: Vec<PathBuf> = packs.filter(|path| !before.contains(path)).collect();
    new.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let is_reference = |path: &PathBuf| fs::read(path).unwrap()[8] == 2;
    let pack = new.into_iter().find(is_reference).unwrap();
    let stored = Stored {
        title: "outside",
        cid,
        is_pinned: false,
        files: files
            .into_iter()
            .map(|(path, content)| (path.to_owned(), content))
            .collect(),
    };
    (sample, stored, pack)
}

#[track_caller]
fn assert_reads(sample: &Sample, object: &Stored) {
    let reader = StoreReader::open(sample.store()).unwrap();
    for (path, content) in &object.files {
        let read = reader.read(&target(format!("{}/{path}", object.cid)));
        assert!(read.unwrap() == *content, "{path}");
    }
    sample.assert_whole();
}

#[test]
fn header_and_table_of_a_reference_pack_are_made_again() {
    let (sample, object, pack) = referring();
    assert_eq!(sample.repair().findings, []);
    let whole = fs::read(&pack).unwrap();
    for (damage, defect) in [
        ("header", Defect::PackHeader),
        ("table", Defect::PackTable),
        ("all of the table", Defect::PackTable),
        ("both", Defect::PackHeader),
        ("cut", Defect::PackLength),
        ("grown", Defect::PackLength),
    ] {
        change(&pack, |content| {
            content.clone_from(&whole);
            let table = table_of(content);
            match damage {
                "header" => content[..128].fill(0),
                "table" => content[table + 30] ^= 1,
                "all of the table" => content[table..].fill(0),
                "both" => {
                    content[..128].fill(0);
                    content[table..].fill(0);
                }
                "cut" => content.truncate(table + 20),
                _ => content.extend_from_slice(&bytes(92, 1_000)),
            }
        });
        let report = sample.repair();
        let remedy = match damage {
            "grown" => Remedy::Cut,
            _ => Remedy::Rebuilt,
        };
        assert_eq!(said(&report), [(defect, remedy)], "{damage}");
        assert_reads(&sample, &object);
    }
}

#[test]
fn a_reference_pack_without_its_list_of_files_is_left_and_said() {
    let (sample, object, pack) = referring();
    flip(&pack, 160);
    let report = sample.repair();
    let left = [
        (Defect::PackSources, Remedy::Left),
        (Defect::RootPlaces, Remedy::Left),
    ];
    assert_eq!(said(&report), left);
    assert_eq!(titles(&report.findings[0]), ["outside"]);
    sample.assert_whole();
    let store = sample.stage.open();
    let options = by_reference();
    store
        .add_path(sample.stage.path("outside"), &options)
        .unwrap();
    drop(store);
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackSources, Remedy::Left)]);
    assert_eq!(report.findings[0].objects, []);
    store_reads(&sample, &object);
}

fn store_reads(sample: &Sample, object: &Stored) {
    let reader = StoreReader::open(sample.store()).unwrap();
    for (path, content) in &object.files {
        assert!(
            reader
                .read(&target(format!("{}/{path}", object.cid)))
                .unwrap()
                == *content
        );
    }
}

#[test]
fn lost_roots_over_files_of_the_users_come_back_though_gone_is_lost_too() {
    let (sample, object, _) = referring();
    fs::remove_dir_all(sample.store().join("roots")).unwrap();
    fs::remove_file(sample.store().join("gone")).unwrap();
    let report = sample.repair();
    assert_eq!(report.left(), 0, "{:#?}", report.findings);
    assert_reads(&sample, &object);
}
