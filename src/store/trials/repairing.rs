//! Power cuts and failures while a store is repaired: whatever they leave, another repair brings everything back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::faults::{CHANGES, Failure, Fault, FaultyDisk, Kind};
use super::recorder::RecordingDisk;
use super::replay::at;
use crate::block::Cid;
use crate::fsio::{Files, RealDisk};
use crate::store::folder::StoreFolder;
use crate::store::index::{IndexSlot, MemoryIndex};
use crate::store::inner::Inner;
use crate::store::read::ReadCore;
use crate::store::repair::{apply_on, plan_on};
use crate::store::{
    AddOptions, Defect, GcOptions, RemoveOptions, RepairOptions, Store, StoreError, StoreOptions,
    StoreReader, Target, VerifyOptions, apply_repair, plan_repair, writer_lock,
};

/// What a store holds.
type Content = Vec<(Cid, Vec<u8>)>;

fn text(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + at / 251) as u8 ^ seed)
        .collect()
}

/// Makes a store of several packs.
fn filled(path: &Path, files: &Files) -> Content {
    let options = StoreOptions {
        pack_bytes: 2_000,
        ..StoreOptions::default()
    };
    let index = Box::<MemoryIndex>::default();
    let store = super::open_over(path, files, options, index).unwrap();
    let profile = crate::dag::Profile::default()
        .with_chunk_bytes(600)
        .unwrap();
    let mut content = Content::new();
    for seed in 0..5 {
        let bytes = text(seed, 1_500 + 300 * usize::from(seed));
        let options = AddOptions::default()
            .with_profile(profile.clone())
            .named(format!("n{seed}"));
        let added = store.add_reader(&bytes[..], &options).unwrap();
        content.push((added.cid, bytes));
    }
    content
}

/// Makes a store of several packs and damages it in many ways, none of which loses a block that a root needs.
fn damaged(path: &Path, files: &Files) -> Content {
    let content = filled(path, files);
    let mut packs: Vec<PathBuf> = files
        .list(&path.join("packs"))
        .unwrap()
        .into_iter()
        .map(|name| path.join("packs").join(name))
        .collect();
    packs.sort();
    assert!(packs.len() >= 5);
    for (number, pack) in packs.iter().enumerate() {
        let file = files.open_sealed(pack).unwrap();
        let len = files.file_metadata(&file, pack).unwrap().len();
        match number % 4 {
            0 => files.write_all_at(&file, &[0; 128], 0, pack).unwrap(),
            // The digest in the first row of the table: its place still tells the block.
            1 => {
                let mut table = [0; 8];
                files.read_exact_at(&file, &mut table, 48, pack).unwrap();
                let digest = u64::from_le_bytes(table) + 8 + 8 + 12;
                files.write_all_at(&file, &[0xff; 9], digest, pack).unwrap();
            }
            2 => files.write_all_at(&file, b"more", len, pack).unwrap(),
            _ => {}
        }
        files.sync_file(&file, pack).unwrap();
    }
    let root = |number: usize| path.join("roots").join(content[number].0.to_string());
    files.remove_file(&root(0)).unwrap();
    let file = files.open_write(&root(1), None).unwrap();
    files.write_all_at(&file, b"xxxx", 100, &root(1)).unwrap();
    files.sync_file(&file, &root(1)).unwrap();
    files.remove_file(&path.join("gone")).unwrap();
    files.remove_file(&path.join("FORMAT")).unwrap();
    for folder in [path.join("roots"), path.to_path_buf()] {
        files.sync_dir(&folder).unwrap();
    }
    content
}

