//! Two defects at once, and a repair that is cut off.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use ipfs_accelerate::{Defect, Remedy};

use super::*;

fn damage_header(pack: &Path) {
    change(pack, |content| content[..128].fill(0));
}

fn damage_table(pack: &Path) {
    change(pack, |content| {
        let table = table_of(content);
        content[table..].fill(0xc3);
    });
}

#[test]
fn index_and_roots() {
    let sample = Sample::new();
    fs::remove_dir_all(sample.store().join("db")).unwrap();
    fs::remove_dir_all(sample.store().join("roots")).unwrap();
    let report = sample.repair();
    assert_eq!(report.left(), 0, "{:#?}", report.findings);
    sample.assert_whole();
}

#[test]
fn gone_and_a_table() {
    let sample = Sample::new();
    fs::remove_file(sample.store().join("gone")).unwrap();
    damage_table(&sample.pack_with(&bytes(1, 400_000)[..1_000]));
    let report = sample.repair();
    let expected = [
        (Defect::PackTable, Remedy::Rebuilt),
        (Defect::Gone, Remedy::Made),
    ];
    assert_eq!(said(&report), expected);
    sample.assert_whole();
}

#[test]
fn the_header_of_every_pack() {
    let sample = Sample::new();
    let packs = sample.stage.stored("packs");
    packs.iter().for_each(|pack| damage_header(pack));
    let report = sample.repair();
    assert_eq!(
        said(&report),
        vec![(Defect::PackHeader, Remedy::Rebuilt); packs.len()]
    );
    sample.assert_whole();
}

#[test]
fn the_header_of_every_pack_and_all_roots_and_format_and_gone() {
    let sample = Sample::new();
    for pack in sample.stage.stored("packs") {
        damage_header(&pack);
    }
    fs::remove_dir_all(sample.store().join("roots")).unwrap();
    fs::remove_file(sample.store().join("FORMAT")).unwrap();
    fs::remove_file(sample.store().join("gone")).unwrap();
    fs::remove_dir_all(sample.store().join("db")).unwrap();
    // Only the names still say which store it is.
    let report = sample.repair();
    assert_eq!(report.left(), 0, "{:#?}", report.findings);
    sample.assert_whole();
}

#[test]
fn a_root_and_the_table_that_it_would_be_put_together_from() {
    let sample = Sample::new();
    let root = sample.root("framed");
    let len = fs::metadata(&root).unwrap().len() as usize;
    // The places of the nodes are lost, the paths and the extents are there.
    flip(&root, len - 1);
    damage_header(&sample.pack_with(&bytes(3, 130_000)[..1_000]));
    let report = sample.repair();
    assert_eq!(report.left(), 0, "{:#?}", report.findings);
    sample.assert_whole();
}

#[test]
fn a_table_whose_blocks_only_a_damaged_root_knows() {
    let sample = Sample::small();
    let store = sample.stage.open();
    let content = bytes(80, 90_000);
    let options = chunked(Profile::default()).named("alone");
    let cid = store.add_reader(&content[..], &options).unwrap().cid;
    drop(store);
    damage_table(&sample.pack_with(&content[..1_000]));
    // The head of the root is damaged: the rest of it still tells the places.
    let root = sample.store().join("roots").join(cid.to_string());
    let bytes_of_root = fs::read(&root).unwrap();
    change(&root, |content| {
        let last = content.len() - 1;
        content[last] ^= 1;
    });
    let report = sample.repair();
    // The nodes were the damaged part: what can be told is told.
    assert_eq!(said(&report)[0].0, Defect::PackTable);
    let finding = report
        .findings
        .iter()
        .find(|f| f.defect == Defect::RootDamaged)
        .unwrap();
    if finding.is_left() {
        assert!(!finding.lacking.is_empty());
        fs::write(&root, bytes_of_root).unwrap();
        let report = sample.repair();
        assert_eq!(report.left(), 0, "{:#?}", report.findings);
    }
    let reader = StoreReader::open(sample.store()).unwrap();
    assert!(reader.read(&of(cid)).unwrap() == content);
}

/// The child half of the test below.
#[test]
fn cut_off_child() {
    let Some(store) = is_child("IPFS_ACCELERATE_TEST_REPAIR") else {
        return;
    };
    let plan = plan_repair(store, &RepairOptions::default()).unwrap();
    println!("planned");
    apply_repair(&plan).unwrap();
}

#[test]
fn a_repair_that_is_killed_and_begun_again_comes_to_the_same_end() {
    use std::io::{BufRead, BufReader};
    let sample = Sample::new();
    for round in 0..12_u64 {
        let packs = sample.stage.stored("packs");
        for (number, pack) in packs.iter().enumerate() {
            match number % 3 {
                0 => damage_header(pack),
                // As long as the table is whole enough to tell blocks that no root covers.
                1 => change(pack, |content| {
                    let table = table_of(content);
                    content[table + 20] ^= 1;
                }),
                _ => {}
            }
        }
        fs::remove_file(sample.root("model")).unwrap();
        flip(&sample.root("tuned"), 50);
        fs::remove_file(sample.store().join("gone")).unwrap();
        let mut child = again_in_a_child(
            "repair::pairs::cut_off_child",
            "IPFS_ACCELERATE_TEST_REPAIR",
            sample.store().to_str().unwrap(),
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines
            .find(|line| line.as_ref().unwrap().contains("planned"))
            .unwrap()
            .unwrap();
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let report = sample.repair();
        assert_eq!(report.left(), 0, "{:#?}", report.findings);
        sample.assert_whole();
    }
}
