//! A power cut at every point of a run; and one at the end of a run in which a process died or a sync failed.

use std::collections::HashSet;
use std::sync::Arc;

use rustix::io::Errno;

use super::faults::{CHANGES, Failure, Fault, FaultyDisk, SYNCS};
use super::ledger::Ledger;
use super::recorder::{Op, RecordingDisk};
use super::replay::{Crash, at, crashes};
use super::workload::{ALL_KINDS, Pin, Run, Step, check_what_is_left, letters_of};

/// What was promised from some point of the record on.
struct Era {
    /// The position at which the step had returned.
    end: usize,
    during: Ledger,
    after: Ledger,
}

/// What is expected after a cut: until the step has returned, what it promises may be there or not.
fn expected(eras: &[Era], cut: usize) -> &Ledger {
    let returned = eras.iter().rev().find(|era| era.end == cut);
    match returned {
        Some(era) => &era.after,
        None => &eras[eras.partition_point(|era| era.end < cut)].during,
    }
}

/// Runs the steps, cuts the power at every point and checks all that can be left. Says how many it were.
fn replay(steps: &[Step]) -> usize {
    let dir = super::scratch();
    let disk = RecordingDisk::new(dir.path());
    let mut run = Run::new(&dir.path().join("store"), disk.files());
    let mut eras = Vec::new();
    for step in steps {
        let mut during = Ledger::default();
        run.step(*step, |ledger| during = ledger.clone()).unwrap();
        eras.push(Era {
            end: disk.len(),
            during,
            after: run.ledger.clone(),
        });
    }
    let ops = disk.ops();
    drop(run);
    let marks: Vec<usize> = eras.iter().map(|era| era.end).collect();
    let mut tried = 0;
    for crash in crashes(&ops, &marks) {
        check(&ops, &crash, expected(&eras, crash.cut), steps);
        tried += 1;
    }
    tried
}

fn check(ops: &[Op], crash: &Crash, ledger: &Ledger, steps: &[Step]) {
    let left = super::scratch();
    crash.image.write_to(left.path());
    let store = left.path().join("store");
    if let Err(what) = check_what_is_left(&store, ledger, &letters_of(steps)) {
        panic!(
            "cut after {} operations, {} of those not synced was left: {what}\n{:#?}",
            crash.cut,
            crash.left,
            &ops[crash.cut.saturating_sub(200)..crash.cut]
        );
    }
}

/// Runs steps on a disk with a fault, then others on the same disk without it, and cuts the power. Says
/// whether the fault was met.
fn replay_after(fault: Fault, first: &[Step], then: &[Step]) -> bool {
    let dir = super::scratch();
    let disk = RecordingDisk::new(dir.path());
    let path = dir.path().join("store");
    let faulty = FaultyDisk::new(Arc::<RecordingDisk>::clone(&disk), fault);
    let mut run = Run::new(&path, faulty.files());
    for step in first {
        // What failed has promised nothing, which the ledger knows.
        let _ = run.step(*step, |_| {});
    }
    let ledger = run.ledger.clone();
    drop(run);
    let mut run = Run::new(&path, disk.files());
    run.ledger = ledger;
    for step in then {
        run.step(*step, |_| {}).unwrap();
    }
    let ops = disk.ops();
    let mut seen = HashSet::new();
    for crash in at(&ops).filter(|crash| seen.insert(crash.image.digest())) {
        check(&ops, &crash, &run.ledger, &[first, then].concat());
    }
    faulty.has_failed()
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_returned() {
    let tried = replay(&ALL_KINDS);
    assert!(tried > 300, "{tried}");
}

#[test]
fn what_is_returned_after_a_writer_died_survives_a_power_cut() {
    let first = [
        Step::Add("abcdef", Pin::Named("first")),
        Step::Session("xy"),
        Step::Remove("abcdef"),
    ];
    let then = [Step::Add("abcdef", Pin::No), Step::Session("xy")];
    let death = |nth| Fault {
        kinds: &CHANGES,
        nth,
        failure: Failure::Errno(Errno::IO),
        lasting: true,
    };
    let points = (1..).take_while(|nth| replay_after(death(*nth), &first, &then));
    assert!(points.count() > 50);
}

#[test]
fn what_is_returned_after_a_sync_failed_survives_a_power_cut() {
    let failed = |nth| Fault {
        kinds: &SYNCS,
        nth,
        failure: Failure::Errno(Errno::IO),
        lasting: false,
    };
    let points = |steps: &[Step]| {
        let met = (1..).take_while(|nth| replay_after(failed(*nth), steps, &[]));
        met.count()
    };
    assert!(points(&ALL_KINDS) > 20);
    // What failed after its rename is there when it is tried again, and still not durable.
    let added = Step::Add("ab", Pin::Named("first"));
    assert!(points(&[added, added]) > 10);
    let pinned = Step::Pin("second", "ab");
    assert!(points(&[added, pinned, pinned]) > 10);
}
