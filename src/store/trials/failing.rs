//! A failure at every operation of a run.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::check::check_what_is_left;
use super::faults::{CHANGES, Failure, Fault, FaultyDisk, Kind, SYNCS};
use super::indexes::{FaultyIndex, RememberingIndex, SharedIndex};
use super::ledger::Ledger;
use super::recorder::RecordingDisk;
use super::run::Run;
use super::workload::{Step, WORKLOADS, Workload, letters_of};
use crate::dag::Profile;
use crate::fsio::{Files, RealDisk};
use crate::store::index::{Index, MemoryIndex};
use crate::store::inner;
use crate::store::pack::{PackId, Row};
use crate::store::read::ReadCore;
use crate::store::{
    AddOptions, GcOptions, RemoveOptions, Store, StoreError, StoreOptions, StoreReader,
};

/// Runs all steps on a disk with a fault, and checks what it left. Says how many operations were counted.
fn run(workload: &Workload, fault: Fault) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let mut run = Run::new(&path, disk.files()).within(workload.max_bytes);
    let results = steps(&mut run, workload);
    let (ledger, counted) = (run.ledger.clone(), disk.counted());
    let open = match run.store() {
        // What it shows with the fault behind it.
        Some(store) if !fault.lasting && disk.has_failed() => {
            ledger.check_reader(&store.to_reader())
        }
        _ => Ok(()),
    };
    drop(run);
    let left = left(&path, &ledger, workload);
    if let Err(what) = open.and(left) {
        panic!("{fault:?}: {what}\n{results:#?}");
    }
    counted
}

/// One that fails is tried again by the same process.
fn steps(run: &mut Run, workload: &Workload) -> Vec<Result<(), StoreError>> {
    let mut results = Vec::new();
    for step in workload.steps {
        let result = run.step(*step, |_| {});
        let is_err = result.is_err();
        results.push(result);
        if is_err {
            results.push(run.step(*step, |_| {}));
        }
    }
    results
}

fn left(path: &Path, ledger: &Ledger, workload: &Workload) -> Result<(), String> {
    let index = Arc::<MemoryIndex>::default();
    check_what_is_left(path, ledger, &letters_of(workload.steps), index)
}

fn every_operation(failure: Failure, lasting: bool) {
    let fault = |nth| Fault {
        kinds: &[],
        nth,
        failure,
        lasting,
    };
    for workload in &WORKLOADS {
        let points = (1..).take_while(|nth| run(workload, fault(*nth)) >= *nth);
        assert!(points.count() > 100);
    }
}

#[test]
fn an_operation_that_fails_costs_nothing_that_was_returned() {
    every_operation(Failure::Errno(Errno::IO), false);
}

#[test]
fn a_disk_that_is_full_for_a_moment_costs_nothing_that_was_returned() {
    every_operation(Failure::Errno(Errno::NOSPC), false);
}

#[test]
fn a_disk_that_fails_from_some_point_on_costs_nothing_that_was_returned() {
    every_operation(Failure::Errno(Errno::IO), true);
}

#[test]
fn a_disk_that_is_full_from_some_point_on_costs_nothing_that_was_returned() {
    every_operation(Failure::Errno(Errno::NOSPC), true);
}

/// What was renamed may be there, though neither the sync after it nor a look at it says so.
#[test]
fn a_disk_that_neither_syncs_nor_reads_from_some_point_on_costs_nothing_that_was_returned() {
    let fault = |nth| Fault {
        kinds: &[Kind::SyncFile, Kind::SyncDir, Kind::Read],
        nth,
        failure: Failure::Errno(Errno::IO),
        lasting: true,
    };
    for workload in &WORKLOADS {
        let points = (1..).take_while(|nth| run(workload, fault(*nth)) >= *nth);
        assert!(points.count() > 50);
    }
}

#[test]
fn an_operation_that_falls_short_is_gone_on_with() {
    every_operation(Failure::Short, true);
    let of = |kinds| Fault {
        kinds,
        nth: u64::MAX,
        failure: Failure::Short,
        lasting: false,
    };
    // What stands above counts for these only where they are part of the run.
    let punched = run(&WORKLOADS[1], of(&[Kind::Punch]));
    assert!(punched > 0);
    assert!(run(&WORKLOADS[2], of(&[Kind::Link])) > 0);
    for kinds in [
        &[Kind::Map],
        &[Kind::Read],
        &[Kind::Rename],
        &[Kind::SyncDir],
        &[Kind::Unlink],
    ] {
        assert!(run(&WORKLOADS[0], of(kinds)) > 0, "{kinds:?}");
    }
}

#[test]
fn after_a_sync_that_failed_nothing_is_written_until_the_store_is_opened_again() {
    for workload in &WORKLOADS {
        let points = (1..).take_while(|nth| sync_fails(workload, *nth));
        assert!(points.count() > 20);
    }
}

