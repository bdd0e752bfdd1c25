//! What is wrong with a store's files, as far as it is told without reading payload: roots and names are read whole,
//! of packs the header and the table. Nothing is planned and nothing changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;

use super::finding::RepairObject;
use super::pack::{Condition, Pack};
use super::raw::pack_path;
use super::references;
use super::steps::Seen;
use super::survey::{RootFile, RootState, Survey};
use super::unrooted::Unrooted;
use crate::block::Cid;
use crate::store::collect;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::StoreId;
use crate::store::gone::Gone;
use crate::store::pack::{PackId, Source, SourceFault};
use crate::store::root::{self, RootName};

/// How often a store that another process changes meanwhile is looked at anew.
const TRIES: usize = 3;

/// A file that is not as it should be, and the objects that it concerns.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What is wrong, with the file's path.
    pub(crate) what: String,
    pub(crate) objects: Vec<RepairObject>,
}

/// What a look at a store's files finds.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Packs that are damaged, no packs of this store's, or needed and not there.
    pub(crate) packs: Vec<Fault>,
    /// Roots that cannot be read, objects with a name and no root, and packs that no root names.
    pub(crate) roots: Vec<Fault>,
    /// Whether some of those are packs that no root names.
    has_unrooted: bool,
    /// Bytes that are recorded as damaged, of those that something covers that was not removed.
    pub(crate) damaged_bytes: u64,
    pub(crate) damaged: Vec<RepairObject>,
    /// Files that were added by reference and are gone, or have another length.
    pub(crate) sources: Vec<Fault>,
    /// Files that were added by reference and were written to since; their bytes may be the same.
    pub(crate) touched: Vec<Fault>,
    /// What the packs take on disk, and how much of their bytes pinned objects cover.
    pub(crate) used_bytes: u64,
    pub(crate) pinned_bytes: u64,
}

impl Sight {
    fn is_clear(&self) -> bool {
        self.packs.is_empty() && self.roots.is_empty()
    }
}

/// Looks at the files of a store; again where another process changed them and something seems wrong.
pub(crate) fn look(folder: &StoreFolder, id: StoreId) -> Result<Sight, StoreError> {
    // Packs are listed after roots, and an add may come in between.
    let is_settled = |sight: &Sight| !sight.has_unrooted;
    collect::settled(folder, || look_once(folder, id), is_settled)
}

fn look_once(folder: &StoreFolder, id: StoreId) -> Result<Sight, StoreError> {
    let mut tries = 0;
    loop {
        let before = Seen::of(folder)?;
        let sight = of(&Survey::without_rows(folder, id)?)?;
        tries += 1;
        if sight.is_clear() || tries == TRIES || before == Seen::of(folder)? {
            return Ok(sight);
        }
    }
}

fn of(survey: &Survey) -> Result<Sight, StoreError> {
    let mut sight = Sight {
        packs: packs(survey),
        roots: roots(survey),
        ..Sight::default()
    };
    sources(survey, &mut sight)?;
    unrooted(survey, &mut sight);
    record(survey, &mut sight);
    let ids = survey.packs.keys().copied();
    sight.used_bytes = collect::used_bytes(&survey.folder, ids)?;
    let mut pinned = Coverage::default();
    for root in &survey.roots {
        let is_pinned = |cid| survey.pinned.contains_key(&cid);
        if let (true, Some(record)) = (root.object().is_some_and(is_pinned), root.whole()) {
            pinned.extend(&survey.coverage(record));
        }
    }
    pinned.retain(|pack| {
        survey
            .packs
            .get(&pack)
            .is_none_or(|pack| !pack.is_reference())
    });
    pinned.normalize();
    sight.pinned_bytes = pinned.bytes_outside(&Default::default());
    Ok(sight)
}

fn packs(survey: &Survey) -> Vec<Fault> {
    let users = Users::of(survey);
    let mut faults = Vec::new();
    for (id, pack) in &survey.packs {
        let what = match &pack.condition {
            Condition::Sound => continue,
            Condition::Misnamed(own) => {
                format!("{} is the pack {own} by its header", pack.path.display())
            }
            Condition::NoHeader { why, .. }
            | Condition::Foreign(why)
            | Condition::Short(why)
            | Condition::Long(why)
            | Condition::NoTable(why)
            | Condition::Unreadable(why)
            | Condition::NoSources(why) => why.to_string(),
        };
        let objects = users.objects(survey, *id);
        faults.push(Fault { what, objects });
    }
    for id in users.packs() {
        if !survey.packs.contains_key(&id) {
            faults.push(Fault {
                what: format!("{} is missing", pack_path(&survey.folder, id).display()),
                objects: users.objects(survey, id),
            });
        }
    }
    faults
}

/// By pack, the roots of objects that need it.
struct Users<'a>(BTreeMap<PackId, Vec<&'a RootFile>>);

impl<'a> Users<'a> {
    fn of(survey: &'a Survey) -> Self {
        let mut users: BTreeMap<PackId, Vec<&RootFile>> = BTreeMap::new();
        for root in survey.roots.iter().filter(|root| root.is_object()) {
            for pack in root.remains().iter().flat_map(|record| &record.packs) {
                users.entry(*pack).or_default().push(root);
            }
        }
        Self(users)
    }

    fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.0.keys().copied()
    }

    fn objects(&self, survey: &Survey, pack: PackId) -> Vec<RepairObject> {
        let roots = self.0.get(&pack).into_iter().flatten();
        roots.filter_map(|root| survey.object_of(root)).collect()
    }
}

