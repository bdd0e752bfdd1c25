//! Making a plan: a reading of the whole store, in the order in which one part makes up for another.

mod rehash;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use super::finding::{Defect, Remedy, RepairFinding, RepairObject};
use super::hash::Hasher;
use super::identity::identify;
use super::pack::{Condition, Pack};
use super::raw::pack_path;
use super::salvage::{Rebuilt, Salvage, Stated, rebuild};
use super::steps::{PackStep, Seen, Steps};
use super::survey::{RootFile, Survey};
use super::watch::Watch;
use super::{RepairOptions, RepairPlan, index, objects, references};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::folder::{FOLDERS, StoreFolder};
use crate::store::gone::outside;
use crate::store::inner::build_pool;
use crate::store::pack::PackId;

/// How often a store that another process changes meanwhile is looked at anew.
const TRIES: usize = 3;

/// Says what is wrong with a store and what a repair would do about it. Reads only, takes no lock, and works on a
/// store that does not open.
///
/// What is inside the index is not looked at: [`apply_repair`](super::apply_repair) does that, under the lock.
///
/// # Errors
/// [`StoreError::Absent`] and [`StoreError::NotAStore`] where there is none, [`StoreError::NewerFormat`] and
/// [`StoreError::MissingFeature`] for a store of a later version, [`StoreError::Damaged`] for a symbolic link or a
/// file in place of one of its folders, [`StoreError::Cancelled`] when it is told to stop, and [`StoreError::File`] for
/// what the system refuses.
pub fn plan_repair(
    path: impl AsRef<Path>,
    options: &RepairOptions,
) -> Result<RepairPlan, StoreError> {
    let folder = StoreFolder::new(path.as_ref());
    let mut tries = 0;
    loop {
        let mut made = plan(&folder, options)?;
        tries += 1;
        made.is_settled = made.seen == Seen::of(&folder)?;
        if made.is_settled || tries == TRIES {
            return Ok(made);
        }
    }
}

pub(crate) fn plan(
    folder: &StoreFolder,
    options: &RepairOptions,
) -> Result<RepairPlan, StoreError> {
    let seen = Seen::of(folder)?;
    let identity = identify(folder)?;
    folder.refuse_others()?;
    let watch = Watch::of(options);
    let mut planner = Planner {
        options,
        survey: Survey::read(folder, identity.id, &watch)?,
        hasher: Hasher {
            pool: build_pool(options.threads)?,
            watch,
        },
        findings: Vec::new(),
        restorable: Vec::new(),
        steps: Steps::new(identity.id),
        damaged_packs: HashSet::new(),
        stated: None,
        damaged: BTreeMap::new(),
        unread: Coverage::default(),
    };
    planner.folders();
    if let Some((bytes, finding)) = identity.anew {
        planner.steps.format = Some(bytes);
        planner.findings.push(finding);
    }
    planner.packs()?;
    if options.rehash {
        planner.rehash()?;
    }
    let needs_verify = planner.survey.gone.is_err();
    objects::plan(&mut planner)?;
    if let Some(finding) = index::look_at(folder, &planner.survey) {
        planner.steps.index = true;
        planner.findings.push(finding);
    }
    // What an index says of a pack that was made anew, or is not to be read any more, is not kept; nor what it says of
    // one that is opened without a table, where nothing else speaks for its blocks.
    let has_no_table = |pack: &Pack| pack.opens() && !pack.is_readable();
    planner.steps.index |= !planner.steps.packs.is_empty()
        || planner.steps.gone.is_some()
        || planner.survey.packs.values().any(has_no_table);
    Ok(RepairPlan {
        path: folder.path().to_path_buf(),
        findings: planner.findings,
        restorable: planner.restorable,
        needs_verify,
        is_settled: true,
        options: options.clone(),
        steps: planner.steps,
        seen,
    })
}

/// A plan under way.
pub(super) struct Planner<'a> {
    pub(super) options: &'a RepairOptions,
    pub(super) hasher: Hasher<'a>,
    pub(super) survey: Survey,
    pub(super) findings: Vec<RepairFinding>,
    pub(super) restorable: Vec<RepairObject>,
    pub(super) steps: Steps,
    /// The packs that are to be rebuilt, and what roots say of them once it was asked for.
    damaged_packs: HashSet<PackId>,
    stated: Option<HashMap<PackId, Stated>>,
    /// What is to be recorded as damaged.
    pub(super) damaged: BTreeMap<PackId, Vec<Range<u64>>>,
    /// What the disk refuses to say anything of, which is therefore not dead.
    pub(super) unread: Coverage,
}

