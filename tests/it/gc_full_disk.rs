//! A full disk (I7): removing and collecting still work, and give the space back.

use std::fs;

use ipfs_accelerate::{AddOptions, RemoveOptions, RepairOptions, Store, apply_repair, plan_repair};

use super::gc::gc;
use super::store_kit::*;
use super::store_space::Disk;

#[test]
fn collection_works_on_a_full_disk_and_loses_nothing() {
    let Some(disk) = Disk::new("64m") else {
        return;
    };
    let store = Store::create(disk.store()).unwrap();
    let shared = bytes(1, 4 << 20);
    let kept = [shared.clone(), bytes(2, 2 << 20)].concat();
    let kept_cid = store
        .add_reader(&kept[..], &AddOptions::default().named("kept"))
        .unwrap()
        .cid;
    // One that goes as a whole pack, and one that leaves a hole in the pack of the first.
    let alone = add_bytes(&store, &bytes(3, 8 << 20)).cid;
    let first = [bytes(4, 8 << 20), bytes(5, 1 << 20)].concat();
    let first_cid = add_bytes(&store, &first).cid;
    let second = bytes(5, 1 << 20);
    let second_cid = add_bytes(&store, &second).cid;
    disk.fill(0);
    let remove = |cid| store.remove(&of(cid), &RemoveOptions::default()).unwrap();
    remove(first_cid);
    let report = gc(&store);
    assert!(report.freed_bytes >= (8 << 20) / 100 * 99, "{report:?}");
    disk.fill(0);
    remove(alone);
    let report = gc(&store);
    assert!(report.freed_bytes >= 8 << 20, "{report:?}");
    assert!(
        fs::metadata(disk.store().join("reserve")).unwrap().len() >= 1 << 20,
        "taken again"
    );
    assert!(read(&store, &of(kept_cid)) == kept);
    assert!(read(&store, &of(second_cid)) == second);
    drop(store);
    let store = Store::open(disk.store()).unwrap();
    assert!(read(&store, &of(kept_cid)) == kept);
    assert!(read(&store, &of(second_cid)) == second);
    disk.free();
    // What is a hole is not taken for content.
    assert_eq!(add_bytes(&store, &first).cid, first_cid);
    assert!(read(&store, &of(first_cid)) == first);
}

#[test]
fn a_damaged_store_is_repaired_on_a_full_disk_and_then_collected() {
    let Some(disk) = Disk::new("64m") else {
        return;
    };
    let store = Store::create(disk.store()).unwrap();
    let kept = bytes(1, 3 << 20);
    let added = store.add_reader(&kept[..], &AddOptions::default().named("kept"));
    let kept_cid = added.unwrap().cid;
    let removed = add_bytes(&store, &bytes(2, 8 << 20)).cid;
    store
        .remove(&of(removed), &RemoveOptions::default())
        .unwrap();
    drop(store);
    let root = disk.store().join("roots").join(kept_cid.to_string());
    let root = fs::File::options().write(true).open(root).unwrap();
    root.set_len(40).unwrap();
    drop(root);
    disk.fill(0);
    let collected = Store::open(disk.store()).and_then(|store| store.plan_gc(&Default::default()));
    assert!(collected.is_err(), "it keeps nobody knows what");
    let plan = plan_repair(disk.store(), &RepairOptions::default()).unwrap();
    assert_eq!(apply_repair(&plan).unwrap().left(), 0);
    let store = Store::open(disk.store()).unwrap();
    assert!(gc(&store).freed_bytes >= 8 << 20);
    assert!(read(&store, &of(kept_cid)) == kept);
}
