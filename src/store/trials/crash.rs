//! A power cut at every point of a run; and one at the end of a run in which a process died or a sync failed.

use std::collections::HashSet;
use std::sync::Arc;

use rustix::io::Errno;

use super::check::check_what_is_left;
use super::faults::{CHANGES, Failure, Fault, FaultyDisk, SYNCS};
use super::indexes::RememberingIndex;
use super::ledger::Ledger;
use super::recorder::{Op, RecordingDisk};
use super::replay::{Crash, at, crashes, extremes};
use super::run::Run;
use super::workload::{Pin, Scope, Step, WORKLOADS, Workload, letters_of};
use crate::store::index::{Index, MemoryIndex};

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

/// A run whose operations were recorded.
struct Record {
    /// With the files that are referred to.
    _dir: tempfile::TempDir,
    steps: &'static [Step],
    ops: Vec<Op>,
    eras: Vec<Era>,
    /// What the index was, and from which operation on.
    states: Vec<(usize, MemoryIndex)>,
}

impl Record {
    fn of(workload: &Workload) -> Self {
        let dir = super::scratch();
        let disk = RecordingDisk::new(dir.path());
        let index = RememberingIndex::new(&disk);
        let path = dir.path().join("store");
        let shared = Arc::<RememberingIndex>::clone(&index);
        let mut run = Run::over(&path, disk.files(), shared).within(workload.max_bytes);
        let mut eras = Vec::new();
        for step in workload.steps {
            let mut during = Ledger::default();
            run.step(*step, |ledger| during = ledger.clone()).unwrap();
            eras.push(Era {
                end: disk.len(),
                during,
                after: run.ledger.clone(),
            });
        }
        Self {
            _dir: dir,
            steps: workload.steps,
            ops: disk.ops(),
            eras,
            states: index.take_states(),
        }
    }

    fn marks(&self) -> Vec<usize> {
        self.eras.iter().map(|era| era.end).collect()
    }

    /// Cuts the power at every point and checks all that can be left of the files, without the index. Says how
    /// many it were.
    fn cut_everywhere(&self) -> usize {
        let marks = self.marks();
        let tried = crashes(&self.ops, &marks).map(|crash| {
            let ledger = expected(&self.eras, crash.cut);
            check(
                &self.ops,
                &crash,
                ledger,
                self.steps,
                &MemoryIndex::default(),
            );
        });
        tried.count()
    }

    /// Cuts the power at every point and checks the least and the most that can be left of the files, with every
    /// state that the index had by then. Says how many it were.
    fn cut_with_every_state_of_the_index(&self) -> usize {
        let marks = self.marks();
        let mut seen = HashSet::new();
        for crash in extremes(&self.ops) {
            let era = marks.partition_point(|mark| *mark < crash.cut);
            let at_mark = marks.contains(&crash.cut);
            let digest = crash.image.digest();
            let met = self.states.iter().filter(|(since, _)| *since <= crash.cut);
            for (number, (_, state)) in met.enumerate() {
                if seen.insert((era, at_mark, digest, number)) {
                    let ledger = expected(&self.eras, crash.cut);
                    check(&self.ops, &crash, ledger, self.steps, state);
                }
            }
        }
        seen.len()
    }
}

fn check(ops: &[Op], crash: &Crash, ledger: &Ledger, steps: &[Step], index: &MemoryIndex) {
    let left = super::scratch();
    crash.image.write_to(left.path());
    let store = left.path().join("store");
    let index = Arc::new(index.copy());
    let marked = index.marked().unwrap();
    if let Err(what) = check_what_is_left(&store, ledger, &letters_of(steps), index) {
        panic!(
            "cut after {} operations, {} of those not synced was left, the index knew {marked:?}: {what}\n{:#?}",
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
        let steps = [first, then].concat();
        check(&ops, &crash, &run.ledger, &steps, &MemoryIndex::default());
    }
    faulty.has_failed()
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_returned() {
    for workload in &WORKLOADS {
        let tried = Record::of(workload).cut_everywhere();
        assert!(tried > 200, "{tried} of {:?}", workload.steps);
    }
}

#[test]
fn whatever_the_index_knew_a_power_cut_loses_nothing_that_was_returned() {
    for workload in &WORKLOADS {
        let tried = Record::of(workload).cut_with_every_state_of_the_index();
        assert!(tried > 200, "{tried} of {:?}", workload.steps);
    }
}

#[test]
fn what_is_returned_after_a_writer_died_survives_a_power_cut() {
    let first = [
        Step::Add("abcdef", Pin::Named("first")),
        Step::Session("xy"),
        Step::Remove("abcdef"),
        Step::Collect(Scope::Removed),
    ];
    let then = [
        Step::Add("abcdef", Pin::No),
        Step::Session("xy"),
        Step::Collect(Scope::Removed),
    ];
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
    for workload in &WORKLOADS {
        assert!(points(workload.steps) > 10);
    }
    // What failed after its rename is there when it is tried again, and still not durable.
    let added = Step::Add("ab", Pin::Named("first"));
    assert!(points(&[added, added]) > 10);
    let pinned = Step::Pin("second", "ab");
    assert!(points(&[added, pinned, pinned]) > 10);
}
