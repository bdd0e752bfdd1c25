//! Looking at what the store has of a file's entries, and carrying a plan out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::entry::{DesiredPath, DesiredPin, DesiredPins, DesiredSource};
use super::plan::{
    Found, PinAction, PinChange, PinPlan, PinSyncOptions, PinSyncReport, Step, plan,
};
use crate::block::{Cid, canonical};
use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::ingest::{AddOptions, PinAs, add_path, hash_path, is_whole};
use crate::store::inner::Inner;
use crate::store::lookup::resolve;
use crate::store::pins::{PinOptions, pin, unpin};
use crate::store::read::Object;
use crate::store::root;
use crate::store::root::{EntryKind, ObjectKind};
use crate::store::spare::Spared;
use crate::store::target::Target;

pub(crate) fn plan_pins(
    store: &Arc<Inner>,
    desired: &DesiredPins,
    options: &PinSyncOptions,
) -> Result<PinPlan, StoreError> {
    let pins = store.core.pins()?;
    let entries = desired.entries.iter();
    let found = entries.map(|entry| match find(store, entry, options) {
        Ok(found) => found,
        Err(e) => Found::Failed(e),
    });
    Ok(plan(desired, found.collect(), &pins, options.prune))
}

fn find(
    store: &Arc<Inner>,
    entry: &DesiredPin,
    options: &PinSyncOptions,
) -> Result<Found, StoreError> {
    options.check_cancel()?;
    let from = match &entry.source {
        DesiredSource::Stored(target) => return stored(store, target),
        DesiredSource::Path(from) => from,
    };
    if let Some(cid) = from.cid
        && is_here(store, &cid)?
    {
        return Ok(Found::There(cid));
    }
    // Seen before anything is changed.
    std::fs::metadata(&from.path).map_err(FileError::at("open", &from.path))?;
    if !options.hash_paths {
        return Ok(Found::Missing(from.cid));
    }
    let cid = hash_path(&from.path, &reading(store, entry, from, options))?.cid;
    match is_there(store, &cid)? {
        true => Ok(Found::There(cid)),
        false => Ok(Found::Missing(Some(cid))),
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
fn is_here(store: &Arc<Inner>, cid: &Cid) -> Result<bool, StoreError> {
    Ok(is_there(store, cid)? || is_inside(store, cid))
}

/// Whether an object is there as one of its own, whole.
fn is_there(store: &Inner, cid: &Cid) -> Result<bool, StoreError> {
    let root = match store.core.open_root(cid, false) {
        // Adding it again writes the root anew.
        Err(StoreError::Damaged { .. }) => None,
        root => root?,
    };
    Ok(root.is_some_and(|root| {
        root.record.head.kind != ObjectKind::Block && is_whole(store, &root.record)
    }))
}

/// Whether an object that is none of its own is inside another one, or can be put together from its blocks. Whatever
/// is wrong with it, adding it again mends it.
fn is_inside(store: &Arc<Inner>, cid: &Cid) -> bool {
    let is_own = root::object_path(store.folder(), cid).exists();
    let found = resolve(store, &Target::new(cid));
    !is_own && found.is_ok_and(|object| is_whole(store, object.record()))
}

/// How the path of an entry is read, and what is to come of it.
fn reading(
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

pub(crate) fn apply_pins(
    store: &Arc<Inner>,
    plan: PinPlan,
    options: &PinSyncOptions,
) -> Result<PinSyncReport, StoreError> {
    let published: HashSet<Cid> = root::published(store.folder())?.into_iter().collect();
    let mut unlisted = plan.prune.unlisted;
    let mut spared = Spared::new(&store.spares);
    let wanted = plan.steps.iter().filter_map(|step| step.change.cid);
    wanted.for_each(|cid| spared.add(&cid));
    let mut changes = BTreeMap::new();
    let mut has_failed = false;
    for (at, step) in in_order(plan.steps) {
        let mut change = step.change;
        if change.action == PinAction::Unpin && has_failed {
            continue;
        }
        let done = match &step.entry {
            Some(entry) => meet(store, entry, &mut change, &published, options),
            None => remove(store, &change.name, options),
        };
        if let Err(e) = done {
            change.action = PinAction::Failed;
            change.error = Some(e);
        }
        has_failed |= change.action == PinAction::Failed;
        unlisted -= u64::from(change.action == PinAction::Unpin);
        changes.insert(at, change);
    }
    let changes = changes.into_values().collect();
    Ok(PinSyncReport { changes, unlisted })
}

/// What is there is pinned first: under a quota, what lies inside objects without a pin would else make way for what is
/// added. Those that could not be met come after the others, which may bring what they name, and removals last.
fn in_order(steps: Vec<Step>) -> Vec<(usize, Step)> {
    let mut steps: Vec<(usize, Step)> = steps.into_iter().enumerate().collect();
    steps.sort_by_key(|(_, step)| match step.change.action {
        PinAction::Keep | PinAction::Pin | PinAction::Move => 0,
        PinAction::Add => 1,
        PinAction::Failed => 2,
        PinAction::Unpin => 3,
    });
    steps
}

/// What an entry names may be there by now.
fn look_again(store: &Arc<Inner>, entry: &DesiredPin, change: &mut PinChange) {
    let DesiredSource::Stored(target) = &entry.source else {
        return;
    };
    match stored(store, target) {
        Ok(Found::There(cid)) => {
            change.cid = Some(cid);
            change.error = None;
            change.was.take_if(|was| *was == canonical(&cid));
            change.action = match change.was {
                Some(_) => PinAction::Move,
                None => PinAction::Pin,
            };
        }
        Ok(_) => {}
        Err(e) => change.error = Some(e),
    }
}

/// Does what an entry lacks, and says what that was.
fn meet(
    store: &Arc<Inner>,
    entry: &DesiredPin,
    change: &mut PinChange,
    published: &HashSet<Cid>,
    options: &PinSyncOptions,
) -> Result<(), StoreError> {
    if change.action == PinAction::Failed {
        look_again(store, entry, change);
    }
    if let PinAction::Keep | PinAction::Failed = change.action {
        return Ok(());
    }
    options.check_cancel()?;
    let pin_options = PinOptions {
        replace: true,
        ..PinOptions::named(&*entry.name)
    };
    match (&entry.source, change.action, change.cid) {
        (DesiredSource::Stored(target), ..) => {
            pin(store, target, &pin_options)?;
        }
        (DesiredSource::Path(from), PinAction::Pin | PinAction::Move, Some(cid)) => {
            if let Err(e) = pin(store, &Target::new(&cid), &pin_options) {
                if is_here(store, &cid)? {
                    return Err(e);
                }
                // It went since the plan was made.
                tracing::debug!("{} is added: {e}", entry.name);
                add(store, entry, from, change, published, options)?;
            }
        }
        (DesiredSource::Path(from), ..) => add(store, entry, from, change, published, options)?,
    }
    Ok(())
}

fn add(
    store: &Inner,
    entry: &DesiredPin,
    from: &DesiredPath,
    change: &mut PinChange,
    published: &HashSet<Cid>,
    options: &PinSyncOptions,
) -> Result<(), StoreError> {
    let reading = reading(store, entry, from, options);
    let added = add_path(store, &from.path, &reading)?;
    let cid = added.cid;
    change.cid = Some(cid);
    let is_same = |was: &Cid| *was == canonical(&cid);
    // What was damaged and is written anew was added too.
    let is_there = published.contains(&canonical(&cid)) && added.new_bytes == 0;
    change.action = match change.was {
        _ if !is_there => PinAction::Add,
        Some(was) if is_same(&was) => PinAction::Keep,
        Some(_) => PinAction::Move,
        None => PinAction::Pin,
    };
    change.was.take_if(|was| is_same(was));
    Ok(())
}

fn remove(store: &Inner, name: &str, options: &PinSyncOptions) -> Result<(), StoreError> {
    options.check_cancel()?;
    match name.parse::<Target>() {
        Ok(target) => unpin(store, &target).map(drop),
        Err(e) => Err(e.into()),
    }
}
