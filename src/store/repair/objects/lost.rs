//! Objects that have neither a root nor a name.

use std::collections::{HashMap, HashSet};

use super::{Objects, Outcome, Told};
use crate::block::Cid;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::repair::blocks::Lack;
use crate::store::repair::finding::{Defect, Remedy, RepairFinding, RepairObject};
use crate::store::repair::steps::RootStep;
use crate::store::repair::survey::RootFile;
use crate::store::root::{self, RootRecord};

const UNROOTED: &str = "`verify` looks again at what is recorded as damaged; else add the same content again. Until \
                        then what is left of it goes as an object without a pin does: with `gc --unpinned` after the \
                        grace time, or for a quota";
/// What a repair after lost roots cannot bring back.
pub(in crate::store::repair) const NOT_NOTED: &str = "an object all of whose blocks were there when it was added is noted in no pack, and is \
                                    not put together unless it has a name; its bytes stay until `gc --unpinned`, after \
                                    the grace time, or a quota takes them";

impl<'a> Objects<'a> {
    /// Objects that only packs speak of, or roots that were retired. One that lacks blocks was removed and collected,
    /// unless they are damaged.
    pub(super) fn unrooted(&mut self) -> Result<(), StoreError> {
        let survey = self.survey;
        let rooted: HashSet<Cid> = survey.roots.iter().filter_map(RootFile::object).collect();
        let made: HashSet<Cid> = self.done.steps.iter().map(RootStep::cid).collect();
        let mut unrooted: HashMap<Cid, Told<'a>> = HashMap::new();
        for root in &survey.roots {
            if let Some(cid) = root.retired_object() {
                unrooted.insert(cid, self.told(root, &cid));
            }
        }
        for (&cid, &note) in &self.notes {
            unrooted.entry(cid).or_default().note = Some(note);
        }
        unrooted.retain(|cid, told| {
            let is_told = told.head.is_some() || told.note.is_some();
            let is_kept = rooted.contains(cid) || made.contains(cid);
            is_told && !is_kept && !survey.pinned.contains_key(cid)
        });
        let mut unrooted: Vec<(Cid, Told<'a>)> = unrooted.into_iter().collect();
        unrooted.sort_by_cached_key(|(cid, _)| cid.to_string());
        let mut restored = Vec::new();
        for (cid, told) in unrooted {
            let object = self.object(cid, told);
            match self.put_together(&cid, told)? {
                Outcome::Whole(record) if self.options.restore || self.is_lost(&cid, &record) => {
                    self.publish(&cid, *record, false);
                    restored.push(object);
                }
                Outcome::Whole(_) => self.done.restorable.push(object),
                // What lacks only what was collected was removed.
                Outcome::Lacking(lacking, true)
                    if lacking.iter().any(|(_, why)| *why != Lack::Dead) =>
                {
                    let path = root::object_path(&survey.folder, &cid);
                    let expected = "the root of what a pack speaks of".to_owned();
                    let said = ("file", expected, "no such file".to_owned());
                    let finding =
                        RepairFinding::new(Defect::RootMissing, &path, said, Remedy::Left);
                    let mut finding = finding.with_objects(vec![object]).advised(UNROOTED);
                    finding.lacking = lacking.into_iter().map(|(cid, _)| cid).collect();
                    self.done.findings.push(finding);
                }
                Outcome::Lacking(..) | Outcome::Failed(_) => {}
            }
        }
        self.say_restored(restored);
        Ok(())
    }

    fn is_lost(&self, cid: &Cid, record: &RootRecord) -> bool {
        let mut present = Coverage::default();
        present.add(record);
        self.unrooted.has(cid, &present)
    }

    fn say_restored(&mut self, restored: Vec<RepairObject>) {
        let folder = &self.survey.folder;
        let made = self.done.steps.len();
        let has_no_roots = self.survey.has_only_remains() && made > 1;
        // The only object of a store, if it has a name, is a root that is missing.
        if !self.unrooted.is_empty() && (has_no_roots || !restored.is_empty()) {
            let expected = "a root for each object".to_owned();
            let objects = match restored.len() {
                1 => "1 object without a name is".to_owned(),
                many => format!("{many} objects without a name are"),
            };
            let found = format!(
                "none for packs; {objects} put together, and removed ones may be among them"
            );
            let said = ("roots", expected, found);
            let finding =
                RepairFinding::new(Defect::RootsLost, &folder.roots(), said, Remedy::Restored);
            let finding = finding.advised(NOT_NOTED).with_objects(restored);
            self.done.findings.push(finding);
            return;
        }
        for object in restored {
            let path = root::object_path(folder, &object.cid);
            let expected = "the root of what a pack speaks of".to_owned();
            let said = ("file", expected, "no such file".to_owned());
            let finding = RepairFinding::new(Defect::RootMissing, &path, said, Remedy::Restored);
            self.done.findings.push(finding.with_objects(vec![object]));
        }
    }
}