impl Planner<'_> {
    fn folders(&mut self) {
        let folder = &self.survey.folder;
        for name in FOLDERS {
            let path = folder.path().join(name);
            // The index makes its own.
            if path == folder.db() || folder.files().is_dir(&path) {
                continue;
            }
            let said = ("folder", "a folder".to_owned(), "nothing".to_owned());
            let mut finding = RepairFinding::new(Defect::FolderMissing, &path, said, Remedy::Made);
            if path == folder.names() {
                finding = finding.advised(
                    "every pin is lost with it: `pin add` what is to be kept, before a collection takes it",
                );
            }
            self.findings.push(finding);
            self.steps.folders.push(path);
        }
    }

    fn packs(&mut self) -> Result<(), StoreError> {
        self.misnamed()?;
        let ids: Vec<PackId> = self.survey.packs.keys().copied().collect();
        let packs = self.survey.packs.values();
        self.damaged_packs = packs.filter(|p| p.is_damaged()).map(|p| p.id).collect();
        for id in ids {
            let Some(mut pack) = self.survey.packs.remove(&id) else {
                continue;
            };
            let looked_at = self.pack(&mut pack);
            self.survey.packs.insert(id, pack);
            looked_at?;
        }
        Ok(())
    }

    fn pack(&mut self, pack: &mut Pack) -> Result<(), StoreError> {
        if matches!(pack.condition, Condition::Sound) {
            return Ok(());
        }
        let pack_id = pack.id;
        let objects = self.survey.objects_over(pack_id);
        let path = pack.path.clone();
        let is_to_be_written = pack.is_damaged() || matches!(pack.condition, Condition::Long(_));
        let is_link = is_to_be_written && self.survey.folder.files().is_symlink(&path);
        let (defect, why) = match &pack.condition {
            Condition::Sound | Condition::Misnamed(_) => return Ok(()),
            Condition::Long(why)
            | Condition::Short(why)
            | Condition::NoTable(why)
            | Condition::NoHeader { why, .. }
                if is_link =>
            {
                self.leave((Defect::PackLink, &path), why, LINK, objects);
                return Ok(());
            }
            Condition::Foreign(why) => {
                self.leave((Defect::Foreign, &path), why, FOREIGN_PACK, objects);
                return Ok(());
            }
            Condition::Long(why) => {
                let finding = RepairFinding::of_error(Defect::PackLength, &path, why, Remedy::Cut);
                self.findings.push(finding.with_objects(objects));
                let len = pack.header.map_or(pack.len, |header| header.file_len);
                self.steps.packs.push(PackStep::Cut { path, len });
                return Ok(());
            }
            Condition::NoHeader { why, .. } if self.is_elsewhere(pack_id) => {
                self.leave((Defect::PackHeader, &path), why, IS_ELSEWHERE, objects);
                return Ok(());
            }
            Condition::NoHeader { why, is_ours } => match *is_ours || !objects.is_empty() {
                true => (Defect::PackHeader, why),
                false => (Defect::Foreign, why),
            },
            Condition::Short(why) => (Defect::PackLength, why),
            Condition::NoTable(why) => (Defect::PackTable, why),
            Condition::Unreadable(why) => {
                self.leave((Defect::Unreadable, &path), why, UNREADABLE, objects);
                return Ok(());
            }
            Condition::NoSources(why) => {
                let advice = "add the files by reference again; then move it out of packs/";
                self.leave((Defect::PackSources, &path), why, advice, objects);
                return Ok(());
            }
        };
        let mut finding = RepairFinding::of_error(defect, &path, why, Remedy::Left);
        let raw = self.survey.reader.open(pack.id)?;
        let has_list = matches!(pack.condition, Condition::NoHeader { .. });
        let sources = match pack.is_reference() || has_list {
            true => match references::sources(&raw) {
                Err(why @ StoreError::File(_)) => {
                    self.leave((Defect::Unreadable, &path), &why, UNREADABLE, objects);
                    return Ok(());
                }
                listed => listed.ok(),
            },
            false => None,
        };
        // Told of all damaged packs at once, and only where their tables do not tell it.
        let (survey, damaged) = (&self.survey, &self.damaged_packs);
        let told_by_roots = &mut self.stated;
        let stated = || {
            let all = match told_by_roots {
                Some(all) => all,
                None => told_by_roots.insert(Stated::by_roots(survey, damaged)?),
            };
            Ok(all.remove(&pack_id).unwrap_or_default())
        };
        let rebuilt = match sources {
            Some(sources) => {
                references::rebuild(self.survey.id, pack, &raw, stated, &sources).map(Salvage::from)
            }
            None if pack.is_reference() => Ok(Salvage::Nothing),
            None => rebuild(&self.hasher, self.survey.id, pack, &raw, stated),
        };
        let rebuilt = match rebuilt {
            // To make a table of what could be read would be to forget the rest.
            Err(why @ StoreError::File(_)) => {
                self.leave((Defect::Unreadable, &path), &why, UNREADABLE, objects);
                return Ok(());
            }
            made => made?,
        };
        match rebuilt {
            Salvage::Nothing | Salvage::Another if defect == Defect::Foreign => {
                finding = finding.advised(FOREIGN_PACK);
            }
            Salvage::Another => finding = finding.advised(NOT_THIS),
            Salvage::Nothing => {
                finding
                    .found
                    .push_str("; no block in it could be found again");
                finding = finding.advised(match objects.is_empty() {
                    true => "no root needs it: once nothing else lacks a block, move it out of packs/",
                    false => "add the objects again, or heal them from a copy; then move it out of packs/",
                });
            }
            Salvage::Rebuilt(mut rebuilt) => {
                if defect == Defect::Foreign {
                    finding.defect = Defect::PackHeader;
                }
                if let Ok(gone) = &self.survey.gone {
                    let dead = gone.dead_of(pack.id);
                    let damaged = rebuilt.damaged.iter();
                    rebuilt.damaged = damaged.flat_map(|range| outside(range, &dead)).collect();
                }
                finding.remedy = Remedy::Rebuilt;
                finding.found.push_str(&told(pack, &rebuilt));
                if !rebuilt.unread.is_empty() {
                    finding = finding.advised(UNREAD);
                }
                for range in rebuilt.unread.drain(..) {
                    self.unread.add_range(pack.id, range);
                }
                let damaged = std::mem::take(&mut rebuilt.damaged);
                if !damaged.is_empty() {
                    self.damaged.entry(pack.id).or_default().extend(damaged);
                }
                self.steps.packs.push(PackStep::Rebuild { path, rebuilt });
            }
        }
        self.findings.push(finding.with_objects(objects));
        Ok(())
    }

    /// A finding that a repair does nothing about.
    fn leave(
        &mut self,
        (defect, path): (Defect, &Path),
        why: &StoreError,
        advice: &'static str,
        objects: Vec<RepairObject>,
    ) {
        let finding = RepairFinding::of_error(defect, path, why, Remedy::Left);
        let finding = finding.advised(advice).with_objects(objects);
        self.findings.push(finding);
    }

    /// Packs that are not there and that roots of objects name, those apart that are replaced.
    pub(super) fn missing_packs(&mut self) {
        let replaced: HashSet<&Path> = self.steps.roots.iter().map(|s| s.path.as_path()).collect();
        let stays = |root: &&RootFile| root.is_object() && !replaced.contains(root.path.as_path());
        let roots = self.survey.roots.iter().filter(stays);
        let named: BTreeSet<PackId> = roots
            .filter_map(|root| root.whole())
            .flat_map(|record| record.packs.iter().copied())
            .collect();
        for id in named {
            if self.survey.packs.contains_key(&id) {
                continue;
            }
            let path = pack_path(&self.survey.folder, id);
            let said = ("file", "a pack".to_owned(), "no such file".to_owned());
            let finding = RepairFinding::new(Defect::PackMissing, &path, said, Remedy::Left)
                .advised("bring the file back, or add the objects again")
                .with_objects(self.survey.objects_over(id));
            self.findings.push(finding);
        }
    }
}