/// Repairs on a disk that is well, and finds everything.
fn check(store: &Path, content: &Content) -> Result<(), String> {
    let options = RepairOptions::default();
    let said = |e: StoreError| e.to_string();
    let mut report = apply_repair(&plan_repair(store, &options).map_err(said)?).map_err(said)?;
    if report.left() > 0 {
        // What the disk refused once is recorded as damaged until it is read again.
        let again = Store::open(store).map_err(said)?;
        again.verify(&VerifyOptions::default()).map_err(said)?;
        drop(again);
        report = apply_repair(&plan_repair(store, &options).map_err(said)?).map_err(said)?;
    }
    if report.left() > 0 {
        return Err(format!("left: {:#?}", report.findings));
    }
    let reader = StoreReader::open(store).map_err(said)?;
    for (number, (cid, bytes)) in content.iter().enumerate() {
        let name: Target = format!("n{number}").parse().expect("a name");
        let read = reader.read(&name).map_err(said)?;
        if read != *bytes || reader.resolve(&name).map_err(said)?.cid() != *cid {
            return Err(format!("n{number} is another"));
        }
    }
    let again = plan_repair(store, &options).map_err(said)?;
    match again.findings.is_empty() {
        true => Ok(()),
        false => Err(format!("found again: {:#?}", again.findings)),
    }
}

#[test]
fn i4_rebuildable_a_power_cut_at_any_point_of_a_repair_loses_nothing() {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let disk = RecordingDisk::new(dir.path());
    let content = damaged(&path, &disk.files());
    let begun = disk.len();
    let folder = StoreFolder::on(&path, disk.files());
    let plan = plan_on(&folder, &RepairOptions::default()).unwrap();
    assert_eq!(disk.len(), begun, "a plan changes nothing");
    let report = apply_on(&folder, &plan).unwrap();
    assert!(report.findings.len() >= 8, "{:#?}", report.findings);
    let ops = disk.ops();
    assert!(ops.len() > begun + 40);
    let mut seen = HashSet::new();
    let crashes = (begun..=ops.len()).flat_map(|cut| at(&ops[..cut]));
    for crash in crashes.filter(|crash| seen.insert(crash.image.digest())) {
        let left = super::scratch();
        crash.image.write_to(left.path());
        if let Err(what) = check(&left.path().join("store"), &content) {
            let from = crash.cut.saturating_sub(60).max(begun);
            panic!(
                "cut after {} operations of the repair, {} of those not synced was left: {what}\n{:#?}",
                crash.cut - begun,
                crash.left,
                &ops[from..crash.cut]
            );
        }
    }
}

/// Takes all roots and names away, and adds an object: where `is_begun` before anybody repairs.
fn without_roots(path: &Path, files: &Files, is_begun: bool) -> Content {
    let mut content = filled(path, files);
    for folder in ["roots", "names"].map(|folder| path.join(folder)) {
        for name in files.list(&folder).unwrap() {
            files.remove_file(&folder.join(name)).unwrap();
        }
        files.sync_dir(&folder).unwrap();
    }
    if is_begun {
        let index = Box::<MemoryIndex>::default();
        let store = super::open_over(path, files, StoreOptions::default(), index).unwrap();
        // Blocks of it lie in a pack whose root is lost.
        let bytes = [&content[1].1[..], &text(9, 700)].concat();
        let added = store.add_reader(&bytes[..], &AddOptions::default());
        content.push((added.unwrap().cid, bytes));
    }
    content
}