/// Runs all steps on a disk whose n-th sync fails, and checks that those after it were refused, and changed
/// nothing, until the store was opened again. Says whether there was one.
fn sync_fails(workload: &Workload, nth: u64) -> bool {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let fault = Fault {
        kinds: &SYNCS,
        nth,
        failure: Failure::Errno(Errno::IO),
        lasting: false,
    };
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let mut run = Run::new(&path, disk.files()).within(workload.max_bytes);
    // What was there once it had failed, unless the store could not be opened and has nothing to refuse.
    let mut left = None;
    for step in workload.steps {
        let failed_before = disk.has_failed();
        let result = run.step(*step, |_| {});
        if disk.has_failed() && !failed_before {
            assert!(result.is_err(), "sync {nth}: {step:?} went on");
            left = run.store().map(|_| names_in(&path));
        } else if matches!(step, Step::Reopen) {
            left = None;
        } else if let Some(left) = &left {
            assert_eq!(names_in(&path), *left, "sync {nth}: then {step:?}");
            // An import that breaks off has nothing to write, nor has moving what is not there.
            if matches!(step, Step::Read(_) | Step::BreakOff(_) | Step::MoveAll) {
                continue;
            }
            let cause = result.expect_err("it writes");
            let refuses = matches!(cause, StoreError::Poisoned { .. });
            // What is not there, or damaged, is said first.
            let needs_it = !matches!(step, Step::Add(..) | Step::Session(_));
            assert!(refuses || needs_it, "sync {nth}: then {step:?}: {cause}");
        }
    }
    disk.has_failed()
}

fn names_in(store: &Path) -> Vec<OsString> {
    let folders = ["packs", "roots", "names"].map(|folder| store.join(folder));
    let lists = folders.map(|folder| Files::real().list(&folder).unwrap());
    let mut names = lists.concat();
    names.sort();
    names
}

#[test]
fn an_index_that_fails_costs_nothing_that_was_returned() {
    for lasting in [false, true] {
        for workload in &WORKLOADS {
            let points = (1..).take_while(|nth| index_fails(workload, *nth, lasting));
            assert!(points.count() > 10);
        }
    }
}

/// Runs all steps over an index that fails, which no step may notice, and checks what is left. Says whether it
/// failed.
fn index_fails(workload: &Workload, nth: u64, lasting: bool) -> bool {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let index = FaultyIndex::new(nth, lasting);
    let shared = Arc::<FaultyIndex>::clone(&index);
    let files = Files::real().clone();
    let mut run = Run::over(&path, files, shared).within(workload.max_bytes);
    for (step, result) in workload.steps.iter().zip(steps(&mut run, workload)) {
        assert!(result.is_ok(), "call {nth}: {step:?}: {result:?}");
    }
    let ledger = run.ledger.clone();
    drop(run);
    if let Err(what) = left(&path, &ledger, workload) {
        panic!("call {nth}, from then on: {lasting}: {what}");
    }
    index.counted() >= nth
}

/// A block lies in a file of the user's and in a pack, and the index knows one place: when the pack is collected by a
/// process that dies on the way, the other place is known once the store is opened again. Says how many operations
/// were counted.
fn collected(fault: Fault) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let index = Arc::<MemoryIndex>::default();
    let open = |files: &Files| {
        let index = Box::new(SharedIndex(Arc::<MemoryIndex>::clone(&index)));
        super::open_over(&path, files, StoreOptions::default(), index)
    };
    let chunk = vec![7; 70_000];
    let file = dir.path().join("file");
    std::fs::write(&file, &chunk).unwrap();
    let profile = Profile::default().with_chunk_bytes(chunk.len()).unwrap();
    let options = AddOptions::default().with_profile(profile.clone());
    let store = open(Files::real()).unwrap();
    let referring = AddOptions {
        reference: true,
        ..options.clone()
    };
    let referred = store.add_path(&file, &referring).unwrap().cid;
    let both = [&chunk[..], b"more"].concat();
    let added = store.add_reader(&both[..], &options).unwrap().cid;
    let removed = store.remove(&added.into(), &RemoveOptions::with_unpin());
    removed.unwrap();
    drop(store);
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    if let Ok(store) = open(&disk.files()) {
        let plan = store.plan_gc(&GcOptions::default());
        let _ = plan.and_then(|plan| store.apply_gc(&plan));
        let known = index.get(referred.hash()).unwrap();
        assert!(known.is_some() || fault.lasting, "{fault:?}");
    }
    let store = open(Files::real()).unwrap();
    let known = index.get(referred.hash()).unwrap();
    assert!(known.is_some(), "{fault:?}");
    assert_eq!(store.get_block(&referred).unwrap().data(), chunk);
    disk.counted()
}

fn a_change_fails(nth: u64, lasting: bool) -> Fault {
    Fault {
        kinds: &CHANGES,
        nth,
        failure: Failure::Errno(Errno::IO),
        lasting,
    }
}

#[test]
fn what_a_collection_that_dies_forgot_is_known_again_from_where_else_it_is() {
    let points = (1..).take_while(|nth| collected(a_change_fails(*nth, true)) >= *nth);
    assert!(points.count() > 5);
}

#[test]
fn what_a_collection_that_fails_forgot_is_known_from_where_else_it_is_at_once() {
    let points = (1..).take_while(|nth| collected(a_change_fails(*nth, false)) >= *nth);
    assert!(points.count() > 5);
}

