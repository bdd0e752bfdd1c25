//! Rows of a table that lie over each other and that cannot all hold: what is damaged there, and what of it is not.

use std::collections::HashMap;
use std::ops::Range;

use super::access::Access;
use super::findings::Findings;
use super::owners;
use super::proof::Proof;
use super::scan::{Bad, Cleared, Scanned};
use super::tables::Tables;
use crate::block::{Cid, Multihash};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::overlaps;
use crate::store::pack::Place;
use crate::store::root::{ObjectKind, RootRecord};

/// Settles what of each bad row is damaged, and drops those of which nothing is: their bytes read well as other rows'
/// blocks, and no root places theirs there. These are returned.
pub(super) fn settle(access: &Access<'_>, scanned: &mut Scanned) -> Result<Vec<Bad>, StoreError> {
    scanned.well.normalize();
    let (well, is_complete) = (&scanned.well, scanned.is_complete);
    // What was not read to the end may still read well.
    let reads_well = |place: &Place| well.bytes_within(place.pack, &place.range()) > 0;
    let is_contested = |bad: &&Bad| bad.is_shared && (!is_complete || reads_well(&bad.place));
    let placed = Placed::of(access, scanned.bad.iter().filter(is_contested))?;
    for bad in &mut scanned.bad {
        let ranges = match placed.told(bad) {
            None | Some(true) => continue,
            Some(false) if !is_complete => Vec::new(),
            Some(false) => overlaps::damaged_of(&bad.place, false, well),
        };
        let start = bad.place.offset;
        let part = |range: Range<u64>| {
            let inside = (range.start - start) as usize..(range.end - start) as usize;
            bad.place.part(&inside)
        };
        bad.damaged = ranges.into_iter().map(part).collect();
    }
    let bad = std::mem::take(&mut scanned.bad);
    let (bad, none) = bad.into_iter().partition(|bad| !bad.damaged.is_empty());
    scanned.bad = bad;
    Ok(if is_complete { none } else { Vec::new() })
}

/// What is taken off the record: nothing that is damaged as another row's block, or may be.
pub(super) fn cleared(scanned: Scanned, damaged: &[Place]) -> Vec<Cleared> {
    let mut refused = Coverage::default();
    for place in damaged {
        refused.add_range(place.pack, place.range());
    }
    refused.normalize();
    let mut cleared = scanned.cleared;
    cleared.retain(|one| {
        let is_refused = overlaps::touches(&one.place.range(), refused.of(one.place.pack));
        !is_refused && (scanned.is_complete || !one.is_shared)
    });
    cleared
}

/// Which of some blocks roots place where they are listed.
#[derive(Default)]
pub(super) struct Placed {
    blocks: HashMap<(Multihash, Place), bool>,
    /// Where these are.
    ranges: Coverage,
    /// What roots cover without saying which block lies there.
    untold: Coverage,
}

impl Placed {
    fn of<'b>(
        access: &Access<'_>,
        blocks: impl Iterator<Item = &'b Bad>,
    ) -> Result<Self, StoreError> {
        let mut placed = Self::default();
        for bad in blocks {
            let (pack, range) = (bad.place.pack, bad.place.range());
            placed.ranges.add_range(pack, range);
            placed.blocks.insert((*bad.cid.hash(), bad.place), false);
        }
        if placed.blocks.is_empty() {
            return Ok(placed);
        }
        placed.ranges.normalize();
        let (gone, mut tables) = (access.gone()?, Tables::new(access));
        let sees_all = owners::each_root(access, |record| {
            placed.by_root(access, &mut tables, &gone, record)
        })?;
        placed.untold.normalize();
        for ((_, place), is_placed) in &mut placed.blocks {
            let untold = placed.untold.of(place.pack);
            *is_placed |= !sees_all || overlaps::touches(&place.range(), untold);
        }
        Ok(placed)
    }

    fn by_root<'a>(
        &mut self,
        access: &'a Access<'a>,
        tables: &mut Tables<'a>,
        gone: &Gone,
        record: &RootRecord,
    ) -> Result<(), StoreError> {
        let mut places = record.places();
        let is_over = places.any(|(pack, range)| overlaps::touches(&range, self.ranges.of(pack)));
        if record.head.kind == ObjectKind::Loose {
            for pack in record.whole_packs() {
                self.untold.add_range(pack, 0..u64::MAX);
            }
        }
        if !is_over {
            return Ok(());
        }
        let mut findings = Findings::default();
        let mut proof =
            Proof::new(access, tables, &mut findings, gone, record, &|| false).noting(self);
        proof.place_nodes()?;
        if !matches!(record.head.kind, ObjectKind::Block | ObjectKind::Loose) {
            proof.follow("")?;
        }
        // What cannot be followed does not tell what it places.
        if !findings.is_empty() {
            self.untold.add(record);
        }
        Ok(())
    }

    pub(super) fn note(&mut self, cid: &Cid, place: Place) {
        if let Some(is_placed) = self.blocks.get_mut(&(*cid.hash(), place)) {
            *is_placed = true;
        }
    }

    /// Nothing for one that was not asked for.
    fn told(&self, bad: &Bad) -> Option<bool> {
        self.blocks.get(&(*bad.cid.hash(), bad.place)).copied()
    }
}
