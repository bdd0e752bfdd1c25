//! Healing: good bytes for damaged blocks, which move to a new place with them.
//!
//! Bytes are taken from wherever they are, each block hashed before it is used: from another place in the same
//! store, from what is left of a file or folder (its nodes follow from its leaves), from other stores, and from
//! files that are cut as the object was (the nodes of its folders follow from them). Where a node is healed its object
//! is followed again: what is found then is healed too, or remains.

mod files;
mod other;
mod rebuild;
mod remaining;
mod report;
mod sources;

pub use report::{HealOptions, HealReport, HealedBlock, HealedBy};

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::other::OtherStore;
use self::remaining::Remaining;
use self::sources::{From, Sources};
use super::error::StoreError;
use super::inner::Inner;
use super::pack::Place;
use super::relocate::{arrange, relocate};
use super::spare::Spared;
use super::verify::{Access, Finding, VerifyReport, follow_again};
use crate::block::{Cid, DAG_PB};

/// Heals what a verification found, as far as there are good bytes for it.
pub(crate) fn heal(
    store: &Arc<Inner>,
    report: &VerifyReport,
    from: &[PathBuf],
    options: &HealOptions,
) -> Result<HealReport, StoreError> {
    let mut spared = Spared::new(&store.spares);
    let affected = report.findings.iter().flat_map(|finding| &finding.affected);
    affected.for_each(|one| spared.add(&one.object));
    let mut healing = Healing {
        store,
        from,
        options,
        tried: HashSet::new(),
        report: HealReport::default(),
    };
    let mut remaining = Remaining::default();
    let mut blocks = healing.untried(report.findings.clone(), &mut remaining);
    while !blocks.is_empty() {
        let (nodes, left) = healing.round(blocks)?;
        left.into_iter().for_each(|finding| remaining.add(finding));
        let below = healing.below(nodes)?;
        blocks = healing.untried(below, &mut remaining);
    }
    // One that cannot even be looked for is not known to be missing.
    let is_missing = |file: &Path| {
        let there = store.folder().files().metadata_if_there(file);
        matches!(there, Ok(None))
    };
    let mut healed = healing.report;
    healed.remaining = remaining.into_list(is_missing);
    Ok(healed)
}

struct Healing<'a> {
    store: &'a Arc<Inner>,
    from: &'a [PathBuf],
    options: &'a HealOptions,
    tried: HashSet<Place>,
    report: HealReport,
}

impl Healing<'_> {
    /// The blocks of findings that were not tried yet; the other findings remain.
    fn untried(
        &mut self,
        findings: Vec<Finding>,
        remaining: &mut Remaining,
    ) -> HashMap<Place, Finding> {
        let mut blocks = HashMap::new();
        for finding in findings {
            match finding.place.filter(|_| finding.kind.is_block()) {
                Some(place) if self.tried.insert(place) => drop(blocks.insert(place, finding)),
                _ => remaining.add(finding),
            }
        }
        blocks
    }

    /// Heals these blocks; returns the objects in which a node was healed, and what was not healed.
    fn round(
        &mut self,
        mut wanted: HashMap<Place, Finding>,
    ) -> Result<(HashSet<Cid>, Vec<Finding>), StoreError> {
        let is_store = |path: &&PathBuf| OtherStore::is_at(path);
        let (stores, files): (Vec<_>, Vec<_>) = self.from.iter().partition(is_store);
        let owned = |paths: Vec<&PathBuf>| paths.into_iter().cloned().collect::<Vec<_>>();
        let (stores, files) = (owned(stores), owned(files));
        let mut with_nodes = self.pass(&mut wanted, &From::Stores(&stores))?;
        if !wanted.is_empty() && !files.is_empty() {
            with_nodes.extend(self.pass(&mut wanted, &From::Files(&files))?);
        }
        Ok((with_nodes, wanted.into_values().collect()))
    }

    /// Heals what there are good bytes for in some places, and takes it from what is wanted.
    fn pass(
        &mut self,
        wanted: &mut HashMap<Place, Finding>,
        from: &From<'_>,
    ) -> Result<HashSet<Cid>, StoreError> {
        let blocks = wanted.iter();
        let blocks = blocks.filter_map(|(place, finding)| Some((finding.block?, *place)));
        let blocks = arrange(&self.store.core, blocks)?;
        let sources = Sources::find(self.store, wanted, from, self.options)?;
        let relocation = relocate(
            self.store,
            &blocks,
            &|block, holder| Ok(sources.take(self.store, block, holder)),
            self.options.cancel.as_deref(),
        )?;
        self.report.new_bytes += relocation.new_bytes;
        self.report.roots += relocation.roots;
        let mut with_nodes = HashSet::new();
        for (block, _) in &relocation.moved {
            let Some(finding) = wanted.remove(&block.from) else {
                continue;
            };
            if block.cid.codec() == DAG_PB {
                with_nodes.extend(finding.affected.iter().map(|one| one.object));
            }
            self.report.healed.push(HealedBlock {
                block: block.cid,
                by: sources.by(&block.cid),
                finding,
            });
        }
        Ok(with_nodes)
    }

    /// What is found of objects in which a node was healed: what is lost below it could not be told before.
    fn below(&self, objects: HashSet<Cid>) -> Result<Vec<Finding>, StoreError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let access = Access {
            core: &self.store.core,
            store: Some(self.store),
        };
        follow_again(&access, objects)
    }
}
