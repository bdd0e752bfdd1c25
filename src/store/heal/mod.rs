//! Healing: good bytes for damaged blocks, which move to a new place with them.
//!
//! Bytes are taken from wherever they are, each block hashed before it is used: from another place in the same
//! store, from what is left of a file or folder (its nodes follow from its leaves), from other stores, and from
//! files that are cut as the object was.

mod files;
mod other;
mod rebuild;
mod report;
mod sources;

pub use report::{HealOptions, HealReport, HealedBlock, HealedBy};

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use self::other::OtherStore;
use self::sources::{From, Sources};
use super::error::StoreError;
use super::inner::Inner;
use super::pack::Place;
use super::relocate::{arrange, relocate};
use super::spare::Spared;
use super::verify::{Access, Finding, FindingKind, VerifyReport, follow_again};
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
    let (blocks, others): (Vec<_>, Vec<_>) = report
        .findings
        .iter()
        .cloned()
        .partition(|finding| finding.kind.is_block());
    let mut left = Vec::new();
    let mut next = blocks;
    while !next.is_empty() {
        let (nodes, unhealed) = healing.round(next)?;
        left.extend(unhealed);
        next = healing.below(nodes)?;
    }
    let mut healed = healing.report;
    let needed: HashSet<&PathBuf> = left.iter().map(|finding| &finding.file).collect();
    // A pack that is missing is missed no more once everything that lay in it lies elsewhere.
    let is_missed = |finding: &Finding| {
        // One that cannot even be looked for is not known to be missing.
        let there = store.folder().files().metadata_if_there(&finding.file);
        finding.kind != FindingKind::Pack
            || needed.contains(&finding.file)
            || !matches!(there, Ok(None))
    };
    healed.remaining = others.into_iter().filter(is_missed).collect();
    healed.remaining.append(&mut left);
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
    /// Heals these blocks; returns the objects in which a node was healed, and what was not healed.
    fn round(
        &mut self,
        findings: Vec<Finding>,
    ) -> Result<(HashSet<Cid>, Vec<Finding>), StoreError> {
        let mut wanted: HashMap<Place, Finding> = HashMap::new();
        for finding in findings {
            if let Some(place) = finding.place {
                wanted.insert(place, finding);
            }
        }
        self.tried.extend(wanted.keys().copied());
        let is_store = |path: &&PathBuf| OtherStore::is_at(path);
        let (stores, files): (Vec<_>, Vec<_>) = self.from.iter().partition(is_store);
        let owned = |paths: Vec<&PathBuf>| paths.into_iter().cloned().collect::<Vec<_>>();
        let (stores, files) = (owned(stores), owned(files));
        let mut with_nodes = self.pass(&mut wanted, &From::Stores(&stores))?;
        if !wanted.is_empty() && !files.is_empty() {
            with_nodes.extend(self.pass(&mut wanted, &From::Files(&files))?);
        }
        let mut left: Vec<Finding> = wanted.into_values().collect();
        left.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        Ok((with_nodes, left))
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
            let finding = wanted.remove(&block.from);
            if block.cid.codec() == DAG_PB {
                let affected = finding.iter().flat_map(|finding| &finding.affected);
                with_nodes.extend(affected.map(|one| one.object));
            }
            self.report.healed.push(HealedBlock {
                block: block.cid,
                by: sources.by(&block.cid),
            });
        }
        Ok(with_nodes)
    }

    /// What is lost below nodes that were healed, which could not be told before.
    fn below(&self, objects: HashSet<Cid>) -> Result<Vec<Finding>, StoreError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let access = Access {
            core: &self.store.core,
            store: Some(self.store),
        };
        let mut found = follow_again(&access, objects)?;
        found.retain(|finding| {
            let is_new = |place| !self.tried.contains(&place);
            finding.kind.is_block() && finding.place.is_some_and(is_new)
        });
        Ok(found)
    }
}