/// An ordinary collection leaves every pack, and a repair finds every object.
fn check_lost(store: &Path, content: &Content) -> Result<(), String> {
    let said = |e: StoreError| e.to_string();
    let packs = || {
        Files::real()
            .list(&store.join("packs"))
            .map(HashSet::<_>::from_iter)
    };
    let before: HashSet<std::ffi::OsString> = packs().map_err(|e| e.to_string())?;
    let opened = Store::open(store).map_err(said)?;
    let options = GcOptions {
        grace: std::time::Duration::ZERO,
        ..GcOptions::default()
    };
    let collected = opened
        .plan_gc(&options)
        .and_then(|plan| opened.apply_gc(&plan));
    let collected = collected.map_err(said)?;
    drop(opened);
    if packs().map_err(|e| e.to_string())? != before {
        return Err(format!("packs were taken: {collected:?}"));
    }
    let options = RepairOptions::default();
    let report = apply_repair(&plan_repair(store, &options).map_err(said)?).map_err(said)?;
    if report.left() > 0 {
        return Err(format!("left: {:#?}", report.findings));
    }
    let reader = StoreReader::open(store).map_err(said)?;
    for (cid, bytes) in content {
        if reader.read(&(*cid).into()).map_err(said)? != *bytes {
            return Err(format!("{cid} is another"));
        }
    }
    if reader.unrooted_packs().map_err(said)? > 0 {
        return Err("packs without a root are left".into());
    }
    let again = plan_repair(store, &options).map_err(said)?;
    match again.findings.is_empty() && again.restorable.is_empty() {
        true => Ok(()),
        false => Err(format!("found again: {:#?}", again.findings)),
    }
}

#[test]
fn i2_kept_a_power_cut_at_any_point_of_a_repair_of_lost_roots_loses_nothing() {
    for is_begun in [false, true] {
        let dir = super::scratch();
        let path = dir.path().join("store");
        let disk = RecordingDisk::new(dir.path());
        let content = without_roots(&path, &disk.files(), is_begun);
        let begun = disk.len();
        let folder = StoreFolder::on(&path, disk.files());
        let plan = plan_on(&folder, &RepairOptions::default()).unwrap();
        apply_on(&folder, &plan).unwrap();
        let ops = disk.ops();
        let mut seen = HashSet::new();
        let crashes = (begun..=ops.len()).flat_map(|cut| at(&ops[..cut]));
        for crash in crashes.filter(|crash| seen.insert(crash.image.digest())) {
            let left = super::scratch();
            crash.image.write_to(left.path());
            if let Err(what) = check_lost(&left.path().join("store"), &content) {
                panic!(
                    "cut after {} operations of the repair, {} of those not synced was left: {what}",
                    crash.cut - begun,
                    crash.left
                );
            }
        }
        assert!(seen.len() > 20);
    }
}

/// Repairs on a disk with a fault, then on one that is well. Says how many operations were counted.
fn after(fault: Fault) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let content = damaged(&path, Files::real());
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let folder = StoreFolder::on(&path, disk.files());
    let done = plan_on(&folder, &RepairOptions::default())
        .and_then(|plan| apply_on(&folder, &plan).map(|report| report.left()));
    if let Err(what) = check(&path, &content) {
        panic!("{fault:?}: {what}\nthe repair said {done:?}");
    }
    disk.counted()
}

fn at_every_operation(kinds: &'static [Kind], errno: Errno, lasting: bool) {
    let fault = |nth| Fault {
        kinds,
        nth,
        failure: Failure::Errno(errno),
        lasting,
    };
    let points = (1..).take_while(|nth| after(fault(*nth)) >= *nth);
    assert!(points.count() > 40);
}

#[test]
fn i4_rebuildable_a_repair_that_meets_a_failing_disk_loses_nothing() {
    at_every_operation(&[], Errno::IO, false);
}

#[test]
fn i4_rebuildable_a_repair_that_meets_a_full_disk_loses_nothing() {
    at_every_operation(&CHANGES, Errno::NOSPC, true);
}

/// Repairs a store that has space set aside on a disk that is full once. Says how many operations were counted.
fn with_reserve(nth: u64) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let content = damaged(&path, Files::real());
    assert!(path.join("reserve").exists());
    let fault = Fault {
        kinds: &WRITES,
        nth,
        failure: Failure::Errno(Errno::NOSPC),
        lasting: false,
    };
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let folder = StoreFolder::on(&path, disk.files());
    let plan = plan_on(&folder, &RepairOptions::default()).unwrap();
    let report = apply_on(&folder, &plan).unwrap_or_else(|e| panic!("write {nth}: {e}"));
    assert_eq!(report.left(), 0, "write {nth}");
    assert!(path.join("reserve").exists(), "taken again");
    check(&path, &content).unwrap();
    disk.counted()
}

