//! What there is of a file's entries: in the store, and in what other entries add.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::entry::{DesiredPath, DesiredPin, DesiredPins, DesiredSource};
use super::plan::{Found, PinAction, PinChange, PinPlan, PinSyncOptions, plan};
use crate::block::{Cid, canonical};
use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::ingest::{AddOptions, Listing, PinAs, is_whole, is_whole_object, list_path};
use crate::store::inner::Inner;
use crate::store::lookup::resolve;
use crate::store::read::Object;
use crate::store::root;
use crate::store::root::EntryKind;
use crate::store::target::Target;

pub(crate) fn plan_pins(
    store: &Arc<Inner>,
    desired: &DesiredPins,
    options: &PinSyncOptions,
) -> Result<PinPlan, StoreError> {
    let pins = store.core.pins()?;
    let failed = |found: Result<Found, StoreError>| found.unwrap_or_else(Found::Failed);
    let entries = desired.entries.iter();
    let known = Known::default();
    let mut found: Vec<Found> = entries
        .map(|entry| failed(find(store, entry, &known, options)))
        .collect();
    if options.hash_paths {
        let is_open = |at: &usize| !matches!(found[*at], Found::There(_));
        let mut open: Vec<usize> = (0..found.len()).filter(is_open).collect();
        open.sort_by_key(|at| turn(&desired.entries[*at]));
        let mut brought = Brought::default();
        let there = |found: &&Found| matches!(found, Found::There(_));
        found
            .iter()
            .filter(there)
            .for_each(|found| brought.note(found));
        for at in open {
            let before = std::mem::replace(&mut found[at], Found::Missing(None));
            let entry = &desired.entries[at];
            found[at] = failed(foresee(store, entry, before, &mut brought, options));
            brought.note(&found[at]);
        }
    }
    let mut plan = plan(desired, found, &pins, options.prune);
    let changes = plan.steps.iter_mut().map(|step| &mut step.change);
    changes.for_each(|change| keep_with_root(store, change));
    Ok(plan)
}

/// A name is kept if its object has a root. Of one whose root is lost pinning makes it again.
pub(super) fn keep_with_root(store: &Inner, change: &mut PinChange) {
    let has_root = |cid: &Cid| root::object_path(store.folder(), cid).exists();
    if change.action == PinAction::Keep && !change.cid.as_ref().is_some_and(has_root) {
        change.action = PinAction::Pin;
    }
}

/// When an entry is met, of those whose object is not there: a path without a CID is read in any case, one with a CID
/// only if no other entry brings it, and what is to be in the store already may be brought by any of them.
pub(super) fn turn(entry: &DesiredPin) -> u8 {
    match &entry.source {
        DesiredSource::Path(DesiredPath { cid: None, .. }) => 0,
        DesiredSource::Path(_) => 1,
        DesiredSource::Stored(_) => 2,
    }
}

/// What paths are, of those that were read in this run.
#[derive(Default)]
pub(super) struct Known(HashMap<Reading, Cid>);

/// A path, and all that its CID depends on besides its content.
#[derive(PartialEq, Eq, Hash)]
struct Reading {
    from: PathBuf,
    profile: Option<String>,
    dereference_symlinks: bool,
    hidden: bool,
    ignore: Vec<String>,
}

impl Reading {
    fn of(from: &DesiredPath) -> Self {
        Self {
            from: from.path.clone(),
            profile: from.profile.as_ref().map(ToString::to_string),
            dereference_symlinks: from.dereference_symlinks,
            hidden: from.hidden,
            ignore: from.ignore.clone(),
        }
    }
}

impl Known {
    pub(super) fn add(&mut self, from: &DesiredPath, cid: Cid) {
        self.0.insert(Reading::of(from), cid);
    }

    fn get(&self, from: &DesiredPath) -> Option<Cid> {
        self.0.get(&Reading::of(from)).copied()
    }
}

/// What the store has of an entry now. A path is not read.
pub(super) fn find(
    store: &Arc<Inner>,
    entry: &DesiredPin,
    known: &Known,
    options: &PinSyncOptions,
) -> Result<Found, StoreError> {
    options.check_cancel()?;
    let from = match &entry.source {
        DesiredSource::Stored(target) => return stored(store, target),
        DesiredSource::Path(from) => from,
    };
    if let Some(cid) = from.cid.or_else(|| known.get(from))
        && is_here(store, &cid)?
    {
        return Ok(Found::There(cid));
    }
    // Seen before anything is changed.
    std::fs::metadata(&from.path).map_err(FileError::at("open", &from.path))?;
    Ok(Found::Missing(from.cid))
}

/// What there will be of an entry once those before it are met.
fn foresee(
    store: &Arc<Inner>,
    entry: &DesiredPin,
    now: Found,
    brought: &mut Brought,
    options: &PinSyncOptions,
) -> Result<Found, StoreError> {
    options.check_cancel()?;
    let from = match &entry.source {
        DesiredSource::Stored(target) => {
            let found = target
                .cid()
                .and_then(|cid| brought.within(cid, target.path()));
            return Ok(found.map_or(now, Found::There));
        }
        DesiredSource::Path(from) => from,
    };
    if let Some(cid) = from.cid
        && brought.within(&cid, "").is_some()
    {
        return Ok(Found::There(cid));
    }
    if let Found::Failed(e) = now {
        return Err(e);
    }
    if from.cid.is_none()
        && let Some(cid) = brought.known.get(from)
    {
        return Ok(Found::There(cid));
    }
    let listing = list_path(&from.path, &reading(store, entry, from, options))?;
    let cid = listing.cid;
    brought.known.add(from, cid);
    match is_there(store, &cid)? || brought.is_object(&cid) {
        true => Ok(Found::There(cid)),
        false => {
            brought.add(listing);
            Ok(Found::Missing(Some(cid)))
        }
    }
}

