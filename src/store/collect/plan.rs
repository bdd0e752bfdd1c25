//! Deciding what goes: reads roots and headers of packs, changes nothing.

use std::collections::HashSet;
use std::time::SystemTime;

use super::choice::{Choice, Goal, Room};
use super::outlook::{Outlook, View};
use super::roots::{Rooted, Roots};
use super::{GcObject, GcOptions, GcPlan};
use crate::store::error::StoreError;
use crate::store::inner::Inner;
use crate::store::pack::PackId;
use crate::store::read::ReadCore;
use crate::store::root::RootName;

/// How often more is chosen where what was chosen would give back less than it was reckoned to.
const TRIES: usize = 8;

/// A plan made beside the writer.
pub(crate) fn plan(core: &ReadCore, options: &GcOptions) -> Result<GcPlan, StoreError> {
    plan_asked(&View::of(core, None)?, options)
}

/// A plan of the writer's own, who knows what it relies on itself.
pub(crate) fn plan_writing(store: &Inner, options: &GcOptions) -> Result<GcPlan, StoreError> {
    plan_asked(&View::of(&store.core, Some(store))?, options)
}

fn plan_asked(view: &View<'_>, options: &GcOptions) -> Result<GcPlan, StoreError> {
    let room = options.max_bytes.map(|max_bytes| Room {
        goal: Goal::Within(max_bytes),
        is_kept: &|_| false,
    });
    plan_with(view, options, room.as_ref()).map(|(plan, _)| plan)
}

/// What has to go so that so many bytes are free; none where what may go is not enough.
pub(crate) fn plan_room(store: &Inner, to_free: u64) -> Result<Option<GcPlan>, StoreError> {
    let unsettled = |pack: &PackId| store.registry.is_unsettled(*pack);
    let is_kept = |root: &Rooted| match root.name {
        RootName::Loose => root.packs.iter().any(unsettled),
        RootName::Object(cid) => store.spares.is_spared(&cid),
        RootName::Retired(_) => false,
    };
    let room = Room {
        goal: Goal::Free(to_free),
        is_kept: &is_kept,
    };
    let view = View::of(&store.core, Some(store))?;
    let options = GcOptions {
        grace: store.grace(),
        ..GcOptions::default()
    };
    let (plan, is_enough) = plan_with(&view, &options, Some(&room))?;
    Ok(is_enough.then_some(plan))
}

fn plan_with(
    view: &View<'_>,
    options: &GcOptions,
    room: Option<&Room<'_>>,
) -> Result<(GcPlan, bool), StoreError> {
    let before = view.when_gone(&[])?;
    let mut choice = Choice::new(view, &before);
    choice.take_unneeded(options, SystemTime::now())?;
    let used_bytes = view.packs.disk_bytes();
    let (after, is_enough) = match room {
        None => (view.when_gone(&choice.numbers())?, true),
        Some(room) => make_room(view, &mut choice, room, room.goal.to_free(used_bytes))?,
    };
    let (unrooted_packs, unrooted_bytes) = view.lost(&choice.numbers());
    let plan = GcPlan {
        dead_bytes: before.freeable_bytes(),
        freeable_bytes: after.freeable_bytes(),
        linked_bytes: after.linked_bytes,
        packs: after.packs,
        pending: after.pending,
        not_freeable: after.kept.into_list(),
        unfinished_bytes: 0,
        unrooted_packs,
        unrooted_bytes,
        spared: match options.unpinned {
            true => unpinned_left(&view.roots, &choice.taken),
            false => 0,
        },
        used_bytes,
        objects: choice.into_objects(),
        options: options.clone(),
    };
    Ok((plan, is_enough))
}

/// Chooses until so much would be given back; says what comes of it, and whether it is enough.
fn make_room(
    view: &View<'_>,
    choice: &mut Choice<'_>,
    room: &Room<'_>,
    wanted: u64,
) -> Result<(Outlook, bool), StoreError> {
    let mut reckoned = wanted;
    for _ in 0..TRIES {
        let is_enough = choice.make_room(reckoned, room)?;
        let outlook = view.when_gone(&choice.numbers())?;
        let short = wanted.saturating_sub(outlook.freeable_bytes());
        if !is_enough || short == 0 {
            return Ok((outlook, is_enough));
        }
        reckoned += (reckoned - wanted) + short;
    }
    Ok((view.when_gone(&choice.numbers())?, false))
}

/// Objects without a pin that do not go.
fn unpinned_left(roots: &Roots, chosen: &[(usize, GcObject)]) -> u64 {
    let goes: HashSet<usize> = chosen.iter().map(|(index, _)| *index).collect();
    let is_left = |(index, root): &(usize, &Rooted)| {
        matches!(&root.name, RootName::Object(cid) if roots.pins_of(cid).is_empty())
            && !goes.contains(index)
    };
    roots.roots.iter().enumerate().filter(is_left).count() as u64
}
