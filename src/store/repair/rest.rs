//! Names, roots that are of no object, files that are no roots, and `gone`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;

use super::finding::{Defect, IN_THE_WAY, ONE_BYTE, Remedy, RepairFinding, is_folder};
use super::objects::NOT_NOTED;
use super::plan::Planner;
use super::raw::Held;
use super::salvage::MAX_PACK_BYTES;
use super::steps::{NameStep, RootStep};
use super::survey::{NameFile, RootState};
use super::unrooted::Unrooted;
use crate::block::{Cid, canonical, parse_cid};
use crate::store::collect::{PackShape, sweep};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::{Gone, Why, outside};
use crate::store::ingest::loose_record;
use crate::store::names::{Pin, PinKind};
use crate::store::pack::{PackId, Place, Row};
use crate::store::root::{self, LOST, ObjectKind, REMAINS, RootName, RootRecord};
use crate::store::time::now_ms;

/// A damaged name points to what its file says once the one byte is put back that was changed, to the object that it
/// is called like, or to the only one whose CID stands in what is left of it; of any other it cannot be known.
pub(super) fn mend_names(planner: &mut Planner<'_>) {
    let survey = &mut planner.survey;
    let objects: HashMap<Cid, PinKind> = survey
        .roots
        .iter()
        .filter_map(|root| {
            let is_block = |r: &RootRecord| r.head.kind == ObjectKind::Block;
            let kind = match root.remains().is_some_and(is_block) {
                true => PinKind::Direct,
                false => PinKind::Recursive,
            };
            Some((canonical(&root.object()?), kind))
        })
        .collect();
    for file in &mut survey.names {
        let Err(why) = &file.pin else { continue };
        let mut finding = RepairFinding::of_error(Defect::Name, &file.path, why, Remedy::Left);
        if is_folder(why) {
            finding = finding.advised(IN_THE_WAY);
        } else if let Some(pin) = told_by(file, &objects) {
            finding.remedy = Remedy::Restored;
            if file.mended.is_some() {
                finding.found.push_str(ONE_BYTE);
            }
            planner.steps.names.push(NameStep::Set(pin.clone()));
            file.pin = Ok(pin);
        } else if planner.options.drop_names {
            finding.remedy = Remedy::Removed;
            planner.steps.names.push(NameStep::Drop(file.name.clone()));
        } else {
            finding = finding.advised(
                "what it pointed to cannot be known, and nothing is collected while it stands: `repair --drop-names` \
                 removes it; then pin what it kept",
            );
        }
        planner.findings.push(finding);
    }
    survey.note_pins();
}

/// What a damaged name says still.
fn told_by(file: &NameFile, objects: &HashMap<Cid, PinKind>) -> Option<Pin> {
    let is_left_alone = matches!(
        &file.pin,
        Err(StoreError::NewerFormat { .. }
            | StoreError::Damaged {
                what: "store id",
                ..
            })
    );
    if is_left_alone {
        return None;
    }
    if let Some(pin) = &file.mended {
        return Some(pin.clone());
    }
    let cid = called_by(&file.name).or_else(|| {
        let stands = |cid: &&Cid| {
            let cid = cid.to_bytes();
            file.bytes.windows(cid.len()).any(|window| window == cid)
        };
        let mut found = objects.keys().filter(stands);
        found.next().filter(|_| found.next().is_none()).copied()
    })?;
    Some(Pin {
        name: file.name.clone(),
        cid,
        kind: objects.get(&cid).copied().unwrap_or(PinKind::Recursive),
        created_ms: now_ms(),
    })
}

/// The object that a name is called after.
fn called_by(name: &str) -> Option<Cid> {
    let cid = canonical(&parse_cid(name).ok()?);
    (cid.to_string() == name).then_some(cid)
}

/// `covered` is what roots cover that stand or are made, `live` also what was found of objects whose roots cannot be.
pub(super) fn plan(
    planner: &mut Planner<'_>,
    (covered, mut live): (Coverage, Coverage),
    mut gone: Gone,
    unrooted: &Unrooted,
) -> Result<(), StoreError> {
    strangers(planner);
    retired(planner);
    let is_gone_lost = planner.survey.gone.is_err();
    let loose = loose(planner);
    // What is left may be missing from what is covered: nothing that is good is dead for that.
    let is_unsure = is_gone_lost && planner.findings.iter().any(RepairFinding::is_left);
    if !loose.is_empty() || is_unsure || !unrooted.is_empty() {
        let open = uncovered(planner, &covered, &mut live, &mut gone, is_gone_lost)?;
        remains(planner, unrooted, (&covered, &gone), &open)?;
        let record = loose_record(open.keys().copied().collect(), Vec::new());
        for path in loose {
            planner.steps.roots.push(RootStep {
                path,
                record: record.clone(),
                keeps_old: false,
            });
        }
    }
    let before = match &planner.survey.gone {
        Ok(before) => before.clone(),
        Err(why) => {
            let dead = all_dead(planner, &live, &mut gone);
            for id in planner.survey.unseen_packs() {
                gone.add_damaged(id, [0..MAX_PACK_BYTES]);
            }
            let path = planner.survey.folder.gone();
            let mut finding = RepairFinding::of_error(Defect::Gone, &path, why, Remedy::Made);
            finding.found.push_str(&format!(
                "; {dead} bytes that no root covers count as dead from now on"
            ));
            planner.findings.push(
                finding.advised("what was recorded as damaged is not known any more: run `verify`"),
            );
            planner.steps.gone = Some(gone);
            return Ok(());
        }
    };
    if let Some(why) = planner.survey.mended_gone.take() {
        let path = planner.survey.folder.gone();
        let mut finding = RepairFinding::of_error(Defect::Gone, &path, &why, Remedy::Made);
        finding.found.push_str(ONE_BYTE);
        planner.findings.push(finding);
        planner.steps.gone = Some(gone);
    } else if gone != before {
        planner.steps.gone = Some(gone);
    }
    Ok(())
}