/// What a full disk refuses.
const WRITES: [Kind; 4] = [Kind::Create, Kind::Write, Kind::Rename, Kind::Link];

#[test]
fn i6_safe_a_repair_on_a_full_disk_takes_the_space_that_was_set_aside() {
    let points = (1..).take_while(|nth| with_reserve(*nth) >= *nth);
    assert!(points.count() > 15);
}

/// Removes everything and collects it on a disk with a fault, then looks what a repair would say. Says how many
/// operations were counted.
fn collected(fault: Fault) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let store = |files: &Files| {
        let index = Box::<MemoryIndex>::default();
        super::open_over(&path, files, StoreOptions::default(), index).unwrap()
    };
    let first = store(Files::real());
    let added: Vec<Cid> = (0..3)
        .map(|seed| {
            let bytes = text(seed, 70_000);
            let added = first.add_reader(&bytes[..], &AddOptions::default());
            added.unwrap().cid
        })
        .collect();
    for cid in added {
        let removed = first.remove(&cid.into(), &RemoveOptions::with_unpin());
        removed.unwrap();
    }
    drop(first);
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let core = ReadCore::on(StoreFolder::on(&path, disk.files()));
    let collected = core.and_then(|core| {
        let lock = writer_lock::take(&core.folder, &StoreOptions::default())?;
        let slot = |folder: &StoreFolder| IndexSlot::with(Box::<MemoryIndex>::default(), folder);
        let store = Store::over(Inner::open_over(core, lock, StoreOptions::default(), slot)?);
        store.apply_gc(&store.plan_gc(&GcOptions::default())?)
    });
    let plan = plan_repair(&path, &RepairOptions::default()).unwrap();
    // It has no database here.
    let mut found = plan.findings.iter().filter(|f| f.defect != Defect::Index);
    assert_eq!(found.next(), None, "{fault:?}: {collected:?}");
    // Nothing stays when it is collected again.
    let last = store(Files::real());
    last.apply_gc(&last.plan_gc(&GcOptions::default()).unwrap())
        .unwrap();
    for folder in ["roots", "packs"] {
        let left = Files::real().list(&path.join(folder)).unwrap();
        assert_eq!(left.len(), 0, "{fault:?}: {folder}: {left:?}");
    }
    disk.counted()
}

#[test]
fn a_collection_of_everything_that_is_cut_off_leaves_no_roots_to_be_lost() {
    let fault = |nth| Fault {
        kinds: &CHANGES,
        nth,
        failure: Failure::Errno(Errno::IO),
        lasting: true,
    };
    let points = (1..).take_while(|nth| collected(fault(*nth)) >= *nth);
    assert!(points.count() > 10);
}

#[test]
fn i6_safe_a_folder_that_may_not_be_listed_is_not_taken_for_an_empty_one_by_a_repair() {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let store = Store::create(&path).unwrap();
    let bytes = text(1, 70_000);
    store
        .add_reader(&bytes[..], &AddOptions::default())
        .unwrap();
    drop(store);
    for nth in 1.. {
        let fault = Fault {
            kinds: &[Kind::List],
            nth,
            failure: Failure::Errno(Errno::ACCESS),
            lasting: false,
        };
        let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
        let plan = plan_on(
            &StoreFolder::on(&path, disk.files()),
            &RepairOptions::default(),
        );
        if !disk.has_failed() {
            assert!(nth > 6);
            return;
        }
        let said = match plan {
            Err(e) => vec![e.to_string()],
            Ok(plan) => plan.findings.into_iter().map(|f| f.found).collect(),
        };
        let is_said = said.iter().any(|text| text.contains("Permission denied"));
        assert!(is_said, "list {nth}: {said:?}");
    }
}