const IS_ELSEWHERE: &str = "another file in packs/ says that it is this pack, so this one is not: move it out of packs/, \
                            repair, and give it the name of a pack that is missing then";
const NOT_THIS: &str = "it has none of the blocks that roots place in the pack of its name: move it out of packs/, or \
                        give it the name of a pack that is missing";
const LINK: &str =
    "a repair writes to no file outside the store: put the file itself in the place of the link";
const UNREADABLE: &str =
    "the disk refuses to be read there: copy what can be read to another disk, and repair that";
const UNREAD: &str =
    "what the disk refused is recorded as damaged: `verify` takes back what it can read again";
const FOREIGN_PACK: &str =
    "it is not read: move it out of packs/, or back to the store that it is of";

/// How much of a pack was found again.
fn told(pack: &Pack, rebuilt: &Rebuilt) -> String {
    let counted = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let good = counted(pack.rows.len() as u64, "good block", "good blocks");
    let mut told = format!("; {good} in it");
    if !rebuilt.damaged.is_empty() {
        let damaged = counted(rebuilt.damaged.len() as u64, "range is", "ranges are");
        told.push_str(&format!(", {damaged} not good"));
    }
    if !rebuilt.unread.is_empty() {
        told.push_str(&format!(", {} cannot be read", rebuilt.unread.len()));
    }
    if rebuilt.lost > 0 {
        let lost = counted(
            rebuilt.lost,
            "block of its table is",
            "blocks of its table are",
        );
        told.push_str(&format!(", {lost} lost"));
    }
    told
}
