//! Verification: every block is hashed again, and every root followed from its CID to the bytes.
//!
//! Two things together prove a store. The structure: names have roots, each object's nodes hash to their CIDs and
//! lead, in the order of each file, to the places that its root states, and each place is a row of a pack's table
//! with that hash. And the bytes: each row's bytes hash to what the row says, read in the order in which they lie.
//! What is wrong is recorded, so that every reader refuses it, and is written anew by an add or a healing.

mod access;
mod contest;
mod feed;
mod findings;
mod leaves;
mod owners;
mod placed;
mod proof;
mod report;
mod scan;
mod structure;
mod tables;

pub(crate) use access::Access;
pub use report::{
    Affected, ClearedBlock, Finding, FindingKind, VerifyOptions, VerifyProgress, VerifyReport,
};
pub(crate) use tables::{Known, Tables};

use std::collections::HashMap;
use std::ops::Range;

use self::feed::Wanted;
use self::findings::Findings;
use self::scan::Scanned;
use self::structure::Structure;
use super::error::StoreError;
use super::inner::{self, Inner};
use super::pack::{PackId, Place};
use super::target::Target;
use crate::block::Cid;

/// Verifies; the writer records what it finds.
pub(crate) fn verify(
    access: &Access<'_>,
    options: &VerifyOptions,
) -> Result<VerifyReport, StoreError> {
    let mut structure = Structure::new(access, options)?;
    let (packs, wanted) = match options.targets.is_empty() {
        true => {
            structure.everything()?;
            let packs = inner::list(&access.core.folder)?;
            (packs.into_iter().collect(), Wanted::All)
        }
        false => {
            let covered = structure.targets(&options.targets)?;
            (covered.packs().collect(), Wanted::Within(covered))
        }
    };
    let Structure {
        findings, objects, ..
    } = structure;
    let scanned = scan::scan(access, options, packs, wanted)?;
    let report = VerifyReport {
        objects,
        blocks: scanned.blocks,
        of_blocks: scanned.of_blocks,
        bytes: scanned.bytes,
        packs: scanned.packs,
        is_complete: scanned.is_complete && !options.is_cancelled(),
        ..VerifyReport::default()
    };
    finish(access, findings, scanned, report)
}

/// Follows objects once more, without reading their leaves: what is lost below nodes that were healed.
pub(crate) fn follow_again(
    access: &Access<'_>,
    objects: impl IntoIterator<Item = Cid>,
) -> Result<Vec<Finding>, StoreError> {
    let options = VerifyOptions::default();
    let mut structure = Structure::new(access, &options)?;
    let targets: Vec<Target> = objects.into_iter().map(Target::from).collect();
    structure.targets(&targets)?;
    Ok(structure.findings.into_list())
}

/// Says whose the damaged blocks are, and records them.
fn finish(
    access: &Access<'_>,
    mut findings: Findings,
    mut scanned: Scanned,
    mut report: VerifyReport,
) -> Result<VerifyReport, StoreError> {
    for (pack, path, error) in &scanned.unreadable {
        findings.pack(*pack, path, error, None);
    }
    let outvoted = contest::settle(access, &mut scanned)?;
    report.unused_damaged = outvoted.len() as u64;
    let mut damaged: Vec<Place> = findings.damaged().collect();
    let owners = owners::of(access, &scanned.bad)?;
    for (bad, owner) in scanned.bad.iter().zip(owners) {
        damaged.extend(&bad.damaged);
        if !owner.is_used && !findings.has(&bad.place) {
            report.unused_damaged += 1;
            continue;
        }
        let mut tell = |affected| {
            let found = bad.found.clone();
            let at = (&*bad.file, bad.offset);
            findings.block_at(bad.kind, bad.cid, bad.place, at, found, affected);
        };
        match owner.affected.is_empty() {
            true => tell(None),
            false => owner.affected.iter().for_each(|one| tell(Some(one))),
        }
    }
    let cleared = contest::cleared(scanned, &damaged);
    let good: Vec<Place> = cleared.iter().map(|one| one.place).collect();
    if let Some(store) = access.store {
        record(store, &damaged, &good)?;
        for bad in &outvoted {
            store.forget(bad.cid, bad.place)?;
        }
        report.is_recorded = true;
    }
    let told = cleared.into_iter().map(|one| ClearedBlock {
        block: one.cid,
        file: one.file,
        offset: one.place.offset,
    });
    report.cleared = told.collect();
    report
        .cleared
        .sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    report.findings = findings.into_list();
    Ok(report)
}

/// What changes of the record of a pack.
#[derive(Default)]
struct Changes {
    damaged: Vec<Range<u64>>,
    good: Vec<Range<u64>>,
}

/// Puts into `gone` what is damaged, and takes out what reads well again.
fn record(store: &Inner, damaged: &[Place], good: &[Place]) -> Result<(), StoreError> {
    let mut changes: HashMap<PackId, Changes> = HashMap::new();
    // A file of the user's may be put back.
    let is_ours = |place: &&Place| !store.core.packs.is_reference(place.pack);
    for place in damaged.iter().filter(is_ours) {
        let of_pack = changes.entry(place.pack).or_default();
        of_pack.damaged.push(place.range());
    }
    for place in good {
        changes
            .entry(place.pack)
            .or_default()
            .good
            .push(place.range());
    }
    let before = store.registry.gone();
    store.registry.change_gone(|gone| {
        for (pack, Changes { damaged, good }) in changes {
            // One that a collection unlinked meanwhile is forgotten once that is durable, and not recorded after it.
            let path = store.packs_folder().join(pack.file_name());
            let there = store.folder().files().metadata_if_there(&path);
            if !matches!(there, Ok(None)) {
                gone.change_damaged(pack, damaged, &good);
            }
        }
    });
    if *store.registry.gone() != *before {
        // What is refused is not to be had from memory either.
        store.tier.clear();
    }
    store.publish_gone()
}

#[cfg(test)]
mod tests;
