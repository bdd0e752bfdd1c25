//! Repair: what of a damaged store can be told from the rest of it is made again, and the rest is said.
//!
//! A plan is a pure reading of the store: which defects there are and what is done about each. Applying it writes
//! `FORMAT` and `gone` first, then packs, then roots, then names, each in a way that can be cut off and begun again.
//! Nothing is deleted but the index, what lies in `tmp/`, and damaged roots of objects that were removed; payload is
//! never changed, and what a CID can be checked against is checked before it counts.

mod apply;
mod blocks;
mod finding;
mod glance;
mod hash;
mod identity;
mod index;
mod leaves;
mod objects;
mod pack;
mod plan;
mod raw;
mod rest;
mod salvage;
mod steps;
mod survey;
mod tables;

pub use apply::apply_repair;
pub use finding::{Defect, Remedy, RepairFinding, RepairObject};
pub(crate) use glance::warn_of_damage;
pub use plan::plan_repair;

use std::path::PathBuf;

use steps::{Seen, Steps};

/// How a repair works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Hash every block that is not dead, instead of believing tables whose checksums hold.
    pub rehash: bool,
    /// Put together every object that a pack speaks of and that has no root. It was lost or it was removed: nothing
    /// tells which.
    pub restore: bool,
    /// Remove names that cannot be read. What they kept is not known, so the objects they stood for may be collected
    /// from then on.
    pub drop_names: bool,
    /// Threads for hashing; zero is one a core.
    pub threads: usize,
    /// How long to wait for another writer before anything is done.
    pub lock_timeout: std::time::Duration,
}

/// What is wrong with a store, and what a repair would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct RepairPlan {
    /// The store's folder.
    pub path: PathBuf,
    /// What is wrong, file by file.
    pub findings: Vec<RepairFinding>,
    /// Objects that packs speak of, that are whole, and that have no root: they were removed and not collected yet,
    /// their add was cut off before its end, or their roots were lost. No defect by itself;
    /// [`RepairOptions::restore`] brings them back.
    pub restorable: Vec<RepairObject>,
    /// Damage that was recorded before is not known any more, so the store should be verified.
    pub needs_verify: bool,
    /// No other process changed the store while it was looked at. Otherwise a finding may be work in progress.
    pub is_settled: bool,
    options: RepairOptions,
    steps: Steps,
    seen: Seen,
}

/// What a repair found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was wrong, file by file, with what was done about it.
    pub findings: Vec<RepairFinding>,
    /// See [`RepairPlan::restorable`].
    pub restorable: Vec<RepairObject>,
    /// See [`RepairPlan::needs_verify`].
    pub needs_verify: bool,
}

impl RepairReport {
    /// How many defects are still there.
    pub fn left(&self) -> usize {
        left(&self.findings)
    }
}

impl RepairPlan {
    /// How many defects a repair leaves.
    pub fn left(&self) -> usize {
        left(&self.findings)
    }

    /// What a repair would report.
    pub fn report(&self) -> RepairReport {
        RepairReport {
            findings: self.findings.clone(),
            restorable: self.restorable.clone(),
            needs_verify: self.needs_verify,
        }
    }
}

fn left(findings: &[RepairFinding]) -> usize {
    findings.iter().filter(|finding| finding.is_left()).count()
}

#[cfg(test)]
mod tests;
