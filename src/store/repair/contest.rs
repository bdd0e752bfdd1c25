//! Rows of a table that lie over each other and that cannot all hold, settled as a verification does.

use std::collections::HashSet;
use std::ops::Range;

use super::hash::Hashed;
use super::leaves::blocks_of;
use super::survey::Survey;
use crate::block::Multihash;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::outside;
use crate::store::overlaps;
use crate::store::pack::{PackId, Place, Row};
use crate::store::root::RootName;

/// What is damaged of a pack by the rows that do not hold.
pub(super) fn damaged(
    survey: &Survey,
    pack: PackId,
    hashed: &Hashed,
) -> Result<Vec<Range<u64>>, StoreError> {
    let is_contested = |row: &&Row| hashed.well.bytes_within(pack, &row.range()) > 0;
    let placed = match hashed.bad.iter().any(|row| is_contested(&row)) {
        true => Placed::by_roots(survey, pack)?,
        false => Placed::default(),
    };
    Ok(placed.damaged(pack, hashed))
}

/// The blocks that roots place in a pack.
#[derive(Default)]
pub(super) struct Placed {
    blocks: HashSet<(Multihash, Place)>,
    /// What they cover without saying which block lies there.
    untold: Coverage,
}

impl Placed {
    pub(super) fn of(blocks: impl Iterator<Item = (Multihash, Place)>) -> Self {
        Self {
            blocks: blocks.collect(),
            untold: Coverage::default(),
        }
    }

    fn by_roots(survey: &Survey, pack: PackId) -> Result<Self, StoreError> {
        let mut placed = Self::default();
        let stays = |name: &RootName| !matches!(name, RootName::Retired(_));
        for root in survey.roots.iter().filter(|root| stays(&root.name)) {
            let Some(record) = root.whole() else {
                // It may place anything.
                placed.untold.add_range(pack, 0..u64::MAX);
                continue;
            };
            if !record.packs.contains(&pack) {
                continue;
            }
            let mut told = Coverage::default();
            for (cid, place) in blocks_of(record, &survey.reader)? {
                told.add_range(place.pack, place.range());
                placed.blocks.insert((*cid.hash(), place));
            }
            told.normalize();
            for range in survey.coverage(record).of(pack) {
                for range in outside(range, told.of(pack)) {
                    placed.untold.add_range(pack, range);
                }
            }
        }
        placed.untold.normalize();
        Ok(placed)
    }

    pub(super) fn damaged(&self, pack: PackId, hashed: &Hashed) -> Vec<Range<u64>> {
        let damaged = |row: &Row| {
            let place = row.place(pack);
            let is_placed = self.blocks.contains(&(*row.cid.0.hash(), place))
                || overlaps::touches(&place.range(), self.untold.of(pack));
            overlaps::damaged_of(&place, is_placed, &hashed.well)
        };
        hashed.bad.iter().flat_map(damaged).collect()
    }
}
