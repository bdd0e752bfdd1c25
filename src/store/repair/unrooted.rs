//! What lies in packs that no root names: their roots are lost.

use std::collections::{BTreeSet, HashSet};

use super::pack::Pack;
use super::survey::{RootFile, Survey};
use crate::block::{Cid, canonical};
use crate::store::coverage::{Coverage, Covered};
use crate::store::gone::{Gone, outside};
use crate::store::pack::PackId;
use crate::store::root::{RootName, RootRecord};

/// The bytes of packs without a root. What only a repair before this one keeps counts too, so that one that was cut
/// off comes to the same end when it is begun again.
pub(super) struct Unrooted {
    bytes: Covered,
    pub(super) packs: HashSet<PackId>,
    /// The objects that those packs speak of.
    noted: HashSet<Cid>,
}

impl Unrooted {
    /// Packs that no root names, or only one that stands for lost ones.
    pub(super) fn lost(survey: &Survey, gone: &Gone) -> BTreeSet<PackId> {
        let kept = survey.remains().map(|(_, record)| record);
        let (lost, kept): (Vec<&RootRecord>, Vec<&RootRecord>) =
            kept.partition(|record| record.is_of_lost());
        let kept = kept.into_iter().flat_map(|record| &record.packs).copied();
        let named: HashSet<PackId> = named(survey).chain(kept).collect();
        let is_left = |pack: &&Pack| {
            let dead = gone.dead_of(pack.id);
            pack.is_readable() && outside(&pack.offsets(), &dead).next().is_some()
        };
        let lost: HashSet<&PackId> = lost.into_iter().flat_map(|record| &record.packs).collect();
        let packs = survey.packs.values().filter(is_left).map(|pack| pack.id);
        packs
            .filter(|id| lost.contains(id) || !named.contains(id))
            .collect()
    }

    pub(super) fn of(survey: &Survey, gone: &Gone) -> Self {
        let named: HashSet<PackId> = named(survey).collect();
        let kept: Vec<&RootRecord> = survey.remains().map(|(_, record)| record).collect();
        let mut bytes = Coverage::default();
        for record in &kept {
            bytes.extend(&survey.coverage(record));
        }
        let mut whole: HashSet<PackId> = kept
            .iter()
            .flat_map(|record| record.whole_packs())
            .collect();
        let kept: HashSet<PackId> = kept.into_iter().flat_map(|r| r.packs.clone()).collect();
        for pack in survey.packs.values().filter(|pack| pack.is_readable()) {
            let is_named = named.contains(&pack.id) || kept.contains(&pack.id);
            let dead = gone.dead_of(pack.id);
            if !is_named && outside(&pack.offsets(), &dead).next().is_some() {
                bytes.add_range(pack.id, pack.offsets());
                whole.insert(pack.id);
            }
        }
        bytes.normalize();
        let speaking = whole.iter().filter_map(|id| survey.packs.get(id));
        let notes = speaking.flat_map(|pack| &pack.notes);
        Self {
            noted: notes.map(|note| canonical(&note.cid.0)).collect(),
            packs: whole.into_iter().chain(kept).collect(),
            bytes: Covered::from(bytes),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Whether anything of an object lies there, or what is said of it.
    pub(super) fn has(&self, cid: &Cid, present: &Coverage) -> bool {
        self.noted.contains(cid) || present.packs().any(|pack| self.touches(pack, present))
    }

    fn touches(&self, pack: PackId, present: &Coverage) -> bool {
        let ranges = present.of(pack).iter();
        ranges
            .cloned()
            .any(|range| self.bytes.within(pack, range) > 0)
    }
}

/// The packs that a root names, if only one that is damaged and is to be put together.
fn named(survey: &Survey) -> impl Iterator<Item = PackId> + '_ {
    let is_remains = |root: &RootFile| root.whole().is_some_and(RootRecord::is_remains);
    let roots = survey.roots.iter().filter(move |root| !is_remains(root));
    let said = roots.filter_map(|root| match root.name {
        // The remains of another object's root are not what is put together here.
        RootName::Object(cid) => root
            .remains()
            .filter(|record| canonical(&record.head.cid.0) == cid),
        RootName::Retired(_) | RootName::Loose => root.whole(),
    });
    said.flat_map(|record| record.packs.iter().copied())
}
