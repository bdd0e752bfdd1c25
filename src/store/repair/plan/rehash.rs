//! Hashing every block instead of believing the tables.

use std::ops::Range;

use super::Planner;
use crate::store::coverage::Covered;
use crate::store::error::StoreError;
use crate::store::gone::{Gone, Why};
use crate::store::pack::PackId;
use crate::store::repair::finding::{Defect, Remedy, RepairFinding};
use crate::store::repair::pack::Pack;
use crate::store::repair::survey::Survey;
use crate::store::repair::{contest, hash};

impl Planner<'_> {
    /// Hashes the blocks of all packs whose tables were believed.
    pub(super) fn rehash(&mut self) -> Result<(), StoreError> {
        let nothing = Gone::default();
        let gone = self.survey.gone.as_ref().unwrap_or(&nothing);
        let is_believed = |pack: &&Pack| pack.is_readable() && !pack.is_proven;
        let packs: Vec<&Pack> = self.survey.packs.values().filter(is_believed).collect();
        for pack in &packs {
            let bytes = hash::bytes_of(hash::alive(pack, gone));
            self.hasher.watch.expect(bytes);
        }
        for pack in packs {
            let raw = self.survey.reader.open(pack.id)?;
            let hashed = self.hasher.hashed(&raw, pack, gone)?;
            let bad = contest::damaged(&self.survey, pack.id, &hashed)?;
            let is_new = |range: &Range<u64>| gone.why(pack.id, range) != Some(Why::Damaged);
            let bad: Vec<Range<u64>> = bad.into_iter().filter(is_new).collect();
            // While it is not known what is dead, bytes that no root covers are taken for that.
            let bad = match self.survey.gone {
                Ok(_) => bad,
                Err(_) => rooted(&self.survey, pack.id, bad),
            };
            if bad.is_empty() {
                continue;
            }
            let said = (
                "blocks",
                "the bytes of their CIDs".to_owned(),
                format!("{} of {} are others", bad.len(), pack.rows.len()),
            );
            let finding = RepairFinding::new(Defect::Blocks, &pack.path, said, Remedy::Recorded)
                .advised("`verify --heal FROM`, or add the same content again")
                .with_objects(self.survey.objects_within(pack.id, &bad));
            self.findings.push(finding);
            self.damaged.entry(pack.id).or_default().extend(bad);
        }
        Ok(())
    }
}

/// What of these ranges any readable root covers.
fn rooted(survey: &Survey, pack: PackId, ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let all = Covered::from(survey.covered());
    let is_covered = |range: &Range<u64>| all.within(pack, range.clone()) > 0;
    ranges.into_iter().filter(is_covered).collect()
}
