//! Objects: which roots are whole, and which are put together from their CIDs and the packs.

mod lost;

pub(super) use self::lost::NOT_NOTED;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::blocks::{KnownBlocks, Lack};
use super::finding::{Defect, Remedy, RepairFinding, RepairObject};
use super::pack::Pack;
use super::plan::Planner;
use super::salvage::MAX_PACK_BYTES;
use super::steps::RootStep;
use super::survey::{RootFile, RootState, Survey};
use super::unrooted::Unrooted;
use super::{RepairOptions, rest};
use crate::block::{Cid, canonical};
use crate::store::assemble::{Blocks, assemble, single_block};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::{Gone, outside};
use crate::store::names::PinKind;
use crate::store::overlaps;
use crate::store::pack::{ObjectNote, PackId, Place};
use crate::store::root::{self, Head, NodePlace, ObjectKind, RootRecord};

const INCOMPLETE: &str = "`verify` looks again at what is recorded as damaged; else add the same content again, or \
                          `verify --heal FROM` a copy of it. Until then nothing of it that is left is collected";
const NEWER_OR_FOREIGN: &str =
    "it is left alone: a collection stops at it until it is moved out of roots/";

/// Plans what concerns objects, and with them names, other roots and `gone`.
pub(super) fn plan(planner: &mut Planner<'_>) -> Result<(), StoreError> {
    rest::mend_names(planner);
    let mut gone = planner.survey.gone.as_ref().cloned().unwrap_or_default();
    for (pack, ranges) in &planner.damaged {
        gone.add_damaged(*pack, ranges.iter().cloned());
    }
    let is_lost = planner.survey.gone.is_err();
    let unrooted = Unrooted::of(&planner.survey, &gone);
    let done = {
        let vouched = is_lost.then(|| planner.survey.covered());
        let known = KnownBlocks::new(&planner.survey, &gone, vouched);
        let mut objects = Objects::new(&planner.survey, &known, &gone, planner.options, &unrooted);
        objects.roots()?;
        objects.names()?;
        objects.unrooted()?;
        objects.done
    };
    let mut covered = planner.survey.covered();
    done.steps.iter().for_each(|step| covered.add(&step.record));
    covered.normalize();
    for pack in done.unproven.packs() {
        gone.add_damaged(pack, done.unproven.of(pack).iter().cloned());
    }
    planner.steps.roots.extend(done.steps);
    planner.missing_packs();
    planner.findings.extend(done.findings);
    planner.restorable.extend(done.restorable);
    let mut live = Coverage::default();
    live.extend(&covered);
    live.extend(&done.live);
    live.extend(&planner.unread);
    live.normalize();
    rest::plan(planner, (covered, live), gone, &unrooted)
}

struct Objects<'a> {
    survey: &'a Survey,
    known: &'a KnownBlocks<'a>,
    options: &'a RepairOptions,
    unrooted: &'a Unrooted,
    gone: &'a Gone,
    /// The bytes of good blocks.
    sound: Coverage,
    /// By object, what the pack says that its add ended in.
    notes: HashMap<Cid, &'a ObjectNote>,
    done: Done,
}

#[derive(Default)]
struct Done {
    findings: Vec<RepairFinding>,
    restorable: Vec<RepairObject>,
    steps: Vec<RootStep>,
    /// What of objects was found, whether their roots could be made or not.
    live: Coverage,
    /// What roots that stay cover and no good block vouches for.
    unproven: Coverage,
}

/// What came of putting an object together.
enum Outcome {
    Whole(Box<RootRecord>),
    /// What is lacking, and whether its root is lost.
    Lacking(Vec<(Cid, Lack)>, bool),
    Failed(StoreError),
}

/// What is known of an object besides its blocks.
#[derive(Clone, Copy, Default)]
struct Told<'a> {
    head: Option<&'a Head>,
    note: Option<&'a ObjectNote>,
}

impl Told<'_> {
    fn cid(&self) -> Option<Cid> {
        let head = self.head.map(|head| head.cid.0);
        head.or(self.note.map(|note| note.cid.0))
    }
}

impl<'a> Objects<'a> {
    fn new(
        survey: &'a Survey,
        known: &'a KnownBlocks<'a>,
        gone: &'a Gone,
        options: &'a RepairOptions,
        unrooted: &'a Unrooted,
    ) -> Self {
        let notes = survey.packs.values().flat_map(|pack| &pack.notes);
        Self {
            survey,
            known,
            options,
            unrooted,
            gone,
            sound: sound(survey, gone),
            notes: notes.map(|note| (canonical(&note.cid.0), note)).collect(),
            done: Done::default(),
        }
    }

