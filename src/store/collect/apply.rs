//! Carrying a plan out.

use std::collections::HashSet;
use std::path::Path;
use std::sync::PoisonError;

use super::census::Census;
use super::free::{self, DeadPart, Freed};
use super::packs::{open, used_bytes};
use super::retire::{self, HeldRoot};
use super::roots::{self, Roots};
use super::sweep::{PackShape, sweep};
use super::unrooted::{self, is_explained};
use super::{GcObject, GcPending, GcPlan, GcReason, GcReport};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::index::Forgotten;
use crate::store::inner::{self, Inner};
use crate::store::pack::PackId;
use crate::store::quota;
use crate::store::reserve;
use crate::store::root::RootName;

/// A reading of the roots during which none moved from one name to another is tried so often beside other work.
const TRIES: usize = 3;

pub(crate) fn collect(store: &Inner, plan: &GcPlan) -> Result<GcReport, StoreError> {
    let _turn = store
        .collector
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // A store that refuses writes is left alone.
    drop(store.commit_guard()?);
    let retired = retire::retire(store, &plan.objects)?;
    let mut released = retire::release(store, &plan.objects, &plan.options)?;
    let (collecting, ids) = store.registry.begin_collection();
    let settled = ids.clone();
    let mut roots = read_roots(store)?;
    let all_named = roots.packs();
    let going = roots.take_out(&released.paths());
    let mut shapes = Vec::with_capacity(ids.len());
    for id in ids {
        shapes.extend(open(&store.core, id)?.map(|pack| PackShape::of(&pack)));
    }
    let mut unseen = inner::list(store.folder())?;
    unseen.retain(|id| !shapes.iter().any(|shape| shape.id == *id));
    let covered = roots.coverage();
    let named = roots.packs();
    let mut live = Coverage::default();
    live.extend(&covered);
    let decided = collecting.decide(live, |live, held, before| {
        let roots = (&covered, &released.coverage);
        decide(&shapes, &all_named, live, roots, &named, held, before)
    });

    let forgets = !decided.whole.is_empty() || decided.parts.iter().any(|p| !p.new.is_empty());
    let references = match forgets {
        true => store.unmark_references(),
        false => HashSet::new(),
    };
    let mut freed = Freed {
        forgotten: (!references.is_empty()).then(Forgotten::default),
        ..Freed::default()
    };
    // What somebody relies on who has no root yet needs one still that names it, and so does what cannot be looked at,
    // as a pack that is damaged.
    let is_needed = |pack: &PackId| {
        !named.contains(pack) && (decided.left.contains(pack) || unseen.contains(pack))
    };
    let needed = going.iter().filter(|root| root.packs.iter().any(is_needed));
    let needed: HashSet<&Path> = needed.map(|root| &*root.path).collect();
    let stays = |path: &Path| needed.contains(path);
    let given_back = give_back(store, &decided, &mut freed)
        .and_then(|()| released.unlink(store, &plan.objects, &plan.options, stays));
    // However that ended, what went by then is forgotten, and counted.
    if forgets {
        // What is not known again now is so once the store is opened again.
        let left: Vec<PackId> = settled
            .iter()
            .copied()
            .filter(|pack| store.registry.has_pack(*pack) && !references.contains(pack))
            .collect();
        let learned = store.index.learn_again(store, &left);
        let forgotten = freed.forgotten.take().unwrap_or_default();
        let known = learned.and_then(|()| store.index_references(&references, &forgotten));
        if let Err(e) = known {
            tracing::debug!("blocks that lie elsewhere too stay out of the index: {e}");
        }
    }
    drop(collecting);
    let counted = quota::recount(store);
    reserve::keep(store.folder());
    given_back.and(counted)?;
    report(
        store,
        plan,
        retired,
        std::mem::take(&mut released.held),
        &roots,
        &decided,
        freed,
    )
}

/// Unlinks packs and punches holes; `gone` is published before any hole is punched, whether the packs could be unlinked
/// or not.
fn give_back(store: &Inner, decided: &Decided, freed: &mut Freed) -> Result<(), StoreError> {
    let unlinked = match free::unlink(store, &decided.whole, freed) {
        Err(e) if store.is_poisoned() => return Err(e),
        unlinked => unlinked,
    };
    store.publish_gone()?;
    store.tier.clear();
    for part in &decided.parts {
        free::punch(store, part, freed)?;
    }
    unlinked
}

/// Reads all roots while none is on its way from one name to another, where a listing may miss it.
fn read_roots(store: &Inner) -> Result<Roots, StoreError> {
    for _ in 0..TRIES {
        let before = store.retirements();
        let read = roots::read(&store.core);
        if store.retirements() == before {
            return read;
        }
    }
    let _guard = store.commit_guard()?;
    roots::read(&store.core)
}