/// What the entries before bring.
#[derive(Default)]
struct Brought {
    known: Known,
    /// Those that are objects of their own then.
    pinned: HashSet<Cid>,
    /// Of paths that were hashed, what stands in them.
    objects: Vec<HashMap<String, Cid>>,
    /// Where each CID stands: the object, and the path in it.
    places: HashMap<Cid, (usize, String)>,
}

impl Brought {
    fn note(&mut self, found: &Found) {
        if let Found::There(cid) | Found::Missing(Some(cid)) = found {
            self.pinned.insert(canonical(cid));
        }
    }

    fn is_object(&self, cid: &Cid) -> bool {
        self.pinned.contains(&canonical(cid))
    }

    fn add(&mut self, listing: Listing) {
        let object = self.objects.len();
        for (path, cid) in &listing.entries {
            let place = (object, path.clone());
            self.places.entry(canonical(cid)).or_insert(place);
        }
        self.objects.push(listing.entries);
    }

    /// What stands at a path below a CID.
    fn within(&self, cid: &Cid, path: &str) -> Option<Cid> {
        let (object, top) = self.places.get(&canonical(cid))?;
        let between = if top.is_empty() || path.is_empty() {
            ""
        } else {
            "/"
        };
        let whole = format!("{top}{between}{path}");
        self.objects[*object].get(&whole).copied()
    }
}

/// What an entry names that is to be in the store already.
fn stored(store: &Arc<Inner>, target: &Target) -> Result<Found, StoreError> {
    let object = resolve(store, target)?;
    match fault_of(store, &object)? {
        None => Ok(Found::There(object.cid())),
        Some(fault) => Err(fault),
    }
}

/// Why an object, or a part of one, cannot be read, as far as is known without reading it.
fn fault_of(store: &Inner, object: &Object) -> Result<Option<StoreError>, StoreError> {
    let record = object.record();
    let gone = store.registry.gone();
    let own = record.entry(object.path()).into_iter();
    let entries = own.chain(object.entries().map(|(_, entry)| entry));
    let files = entries.filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    for entry in files {
        let mut start = 0;
        for extent in record.extents_of(entry) {
            let (pack, range) = (
                record.pack(extent.pack),
                extent.offset..extent.offset + extent.len,
            );
            if let Err(e) = store.core.packs.open(pack) {
                return Ok(Some(e));
            }
            if let Some(bad) = gone.within(pack, &range).next() {
                let bytes = bad.start.max(range.start)..bad.end.min(range.end);
                let name = match entry.path.as_str() {
                    "" => object.cid().to_string(),
                    path => path.to_owned(),
                };
                let at = start + (bytes.start - range.start);
                let refusal = store.core.refusal(name, at, pack, &bytes, bad.why);
                return Ok(Some(refusal));
            }
            start += extent.len;
        }
    }
    Ok(None)
}

/// Whether an object is here whole, as one of its own or as a part of others.
pub(super) fn is_here(store: &Arc<Inner>, cid: &Cid) -> Result<bool, StoreError> {
    Ok(is_there(store, cid)? || is_inside(store, cid))
}

/// Whether an object is there as one of its own, whole.
fn is_there(store: &Inner, cid: &Cid) -> Result<bool, StoreError> {
    let root = match store.core.open_root(cid, false) {
        // Adding it again writes the root anew.
        Err(StoreError::Damaged { .. }) => None,
        root => root?,
    };
    Ok(root.is_some_and(|root| is_whole_object(store, &root.record)))
}

/// Whether an object that is none of its own is inside another one, or can be put together from its blocks. Whatever
/// is wrong with it, adding it again mends it.
fn is_inside(store: &Arc<Inner>, cid: &Cid) -> bool {
    let is_own = root::object_path(store.folder(), cid).exists();
    let found = resolve(store, &Target::new(cid));
    !is_own && found.is_ok_and(|object| is_whole(store, object.record()))
}

/// How the path of an entry is read, and what is to come of it.
pub(super) fn reading(
    store: &Inner,
    entry: &DesiredPin,
    from: &DesiredPath,
    options: &PinSyncOptions,
) -> AddOptions {
    let profile = from.profile.clone();
    let progress = options.progress.clone().map(|progress| {
        let name = entry.name.clone();
        let follow: Arc<dyn Fn(_) + Send + Sync> = Arc::new(move |at| progress(&name, at));
        follow
    });
    AddOptions {
        profile: profile.unwrap_or_else(|| store.core.profile.clone()),
        pin: PinAs::Named {
            name: entry.name.clone(),
            replace: true,
        },
        dereference_symlinks: from.dereference_symlinks,
        hidden: from.hidden,
        ignore: from.ignore.clone(),
        expected: from.cid,
        reference: false,
        cancel: options.cancel.clone(),
        progress,
    }
}