    fn told(&self, root: &'a RootFile, cid: &Cid) -> Told<'a> {
        let head = match &root.state {
            RootState::Whole(record) => Some(&record.head),
            RootState::Damaged { remains, .. } => remains.head.as_ref(),
            RootState::Foreign(_) => None,
        };
        Told {
            head: head.filter(|head| canonical(&head.cid.0) == *cid),
            note: self.notes.get(cid).copied(),
        }
    }

    /// Looks at every root of an object.
    fn roots(&mut self) -> Result<(), StoreError> {
        let survey = self.survey;
        for root in &survey.roots {
            self.options.check_cancel()?;
            let Some(cid) = root.object() else {
                self.note_unproven(root);
                continue;
            };
            let (mut finding, keeps_old) = match &root.state {
                RootState::Foreign(why) => {
                    let finding =
                        RepairFinding::of_error(Defect::Foreign, &root.path, why, Remedy::Left);
                    let object = self.object(cid, self.told(root, &cid));
                    let finding = finding.advised(NEWER_OR_FOREIGN);
                    self.done.findings.push(finding.with_objects(vec![object]));
                    continue;
                }
                RootState::Damaged { why, .. } => {
                    let left = Remedy::Left;
                    (
                        RepairFinding::of_error(Defect::RootDamaged, &root.path, why, left),
                        false,
                    )
                }
                RootState::Whole(record) => match self.fault_of(record) {
                    None => continue,
                    Some(said) => {
                        let left = Remedy::Left;
                        (
                            RepairFinding::new(Defect::RootPlaces, &root.path, said, left),
                            true,
                        )
                    }
                },
            };
            let told = self.told(root, &cid);
            let object = self.object(cid, told);
            self.restore(&cid, told, &mut finding, keeps_old)?;
            if finding.is_left() {
                self.note_unproven(root);
            }
            self.done.findings.push(finding.with_objects(vec![object]));
        }
        Ok(())
    }

    /// Of a root that stays as it is: who reads by it gets what its places hold. So what no good block vouches for there,
    /// and is not on record yet, is damaged.
    fn note_unproven(&mut self, root: &RootFile) {
        let Some(record) = root.whole() else { return };
        let mut own = Coverage::default();
        own.add(record);
        own.normalize();
        for id in own.packs() {
            let pack = self.survey.packs.get(&id);
            let opens = |pack: &&Pack| pack.is_readable() || pack.opens();
            if pack.filter(opens).is_none_or(Pack::is_reference) {
                continue;
            }
            let known = taken(self.gone, id);
            for range in own.of(id) {
                let range = range.start..range.end.min(MAX_PACK_BYTES).max(range.start);
                for part in outside(&range, self.sound.of(id)) {
                    for part in outside(&part, &known) {
                        self.done.unproven.add_range(id, part);
                    }
                }
            }
        }
    }

    /// Objects that a name points to and that have no root.
    fn names(&mut self) -> Result<(), StoreError> {
        let survey = self.survey;
        let mut seen: HashSet<Cid> = survey.roots.iter().filter_map(RootFile::object).collect();
        for pin in survey
            .names
            .iter()
            .filter_map(|name| name.pin.as_ref().ok())
        {
            if !seen.insert(pin.cid) {
                continue;
            }
            let path = root::object_path(&survey.folder, &pin.cid);
            let expected = format!("the root of what the name {:?} points to", pin.name);
            let said = ("file", expected, "no such file".to_owned());
            let mut finding = RepairFinding::new(Defect::RootMissing, &path, said, Remedy::Left);
            let told = Told {
                head: None,
                note: self.notes.get(&pin.cid).copied(),
            };
            let object = self.object(pin.cid, told);
            self.restore(&pin.cid, told, &mut finding, false)?;
            if finding.is_left() {
                let advice = "add the same content again, or give the name up with `pin rm`";
                finding = finding.advised(advice);
            }
            self.done.findings.push(finding.with_objects(vec![object]));
        }
        Ok(())
    }

    fn object(&self, cid: Cid, told: Told<'_>) -> RepairObject {
        let head = told.head.map(|head| (head.cid.0, &head.name));
        let told = head.or(told.note.map(|note| (note.cid.0, &note.name)));
        match told {
            Some((cid, name)) => self.survey.object(cid, name.clone()),
            None => self.survey.object(cid, String::new()),
        }
    }

    /// Puts an object's root together, or says what is lacking.
    fn restore(
        &mut self,
        cid: &Cid,
        told: Told<'_>,
        finding: &mut RepairFinding,
        keeps_old: bool,
    ) -> Result<(), StoreError> {
        match self.put_together(cid, told)? {
            Outcome::Whole(record) => {
                finding.remedy = Remedy::Restored;
                self.publish(cid, *record, keeps_old);
            }
            Outcome::Lacking(lacking, _) => {
                finding.found.push_str(&match lacking.len() {
                    1 => "; 1 block is lacking".to_owned(),
                    many => format!("; {many} blocks are lacking"),
                });
                finding.lacking = lacking.into_iter().map(|(cid, _)| cid).collect();
                finding.advice = Some(INCOMPLETE);
            }
            Outcome::Failed(e) => {
                finding
                    .found
                    .push_str(&format!("; it cannot be put together: {e}"));
                finding.advice = Some(INCOMPLETE);
            }
        }
        Ok(())
    }

    fn publish(&mut self, cid: &Cid, record: RootRecord, keeps_old: bool) {
        self.done.live.add(&record);
        self.done.steps.push(RootStep {
            path: root::object_path(&self.survey.folder, cid),
            record,
            keeps_old,
        });
    }

    fn put_together(&mut self, cid: &Cid, told: Told<'_>) -> Result<Outcome, StoreError> {
        let census = match self.known.census(cid) {
            Ok(census) => census,
            Err(e @ StoreError::TooDeep { .. }) => return Ok(Outcome::Failed(e)),
            Err(e) => return Err(e),
        };
        let keep = |live: &mut Coverage, place: &Place| live.add_range(place.pack, place.range());
        census
            .present
            .iter()
            .for_each(|place| keep(&mut self.done.live, place));
        // In the form that it was published under, by which its nodes are looked for.
        let published = told.cid().unwrap_or(*cid);
        let made = if self.is_single(cid, told) && self.known.find(cid)?.is_some() {
            single_block(self.known, &published)
        } else if census.lacking.is_empty() {
            assemble(self.known, &published)
        } else {
            let mut present = Coverage::default();
            let places = census.present.iter();
            places.for_each(|place| present.add_range(place.pack, place.range()));
            let is_lost = self.unrooted.has(cid, &present);
            return Ok(Outcome::Lacking(census.lacking, is_lost));
        };
        match made {
            Ok(record) => Ok(Outcome::Whole(Box::new(dressed(record, told)))),
            Err(StoreError::File(e)) => Err(e.into()),
            Err(e) => Ok(Outcome::Failed(e)),
        }
    }

    /// Whether all that keeps an object is a pin of its one block.
    fn is_single(&self, cid: &Cid, told: Told<'_>) -> bool {
        let pins = self.survey.pinned.get(cid);
        let is_block = told.head.is_some_and(|head| head.kind == ObjectKind::Block);
        let is_pinned_so =
            pins.is_some_and(|pins| pins.iter().all(|pin| pin.kind == PinKind::Direct));
        is_block || (told.note.is_none() && told.head.is_none() && is_pinned_so)
    }

    /// What a root says that its packs do not.
    fn fault_of(&self, record: &RootRecord) -> Option<(&'static str, String, String)> {
        let is_readable = |id: &PackId| self.survey.packs.get(id).is_some_and(Pack::is_readable);
        let lacking = record.packs.iter().filter(|id| !is_readable(id)).count();
        if lacking > 0 {
            let found = format!("{lacking} of {} cannot be read", record.packs.len());
            return Some(("packs", "packs that are here".to_owned(), found));
        }
        let mut own = Coverage::default();
        own.add(record);
        own.normalize();
        let bytes = own.bytes_outside(&self.sound);
        if bytes > 0 {
            let found = format!("{bytes} bytes where no good block lies");
            return Some(("places", "good blocks there".to_owned(), found));
        }
        let is_listed = |node: &&NodePlace| !self.lists(record.pack(node.pack), node);
        let node = record.nodes.iter().find(is_listed)?;
        let found = format!("{} where another block is", node.cid.0);
        Some(("places", "those of its blocks".to_owned(), found))
    }

    fn lists(&self, pack: PackId, node: &NodePlace) -> bool {
        let Some(pack) = self.survey.packs.get(&pack) else {
            return false;
        };
        let first = pack.rows.partition_point(|row| row.offset < node.offset);
        let mut here = pack.rows[first..]
            .iter()
            .take_while(|row| row.offset == node.offset);
        here.any(|row| row.len == node.len && row.cid.0.hash() == node.cid.0.hash())
    }
}

/// The bytes of all blocks that are not gone.
fn sound(survey: &Survey, gone: &Gone) -> Coverage {
    let mut sound = Coverage::default();
    for pack in survey.packs.values().filter(|pack| pack.is_readable()) {
        let taken = taken(gone, pack.id);
        for row in &pack.rows {
            let range = row.range();
            if !overlaps::touches(&range, &taken) {
                sound.add_range(pack.id, range);
            }
        }
    }
    sound.normalize();
    sound
}

/// What of a pack is dead or damaged.
fn taken(gone: &Gone, pack: PackId) -> Vec<Range<u64>> {
    let taken = gone.of(pack).iter();
    taken.map(|gone| gone.start..gone.end).collect()
}

/// A record with what its object was called.
fn dressed(mut record: RootRecord, told: Told<'_>) -> RootRecord {
    let head = &mut record.head;
    if let Some(old) = told.head {
        head.cid = old.cid;
        head.profile.clone_from(&old.profile);
        head.name.clone_from(&old.name);
        head.created_ms = old.created_ms;
    } else if let Some(note) = told.note {
        head.cid = note.cid;
        head.profile.clone_from(&note.profile);
        head.name.clone_from(&note.name);
    }
    record
}
