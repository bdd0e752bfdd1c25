//! Packs under names that are not theirs.

use super::finding::{Defect, Remedy, RepairFinding};
use super::pack::{self, Condition, Pack};
use super::plan::Planner;
use super::raw::pack_path;
use super::steps::PackStep;
use crate::store::error::StoreError;
use crate::store::pack::PackId;

const NAME_TAKEN: &str = "it is the pack that its header names, and another file has that name: move that one out of \
                          packs/, repair, and give that one back the name that is free then, if it is needed";

impl Planner<'_> {
    /// Packs under other ones' names get their own back: those first whose name is free, which frees the ones that they
    /// had.
    pub(super) fn misnamed(&mut self) -> Result<(), StoreError> {
        let named = |pack: &Pack| match pack.condition {
            Condition::Misnamed(own) => Some((pack.id, own)),
            _ => None,
        };
        let mut open: Vec<(PackId, PackId)> =
            self.survey.packs.values().filter_map(named).collect();
        loop {
            let mut left = Vec::new();
            for &(id, own) in &open {
                if !self.rename(id, own)? {
                    left.push((id, own));
                }
            }
            if left.len() == open.len() {
                break;
            }
            open = left;
        }
        for (id, own) in open {
            let advice = match self.survey.packs.contains_key(&own) {
                true => NAME_TAKEN,
                false => {
                    "it is the pack that its header names: give the file that name, or move it out of packs/"
                }
            };
            let at = pack_path(&self.survey.folder, id);
            let said = ("pack id", id.to_string(), own.to_string());
            let finding = RepairFinding::new(Defect::PackName, &at, said, Remedy::Left);
            let objects = self.survey.objects_over(own);
            self.findings
                .push(finding.advised(advice).with_objects(objects));
        }
        Ok(())
    }

    /// Plans that a pack gets its own name back, if a root needs it and the name is free; says whether it does.
    fn rename(&mut self, id: PackId, own: PackId) -> Result<bool, StoreError> {
        let objects = self.survey.objects_over(own);
        let has_objects = self.survey.roots.iter().any(|root| root.is_object());
        let is_needed = !objects.is_empty() || !has_objects;
        if self.survey.packs.contains_key(&own) || !is_needed {
            return Ok(false);
        }
        let at = pack_path(&self.survey.folder, id);
        let (folder, store) = (&self.survey.folder, self.survey.id);
        if let Some(pack) = pack::examine(folder, store, own, &at)? {
            let (from, to) = (at.clone(), pack.path.clone());
            self.steps.packs.push(PackStep::Rename { from, to });
            self.survey.reader.misname(own, at.clone());
            self.survey.packs.remove(&id);
            self.survey.packs.insert(own, pack);
        }
        let said = ("pack id", id.to_string(), own.to_string());
        let finding = RepairFinding::new(Defect::PackName, &at, said, Remedy::Renamed);
        self.findings.push(finding.with_objects(objects));
        Ok(true)
    }

    /// Whether another file states in its header that it is this pack.
    pub(super) fn is_elsewhere(&self, id: PackId) -> bool {
        let mut others = self.survey.packs.values();
        others.any(|other| matches!(other.condition, Condition::Misnamed(own) if own == id))
    }
}
