//! Looking at what the store has of a file's entries, and carrying a plan out.

use std::collections::HashSet;
use std::sync::Arc;

use super::entry::{DesiredPath, DesiredPin, DesiredPins, DesiredSource};
use super::plan::{Found, PinAction, PinChange, PinPlan, PinSyncOptions, PinSyncReport, plan};
use crate::block::{Cid, canonical};
use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::ingest::{AddOptions, PinAs, add_path, hash_path, is_whole};
use crate::store::inner::Inner;
use crate::store::pins::{PinOptions, pin, unpin};
use crate::store::root;
use crate::store::root::ObjectKind;
use crate::store::target::Target;
use crate::store::writable::resolve;

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
        DesiredSource::Stored(target) => {
            return Ok(Found::There(resolve(store, target)?.cid()));
        }
        DesiredSource::Path(from) => from,
    };
    if let Some(cid) = from.cid
        && (is_there(store, &cid)? || is_inside(store, &cid))
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
    let mut changes: Vec<PinChange> = Vec::with_capacity(plan.steps.len());
    let mut unlisted = plan.prune.unlisted;
    let mut has_failed = false;
    for step in plan.steps {
        let mut change = step.change;
        // The removals come last.
        if change.action == PinAction::Unpin && has_failed {
            continue;
        }
        let done = match step.entry {
            Some(entry) => meet(store, &entry, &mut change, &published, options),
            None => remove(store, &change.name, options),
        };
        if let Err(e) = done {
            change.action = PinAction::Failed;
            change.error = Some(e);
        }
        has_failed |= change.action == PinAction::Failed;
        unlisted -= u64::from(change.action == PinAction::Unpin);
        changes.push(change);
    }
    Ok(PinSyncReport { changes, unlisted })
}

/// Does what an entry lacks, and says what that was.
fn meet(
    store: &Arc<Inner>,
    entry: &DesiredPin,
    change: &mut PinChange,
    published: &HashSet<Cid>,
    options: &PinSyncOptions,
) -> Result<(), StoreError> {
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
        (DesiredSource::Path(_), PinAction::Pin | PinAction::Move, Some(cid)) => {
            pin(store, &Target::new(&cid), &pin_options)?;
        }
        (DesiredSource::Path(from), ..) => {
            let reading = reading(store, entry, from, options);
            let cid = add_path(store, &from.path, &reading)?.cid;
            change.cid = Some(cid);
            let is_same = |was: &Cid| *was == canonical(&cid);
            let is_there = published.contains(&canonical(&cid));
            change.action = match change.was {
                _ if !is_there => PinAction::Add,
                Some(was) if is_same(&was) => PinAction::Keep,
                Some(_) => PinAction::Move,
                None => PinAction::Pin,
            };
            change.was.take_if(|was| is_same(was));
        }
    }
    Ok(())
}

fn remove(store: &Inner, name: &str, options: &PinSyncOptions) -> Result<(), StoreError> {
    options.check_cancel()?;
    match name.parse::<Target>() {
        Ok(target) => unpin(store, &target).map(drop),
        Err(e) => Err(e.into()),
    }
}