fn roots(survey: &Survey) -> Vec<Fault> {
    let mut faults = Vec::new();
    for root in &survey.roots {
        let why = match &root.state {
            RootState::Whole(_) => continue,
            // It made way for another; a collection takes it.
            RootState::Damaged { .. } if matches!(root.name, RootName::Retired(_)) => continue,
            RootState::Damaged { why, .. } | RootState::Foreign(why) => why,
        };
        faults.push(Fault {
            what: why.to_string(),
            objects: survey.object_of(root).into_iter().collect(),
        });
    }
    let strangers = survey.strangers.iter();
    faults.extend(strangers.map(|path| Fault {
        what: format!("{} is no root", path.display()),
        objects: Vec::new(),
    }));
    let rooted: HashSet<Cid> = survey.roots.iter().filter_map(RootFile::object).collect();
    let mut rootless: Vec<Cid> = survey.pinned.keys().copied().collect();
    rootless.retain(|cid| !rooted.contains(cid));
    rootless.sort_by_cached_key(ToString::to_string);
    faults.extend(rootless.into_iter().map(|cid| Fault {
        what: format!(
            "{} is missing",
            root::object_path(&survey.folder, &cid).display()
        ),
        objects: vec![survey.object(cid, String::new())],
    }));
    faults
}

/// Packs whose roots are lost.
fn unrooted(survey: &Survey, sight: &mut Sight) {
    let nothing = Gone::default();
    let gone = survey.gone.as_ref().unwrap_or(&nothing);
    for id in Unrooted::lost(survey, gone) {
        let path = pack_path(&survey.folder, id);
        sight.has_unrooted = true;
        sight.roots.push(Fault {
            what: format!("no root names {}: roots are lost", path.display()),
            objects: Vec::new(),
        });
    }
}

/// What is on record as damaged.
fn record(survey: &Survey, sight: &mut Sight) {
    let Ok(gone) = &survey.gone else { return };
    let mut by_pack: HashMap<PackId, Vec<Range<u64>>> = HashMap::new();
    for (pack, range) in gone.damaged() {
        by_pack.entry(pack).or_default().push(range);
    }
    if by_pack.is_empty() {
        return;
    }
    let mut kept = Coverage::default();
    let stays = |root: &&RootFile| !matches!(root.name, RootName::Retired(_));
    for record in survey
        .roots
        .iter()
        .filter(stays)
        .filter_map(|root| root.whole())
    {
        kept.extend(&survey.coverage(record));
    }
    kept.normalize();
    sight.damaged_bytes = gone.bytes_within(&kept);
    let within = by_pack
        .iter()
        .flat_map(|(pack, ranges)| survey.objects_within(*pack, ranges));
    let found: HashMap<Cid, RepairObject> = within.map(|object| (object.cid, object)).collect();
    sight.damaged = found.into_values().collect();
    sight
        .damaged
        .sort_by_cached_key(|object| object.cid.to_string());
}

/// Files that were added by reference and do not look as they did, as far as a root still places something there.
fn sources(survey: &Survey, sight: &mut Sight) -> Result<(), StoreError> {
    let mut lost: BTreeMap<PathBuf, Fault> = BTreeMap::new();
    let mut touched: BTreeMap<PathBuf, Fault> = BTreeMap::new();
    let listed = |pack: &&Pack| pack.is_reference() && pack.is_readable();
    for pack in survey.packs.values().filter(listed) {
        let list = references::sources(survey.reader.open(pack.id)?.as_ref())?;
        let faulty = list.list().iter().filter_map(|source| {
            let places = source.base..source.base.saturating_add(source.len);
            Some((places, source, source.fault()?))
        });
        let mut faulty: Vec<(Range<u64>, &Source, SourceFault)> = faulty.collect();
        faulty.sort_by_key(|(places, ..)| places.start);
        let places: Vec<Range<u64>> = faulty.iter().map(|(places, ..)| places.clone()).collect();
        let users = users_of(survey, pack.id, &places);
        for ((_, source, fault), objects) in faulty.into_iter().zip(users) {
            if objects.is_empty() {
                continue;
            }
            let (faults, how) = match fault {
                SourceFault::Lost(how) => (&mut lost, how),
                SourceFault::Touched(how) => (&mut touched, how),
            };
            let what = format!("{} {how}", source.path().display());
            faults.insert(source.path().to_path_buf(), Fault { what, objects });
        }
    }
    sight.sources = lost.into_values().collect();
    sight.touched = touched.into_values().collect();
    Ok(())
}

/// The objects that place something in each of these ranges of a pack, which are in order and apart.
fn users_of(survey: &Survey, pack: PackId, ranges: &[Range<u64>]) -> Vec<Vec<RepairObject>> {
    let mut users = vec![Vec::new(); ranges.len()];
    for root in survey.roots.iter().filter(|_| !ranges.is_empty()) {
        let (Some(object), Some(record)) = (survey.object_of(root), root.remains()) else {
            continue;
        };
        let mut used = HashSet::new();
        for (_, place) in record.places().filter(|(of, _)| *of == pack) {
            let at = ranges.partition_point(|range| range.end <= place.start);
            used.extend(
                ranges
                    .get(at)
                    .filter(|range| range.start < place.end)
                    .map(|_| at),
            );
        }
        used.into_iter()
            .for_each(|at| users[at].push(object.clone()));
    }
    users
}