/// Keeps what is left of packs without a root under one root: all of them until the others are published, and then what
/// none of those covers.
fn remains(
    planner: &mut Planner<'_>,
    unrooted: &Unrooted,
    (covered, gone): (&Coverage, &Gone),
    open: &BTreeMap<PackId, Vec<Row>>,
) -> Result<(), StoreError> {
    if unrooted.is_empty() {
        return Ok(());
    }
    let (mut packs, mut blocks) = (Vec::new(), Vec::new());
    let mut ids: Vec<PackId> = unrooted.packs.iter().copied().collect();
    ids.sort();
    for &id in &ids {
        let Some(pack) = planner.survey.packs.get(&id) else {
            continue;
        };
        let good: HashSet<u64> = open
            .get(&id)
            .into_iter()
            .flatten()
            .map(|r| r.offset)
            .collect();
        // What is recorded as damaged may be good when it is looked at again.
        let is_damaged = |row: &Row| {
            let range = row.place(id).range();
            gone.why(id, &range) == Some(Why::Damaged)
                && outside(&range, covered.of(id)).next().is_some()
        };
        let is_left = |row: &&Row| good.contains(&row.offset) || is_damaged(row);
        let rows: Vec<&Row> = pack.rows.iter().filter(is_left).collect();
        match !rows.is_empty() && rows.len() == pack.rows.len() {
            true => packs.push(id),
            false => blocks.extend(rows.into_iter().map(|row| (row.cid.0, row.place(id)))),
        }
    }
    let is_used_up = packs.is_empty() && blocks.is_empty();
    let last = remains_record(REMAINS, packs, blocks);
    let mut old = planner.survey.remains();
    let first = old.next();
    let is_same = first.is_some_and(|(_, record)| *record == last);
    let mut used_up: Vec<PathBuf> = old.map(|(root, _)| root.path.clone()).collect();
    let path = match first {
        Some((root, _)) => root.path.clone(),
        None => root::loose_path(&planner.survey.folder)?,
    };
    if is_same && planner.steps.roots.is_empty() && used_up.is_empty() {
        return Ok(());
    }
    say_kept(planner, gone);
    let step = |record| RootStep {
        path: path.clone(),
        record,
        keeps_old: false,
    };
    planner.steps.remains_first = Some(step(remains_record(LOST, ids, Vec::new())));
    match is_used_up {
        true => used_up.push(path),
        false => planner.steps.remains_last = Some(step(last)),
    }
    planner.steps.used_up = used_up;
    Ok(())
}

/// Says that roots are lost where nothing else is said of a file in `roots/`.
fn say_kept(planner: &mut Planner<'_>, gone: &Gone) {
    let roots = planner.survey.folder.roots();
    let lost = Unrooted::lost(&planner.survey, gone).len();
    let mut findings = planner.findings.iter();
    let is_said = findings.any(|finding| finding.path.starts_with(&roots));
    if lost == 0 || is_said {
        return;
    }
    let said = (
        "roots",
        "a root for each pack".to_owned(),
        match lost {
            1 => "none for 1 pack, in which no whole object is found".to_owned(),
            many => format!("none for {many} packs, in which no whole object is found"),
        },
    );
    let finding = RepairFinding::new(Defect::RootsLost, &roots, said, Remedy::Covered);
    planner.findings.push(finding.advised(NOT_NOTED));
}

fn remains_record(name: &str, packs: Vec<PackId>, blocks: Vec<(Cid, Place)>) -> RootRecord {
    let mut record = loose_record(packs, blocks);
    record.head.name = name.to_owned();
    record
}

fn strangers(planner: &mut Planner<'_>) {
    for path in &planner.survey.strangers {
        let said = ("name", "that of a root".to_owned(), "another".to_owned());
        let finding = RepairFinding::new(Defect::Foreign, path, said, Remedy::Left)
            .advised("a collection stops at it: move it out of roots/");
        planner.findings.push(finding);
    }
}

