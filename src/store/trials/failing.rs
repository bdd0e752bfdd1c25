//! A failure at every operation of a run.

use std::sync::Arc;

use rustix::io::Errno;

use super::faults::{Failure, Fault, FaultyDisk, Kind};
use super::workload::{ALL_KINDS, Run, check_what_is_left, letters_of};
use crate::fsio::RealDisk;

/// Runs all steps on a disk with a fault, and checks what it left. Says how many operations were counted.
fn run(fault: Fault) -> u64 {
    let dir = super::scratch();
    let path = dir.path().join("store");
    let disk = FaultyDisk::new(Arc::new(RealDisk), fault);
    let mut run = Run::new(&path, disk.files());
    let steps = ALL_KINDS.iter();
    let results: Vec<_> = steps.map(|step| run.step(*step, |_| {})).collect();
    let (ledger, counted) = (run.ledger.clone(), disk.counted());
    let open = match run.store() {
        // What it shows with the fault behind it.
        Some(store) if !fault.lasting && disk.has_failed() => {
            ledger.check_reader(&store.to_reader())
        }
        _ => Ok(()),
    };
    drop(run);
    let left = check_what_is_left(&path, &ledger, &letters_of(&ALL_KINDS));
    if let Err(what) = open.and(left) {
        panic!("{fault:?}: {what}\n{results:#?}");
    }
    counted
}

fn every_operation(failure: Failure, lasting: bool) {
    let fault = |nth| Fault {
        kinds: &[],
        nth,
        failure,
        lasting,
    };
    let points = (1..).take_while(|nth| run(fault(*nth)) >= *nth);
    assert!(points.count() > 100);
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
    for kinds in [
        &[Kind::Map],
        &[Kind::Read],
        &[Kind::Rename],
        &[Kind::SyncDir],
        &[Kind::Unlink],
    ] {
        assert!(run(of(kinds)) > 0, "{kinds:?}");
    }
}
