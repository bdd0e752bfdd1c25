//! Carrying a plan out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{DesiredPath, DesiredPin, DesiredSource};
use super::find::{Known, find, is_here, keep_with_root, reading, turn};
use super::plan::{
    Found, PinAction, PinChange, PinPlan, PinSyncOptions, PinSyncReport, Step, change,
};
use crate::store::error::StoreError;
use crate::store::ingest::add_path;
use crate::store::inner::Inner;
use crate::store::names::Pin;
use crate::store::pins::{PinOptions, pin, unpin};
use crate::store::spare::Spared;
use crate::store::target::Target;

pub(crate) fn apply_pins(
    store: &Arc<Inner>,
    plan: PinPlan,
    options: &PinSyncOptions,
) -> Result<PinSyncReport, StoreError> {
    let mut unlisted = plan.unlisted;
    let mut spared = Spared::new(&store.spares);
    let wanted = plan.steps.iter().filter_map(|step| step.change.cid);
    wanted.for_each(|cid| spared.add(&cid));
    let mut run = Run {
        store,
        options,
        known: Known::default(),
    };
    let mut changes = BTreeMap::new();
    let mut has_failed = false;
    for (at, step) in in_order(plan.steps) {
        let mut change = step.change;
        if change.action == PinAction::Unpin && has_failed {
            continue;
        }
        let done = match &step.entry {
            Some(entry) => run.meet(entry, step.pin.as_ref(), &mut change),
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
/// added. Removals come last.
fn in_order(steps: Vec<Step>) -> Vec<(usize, Step)> {
    let mut steps: Vec<(usize, Step)> = steps.into_iter().enumerate().collect();
    steps.sort_by_key(|(_, step)| match (step.change.action, &step.entry) {
        (PinAction::Keep | PinAction::Pin | PinAction::Move, _) => (0, 0),
        (_, Some(entry)) => (1, turn(entry)),
        (_, None) => (2, 0),
    });
    steps
}

/// What a run knows of the steps before.
struct Run<'r> {
    store: &'r Arc<Inner>,
    options: &'r PinSyncOptions,
    known: Known,
}

impl Run<'_> {
    /// Does what an entry lacks, and says what that was; `was` is what its name was before.
    fn meet(
        &mut self,
        entry: &DesiredPin,
        was: Option<&Pin>,
        done: &mut PinChange,
    ) -> Result<(), StoreError> {
        if let PinAction::Add | PinAction::Failed = done.action {
            // It may be there by now.
            let found = find(self.store, entry, &self.known, self.options)?;
            *done = change(&entry.name, found, was);
            keep_with_root(self.store, done);
        }
        if let PinAction::Keep | PinAction::Failed = done.action {
            return Ok(());
        }
        self.options.check_cancel()?;
        let pin_options = PinOptions {
            replace: true,
            ..PinOptions::named(&*entry.name)
        };
        match (&entry.source, done.action, done.cid) {
            (DesiredSource::Stored(target), ..) => {
                pin(self.store, target, &pin_options)?;
            }
            (DesiredSource::Path(from), PinAction::Pin | PinAction::Move, Some(cid)) => {
                if let Err(e) = pin(self.store, &Target::new(&cid), &pin_options) {
                    if is_here(self.store, &cid)? {
                        return Err(e);
                    }
                    // It went since it was found.
                    tracing::debug!("{} is added: {e}", entry.name);
                    *done = self.add(entry, from, was)?;
                }
            }
            (DesiredSource::Path(from), ..) => *done = self.add(entry, from, was)?,
        }
        Ok(())
    }

    fn add(
        &mut self,
        entry: &DesiredPin,
        from: &DesiredPath,
        was: Option<&Pin>,
    ) -> Result<PinChange, StoreError> {
        let reading = reading(self.store, entry, from, self.options);
        let added = add_path(self.store, &from.path, &reading)?;
        self.known.add(from, added.cid);
        // What was damaged and is written anew was added too.
        let found = match added.was_there {
            true => Found::There(added.cid),
            false => Found::Missing(Some(added.cid)),
        };
        Ok(change(&entry.name, found, was))
    }
}

fn remove(store: &Inner, name: &str, options: &PinSyncOptions) -> Result<(), StoreError> {
    options.check_cancel()?;
    match name.parse::<Target>() {
        Ok(target) => unpin(store, &target).map(drop),
        Err(e) => Err(e.into()),
    }
}