fn retired(planner: &mut Planner<'_>) {
    for root in &planner.survey.roots {
        let (RootName::Retired(_), RootState::Damaged { why, .. }) = (&root.name, &root.state)
        else {
            continue;
        };
        let object = root.retired_object();
        let object = object.map(|cid| planner.survey.object(cid, String::new()));
        let finding =
            RepairFinding::of_error(Defect::RetiredRoot, &root.path, why, Remedy::Removed);
        planner
            .findings
            .push(finding.with_objects(object.into_iter().collect()));
        planner.steps.retired.push(root.path.clone());
    }
}

/// The damaged roots of single blocks and of imports.
fn loose(planner: &mut Planner<'_>) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    for root in &planner.survey.roots {
        let (remedy, why) = match (&root.name, &root.state) {
            (RootName::Loose, RootState::Damaged { why, .. }) => (Remedy::Covered, why),
            (RootName::Loose | RootName::Retired(_), RootState::Foreign(why)) => {
                (Remedy::Left, why)
            }
            _ => continue,
        };
        let (defect, advice) = match remedy {
            Remedy::Left => (
                Defect::Foreign,
                "it is left alone: a collection stops at it until it is moved out of roots/",
            ),
            _ => (
                Defect::LooseRoot,
                "what no object covers stays for the grace time of a collection, as it would have",
            ),
        };
        let finding = RepairFinding::of_error(defect, &root.path, why, remedy).advised(advice);
        planner.findings.push(finding);
        if remedy == Remedy::Covered {
            paths.push(root.path.clone());
        }
    }
    paths
}

/// The good blocks that nothing covers, by pack. They are live from then on: while it is not known what is dead,
/// those of their blocks that are good, or that the disk refuses to say it of.
fn uncovered(
    planner: &Planner<'_>,
    covered: &Coverage,
    live: &mut Coverage,
    gone: &mut Gone,
    is_gone_lost: bool,
) -> Result<BTreeMap<PackId, Vec<Row>>, StoreError> {
    let mut packs = BTreeMap::new();
    let mut more = Coverage::default();
    let mut unread = Vec::new();
    for pack in planner
        .survey
        .packs
        .values()
        .filter(|pack| pack.is_readable())
    {
        let covered = covered.of(pack.id);
        let is_open = |row: &&Row| {
            let range = row.offset..row.offset + u64::from(row.len);
            let is_covered = outside(&range, covered).next().is_none();
            !is_covered && gone.why(pack.id, &range).is_none()
        };
        let rows: Vec<Row> = pack.rows.iter().filter(is_open).copied().collect();
        let found = match is_gone_lost && !pack.is_proven && !rows.is_empty() {
            true => {
                let raw = planner.survey.reader.open(pack.id)?;
                planner.hasher.held(&raw, &rows)?
            }
            false => vec![Held::Good; rows.len()],
        };
        let good = rows.iter().zip(&found);
        let good = good.filter(|(_, held)| **held != Held::Other);
        let good: Vec<Row> = good.map(|(row, _)| *row).collect();
        if !good.is_empty() {
            packs.insert(pack.id, good);
        }
        for (row, held) in rows.iter().zip(found) {
            let range = row.offset..row.offset + u64::from(row.len);
            match held {
                Held::Other => continue,
                Held::Good | Held::Unchecked => {}
                Held::Unreadable => unread.push((pack.id, range.clone())),
            }
            more.add_range(pack.id, range);
        }
    }
    for (pack, range) in unread {
        gone.add_damaged(pack, [range]);
    }
    live.extend(&more);
    live.normalize();
    Ok(packs)
}

/// Makes dead what is not live, and says how many bytes that is.
fn all_dead(planner: &Planner<'_>, live: &Coverage, gone: &mut Gone) -> u64 {
    let packs = planner
        .survey
        .packs
        .values()
        .filter(|pack| pack.is_readable());
    let shapes: Vec<PackShape> = packs
        .map(|pack| PackShape {
            id: pack.id,
            payload: pack.offsets(),
            is_reference: pack.is_reference(),
        })
        .collect();
    let all = shapes.iter().map(|shape| shape.id).collect();
    // A gap in which a block lies is no padding.
    let mut blocks = Coverage::default();
    for pack in planner
        .survey
        .packs
        .values()
        .filter(|pack| pack.is_readable())
    {
        let rows = pack.rows.iter().map(Row::range);
        rows.for_each(|range| blocks.add_range(pack.id, range));
    }
    let swept = sweep(&shapes, live, &blocks, &all, &Gone::default());
    let mut bytes = 0;
    for (id, dead) in swept.parts {
        bytes += dead
            .iter()
            .map(|range: &Range<u64>| range.end - range.start)
            .sum::<u64>();
        gone.set_dead(id, &dead);
    }
    bytes
}