struct Decided {
    whole: Vec<PackId>,
    parts: Vec<DeadPart>,
    /// Bytes that only this process relies on.
    registered_bytes: u64,
    /// Of the packs that were looked at those that stay and are not dead.
    left: HashSet<PackId>,
    /// Packs that no root names and nobody relies on.
    unrooted: Vec<PackId>,
}

fn decide(
    shapes: &[PackShape],
    all_named: &HashSet<PackId>,
    live: &Coverage,
    (covered, released): (&Coverage, &Coverage),
    named: &HashSet<PackId>,
    held: &HashSet<PackId>,
    before: &Gone,
) -> (Gone, Vec<PackId>, Decided) {
    let needed = named.union(held).copied().collect();
    let is_explained = |shape: &&PackShape| is_explained(shape, all_named, before);
    let (explained, others): (Vec<&PackShape>, Vec<&PackShape>) =
        shapes.iter().partition(is_explained);
    let explained: Vec<PackShape> = explained.into_iter().cloned().collect();
    let sweep = sweep(&explained, live, released, &needed, before);
    let mut gone = before.clone();
    // Until a pack is unlinked all of it is dead, as it may be found again.
    for shape in shapes
        .iter()
        .filter(|shape| sweep.whole.contains(&shape.id))
    {
        gone.set_dead(shape.id, std::slice::from_ref(&shape.payload));
    }
    let mut parts = Vec::with_capacity(sweep.parts.len());
    for (id, dead) in sweep.parts {
        gone.set_dead(id, &dead);
        parts.push(DeadPart::of(id, dead, &before.dead_of(id)));
    }
    let mut ours = Coverage::default();
    for shape in shapes.iter().filter(|shape| !shape.is_reference) {
        live.of(shape.id)
            .iter()
            .for_each(|range| ours.add_range(shape.id, range.clone()));
    }
    ours.normalize();
    let decided = Decided {
        whole: sweep.whole.clone(),
        parts,
        registered_bytes: ours.bytes_outside(covered),
        left: {
            let stays = |shape: &&PackShape| {
                !sweep.whole.contains(&shape.id) && !unrooted::is_dead(shape, &gone)
            };
            explained
                .iter()
                .filter(stays)
                .map(|shape| shape.id)
                .collect()
        },
        unrooted: {
            let unrooted = others.into_iter().map(|shape| shape.id);
            unrooted.filter(|pack| !held.contains(pack)).collect()
        },
    };
    (gone, sweep.whole, decided)
}

fn report(
    store: &Inner,
    plan: &GcPlan,
    retired: Vec<GcObject>,
    held: Vec<HeldRoot>,
    roots: &Roots,
    decided: &Decided,
    freed: Freed,
) -> Result<GcReport, StoreError> {
    // Those of the plan that had no root to be retired, and those whose root was.
    let no_object = |object: &&GcObject| {
        object.cid.is_none() || matches!(object.reason, GcReason::Removed | GcReason::Replaced)
    };
    let went = plan.objects.iter().filter(no_object).cloned();
    let is_held = |object: &GcObject| held.iter().any(|held| held.path == object.root);
    let objects: Vec<GcObject> = went
        .chain(retired)
        .filter(|object| !is_held(object))
        .collect();
    let mut pending = pending(roots, held);
    if decided.registered_bytes > 0 {
        pending.push(GcPending::of_this_process(decided.registered_bytes));
    }
    let here = inner::list(store.folder())?;
    let mut lost = roots.lost_packs(&[]);
    lost.retain(|pack| here.contains(pack));
    lost.extend(&decided.unrooted);
    Ok(GcReport {
        objects,
        freed_bytes: freed.disk_bytes,
        linked_bytes: freed.linked_bytes,
        packs: freed.packs,
        ranges: freed.ranges,
        unfinished_bytes: store.take_unfinished(),
        pending,
        not_freeable: freed.kept.into_list(),
        unrooted_packs: lost.len() as u64,
        unrooted_bytes: used_bytes(store.folder(), lost)?,
        used_bytes: used_bytes(store.folder(), here)?,
    })
}

/// What held roots alone keep; of what several of them keep, each is told once.
fn pending(roots: &Roots, held: Vec<HeldRoot>) -> Vec<GcPending> {
    let mut census = Census::new(&roots.roots);
    let mut pending = Vec::new();
    for HeldRoot { path, holders } in held {
        // One that was let go meanwhile goes at the next collection.
        let found = roots.roots.iter().position(|root| root.path == path);
        let Some(index) = found.filter(|&i| matches!(roots.roots[i].name, RootName::Retired(_)))
        else {
            continue;
        };
        pending.push(GcPending {
            cid: Some(roots.roots[index].cid),
            name: roots.roots[index].title.clone(),
            bytes: census.remove(index),
            holders,
        });
    }
    pending
}