/// Of two removed objects a collection unlinks the pack of the larger one, and fails somewhere: what then has room under
/// the quota is added by the same process. Says how many operations were counted, and whether anything was added: not
/// where the fault made the store refuse writes.
fn added_after(fault: Fault) -> (u64, bool) {
    const MIB: usize = 1 << 20;
    let dir = super::scratch();
    let path = dir.path().join("store");
    let open = |files: &Files| {
        let options = StoreOptions {
            max_bytes: Some(8 * MIB as u64),
            ..StoreOptions::default()
        };
        super::open_over(&path, files, options, Box::<MemoryIndex>::default())
    };
    let content = |letter: u8, mib: usize| -> Vec<u8> {
        let blocks = (0..mib as u8).map(|n| [&[letter, n][..], &vec![7; MIB - 2]].concat());
        blocks.collect::<Vec<_>>().concat()
    };
    let add = |store: &Store, content: Vec<u8>| {
        let added = store.add_reader(&content[..], &AddOptions::default());
        added.map(|added| added.cid)
    };
    let store = open(Files::real()).unwrap();
    let small = add(&store, [content(1, 1), content(2, 1)].concat()).unwrap();
    let large = add(&store, content(3, 5)).unwrap();
    store
        .add_reader(&content(1, 1)[..], &AddOptions::default().named("kept"))
        .unwrap();
    for removed in [small, large] {
        store
            .remove(&removed.into(), &RemoveOptions::with_unpin())
            .unwrap();
    }
    drop(store);
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let mut has_added = false;
    if let Ok(store) = open(&disk.files()) {
        let plan = store.plan_gc(&GcOptions::default());
        let _ = plan.and_then(|plan| store.apply_gc(&plan));
        if disk.has_failed() && !store.inner().is_poisoned() {
            let added = add(&store, content(4, 4));
            assert!(added.is_ok(), "{fault:?}: {added:?}");
            has_added = true;
        }
    }
    (disk.counted(), has_added)
}

#[test]
fn what_a_collection_that_fails_freed_is_room_for_what_is_added_next() {
    let mut added = 0;
    for nth in 1.. {
        let (counted, has_added) = added_after(a_change_fails(nth, false));
        if counted < nth {
            break;
        }
        added += u64::from(has_added);
    }
    assert!(added > 5, "of all points at {added} only");
}

#[test]
fn a_pack_that_is_collected_loses_its_marker_before_its_rows() {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let disk = RecordingDisk::new(dir.path());
    let index = RememberingIndex::new(&disk);
    let shared = Box::new(SharedIndex(Arc::<RememberingIndex>::clone(&index)));
    let store = super::open_over(&path, &disk.files(), StoreOptions::default(), shared).unwrap();
    let added = store
        .add_reader(&[7; 100_000][..], &AddOptions::default())
        .unwrap();
    let core = ReadCore::open(&path).unwrap();
    let ids = inner::list(&core.folder).unwrap();
    let table = |id: &PackId| core.packs.open(*id).unwrap().table().unwrap().rows;
    let rows: HashMap<PackId, Vec<Row>> = ids.iter().map(|id| (*id, table(id))).collect();
    let removed = store.remove(&added.cid.into(), &RemoveOptions::with_unpin());
    removed.unwrap();
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    assert_eq!(store.apply_gc(&plan).unwrap().packs, 1);
    let states = index.take_states();
    for (_, state) in &states {
        for id in state.marked().unwrap() {
            for row in &rows[&id] {
                assert!(state.get(row.cid.0.hash()).unwrap().is_some());
            }
        }
    }
    assert!(states.last().unwrap().1.marked().unwrap().is_empty());
}

/// An add dies somewhere, the first one to its store or a later one. Says how many operations were counted.
fn died(fault: Fault, reference: bool, is_first: bool) -> u64 {
    let dir = super::scratch();
    let (path, source) = (dir.path().join("store"), dir.path().join("source"));
    std::fs::write(&source, [3; 3_000]).unwrap();
    let open = |files: &Files| {
        let index = Box::<MemoryIndex>::default();
        super::open_over(&path, files, StoreOptions::default(), index)
    };
    let store = open(Files::real()).unwrap();
    if !is_first {
        let options = AddOptions::default();
        store.add_reader(&[4; 3_000][..], &options).unwrap();
    }
    drop(store);
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    if let Ok(store) = open(&disk.files()) {
        let options = AddOptions {
            reference,
            ..AddOptions::default()
        };
        let _ = store.add_path(&source, &options);
    }
    let reader = StoreReader::open(&path).unwrap();
    assert_eq!(reader.unrooted_packs().unwrap(), 0, "{fault:?}");
    disk.counted()
}

/// So that a pack which no root names has lost the one it had.
#[test]
fn what_an_add_leaves_that_dies_has_a_root() {
    for (reference, is_first) in [(false, true), (false, false), (true, true), (true, false)] {
        let counted = |nth| died(a_change_fails(nth, true), reference, is_first);
        let points = (1..).take_while(|nth| counted(*nth) >= *nth);
        assert!(points.count() > 5);
    }
}
